//! Runs by helpers that were started ahead: the jail is the same, and whoever harms the helper does
//! not get a run with less of it.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::gettid;
use secretctl_runner::{Cancel, Confinement, Home, Jail, Network, Runner, Stdin, WorkingDirectory};

use crate::support::{EXITED_0, Scratch, eventually, run_on, runner, sh};
use crate::table::{Row, cases, cold, jailed_on};

cases![
    (
        60,
        "a jail made in one go, in two steps, and all of it ahead",
        [],
        every_way_makes_the_same_jail
    ),
    (
        60,
        "the processes of a helper that waits are killed",
        [],
        what_was_killed_is_made_again
    ),
    (
        60,
        "the process that makes the helpers is killed, or stopped",
        [],
        nobody_depends_on_the_origin
    ),
    (
        60,
        "a helper is started for the one run that is expected",
        [],
        what_is_expected_needs_no_other_helper
    ),
];

fn every_way_makes_the_same_jail(row: &mut Row) {
    let project = Scratch::new();
    let other = Scratch::new();
    project.file("notes", "read", 0o644);
    fs::create_dir(project.0.join("vault")).unwrap();
    project.file("vault/key", "hidden", 0o644);
    other.file("notes", "read", 0o644);
    let jail = Jail {
        network: Network::None,
        writable: vec![project.0.clone()],
        readable: vec![other.0.clone()],
        // One of the system's own places, and a part of another one.
        hidden: vec![project.0.join("vault"), "/etc".into(), "/usr/share".into()],
    };
    let script = format!(
        "cat {project}/notes {other}/notes; echo written > {project}/new && cat {project}/new;
        ls -A {project}/vault /usr/share /etc; ls -A /tmp | wc -l; ls /home /root 2>&1 | wc -l;
        echo x 2>&- >{other}/new || echo no",
        project = project.0.display(),
        other = other.0.display(),
    );
    let mut seen = Vec::new();
    for network in [Network::None, Network::Allow] {
        let jail = Jail {
            network,
            ..jail.clone()
        };
        let confinement = Confinement::Jail(jail.clone());
        let ways: [&dyn Fn(&Runner); 4] = [
            &|_| {},
            &|runner| cold(runner, network).unwrap(),
            // It expects another network, and has to begin again.
            &|runner| {
                cold(
                    runner,
                    if network == Network::None {
                        Network::Allow
                    } else {
                        Network::None
                    },
                )
                .unwrap()
            },
            &|runner| runner.warm_up(&confinement).unwrap(),
        ];
        for prepare in ways {
            let runner = runner();
            prepare(&runner);
            let run = jailed_on(&runner, sh(&script), &jail);
            assert_eq!(run.outcome(), EXITED_0);
            seen.push((run.text().to_owned(), run.report.enforcement.clone()));
        }
    }
    let vault = project.0.join("vault");
    let expected = format!(
        "readreadwritten\n{}:\n\n/usr/share:\n2\n2\nno\n",
        vault.display()
    );
    assert_eq!(seen[0].0, expected);
    for (text, enforcement) in &seen {
        assert_eq!(
            (text, enforcement.has("files")),
            (&seen[0].0, seen[0].1.has("files"))
        );
    }
    for same in [&seen[..4], &seen[4..]] {
        assert!(
            same.iter()
                .all(|(_, enforcement)| *enforcement == same[0].1)
        );
    }
    row.note("what it sees and what is reported is the same");
}

/// The children of a thread, or of a process with one thread.
fn children(of: Pid) -> Vec<Pid> {
    let number = of.as_raw_pid();
    let tasks = if of == gettid() {
        "self".to_owned()
    } else {
        number.to_string()
    };
    let list = fs::read_to_string(format!("/proc/{tasks}/task/{number}/children"));
    let list = list.unwrap_or_default();
    let numbers = list.split_whitespace().filter_map(|word| word.parse().ok());
    numbers.filter_map(Pid::from_raw).collect()
}

fn is_dead(process: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_pid()));
    status.map_or(true, |status| status.contains("State:\tZ"))
}

fn what_was_killed_is_made_again(row: &mut Row) {
    let jail = Jail::default();
    let whole = jailed_on(&runner(), sh("exit"), &jail).report.enforcement;
    for levels in 1..=3 {
        let runner = runner();
        cold(&runner, jail.network).unwrap();
        // Helper, first process of the namespaces, and the one that becomes the program. There are
        // two of each; beside the helpers stands the one that they come from.
        let there = if levels == 1 { 3 } else { 2 };
        let mut level = Vec::new();
        eventually("it is there", || {
            level = vec![gettid()];
            for _ in 0..levels {
                level = level.iter().copied().flat_map(children).collect();
            }
            level.len() == there
        });
        for process in level {
            // One that was only there for a moment may be gone: the helper was not done yet.
            let killed = kill_process(process, Signal::KILL);
            assert!(matches!(killed, Ok(()) | Err(Errno::SRCH)));
            eventually("it is dead", || is_dead(process));
        }
        let run = jailed_on(&runner, sh("echo alive"), &jail);
        assert_eq!((run.outcome(), run.text()), (EXITED_0, "alive\n"));
        assert_eq!(run.report.enforcement, whole);
    }
    row.note("made again, as whole as before");
}

fn nobody_depends_on_the_origin(row: &mut Row) {
    let jail = Jail::default();
    let whole = jailed_on(&runner(), sh("exit"), &jail).report.enforcement;
    for signal in [Signal::KILL, Signal::STOP] {
        let runner = runner();
        cold(&runner, jail.network).unwrap();
        // They are listed by age.
        let origin = children(gettid())[0];
        kill_process(origin, signal).unwrap();
        for _ in 0..3 {
            let run = jailed_on(&runner, sh("echo alive"), &jail);
            assert_eq!((run.outcome(), run.text()), (EXITED_0, "alive\n"));
            assert!(!run.report.survivors);
            assert_eq!(run.report.enforcement, whole);
            cold(&runner, jail.network).unwrap();
        }
        assert!(is_dead(origin));
        drop(runner);
        assert_eq!(children(gettid()), []);
    }
    row.note("helpers are started without it, then by another one");
}

fn what_is_expected_needs_no_other_helper(row: &mut Row) {
    let open = || {
        let mut plan = sh("echo alive");
        plan.home = Home::Unchanged;
        plan.working_directory = WorkingDirectory::At("/".into());
        plan
    };
    let jailed = |network| {
        let mut plan = sh("echo alive");
        plan.confinement = Confinement::Jail(Jail {
            network,
            ..Jail::default()
        });
        plan
    };
    let (allow, none) = (Network::Allow, Network::None);
    for (expected, plan, is_used) in [
        (None, open(), true),
        (Some(allow), jailed(allow), true),
        (Some(none), jailed(none), true),
        (None, jailed(allow), false),
        (Some(none), jailed(allow), false),
        (Some(allow), open(), false),
    ] {
        let runner = runner();
        runner.expect(expected).unwrap();
        let ahead = children(gettid());
        assert_eq!(ahead.len(), 1);
        let mut during = Vec::new();
        let look = |_, _: &[u8]| during = children(gettid());
        let run = run_on(&runner, plan, Stdin::Null, &Cancel::new(), look).unwrap();
        assert_eq!((run.outcome(), run.text()), (EXITED_0, "alive\n"));
        assert_eq!(during == ahead, is_used, "{expected:?}");
        drop(runner);
        assert_eq!(children(gettid()), []);
    }
    row.note("that one runs it, and no run of another kind");
}
