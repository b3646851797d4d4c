//! An older copy of the vault, and heads that were kept elsewhere, seen from outside.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};
use secretctl::secret::{KeyMemory, key_memory};
use serde_json::json;
use support::{PASSWORD, Sandbox, modes};

fn copy_dir(from: &Path, to: &Path) {
    DirBuilder::new().mode(0o700).create(to).expect("made");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// Puts the copy in the place of the vault.
fn put_back(sandbox: &Sandbox, copy: &Path) {
    fs::remove_dir_all(sandbox.vault()).expect("removed");
    copy_dir(copy, &sandbox.vault());
}

fn anchor(sandbox: &Sandbox) -> PathBuf {
    let [(name, mode)] = &modes(&sandbox.anchors())[..] else {
        panic!("one anchor")
    };
    assert_eq!(*mode, 0o600);
    sandbox.anchors().join(name)
}

/// A vault with a copy that is two records older.
fn with_older_copy() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    sandbox.set("API_KEY", "old");
    let copy = sandbox.home().join("copy");
    copy_dir(&sandbox.vault(), &copy);
    sandbox.set("API_KEY", "new");
    sandbox.set("OTHER", "x");
    (sandbox, copy)
}

#[test]
fn an_older_vault_does_not_open_until_its_owner_says_so() {
    let (sandbox, copy) = with_older_copy();
    put_back(&sandbox, &copy);
    let refused = |args: &[&str]| {
        let answer = sandbox.secretctl(args).answer();
        assert_eq!((answer.code, &*answer.stdout), (5, &b""[..]), "{answer}");
        let fact = "error: the vault is older than its anchor: its log ends at record 2 (20";
        assert!(answer.stderr.starts_with(fact), "{answer}");
        assert!(
            answer.stderr.contains("the anchor knows record 4 (20"),
            "{answer}"
        );
        let next = format!(
            "if you put back a backup yourself, remove {}\n",
            anchor(&sandbox).display()
        );
        assert!(answer.stderr.ends_with(&next), "{answer}");
    };
    for args in [
        &["get", "API_KEY"][..],
        &["list"],
        &["run", "-k", "API_KEY", "--", "true"],
        &["mcp-server"],
    ] {
        if args[0] == "run" {
            assert_eq!(sandbox.secretctl(args).answer().code, 125);
        } else {
            refused(args);
        }
    }
    for args in [["audit", "verify"], ["status", "--json"]] {
        let answer = sandbox.secretctl(args).answer();
        assert_eq!(answer.code, 5, "{answer}");
        let all = format!("{}{}", answer.text(), answer.stderr);
        assert!(
            all.contains("the vault is older than its anchor"),
            "{answer}"
        );
    }
    fs::remove_file(anchor(&sandbox)).expect("removed");
    let missing = format!(
        "warning: the vault's anchor is missing, so nobody can tell whether the vault is an older copy: {}\n",
        sandbox.anchors().display()
    );
    let get = sandbox.secretctl(["get", "API_KEY"]).answer();
    assert_eq!((get.code, get.text()), (0, "old"));
    assert_eq!(
        get.stderr
            .rsplit_once('/')
            .map(|(start, _)| format!("{start}\n")),
        Some(missing)
    );
    sandbox
        .secretctl(["get", "API_KEY"])
        .answer()
        .is(0, "old", "");
}

#[test]
fn an_older_vault_that_went_on_elsewhere_is_noticed() {
    let (sandbox, copy) = with_older_copy();
    put_back(&sandbox, &copy);
    let away = sandbox.home().join("away");
    for value in ["a", "b", "c"] {
        let set = sandbox
            .secretctl(["set", "API_KEY", "--exact"])
            .env("XDG_STATE_HOME", &away);
        set.stdin(value).answer().succeeded();
    }
    let answer = sandbox.secretctl(["list"]).answer();
    let fact = "error: the vault is not the one that its anchor knows: record 4 (20";
    assert!(
        answer.code == 5 && answer.stderr.starts_with(fact),
        "{answer}"
    );
}

