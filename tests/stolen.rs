//! What a thief of the files can read in them: no name, no metadata, no value, nothing of what was done.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::json;
use support::Sandbox;
use support::agent::{AGENT, Agent};
use support::go_vault::{GO_PASSWORD, GoSecret, GoVault};

/// Each stands in one thing that is kept, or recorded, and nowhere else.
const WORDS: [&str; 16] = [
    "QUAGGA_KEY",
    "quagga_field",
    "QUAGGA_VARIABLE",
    "quagga-tag",
    "quagga note",
    "quagga.example",
    "quagga-plain-value",
    "quagga-sensitive-value",
    "quagga-renamed",
    "quagga-searched",
    "quagga-argument",
    "quagga-project",
    "quagga-imported",
    "quagga-folder",
    "quagga-other-vault",
    AGENT,
];

/// Ways to write a word: as it is, in hexadecimal, and in base64 at each of the three places where it can begin.
fn ways(word: &str) -> Vec<String> {
    let hex: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
    let encoded = (0..3).map(|before| {
        let text = STANDARD_NO_PAD.encode([&vec![b'x'; before][..], word.as_bytes()].concat());
        // Without what depends on its neighbours.
        text[[0, 2, 3][before]..text.len() - 2].to_owned()
    });
    [word.to_owned(), hex].into_iter().chain(encoded).collect()
}

/// The words that the bytes hold, in any case.
fn found(bytes: &[u8]) -> Vec<String> {
    let lower = bytes.to_ascii_lowercase();
    let holds =
        |way: &String| memchr::memmem::find(&lower, way.to_ascii_lowercase().as_bytes()).is_some();
    let held = |word: &&&str| ways(word).iter().any(holds);
    WORDS
        .iter()
        .filter(held)
        .map(|word| (*word).to_owned())
        .collect()
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dir).expect("a directory").flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => files(&path),
            path => vec![(
                entry.file_name().to_string_lossy().into_owned(),
                fs::read(path).expect("a file"),
            )],
        })
        .collect()
}

/// The policy file is for people to read, and is not part of the vault.
fn look(sandbox: &Sandbox) -> Vec<String> {
    let mut names = Vec::new();
    let all = [files(&sandbox.vault()), files(&sandbox.anchors())].concat();
    for (name, bytes) in all
        .into_iter()
        .filter(|(name, _)| name != "mcp-policy.yaml")
    {
        assert_eq!(found(&bytes), Vec::<String>::new(), "{name}");
        assert_eq!(found(name.as_bytes()), Vec::<String>::new(), "{name}");
        names.push(name);
    }
    names
}

#[test]
fn every_way_to_write_a_word_is_found() {
    let word = WORDS[0];
    let hex: String = word.bytes().map(|byte| format!("{byte:02X}")).collect();
    let mut texts = vec![word.to_lowercase(), hex];
    texts.extend(
        ["", "a", "ab", "abc"]
            .map(|before| STANDARD_NO_PAD.encode(format!("{before}{word} and more"))),
    );
    for text in texts {
        assert_eq!(found(format!("..{text}..").as_bytes()), [word], "{text}");
    }
}

#[tokio::test]
async fn stolen_files_tell_no_name_and_nothing_that_was_done() {
    let sandbox = Sandbox::new();
    sandbox.policy("version: 1\nallowed_commands: [echo]\n");
    let set = sandbox.secretctl([
        "set",
        "QUAGGA_KEY",
        "--field",
        "quagga_field=quagga-plain-value",
    ]);
    set.args(["--field", "other", "--plain", "quagga_field"])
        .args(["--binding", "QUAGGA_VARIABLE=other", "--tags", "quagga-tag"])
        .args([
            "--notes",
            "a quagga note",
            "--url",
            "https://quagga.example/x",
        ])
        .stdin("quagga-sensitive-value")
        .answer()
        .succeeded();
    sandbox.set("passing", "quagga-sensitive-value");
    let secretctl = |args: &[&str]| sandbox.secretctl(args).answer();
    secretctl(&["rename", "passing", "quagga-renamed"]).succeeded();
    assert_eq!(secretctl(&["get", "quagga-searched"]).code, 4);
    let project = sandbox.home().join("quagga-project");
    fs::create_dir(&project).expect("made");
    let run = sandbox.secretctl(["run", "-k", "QUAGGA_KEY", "--", "echo", "quagga-argument"]);
    run.dir(&project).answer().succeeded();
    let other = sandbox.home().join("quagga-other-vault");
    let go = GoVault::create(&other, 5);
    go.folder("f", "quagga-folder", None, None);
    go.secret(&GoSecret {
        key: b"quagga-imported",
        value: Some("quagga-sensitive-value"),
        folder: Some("f"),
        ..GoSecret::default()
    });
    drop(go);
    let import = sandbox
        .secretctl(["import", "--from", "secretctl-go"])
        .args([&other]);
    import
        .env("SECRETCTL_IMPORT_PASSWORD", GO_PASSWORD)
        .answer()
        .succeeded();

    let agent = Agent::start(&sandbox, &project).await;
    agent.call("secret_list", json!({})).await.value();
    agent
        .run("QUAGGA_KEY", "echo quagga-argument")
        .await
        .output();
    agent
        .run("quagga-searched", "rm quagga-argument")
        .await
        .refusal();
    // While the server has the database open, what was written last stands in the journal.
    let names = look(&sandbox);
    assert!(names.iter().any(|name| name == "vault.db-wal"), "{names:?}");
    agent.stop().await;
    let names = look(&sandbox);
    assert!(
        names.iter().any(|name| name.ends_with(".anchor")),
        "{names:?}"
    );

    secretctl(&["delete", "QUAGGA_KEY", "--force"]).succeeded();
    look(&sandbox);
    // They are there for who has the password.
    let export = secretctl(&["audit", "export"]).succeeded();
    let told = found(&export.stdout);
    for word in [
        "QUAGGA_KEY",
        "quagga-renamed",
        "quagga-argument",
        "quagga-project",
        AGENT,
    ] {
        assert!(told.iter().any(|found| found == word), "{word}: {told:?}");
    }
}
