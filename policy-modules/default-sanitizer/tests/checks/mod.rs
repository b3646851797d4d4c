//! What is checked of the sanitizer, apart from where the cases come from: properties make some, fuzzers others.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "tests")]

pub(crate) mod encodings;
pub(crate) mod exact;
pub(crate) mod fuzzed;
pub(crate) mod harness;
pub(crate) mod loose;
pub(crate) mod oracle;
pub(crate) mod writers;
