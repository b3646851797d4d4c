//! The vault as a whole: what it keeps.

mod cooldown;
mod files;
mod password;
mod tamper;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::name::{EnvName, FieldName, Tag};

const SMALL: KdfParams = KdfParams {
    memory_kib: 64,
    passes: 1,
    lanes: 1,
};
const NOW: i64 = 1_800_000_000;

fn secret(bytes: &[u8]) -> SecretBytes {
    SecretBytes::from_vec(bytes.to_vec())
}

fn password() -> SecretBytes {
    secret(b"correct horse battery")
}

fn name(text: &str) -> SecretName {
    text.parse().expect("a name")
}

fn create(dir: &Path) -> Result<Vault, VaultError> {
    LockedVault::create_with(dir, &password(), SMALL, NOW, |_| Ok(()))
}

fn new_vault() -> (TempDir, Vault) {
    let dir = TempDir::new().expect("a directory");
    let vault = create(&dir.path().join("vault")).expect("a vault");
    (dir, vault)
}

fn reopen(vault: &Vault) -> Result<Vault, UnlockError> {
    LockedVault::open(vault.dir())?.unlock(&password(), NOW)
}

fn set(vault: &Vault, key: &str, change: Change) -> Result<Stored, VaultError> {
    let transaction = vault.begin()?;
    let stored = transaction.set(&name(key), change, NOW + 1)?;
    transaction.commit()?;
    Ok(stored)
}

#[test]
fn nothing_is_written_to_a_file_that_was_replaced() {
    let (_dir, vault) = new_vault();
    set_value(&vault, "A", "x");
    assert!(vault.empty_journal());
    let (path, copy) = (vault.files.database(), vault.dir().join("copy"));
    fs::copy(&path, &copy).expect("copied");
    fs::rename(&copy, &path).expect("renamed");
    assert!(matches!(vault.begin(), Err(VaultError::Replaced)));
    fs::remove_file(&path).expect("removed");
    assert!(matches!(vault.begin(), Err(VaultError::Io { .. })));
}

fn set_value(vault: &Vault, key: &str, value: &str) {
    set(vault, key, Change::value(secret(value.as_bytes()))).expect("stored");
}

fn value(vault: &Vault, key: &str) -> Option<Vec<u8>> {
    let fields = vault.reveal(&name(key)).expect("readable")?;
    fields.get(VALUE_FIELD).map(|value| value.expose().to_vec())
}

fn labelled() -> Change {
    Change {
        tags: Some(vec!["tag-canary".parse::<Tag>().expect("a tag")]),
        notes: Some(Some("notes-canary".to_owned())),
        url: Some(Some("https://url-canary.example".to_owned())),
        expires_at: Some(Some(NOW + 100)),
        ..Change::value(secret(b"value-canary"))
    }
}

#[test]
fn any_bytes_come_back() {
    let (_dir, vault) = new_vault();
    let all: Vec<u8> = (0..=255).collect();
    for bytes in [
        b"\0".as_slice(),
        b"\xff\xfe\n",
        &all,
        &vec![7; VALUE_MAX_BYTES],
    ] {
        set(&vault, "binary", Change::value(secret(bytes))).expect("stored");
        let read_back = value(&reopen(&vault).expect("opens"), "binary");
        assert!(read_back.as_deref() == Some(bytes), "{} bytes", bytes.len());
    }
    assert_eq!(value(&vault, "other"), None);
}

