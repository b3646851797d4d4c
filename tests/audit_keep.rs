//! The log as its owner keeps it: filtered, exported, followed, shortened.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::process::{Child, ChildStdout};

use rusqlite::Connection;
use serde_json::{Value, json};
use support::{ENVIRONMENT_NOTE, Invocation, PASSWORD, Sandbox, modes};

/// The vault was made, then `ONE` and `TWO` were set, `ONE` was used, `TWO` deleted: records 1 to 6.
fn used_vault() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.set("ONE", "first-value");
    sandbox.set("db/two", "second-value");
    let run = ["run", "-k", "ONE", "--", "false"];
    sandbox.secretctl(run).answer().is(1, "", "");
    let delete = sandbox.secretctl(["delete", "db/two", "--force"]);
    delete.answer().succeeded();
    sandbox
}

fn audit(sandbox: &Sandbox, args: &[&str]) -> Invocation {
    sandbox.secretctl(["audit"]).args(args)
}

/// The numbers of the records that `audit list` shows with these flags.
fn listed(sandbox: &Sandbox, flags: &[&str]) -> Vec<String> {
    let list = audit(sandbox, &["list"]).args(flags).answer().succeeded();
    let first = |line: &str| line.split("  ").next().expect("a number").to_owned();
    list.text().lines().map(first).collect()
}

fn verified(sandbox: &Sandbox) -> Value {
    audit(sandbox, &["verify", "--json"])
        .answer()
        .succeeded()
        .json()
}

#[test]
fn filters_are_the_same_for_list_and_export_and_combine() {
    let sandbox = used_vault();
    let cases: [(&[&str], &[&str]); 12] = [
        (&["--action", "secret.set"], &["2", "3"]),
        (&["--action", "secret.run."], &["5"]),
        (&["--action", "secret.", "--result", "error"], &["5"]),
        (&["--key", "ONE"], &["2", "4", "5"]),
        (&["--key", "db/*"], &["3", "6"]),
        (&["--key", "NONE"], &[]),
        (&["--source", "cli", "--action", "vault.init"], &["1"]),
        (&["--source", "mcp"], &[]),
        (&["--agent", "claude"], &[]),
        (&["--since", "1h", "--action", "secret.delete"], &["6"]),
        (&["--until", "2020-01-01"], &[]),
        (&["--until", "1h"], &[]),
    ];
    for (flags, expected) in cases {
        assert_eq!(listed(&sandbox, flags), expected, "{flags:?}");
        let export = audit(&sandbox, &["export"]).args(flags).answer();
        let export = export.succeeded().json();
        let numbers = export.as_array().expect("a list").iter();
        let numbers: Vec<String> = numbers.map(|one| one["sequence"].to_string()).collect();
        assert_eq!(numbers, expected, "{flags:?}");
    }
    assert_eq!(
        listed(&sandbox, &["--key", "ONE", "--limit", "2"]),
        ["4", "5"]
    );
}

#[test]
fn an_unknown_word_is_answered_with_those_there_are() {
    let sandbox = Sandbox::new();
    for (flags, part) in [
        (["--action", "secret"], "the actions are vault.init, "),
        (
            ["--result", "ok"],
            "[possible values: success, denied, error]",
        ),
        (["--source", "x"], "[possible values: cli, mcp, ui]"),
        (["--since", "soon"], "write a span before now such as 7d"),
    ] {
        let answer = audit(&sandbox, &["list"]).args(flags).answer();
        assert_eq!(answer.code, 2, "{answer}");
        assert!(answer.stderr.contains(part), "{answer}");
    }
}

