//! Letters with anything between them, and the text cut in any way: the answer is the oracle's.

#![no_main]

#[path = "../../tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|case: checks::fuzzed::Loose| case.check());
