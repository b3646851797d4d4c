//! Vaults of the Go tool, written from the description of its files, and imported through the real binary.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::Sandbox;
use support::go_import::{import, names, places, run};
use support::go_vault::{GO_PASSWORD, GoSecret, GoVault, go_field};

fn get(sandbox: &Sandbox, key: &str) -> Value {
    let get = sandbox.secretctl(["get", key, "--json"]).answer();
    get.succeeded().json()
}

/// Every file of a directory with its content and its times.
fn state(dir: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let entries = fs::read_dir(dir).expect("a directory").flatten();
    let mut state: Vec<_> = entries
        .map(|entry| {
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            let path = entry.path();
            (
                path.clone(),
                fs::read(path).expect("a file"),
                changed.expect("a time"),
            )
        })
        .collect();
    state.sort();
    state
}

#[test]
fn everything_arrives_from_each_version() {
    for version in 1..=5 {
        let (sandbox, dir) = places();
        let vault = GoVault::create(&dir, version);
        let labels = GoSecret {
            key: b"labels/one",
            value: Some(" a <value> & \u{1F511}\nof two lines\n"),
            fields: json!({ "value": go_field(" a <value> & \u{1F511}\nof two lines\n", true) }),
            metadata: json!({ "notes": "some \"notes\"\nhere", "url": "https://example.com/x" }),
            tags: Some(r#"["prod","api","prod"]"#),
            expires_at: Some("2090-01-02 03:04:05"),
            ..GoSecret::default()
        };
        vault.secret(&labels);
        if version >= 2 {
            let database = GoSecret {
                key: b"db",
                value: Some("old readers see this"),
                fields: json!({
                    "host": go_field("db.example", false), "password": go_field("s3cret-Pass-word", true),
                }),
                bindings: json!({ "PGHOST": "host", "PGPASSWORD": "Password" }),
                folder: Some("f2"),
                ..GoSecret::default()
            };
            vault.secret(&database);
        }
        if version >= 5 {
            vault.folder("f1", "Work", None, None);
            vault.folder("f2", "Databases", Some("f1"), None);
        }
        drop(vault);
        let before = state(&dir);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o500)).expect("an own directory");
        let imported = import(&sandbox, &dir, &[]).succeeded();
        assert_eq!(state(&dir), before);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("an own directory");

        let one = json!({
            "key": "labels/one", "fields": { "value": " a <value> & \u{1F511}\nof two lines\n" }, "sensitive": ["value"],
            "bindings": {}, "tags": ["prod", "api"], "notes": "some \"notes\"\nhere", "url": "https://example.com/x",
            "expires_at": "2090-01-02T03:04:05Z", "created_at": "2025-01-02T03:04:05Z", "updated_at": "2025-06-07T08:09:10Z",
        });
        assert_eq!(get(&sandbox, "labels/one"), one, "version {version}");
        let key = match version {
            1 => None,
            5 => Some("Work/Databases/db"),
            _ => Some("db"),
        };
        let mut expected = vec!["imported labels/one"];
        if let Some(key) = key {
            let database = json!({
                "key": key, "fields": { "host": "db.example", "password": "s3cret-Pass-word" }, "sensitive": ["password"],
                "bindings": { "PGHOST": "host", "PGPASSWORD": "password" }, "tags": [], "notes": null, "url": null,
                "expires_at": null, "created_at": "2025-01-02T03:04:05Z", "updated_at": "2025-06-07T08:09:10Z",
            });
            assert_eq!(get(&sandbox, key), database, "version {version}");
            expected.insert(
                0,
                if version == 5 {
                    "imported Work/Databases/db"
                } else {
                    "imported db"
                },
            );
        }
        let lines: Vec<&str> = imported.text().lines().collect();
        assert_eq!(lines, expected);
        let counts = format!("{} imported, 0 overwritten, 0 skipped.\n", expected.len());
        assert_eq!(imported.stderr, counts);
        sandbox.secretctl(["audit", "verify"]).answer().succeeded();
    }
}

#[test]
fn moments_are_read_in_each_form_and_the_past_stays_past() {
    let (sandbox, dir) = places();
    let vault = GoVault::create(&dir, 5);
    let forms = [
        ("SQLITE", "2026-02-21 03:04:05"),
        ("RFC", "2026-02-21T04:04:05.25+01:00"),
        (
            "GO",
            "2026-02-20 21:34:05.1 -0530 -0530 m=+2592000.000000001",
        ),
    ];
    for (key, text) in forms {
        vault.secret(&GoSecret {
            key: key.as_bytes(),
            value: Some("a value"),
            expires_at: Some(text),
            created_at: text,
            updated_at: text,
            ..GoSecret::default()
        });
    }
    import(&sandbox, &dir, &[]).succeeded();
    for (key, _) in forms {
        let secret = get(&sandbox, key);
        for time in ["expires_at", "created_at", "updated_at"] {
            assert_eq!(secret[time], "2026-02-21T03:04:05Z", "{key} {time}");
        }
        let value = sandbox.secretctl(["get", key]).answer();
        value.is(0, "a value", &format!("warning: {key} has expired\n"));
    }
}

