//! The vault's files: how they come to be, their modes, and what they show.

use super::*;

fn files_of(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.into_string().expect("text"))
        .collect();
    names.sort();
    names
}

#[test]
fn the_password_has_a_length() {
    let dir = TempDir::new().expect("a directory");
    let with_length = |length| {
        let path = dir.path().join(format!("vault{length}"));
        LockedVault::create_with::<VaultError>(
            &path,
            &secret(&vec![b'p'; length]),
            SMALL,
            NOW,
            |_| Ok(()),
        )
        .err()
    };
    for length in [7, 129] {
        assert!(matches!(
            with_length(length),
            Some(VaultError::PasswordLength)
        ));
    }
    assert!(with_length(8).is_none() && with_length(128).is_none());
    assert_eq!(files_of(dir.path()), ["vault128", "vault8"]);
}

#[test]
fn an_existing_vault_is_not_touched() {
    let (_dir, vault) = new_vault();
    set_value(&vault, "k", "v");
    let meta = fs::read(vault.dir().join("vault.meta")).expect("readable");
    let salt = fs::read(vault.dir().join("vault.salt")).expect("readable");
    assert!(matches!(
        create(vault.dir()),
        Err(VaultError::Exists { .. })
    ));
    assert_eq!(
        fs::read(vault.dir().join("vault.meta")).expect("readable"),
        meta
    );
    assert_eq!(
        fs::read(vault.dir().join("vault.salt")).expect("readable"),
        salt
    );
    assert_eq!(
        value(&reopen(&vault).expect("opens"), "k"),
        Some(b"v".to_vec())
    );
}

#[test]
fn any_file_of_a_vault_stops_a_new_one() {
    for file in ["vault.db", "vault.salt", "vault.meta"] {
        let dir = TempDir::new().expect("a directory");
        fs::write(dir.path().join(file), "mine").expect("written");
        assert!(matches!(create(dir.path()), Err(VaultError::Exists { .. })));
        assert_eq!(fs::read(dir.path().join(file)).expect("readable"), b"mine");
        assert_eq!(files_of(dir.path()), [file]);
    }
}

#[test]
fn a_vault_joins_other_files_in_its_directory() {
    let dir = TempDir::new().expect("a directory");
    fs::write(dir.path().join("mcp-policy.yaml"), "version: 1").expect("written");
    let vault = create(dir.path()).expect("a vault");
    drop(vault);
    assert_eq!(
        files_of(dir.path()),
        ["mcp-policy.yaml", "vault.db", "vault.meta", "vault.salt"]
    );
}

#[test]
fn a_failed_creation_leaves_nothing() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("vault");
    let result = LockedVault::create_with(&path, &password(), SMALL, NOW, |_| {
        Err(VaultError::PasswordLength)
    });
    assert!(matches!(result, Err(VaultError::PasswordLength)));
    assert_eq!(files_of(&path), Vec::<String>::new());
    assert!(matches!(
        LockedVault::open(&path),
        Err(VaultError::Missing { .. })
    ));
}

#[test]
fn of_two_creators_one_wins() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path();
    // The second vault is made while the first is about to be published.
    let result = LockedVault::create_with::<VaultError>(path, &password(), SMALL, NOW, |_| {
        create(path).map(drop)
    });
    assert!(matches!(result, Err(VaultError::Exists { .. })));
    assert_eq!(files_of(path), ["vault.db", "vault.meta", "vault.salt"]);
    let vault = LockedVault::open(path)
        .expect("opens")
        .unlock(&password(), NOW);
    assert!(vault.is_ok());
}

#[test]
fn what_init_stores_is_there_from_the_start() {
    let dir = TempDir::new().expect("a directory");
    let vault = LockedVault::create_with(dir.path(), &password(), SMALL, NOW, |vault| {
        set(vault, "first", Change::value(secret(b"v"))).map(drop)
    });
    assert_eq!(
        vault.expect("a vault").names().expect("readable"),
        [name("first")]
    );
}

