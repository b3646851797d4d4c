//! The master password, seen from outside: changed, mistyped, and what a running server makes of it.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;

use rusqlite::Connection;
use serde_json::{Value, json};
use support::agent::Agent;
use support::{Invocation, PASSWORD, Sandbox};

const NEW: &str = "another horse battery";
const CHANGED: &str = "Changed the master password.\n";

fn change(sandbox: &Sandbox, flags: &[&str]) -> Invocation {
    let change = sandbox.secretctl(["password", "change"]).args(flags);
    change.env("SECRETCTL_NEW_PASSWORD", NEW)
}

fn with(sandbox: &Sandbox, password: &str, args: &[&str]) -> Invocation {
    sandbox.secretctl(args).env("SECRETCTL_PASSWORD", password)
}

fn records(sandbox: &Sandbox, password: &str) -> Vec<Value> {
    let export = with(sandbox, password, &["audit", "export"])
        .answer()
        .succeeded();
    export.json().as_array().expect("a list").clone()
}

#[test]
fn the_new_password_opens_all_and_the_old_one_nothing() {
    let sandbox = Sandbox::new();
    sandbox.set("API_KEY", "sk-abc123xyz");
    change(&sandbox, &[]).answer().is(0, "", CHANGED);
    let wrong = "error: wrong master password\n";
    sandbox
        .secretctl(["get", "API_KEY"])
        .answer()
        .is(3, "", wrong);
    let get = with(&sandbox, NEW, &["get", "API_KEY"]);
    get.answer().is(0, "sk-abc123xyz", "");
    let records = records(&sandbox, NEW);
    let said: Vec<_> = records
        .iter()
        .map(|record| (&record["action"], &record["authentic"]))
        .collect();
    let yes = json!(true);
    let expected = [
        "vault.init",
        "secret.set",
        "password.change",
        "vault.unlock",
        "secret.get",
    ];
    let expected = expected.map(Value::from);
    assert_eq!(
        said,
        expected
            .iter()
            .map(|action| (action, &yes))
            .collect::<Vec<_>>()
    );
    let tries = &records[3];
    assert_eq!(tries["result"], "denied");
    let reason = tries["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("a wrong master password at 20"),
        "{reason}"
    );
    let verified = "5 records verified\nChain integrity: OK\nNo gaps detected\n";
    with(&sandbox, NEW, &["audit", "verify"])
        .answer()
        .is(0, verified, "");
    let leftovers = support::modes(&sandbox.vault());
    let names: Vec<&str> = leftovers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["vault.db", "vault.meta", "vault.salt"]);
}

#[test]
fn a_new_key_leaves_everything_in_place() {
    let sandbox = Sandbox::new();
    sandbox.set("API_KEY", "sk-abc123xyz");
    let said = "Changed the master password and the key. The vault is locked to servers that are running: secretctl unlock, or start them again.\n";
    change(&sandbox, &["--rotate-key", "--kdf", "32MiB,2,2"])
        .answer()
        .is(0, "", said);
    with(&sandbox, NEW, &["get", "API_KEY"])
        .answer()
        .is(0, "sk-abc123xyz", "");
    let records = records(&sandbox, NEW);
    assert_eq!(
        records[1]["keys"],
        json!(["API_KEY"]),
        "details of before are read"
    );
    assert!(records.iter().all(|record| record["authentic"] == true));
    let status = with(&sandbox, NEW, &["status", "--json"])
        .answer()
        .succeeded()
        .json();
    let kdf = json!({ "algorithm": "argon2id", "memory_kib": 32 * 1024, "passes": 2, "lanes": 2 });
    assert_eq!(
        (&status["kdf"], &status["epoch"], &status["valid"]),
        (&kdf, &json!(1), &json!(true))
    );
}

#[test]
fn what_cannot_be_a_new_password_is_refused() {
    let sandbox = Sandbox::new();
    let length = "error: a master password has 8 to 128 bytes\n";
    let short = change(&sandbox, &[])
        .env("SECRETCTL_NEW_PASSWORD", "Sh0rt-1")
        .answer();
    short.is(1, "", length);
    let same = "error: the new master password is the present one\n  \
                to change only its cost or the key, add --kdf or --rotate-key\n";
    change(&sandbox, &[])
        .env("SECRETCTL_NEW_PASSWORD", PASSWORD)
        .answer()
        .is(1, "", same);
    let costly = change(&sandbox, &["--kdf", "32MiB,2"]).env("SECRETCTL_NEW_PASSWORD", PASSWORD);
    costly.answer().is(0, "", CHANGED);
    let cheap = change(&sandbox, &["--kdf", "8MiB"]).answer();
    assert_eq!(cheap.code, 2);
    assert!(
        cheap.stderr.contains("at least 19MiB and 2 passes"),
        "{cheap}"
    );
    let file = sandbox.home().join("new");
    fs::write(&file, format!("{NEW}\n")).expect("written");
    let by_file = sandbox
        .secretctl(["password", "change", "--new-password-file"])
        .args([&file]);
    by_file.answer().is(0, "", CHANGED);
    with(&sandbox, NEW, &["list"]).answer().succeeded();
}