#[test]
fn a_change_leaves_alone_what_it_does_not_give() {
    let (_dir, vault) = new_vault();
    assert_eq!(
        set(&vault, "k", labelled()).expect("stored"),
        Stored::Created
    );
    let before = vault.entry(&name("k")).expect("readable").expect("there");

    let transaction = vault.begin().expect("a transaction");
    let stored = transaction
        .set(&name("k"), Change::value(secret(b"new")), NOW + 50)
        .expect("stored");
    transaction.commit().expect("committed");
    assert_eq!(
        (stored, value(&vault, "k")),
        (Stored::Updated, Some(b"new".to_vec()))
    );
    let after = vault.entry(&name("k")).expect("readable").expect("there");
    assert_eq!(
        after,
        Entry {
            updated_at: NOW + 50,
            ..before.clone()
        }
    );

    set(
        &vault,
        "k",
        Change {
            notes: Some(None),
            ..Change::default()
        },
    )
    .expect("stored");
    let cleared = vault.entry(&name("k")).expect("readable").expect("there");
    assert_eq!(
        cleared.metadata,
        Metadata {
            notes: None,
            ..before.metadata
        }
    );
    assert_eq!(value(&vault, "k"), Some(b"new".to_vec()));
}

/// What a secret has, as name, flag and value.
fn shown(vault: &Vault, key: &str) -> Vec<(String, bool, String)> {
    let fields = vault.reveal(&name(key)).expect("readable").expect("there");
    let text = |value: &SecretBytes| String::from_utf8_lossy(value.expose()).into_owned();
    fields
        .iter()
        .map(|field| (field.name.to_string(), field.sensitive, text(&field.value)))
        .collect()
}

fn values(given: &[(&str, &str)]) -> Vec<(FieldName, SecretBytes)> {
    let one = |(name, value): &(&str, &str)| {
        let name = name.parse().expect("a field name");
        (name, secret(value.as_bytes()))
    };
    given.iter().map(one).collect()
}

fn field(name: &str) -> FieldName {
    name.parse().expect("a field name")
}

fn binding(env: &str, to: Option<&str>) -> BTreeMap<EnvName, Option<FieldName>> {
    BTreeMap::from([(env.parse().expect("a name"), to.map(field))])
}

#[test]
fn a_secret_may_have_several_fields_and_each_changes_alone() {
    let (_dir, vault) = new_vault();
    let change = |change| set(&vault, "db", change);
    let created = Change {
        values: values(&[("host", "db.example"), ("password", "p1")]),
        sensitive: BTreeMap::from([(field("host"), false)]),
        bindings: binding("PGHOST", Some("host")),
        ..Change::default()
    };
    change(created).expect("stored");
    let updated = Change {
        values: values(&[("host", "db2.example"), ("port", "5432")]),
        ..Change::default()
    };
    change(updated).expect("stored");
    let expected = |all: &[(&str, bool, &str)]| {
        let one = |&(name, flag, value): &(&str, bool, &str)| (name.into(), flag, value.into());
        all.iter().map(one).collect::<Vec<(String, bool, String)>>()
    };
    let three = [
        ("host", false, "db2.example"),
        ("password", true, "p1"),
        ("port", true, "5432"),
    ];
    assert_eq!(shown(&vault, "db"), expected(&three));

    let flags = Change {
        sensitive: BTreeMap::from([(field("port"), false), (field("host"), true)]),
        removed: vec![field("password")],
        ..Change::default()
    };
    change(flags).expect("stored");
    let two = [("host", true, "db2.example"), ("port", false, "5432")];
    assert_eq!(shown(&vault, "db"), expected(&two));

    let bound = InvalidSecret::UnknownField {
        env: "PGHOST".parse().expect("a name"),
        field: field("host"),
    };
    let refused = [
        (
            Change {
                removed: vec![field("host")],
                ..Change::default()
            },
            bound,
        ),
        (
            Change {
                removed: vec![field("no")],
                ..Change::default()
            },
            InvalidSecret::NoSuchField(field("no")),
        ),
        (
            Change {
                sensitive: BTreeMap::from([(field("no"), true)]),
                ..Change::default()
            },
            InvalidSecret::NoSuchField(field("no")),
        ),
        (
            Change {
                bindings: binding("PGPORT", None),
                ..Change::default()
            },
            InvalidSecret::NotBound("PGPORT".parse().expect("a name")),
        ),
    ];
    for (wrong, rule) in refused {
        let refused = change(wrong);
        assert!(
            matches!(&refused, Err(VaultError::Invalid(broken)) if *broken == rule),
            "{refused:?}"
        );
    }
    assert_eq!(shown(&vault, "db"), expected(&two));
    let unbound = Change {
        removed: vec![field("host")],
        bindings: binding("PGHOST", None),
        ..Change::default()
    };
    change(unbound).expect("stored");
    assert_eq!(shown(&vault, "db"), expected(&two[1..]));
    vault.verify_set().expect("whole");
}

