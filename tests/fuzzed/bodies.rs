//! What fuzzers run, as plain functions of bytes: everything of the vault and the log that reads what others may have written.
//! None of them may panic, and what they assert must hold whatever the bytes are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rusqlite::Connection;
use secretctl::audit::HeadMark;
use secretctl::broker::{AuditFilter, Outside, PersonDoor};
use secretctl::name::{EnvName, FieldName, KeyPattern, SecretName, Tag};
use secretctl::secret::SecretBytes;
use secretctl::time::{Expiry, Point, Span};
use secretctl::vault::{Change, KdfParams, LockedVault, read_go_vault};

use super::go_vault::{GO_PASSWORD, GoSecret, GoVault, sealed};

const PASSWORD: &[u8] = b"correct horse battery staple";
const VALUE: &[u8] = b"a value of the fuzzed vault";
const NOW: i64 = 1_800_000_000;
/// The least that Argon2id knows: the file says what its password costs.
const CHEAP: KdfParams = KdfParams {
    memory_kib: 8,
    passes: 1,
    lanes: 1,
};
const FILES: [&str; 3] = ["vault.db", "vault.salt", "vault.meta"];

/// A function of bytes, by its name.
pub(crate) type Body = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const ALL: [Body; 9] = [
    ("database", database),
    ("patches", patches),
    ("columns", columns),
    ("meta", meta),
    ("salt", salt),
    ("anchor", anchor),
    ("texts", texts),
    ("go_database", go_database),
    ("go_secret", go_secret),
];

/// The files of a good vault, and its anchor with the name that it has.
struct Good {
    files: [Vec<u8>; 3],
    anchor: (PathBuf, Vec<u8>),
}

fn good() -> &'static Good {
    static GOOD: OnceLock<Good> = OnceLock::new();
    GOOD.get_or_init(|| {
        let place = tempfile::tempdir().expect("a directory");
        let (dir, outside) = places(place.path());
        let password = SecretBytes::from_vec(PASSWORD.to_vec());
        PersonDoor::create(&dir, &password, CHEAP, &outside).expect("a vault");
        let door = open(place.path()).expect("a good vault");
        door.enter().expect("a good vault");
        for name in ["API_KEY", "DB/USER", "DB/PASSWORD"] {
            let name = name.parse().expect("a name");
            let value = SecretBytes::from_vec(VALUE.to_vec());
            door.set(&name, Change::value(value)).expect("stored");
        }
        drop(door);
        let anchor = fs::read_dir(place.path().join("state")).expect("the anchors");
        let anchor = anchor.flatten().next().expect("an anchor").path();
        Good {
            files: FILES.map(|name| fs::read(dir.join(name)).expect("a file")),
            anchor: (
                anchor.file_name().expect("a name").into(),
                fs::read(&anchor).expect("an anchor"),
            ),
        }
    })
}

fn places(place: &Path) -> (PathBuf, Outside) {
    let outside = Outside {
        state_dir: Some(place.join("state")),
        runtime_dir: None,
        ..Outside::default()
    };
    (place.join("vault"), outside)
}

fn open(place: &Path) -> Option<PersonDoor> {
    let (dir, outside) = places(place);
    let password = SecretBytes::from_vec(PASSWORD.to_vec());
    let vault = LockedVault::open(&dir).ok()?.unlock(&password, NOW).ok()?;
    Some(PersonDoor::new(vault, &outside))
}

/// Does with a vault all that reads, then enters. `change` has changed its files, or has not.
fn look(change: impl FnOnce(&Path, &mut [Vec<u8>; 3], &mut Vec<u8>)) {
    let place = tempfile::tempdir().expect("a directory");
    let (dir, _) = places(place.path());
    let state = place.path().join("state");
    fs::create_dir(&dir).expect("made");
    fs::create_dir(&state).expect("made");
    let mut files = good().files.clone();
    let (name, mut anchor) = good().anchor.clone();
    change(place.path(), &mut files, &mut anchor);
    let is_whole = files == good().files && anchor == good().anchor.1;
    for (name, bytes) in FILES.iter().zip(&files) {
        fs::write(dir.join(name), bytes).expect("written");
    }
    fs::write(state.join(name), &anchor).expect("written");
    let Some(door) = open(place.path()) else {
        assert!(!is_whole, "a good vault does not open");
        return;
    };
    let verified = door.verify();
    let is_fine = verified.is_ok_and(|verified| verified.problems.is_empty());
    assert!(
        is_fine || !is_whole,
        "a good vault is taken for a changed one"
    );
    let _ = door.status();
    let _ = door.audit_list(&AuditFilter::default());
    let _ = door.audit_head();
    let _ = door.audit_retention();
    let _ = door.audit_prunable(i64::MAX);
    let _ = door.names();
    let _ = door.enter();
    let name: SecretName = "API_KEY".parse().expect("a name");
    if let Ok((_, fields)) = door.get(&name) {
        let value = fields.only().map(SecretBytes::expose);
        assert_eq!(value, Some(VALUE), "nobody gets what was never stored");
    }
}

