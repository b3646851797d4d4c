//! Black-box tests of the runner. Started without arguments and environment, with a socket as
//! standard input, this program is the helper program; `scenario NAME` runs one of the scenarios
//! that need a process of their own; otherwise it is an ordinary test program.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

mod support;

mod confinement;
mod directory;
mod lifetime;
mod output;
mod start;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        None if std::env::vars_os().next().is_none() => secretctl_runner::jail::main(),
        Some("scenario") => lifetime::scenario(&arguments[2..]),
        _ => run_tests(),
    }
}

fn run_tests() -> ExitCode {
    let tests = [
        start::TESTS,
        confinement::TESTS,
        lifetime::TESTS,
        directory::TESTS,
        output::TESTS,
    ]
    .concat();
    let trials = tests.into_iter().map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