#[test]
fn a_renamed_secret_keeps_all_but_its_name() {
    let (_dir, vault) = new_vault();
    set(&vault, "old", labelled()).expect("stored");
    set_value(&vault, "other", "v");
    let before = vault.entry(&name("old")).expect("readable").expect("there");
    let rename = |old: &str, new: &str| {
        let transaction = vault.begin().expect("a transaction");
        let renamed = transaction.rename(&name(old), &name(new), NOW + 9);
        transaction.commit().expect("committed");
        renamed.expect("readable")
    };
    assert_eq!(rename("missing", "x"), Renamed::Missing);
    assert_eq!(rename("old", "other"), Renamed::Taken);
    assert_eq!(rename("old", "old"), Renamed::Taken);
    assert_eq!(rename("old", "a/new"), Renamed::Done);
    let after = vault.entry(&name("a/new")).expect("readable");
    let expected = Entry {
        name: name("a/new"),
        updated_at: NOW + 9,
        ..before
    };
    assert_eq!(after, Some(expected));
    assert_eq!(value(&vault, "a/new"), Some(b"value-canary".to_vec()));
    assert_eq!(value(&vault, "old"), None);
    assert_eq!(value(&vault, "other"), Some(b"v".to_vec()));
    vault.verify_set().expect("whole");
}

#[test]
fn lists_are_sorted_and_a_deleted_secret_is_gone() {
    let (_dir, vault) = new_vault();
    for key in ["b", "a/x", "c"] {
        set_value(&vault, key, key);
    }
    let transaction = vault.begin().expect("a transaction");
    assert_eq!(
        (
            transaction.delete(&name("b")).ok(),
            transaction.delete(&name("z")).ok()
        ),
        (Some(true), Some(false))
    );
    transaction.commit().expect("committed");
    assert_eq!(vault.names().expect("readable"), [name("a/x"), name("c")]);
    assert_eq!(
        (
            value(&vault, "b"),
            vault.entry(&name("b")).expect("readable")
        ),
        (None, None)
    );
}

#[test]
fn what_is_not_committed_never_was() {
    let (_dir, vault) = new_vault();
    set_value(&vault, "kept", "old");
    let transaction = vault.begin().expect("a transaction");
    transaction
        .set(&name("kept"), Change::value(secret(b"new")), NOW)
        .expect("stored");
    transaction
        .set(&name("added"), Change::value(secret(b"new")), NOW)
        .expect("stored");
    drop(transaction);
    assert_eq!(value(&vault, "kept"), Some(b"old".to_vec()));
    assert_eq!(vault.names().expect("readable"), [name("kept")]);
}

#[test]
fn an_invalid_change_changes_nothing() {
    let (_dir, vault) = new_vault();
    let result = set(
        &vault,
        "k",
        Change {
            notes: Some(None),
            ..Change::default()
        },
    );
    assert!(matches!(
        result,
        Err(VaultError::Invalid(InvalidSecret::NoValue))
    ));
    assert_eq!(vault.names().expect("readable"), []);
}

#[test]
fn others_see_a_change_at_once() {
    let (_dir, vault) = new_vault();
    let other = reopen(&vault).expect("opens");
    set_value(&vault, "k", "one");
    assert_eq!(value(&other, "k"), Some(b"one".to_vec()));
    set_value(&other, "k", "two");
    assert_eq!(value(&vault, "k"), Some(b"two".to_vec()));
}

