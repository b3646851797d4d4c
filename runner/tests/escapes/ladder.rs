//! Case 60: each layer switched off by itself. The run works or is refused if the plan requires the
//! layer, and the report is exact.

use std::collections::BTreeSet;

use secretctl_runner::{Cause, Confinement, Network, Stage, StartError};

use crate::support::{EXITED_0, Scratch, plan, runner, sh};
use crate::table::{Row, SWITCHES, cases, is_root, jail, jailed, runner_without, try_jailed_on};

cases![
    (
        60,
        "what holds on this machine",
        [],
        the_machine_says_what_it_has
    ),
    (
        60,
        "each layer missing by itself, and all at once",
        [],
        each_layer_can_be_missing
    ),
    (
        60,
        "a layer fails that every system has",
        [],
        what_every_system_has_cannot_be_missing
    ),
    (
        60,
        "what the machine has, asked without a run",
        [],
        a_probe_says_what_a_run_says
    ),
];

/// The names of all layers, in order; `user` only where the runner was started as root.
fn all() -> Vec<&'static str> {
    let names = [
        "session",
        "descriptors",
        "limits",
        "core",
        "capabilities",
        "no_new_privileges",
        "kill",
        "memory_directory",
        "user",
        "process_limit",
        "namespaces",
        "files",
        "landlock",
        "network",
        "system_calls",
        "environment",
    ];
    names
        .into_iter()
        .filter(|name| is_root() || *name != "user")
        .collect()
}

/// What does not hold when these layers are switched off.
fn missing(switched_off: &[&str]) -> BTreeSet<&'static str> {
    let off = |layer| switched_off.contains(&layer);
    let own_root = is_root() && off("user");
    // Each of these goes with the namespaces.
    let among_others = off("namespaces") || off("kill") || off("memory_directory");
    let rules = [
        ("kill", off("kill")),
        ("memory_directory", off("memory_directory")),
        ("user", own_root),
        // Among others the kernel counts all processes of a user, and root's nowhere.
        (
            "process_limit",
            off("process_limit") || own_root || among_others && !is_root(),
        ),
        ("namespaces", among_others),
        ("files", among_others && off("landlock")),
        ("landlock", off("landlock")),
        ("network", off("system_calls")),
        ("system_calls", off("system_calls")),
        // The unreadable loader stands in a view of the file system.
        ("environment", off("environment") || among_others),
    ];
    let missing = rules.into_iter().filter(|(_, is_missing)| *is_missing);
    missing.map(|(layer, _)| layer).collect()
}

/// None, each one, each two, and all.
fn combinations() -> Vec<Vec<&'static str>> {
    let known = all();
    let switches = SWITCHES.into_iter().filter(|layer| known.contains(layer));
    let switches: Vec<_> = switches.collect();
    let mut combinations = vec![Vec::new(), switches.clone()];
    for (at, one) in switches.iter().enumerate() {
        combinations.push(vec![*one]);
        combinations.extend(switches[..at].iter().map(|other| vec![*one, *other]));
    }
    combinations
}

fn each_layer_can_be_missing(row: &mut Row) {
    let jail = jail(Network::None);
    let known = all();
    for switched_off in combinations() {
        let Some(runner) = runner_without(&switched_off) else {
            return row.note("not applicable: a release build has no switch");
        };
        let start = |plan| try_jailed_on(&runner, plan, &jail);
        let run = match start(sh("echo works; sleep 0.1")) {
            Ok(run) => run,
            Err(error) => {
                let no_disk = error.stage == Stage::Directory;
                assert!(no_disk && switched_off.contains(&"memory_directory"));
                row.note("not applicable: every directory for temporary files is in memory");
                continue;
            }
        };
        let said = (run.outcome(), run.text());
        assert_eq!(said, (EXITED_0, "works\n"), "without {switched_off:?}");
        let layers = &run.report.enforcement.layers;
        let names: Vec<_> = layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, known, "without {switched_off:?}");
        let found = run.report.enforcement.missing();
        let found: BTreeSet<_> = found.map(|layer| layer.name.as_str()).collect();
        assert_eq!(found, missing(&switched_off), "without {switched_off:?}");
        assert!(layers.iter().all(|layer| !layer.detail.is_empty()));
        for layer in found {
            let mut plan = sh("exit 0");
            plan.require = vec!["session".to_owned(), layer.to_owned()];
            let stage = Stage::Confinement;
            let cause = Cause::LayerMissing(layer.to_owned());
            assert_eq!(start(plan).err(), Some(StartError { stage, cause }));
        }
    }
    row.note("works without, refused when required, the report exact: one by one, two by two, all");
}

fn what_every_system_has_cannot_be_missing(row: &mut Row) {
    for (layer, stage) in [
        ("session", Stage::Session),
        ("descriptors", Stage::Descriptors),
        ("limits", Stage::Limits),
        ("core", Stage::Limits),
        ("capabilities", Stage::Privileges),
        ("no_new_privileges", Stage::Privileges),
    ] {
        let Some(runner) = runner_without(&[layer]) else {
            return row.note("not applicable: a release build has no switch");
        };
        let scratch = Scratch::new();
        let started = scratch.0.join("started");
        let plan = plan("/bin/touch", &[started.to_str().unwrap()]);
        let mut jail = jail(Network::None);
        jail.writable.push(scratch.0.clone());
        let refusal = try_jailed_on(&runner, plan, &jail);
        let cause = Cause::Os(libc::EPERM);
        assert_eq!(refusal.err(), Some(StartError { stage, cause }), "{layer}");
        assert!(!started.exists(), "{layer}");
    }
    row.note("nothing starts");
}

fn the_machine_says_what_it_has(row: &mut Row) {
    let run = jailed(sh("sleep 0.1"), &jail(Network::None));
    let missing = run.report.enforcement.missing();
    let missing: Vec<_> = missing.map(|layer| layer.name.as_str()).collect();
    row.note(match missing[..] {
        [] => "all layers hold".to_owned(),
        _ => format!("missing and named: {}", missing.join(", ")),
    });
}

fn a_probe_says_what_a_run_says(row: &mut Row) {
    for network in [Network::None, Network::Allow] {
        let jail = jail(network);
        let run = jailed(sh("sleep 0.1"), &jail);
        let probe = runner().probe(&Confinement::Jail(jail));
        assert_eq!(probe.unwrap(), run.report.enforcement);
    }
    row.note("the same");
}
