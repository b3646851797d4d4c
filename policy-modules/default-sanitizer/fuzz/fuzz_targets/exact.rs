//! Exact needles, however they are written and the text is cut: the answer is the oracle's.

#![no_main]

#[path = "../../tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|case: checks::fuzzed::Exact| case.check());
