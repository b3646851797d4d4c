//! Plan in, Outcome out: starts one child process with exactly what its [`Plan`] says, and ends it
//! together with everything it started.
//!
//! The processes of a run in the jail, from the caller to the program:
//!
//! ```text
//! caller ──posix_spawn──▶ helper ──▶ first process of the namespaces ──▶ the program
//!        ◀── socket ───▶ (jail)     (tree::namespace, steps::view)      (steps)
//! ```
//!
//! [`Runner::run`] is the calling side: it starts the helper program, hands it the plan over a
//! socket, and passes on the program's output. [`jail::main`] is the helper: small and
//! single-threaded, it may fork whatever the size of the caller's memory, and when the caller dies
//! the socket tells it to end the run. It learns of the run in three steps, and at each does all that
//! is possible, so that it can be started ahead ([`Runner::warm_up`]): that there will be a jail, which
//! one, and the plan. Those that are started ahead are forks of one that never learns of any. The first
//! process of the namespaces builds the run's view of the file system, and ends everybody with itself.
//! Without namespaces the program is the helper's own child. Nothing of a plan ever stands in an argument list or in the environment of
//! any of these but the program.
#![deny(unsafe_code)]

mod outcome;
mod plan;

#[cfg(unix)]
mod buffer;
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
#[cfg(target_os = "linux")]
mod origin;
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
mod waiting;
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

/// Programs that this process starts from now on get none of the descriptors above 2 that it was given itself: one that lives for long
/// would hold a lock or a pipe of somebody else's for as long.
#[cfg(unix)]
pub fn bequeath_nothing() {
    sys::descriptors_above_2(sys::Above2::CloseOnExec);
}

#[cfg(not(unix))]
pub use unsupported::{Cancel, Runner, Stdin, jail};
#[cfg(unix)]
pub use {
    cancel::Cancel,
    supervise::{Runner, Stdin},
};
