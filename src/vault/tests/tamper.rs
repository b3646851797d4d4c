//! What the vault notices when somebody without its keys changes its files.

use super::*;

/// Somebody who can write the file but has no keys.
fn attacker(vault: &Vault) -> Connection {
    Connection::open(vault.dir().join("vault.db")).expect("the file opens")
}

#[test]
fn a_wrong_password_is_told_from_a_damaged_key() {
    let (_dir, vault) = new_vault();
    let unlock = |password: &SecretBytes| {
        LockedVault::open(vault.dir())
            .expect("opens")
            .unlock(password, NOW)
            .err()
    };
    assert!(unlock(&password()).is_none());
    assert!(matches!(
        unlock(&secret(b"correct horse batterx")),
        Some(UnlockError::WrongPassword)
    ));
    assert!(matches!(
        unlock(&secret(b"")),
        Some(UnlockError::WrongPassword)
    ));
    let damage = "UPDATE metadata SET value = zeroblob(60) WHERE name = 'dek'";
    attacker(&vault).execute(damage, []).expect("changed");
    assert!(matches!(
        unlock(&password()),
        Some(UnlockError::Vault(VaultError::Corrupted(_)))
    ));
    assert!(matches!(
        unlock(&secret(b"another password")),
        Some(UnlockError::WrongPassword)
    ));
}

#[test]
fn each_row_of_the_keys_is_needed_as_it_was() {
    for row in ["dek", "audit_epochs", "password", "generation"] {
        for damage in [
            "DELETE FROM metadata",
            "UPDATE metadata SET value = zeroblob(60)",
        ] {
            let (_dir, vault) = new_vault();
            attacker(&vault)
                .execute(&format!("{damage} WHERE name = ?1"), [row])
                .expect("changed");
            let error = reopen(&vault).err().expect("refused");
            assert!(
                matches!(error, UnlockError::Vault(VaultError::Corrupted(_))),
                "{row}: {error}"
            );
        }
    }
}

#[test]
fn a_changed_header_does_not_open() {
    let (_dir, vault) = new_vault();
    let path = vault.dir().join("vault.meta");
    let original = fs::read_to_string(&path).expect("readable");
    let open_with = |from: &str, to: &str| {
        assert!(original.contains(from), "{original}");
        fs::write(&path, original.replace(from, to)).expect("written");
        reopen(&vault).err()
    };
    assert!(matches!(
        open_with("2027-", "2026-"),
        Some(UnlockError::Vault(VaultError::Corrupted(_)))
    ));
    let version = open_with("\"version\":1", "\"version\":2");
    assert!(matches!(
        version,
        Some(UnlockError::Vault(VaultError::UnknownVersion { found: 2 }))
    ));
    assert!(matches!(
        open_with("{", "["),
        Some(UnlockError::Vault(VaultError::Corrupted(_)))
    ));
    fs::write(&path, &original).expect("written");
    fs::write(vault.dir().join("vault.salt"), [0; 16]).expect("written");
    assert!(matches!(
        reopen(&vault).err(),
        Some(UnlockError::Vault(VaultError::Corrupted(_)))
    ));
    fs::write(vault.dir().join("vault.salt"), [0; 17]).expect("written");
    assert!(matches!(
        reopen(&vault).err(),
        Some(UnlockError::Vault(VaultError::Corrupted(_)))
    ));
}