#[test]
fn a_list_that_was_read_before_tells_what_others_have_changed_since() {
    let (_dir, vault) = new_vault();
    let other = reopen(&vault).expect("opens");
    let lists = || [&vault, &other].map(|vault| vault.entries().expect("readable"));
    let mut before = lists();
    let mut is_changed = || {
        let after = lists();
        assert_eq!(after[0], after[1]);
        assert_eq!(after, lists());
        std::mem::replace(&mut before, after.clone()) != after
    };
    assert!(!is_changed());
    set_value(&other, "k", "one");
    assert!(is_changed());
    let change = |key: &str, notes: &str| {
        let notes = Some(Some(notes.to_owned()));
        let change = Change {
            notes,
            ..Change::default()
        };
        set(&other, key, change).expect("stored");
    };
    change("k", "a");
    assert!(is_changed());
    // A change of nothing but the value changes nothing that is listed.
    set_value(&other, "k", "two");
    assert!(!is_changed());
    for undone in [true, false] {
        let transaction = other.begin().expect("a transaction");
        let renamed = transaction.rename(&name("k"), &name("l"), NOW);
        assert_eq!(renamed.expect("renamed"), Renamed::Done);
        match undone {
            true => drop(transaction),
            false => transaction.commit().expect("committed"),
        }
        assert_eq!(is_changed(), !undone);
    }
    let transaction = other.begin().expect("a transaction");
    assert!(transaction.delete(&name("l")).expect("deleted"));
    transaction.commit().expect("committed");
    assert!(is_changed() && lists()[0].is_empty());
}

#[test]
fn the_audit_keys_stay_the_same() {
    let (_dir, vault) = new_vault();
    let shown = |keys: AuditKeys| {
        let epoch = &keys.epochs[0];
        let all = [
            &epoch.chain,
            &epoch.detail,
            &epoch.fingerprint,
            &keys.head,
            &keys.anchor,
        ]
        .map(|key| *key.expose().expect("here"));
        (keys.vault_id, keys.epochs.len(), all)
    };
    let (first, again) = (
        shown(vault.audit_keys()),
        shown(reopen(&vault).expect("opens").audit_keys()),
    );
    assert_eq!(first, again);
    let distinct: std::collections::HashSet<_> = first.2.into_iter().collect();
    assert_eq!((first.1, distinct.len()), (1, 5));
}

#[test]
fn entries_are_sorted_by_name() {
    let (_dir, vault) = new_vault();
    let names = ["D", "b", "A", "c/x", "C", "a", "B"];
    names.iter().for_each(|name| set_value(&vault, name, "x"));
    let found = vault.names().expect("readable");
    let found: Vec<&str> = found.iter().map(SecretName::as_str).collect();
    assert_eq!(found, ["A", "B", "C", "D", "a", "b", "c/x"]);
}

#[test]
fn what_was_kept_elsewhere_keeps_the_rules_of_this_vault() {
    let (_dir, vault) = new_vault();
    let entry = |url: &str| Entry {
        name: name("K"),
        metadata: Metadata {
            url: Some(url.to_owned()),
            fields: vec![FieldInfo {
                name: VALUE_FIELD.parse().expect("a field name"),
                sensitive: true,
            }],
            ..Metadata::default()
        },
        created_at: NOW,
        updated_at: NOW,
    };
    let fields = |value: &[u8]| {
        let name = VALUE_FIELD.parse().expect("a field name");
        let (sensitive, value) = (true, secret(value));
        Fields::from_iter([Field {
            name,
            sensitive,
            value,
        }])
    };
    let put = |entry: &Entry, fields: &Fields| vault.begin().expect("begun").put(entry, fields);
    let is_invalid = |put| matches!(put, Err(VaultError::Invalid(_)));
    assert!(is_invalid(put(&entry("not a URL"), &fields(b"x"))));
    assert!(is_invalid(put(&entry("https://h"), &fields(b""))));
    assert!(put(&entry("https://h"), &fields(b"x")).is_ok());
}