#[test]
fn what_has_no_place_here_is_counted() {
    let (sandbox, dir) = places();
    let vault = GoVault::create(&dir, 5);
    vault.folder("f1", "Work", None, Some("briefcase"));
    vault.folder("f2", "Empty", Some("f1"), None);
    let field = json!({
        "value": "v1", "sensitive": false, "aliases": ["user", "name"], "kind": "text", "inputType": "text", "hint": "who",
    });
    vault.secret(&GoSecret {
        fields: json!({ "login": field, "empty": go_field("", true), "unsaid": { "value": "v2" } }),
        bindings: json!({ "BY_ALIAS": "USER", "LOOSE": "nothing", "bad-name": "login", "LD_PRELOAD": "login" }),
        folder: Some("f1"),
        ..GoSecret::default()
    });
    vault.secret(&GoSecret {
        key: b"UNFILED",
        value: Some("v3"),
        folder: Some("gone"),
        ..GoSecret::default()
    });
    let lost = "\
warning: left out: aliases of fields (2)
warning: left out: kinds of fields (1)
warning: left out: hints on fields (1)
warning: left out: input types of fields (1)
warning: left out: fields without a value (1)
warning: left out: bindings to fields that do not exist (1)
warning: left out: bindings to variables that no secret may set (2)
warning: left out: icons and colours of folders (1)
warning: left out: folders without secrets (1)
warning: left out: references to folders that do not exist (1)
2 imported, 0 overwritten, 0 skipped.
";
    let lines = "imported UNFILED\nimported Work/KEY\n";
    import(&sandbox, &dir, &[]).is(0, lines, lost);
    let key = get(&sandbox, "Work/KEY");
    assert_eq!(key["bindings"], json!({ "BY_ALIAS": "login" }));
    // What is not said to be plain is not.
    assert_eq!(key["sensitive"], json!(["unsaid"]));
}

#[test]
fn names_are_made_to_fit_and_kept_apart() {
    let (sandbox, dir) = places();
    let vault = GoVault::create(&dir, 5);
    vault.folder("f1", "My Folder", None, None);
    vault.folder("f2", "My_Folder", None, None);
    for (key, folder, value) in [
        ("k", Some("f1"), "of the first"),
        ("k", Some("f2"), "of the second"),
        ("a//b", None, "doubled"),
    ] {
        let secret = GoSecret {
            key: key.as_bytes(),
            value: Some(value),
            folder,
            ..GoSecret::default()
        };
        // One name in two folders: the tool would not allow it, but its file does.
        let hashes = "UPDATE secrets SET key_hash = key_hash || id";
        vault.database.execute_batch(hashes).expect("changed");
        vault.secret(&secret);
    }
    let lines = "imported My_Folder/k\nimported My_Folder/k_2\nimported a/b\n";
    let renamed = "warning: My Folder/k becomes My_Folder/k_2\nwarning: a//b becomes a/b\n3 imported, 0 overwritten, 0 skipped.\n";
    import(&sandbox, &dir, &[]).is(0, lines, renamed);
    for (key, value) in [
        ("My_Folder/k", "of the second"),
        ("My_Folder/k_2", "of the first"),
        ("a/b", "doubled"),
    ] {
        sandbox.secretctl(["get", key]).answer().is(0, value, "");
    }
}

