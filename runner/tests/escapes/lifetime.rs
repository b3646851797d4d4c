//! Cases 1 to 16: no process of a run is left when it has ended, whatever the processes do.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use secretctl_runner::{Cancel, Confinement, Network, Outcome, Plan, Runner, Stdin};

use crate::scenario;
use crate::support::{EXITED_0, Run, Scratch, alive, eventually, marker, plan, run_on, runner, sh};
use crate::table::{Row, attack, cases, jail, jailed, jailed_on, jailed_sh, runner_without};

cases![
    (
        1,
        "daemons deaf to signals, when the time is over",
        ["kill"],
        deaf_daemons_end_with_the_time
    ),
    (
        2,
        "the same when the main process ends",
        ["kill"],
        deaf_daemons_end_with_the_main_process
    ),
    (
        3,
        "a background process holds standard output",
        ["kill"],
        an_inherited_output_does_not_hold_up_the_end
    ),
    (
        4,
        "one holds standard error alone, one a copy of the output",
        ["kill"],
        other_inherited_pipes_do_not_hold_up_the_end
    ),
    (
        5,
        "SIGTERM ignored",
        ["kill"],
        a_program_deaf_to_sigterm_ends
    ),
    (
        6,
        "a program that stops itself",
        ["kill"],
        a_stopped_program_ends
    ),
    (
        7,
        "a program that waits in the kernel for a fifo",
        ["kill"],
        a_program_that_waits_for_a_fifo_ends
    ),
    (
        8,
        "a chain of 1000 processes, each the parent of the next",
        ["process_limit"],
        a_chain_of_processes_ends_at_the_limit
    ),
    (9, "a fork bomb", ["process_limit"], a_fork_bomb_ends),
    (
        10,
        "processes that fork and end faster than one can look",
        ["kill"],
        a_quick_chain_of_forks_ends
    ),
    (
        11,
        "the caller is killed",
        ["kill"],
        a_killed_caller_leaves_nothing
    ),
    (
        12,
        "the thread that started the helper ends",
        [],
        a_thread_that_ends_takes_no_run_with_it
    ),
    (
        14,
        "an orphan ends during the run",
        [],
        an_orphan_is_waited_for
    ),
    (
        16,
        "new groups and sessions, while strangers have theirs",
        ["kill"],
        no_stranger_is_killed
    ),
];

/// What keeps running beside the main process. `@` stands for the marker.
pub(crate) const DAEMONS: &str =
    "trap '' TERM HUP INT; sleep @ & setsid sleep @ & (setsid sh -c 'sleep @ & wait' &)";

fn script(text: &str, marker: &str) -> Plan {
    sh(&text.replace('@', marker))
}

fn quick(mut plan: Plan) -> Plan {
    plan.limits.timeout = Duration::from_millis(400);
    plan
}

/// With everything, and where the kill has no process namespace to rest on.
fn each_way_to_kill(row: &mut Row, mut check: impl FnMut(&Runner) -> Run) {
    for without in [&[][..], &["namespaces"]] {
        let Some(runner) = runner_without(without) else {
            continue;
        };
        let run = check(&runner);
        let layers = &run.report.enforcement.layers;
        let kill = layers.iter().find(|layer| layer.name == "kill").unwrap();
        assert!(row.is_stopped(&["kill"], &run.report.enforcement));
        assert!(!run.report.survivors);
        row.note(format!("{}: all ended", kill.detail));
    }
}

fn deaf_daemons_end_with_the_time(row: &mut Row) {
    each_way_to_kill(row, |runner| {
        let marker = marker();
        let mut seen = 0;
        let mut plan = quick(script(&format!("{DAEMONS}; echo ready; sleep @"), &marker));
        plan.confinement = Confinement::Jail(jail(Network::None));
        let run = run_on(runner, plan, Stdin::Null, &Cancel::new(), |_, _| {
            seen = alive(&marker);
        });
        let run = run.unwrap();
        assert_eq!((run.outcome(), run.text()), (Outcome::TimedOut, "ready\n"));
        assert!(seen >= 3, "{seen} were alive");
        assert_eq!(alive(&marker), 0);
        run
    });
}