#[test]
fn a_changed_anchor_and_a_directory_that_cannot_be_written_are_warnings() {
    let sandbox = Sandbox::new();
    let path = anchor(&sandbox);
    let mut bytes = fs::read(&path).expect("readable");
    bytes[10] ^= 1;
    fs::write(&path, bytes).expect("written");
    let list = sandbox.secretctl(["list"]).answer().succeeded();
    let warning = "warning: the vault's anchor was changed, so nobody can tell";
    assert!(list.stderr.starts_with(warning), "{list}");
    assert!(
        !sandbox
            .secretctl(["list"])
            .answer()
            .stderr
            .contains("warning")
    );
    let file = sandbox.home().join("file");
    fs::write(&file, "").expect("written");
    let list = sandbox
        .secretctl(["list"])
        .env("XDG_STATE_HOME", &file)
        .answer()
        .succeeded();
    let warning = "warning: an older copy of the vault will not be noticed: ";
    assert_eq!(list.stderr.matches("warning").count(), 1, "{list}");
    assert!(list.stderr.starts_with(warning), "{list}");
}

#[test]
fn a_relative_directory_for_state_does_not_count() {
    let sandbox = Sandbox::empty();
    let init = sandbox
        .secretctl(["init"])
        .env("XDG_STATE_HOME", "relative");
    init.answer().succeeded();
    assert!(!sandbox.home().join("relative").exists());
    let anchors = sandbox.home().join(".local/state/secretctl");
    assert_eq!(modes(&anchors).len(), 1);
    assert_eq!(
        modes(&sandbox.home().join(".local/state")),
        [("secretctl".to_owned(), 0o700)]
    );
}

#[test]
fn a_head_that_was_kept_tells_of_every_change_before_it() {
    let (sandbox, copy) = with_older_copy();
    let head = sandbox.secretctl(["audit", "head"]).answer().succeeded();
    let head = head.text().trim_end().to_owned();
    let words: Vec<&str> = head.split(':').collect();
    assert_eq!(
        (words[0], words[1], words[3], words[4].len()),
        ("secretctl-head", "1", "4", 64)
    );
    let verify = |sandbox: &Sandbox, head: &str| {
        sandbox
            .secretctl(["audit", "verify", "--head", head])
            .answer()
    };
    let said =
        "4 records verified\nChain integrity: OK\nNo gaps detected\nHead: record 4 is as it was\n";
    verify(&sandbox, &head).is(0, said, "");
    sandbox.set("MORE", "x");
    verify(&sandbox, &head).succeeded();
    let problem = |answer: support::Answer, problem: &str| {
        let text = format!("error: the vault was tampered with:\n  {problem}\n");
        answer.is(5, "", &text);
    };
    let other = Sandbox::new();
    problem(verify(&other, &head), "the head is that of another vault");
    fs::remove_file(anchor(&sandbox)).expect("removed");
    put_back(&sandbox, &copy);
    problem(
        verify(&sandbox, &head),
        "the log ends at record 2, before record 4",
    );
    sandbox.set("API_KEY", "x");
    sandbox.set("API_KEY", "y");
    problem(
        verify(&sandbox, &head),
        "record 4 is another than it was, or gone",
    );
    let wrong = verify(&sandbox, "secretctl-head:1:x");
    assert_eq!(wrong.code, 2, "{wrong}");
}

#[test]
fn who_holds_the_anchor_stops_nobody() {
    let sandbox = Sandbox::new();
    let anchor = fs::read_dir(sandbox.anchors())
        .expect("a directory")
        .flatten()
        .next();
    let anchor = fs::File::open(anchor.expect("an anchor").path()).expect("a file");
    flock(&anchor, FlockOperation::LockExclusive).expect("locked");
    let set = sandbox
        .secretctl(["set", "KEY"])
        .stdin("value-of-key")
        .answer();
    assert_eq!(set.code, 0, "{set}");
    assert!(
        set.stderr
            .contains("warning: an older copy of the vault will not be noticed: "),
        "{set}"
    );
    drop(anchor);
    sandbox
        .secretctl(["get", "KEY"])
        .answer()
        .is(0, "value-of-key", "");
}

