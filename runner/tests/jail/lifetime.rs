//! How runs end, and that nothing of them is left.

use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio as ChildStdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use secretctl_runner::{Cancel, Outcome, Plan, Stdin};

use crate::support::{
    EXITED_0, Run, Scratch, alive, eventually, marker, plan, run, run_with, runner, sh, tests,
};

tests![
    exit_codes_arrive,
    deaths_by_signal_arrive_as_such,
    a_timeout_ends_the_whole_tree,
    a_daemon_does_not_outlive_the_main_process,
    inherited_pipes_do_not_hold_up_the_end,
    a_program_may_end_in_good_order_after_a_timeout,
    a_stopped_program_ends,
    a_cancel_ends_the_whole_tree,
    a_cancelled_handle_starts_nothing,
    a_signal_is_passed_on_and_the_program_decides,
    a_quick_chain_of_forks_ends,
    a_quick_chain_of_sessions_ends,
    orphans_are_waited_for_during_the_run,
    a_program_that_kills_the_helper_does_not_survive,
    a_program_that_stops_the_helper_gains_nothing,
    a_killed_caller_leaves_nothing,
    a_program_dies_with_its_helper_when_the_caller_cannot_help,
    a_caller_that_panics_leaves_nothing,
    many_runs_leave_no_descriptors_and_no_processes,
    runs_at_the_same_time_do_not_mix,
];

/// Scripts for [`tree`]: what keeps running beside the main process. `@` stands for the marker.
const DAEMONS: &str =
    "trap '' TERM HUP INT; sleep @ & setsid sleep @ & (setsid sh -c 'sleep @ & wait' &)";

fn tree(script: &str, marker: &str) -> Plan {
    sh(&script.replace('@', marker))
}

fn quick(mut plan: Plan) -> Plan {
    plan.limits.timeout = Duration::from_millis(400);
    plan
}

/// Runs, and cancels as soon as the program says something.
fn cancelled_when_ready(plan: Plan, action: impl Fn(&Cancel)) -> Run {
    let cancel = Cancel::new();
    run_with(plan, Stdin::Null, &cancel, |_, _| action(&cancel)).unwrap()
}

fn exit_codes_arrive() {
    for code in [0, 7, 124, 127, 255] {
        assert_eq!(
            run(sh(&format!("exit {code}"))).outcome(),
            Outcome::Exited { code }
        );
    }
    let report = run(plan("/bin/true", &[])).report;
    assert!(!report.leaked && !report.survivors && report.left_behind.is_none());
}

fn deaths_by_signal_arrive_as_such() {
    for signal in [1, 9, 11, 13, 15] {
        assert_eq!(
            run(sh(&format!("kill -{signal} $$"))).outcome(),
            Outcome::Signaled { signal }
        );
    }
}

fn a_timeout_ends_the_whole_tree() {
    let marker = marker();
    let run = run(quick(tree(&format!("{DAEMONS}; sleep @"), &marker)));
    assert_eq!(run.outcome(), Outcome::TimedOut);
    assert!(run.report.duration >= Duration::from_millis(400));
    assert!(!run.report.survivors);
    assert_eq!(alive(&marker), 0);
}

fn a_daemon_does_not_outlive_the_main_process() {
    let marker = marker();
    let run = run(tree(&format!("{DAEMONS}; exit 3"), &marker));
    assert_eq!(run.outcome(), Outcome::Exited { code: 3 });
    assert!(run.report.leaked && !run.report.survivors);
    assert_eq!(alive(&marker), 0);
}

fn inherited_pipes_do_not_hold_up_the_end() {
    for script in [
        "sleep @ & echo done",
        "sleep @ >/dev/null & echo done",
        "sleep @ 9>&1 >/dev/null 2>&1 & echo done",
    ] {
        let marker = marker();
        let run = run(tree(script, &marker));
        assert_eq!((run.outcome(), run.text()), (EXITED_0, "done\n"));
        assert!(run.report.leaked && !run.report.survivors);
        assert_eq!(alive(&marker), 0);
    }
}

fn a_program_may_end_in_good_order_after_a_timeout() {
    let mut plan = quick(sh("trap 'echo bye; exit 0' TERM; sleep 1000 & wait"));
    plan.limits.grace = Duration::from_secs(60);
    let run = run(plan);
    assert_eq!((run.outcome(), run.text()), (Outcome::TimedOut, "bye\n"));
}

fn a_stopped_program_ends() {
    let run = run(quick(sh("kill -STOP $$; echo continued")));
    assert_eq!((run.outcome(), run.text()), (Outcome::TimedOut, ""));
}

fn a_cancel_ends_the_whole_tree() {
    let marker = marker();
    let run = cancelled_when_ready(
        tree(&format!("{DAEMONS}; echo ready; sleep @"), &marker),
        Cancel::cancel,
    );
    assert_eq!((run.outcome(), run.text()), (Outcome::Cancelled, "ready\n"));
    assert_eq!(alive(&marker), 0);
}

fn a_cancelled_handle_starts_nothing() {
    let scratch = Scratch::new();
    let cancel = Cancel::new();
    cancel.cancel();
    let plan = plan("/bin/touch", &[scratch.0.join("started").to_str().unwrap()]);
    let run = run_with(plan, Stdin::Null, &cancel, |_, _| {}).unwrap();
    assert_eq!(run.outcome(), Outcome::Cancelled);
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 0);
}

fn a_signal_is_passed_on_and_the_program_decides() {
    let usr1 = |cancel: &Cancel| cancel.signal(10);
    let run = cancelled_when_ready(
        sh("trap 'exit 9' USR1; echo ready; sleep 1000 & wait"),
        usr1,
    );
    assert_eq!(run.outcome(), Outcome::Exited { code: 9 });
    let run = cancelled_when_ready(sh("echo ready; sleep 1000 & wait"), usr1);
    assert_eq!(run.outcome(), Outcome::Signaled { signal: 10 });
}

