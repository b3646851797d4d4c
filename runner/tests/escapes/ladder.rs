//! Case 60: each layer switched off by itself. The run works or is refused if the plan requires the
//! layer, and the report is exact.

use std::collections::BTreeSet;

use secretctl_runner::{Cancel, Cause, Confinement, Network, Stage, StartError, Stdin};

use crate::support::{EXITED_0, run_on, runner, sh};
use crate::table::{Row, SWITCHES, cases, is_root, jail, jailed, jailed_on, runner_without};

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
    let root = is_root();
    let mut missing = BTreeSet::new();
    for (is_missing, layer) in [
        (off("namespaces"), "namespaces"),
        (off("landlock"), "landlock"),
        (off("system_calls"), "system_calls"),
        (off("system_calls"), "network"),
        (off("namespaces") && off("landlock"), "files"),
        // The unreadable loader stands in a view of the file system.
        (off("namespaces") || off("environment"), "environment"),
        (root && off("user"), "user"),
        // Without a namespace the kernel counts all processes of a user, and root's never.
        (
            off("namespaces") && !root || root && off("user"),
            "process_limit",
        ),
    ] {
        if is_missing {
            missing.insert(layer);
        }
    }
    missing
}

/// Each of the switches may be off: all combinations.
fn combinations() -> Vec<Vec<&'static str>> {
    let known = all();
    let switches: Vec<_> = SWITCHES
        .into_iter()
        .filter(|layer| known.contains(layer))
        .collect();
    (0..1 << switches.len())
        .map(|bits: usize| {
            let off = |(at, _): &(usize, &&'static str)| bits >> at & 1 == 1;
            let chosen = switches.iter().enumerate().filter(off);
            chosen.map(|(_, layer)| *layer).collect()
        })
        .collect()
}

fn each_layer_can_be_missing(row: &mut Row) {
    let jail = jail(Network::None);
    let known = all();
    for switched_off in combinations() {
        let Some(runner) = runner_without(&switched_off) else {
            row.note("not applicable: a release build has no switch");
            return;
        };
        let run = jailed_on(&runner, sh("echo works; sleep 0.1"), &jail);
        assert_eq!(
            (run.outcome(), run.text()),
            (EXITED_0, "works\n"),
            "without {switched_off:?}"
        );
        let layers = &run.report.enforcement.layers;
        let names: Vec<_> = layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, known, "without {switched_off:?}");
        let found = run.report.enforcement.missing();
        let found: BTreeSet<_> = found.map(|layer| layer.name.as_str()).collect();
        assert_eq!(found, missing(&switched_off), "without {switched_off:?}");
        assert!(layers.iter().all(|layer| !layer.detail.is_empty()));
        for layer in found {
            let mut plan = sh("echo must not run");
            plan.require = vec!["session".to_owned(), layer.to_owned()];
            plan.confinement = Confinement::Jail(jail.clone());
            let refusal = run_on(&runner, plan, Stdin::Null, &Cancel::new(), |_, _| {
                panic!("it ran")
            });
            let refusal = refusal.err();
            let cause = Cause::LayerMissing(layer.to_owned());
            let stage = Stage::Confinement;
            assert_eq!(refusal, Some(StartError { stage, cause }));
        }
    }
    row.note("works without, refused when required, the report exact, in all combinations");
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
        let confinement = Confinement::Jail(jail(network));
        let mut plan = sh("exit 0");
        plan.confinement = confinement.clone();
        let run = run_on(&runner(), plan, Stdin::Null, &Cancel::new(), |_, _| {}).unwrap();
        assert_eq!(
            runner().probe(&confinement).unwrap(),
            run.report.enforcement
        );
    }
    row.note("the same");
}
