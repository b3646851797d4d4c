//! Case 60: each layer switched off by itself. The run works or is refused if the plan requires the
//! layer, and the report is exact.

use std::collections::BTreeSet;

use secretctl_runner::{Cancel, Cause, Confinement, Network, Stage, StartError, Stdin};

use crate::support::{EXITED_0, run_on, runner, sh};
use crate::table::{Row, cases, jail, jailed_on, runner_without};

cases![
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
    let root = rustix::process::geteuid().is_root();
    names
        .into_iter()
        .filter(|name| root || *name != "user")
        .collect()
}

/// What goes with a layer that is switched off.
const LADDER: &[(&str, &[&str])] = &[
    ("namespaces", &["files", "process_limit"]),
    ("files", &[]),
    ("landlock", &[]),
    ("network", &[]),
    ("system_calls", &[]),
    ("environment", &[]),
    ("process_limit", &[]),
    ("user", &[]),
    ("memory_directory", &[]),
];

fn each_layer_can_be_missing(row: &mut Row) {
    let jail = jail(Network::None);
    let everything: Vec<_> = LADDER.iter().map(|(layer, _)| *layer).collect();
    let single = LADDER
        .iter()
        .map(|(layer, with_it)| (vec![*layer], [&[*layer], *with_it].concat()));
    let whole = (everything.clone(), everything);
    for (switched_off, missing) in single.chain([whole]) {
        let known: Vec<_> = all();
        if switched_off.len() == 1 && !known.contains(&switched_off[0]) {
            row.note(format!(
                "{} is not applicable: not started as root",
                switched_off[0]
            ));
            continue;
        }
        let Some(runner) = runner_without(&switched_off) else {
            row.note("not applicable: a release build has no switch");
            return;
        };
        let run = jailed_on(&runner, sh("echo works"), &jail);
        assert_eq!(
            (run.outcome(), run.text()),
            (EXITED_0, "works\n"),
            "without {switched_off:?}"
        );
        let layers = &run.report.enforcement.layers;
        let names: Vec<_> = layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, known, "without {switched_off:?}");
        let found: BTreeSet<_> = run
            .report
            .enforcement
            .missing()
            .map(|layer| layer.name.as_str())
            .collect();
        let expected: BTreeSet<_> = missing
            .iter()
            .copied()
            .filter(|name| known.contains(name))
            .collect();
        assert_eq!(found, expected, "without {switched_off:?}");
        assert!(layers.iter().all(|layer| !layer.detail.is_empty()));
        for layer in found {
            let mut plan = sh("echo must not run");
            plan.require = vec!["session".to_owned(), layer.to_owned()];
            plan.confinement = Confinement::Jail(jail.clone());
            let refusal = run_on(&runner, plan, Stdin::Null, &Cancel::new(), |_, _| {
                panic!("it ran")
            });
            let cause = Cause::LayerMissing(layer.to_owned());
            assert_eq!(
                refusal.err(),
                Some(StartError {
                    stage: Stage::Confinement,
                    cause
                })
            );
        }
    }
    row.note("works without, refused when required, the report exact");
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