fn deaf_daemons_end_with_the_main_process(row: &mut Row) {
    each_way_to_kill(row, |runner| {
        let marker = marker();
        let plan = script(&format!("{DAEMONS}; exit 3"), &marker);
        let run = jailed_on(runner, plan, &jail(Network::None));
        assert_eq!(run.outcome(), Outcome::Exited { code: 3 });
        assert!(run.report.leaked);
        assert_eq!(alive(&marker), 0);
        run
    });
}

fn leaves_a_pipe(row: &mut Row, scripts: &[&str]) {
    for text in scripts {
        each_way_to_kill(row, |runner| {
            let marker = marker();
            let run = jailed_on(runner, script(text, &marker), &jail(Network::None));
            assert_eq!((run.outcome(), run.text()), (EXITED_0, "done\n"));
            assert!(run.report.leaked);
            assert_eq!(alive(&marker), 0);
            run
        });
    }
}

fn an_inherited_output_does_not_hold_up_the_end(row: &mut Row) {
    leaves_a_pipe(row, &["sleep @ & echo done"]);
}

fn other_inherited_pipes_do_not_hold_up_the_end(row: &mut Row) {
    let scripts = [
        "sleep @ >/dev/null & echo done",
        "sleep @ 9>&1 >/dev/null 2>&1 & echo done",
    ];
    leaves_a_pipe(row, &scripts);
}

fn times_out(row: &mut Row, text: &str) {
    each_way_to_kill(row, |runner| {
        let marker = marker();
        let run = jailed_on(runner, quick(script(text, &marker)), &jail(Network::None));
        assert_eq!((run.outcome(), run.text()), (Outcome::TimedOut, "on\n"));
        assert_eq!(alive(&marker), 0);
        run
    });
}

fn a_program_deaf_to_sigterm_ends(row: &mut Row) {
    times_out(row, "trap '' TERM; echo on; sleep @; sleep @");
}

fn a_stopped_program_ends(row: &mut Row) {
    times_out(row, "sleep @ & echo on; kill -STOP $$; echo continued");
}

fn a_program_that_waits_for_a_fifo_ends(row: &mut Row) {
    times_out(row, "mkfifo fifo; echo on; : @ <fifo; echo opened");
}

fn a_chain_of_processes_ends_at_the_limit(row: &mut Row) {
    let chain = |runner: &Runner, limit, depth| {
        let mut plan = attack(&["chain", depth]);
        plan.limits.processes = limit;
        jailed_on(runner, plan, &jail(Network::None))
    };
    for without in [&[][..], &["user"], &["namespaces"]] {
        let Some(runner) = runner_without(without) else {
            continue;
        };
        let free = chain(&runner, 128, "60");
        assert_eq!(free.text().lines().next(), Some("ok"));
        let bound = chain(&runner, 30, "60");
        if !row.is_stopped(&["process_limit"], &bound.report.enforcement) {
            assert_eq!(bound.text().lines().next(), Some("ok"));
            continue;
        }
        let lines: Vec<_> = bound.text().lines().take(2).collect();
        assert!(lines[0].starts_with("left "), "without {without:?} all ran");
        assert_eq!((lines[1], bound.outcome()), ("EAGAIN", EXITED_0));
        let bound = chain(&runner, 30, "1000");
        assert_eq!(bound.text().lines().nth(1), Some("EAGAIN"));
    }
}

fn a_fork_bomb_ends(row: &mut Row) {
    let marker = marker();
    let mut plan = script("bomb() { bomb | bomb & }; bomb; sleep @", &marker);
    plan.limits.processes = 40;
    plan.limits.timeout = Duration::from_secs(1);
    // Where nothing bounds it, it is not let loose.
    let probe = jailed_sh("exit 0").report.enforcement;
    if row.is_stopped(&["process_limit"], &probe) {
        let run = jailed(plan, &jail(Network::None));
        let complaints = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(complaints.contains("fork"), "{complaints}");
        assert!(!run.report.survivors);
        assert_eq!(alive(&marker), 0);
    }
}

