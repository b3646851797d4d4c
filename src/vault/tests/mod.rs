//! The vault as a whole: what it keeps.

mod files;
mod tamper;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::name::Tag;

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
    LockedVault::open(vault.dir())?.unlock(&password())
}

fn set(vault: &Vault, key: &str, change: Change) -> Result<Stored, VaultError> {
    let transaction = vault.begin()?;
    let stored = transaction.set(&name(key), change, NOW + 1)?;
    transaction.commit()?;
    Ok(stored)
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

#[test]
fn a_secret_may_have_several_fields() {
    let (_dir, vault) = new_vault();
    let field = |name: &str, sensitive, value: &str| Field {
        name: name.parse().expect("a field name"),
        sensitive,
        value: secret(value.as_bytes()),
    };
    let bindings = Some(BTreeMap::from([(
        "PGHOST".parse().expect("a name"),
        "host".parse().expect("a name"),
    )]));
    let fields = vec![
        field("host", false, "db.example"),
        field("password", true, "p1"),
    ];
    set(
        &vault,
        "db",
        Change {
            fields,
            bindings,
            ..Change::default()
        },
    )
    .expect("stored");
    set(
        &vault,
        "db",
        Change {
            fields: vec![field("password", true, "p2")],
            ..Change::default()
        },
    )
    .expect("stored");

    let fields = vault.reveal(&name("db")).expect("readable").expect("there");
    let shown: Vec<_> = fields
        .into_iter()
        .map(
            |Field {
                 name,
                 sensitive,
                 value,
             }| (name.to_string(), sensitive, value.expose().to_vec()),
        )
        .collect();
    let expected = [("host", false, "db.example"), ("password", true, "p2")];
    assert_eq!(
        shown,
        expected.map(|(name, flag, value)| (name.to_owned(), flag, value.as_bytes().to_vec()))
    );
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
fn the_audit_keys_stay_the_same() {
    let (_dir, vault) = new_vault();
    let shown = |keys: AuditKeys| {
        let all =
            [&keys.detail, &keys.fingerprint, &keys.head, &keys.epochs[0]].map(|key| *key.expose());
        (keys.vault_id, keys.epochs.len(), all)
    };
    let (first, again) = (
        shown(vault.audit_keys()),
        shown(reopen(&vault).expect("opens").audit_keys()),
    );
    assert_eq!(first, again);
    let distinct: std::collections::HashSet<_> = first.2.into_iter().collect();
    assert_eq!((first.1, distinct.len()), (1, 4));
}
