//! Cases 22 and 23: other processes of the same user do not get at the secrets of a run.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use secretctl_runner::{Cancel, Confinement, Enforcement, Network, Outcome, Plan, Stdin};

use crate::lifetime::first_line;
use crate::observer::{self, denied, looks_at, looks_at_an_ordinary_process, parent_of, user_of};
use crate::support::{
    Run, Scratch, eventually, marked, marker, plan, run_on, runner, sh, variable,
};
use crate::table::{Row, cases, is_root, jail, jailed, myself};
use crate::{scenario, tools};

cases![
    (
        22,
        "a neighbour looks at a dynamically linked program",
        ["environment"],
        a_neighbour_does_not_see_a_programs_environment
    ),
    (
        22,
        "a neighbour looks at a script",
        ["environment"],
        a_neighbour_does_not_see_a_scripts_environment
    ),
    (
        22,
        "a neighbour looks at a grandchild",
        ["environment"],
        a_neighbour_does_not_see_a_grandchilds_environment
    ),
    (
        22,
        "a neighbour looks at a static program",
        ["environment"],
        a_neighbour_does_not_see_a_static_programs_environment
    ),
    (
        22,
        "a neighbour reads all environments while runs come and go",
        ["environment"],
        a_quick_neighbour_sees_nothing_either
    ),
    (
        23,
        "a neighbour opens the helper's memory when it is born, and reads it later",
        [],
        a_neighbour_keeps_no_memory_of_a_newborn_helper
    ),
    (
        23,
        "a neighbour takes the helper's socket when it is born",
        [],
        a_neighbour_takes_nothing_from_a_newborn_helper
    ),
    (
        23,
        "a neighbour looks at the helper",
        [],
        the_helper_shows_nothing
    ),
];

/// Lets a neighbour look at each process of a running plan that has the marker, when it has said
/// that it is ready.
fn looked_at(
    mut plan: Plan,
    readable: Vec<PathBuf>,
    marker: &str,
    count: usize,
) -> (Run, Vec<(u32, observer::Looks)>) {
    let mut jail = jail(Network::None);
    jail.readable.extend(readable);
    plan.confinement = Confinement::Jail(jail);
    plan.environment.push(variable("SECRET", "canary"));
    let mut looks = Vec::new();
    let cancel = Cancel::new();
    let run = run_on(&runner(), plan, Stdin::Null, &cancel, |_, _| {
        // "ready" is said by one process, while others may still be within their exec, where they
        // have no command line.
        let mut pids = Vec::new();
        eventually("all have a command line", || {
            pids = marked(marker);
            pids.len() == count
        });
        for pid in pids {
            let user = user_of(pid);
            looks.push((user, looks_at(user, pid)));
        }
        cancel.cancel();
    });
    let run = run.unwrap();
    assert_eq!(run.outcome(), Outcome::Cancelled);
    (run, looks)
}

fn is_hidden(row: &mut Row, enforcement: &Enforcement, looks: Vec<(u32, observer::Looks)>) {
    let [(user, _), ..] = looks[..] else {
        panic!("nobody was looked at")
    };
    // Where the machine itself forbids more (Yama), that shows here.
    let ordinary = looks_at_an_ordinary_process(user);
    assert_eq!(ordinary[..2], ["ok", "ok"]);
    if ordinary.iter().any(|answer| answer != "ok") {
        row.note(format!("an ordinary process shows {ordinary:?} here"));
    }
    if row.is_stopped(&["environment"], enforcement) {
        for (_, look) in looks {
            assert_eq!(look, denied());
        }
    }
    row.note("root itself always can");
}

fn a_neighbour_does_not_see_a_programs_environment(row: &mut Row) {
    let marker = marker();
    let plan = sh(&format!("mkfifo f; echo ready; : {marker} <f"));
    let (run, looks) = looked_at(plan, Vec::new(), &marker, 1);
    is_hidden(row, &run.report.enforcement, looks);
}

fn a_neighbour_does_not_see_a_scripts_environment(row: &mut Row) {
    let marker = marker();
    let scratch = Scratch::new();
    let script = scratch.file("script", "#!/bin/bash\nmkfifo f\necho ready\n: <f\n", 0o755);
    let plan = plan(script.to_str().unwrap(), &[&marker]);
    let (run, looks) = looked_at(plan, vec![script], &marker, 1);
    is_hidden(row, &run.report.enforcement, looks);
}

fn a_neighbour_does_not_see_a_grandchilds_environment(row: &mut Row) {
    let marker = marker();
    let script = "sleep @ & sh -c 'sleep $0 & echo ready; wait' @";
    let plan = sh(&script.replace('@', &marker));
    let (run, looks) = looked_at(plan, Vec::new(), &marker, 4);
    is_hidden(row, &run.report.enforcement, looks);
}