/// The bytes are the database.
pub(crate) fn database(bytes: &[u8]) {
    look(|_, [database, ..], _| *database = bytes.to_vec());
}

/// Three bytes say where the database is changed, the fourth how.
pub(crate) fn patches(bytes: &[u8]) {
    look(|_, [database, ..], _| {
        for &[high, middle, low, change] in bytes.as_chunks::<4>().0 {
            let place = u32::from_be_bytes([0, high, middle, low]) as usize;
            let length = database.len();
            database[place % length] ^= change;
        }
    });
}

const COLUMNS: [(&str, &str); 24] = [
    ("metadata", "value WHERE name = 'generation'"),
    ("metadata", "value WHERE name = 'dek'"),
    ("metadata", "value WHERE name = 'password_check'"),
    ("metadata", "value WHERE name = 'audit_epochs'"),
    ("metadata", "value WHERE name = 'secrets_digest'"),
    ("metadata", "value WHERE name = 'audit_head'"),
    ("metadata", "name WHERE name = 'audit_head'"),
    ("metadata", "value WHERE name = 'unlock_failures'"),
    ("secrets", "id WHERE rowid = 1"),
    ("secrets", "name_index WHERE rowid = 1"),
    ("secrets", "created_at WHERE rowid = 1"),
    ("secrets", "updated_at WHERE rowid = 1"),
    ("secrets", "entry WHERE rowid = 1"),
    ("secrets", "value WHERE rowid = 1"),
    ("audit_log", "sequence WHERE sequence = 2"),
    ("audit_log", "id WHERE sequence = 2"),
    ("audit_log", "time_ns WHERE sequence = 2"),
    ("audit_log", "action WHERE sequence = 2"),
    ("audit_log", "keys WHERE sequence = 2"),
    ("audit_log", "result WHERE sequence = 2"),
    ("audit_log", "epoch WHERE sequence = 2"),
    ("audit_log", "detail WHERE sequence = 2"),
    ("audit_log", "prev_hash WHERE sequence = 2"),
    ("audit_log", "hash WHERE sequence = 2"),
];

/// The first byte says which column is replaced by the others.
pub(crate) fn columns(bytes: &[u8]) {
    let Some((&first, value)) = bytes.split_first() else {
        return;
    };
    let (table, place) = COLUMNS[usize::from(first) % COLUMNS.len()];
    let (column, condition) = place.split_once(' ').expect("a condition");
    look(|dir, [database, ..], _| {
        let path = dir.join("changed.db");
        fs::write(&path, &*database).expect("written");
        let changed = Connection::open(&path).expect("a good database");
        let row = "INSERT INTO metadata VALUES ('unlock_failures', x'')";
        changed.execute(row, []).expect("a row");
        let update = |value: &str| format!("UPDATE {table} SET {column} = {value} {condition}");
        let number = value
            .first_chunk()
            .map_or(0, |bytes| i64::from_be_bytes(*bytes));
        // The first that the column's type allows: bytes, a text, a number.
        let done = changed.execute(&update("?1"), [value]).or_else(|_| {
            let text = String::from_utf8_lossy(value);
            let text = changed.execute(&update("?1"), [text]);
            text.or_else(|_| changed.execute(&update("?1"), [number]))
        });
        let _ = done;
        if !condition.contains("unlock_failures") {
            let row = "DELETE FROM metadata WHERE name = 'unlock_failures'";
            changed.execute(row, []).expect("deleted");
        }
        changed
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
            .expect("one file");
        changed.close().map_err(|(_, error)| error).expect("closed");
        *database = fs::read(&path).expect("a database");
    });
}

/// The bytes are `vault.meta`.
pub(crate) fn meta(bytes: &[u8]) {
    look(|_, [_, _, meta], _| *meta = bytes.to_vec());
}

/// The bytes are `vault.salt`.
pub(crate) fn salt(bytes: &[u8]) {
    look(|_, [_, salt, _], _| *salt = bytes.to_vec());
}

/// The bytes are the anchor.
pub(crate) fn anchor(bytes: &[u8]) {
    look(|_, _, anchor| *anchor = bytes.to_vec());
}

/// What is read from a text is read again from what it is written as.
pub(crate) fn texts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(mark) = text.parse::<HeadMark>() {
        assert_eq!(mark.to_string().parse(), Ok(mark));
    }
    if let Ok(name) = text.parse::<SecretName>() {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(pattern) = text.parse::<KeyPattern>() {
        let exact = pattern.exact();
        assert!(exact.is_none_or(|name| pattern.matches(&name)));
    }
    let _ = (
        text.parse::<Tag>(),
        text.parse::<FieldName>(),
        text.parse::<EnvName>(),
    );
    if let Ok(span) = text.parse::<Span>() {
        assert_eq!(span.to_string().parse(), Ok(span));
    }
    for now in [0, NOW, i64::MIN, i64::MAX] {
        if let Ok(point) = text.parse::<Point>() {
            let (start, end) = (point.start_ns(now), point.end_ns(now));
            assert!(
                start
                    .ok()
                    .zip(end.ok())
                    .is_none_or(|(start, end)| start <= end)
            );
        }
        let _ = text
            .parse::<Expiry>()
            .map(|expiry| expiry.unix_seconds(now));
    }
}