fn a_quick_chain_of_forks_ends() {
    let marker = marker();
    let run = run(tree(
        "chain() { chain @ & }; chain; echo on; exit 0",
        &marker,
    ));
    assert_eq!(run.outcome(), EXITED_0);
    assert!(!run.report.survivors);
    assert_eq!(alive(&marker), 0);
}

fn a_quick_chain_of_sessions_ends() {
    let marker = marker();
    let scratch = Scratch::new();
    let script = scratch.file("chain", "#!/bin/sh\nsetsid \"$0\" \"$1\" &\n", 0o755);
    let run = run(plan(script.to_str().unwrap(), &[&marker]));
    assert_eq!(run.outcome(), EXITED_0);
    assert!(!run.report.survivors);
    assert_eq!(alive(&marker), 0);
}

fn orphans_are_waited_for_during_the_run() {
    // The orphan's entry in /proc goes when it has been waited for.
    let run = run(sh(
        "orphan=$(sh -c 'sh -c : >/dev/null & echo $!'); while [ -e /proc/$orphan ]; do sleep 0.1; done",
    ));
    assert_eq!(run.outcome(), EXITED_0);
}

fn a_program_that_kills_the_helper_does_not_survive() {
    let marker = marker();
    let run = run(tree("sleep @ & kill -9 $PPID; sleep @", &marker));
    assert_eq!(run.outcome(), Outcome::Lost);
    eventually("all are dead", || alive(&marker) == 0);
}

fn a_program_that_stops_the_helper_gains_nothing() {
    let marker = marker();
    let run = run(quick(tree(
        &format!("{DAEMONS}; kill -STOP $PPID; sleep @"),
        &marker,
    )));
    assert_eq!(run.outcome(), Outcome::TimedOut);
    assert_eq!(alive(&marker), 0);
}

fn start_scenario(arguments: &[&str]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .arg("scenario")
        .args(arguments)
        .stdin(ChildStdio::null())
        .stdout(ChildStdio::piped());
    command.spawn().unwrap()
}

fn a_killed_caller_leaves_nothing() {
    let marker = marker();
    let mut caller = start_scenario(&["hold", &format!("{DAEMONS}; echo $HOME; sleep @"), &marker]);
    let mut home = String::new();
    BufReader::new(caller.stdout.as_mut().unwrap())
        .read_line(&mut home)
        .unwrap();
    assert!(Path::new(home.trim_end()).is_dir());
    assert!(alive(&marker) >= 4);
    caller.kill().unwrap();
    caller.wait().unwrap();
    eventually("the tree is dead", || alive(&marker) == 0);
    eventually("the directory is gone", || {
        !Path::new(home.trim_end()).exists()
    });
}

fn a_program_dies_with_its_helper_when_the_caller_cannot_help() {
    let marker = marker();
    let mut caller = start_scenario(&["hold", "echo $PPID; exec sleep @", &marker]);
    let mut helper = String::new();
    BufReader::new(caller.stdout.as_mut().unwrap())
        .read_line(&mut helper)
        .unwrap();
    let helper = Pid::from_raw(helper.trim_end().parse().unwrap()).unwrap();
    kill_process(Pid::from_child(&caller), Signal::STOP).unwrap();
    kill_process(helper, Signal::KILL).unwrap();
    // The caller carries the marker as well.
    eventually("the program is dead", || alive(&marker) == 1);
    caller.kill().unwrap();
    caller.wait().unwrap();
}

fn a_caller_that_panics_leaves_nothing() {
    let marker = marker();
    let plan = tree(&format!("{DAEMONS}; echo $HOME; sleep @"), &marker);
    let mut home = String::new();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = runner().run(plan, Stdin::Null, &Cancel::new(), &mut |_, bytes| {
            home.push_str(std::str::from_utf8(bytes).unwrap());
            std::panic::resume_unwind(Box::new("the reader panicked"))
        });
    }));
    assert!(caught.is_err());
    assert_eq!(alive(&marker), 0);
    assert!(home.starts_with('/') && !Path::new(home.trim_end()).exists());
}

fn many_runs_leave_no_descriptors_and_no_processes() {
    let status = start_scenario(&["many"]).wait().unwrap();
    assert!(status.success(), "{status}");
}

fn runs_at_the_same_time_do_not_mix() {
    thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                for round in 0..10 {
                    let run = run(sh(&format!("echo {number} {round}; exit {number}")));
                    assert_eq!(run.outcome(), Outcome::Exited { code: number });
                    assert_eq!(run.text(), format!("{number} {round}\n"));
                }
            });
        }
    });
}

/// What runs in a process of its own.
pub(crate) fn scenario(arguments: &[String]) -> ExitCode {
    match arguments.first().map(String::as_str) {
        Some("hold") => hold(&arguments[1], &arguments[2]),
        Some("many") => many(),
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// Runs a tree until killed, and passes on what it says.
fn hold(script: &str, marker: &str) {
    let plan = tree(script, marker);
    let _ = runner().run(plan, Stdin::Null, &Cancel::new(), &mut |_, bytes| {
        std::io::stdout().write_all(bytes).unwrap();
        ControlFlow::Continue(())
    });
}

fn many() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // The first run makes the copy of the helper, which stays.
    run(sh("exit 0"));
    let before = descriptors();
    for _ in 0..200 {
        let run = run(sh("echo $HOME"));
        assert_eq!(run.outcome(), EXITED_0);
        assert!(!Path::new(run.text().trim_end()).exists());
    }
    assert_eq!(descriptors(), before);
    let me = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/self/task/{me}/children")).unwrap();
    assert_eq!(children, "");
}