#[test]
fn json_lines_are_the_records_of_the_array() {
    let sandbox = used_vault();
    let array = audit(&sandbox, &["export"]).answer().succeeded().json();
    let lines = audit(&sandbox, &["export", "-f", "jsonl"]).answer();
    let lines = lines.succeeded();
    let parse = |line: &str| serde_json::from_str(line).expect("JSON");
    let records: Vec<Value> = lines.text().lines().map(parse).collect();
    assert_eq!(Value::Array(records), array);
    let none = audit(&sandbox, &["export", "--key", "NONE"]).answer();
    none.is(0, "[]\n", "");
    if !support::is_installed("jq") {
        return;
    }
    let failed = "select(.success == false) | .command";
    for (text, query) in [
        (array.to_string().into_bytes(), format!(".[] | {failed}")),
        (lines.stdout, failed.to_owned()),
    ] {
        let jq = Invocation::new("jq", sandbox.home()).args(["-c", &query]);
        jq.stdin(text).answer().is(0, "\"false\"\n", "");
    }
}

#[test]
fn an_export_becomes_a_file_whole_or_not_at_all() {
    let sandbox = used_vault();
    let place = sandbox.home().join("place");
    fs::create_dir(&place).expect("made");
    let export = |name: &str, flags: &[&str]| {
        let export = audit(&sandbox, &["export", "-o", name]).args(flags);
        export.dir(&place).answer()
    };
    export("log.json", &[]).is(0, "", "Wrote log.json.\n");
    assert_eq!(modes(&place), [("log.json".to_owned(), 0o600)]);
    let text = fs::read(place.join("log.json")).expect("readable");
    audit(&sandbox, &["export"]).answer().is(0, &text, "");

    let exists =
        "error: log.json exists already\n  choose another name, or replace it with --force\n";
    export("log.json", &["-f", "csv"]).is(1, "", exists);
    assert_eq!(fs::read(place.join("log.json")).expect("readable"), text);
    export("log.json", &["-f", "csv", "--force"]).succeeded();
    let csv = fs::read_to_string(place.join("log.json")).expect("readable");
    assert!(csv.starts_with("timestamp,action,"), "{csv}");

    let victim = sandbox.home().join("victim");
    fs::write(&victim, "kept").expect("written");
    symlink(&victim, place.join("link")).expect("linked");
    fs::create_dir(place.join("dir")).expect("made");
    for name in ["link", "dir", "/dev/null"] {
        let refused = format!("error: {name} is there, and is not a file\n");
        export(name, &["--force"]).is(1, "", &refused);
    }
    assert_eq!(fs::read_to_string(&victim).expect("readable"), "kept");
    assert_ne!(export("none/log.json", &[]).code, 0);
    for name in ["../.secretctl/vault.db", "../.secretctl/new"] {
        let refused = format!("error: {name} is in the vault's directory\n");
        export(name, &["--force"]).is(1, "", &refused);
    }

    // The database is damaged in the middle of the export.
    break_a_column(&sandbox);
    assert_ne!(export("broken.json", &[]).code, 0);
    assert_ne!(export("log.json", &["--force"]).code, 0);
    assert_eq!(
        fs::read_to_string(place.join("log.json")).expect("readable"),
        csv
    );
    let names: Vec<String> = modes(&place).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["dir", "link", "log.json"]);
}

/// Gives record 4 a value that no column of this type can have, so that it cannot be read.
fn break_a_column(sandbox: &Sandbox) {
    let database = Connection::open(sandbox.database()).expect("a database");
    let table = "CREATE TABLE audit_copy AS SELECT * FROM audit_log;
        DROP TABLE audit_log;
        ALTER TABLE audit_copy RENAME TO audit_log;
        UPDATE audit_log SET time_ns = 'not a number' WHERE sequence = 4;";
    database.execute_batch(table).expect("changed");
}

