//! A change of the master password, with and without a new key.

use super::*;

fn new_password() -> SecretBytes {
    secret(b"another horse battery")
}

fn unlock(dir: &Path, password: &SecretBytes) -> Result<Vault, UnlockError> {
    LockedVault::open(dir)?.unlock(password, NOW)
}

fn change(vault: &Vault, rotate_key: bool) -> Result<AuditKeys, VaultError> {
    let options = PasswordOptions {
        rotate_key,
        ..PasswordOptions::default()
    };
    let change = vault.prepare_password(&password(), &new_password(), options)?;
    let transaction = vault.begin()?;
    let keys = transaction.change_password(&change)?;
    transaction.commit()?;
    assert!(vault.empty_journal());
    Ok(keys)
}

fn row(vault: &Vault, name: &str) -> Vec<u8> {
    metadata::required(vault.connection(), name, "missing").expect("there")
}

fn copy(vault: &Vault) -> TempDir {
    let dir = TempDir::new().expect("a directory");
    assert!(vault.empty_journal());
    for file in fs::read_dir(vault.dir()).expect("a directory").flatten() {
        fs::copy(file.path(), dir.path().join(file.file_name())).expect("copied");
    }
    dir
}

#[test]
fn only_the_new_password_opens_and_all_is_there() {
    for rotate_key in [false, true] {
        let (_dir, vault) = new_vault();
        set(&vault, "labelled", labelled()).expect("stored");
        set_value(&vault, "plain", "v");
        let before = vault.entries().expect("readable");
        change(&vault, rotate_key).expect("changed");
        let old = unlock(vault.dir(), &password()).err();
        assert!(matches!(old, Some(UnlockError::WrongPassword)), "{old:?}");
        let opened = unlock(vault.dir(), &new_password()).expect("opens");
        assert_eq!(opened.entries().expect("readable"), before);
        assert_eq!(value(&opened, "labelled"), Some(b"value-canary".to_vec()));
        opened.verify_set().expect("intact");
        set_value(&opened, "plain", "w");
        opened.verify_set().expect("intact");
        assert_eq!(opened.audit_keys().epochs.len(), 2);
    }
}

#[test]
fn no_file_has_what_the_old_password_opens() {
    for rotate_key in [false, true] {
        let (_dir, vault) = new_vault();
        set_value(&vault, "k", "v");
        let rows = ["dek", "password", "password_check", "audit_epochs"];
        let before = rows.map(|name| row(&vault, name));
        let values: Vec<u8> = vault
            .connection()
            .query_row("SELECT value FROM secrets", [], |row| row.get(0))
            .expect("a row");
        let is_found = |what: &[u8]| {
            let files = fs::read_dir(vault.dir()).expect("a directory").flatten();
            let mut bytes = files.map(|file| fs::read(file.path()).expect("readable"));
            bytes.any(|bytes| bytes.windows(what.len()).any(|part| part == what))
        };
        assert!(before.iter().all(|row| is_found(row)));
        change(&vault, rotate_key).expect("changed");
        for (name, row) in rows.iter().zip(&before) {
            assert!(!is_found(row), "{name}, rotate {rotate_key}");
        }
        assert_eq!(is_found(&values), !rotate_key);
    }
}

#[test]
fn the_old_key_opens_nothing_after_a_new_one() {
    let (_dir, vault) = new_vault();
    set_value(&vault, "k", "v");
    let copied = copy(&vault);
    change(&vault, true).expect("changed");
    let old = unlock(copied.path(), &password()).expect("opens");
    let new = Connection::open(vault.dir().join("vault.db")).expect("opens");
    let mut known = store::Known::default();
    assert!(known.entries(&new, &old.keys).is_err());
    let found = store::entry(&new, &old.keys, &name("k")).expect("readable");
    assert!(found.is_none(), "nor is the name found by its index");
    assert!(SetDigest::read(&new, &old.keys).is_err());
    assert!(keys::epochs(&new, &old.keys).is_err());
}

#[test]
fn a_process_with_the_old_key_says_so() {
    let (_dir, vault) = new_vault();
    set_value(&vault, "k", "v");
    let other = reopen(&vault).expect("opens");
    change(&vault, true).expect("changed");
    let results = [
        other.entries().err(),
        other.entry(&name("k")).err(),
        other.entry(&name("absent")).err(),
        other.reveal(&name("k")).err(),
        other.verify_set().err(),
        other.begin().err(),
        other.audit_epochs().err(),
        change(&other, false).err(),
    ];
    for (place, error) in results.into_iter().enumerate() {
        assert!(
            matches!(error, Some(VaultError::KeyChanged)),
            "{place}: {error:?}"
        );
    }
}

#[test]
fn a_process_with_the_same_key_goes_on() {
    let (_dir, vault) = new_vault();
    set_value(&vault, "k", "v");
    let other = reopen(&vault).expect("opens");
    change(&vault, false).expect("changed");
    set_value(&other, "k", "w");
    assert_eq!(value(&vault, "k"), Some(b"w".to_vec()));
    assert_eq!(other.audit_epochs().expect("readable").len(), 2);
    let again = change(&other, false).err();
    assert!(matches!(again, Some(VaultError::KeyChanged)), "{again:?}");
}