#[test]
fn a_weak_password_is_taken_with_a_warning() {
    let sandbox = Sandbox::new();
    for (password, word) in [
        ("qwertyui", "weak"),
        ("Qwertyu1", "only fair"),
        ("onlylowercase", "only fair"),
    ] {
        let change = with(&sandbox, PASSWORD, &["password", "change"]);
        let change = change
            .env("SECRETCTL_NEW_PASSWORD", password)
            .answer()
            .succeeded();
        assert!(
            change
                .stderr
                .contains(&format!("the master password is {word}:")),
            "{change}"
        );
        let back = with(&sandbox, password, &["password", "change"]);
        back.env("SECRETCTL_NEW_PASSWORD", PASSWORD)
            .answer()
            .is(0, "", CHANGED);
    }
}

#[test]
fn after_five_wrong_passwords_the_vault_is_closed_for_a_time() {
    let sandbox = Sandbox::new();
    for _ in 0..5 {
        with(&sandbox, NEW, &["list"])
            .answer()
            .is(3, "", "error: wrong master password\n");
    }
    let closed = |answer: &support::Answer| {
        let seconds = (answer
            .stderr
            .strip_prefix("error: too many wrong passwords; try again in "))
        .and_then(|rest| rest.strip_suffix(" s\n"))
        .and_then(|seconds| seconds.parse::<u32>().ok());
        assert!(
            seconds.is_some_and(|seconds| (1..=30).contains(&seconds)),
            "{answer}"
        );
        assert_eq!(answer.code, 3);
    };
    closed(&sandbox.secretctl(["list"]).answer());
    // No other file knows of it.
    for entry in fs::read_dir(sandbox.anchors())
        .expect("a directory")
        .flatten()
    {
        fs::remove_file(entry.path()).expect("removed");
    }
    closed(&sandbox.secretctl(["mcp-server"]).answer());
    // The time is over.
    let database = Connection::open(sandbox.database()).expect("a database");
    let over = "UPDATE metadata SET value = CAST(substr(value, 1, 20) || zeroblob(8) AS BLOB) WHERE name = 'unlock_failures'";
    assert_eq!(database.execute(over, []), Ok(1));
    drop(database);
    sandbox.secretctl(["list"]).answer().succeeded();
    let records = records(&sandbox, PASSWORD);
    let tries = &records[1];
    assert_eq!(
        (&tries["action"], &tries["result"]),
        (&json!("vault.unlock"), &json!("denied"))
    );
    let reason = tries["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("5 wrong master passwords from 20"),
        "{reason}"
    );
    assert_eq!(
        records[2]["action"], "secret.list",
        "they are recorded once"
    );
}

#[tokio::test]
async fn a_running_server_goes_on_under_a_new_password_and_ends_with_a_new_key() {
    let sandbox = Sandbox::new();
    sandbox.policy("version: 1\nallowed_commands: [echo]\n");
    sandbox.set("API_KEY", "sk-abc123xyz");
    let agent = Agent::without_project(&sandbox).await;
    change(&sandbox, &[]).answer().is(0, "", CHANGED);
    assert_eq!(agent.run("API_KEY", "echo $API_KEY").await.output().0, 0);
    agent.call("secret_list", json!({})).await.value();
    let verify = with(&sandbox, NEW, &["audit", "verify"])
        .answer()
        .succeeded();
    assert!(
        verify.text().starts_with("7 records verified\n"),
        "{verify}"
    );

    let rotate = with(&sandbox, NEW, &["password", "change", "--rotate-key"]);
    rotate
        .env("SECRETCTL_NEW_PASSWORD", PASSWORD)
        .answer()
        .succeeded();
    let fact =
        "the vault is locked\nA person can unlock the vault, in a terminal: secretctl unlock\n";
    for (tool, arguments) in [
        ("secret_list", json!({})),
        ("secret_exists", json!({ "key": "API_KEY" })),
        ("secret_get_masked", json!({ "key": "API_KEY" })),
        (
            "secret_run",
            json!({ "keys": ["API_KEY"], "command": "echo x", "cwd": "" }),
        ),
        (
            "secret_run",
            json!({ "keys": ["ABSENT"], "command": "echo x", "cwd": "" }),
        ),
    ] {
        let refusal = agent.call(tool, arguments).await.refusal();
        assert!(refusal.contains(fact), "{tool}: {refusal}");
    }
    sandbox.secretctl(["unlock"]).answer().succeeded();
    agent.call("secret_list", json!({})).await.value();
    agent.stop().await;
    sandbox.secretctl(["audit", "verify"]).answer().succeeded();
    sandbox
        .secretctl(["get", "API_KEY"])
        .answer()
        .is(0, "sk-abc123xyz", "");
}

/// Compiled modules are authenticated with a key of the vault: under a new one they would be taken for forged.
#[test]
fn compiled_modules_go_with_their_key() {
    let sandbox = Sandbox::new();
    let cache = sandbox.vault().join("cache");
    fs::create_dir(&cache).expect("made");
    let entry = cache.join("entry");
    fs::write(&entry, "compiled").expect("written");
    for (flags, password, new, stays) in [
        (&[][..], PASSWORD, "a second password 2", true),
        (
            &["--rotate-key"],
            "a second password 2",
            "a third password 3",
            false,
        ),
    ] {
        let change = sandbox.secretctl(["password", "change"]).args(flags);
        let change = change.env("SECRETCTL_PASSWORD", password);
        change
            .env("SECRETCTL_NEW_PASSWORD", new)
            .answer()
            .succeeded();
        assert_eq!(entry.exists(), stays, "{flags:?}");
    }
}
