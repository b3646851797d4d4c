//! What the fuzzers check (`fuzz/`), of random bytes: so it compiles and holds where no fuzzer is.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod checks;
mod properties;

use arbitrary::{Arbitrary, Unstructured};
use proptest::prelude::*;

use checks::fuzzed::{Encoded, Exact, Loose};
use properties::properties;

fn made<'a, T: Arbitrary<'a>>(bytes: &'a [u8]) -> T {
    Unstructured::new(bytes).arbitrary().unwrap()
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200)
}

properties! {
    1000 values: fn exact(bytes in bytes()) {
        made::<Exact>(&bytes).check();
    }

    1000 values: fn encodings(bytes in bytes()) {
        made::<Encoded>(&bytes).check();
    }

    1000 values: fn loose(bytes in bytes()) {
        made::<Loose>(&bytes).check();
    }
}