/// The bytes are the database of the Go tool, beside its other two files.
pub(crate) fn go_database(database: &[u8]) {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, bytes) in GO_FILES.iter().zip(good_go()) {
        fs::write(dir.path().join(name), bytes).expect("written");
    }
    fs::write(dir.path().join(GO_FILES[0]), database).expect("written");
    read_go(dir.path());
}

const GO_FILES: [&str; 3] = ["vault.db", "vault.salt", "vault.meta"];

/// The files of a good vault of the Go tool.
fn good_go() -> &'static [Vec<u8>; 3] {
    static GOOD: OnceLock<[Vec<u8>; 3]> = OnceLock::new();
    GOOD.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let vault = GoVault::create(dir.path(), 5);
        vault.secret(&GoSecret {
            value: Some("value"),
            tags: Some("a,b"),
            expires_at: Some("2030-01-01 00:00:00"),
            ..GoSecret::default()
        });
        drop(vault);
        GO_FILES.map(|name| fs::read(dir.path().join(name)).expect("a file"))
    })
}

/// What a row of the Go tool's has beside its name: the column, and whether it is sealed.
const GO_COLUMNS: [(&str, bool); 9] = [
    ("encrypted_value", true),
    ("encrypted_fields", true),
    ("encrypted_bindings", true),
    ("encrypted_metadata", true),
    ("tags", false),
    ("expires_at", false),
    ("created_at", false),
    ("updated_at", false),
    ("folder_id", false),
];

/// The bytes are what the blobs of a secret hold and what stands beside them, each up to a zero byte; a folder's name is the last.
pub(crate) fn go_secret(bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == 0);
    let dir = tempfile::tempdir().expect("a directory");
    let vault = GoVault::create(dir.path(), 5);
    vault.secret(&GoSecret {
        key: parts.next().unwrap_or_default(),
        ..GoSecret::default()
    });
    vault.folder("f", "work", Some("g"), None);
    for ((column, is_sealed), part) in GO_COLUMNS.iter().zip(&mut parts) {
        let update = format!("UPDATE secrets SET {column} = ?1");
        let done = if *is_sealed {
            vault.database.execute(&update, [sealed(part)])
        } else {
            let text = String::from_utf8_lossy(part);
            vault.database.execute(&update, [text])
        };
        done.expect("changed");
    }
    let name = String::from_utf8_lossy(parts.next().unwrap_or_default());
    vault.folder("g", &name, None, None);
    drop(vault);
    read_go(dir.path());
}

fn read_go(dir: &Path) {
    let password = SecretBytes::from_vec(GO_PASSWORD.as_bytes().to_vec());
    let Ok(read) = read_go_vault(dir, &password, NOW) else {
        return;
    };
    let names: BTreeSet<_> = read.secrets.iter().map(|(entry, _)| &entry.name).collect();
    assert_eq!(names.len(), read.secrets.len(), "each has its own name");
}

const GO_SECRETS: [&str; 3] = [
    "KEY\x00value",
    "db/main\x00\x00{\"user\":{\"value\":\"app\",\"sensitive\":false},\"password\":{\"value\":\"pw\",\"sensitive\":true,\"aliases\":[\"pass\"],\"kind\":\"k\",\"hint\":\"h\",\"inputType\":\"text\"}}\x00{\"DB_USER\":\"user\",\"DB_PASSWORD\":\"pass\"}\x00{\"notes\":\"n\",\"url\":\"https://example.com\"}\x00[\"a\",\"b\"]\x002030-01-02T03:04:05.6+01:00\x002025-01-02 03:04:05\x002025-01-02 03:04:05.123456789 +0000 UTC m=+0.1\x00f\x00team",
    "a key of another form/\u{e9}\x00value\x00null\x00null\x00null\x00a,b\x00\x00\x00\x00g\x00x/y",
];

/// Good bytes to begin with, for each of [`ALL`].
pub(crate) fn seeds(body: &str) -> Vec<Vec<u8>> {
    let [database, salt, meta] = &good().files;
    let texts = [
        "secretctl-head:1:01ARZ3NDEKTSV4RRFFQ69G5FAV:7:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        "DB/PASSWORD",
        "DB/*",
        "7d",
        "2026-11-22",
        "2026-11-22T10:00:00+01:00",
        "9999-12-31",
    ];
    match body {
        "database" => vec![database.clone()],
        "patches" => vec![
            vec![],
            vec![0, 0x10, 0, 1],
            vec![0, 0x20, 9, 255, 0, 0, 100, 1],
        ],
        "columns" => (0..COLUMNS.len())
            .map(|column| [&[column as u8][..], &[7; 32]].concat())
            .collect(),
        "meta" => vec![meta.clone()],
        "salt" => vec![salt.clone()],
        "anchor" => vec![good().anchor.1.clone()],
        "go_database" => vec![good_go()[0].clone()],
        "go_secret" => GO_SECRETS.map(|text| text.as_bytes().to_vec()).into(),
        _ => texts.map(|text| text.as_bytes().to_vec()).into(),
    }
}
