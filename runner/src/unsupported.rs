//! The same names where there is no runner yet: every start is refused, and says why.
#![forbid(unsafe_code)]

use std::marker::PhantomData;
use std::path::PathBuf;

use crate::outcome::{Cause, Enforcement, Report, Sink, Stage, StartError};
use crate::plan::{Confinement, Network, Plan};

const REFUSAL: StartError = StartError {
    stage: Stage::Platform,
    cause: Cause::Unsupported,
};

/// Runs nothing on this platform.
#[derive(Clone, Debug)]
pub struct Runner {
    _never_made: (),
}

/// What the child reads.
#[derive(Clone, Copy, Debug)]
pub enum Stdin<'a> {
    /// Nothing: it is at its end at once.
    Null,
    #[doc(hidden)]
    Never(PhantomData<&'a ()>),
}

impl Runner {
    /// # Errors
    ///
    /// Always [`Cause::Unsupported`].
    pub fn beside_current_exe() -> Result<Self, StartError> {
        Err(REFUSAL)
    }

    /// A runner that refuses.
    pub fn at(_helper: PathBuf) -> Self {
        Runner { _never_made: () }
    }

    /// # Errors
    ///
    /// Always [`Cause::Unsupported`].
    pub fn warm_up(&self, _confinement: &Confinement) -> Result<(), StartError> {
        Err(REFUSAL)
    }

    /// # Errors
    ///
    /// Always [`Cause::Unsupported`].
    pub fn expect(&self, _jail: Option<Network>) -> Result<(), StartError> {
        Err(REFUSAL)
    }

    /// # Errors
    ///
    /// Always [`Cause::Unsupported`].
    pub fn probe(&self, _confinement: &Confinement) -> Result<Enforcement, StartError> {
        Err(REFUSAL)
    }

    /// Changes nothing.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn without(self, _layers: &[&str]) -> Self {
        self
    }

    /// # Errors
    ///
    /// What is wrong with the plan itself, else [`Cause::Unsupported`].
    pub fn run(
        &self,
        plan: Plan,
        _stdin: Stdin<'_>,
        _cancel: &Cancel,
        _sink: &mut Sink<'_>,
    ) -> Result<Report, StartError> {
        plan.check()?;
        Err(REFUSAL)
    }
}

/// A handle that has nothing to end.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    _nothing: (),
}

impl Cancel {
    /// A handle that has not been used.
    pub fn new() -> Self {
        Cancel::default()
    }

    /// Does nothing.
    pub fn cancel(&self) {}

    /// Never.
    pub fn is_cancelled(&self) -> bool {
        false
    }

    /// Does nothing.
    pub fn signal(&self, _number: i32) {}
}

/// The helper program.
pub mod jail {
    use std::process::ExitCode;

    /// Fails.
    pub fn main() -> ExitCode {
        ExitCode::FAILURE
    }
}
