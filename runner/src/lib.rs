//! Plan in, Outcome out: starts one child process with exactly what its [`Plan`] says, and ends it
//! together with everything it started.
//!
//! Two processes work together. [`Runner::run`] is the calling side: it starts the helper program,
//! hands it the plan over a socket, and passes on the child's output. [`jail::main`] is the helper:
//! small and single-threaded, it may fork and execute whatever the size of the caller's memory, and
//! when the caller dies the socket tells it to end the run. Nothing of a plan ever stands in an
//! argument list or in the helper's own environment.
#![deny(unsafe_code)]

mod outcome;
mod plan;

#[cfg(unix)]
mod cancel;
#[cfg(unix)]
mod control;
#[cfg(unix)]
mod directory;
#[cfg(unix)]
mod helper;
#[cfg(unix)]
pub mod jail;
#[cfg(target_os = "linux")]
mod jailed;
#[cfg(unix)]
mod layers;
#[cfg(unix)]
mod prepare;
#[cfg(unix)]
mod steps;
#[cfg(unix)]
mod supervise;
#[cfg(unix)]
mod sys;
#[cfg(unix)]
mod tree;
#[cfg(unix)]
mod wait;
#[cfg(unix)]
mod wire;

#[cfg(not(unix))]
mod unsupported;

pub use outcome::{
    Cause, Channel, Enforcement, LAYERS, Layer, Outcome, Report, Sink, Stage, StartError, Stop,
};
pub use plan::{
    Confinement, FileId, Home, Jail, Limits, Network, Plan, Variable, WorkingDirectory,
};

#[cfg(not(unix))]
pub use unsupported::{Cancel, Runner, Stdin, jail};
#[cfg(unix)]
pub use {
    cancel::Cancel,
    supervise::{Runner, Stdin},
};
