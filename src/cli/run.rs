//! `secretctl run`

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::args::{NetworkArg, RunArgs};
use super::failure::{Failure, codes};
use super::output;
use super::unlock::Access;
use crate::broker::{
    Ahead, Cancel, Cause, Channel, Ended, Finished, Network, PersonDoor, PersonJail, PersonRun,
    RunError, Sanitized, Shown, Stdin, Stop,
};

pub(super) fn run(access: &Access, args: RunArgs) -> Result<u8, Failure> {
    // Every failure of ours has one code here, so that it cannot be taken for the command's own.
    let ours = |failure: Failure| failure.with_code(codes::RUN_FAILED);
    let ahead = Ahead::start(args.sandbox.then(|| network(&args)));
    let door = access.door().map_err(ours)?;
    let cancel = Cancel::new();
    forward_signals(&cancel).map_err(|error| ours(error.into()))?;
    let jail = (args.sandbox.then(|| jail(&door, &args)).transpose())
        .map_err(|error| Failure::of(error, &door).with_code(codes::RUN_FAILED))?;
    let run = PersonRun {
        keys: args.keys,
        command: args.command,
        env: args.env,
        env_prefix: args.env_prefix,
        timeout: args.timeout.0,
        jail,
    };
    let stdin = io::stdin();
    // The command gets no terminal: it could read what is typed for others, and programs would wait there for answers.
    let stdin = if stdin.is_terminal() {
        Stdin::Null
    } else {
        Stdin::Inherit(stdin.as_fd())
    };
    let mut raw = |channel, bytes: &[u8]| write(channel, bytes);
    let mut sanitized = |channel, output: &Sanitized| write(channel, output.as_bytes());
    let shown = if args.no_sanitize {
        Shown::Raw(&mut raw)
    } else {
        Shown::Sanitized(&mut sanitized)
    };
    door.take(ahead);
    let finished = door.run(run, stdin, &cancel, shown).map_err(|error| {
        let code = code(&error);
        let opens = args.sandbox && is_out_of_sight(&error);
        let failure = Failure::of(error, &door).with_code(code);
        if opens {
            failure.next("--read shows a file or directory to the sandbox")
        } else {
            failure
        }
    })?;
    finished.short.iter().for_each(output::warn_of_short);
    if args.sandbox {
        tell_what_is_missing(&finished);
    }
    Ok(match finished.ended {
        Ended::Exited(code) => u8::try_from(code).unwrap_or(codes::RUN_FAILED),
        Ended::Signaled(signal) => {
            codes::RUN_SIGNAL.saturating_add(u8::try_from(signal).unwrap_or(u8::MAX))
        }
        Ended::TimedOut => {
            Failure::new("the command was ended by its time limit")
                .next("--timeout sets another one")
                .print();
            codes::RUN_TIMED_OUT
        }
        Ended::Cancelled => codes::RUN_SIGNAL + 13, // SIGPIPE: nobody reads the output any more
    })
}

fn network(args: &RunArgs) -> Network {
    match args.network {
        NetworkArg::Allow => Network::Allow,
        NetworkArg::None => Network::None,
    }
}

/// The jail that the command line asks for.
fn jail(door: &PersonDoor, args: &RunArgs) -> Result<PersonJail, RunError> {
    let jail = door.jail(network(args), &args.read, &args.write)?;
    if let Some(fact) = jail.without_project() {
        output::ours(&format!("the command runs in an empty directory: {fact}"));
    }
    Ok(jail)
}

fn tell_what_is_missing(finished: &Finished) {
    let missing: Vec<&str> = finished
        .enforcement
        .missing()
        .map(|layer| layer.name.as_str())
        .collect();
    if !missing.is_empty() {
        output::ours(&format!("not enforced here: {}", missing.join(", ")));
    }
}

/// Whether the start failed for a file that may exist outside of the sandbox.
fn is_out_of_sight(error: &RunError) -> bool {
    matches!(error, RunError::Start { error, .. } if matches!(error.cause, Cause::NotFound | Cause::NoInterpreter))
}

fn code(error: &RunError) -> u8 {
    match error {
        RunError::ProgramNotFound(_) => codes::RUN_NOT_FOUND,
        RunError::Start { error, .. } if error.cause == Cause::NotFound => codes::RUN_NOT_FOUND,
        RunError::Start { .. } => codes::RUN_CANNOT_START,
        _ => codes::RUN_FAILED,
    }
}

/// Ctrl-C and its like go to the command, which may end in its own way.
fn forward_signals(cancel: &Cancel) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let cancel = cancel.clone();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                cancel.signal(signal);
            }
        })?;
    Ok(())
}

fn write(channel: Channel, bytes: &[u8]) -> ControlFlow<Stop> {
    let written = match channel {
        Channel::Stdout => write_all(&mut io::stdout().lock(), bytes),
        Channel::Stderr => write_all(&mut io::stderr().lock(), bytes),
    };
    match written {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(Stop),
    }
}

fn write_all(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}
