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

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;

    impl Policy for Silent {
        fn configure(document: &str) -> Result<Self, Vec<Problem>> {
            match document {
                "null" => Ok(Silent),
                _ => Err(Vec::new()),
            }
        }

        fn decide(&self, request: &Request) -> Decision {
            Decision::allow(request)
        }
    }

    #[test]
    fn a_policy_says_yes_only_when_it_has_been_configured() {
        let state = State::<Silent>::new();
        let request = Request::for_command("npm", &["test"]);
        assert!(state.decide(&request).is_denied());
        assert_eq!(state.configure("1").len(), 1);
        assert!(state.decide(&request).is_denied());
        assert_eq!(state.configure("null"), []);
        assert!(!state.decide(&request).is_denied());
    }

    struct Counting(u64);

    impl Sanitizer for Counting {
        fn start(_: &str, _: Vec<Secret>) -> Result<Self, String> {
            Ok(Counting(0))
        }

        fn legend(&self) -> Legend {
            Legend {
                subjects: Vec::new(),
                forms: Vec::new(),
            }
        }

        fn push(&mut self, _: Channel, chunk: &[u8]) -> Verdict {
            self.0 += chunk.len() as u64;
            self.finish(Channel::Stdout)
        }

        fn finish(&mut self, _: Channel) -> Verdict {
            Verdict {
                hide: Vec::new(),
                settled: self.0,
            }
        }
    }

    #[test]
    fn a_sanitizer_remembers_what_it_was_given() {
        let state = State::<Counting>::new();
        assert!(state.start("null", Vec::new()).is_ok());
        state.push(Channel::Stdout, b"abc");
        assert_eq!(state.push(Channel::Stderr, b"d").settled, 4);
        assert_eq!(state.finish(Channel::Stdout).settled, 4);
    }

    #[test]
    #[should_panic(expected = "was not started")]
    fn a_sanitizer_that_was_not_started_traps() {
        State::<Counting>::new().push(Channel::Stdout, b"abc");
    }
}