#[test]
fn nothing_is_overwritten_unless_it_is_asked_for() {
    let (sandbox, dir) = places();
    let vault = GoVault::create(&dir, 5);
    for key in ["A", "B", "C"] {
        vault.secret(&GoSecret {
            key: key.as_bytes(),
            value: Some("imported"),
            ..GoSecret::default()
        });
    }
    sandbox.set("B", "of our own");
    sandbox
        .secretctl(["set", "B", "--tags", "ours"])
        .answer()
        .succeeded();
    let refused = "error: there are secrets of these names already: B\n  --on-conflict skip keeps these, --on-conflict overwrite replaces them\n";
    import(&sandbox, &dir, &[]).is(1, "", refused);
    import(&sandbox, &dir, &["--dry-run"]).is(1, "", refused);
    assert_eq!(names(&sandbox), ["B"]);
    let lines = "imported A\nimported C\nskipped B\n";
    let dry = "Nothing was changed; it would be 2 imported, 0 overwritten, 1 skipped.\n";
    import(&sandbox, &dir, &["--on-conflict", "skip", "--dry-run"]).is(0, lines, dry);
    assert_eq!(names(&sandbox), ["B"]);
    let skipped = "2 imported, 0 overwritten, 1 skipped.\n";
    import(&sandbox, &dir, &["--on-conflict", "skip"]).is(0, lines, skipped);
    sandbox
        .secretctl(["get", "B"])
        .answer()
        .is(0, "of our own", "");
    let lines = "overwritten A\noverwritten B\noverwritten C\n";
    let overwritten = "0 imported, 3 overwritten, 0 skipped.\n";
    import(&sandbox, &dir, &["--on-conflict", "overwrite"]).is(0, lines, overwritten);
    let b = get(&sandbox, "B");
    assert_eq!(
        (&b["fields"]["value"], &b["tags"]),
        (&json!("imported"), &json!([]))
    );

    let log = sandbox.secretctl(["audit", "export"]).answer().json();
    let records = log.as_array().expect("records").iter();
    let imports: Vec<&Value> = records
        .filter(|record| record["action"] == "secret.import")
        .collect();
    let keys: Vec<&Value> = imports.iter().map(|record| &record["keys"]).collect();
    assert_eq!(keys, [&json!(["A", "C"]), &json!(["A", "B", "C"])]);
    // Where it came from is told by the last part alone.
    assert!(!log.to_string().contains(&*dir.to_string_lossy()), "{log}");
    assert!(
        imports[0].to_string().contains("\"other\""),
        "{}",
        imports[0]
    );
    sandbox.secretctl(["audit", "verify"]).answer().succeeded();
}

#[test]
fn a_large_vault_is_imported_in_one_transaction() {
    let (sandbox, dir) = places();
    let vault = GoVault::create(&dir, 5);
    // Left as a write-ahead log leaves it.
    run(&vault, "PRAGMA journal_mode = WAL; BEGIN");
    let keys: Vec<String> = (0..1001).map(|n| format!("folder/{n:04}")).collect();
    for key in &keys {
        vault.secret(&GoSecret {
            key: key.as_bytes(),
            value: Some("a value"),
            ..GoSecret::default()
        });
    }
    run(&vault, "COMMIT");
    drop(vault);
    let imported = import(&sandbox, &dir, &[]).succeeded();
    assert_eq!(
        imported.stderr,
        "1001 imported, 0 overwritten, 0 skipped.\n"
    );
    assert_eq!(names(&sandbox), keys);
    let log = sandbox.secretctl(["audit", "export"]).answer().json();
    let records = log.as_array().expect("records").iter();
    let imports = records.filter(|record| record["action"] == "secret.import");
    let keys: Vec<_> = imports
        .map(|record| record["keys"].as_array().map(Vec::len))
        .collect();
    assert_eq!(keys, [Some(1000), Some(1)]);
    sandbox.secretctl(["audit", "verify"]).answer().succeeded();
}

#[test]
fn a_vault_of_the_other_tool_in_our_place_is_known() {
    let sandbox = Sandbox::empty();
    drop(GoVault::create(&sandbox.vault(), 5));
    let text = "error: this is a vault of the Go tool of this name\n  move it to another place, then: secretctl init; secretctl import --from secretctl-go PLACE\n";
    sandbox.secretctl(["list"]).answer().is(1, "", text);
}

#[test]
fn the_other_password_comes_from_the_environment_or_a_file() {
    let (sandbox, dir) = places();
    let vault = GoVault::create(&dir, 5);
    vault.secret(&GoSecret {
        value: Some("a value"),
        ..GoSecret::default()
    });
    let other = || {
        sandbox
            .secretctl(["import", "--from", "secretctl-go"])
            .args([&dir])
    };
    let wrong = format!(
        "error: wrong password of that vault, or its keys are damaged\n  the password of {} is meant, not that of your own vault\n",
        dir.display()
    );
    other()
        .env("SECRETCTL_IMPORT_PASSWORD", "wrong")
        .answer()
        .is(3, "", &wrong);
    let none = other().answer();
    assert_eq!(none.code, 3, "{none}");
    assert!(
        none.stderr
            .contains("set SECRETCTL_IMPORT_PASSWORD or --import-password-file"),
        "{none}"
    );
    let file = sandbox.home().join("password");
    fs::write(&file, format!("{GO_PASSWORD}\n")).expect("written");
    let with_file = other().args(["--import-password-file".as_ref(), file.as_os_str()]);
    with_file.answer().is(
        0,
        "imported KEY\n",
        "1 imported, 0 overwritten, 0 skipped.\n",
    );
}
