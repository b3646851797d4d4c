//! One vault for each defect, and what the program says of it.
//!
//! `tests/vectors/whole` has the files of a good vault, the other directories those that differ from it. What is said stands in
//! `tests/vectors/expected.txt`, which `VECTORS=expected cargo test --test vectors` writes anew; `VECTORS=vaults` makes the vaults
//! as well, for when their format changes.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

#[path = "vectors/defects.rs"]
mod defects;
#[path = "vectors/maker.rs"]
mod maker;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::Value;
use support::{Answer, Sandbox};

/// In its vector, the anchor has a name that tells no id.
const ANCHOR: &str = "anchor";
const FILES: [&str; 4] = ["vault.db", "vault.salt", "vault.meta", ANCHOR];
/// At the end of the name of a file that the vector does not have.
const GONE: &str = ".gone";
const WHOLE: &str = "whole";
/// The value of the secret that is asked for.
const VALUE: &str = "third value";
/// Its value before that. One row that is set back alone is genuine by itself; that the set is another, only who reads all rows sees.
const EARLIER: &str = "second value";
const COMMANDS: [&[&str]; 4] = [
    &["status", "--json"],
    &["audit", "verify"],
    &["get", "API_KEY"],
    &["list"],
];

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// Writes a file as a vault has them, in place of an older one.
fn write(path: &Path, bytes: &[u8]) {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    file.expect("a file").write_all(bytes).expect("written");
}

/// Where the anchor of that vault is: its name is the vault's id.
fn anchor(anchors: &Path, vault: &Path) -> PathBuf {
    let meta = fs::read(vault.join("vault.meta")).expect("vault.meta");
    let meta: Value = serde_json::from_slice(&meta).expect("JSON");
    anchors.join(format!(
        "{}.anchor",
        meta["vault_id"].as_str().expect("an id")
    ))
}

/// A home directory with the vault of the vector.
fn vault_of(vector: &str) -> Sandbox {
    let sandbox = Sandbox::empty();
    let make = |path: &Path| DirBuilder::new().mode(0o700).recursive(true).create(path);
    make(&sandbox.vault()).expect("a directory");
    make(&sandbox.anchors()).expect("a directory");
    for name in FILES {
        let own = dir().join(vector).join(name);
        let common = dir().join(WHOLE).join(name);
        if dir().join(vector).join(format!("{name}{GONE}")).exists() {
            continue;
        }
        let bytes = fs::read(own)
            .or_else(|_| fs::read(common))
            .expect("a file of the vector");
        let target = match name {
            ANCHOR => anchor(&sandbox.anchors(), &dir().join(WHOLE)),
            name => sandbox.vault().join(name),
        };
        write(&target, &bytes);
    }
    sandbox
}

/// What the commands say of the vector, each of a copy of its own, and which of that is not true.
fn said_of(vector: &str) -> (String, Vec<String>) {
    let mut said: Vec<(String, String)> = Vec::new();
    let mut lies = Vec::new();
    for command in COMMANDS {
        let sandbox = vault_of(vector);
        let answer = sandbox.secretctl(command).answer();
        let told = told(&answer).replace(&*sandbox.home().to_string_lossy(), "~");
        match said.last_mut().filter(|(_, before)| *before == told) {
            Some((commands, _)) => commands.push_str(&format!(", {}", command[0])),
            None => said.push((command[0].to_owned(), told)),
        }
        if !is_honest(vector, command, &answer) {
            lies.push(format!("{vector}: {command:?}: {answer}"));
        }
    }
    let line = |(commands, told): &(String, String)| format!("  {commands}: {told}\n");
    let lines: String = said.iter().map(line).collect();
    (format!("{vector}\n{lines}"), lies)
}

/// The exit code and what was written to standard error, and of the status the problems.
fn told(answer: &Answer) -> String {
    let status: Value = serde_json::from_slice(&answer.stdout).unwrap_or_default();
    let problems = status["problems"].as_array().into_iter().flatten();
    let problems = problems
        .filter_map(Value::as_str)
        .map(|text| text.replace('\0', "\\0"));
    let errors = answer.stderr.lines().map(|line| line.trim().to_owned());
    let lines: Vec<String> = problems.chain(errors).collect();
    format!("{} {}", answer.code, lines.join("\n    "))
        .trim_end()
        .to_owned()
}

/// Nothing takes a vault with a defect for a good one, and nobody gets a value that was never stored.
fn is_honest(vector: &str, command: &[&str], answer: &Answer) -> bool {
    let looks_at_all = matches!(command[0], "status" | "audit");
    let value_is_right = match (command[0], answer.code) {
        ("get", 0) => [VALUE, EARLIER]
            .map(str::as_bytes)
            .contains(&&*answer.stdout),
        ("get", _) => answer.stdout.is_empty(),
        _ => true,
    };
    [0, 1, 3, 4, 5].contains(&answer.code)
        && !answer.stderr.contains("panicked")
        && (!looks_at_all || (answer.code == 0) == (vector == WHOLE))
        && value_is_right
}

#[test]
fn every_defect_is_noticed_and_named() {
    let asked = std::env::var("VECTORS").unwrap_or_default();
    if asked == "vaults" {
        maker::make();
    }
    let vectors: Vec<String> = [WHOLE.to_owned()]
        .into_iter()
        .chain(defects::all().into_iter().map(|defect| defect.name))
        .collect();
    let count = thread::available_parallelism().map_or(1, usize::from);
    let parts: Vec<_> = thread::scope(|scope| {
        let started: Vec<_> = vectors
            .chunks(vectors.len().div_ceil(count))
            .map(|part| {
                scope.spawn(|| {
                    part.iter()
                        .map(|vector| said_of(vector))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        started
            .into_iter()
            .flat_map(|part| part.join().expect("no panic"))
            .collect()
    });
    let (said, lies): (Vec<String>, Vec<Vec<String>>) = parts.into_iter().unzip();
    let said = said.concat();
    let expected = dir().join("expected.txt");
    if !asked.is_empty() {
        fs::write(&expected, &said).expect("written");
    }
    assert_eq!(lies.concat().join("\n"), "");
    assert_eq!(
        fs::read_to_string(&expected).expect("what is expected"),
        said
    );
}

#[test]
fn every_vector_has_its_defect() {
    let mut names: Vec<String> = defects::all()
        .into_iter()
        .map(|defect| defect.name)
        .collect();
    names.push(WHOLE.to_owned());
    names.sort();
    let entries = fs::read_dir(dir()).expect("the vectors").flatten();
    let dirs = entries.filter(|entry| entry.path().is_dir());
    let mut found: Vec<String> = dirs
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, names);
}
