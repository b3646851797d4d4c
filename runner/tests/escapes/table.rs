//! The table of cases: what is tried, which layers stop it, and what came of it here.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::{Mutex, PoisonError};

use libtest_mimic::{Arguments, Trial};
use secretctl_runner::{
    Cancel, Confinement, Enforcement, Jail, Network, Outcome, Plan, Runner, StartError, Stdin,
};

use crate::support::{Run, plan, run_on, runner, sh};

/// The layers that a machine can lack, as [`Runner::without`] switches them off. `files` and
/// `network` are what comes of these.
pub(crate) const SWITCHES: [&str; 8] = [
    "kill",
    "memory_directory",
    "user",
    "process_limit",
    "namespaces",
    "landlock",
    "system_calls",
    "environment",
];

/// One row: a test, and what it is about.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) number: u8,
    pub(crate) tried: &'static str,
    /// Each of them stops at least a part of it.
    pub(crate) layers: &'static [&'static str],
    pub(crate) test: fn(&mut Row),
}

/// Lists the cases of a module: the number, what is tried, the layers that stop it, the test.
macro_rules! cases {
    ($(($number:literal, $tried:literal, [$($layer:literal),*], $test:ident)),* $(,)?) => {
        pub(crate) const CASES: &[crate::table::Case] = &[$(crate::table::Case {
            name: concat!(module_path!(), "::", stringify!($test)),
            number: $number,
            tried: $tried,
            layers: &[$($layer),*],
            test: $test,
        }),*];
    };
}
pub(crate) use cases;

/// What came of a case, written down while it is tested.
pub(crate) struct Row {
    case: Case,
    stopped: BTreeSet<&'static str>,
    missing: BTreeSet<&'static str>,
    notes: Vec<String>,
    passed: bool,
}

