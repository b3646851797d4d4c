//! The functions that fuzzers run, on a corpus, on damaged good files and on random bytes: without a fuzzer, in every build.
#![allow(clippy::expect_used, reason = "tests")]

#[path = "fuzzed/bodies.rs"]
mod bodies;
#[path = "support/go_vault.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod go_vault;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Runs of each function. More of them: `PROPTEST_CASES=10000 cargo test --test fuzzed`.
fn runner() -> TestRunner {
    let cases = std::env::var_os("PROPTEST_CASES").map_or(100, |_| Config::default().cases);
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    })
}

/// Good bytes in which some are others, which may be shorter or longer; or bytes from nowhere.
fn damaged(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let longest = seeds.iter().map(Vec::len).max().unwrap_or_default();
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 0..8);
    let damage = (
        prop::sample::select(seeds),
        edits,
        0..longest + 8,
        any::<bool>(),
    );
    let damaged = damage.prop_map(|(mut bytes, edits, length, is_cut)| {
        if is_cut {
            bytes.resize(length, 0);
        }
        for (place, change) in edits {
            let place = place.index(bytes.len().max(1));
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= change;
            }
        }
        bytes
    });
    prop_oneof![4 => damaged, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

#[test]
fn damaged_files_and_texts_are_read_without_a_panic() {
    for (name, body) in bodies::ALL {
        let seeds = bodies::seeds(name);
        seeds.iter().for_each(|seed| body(seed));
        write_corpus(name, &seeds);
        let run = runner().run(&damaged(seeds), |bytes| {
            body(&bytes);
            Ok(())
        });
        run.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// For a fuzzer to begin with: `FUZZ_CORPUS=tests/fuzz/corpus cargo test --test fuzzed`.
fn write_corpus(name: &str, seeds: &[Vec<u8>]) {
    let Some(dir) = std::env::var_os("FUZZ_CORPUS") else {
        return;
    };
    let dir = Path::new(&dir).join(name);
    fs::create_dir_all(&dir).expect("a directory");
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(dir.join(format!("seed-{number}")), seed).expect("written");
    }
}

/// They have another password and another header, so they do not open, and must not do worse.
#[test]
fn the_files_of_the_vectors_are_read_without_a_panic() {
    let vectors = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"));
    for vector in vectors.expect("the vectors").flatten() {
        for (file, body) in [
            ("vault.db", bodies::database as fn(&[u8])),
            ("vault.salt", bodies::salt),
            ("vault.meta", bodies::meta),
            ("anchor", bodies::anchor),
        ] {
            if let Ok(bytes) = fs::read(vector.path().join(file)) {
                body(&bytes);
            }
        }
    }
}
