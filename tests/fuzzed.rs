//! The functions that fuzzers run, on a corpus, on damaged good files and on random bytes: without a fuzzer, in every build.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

#[path = "fuzzed/bodies.rs"]
mod bodies;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::Sandbox;
use support::go_vault::{GO_PASSWORD, GoSecret, GoVault};

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
        let run = runner().run(&damaged(seeds), |bytes| {
            body(&bytes);
            Ok(())
        });
        run.unwrap_or_else(|error| panic!("{name}: {error}"));
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

#[test]
fn damaged_vaults_of_the_other_tool_are_read_without_a_panic() {
    let sandbox = Sandbox::empty();
    let dir = sandbox.home().join("go");
    let vault = GoVault::create(&dir, 5);
    vault.secret(&GoSecret {
        value: Some("value"),
        tags: Some("a,b"),
        expires_at: Some("2030-01-01 00:00:00"),
        ..GoSecret::default()
    });
    drop(vault);
    let read = |name: &str| fs::read(dir.join(name)).expect("a file");
    let others = ["vault.salt", "vault.meta"].map(|name| (name, read(name)));
    let others = [(others[0].0, &*others[0].1), (others[1].0, &*others[1].1)];
    let run = runner().run(&damaged(vec![read("vault.db")]), |bytes| {
        bodies::import(&bytes, &others, GO_PASSWORD.as_bytes());
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}
