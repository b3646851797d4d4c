//! Vaults of the Go tool that are damaged, hostile or break a limit: each is refused as a whole, with what is wrong.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};
use support::Sandbox;
use support::go_import::{import, names, places, run};
use support::go_vault::{GoSecret, GoVault, go_field};

#[test]
fn a_secret_that_cannot_be_kept_is_named_and_none_is_imported() {
    let long = |bytes: usize| "x".repeat(bytes);
    let (deep, notes, large) = ("n".repeat(128), long(10_241), long(1024 * 1024 + 1));
    let with_fields = |fields: Value| GoSecret {
        fields,
        ..GoSecret::default()
    };
    let with_value = |key: &'static [u8]| GoSecret {
        key,
        value: Some("a value"),
        ..GoSecret::default()
    };
    let many: Value = (0..101)
        .map(|n| (format!("f{n}"), go_field("v", true)))
        .collect();
    let cases: [(GoSecret, &str); 15] = [
        (
            with_fields(json!({ "a": { "value": 12345678 } })),
            "KEY: its fields cannot be read",
        ),
        (with_fields(json!([1])), "KEY: its fields cannot be read"),
        (
            with_fields(json!({ "a": go_field(&large, true) })),
            "KEY: the value of field 'a' has more than 1048576 bytes",
        ),
        (with_fields(many), "KEY: a secret has at most 100 fields"),
        (
            with_fields(json!({ "Bad": go_field("v", true) })),
            "KEY: the name of a field starts with a-z",
        ),
        (with_fields(json!({})), "KEY: a secret needs a value"),
        (
            GoSecret {
                metadata: json!({ "notes": notes }),
                ..with_value(b"KEY")
            },
            "KEY: notes have at most 10240 bytes",
        ),
        (
            GoSecret {
                metadata: json!({ "url": "ftp://x" }),
                ..with_value(b"KEY")
            },
            "KEY: a URL starts with",
        ),
        (
            GoSecret {
                tags: Some("[\"a b\"]"),
                ..with_value(b"KEY")
            },
            "KEY: a tag consists of",
        ),
        (
            GoSecret {
                tags: Some("{"),
                ..with_value(b"KEY")
            },
            "KEY: its tags cannot be read",
        ),
        (
            GoSecret {
                bindings: json!([]),
                ..with_value(b"KEY")
            },
            "KEY: its bindings cannot be read",
        ),
        (
            GoSecret {
                expires_at: Some("soon"),
                ..with_value(b"KEY")
            },
            "KEY: its time of expiry cannot be read",
        ),
        (
            GoSecret {
                created_at: "99999-01-01 00:00:00",
                ..with_value(b"KEY")
            },
            "KEY: its time of creation cannot be read",
        ),
        (with_value(b"\xff\x1b[31m"), "secret no. 2: it has no name"),
        (
            GoSecret {
                folder: Some("f3"),
                ..with_value(b"KEY")
            },
            "KEY: the name of a secret has 1 to 256 characters",
        ),
    ];
    let sandbox = Sandbox::new();
    for (number, (secret, fact)) in cases.into_iter().enumerate() {
        let dir = sandbox.home().join(format!("other{number}"));
        let vault = GoVault::create(&dir, 5);
        vault.folder("f1", &deep, None, None);
        vault.folder("f2", &deep, Some("f1"), None);
        vault.folder("f3", &deep, Some("f2"), None);
        vault.secret(&GoSecret {
            key: b"GOOD",
            value: Some("a value"),
            ..GoSecret::default()
        });
        vault.secret(&secret);
        let refused = import(&sandbox, &dir, &["--on-conflict", "skip"]);
        assert_eq!((refused.code, refused.text()), (1, ""), "{refused}");
        let start = format!("error: a secret cannot be imported:\n  {fact}");
        assert!(refused.stderr.starts_with(&start), "{fact}: {refused}");
        assert!(!refused.stderr.contains("12345678"), "{refused}");
    }
    assert_eq!(names(&sandbox), Vec::<String>::new());
}

