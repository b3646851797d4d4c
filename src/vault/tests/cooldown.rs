//! What wrong passwords lead to.

use super::super::cooldown;
use super::*;

/// Five are free; the fifth closes the vault for so long.
const FIRST_PAUSE: i64 = 30;

fn unlock(vault: &Vault, password: &SecretBytes, now: i64) -> Result<Vault, UnlockError> {
    LockedVault::open(vault.dir())
        .expect("opens")
        .unlock(password, now)
}

fn wrong() -> SecretBytes {
    secret(b"correct horse batterx")
}

fn fail(vault: &Vault, times: u32, now: i64) {
    for _ in 0..times {
        let error = unlock(vault, &wrong(), now).err();
        assert!(
            matches!(error, Some(UnlockError::WrongPassword)),
            "{error:?}"
        );
    }
}

#[track_caller]
fn waits(result: Result<Vault, UnlockError>, seconds: u64) {
    match result.err() {
        Some(UnlockError::TooManyTries { wait_seconds }) => assert_eq!(wait_seconds, seconds),
        other => panic!("{other:?}"),
    }
}

#[test]
fn after_five_wrong_passwords_the_right_one_has_to_wait() {
    let (_dir, vault) = new_vault();
    fail(&vault, 4, NOW);
    assert_eq!(
        unlock(&vault, &password(), NOW)
            .expect("opens")
            .failed_tries()
            .map(|tries| tries.count),
        Some(4)
    );
    fail(&vault, 1, NOW);
    waits(unlock(&vault, &password(), NOW), 30);
    waits(unlock(&vault, &wrong(), NOW + 1), 29);
    waits(unlock(&vault, &password(), NOW + FIRST_PAUSE - 1), 1);
    assert!(unlock(&vault, &password(), NOW + FIRST_PAUSE).is_ok());
}

#[test]
fn each_further_wrong_password_begins_the_pause_again_and_it_grows() {
    let (_dir, vault) = new_vault();
    fail(&vault, 5, NOW);
    let mut now = NOW;
    let pauses = [30; 5].into_iter().chain([300; 10]).chain([1800; 3]);
    for (tries, pause) in (5..).zip(pauses) {
        waits(
            unlock(&vault, &password(), now),
            if tries < 10 { 30 } else { pause },
        );
        now += i64::try_from(pause).expect("small");
        fail(&vault, 1, now);
    }
    waits(unlock(&vault, &password(), now), 1800);
}

#[test]
fn a_clock_that_was_set_back_does_not_lengthen_the_pause() {
    let (_dir, vault) = new_vault();
    fail(&vault, 5, NOW);
    let earlier = NOW - 1_000_000;
    waits(unlock(&vault, &password(), earlier), 30);
    waits(unlock(&vault, &password(), earlier + 10), 20);
    assert!(unlock(&vault, &password(), earlier + 30).is_ok());
}

#[test]
fn the_count_is_in_the_database_alone_and_ends_in_a_transaction() {
    let (_dir, vault) = new_vault();
    fail(&vault, 3, NOW);
    fail(&vault, 1, NOW + 9);
    let opened = unlock(&vault, &password(), NOW + 10).expect("opens");
    let transaction = opened.begin().expect("begun");
    let tries = transaction
        .take_failed_tries()
        .expect("read")
        .expect("there");
    assert_eq!((tries.count, tries.first, tries.last), (4, NOW, NOW + 9));
    drop(transaction);
    let transaction = opened.begin().expect("begun");
    assert!(transaction.take_failed_tries().expect("read").is_some());
    transaction.commit().expect("committed");
    let opened = unlock(&vault, &password(), NOW + 10).expect("opens");
    assert_eq!(opened.failed_tries(), None);
}

#[test]
fn who_guesses_in_many_processes_at_once_gets_few_answers() {
    let (_dir, vault) = new_vault();
    // All of them were let in before any was counted.
    let answers = |_| {
        cooldown::count(vault.connection(), NOW)
            .map(|error| matches!(error, UnlockError::WrongPassword))
    };
    let answers: Vec<bool> = (0..8)
        .map(answers)
        .collect::<Result<_, _>>()
        .expect("counted");
    assert_eq!(answers, [true, true, true, true, true, false, false, false]);
}

#[test]
fn a_damaged_vault_is_no_wrong_password() {
    let (_dir, vault) = new_vault();
    let damage = "UPDATE metadata SET value = zeroblob(60) WHERE name = 'dek'";
    vault.connection().execute(damage, []).expect("changed");
    for _ in 0..6 {
        let error = unlock(&vault, &password(), NOW).err();
        assert!(matches!(
            error,
            Some(UnlockError::Vault(VaultError::Corrupted(_)))
        ));
    }
}

#[test]
fn a_changed_count_is_noticed() {
    let (_dir, vault) = new_vault();
    fail(&vault, 1, NOW);
    let damage = "UPDATE metadata SET value = x'00' WHERE name = 'unlock_failures'";
    vault.connection().execute(damage, []).expect("changed");
    let error = unlock(&vault, &password(), NOW).err();
    assert!(matches!(
        error,
        Some(UnlockError::Vault(VaultError::Corrupted(_)))
    ));
}
