#![no_main]
#![allow(
    dead_code,
    clippy::expect_used,
    reason = "each target uses a part; what cannot be set up fails"
)]

#[path = "../../fuzzed/bodies.rs"]
mod bodies;
#[path = "../../support/go_vault.rs"]
mod go_vault;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::go_database(bytes));