#[test]
fn the_status_names_what_was_changed() {
    let sandbox = Sandbox::empty();
    // As people have it.
    sandbox.secretctl(["init"]).answer().succeeded();
    sandbox.set("API_KEY", "x");
    let status = sandbox.secretctl(["status"]).answer().succeeded();
    let names: Vec<&str> = status
        .text()
        .lines()
        .map(|line| line.split(' ').next().unwrap_or_default())
        .collect();
    assert_eq!(
        names,
        [
            "vault", "id", "created", "password", "secrets", "records", "epoch", "anchor", "keys",
            "session"
        ]
    );
    assert!(status.text().contains("password  Argon2id, 64 MiB, 3 passes, 4 lanes\nsecrets   1\nrecords   2\nepoch     0\nanchor    as it should be\n"), "{status}");
    let json = sandbox
        .secretctl(["status", "--json"])
        .answer()
        .succeeded()
        .json();
    assert_eq!(
        (&json["secrets"], &json["records"], &json["problems"]),
        (&json!(1), &json!(2), &json!([]))
    );
    let (text, word) = match key_memory() {
        KeyMemory::Secret => ("in memory that no other process can read", "secret"),
        KeyMemory::Locked => ("in memory that is never written to disk", "locked"),
        KeyMemory::Ordinary => (
            "in ordinary memory: the system refuses to lock it",
            "ordinary",
        ),
    };
    let lines = format!("\nkeys      {text}\nsession   none\n");
    assert!(status.text().ends_with(&lines), "{status}");
    assert_eq!(json["key_memory"], word);
    sandbox.set("OTHER", "x");
    let database = Connection::open(sandbox.database()).expect("a database");
    assert_eq!(
        database.execute("DELETE FROM secrets WHERE rowid = 1", []),
        Ok(1)
    );
    drop(database);
    let answer = sandbox.secretctl(["status"]).answer();
    let fact = "error: the vault was tampered with:\n  secrets were removed, added or set back to an earlier state\n";
    assert_eq!((answer.code, &*answer.stderr), (5, fact));
}

/// Every row of `metadata`, removed, put in another's place, and set back to what it was before a change of the password.
#[test]
fn no_row_of_the_metadata_can_be_changed_unseen() {
    let sandbox = Sandbox::new();
    sandbox.set("API_KEY", "x");
    let copy = sandbox.home().join("copy");
    copy_dir(&sandbox.vault(), &copy);
    let change = sandbox.secretctl(["password", "change", "--rotate-key", "--kdf", "19MiB,2,1"]);
    change
        .env("SECRETCTL_NEW_PASSWORD", PASSWORD)
        .answer()
        .succeeded();
    let good = sandbox.home().join("good");
    copy_dir(&sandbox.vault(), &good);
    let attach = format!("ATTACH '{}' AS old", copy.join("vault.db").display());
    let rows = [
        "password",
        "dek",
        "password_check",
        "audit_epochs",
        "generation",
        "audit_head",
        "secrets_digest",
    ];
    for row in rows {
        for how in [
            "DELETE FROM metadata WHERE name = ?1",
            "UPDATE metadata SET value = (SELECT value FROM old.metadata WHERE name = ?1) WHERE name = ?1",
            "UPDATE metadata SET value = (SELECT value FROM metadata WHERE name = (CASE ?1 WHEN 'dek' THEN 'audit_head' ELSE 'dek' END)) WHERE name = ?1",
        ] {
            put_back(&sandbox, &good);
            let database = Connection::open(sandbox.database()).expect("a database");
            database.execute_batch(&attach).expect("attached");
            assert_eq!(database.execute(how, [row]), Ok(1));
            database.close().expect("closed");
            let status = sandbox.secretctl(["status"]).answer();
            assert_eq!(status.code, 5, "{row}: {how}: {status}");
            let named = status.stderr.contains("tampered with");
            assert!(named, "{row}: {how}: {status}");
            if row.starts_with("audit_head") {
                let verify = sandbox.secretctl(["audit", "verify"]).answer();
                assert!(
                    verify.code == 5 && verify.stderr.contains("head of the"),
                    "{verify}"
                );
                assert_eq!(sandbox.secretctl(["list"]).answer().code, 5);
            }
        }
    }
}