#[test]
fn old_records_are_pruned_and_the_rest_verifies() {
    let sandbox = used_vault();
    let prune = |flags: &[&str]| audit(&sandbox, &["prune"]).args(flags).answer();
    prune(&["--older-than", "1h"]).is(0, "", "No record is older.\n");
    prune(&["--before", "2020-01-01", "--force"]).is(0, "", "No record is older.\n");
    let would = prune(&["--older-than", "0s", "--dry-run"]).succeeded();
    assert!(
        would.text().starts_with("records 1 to 6, from before 20"),
        "{would}"
    );
    assert!(would.text().ends_with(" would be removed\n"), "{would}");
    assert_eq!(listed(&sandbox, &[]).len(), 6);

    let moment = audit(&sandbox, &["show", "4", "--json"])
        .answer()
        .succeeded();
    let moment = moment.json()["timestamp"]
        .as_str()
        .expect("text")
        .to_owned();
    let pruned = prune(&["--before", &moment, "--force"]).succeeded();
    let range = format!("records 1 to 3, from before {moment}");
    assert_eq!(pruned.stderr, format!("Removed {range}.\n"));
    assert_eq!(listed(&sandbox, &[]), ["4", "5", "6", "7"]);
    let newest = audit(&sandbox, &["list", "--limit", "1"]).answer();
    assert!(
        newest
            .text()
            .ends_with(&format!("cli  audit.prune  success  {range}\n")),
        "{newest}"
    );
    let shown = audit(&sandbox, &["show", "7"]).answer().succeeded();
    assert!(
        shown.text().contains(&format!("removed       {range}\n")),
        "{shown}"
    );
    let expected = json!({ "valid": true, "records": 4, "pruned": 3, "problems": [] });
    assert_eq!(verified(&sandbox), expected);
    let text = "4 records verified\n3 records were pruned before them\nChain integrity: OK\nNo gaps detected\n";
    audit(&sandbox, &["verify"]).answer().is(0, text, "");

    let database = Connection::open(sandbox.database()).expect("a database");
    let cut = "DELETE FROM audit_log WHERE sequence = 4";
    assert_eq!(database.execute(cut, []), Ok(1));
    let cut = "error: the vault was tampered with:\n  records 4 to 4 were removed\n";
    audit(&sandbox, &["verify"]).answer().is(5, "", cut);
    let refused = "error: nothing was removed: records 4 to 4 were removed\n  secretctl audit verify names all that is wrong\n";
    prune(&["--older-than", "0s", "--force"]).is(5, "", refused);
}

#[test]
fn one_way_to_say_what_is_old_is_needed() {
    let sandbox = Sandbox::new();
    for flags in [&[][..], &["--older-than", "1d", "--before", "2020-01-01"]] {
        let answer = audit(&sandbox, &["prune"]).args(flags).answer();
        assert_eq!(answer.code, 2, "{answer}");
    }
}

#[test]
fn retention_is_kept_when_the_vault_is_used() {
    let sandbox = Sandbox::new();
    let retention = |args: &[&str]| audit(&sandbox, &["retention"]).args(args).answer();
    retention(&[]).is(0, "forever\n", "");
    retention(&["90d"]).is(0, "", "Records are kept: 90d.\n");
    retention(&[]).is(0, "90d\n", "");
    retention(&["23h"]).is(1, "", "error: records are kept for a day at least\n");
    assert_eq!(retention(&["soon"]).code, 2);
    retention(&["forever"]).is(0, "", "Records are kept: forever.\n");
    retention(&[]).is(0, "forever\n", "");
    let kept = audit(&sandbox, &["list", "--action", "audit."]).answer();
    let kept: Vec<&str> = kept
        .text()
        .lines()
        .filter_map(|line| line.split("  ").last())
        .collect();
    assert_eq!(kept, ["records are kept: 90d", "records are kept: forever"]);
}

/// `audit list -f`, and what it prints.
struct Following {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Following {
    fn start(sandbox: &Sandbox, flags: &[&str]) -> Self {
        let mut child = audit(sandbox, &["list", "-f"]).args(flags).spawn();
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, lines }
    }

    /// Waits for the next line.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("readable");
        line
    }

    fn error(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut text).expect("text");
        let code = self.child.wait().expect("ended").code();
        (code, text.replacen(ENVIRONMENT_NOTE, "", 1))
    }
}

