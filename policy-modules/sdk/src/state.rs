//! What a module keeps between calls. Public for the export macros alone.

pub use alloc::string::String;
use alloc::vec;
pub use alloc::vec::Vec;

use crate::{Channel, Decision, Legend, Policy, Problem, Request, Sanitizer, Secret, Verdict};

/// The one value of a module's type, from its first call on.
pub struct State<T>(spin::Mutex<Option<T>>);

impl<T> State<T> {
    /// For a `static`.
    #[allow(clippy::new_without_default, reason = "a static needs a const")]
    pub const fn new() -> Self {
        Self(spin::Mutex::new(None))
    }
}

impl<T: Policy> State<T> {
    pub fn configure(&self, document: &str) -> Vec<Problem> {
        match T::configure(document) {
            Ok(policy) => {
                *self.0.lock() = Some(policy);
                Vec::new()
            }
            // An empty list would mean that all is well.
            Err(problems) if problems.is_empty() => {
                vec![Problem::new("", "this module does not accept it")]
            }
            Err(problems) => problems,
        }
    }

    pub fn decide(&self, request: &Request) -> Decision {
        match &*self.0.lock() {
            Some(policy) => policy.decide(request),
            None => Decision::deny("", "this module has not been configured"),
        }
    }
}

impl<T: Sanitizer> State<T> {
    pub fn start(&self, document: &str, secrets: Vec<Secret>) -> Result<Legend, String> {
        let sanitizer = T::start(document, secrets)?;
        let legend = sanitizer.legend();
        *self.0.lock() = Some(sanitizer);
        Ok(legend)
    }

    pub fn push(&self, channel: Channel, chunk: &[u8]) -> Verdict {
        self.with(|sanitizer| sanitizer.push(channel, chunk))
    }

    pub fn finish(&self, channel: Channel) -> Verdict {
        self.with(|sanitizer| sanitizer.finish(channel))
    }

    /// A call before `start` traps, which the host takes as a failure: there is no verdict that would say so.
    fn with(&self, call: impl FnOnce(&mut T) -> Verdict) -> Verdict {
        match &mut *self.0.lock() {
            Some(sanitizer) => call(sanitizer),
            None => panic!("the sanitizer was not started"),
        }
    }
}