#[test]
fn of_two_changes_at_once_one_wins() {
    let (_dir, vault) = new_vault();
    let other = reopen(&vault).expect("opens");
    let options = PasswordOptions::default();
    let late = other.prepare_password(&password(), &secret(b"a third password"), options);
    let late = late.expect("prepared");
    change(&vault, false).expect("changed");
    let transaction = other.begin().expect("begun");
    let result = transaction.change_password(&late).err();
    assert!(matches!(result, Some(VaultError::KeyChanged)), "{result:?}");
    drop(transaction);
    assert!(unlock(vault.dir(), &new_password()).is_ok());
}

#[test]
fn what_is_not_committed_changed_nothing() {
    let (_dir, vault) = new_vault();
    set_value(&vault, "k", "v");
    let options = PasswordOptions {
        rotate_key: true,
        ..PasswordOptions::default()
    };
    let change = vault.prepare_password(&password(), &new_password(), options);
    let transaction = vault.begin().expect("begun");
    transaction
        .change_password(&change.expect("prepared"))
        .expect("changed");
    drop(transaction);
    assert_eq!(
        value(&reopen(&vault).expect("opens"), "k"),
        Some(b"v".to_vec())
    );
}

#[test]
fn the_same_password_needs_another_reason() {
    let (_dir, vault) = new_vault();
    let prepare =
        |new: &SecretBytes, options| vault.prepare_password(&password(), new, options).err();
    let none = PasswordOptions::default();
    let costly = PasswordOptions {
        params: Some(KdfParams { passes: 2, ..SMALL }),
        ..none
    };
    assert!(matches!(
        prepare(&password(), none),
        Some(VaultError::SamePassword)
    ));
    assert!(matches!(
        prepare(&secret(b"short"), costly),
        Some(VaultError::PasswordLength)
    ));
    assert!(prepare(&password(), costly).is_none());
    let rotate_key = PasswordOptions {
        rotate_key: true,
        ..none
    };
    assert!(prepare(&password(), rotate_key).is_none());
}

#[test]
fn a_new_cost_is_read_from_the_vault() {
    let (_dir, vault) = new_vault();
    let params = KdfParams { passes: 2, ..SMALL };
    let options = PasswordOptions {
        params: Some(params),
        rotate_key: false,
    };
    let change = vault
        .prepare_password(&password(), &password(), options)
        .expect("prepared");
    let transaction = vault.begin().expect("begun");
    transaction.change_password(&change).expect("changed");
    transaction.commit().expect("committed");
    let opened = reopen(&vault).expect("opens");
    assert_eq!(opened.kdf_params().expect("readable"), params);
}

#[test]
fn a_new_key_does_not_hide_that_the_set_was_changed() {
    let (_dir, vault) = new_vault();
    for key in ["a", "b"] {
        set_value(&vault, key, "v");
    }
    vault
        .connection()
        .execute("DELETE FROM secrets WHERE rowid = 1", [])
        .expect("deleted");
    assert!(matches!(
        change(&vault, true).err(),
        Some(VaultError::Corrupted(_))
    ));
}

/// The rows that the password itself is in, as they were before a change.
#[test]
fn rows_of_the_old_password_do_not_open() {
    const ROWS: [&str; 4] = ["password", "dek", "password_check", "audit_epochs"];
    // All four are a whole password; that it is an old one only the log can tell, which knows of more epochs.
    const WHOLE: usize = 0b1111;
    for rotate_key in [false, true] {
        for mask in (1_usize..16).filter(|mask| mask & WHOLE != WHOLE || rotate_key) {
            let (_dir, vault) = new_vault();
            let before = ROWS.map(|name| row(&vault, name));
            change(&vault, rotate_key).expect("changed");
            let chosen = ROWS.iter().zip(&before).enumerate();
            for (_, (name, value)) in chosen.filter(|(place, _)| mask & (1 << place) != 0) {
                metadata::write(vault.connection(), name, value).expect("set back");
            }
            let opened = |password| unlock(vault.dir(), &password).is_ok();
            assert!(!opened(password()), "{mask:04b}");
            assert!(!opened(new_password()), "{mask:04b}");
        }
    }
}

#[test]
fn a_cost_out_of_range_is_refused_before_it_is_paid() {
    let (_dir, vault) = new_vault();
    let mut hashing = row(&vault, "password");
    hashing[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
    for row in [hashing.as_slice(), &hashing[..27], b""] {
        metadata::write(vault.connection(), "password", row).expect("changed");
        let error = reopen(&vault).err();
        assert!(matches!(
            error,
            Some(UnlockError::Vault(VaultError::Corrupted(_)))
        ));
    }
}

#[test]
fn a_journal_that_somebody_reads_is_not_said_to_be_empty() {
    let (_dir, vault) = new_vault();
    set_value(&vault, "A", "x");
    let reader = store::connect(&vault.files.database()).expect("opens");
    let reading = reader.unchecked_transaction().expect("begun");
    let rows: i64 = reading
        .query_row("SELECT count(*) FROM secrets", [], |row| row.get(0))
        .expect("read");
    set_value(&vault, "B", "x");
    let at_once = std::time::Duration::ZERO;
    vault.connection().busy_timeout(at_once).expect("set");
    assert_eq!((rows, vault.empty_journal()), (1, false));
    drop(reading);
    assert!(vault.empty_journal());
}

#[test]
fn a_new_password_costs_what_the_old_one_did() {
    let (_dir, vault) = new_vault();
    change(&vault, false).expect("changed");
    assert_eq!(vault.kdf_params().expect("read"), SMALL);
}