#[test]
fn a_damaged_vault_is_refused_with_what_is_wrong() {
    let (sandbox, dir) = places();
    type Damage = fn(&GoVault);
    let cases: [(Damage, i32, &str); 11] = [
        (
            |vault| run(vault, "UPDATE vault_keys SET encrypted_dek = x'00'"),
            3,
            "wrong password of that vault, or its keys are damaged\n",
        ),
        (
            |vault| run(vault, "UPDATE vault_keys SET salt = x'00'"),
            1,
            "that vault is damaged: the salt of its password\n",
        ),
        (
            |vault| run(vault, "DELETE FROM vault_keys"),
            1,
            "that vault is damaged: it has no key\n",
        ),
        (
            |vault| run(vault, "INSERT INTO schema_version VALUES (6, '')"),
            1,
            "that vault has schema version 6; 1 to 5 can be read\n",
        ),
        (
            |vault| {
                run(
                    vault,
                    "UPDATE secrets SET encrypted_value = encrypted_key || x'00'",
                )
            },
            1,
            "a secret cannot be imported:\n  KEY: its value is damaged\n",
        ),
        (
            |vault| run(vault, "UPDATE secrets SET created_at = 9e99"),
            1,
            "a secret cannot be imported:\n  KEY: its time of creation cannot be read\n",
        ),
        (
            |vault| {
                vault.folder("f1", "a", Some("f2"), None);
                vault.folder("f2", "b", Some("f1"), None);
                run(vault, "UPDATE secrets SET folder_id = 'f1'");
            },
            1,
            "a secret cannot be imported:\n  KEY: its folders are nested without end\n",
        ),
        // A view could be made to run for ever, or to answer what it likes.
        (
            |vault| {
                run(
                    vault,
                    "ALTER TABLE secrets RENAME TO others; CREATE VIEW secrets AS SELECT * FROM others",
                );
            },
            1,
            "the database of that vault cannot be read: ",
        ),
        (
            |vault| fs::write(vault.dir.join("vault.db"), b"no database").expect("written"),
            1,
            "DB is not a database\n",
        ),
        (|vault| cut_off(vault, 0), 1, "DB is not a database\n"),
        (
            |vault| cut_off(vault, 8192),
            1,
            "the database of that vault cannot be read: ",
        ),
    ];
    for (number, (damage, code, fact)) in cases.into_iter().enumerate() {
        let dir = dir.with_extension(number.to_string());
        let vault = GoVault::create(&dir, 5);
        vault.secret(&GoSecret {
            value: Some("a value"),
            ..GoSecret::default()
        });
        damage(&vault);
        drop(vault);
        let refused = import(&sandbox, &dir, &[]);
        assert_eq!((refused.code, refused.text()), (code, ""), "{refused}");
        let fact = fact.replace("DB", &dir.join("vault.db").to_string_lossy());
        assert!(
            refused.stderr.starts_with(&format!("error: {fact}")),
            "{fact}: {refused}"
        );
    }
    assert_eq!(names(&sandbox), Vec::<String>::new());
}

fn cut_off(vault: &GoVault, length: u64) {
    let path = vault.dir.join("vault.db");
    let file = fs::OpenOptions::new().write(true).open(path);
    file.expect("a file").set_len(length).expect("shorter");
}

#[test]
fn links_and_unfinished_changes_are_refused() {
    let (sandbox, dir) = places();
    drop(GoVault::create(&dir, 3));
    let link = sandbox.home().join("link");
    symlink(&dir, &link).expect("a link");
    let refused = |dir: &Path, path: &Path, fact: &str| {
        let text = format!("error: {} {fact}\n", path.display());
        import(&sandbox, dir, &[]).is(1, "", &text);
    };
    refused(&link, &link, "is a link, which is not followed");
    for name in ["vault.db", "vault.salt"] {
        let (path, moved) = (dir.join(name), dir.join("moved"));
        fs::rename(&path, &moved).expect("moved");
        symlink(&moved, &path).expect("a link");
        refused(&dir, &path, "is a link, which is not followed");
        fs::remove_file(&path).expect("removed");
        fs::rename(&moved, &path).expect("moved");
    }
    import(&sandbox, &dir, &[]).is(0, "", "0 imported, 0 overwritten, 0 skipped.\n");
    let journal = dir.join("vault.db-journal");
    fs::write(&journal, "x").expect("written");
    let fact = "is there: the other program is changing the vault, or was interrupted while it did";
    refused(&dir, &journal, fact);
    let missing = import(&sandbox, &sandbox.home().join("missing"), &[]);
    assert!(
        missing.code == 1 && missing.stderr.contains("/missing: No such file"),
        "{missing}"
    );
    // A pipe would be waited for.
    fs::remove_file(&journal).expect("removed");
    fs::remove_file(dir.join("vault.salt")).expect("removed");
    let made = std::process::Command::new("mkfifo")
        .arg(dir.join("vault.salt"))
        .status();
    assert!(made.expect("mkfifo runs").success());
    refused(&dir, &dir.join("vault.salt"), "is not a regular file");
}