/// A whole password of before, with the keys of the log of that time: the secrets are under the same key.
#[test]
fn the_rows_of_an_old_password_set_back_together_are_noticed() {
    let sandbox = Sandbox::new();
    sandbox.set("API_KEY", "x");
    let copy = sandbox.home().join("copy");
    copy_dir(&sandbox.vault(), &copy);
    let change = sandbox.secretctl(["password", "change"]);
    change
        .env("SECRETCTL_NEW_PASSWORD", "another horse battery")
        .answer()
        .succeeded();
    let database = Connection::open(sandbox.database()).expect("a database");
    let attach = format!("ATTACH '{}' AS old", copy.join("vault.db").display());
    database.execute_batch(&attach).expect("attached");
    let set_back = "REPLACE INTO metadata SELECT * FROM old.metadata
        WHERE name IN ('password', 'dek', 'password_check', 'audit_epochs')";
    assert_eq!(database.execute(set_back, []), Ok(4));
    database.close().expect("closed");
    let fact = "log and its head are of different master passwords";
    for args in [
        &["get", "API_KEY"][..],
        &["status"],
        &["audit", "head"],
        &["set", "NEW"],
    ] {
        let answer = sandbox.secretctl(args).stdin("x").answer();
        assert!(
            answer.code == 5 && answer.stderr.contains(fact),
            "{args:?}: {answer}"
        );
    }
    let verify = sandbox.secretctl(["audit", "verify"]).answer();
    assert!(
        verify.code == 5 && verify.stderr.contains("of different master passwords"),
        "{verify}"
    );
}

/// Each half is genuine and complete in itself; the anchor knows the log alone, and here it is gone as well.
#[test]
fn secrets_and_log_of_different_times_are_noticed() {
    const SECRETS: &str = "DELETE FROM secrets; INSERT INTO secrets SELECT * FROM old.secrets;
        REPLACE INTO metadata SELECT * FROM old.metadata WHERE name = 'secrets_digest';";
    const LOG: &str = "DELETE FROM audit_log; INSERT INTO audit_log SELECT * FROM old.audit_log;
        REPLACE INTO metadata SELECT * FROM old.metadata WHERE name = 'audit_head';";
    let (sandbox, copy) = with_older_copy();
    let good = sandbox.home().join("good");
    copy_dir(&sandbox.vault(), &good);
    fs::remove_dir_all(sandbox.anchors()).expect("removed");
    let attach = format!("ATTACH '{}' AS old", copy.join("vault.db").display());
    for half in [SECRETS, LOG] {
        put_back(&sandbox, &good);
        let database = Connection::open(sandbox.database()).expect("a database");
        database.execute_batch(&attach).expect("attached");
        database.execute_batch(half).expect("set back");
        database.close().expect("closed");
        for args in [
            &["status"][..],
            &["audit", "verify"],
            &["get", "API_KEY"],
            &["list"],
            &["set", "NEW"],
            &["password", "change", "--rotate-key"],
            &["audit", "prune", "--older-than", "0s", "--force"],
            &["status"],
        ] {
            let command = sandbox.secretctl(args).stdin("x");
            let answer = command.env("SECRETCTL_NEW_PASSWORD", PASSWORD).answer();
            let is_named = answer.stderr.contains("the secrets are not those of");
            assert!(answer.code == 5 && is_named, "{half}: {args:?}: {answer}");
        }
    }
}

#[test]
fn a_command_in_the_jail_does_not_see_the_anchor() {
    let sandbox = Sandbox::new();
    sandbox.set("API_KEY", "sk-abc123xyz");
    let state = sandbox.anchors().parent().expect("a parent").to_owned();
    let run = sandbox.secretctl(["run", "-k", "API_KEY", "--sandbox", "--read"]);
    let run = run
        .args([state.as_path()])
        .args(["--", "ls", "-A"])
        .args([sandbox.anchors()])
        .answer();
    assert!(!run.text().contains(".anchor"), "{run}");
    let write = sandbox.secretctl(["run", "-k", "API_KEY", "--sandbox", "--write"]);
    let write = write.args([state.as_path()]).args(["--", "true"]).answer();
    assert_eq!(write.code, 125, "{write}");
    let read = sandbox.secretctl(["run", "-k", "API_KEY", "--sandbox", "--read"]);
    let read = read.args([anchor(&sandbox)]).args(["--", "true"]).answer();
    assert_eq!(read.code, 125, "{read}");
}

/// Looking at the log writes no record, which would write the anchor as well.
#[test]
fn a_missing_anchor_is_made_when_the_vault_is_entered() {
    let sandbox = Sandbox::new();
    fs::remove_file(anchor(&sandbox)).expect("removed");
    let list = || sandbox.secretctl(["audit", "list"]).answer().succeeded();
    let first = list();
    assert!(
        first
            .stderr
            .starts_with("warning: the vault's anchor is missing"),
        "{first}"
    );
    assert!(anchor(&sandbox).is_file());
    assert_eq!(list().stderr, "");
}