/// Every way to touch a row from outside, and what must not work any more.
#[test]
fn a_changed_row_is_noticed() {
    const OTHER: &str = "(SELECT {} FROM secrets WHERE rowid = 2)";
    let from_other = |column: &str| {
        format!(
            "UPDATE secrets SET {column} = {} WHERE rowid = 1",
            OTHER.replace("{}", column)
        )
    };
    let last_byte = |column: &str| {
        format!(
            "UPDATE secrets SET {column} = CAST(substr({column}, 1, length({column}) - 1) || \
             CASE substr({column}, -1) WHEN x'00' THEN x'01' ELSE x'00' END AS BLOB) WHERE rowid = 1"
        )
    };
    let swap_index = "UPDATE secrets SET name_index = zeroblob(32) WHERE rowid = 1;
         UPDATE secrets SET name_index = (SELECT name_index FROM keep WHERE rowid = 1) WHERE rowid = 2;
         UPDATE secrets SET name_index = (SELECT name_index FROM keep WHERE rowid = 2) WHERE rowid = 1";
    let cases = [
        from_other("entry"),
        from_other("value"),
        last_byte("entry"),
        last_byte("value"),
        swap_index.to_owned(),
        "UPDATE secrets SET id = zeroblob(16) WHERE rowid = 1".to_owned(),
        "UPDATE secrets SET created_at = created_at + 1 WHERE rowid = 1".to_owned(),
        "UPDATE secrets SET updated_at = updated_at + 1 WHERE rowid = 1".to_owned(),
        "UPDATE secrets SET entry = x'' WHERE rowid = 1".to_owned(),
        "UPDATE secrets SET value = x'' WHERE rowid = 1".to_owned(),
    ];
    for case in cases {
        let (_dir, vault) = new_vault();
        set_value(&vault, "a", "value of a");
        set_value(&vault, "b", "value of b");
        let attacker = attacker(&vault);
        attacker
            .execute_batch("CREATE TABLE keep AS SELECT * FROM secrets")
            .expect("copied");
        attacker.execute_batch(&case).expect("changed");
        let result = vault.reveal(&name("a"));
        assert!(matches!(result, Err(VaultError::Corrupted(_))), "{case}");
    }
}

#[test]
fn a_value_set_back_alone_is_noticed() {
    let (_dir, vault) = new_vault();
    set_value(&vault, "k", "old");
    let attacker = attacker(&vault);
    attacker
        .execute_batch("CREATE TABLE keep AS SELECT * FROM secrets")
        .expect("copied");
    set_value(&vault, "k", "new");
    attacker
        .execute_batch("UPDATE secrets SET value = (SELECT value FROM keep)")
        .expect("changed");
    assert!(matches!(
        vault.reveal(&name("k")),
        Err(VaultError::Corrupted(_))
    ));
}

#[test]
fn a_planted_trigger_does_not_run() {
    let (_dir, vault) = new_vault();
    let plant = "CREATE TRIGGER t AFTER INSERT ON secrets BEGIN DELETE FROM secrets; END";
    attacker(&vault).execute_batch(plant).expect("planted");
    set_value(&vault, "k", "v");
    assert_eq!(
        value(&reopen(&vault).expect("opens"), "k"),
        Some(b"v".to_vec())
    );
}

#[test]
fn an_untouched_set_verifies() {
    let (_dir, vault) = new_vault();
    vault.verify_set().expect("empty");
    for (key, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
        set_value(&vault, key, value);
    }
    vault.verify_set().expect("changed");
    let transaction = vault.begin().expect("a transaction");
    transaction.delete(&name("a")).expect("deleted");
    transaction
        .delete(&name("absent"))
        .expect("nothing to delete");
    vault.verify_set().expect("within the transaction");
    transaction.commit().expect("committed");
    vault.verify_set().expect("deleted");
    reopen(&vault)
        .expect("opens")
        .verify_set()
        .expect("reopened");
}

/// Each row that is left is genuine; only the set is another.
#[test]
fn a_row_removed_or_set_back_is_noticed() {
    let cases = [
        "DELETE FROM secrets WHERE rowid = 2",
        "REPLACE INTO secrets SELECT * FROM keep WHERE rowid = 1",
        "REPLACE INTO secrets SELECT * FROM keep WHERE rowid = 3",
        "UPDATE metadata SET value = zeroblob(60) WHERE name = 'secrets_digest'",
        "DELETE FROM metadata WHERE name = 'secrets_digest'",
    ];
    for case in cases {
        let (_dir, vault) = new_vault();
        for key in ["changed", "kept", "deleted"] {
            set_value(&vault, key, "old");
        }
        let attacker = attacker(&vault);
        attacker
            .execute_batch("CREATE TABLE keep AS SELECT * FROM secrets")
            .expect("copied");
        set_value(&vault, "changed", "new");
        let transaction = vault.begin().expect("a transaction");
        transaction.delete(&name("deleted")).expect("deleted");
        transaction.commit().expect("committed");
        vault.verify_set().expect("untouched");
        attacker.execute_batch(case).expect("changed");
        assert!(vault.entries().is_ok(), "{case}");
        assert!(
            matches!(vault.verify_set(), Err(VaultError::Corrupted(_))),
            "{case}"
        );
    }
}
