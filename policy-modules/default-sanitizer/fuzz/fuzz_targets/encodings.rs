//! What encodings write of a secret is hidden, and cutting changes nothing.

#![no_main]

#[path = "../../tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|case: checks::fuzzed::Encoded| case.check());