fn a_neighbour_does_not_see_a_static_programs_environment(row: &mut Row) {
    let scratch = Scratch::new();
    let Some(program) = tools::static_program(row, &scratch) else {
        return;
    };
    let marker = marker();
    let plan = plan(program.to_str().unwrap(), &[&marker]);
    let (run, looks) = looked_at(plan, vec![program.clone()], &marker, 1);
    is_hidden(row, &run.report.enforcement, looks);

    // What a run starts itself is not changed by us.
    let marker = crate::support::marker();
    let plan = sh(&format!("{} {marker}; exit 1", program.display()));
    let (_, looks) = looked_at(plan, vec![program], &marker, 2);
    if looks.iter().any(|(_, look)| *look != denied()) {
        row.note("a static program that the program starts shows its environment");
    }
}

fn a_quick_neighbour_sees_nothing_either(row: &mut Row) {
    let user = rustix::process::geteuid().as_raw();
    let [before, hidden, after] = [marker(), marker(), marker()];
    let mut neighbour = observer::start(user, &["everything", &before, &hidden, &after]);
    let shows = |canary: &str| {
        let mut ordinary = Command::new(myself());
        ordinary.args(["observe", "wait"]).env("SECRET", canary);
        ordinary.stdin(Stdio::piped()).stdout(Stdio::piped());
        ordinary.spawn().unwrap()
    };
    // It is quick enough to see an ordinary process that lives until it was seen, before the runs
    // and after them.
    let mut seen = |canary: &str| {
        let mut ordinary = shows(canary);
        let line = first_line(&mut neighbour);
        ordinary.kill().unwrap();
        ordinary.wait().unwrap();
        line
    };
    assert_eq!(seen(&before), format!("{before}\n"));
    let mut enforcement = Enforcement::default();
    for _ in 0..50 {
        let mut plan = sh("i=0; while [ $i -lt 50 ]; do /bin/true; i=$((i+1)); done");
        plan.environment.push(variable("SECRET", &hidden));
        enforcement = jailed(plan, &jail(Network::None)).report.enforcement;
    }
    let next = seen(&after);
    drop(neighbour.stdin.take());
    neighbour.wait().unwrap();
    if row.is_stopped(&["environment"], &enforcement) {
        assert_eq!(next, format!("{after}\n"));
    }
    if is_root() {
        row.note("as root the neighbour is root without capabilities: the program's own user has no other process");
    }
}

fn the_helper_shows_nothing(row: &mut Row) {
    let marker = marker();
    let me: i32 = std::process::id().try_into().unwrap();
    let own = myself();
    let mut plan = sh(&format!("mkfifo f; echo ready; : {marker} <f"));
    plan.environment.push(variable("SECRET", "canary"));
    plan.confinement = Confinement::Jail(jail(Network::None));
    let cancel = Cancel::new();
    let mut helpers = 0;
    run_on(&runner(), plan, Stdin::Null, &cancel, |_, _| {
        let mut pid = parent_of(marked(&marker)[0]);
        while pid != me {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
            let line = String::from_utf8(line).unwrap();
            assert_eq!(line.trim_end_matches('\0'), own.to_str().unwrap());
            assert_eq!(looks_at(user_of(pid), pid), denied());
            // Root sees it, and finds nothing.
            let environ = std::fs::read(format!("/proc/{pid}/environ"));
            assert!(environ.is_err() || environ.unwrap().is_empty());
            helpers += 1;
            pid = parent_of(pid);
        }
        cancel.cancel();
    })
    .unwrap();
    assert!(helpers > 0);
    row.note(format!(
        "{helpers} processes of the helper looked at: nothing in them"
    ));
}

/// What an intruder says who watches the births of a number of processes.
fn intrude(how: &str, births: &str) -> String {
    let user = rustix::process::geteuid().as_raw();
    let canary = marker();
    let mut caller = scenario::command(&[births, &canary, "200"]);
    let mut caller = caller.stdin(Stdio::piped()).spawn().unwrap();
    let pid = caller.id().to_string();
    let mut intruder = observer::start(user, &["intrude", how, &pid, &canary]);
    let mut lines = BufReader::new(intruder.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "watching");
    drop(caller.stdin.take());
    assert!(caller.wait().unwrap().success());
    drop(intruder.stdin.take());
    intruder.wait().unwrap();
    lines.map_while(Result::ok).collect::<Vec<_>>().join("; ")
}

/// The same intruder gets at ordinary processes, unless the machine itself forbids it (Yama).
fn gets_nothing(row: &mut Row, how: &str) {
    if intrude(how, "ordinary-births") == "nothing" {
        row.note("ordinary processes of this user are closed to its neighbours, too");
    }
    assert_eq!(intrude(how, "births"), "nothing");
    assert_eq!(intrude(how, "births-ahead"), "nothing");
    row.note("nothing");
}

fn a_neighbour_keeps_no_memory_of_a_newborn_helper(row: &mut Row) {
    gets_nothing(row, "memory");
}

fn a_neighbour_takes_nothing_from_a_newborn_helper(row: &mut Row) {
    gets_nothing(row, "descriptors");
}