fn a_quick_chain_of_forks_ends(row: &mut Row) {
    let scratch = Scratch::new();
    let sessions = scratch.file("chain", "#!/bin/sh\nsetsid \"$0\" \"$1\" &\n", 0o755);
    each_way_to_kill(row, |runner| {
        let marker = marker();
        let forks = script("chain() { chain @ & }; chain; echo on; exit 0", &marker);
        let run = jailed_on(runner, forks, &jail(Network::None));
        assert_eq!((run.outcome(), run.text()), (EXITED_0, "on\n"));
        assert!(!run.report.survivors);
        assert_eq!(alive(&marker), 0);

        let mut jail = jail(Network::None);
        jail.readable.push(sessions.clone());
        let run = jailed_on(runner, plan(sessions.to_str().unwrap(), &[&marker]), &jail);
        assert_eq!(run.outcome(), EXITED_0);
        assert_eq!(alive(&marker), 0);
        run
    });
}

fn a_killed_caller_leaves_nothing(row: &mut Row) {
    for without in [&[][..], &["namespaces"]] {
        let Some(runner) = runner_without(without) else {
            continue;
        };
        let probe = jailed_on(&runner, sh("exit 0"), &jail(Network::None)).report;
        assert!(row.is_stopped(&["kill"], &probe.enforcement));
        let marker = marker();
        let script = format!("{DAEMONS}; echo >own-@; echo ready; sleep @").replace('@', &marker);
        let words = [&["hold", &script, "600000"], without].concat();
        let mut caller = scenario::start(&words);
        assert_eq!(first_line(&mut caller), "ready\n");
        let directory = scenario::directory_with(&format!("own-{marker}"));
        assert_eq!(
            directory.is_none(),
            probe.enforcement.has("namespaces"),
            "others see {directory:?}"
        );
        assert!(alive(&marker) >= 4);
        caller.kill().unwrap();
        caller.wait().unwrap();
        eventually("the tree is dead", || alive(&marker) == 0);
        if let Some(directory) = directory {
            eventually("the directory is gone", || !directory.exists());
        }
    }
}

pub(crate) fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    line
}

fn a_thread_that_ends_takes_no_run_with_it(row: &mut Row) {
    let jail = jail(Network::None);
    let shared = runner();
    let confinement = Confinement::Jail(jail.clone());
    thread::scope(|scope| scope.spawn(|| shared.warm_up(&confinement)).join())
        .unwrap()
        .unwrap();
    // In another thread, after the first has ended.
    let run = jailed_on(&shared, sh("sleep 1; echo alive"), &jail);
    assert_eq!((run.outcome(), run.text()), (EXITED_0, "alive\n"));
    row.note("a helper warmed by a thread that has ended serves its run");
}

fn an_orphan_is_waited_for(row: &mut Row) {
    // The orphan's entry in /proc goes when it has been waited for.
    let run = jailed_sh(
        "orphan=$(sh -c 'sh -c : >/dev/null & echo $!'); while [ -e /proc/$orphan ]; do sleep 0.1; done",
    );
    assert_eq!(run.outcome(), EXITED_0);
    row.note("waited for during the run");
}

fn no_stranger_is_killed(row: &mut Row) {
    let marker = marker();
    let mut stranger = Command::new("sleep");
    let mut stranger = stranger.arg(&marker).process_group(0).spawn().unwrap();
    each_way_to_kill(row, |runner| {
        let mut run = None;
        for _ in 0..10 {
            let text = "set -m; sleep 1000 & setsid sleep 1000 & setsid sh -c 'sleep 0 & exit 0' & kill -KILL 0";
            let last = jailed_on(runner, sh(text), &jail(Network::None));
            assert_eq!(last.outcome(), Outcome::Signaled { signal: 9 });
            run = Some(last);
        }
        run.unwrap()
    });
    assert!(stranger.try_wait().unwrap().is_none());
    kill_process(Pid::from_child(&stranger), Signal::KILL).unwrap();
    stranger.wait().unwrap();
}
