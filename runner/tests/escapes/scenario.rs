//! Callers of the runner that need a process of their own: to be killed, stopped or counted.

use std::fs;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use secretctl_runner::{Cancel, Confinement, Network, Runner, Stdin};

use crate::support::{plan, runner, sh, variable};
use crate::table::{cold, jail, myself, runner_without};
use crate::{many, streams};

/// Starts one; what it prints can be read.
pub(crate) fn start(words: &[&str]) -> Child {
    command(words).spawn().unwrap()
}

pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(myself());
    command
        .arg("scenario")
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

pub(crate) fn main(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match *words {
        ["hold", script, milliseconds, ref without @ ..] => {
            let timeout = Duration::from_millis(milliseconds.parse().unwrap());
            hold(script, timeout, without);
        }
        ["births", canary, runs] => births(canary, runs.parse().unwrap(), |secret| {
            run_with_secret(&runner(), secret);
        }),
        ["births-ahead", canary, runs] => {
            let runner = runner();
            births(canary, runs.parse().unwrap(), |secret| {
                cold(&runner, Network::None).unwrap();
                run_with_secret(&runner, secret);
            });
        }
        ["ordinary-births", canary, runs] => births(canary, runs.parse().unwrap(), ordinary),
        ["environment"] => environment(),
        ["flood"] => streams::flood(),
        ["in-a-row", runs, seed] => many::in_a_row(runs.parse().unwrap(), number(seed)),
        ["at-once", runs, seed] => many::at_once(runs.parse().unwrap(), number(seed)),
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// Runs a script, passes on what it says, and says how it ended.
fn hold(script: &str, timeout: Duration, without: &[&str]) {
    let mut plan = sh(script);
    plan.limits.timeout = timeout;
    plan.confinement = Confinement::Jail(jail(Network::None));
    let runner = runner_without(without).unwrap();
    let report = runner.run(plan, Stdin::Null, &Cancel::new(), &mut pass_on);
    println!("{:?}", report.unwrap().outcome);
}

/// Starts processes with a large secret, once somebody watches.
fn births(canary: &str, count: u32, start: impl Fn(&str)) {
    // As every program with secrets does; a new process shares its memory until it executes.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap();
    io::stdin().read_line(&mut String::new()).unwrap();
    let secret = canary.repeat(100_000 / canary.len());
    for _ in 0..count {
        start(&secret);
    }
}

fn run_with_secret(runner: &Runner, secret: &str) {
    let mut plan = sh("exit 0");
    plan.environment.push(variable("SECRET", secret));
    plan.confinement = Confinement::Jail(jail(Network::None));
    let run = runner.run(plan, Stdin::Null, &Cancel::new(), &mut pass_on);
    run.unwrap();
}

fn ordinary(secret: &str) {
    let mut sleep = Command::new("sleep");
    let mut sleep = sleep.arg("0.02").env("SECRET", secret).spawn().unwrap();
    sleep.wait().unwrap();
}

/// The environment of a program whose caller has another one.
fn environment() {
    let mut plan = plan("/usr/bin/env", &["-0"]);
    plan.confinement = Confinement::Jail(jail(Network::None));
    runner()
        .run(plan, Stdin::Null, &Cancel::new(), &mut pass_on)
        .unwrap();
}

fn pass_on(
    _channel: secretctl_runner::Channel,
    bytes: &[u8],
) -> ControlFlow<secretctl_runner::Stop> {
    io::stdout().write_all(bytes).unwrap();
    ControlFlow::Continue(())
}

/// Where directories of runs may lie.
pub(crate) fn bases() -> Vec<PathBuf> {
    let named = |name| std::env::var_os(name).map(PathBuf::from);
    [
        named("XDG_RUNTIME_DIR"),
        Some("/dev/shm".into()),
        named("TMPDIR"),
        Some("/tmp".into()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The directories of runs that exist.
pub(crate) fn directories() -> Vec<PathBuf> {
    let entries = bases()
        .into_iter()
        .filter_map(|base| fs::read_dir(base).ok());
    let mut found: Vec<_> = entries
        .flatten()
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("secretctl-run-")
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The directory of the run that has this file in it.
pub(crate) fn directory_with(file: &str) -> Option<PathBuf> {
    directories()
        .into_iter()
        .find(|directory| directory.join(file).symlink_metadata().is_ok())
}

/// A seed may be longer than what is used of it.
fn number(seed: &str) -> u64 {
    let seed: u128 = seed.parse().unwrap();
    seed as u64
}