#[test]
fn an_incomplete_vault_says_what_is_missing() {
    for file in ["vault.db", "vault.salt", "vault.meta"] {
        let (_dir, vault) = new_vault();
        let path = vault.dir().join(file);
        fs::remove_file(&path).expect("removed");
        match LockedVault::open(vault.dir()).err() {
            Some(VaultError::Incomplete { path: missing }) => assert_eq!(missing, path),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_files_show_no_content() {
    let (_dir, vault) = new_vault();
    set(&vault, "name-canary", labelled()).expect("stored");
    let canaries = [
        "name-canary",
        "tag-canary",
        "notes-canary",
        "url-canary",
        "value-canary",
        "battery",
    ];
    let check = || {
        for file in files_of(vault.dir()) {
            let bytes = fs::read(vault.dir().join(&file)).expect("readable");
            for canary in canaries {
                let is_found = bytes
                    .windows(canary.len())
                    .any(|part| part == canary.as_bytes());
                assert!(!is_found, "{canary} in {file}");
            }
        }
    };
    check();
    vault
        .connection()
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .expect("written back");
    check();
}

const UMASK_DIR: &str = "SECRETCTL_TEST_UMASK_DIR";

#[test]
#[ignore = "run by the test below, in a process of its own"]
fn umask_child() {
    let (dir, umask) = (
        std::env::var(UMASK_DIR).expect("a directory"),
        std::env::var("UMASK").expect("a mask"),
    );
    let mask = rustix::fs::Mode::from_raw_mode(umask.parse().expect("a number"));
    rustix::process::umask(mask);
    let vault = create(Path::new(&dir)).expect("a vault");
    set_value(&vault, "k", "v");
    // Leaves `-wal` and `-shm` behind, as a process that is killed does.
    std::process::exit(0);
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    for umask in [0, 0o022] {
        let parent = TempDir::new().expect("a directory");
        let dir = parent.path().join("deep/vault");
        let status = Command::new(std::env::current_exe().expect("the test program"))
            .args(["--ignored", "--exact", "vault::tests::files::umask_child"])
            .env(UMASK_DIR, &dir)
            .env("UMASK", umask.to_string())
            .status();
        assert!(status.expect("the test program runs").success());
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
        assert_eq!(
            (mode(&dir), mode(&parent.path().join("deep"))),
            (0o700, 0o700)
        );
        let files = files_of(&dir);
        assert_eq!(
            files,
            [
                "vault.db",
                "vault.db-shm",
                "vault.db-wal",
                "vault.meta",
                "vault.salt"
            ]
        );
        for file in files {
            assert_eq!(
                mode(&dir.join(&file)),
                0o600,
                "{file} under umask {umask:03o}"
            );
        }
        assert_eq!(LockedVault::open(&dir).expect("opens").warnings(), []);
    }
}

#[test]
fn loose_modes_are_a_warning_and_stay() {
    let (_dir, vault) = new_vault();
    let database = vault.dir().join("vault.db");
    for (path, mode) in [(vault.dir(), 0o755), (database.as_path(), 0o640)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
    }
    let warnings = reopen(&vault).expect("opens").warnings().to_vec();
    let expected = [(vault.dir().to_owned(), 0o755), (database, 0o640)];
    // The files that SQLite makes beside the database take over its mode.
    let of_database = |path: &Path| path.extension().is_some_and(|end| end != "db");
    let found: Vec<_> = warnings
        .into_iter()
        .filter_map(|warning| match warning {
            Warning::Accessible { path, mode } if !of_database(&path) => Some((path, mode)),
            _ => None,
        })
        .collect();
    assert_eq!(found, expected);
}

/// As an interruption right after the last link leaves it.
#[test]
fn what_a_finished_creation_left_goes_away_and_the_vault_stays() {
    let (_dir, vault) = new_vault();
    let (dir, left) = (vault.dir().to_owned(), vault.dir().join(".new-left"));
    drop(vault);
    fs::create_dir(&left).expect("made");
    for name in ["vault.salt", "vault.meta", "vault.db"] {
        fs::hard_link(dir.join(name), left.join(name)).expect("linked");
    }
    drop(LockedVault::open(&dir).expect("opens"));
    assert_eq!(files_of(&dir), ["vault.db", "vault.meta", "vault.salt"]);
}

#[test]
fn a_creator_that_comes_too_late_takes_its_files_away() {
    let dir = TempDir::new().expect("a directory");
    let meta = dir.path().join("vault.meta");
    let meanwhile = |_: &Vault| {
        fs::write(&meta, "another's").expect("written");
        Ok(())
    };
    let made: Result<_, VaultError> =
        LockedVault::create_with(dir.path(), &password(), SMALL, NOW, meanwhile);
    assert!(matches!(made, Err(VaultError::Exists { path }) if path == meta));
    assert_eq!(files_of(dir.path()), ["vault.meta"]);
}
