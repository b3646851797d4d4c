//! The policy file, and the words in which a request is put and answered.
//!
//! Pure types and parsing: nothing here decides. The decision is made by the policy modules, which get
//! [`Policy::guest_document`] and a [`Request`] and answer with a [`Decision`]. Answers of several modules are joined by
//! [`Decision::and`], which can only tighten.

#![forbid(unsafe_code)]

mod alias;
mod check;
mod decision;
mod document;
mod error;
mod file;
mod find;
mod meant;
mod node;
mod pin;
mod pinned;
mod place;
mod request;
mod rules;
mod starter;
mod survey;
mod table;
mod units;
mod write;

pub use alias::{AliasError, Aliased};
pub use check::LAYERS;
pub use decision::{Decision, Denial, Grant, Network, Question, Workdir};
pub use error::{Fault, Place, PolicyError, Problem};
pub use file::{POLICY_FILE_MAX_BYTES, PolicySource};
pub use pin::{ModuleList, NewPin, PinConfig, PinError, Pinned};
pub use pinned::PinnedModule;
pub use request::{Command, Key, Moment, Program, Purpose, Request};
pub use rules::{AllowedCommand, Limits, Policy};
pub use starter::create_starter;
pub use table::{Case, Expectation, Table};
pub use write::Staged;
