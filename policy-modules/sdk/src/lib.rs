//! What a module for secretctl is written with.
//!
//! A *policy* module decides on requests of agents, after the rules of the policy file, and can only tighten what they allow. A
//! *sanitizer* module finds what must not be seen in the output of commands. Either is a library that implements one trait and names
//! the type in one macro:
//!
//! ```
//! use secretctl_guard::{Decision, Policy, Problem, Request, export_policy};
//!
//! /// No command gets more than one key.
//! struct OneKey;
//!
//! impl Policy for OneKey {
//!     fn configure(document: &str) -> Result<Self, Vec<Problem>> {
//!         match document {
//!             "null" => Ok(OneKey),
//!             _ => Err(vec![Problem::new("", "there is nothing to configure")]),
//!         }
//!     }
//!
//!     fn decide(&self, request: &Request) -> Decision {
//!         match (&request.command, request.keys.as_slice()) {
//!             (Some(_), [_, _, ..]) => Decision::deny("one key", "a command gets one key at most"),
//!             _ => Decision::allow(request),
//!         }
//!     }
//! }
//!
//! export_policy!(OneKey);
//!
//! // What a test of it looks like: no WebAssembly is needed.
//! let one = Request::for_command("npm", &["test"]).key("api/token");
//! assert_eq!(OneKey.decide(&one), Decision::allow(&one));
//! let two = one.key("db/password");
//! assert!(OneKey.decide(&two).is_denied());
//! ```
//!
//! The library is a `cdylib` (and an `rlib` for its own tests), built with
//! `cargo build --release --target wasm32-unknown-unknown`; `secretctl policy add` makes a component of it and pins it.
//!
//! The types come from the interface, `secretctl:guard` in WIT, and say what it says. A module imports nothing: it has no files, no network,
//! no clock and no environment, and it never gets a value. `no_std` is possible, not needed: then the module brings its allocator and its
//! panic handler.

#![no_std]
// What `wit_bindgen` generates is the exception.
#![deny(unsafe_code)]

extern crate alloc;

#[doc(hidden)]
pub mod bindings;
mod decision;
mod moment;
mod policy;
mod request;
mod sanitizer;
#[doc(hidden)]
pub mod state;

#[doc(inline)]
pub use bindings::policy::exports::secretctl::guard::decisions::{
    Command, Decision, Denial, Grant, Key, Moment, Network, Problem, Program, Purpose, Question,
    Request, Workdir,
};
#[doc(inline)]
pub use bindings::sanitizer::exports::secretctl::guard::redaction::{
    Channel, Legend, Range, Secret, Verdict,
};
pub use moment::{Date, Weekday};
pub use policy::Policy;
pub use sanitizer::Sanitizer;