#[test]
fn new_records_are_followed_until_the_pipe_is_closed() {
    let sandbox = used_vault();
    let mut following = Following::start(&sandbox, &["--limit", "1"]);
    assert!(following.line().starts_with("6  "));
    for number in 7..=8 {
        sandbox.set("ONE", "another-value");
        let line = following.line();
        assert!(line.starts_with(&format!("{number}  ")), "{line}");
        assert!(line.ends_with("cli  secret.set  success  ONE\n"), "{line}");
    }
    let Following { mut child, lines } = following;
    drop(lines);
    assert_eq!(child.wait().expect("ended").code(), Some(0));
}

#[test]
fn what_is_followed_is_filtered_and_can_be_json_lines() {
    let sandbox = used_vault();
    let flags = ["--json", "--action", "secret.delete", "--limit", "5"];
    let mut following = Following::start(&sandbox, &flags);
    let mut next = || -> Value { serde_json::from_str(&following.line()).expect("JSON") };
    assert_eq!(next()["sequence"], 6);
    sandbox.set("THREE", "third-value");
    let delete = sandbox.secretctl(["delete", "THREE", "--force"]);
    delete.answer().succeeded();
    let record = next();
    assert_eq!(
        (&record["sequence"], &record["keys"]),
        (&json!(8), &json!(["THREE"]))
    );
    following.child.kill().expect("ended");
    following.child.wait().expect("ended");
}

#[test]
fn a_log_that_is_set_back_is_not_followed() {
    let sandbox = used_vault();
    let database = Connection::open(sandbox.database()).expect("a database");
    let head = "SELECT value FROM metadata WHERE name = 'audit_head'";
    let head: Vec<u8> = database
        .query_row(head, [], |row| row.get(0))
        .expect("read");
    sandbox.set("ONE", "another-value");
    let mut following = Following::start(&sandbox, &["--limit", "1"]);
    assert!(following.line().starts_with("7  "));
    let set_back = "UPDATE metadata SET value = ?1 WHERE name = 'audit_head'";
    assert_eq!(database.execute(set_back, [head]), Ok(1));
    assert_eq!(following.line(), "");
    let error = "error: the log was set back from record 7 to 6\n".to_owned();
    assert_eq!(following.error(), (Some(5), error));
}

#[test]
fn a_new_password_is_followed_and_a_new_key_is_not() {
    let sandbox = used_vault();
    let change = |flags: &[&str], new: &str, old: &str| {
        let change = sandbox.secretctl(["password", "change"]).args(flags);
        let change = change.env("SECRETCTL_PASSWORD", old);
        change
            .env("SECRETCTL_NEW_PASSWORD", new)
            .answer()
            .succeeded();
    };
    let mut following = Following::start(&sandbox, &["--limit", "1"]);
    assert!(following.line().starts_with("6  "));
    let second = "incorrect zebra charger clip";
    change(&[], second, PASSWORD);
    let line = following.line();
    assert!(line.ends_with("cli  password.change  success\n"), "{line}");
    change(&["--rotate-key"], PASSWORD, second);
    assert_eq!(following.line(), "");
    let (code, error) = following.error();
    let changed = "error: the vault's key was changed; unlock it again\n";
    assert!(
        code == Some(3) && error.starts_with(changed),
        "{code:?} {error}"
    );
}

#[test]
fn what_was_pruned_is_not_left_in_the_journal() {
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "value-of-key");
    // Who has the database open keeps the journal there when the program ends.
    let other = Connection::open(sandbox.database()).expect("a database");
    let count = "SELECT count(*) FROM audit_log";
    let before: i64 = other.query_row(count, [], |row| row.get(0)).expect("read");
    assert_eq!(before, 2);
    let prune = sandbox.secretctl(["audit", "prune", "--older-than", "0s", "--force"]);
    let answer = prune.answer().succeeded();
    assert!(!answer.stderr.contains("warning"), "{answer}");
    let journal = sandbox.vault().join("vault.db-wal");
    assert_eq!(fs::metadata(journal).expect("there").len(), 0);
}