impl Row {
    /// Whether one of these layers held, so that what was tried must have failed. Where none did,
    /// the report has to say so of each.
    pub(crate) fn is_stopped(&mut self, by: &[&'static str], enforcement: &Enforcement) -> bool {
        for layer in by {
            assert!(
                self.case.layers.contains(layer),
                "{layer} is not in the row"
            );
            if enforcement.has(layer) {
                self.stopped.insert(layer);
                return true;
            }
            assert_named_as_missing(enforcement, layer);
            self.missing.insert(layer);
        }
        false
    }

    /// What no layer could be missing for, or a remark on what the case cannot show.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// The attack program in the jail: the first layer that holds answers as said. It is tried with
    /// every layer, then without the first, and so on, as far as layers can be switched off; without
    /// any of them the attempt must come to `otherwise`, which shows that nothing else stopped it.
    /// The layer `user` is only there for root.
    pub(crate) fn attempt(
        &mut self,
        words: &[&str],
        jail: &Jail,
        answers: &[(&'static str, &str)],
        otherwise: &str,
    ) {
        let applies = |(layer, _): &&(&str, _)| *layer != "user" || is_root();
        let answers: Vec<_> = answers.iter().filter(applies).collect();
        let layers: Vec<_> = answers.iter().map(|(layer, _)| *layer).collect();
        for switched_off in 0..=layers.len() {
            let without = &layers[..switched_off];
            if without.iter().any(|layer| !SWITCHES.contains(layer)) {
                break;
            }
            let Some(runner) = runner_without(without) else {
                continue;
            };
            let run = jailed_on(&runner, attack(words), jail);
            let enforcement = &run.report.enforcement;
            for layer in without {
                assert_named_as_missing(enforcement, layer);
            }
            let holding = answers.iter().find(|(layer, _)| enforcement.has(layer));
            let expected = holding.map_or(otherwise, |(_, answer)| answer);
            assert_eq!(answer(&run), expected, "{words:?} without {without:?}");
            if without.is_empty() {
                self.is_stopped(&layers, enforcement);
            }
        }
    }

    fn result(&self) -> String {
        if !self.passed {
            return "FAILED".to_owned();
        }
        let mut parts = Vec::new();
        let list = |layers: &BTreeSet<&str>| layers.iter().copied().collect::<Vec<_>>().join(", ");
        if !self.stopped.is_empty() {
            parts.push(format!("stopped by {}", list(&self.stopped)));
        }
        if !self.missing.is_empty() {
            parts.push(format!("missing and named: {}", list(&self.missing)));
        }
        parts.extend(self.notes.iter().cloned());
        if parts.is_empty() {
            parts.push("as it should be".to_owned());
        }
        parts.join("; ")
    }
}

fn assert_named_as_missing(enforcement: &Enforcement, layer: &str) {
    let named = enforcement.missing().any(|missing| missing.name == layer);
    assert!(
        named,
        "{layer} neither holds nor is named as missing: {enforcement:?}"
    );
}

static ROWS: Mutex<Vec<Row>> = Mutex::new(Vec::new());

/// Kept also when the test panics.
struct Kept(Option<Row>);

impl Drop for Kept {
    fn drop(&mut self) {
        let rows = &mut *ROWS.lock().unwrap_or_else(PoisonError::into_inner);
        rows.extend(self.0.take());
    }
}

pub(crate) fn run(cases: &[&[Case]]) -> ExitCode {
    let trials = cases.concat().into_iter().map(|case| {
        Trial::test(format!("{:02}_{}", case.number, case.name), move || {
            let mut row = Kept(Some(Row {
                case,
                stopped: BTreeSet::new(),
                missing: BTreeSet::new(),
                notes: Vec::new(),
                passed: false,
            }));
            if let Some(row) = &mut row.0 {
                (case.test)(row);
                row.passed = true;
            }
            Ok(())
        })
    });
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials.collect());
    println!("{}", summary());
    conclusion.exit_code()
}

fn summary() -> String {
    let mut rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|row| (row.case.number, row.case.name));
    let width = rows.iter().map(|row| row.case.tried.len()).max();
    let width = width.unwrap_or_default();
    let mut text = String::new();
    for row in rows.iter() {
        let number = match row.case.number {
            0 => "  ".to_owned(),
            number => format!("{number:2}"),
        };
        let _ = writeln!(
            text,
            "{number}  {:width$}  {}",
            row.case.tried,
            row.result()
        );
    }
    text
}

/// The test program as what runs in the jail.
pub(crate) fn myself() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// The jail that lets the test program be executed.
pub(crate) fn jail(network: Network) -> Jail {
    Jail {
        network,
        readable: vec![myself()],
        ..Jail::default()
    }
}

/// The attack program with these words.
pub(crate) fn attack(words: &[&str]) -> Plan {
    let words = [&["attempt"], words].concat();
    plan(myself().to_str().unwrap(), &words)
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What comes of an attempt that no layer stops but the lack of root's capabilities, which others
/// have none of.
pub(crate) fn without_capabilities(as_root: &'static str) -> &'static str {
    if is_root() { as_root } else { "ok" }
}

/// The usual runner, less these layers: none where that cannot be had (a build without the switch).
pub(crate) fn runner_without(layers: &[&str]) -> Option<Runner> {
    if layers.is_empty() {
        return Some(runner());
    }
    #[cfg(debug_assertions)]
    return Some(runner().without(layers));
    #[cfg(not(debug_assertions))]
    None
}

/// A helper waits that knows nothing of the jail but its network, and one for another jail.
pub(crate) fn cold(runner: &Runner, network: Network) -> Result<(), StartError> {
    runner.warm_up(&Confinement::Jail(Jail {
        network,
        readable: vec!["/proc/version".into()],
        ..Jail::default()
    }))
}

/// With `START=cold` or `START=warm` in the environment all runs are started by helpers that were
/// started ahead.
pub(crate) fn try_jailed_on(
    runner: &Runner,
    mut plan: Plan,
    jail: &Jail,
) -> Result<Run, StartError> {
    plan.confinement = Confinement::Jail(jail.clone());
    match std::env::var("START").as_deref() {
        Ok("cold") => cold(runner, jail.network)?,
        Ok("warm") => runner.warm_up(&plan.confinement)?,
        _ => {}
    }
    run_on(runner, plan, Stdin::Null, &Cancel::new(), |_, _| {})
}

pub(crate) fn try_jailed(plan: Plan, jail: &Jail) -> Result<Run, StartError> {
    try_jailed_on(&runner(), plan, jail)
}

pub(crate) fn jailed_on(runner: &Runner, plan: Plan, jail: &Jail) -> Run {
    try_jailed_on(runner, plan, jail).unwrap()
}

pub(crate) fn jailed(plan: Plan, jail: &Jail) -> Run {
    jailed_on(&runner(), plan, jail)
}

/// A script in a jail without network.
pub(crate) fn jailed_sh(script: &str) -> Run {
    jailed(sh(script), &jail(Network::None))
}

/// What the attack program said, or the signal it died of.
pub(crate) fn answer(run: &Run) -> String {
    match run.outcome() {
        Outcome::Exited { code: 0 } => run.text().trim_end().to_owned(),
        Outcome::Signaled {
            signal: libc::SIGSYS,
        } => "SIGSYS".to_owned(),
        other => format!(
            "{other:?}: {} {}",
            run.text(),
            String::from_utf8_lossy(&run.stderr)
        ),
    }
}

/// The same attack by an ordinary process of this user: the control that shows what the machine
/// itself would have said.
pub(crate) fn outside(words: &[&str]) -> String {
    let output = Command::new(myself())
        .arg("attempt")
        .args(words)
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}
