//! What a program in the jail may try, and what must stop it: each case is a row of a table, which
//! is printed at the end. Like the tests of `jail`, this program is its own helper program; it is
//! also the program that attacks (`attempt WORDS…`), the neighbour that looks on from outside
//! (`observe WORDS…`), and the caller that needs a process of its own (`scenario WORDS…`).

#![cfg_attr(
    target_os = "linux",
    expect(
        clippy::unwrap_used,
        reason = "a test ends at the first thing that is not as it should be"
    )
)]
#![expect(
    clippy::print_stdout,
    reason = "an attack answers, and the table is shown, on standard output"
)]

#[cfg(target_os = "linux")]
#[path = "../jail/support.rs"]
#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "shared with the target `jail`, which uses the rest"
)]
mod support;

#[cfg(target_os = "linux")]
mod ahead;
#[cfg(target_os = "linux")]
mod attack;
#[cfg(target_os = "linux")]
mod exec;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod intruder;
#[cfg(target_os = "linux")]
mod ladder;
#[cfg(target_os = "linux")]
mod leftovers;
#[cfg(target_os = "linux")]
mod lifetime;
#[cfg(target_os = "linux")]
mod many;
#[cfg(target_os = "linux")]
mod neighbours;
#[cfg(target_os = "linux")]
mod network;
#[cfg(target_os = "linux")]
mod observer;
#[cfg(target_os = "linux")]
mod processes;
#[cfg(target_os = "linux")]
mod raw;
#[cfg(target_os = "linux")]
mod scenario;
#[cfg(target_os = "linux")]
mod start;
#[cfg(target_os = "linux")]
mod streams;
#[cfg(target_os = "linux")]
mod table;
#[cfg(target_os = "linux")]
mod tools;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let rest = arguments.get(2..).unwrap_or_default();
    match arguments.get(1).map(String::as_str) {
        None if std::env::vars_os().next().is_none() => secretctl_runner::jail::main(),
        Some("attempt") => attack::main(rest),
        Some("observe") => observer::main(rest),
        Some("scenario") => scenario::main(rest),
        _ => table::run(&[
            lifetime::CASES,
            many::CASES,
            processes::CASES,
            neighbours::CASES,
            files::CASES,
            leftovers::CASES,
            network::CASES,
            streams::CASES,
            start::CASES,
            exec::CASES,
            ladder::CASES,
            ahead::CASES,
            tools::CASES,
        ]),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the cases are about the jail on Linux: none applies here");
}
