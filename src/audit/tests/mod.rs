//! The log as a whole: what it keeps, and what it shows without the keys.

mod anchor;
mod follow;
mod mark;
mod prune;
mod tamper;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rusqlite::TransactionBehavior;
use tempfile::TempDir;

use super::*;
use crate::name::SecretName;

const BUSY: Duration = Duration::from_secs(60);

struct Change<'a>(rusqlite::Transaction<'a>);

impl Commit for Change<'_> {
    fn connection(&self) -> &Connection {
        &self.0
    }

    fn epochs(&self) -> Result<Vec<Epoch>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(vec![epoch(0), epoch(1)])
    }

    fn set_before(&self) -> &[u8] {
        b""
    }

    fn commit(self) -> Result<(), rusqlite::Error> {
        self.0.commit()
    }
}

fn keys(epochs: u8) -> Keys {
    let epochs = Epochs::new((0..epochs).map(epoch).collect());
    Keys::new([9; 16], epochs, key(3), key(4))
}

fn key(byte: u8) -> Key {
    Key::from_slice(&[byte; 32]).expect("32 bytes")
}

fn epoch(number: u8) -> Epoch {
    Epoch {
        chain: key(100 + number),
        detail: key(1),
        fingerprint: key(2),
    }
}

fn log() -> Log {
    Log::new(keys(1))
}

fn name(text: &str) -> SecretName {
    text.parse().expect("a name")
}

fn entry(command: &str) -> Entry {
    Entry {
        action: Action::SecretRun,
        source: Source::Mcp,
        outcome: Outcome::Success,
        keys: vec![name("API_KEY"), name("db/password")],
        detail: Detail {
            argv: command.split(' ').map(str::to_owned).collect(),
            ..Detail::default()
        },
    }
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("the file opens");
    connection.busy_timeout(BUSY).expect("set");
    connection
}

/// A file as the vault makes it, with an empty log.
fn new_file() -> (TempDir, PathBuf) {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("vault.db");
    let connection = open(&path);
    let metadata = "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
        CREATE TABLE metadata (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID";
    connection.execute_batch(metadata).expect("created");
    log().install(&connection).expect("installed");
    (dir, path)
}

fn record(log: &Log, connection: &Connection, entry: &Entry) -> RecordId {
    let begun = rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate);
    log.record(Change(begun.expect("begun")), entry, ())
        .expect("recorded")
        .id()
        .clone()
}

/// A log of five records; their ids by sequence, from 1.
fn five() -> (TempDir, Connection, Vec<String>) {
    let (dir, path) = new_file();
    let connection = open(&path);
    let ids = (1..=5).map(|n| record(&log(), &connection, &entry(&format!("command {n}"))).id);
    let ids = [String::new()].into_iter().chain(ids).collect();
    (dir, connection, ids)
}

#[test]
fn an_untouched_log_is_intact() {
    let (_dir, connection, _) = five();
    assert_eq!(
        log().verify(&connection).expect("readable"),
        Report {
            records: 5,
            pruned: 0,
            problems: vec![]
        }
    );
}

#[test]
fn an_empty_log_is_intact() {
    let (_dir, path) = new_file();
    assert_eq!(
        log().verify(&open(&path)).expect("readable"),
        Report {
            records: 0,
            pruned: 0,
            problems: vec![]
        }
    );
}

#[test]
fn records_come_back_as_they_were_written() {
    let (_dir, path) = new_file();
    let connection = open(&path);
    let full = Entry {
        outcome: Outcome::Denied,
        detail: Detail {
            agent: Some("claude".to_owned()),
            rule: Some("denied_commands[0]: rm".to_owned()),
            reason: Some("not allowed".to_owned()),
            modules: vec![Module {
                name: "default".to_owned(),
                sha256: "ab".repeat(32),
            }],
            exit_code: Some(-1),
            redactions: vec![Redaction {
                key: "API_KEY".to_owned(),
                form: "raw".to_owned(),
                count: 3,
            }],
            ..entry("rm -rf /").detail
        },
        ..entry("")
    };
    let RecordId { sequence, id } = record(&log(), &connection, &full);
    let records = log()
        .list(&connection, &Filter::default())
        .expect("readable");
    let expected = Record {
        sequence,
        id,
        time_ns: records[0].time_ns,
        action: "secret.run".to_owned(),
        source: "mcp".to_owned(),
        result: "denied".to_owned(),
        keys: full.keys,
        detail: full.detail,
        is_authentic: true,
    };
    assert_eq!((sequence, records), (1, vec![expected]));
}

#[test]
fn a_record_has_the_time_of_its_writing() {
    let (_dir, path) = new_file();
    let connection = open(&path);
    let before = now_ns();
    record(&log(), &connection, &entry("c"));
    let records = log()
        .list(&connection, &Filter::default())
        .expect("readable");
    assert!((before..=now_ns()).contains(&records[0].time_ns));
    let id = Ulid::from_string(&records[0].id).expect("a ULID");
    assert_eq!(
        i64::try_from(id.timestamp_ms()),
        Ok(records[0].time_ns / 1_000_000)
    );
}

#[test]
fn filters_take_the_newest_in_order() {
    let (_dir, path) = new_file();
    let (log, connection) = (log(), open(&path));
    for (time, outcome) in [
        (10, Outcome::Success),
        (20, Outcome::Denied),
        (30, Outcome::Success),
        (40, Outcome::Denied),
    ] {
        let source = if time == 40 { Source::Cli } else { Source::Mcp };
        log.append(
            &connection,
            &Entry {
                outcome,
                source,
                ..entry("c")
            },
            time,
        )
        .expect("appended");
    }
    let times = |filter: Filter| {
        let records = log.list(&connection, &filter).expect("readable");
        records
            .into_iter()
            .map(|record| record.time_ns)
            .collect::<Vec<_>>()
    };
    assert_eq!(times(Filter::default()), [10, 20, 30, 40]);
    assert_eq!(
        times(Filter {
            limit: Some(2),
            ..Filter::default()
        }),
        [30, 40]
    );
    assert_eq!(
        times(Filter {
            limit: Some(0),
            ..Filter::default()
        }),
        [0; 0]
    );
    assert_eq!(
        times(Filter {
            since_ns: Some(20),
            until_ns: Some(30),
            ..Filter::default()
        }),
        [20, 30]
    );
    assert_eq!(
        times(Filter {
            outcome: Some(Outcome::Denied),
            ..Filter::default()
        }),
        [20, 40]
    );
    assert_eq!(
        times(Filter {
            source: Some(Source::Cli),
            ..Filter::default()
        }),
        [40]
    );
    let id = log.list(&connection, &Filter::default()).expect("readable")[1]
        .id
        .clone();
    assert_eq!(
        times(Filter {
            id: Some(id),
            ..Filter::default()
        }),
        [20]
    );
}

#[test]
fn the_export_has_the_documented_fields() {
    let (_dir, path) = new_file();
    let connection = open(&path);
    let id = log()
        .append(&connection, &entry("npm test"), 1_736_937_000_123_456_789)
        .expect("appended")
        .0
        .id;
    let records = log()
        .list(&connection, &Filter::default())
        .expect("readable");
    let exported = serde_json::to_value(records[0].export()).expect("JSON");
    let expected = serde_json::json!({
        "timestamp": "2025-01-15T10:30:00.123456789Z",
        "action": "secret.run",
        "source": "mcp",
        "keys": ["API_KEY", "db/password"],
        "command": "npm test",
        "success": true,
        "id": id,
        "sequence": 1,
        "result": "success",
        "authentic": true,
        "argv": ["npm", "test"],
    });
    assert_eq!(exported, expected);
}

#[test]
fn details_of_another_version_are_read() {
    let newer = r#"{"keys":["A"],"detail":{"agent":"x","invented_later":[1]}}"#;
    let sealed: entry::Sealed<Vec<SecretName>, Detail> = serde_json::from_str(newer).expect("read");
    assert_eq!(
        sealed.detail,
        Detail {
            agent: Some("x".to_owned()),
            ..Detail::default()
        }
    );
}

#[test]
fn details_have_a_limit() {
    let (_dir, path) = new_file();
    let connection = open(&path);
    let result = log().append(&connection, &entry(&"x".repeat(DETAIL_MAX_BYTES)), 0);
    assert!(matches!(result, Err(AuditError::DetailTooLong)));
    assert_eq!(
        log().verify(&connection).expect("readable"),
        Report {
            records: 0,
            pruned: 0,
            problems: vec![]
        }
    );
}

#[test]
fn a_change_and_its_record_stand_or_fall_together() {
    let (_dir, path) = new_file();
    let connection = open(&path);
    connection
        .execute_batch("CREATE TABLE things (thing TEXT)")
        .expect("created");
    let count = |table: &str| {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
            row.get(0)
        })
    };
    let change = || {
        let begun =
            rusqlite::Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)
                .expect("begun");
        begun
            .execute("INSERT INTO things VALUES ('thing')", [])
            .expect("inserted");
        Change(begun)
    };
    let recorded = log()
        .record(change(), &entry("c"), "subject")
        .expect("recorded");
    assert_eq!(
        (
            *recorded.get(),
            recorded.id().sequence,
            recorded.into_inner()
        ),
        ("subject", 1, "subject")
    );

    open(&path)
        .execute_batch("DELETE FROM metadata")
        .expect("changed");
    assert!(matches!(
        log().record(change(), &entry("c"), ()).err(),
        Some(AuditError::NoHead)
    ));
    let counts: (i64, i64) = (
        count("things").expect("counted"),
        count("audit_log").expect("counted"),
    );
    assert_eq!(counts, (1, 1));
}

#[test]
fn a_new_epoch_continues_the_chain() {
    let (_dir, connection, _) = five();
    let second = log().begin_epoch(&connection, keys(2)).expect("begun");
    record(&second, &connection, &entry("after"));
    assert_eq!(
        second.verify(&connection).expect("readable"),
        Report {
            records: 6,
            pruned: 0,
            problems: vec![]
        }
    );
    let epochs: (i64, i64) = connection
        .query_row("SELECT min(epoch), max(epoch) FROM audit_log", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .expect("read");
    assert_eq!(epochs, (0, 1));
    let problems = log().verify(&connection).expect("readable").problems;
    assert_eq!(
        (problems.len(), problems.last()),
        (2, Some(&Problem::OtherEpoch)),
        "without the new key its record does not verify"
    );
}

#[test]
fn the_file_shows_neither_names_nor_commands() {
    let (dir, path) = new_file();
    let connection = open(&path);
    record(
        &log(),
        &connection,
        &entry("command-canary argument-canary"),
    );
    connection
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .expect("written back");
    let bytes = std::fs::read(dir.path().join("vault.db")).expect("readable");
    let shows = |text: &str| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(shows("secret.run"), "the open columns are in the file");
    for canary in [
        "command-canary",
        "argument-canary",
        "API_KEY",
        "db/password",
    ] {
        assert!(!shows(canary), "{canary}");
    }
}

const CHILD_FILE: &str = "SECRETCTL_TEST_AUDIT_FILE";
const PER_WRITER: usize = 50;

fn append_many(path: &Path) {
    let connection = open(path);
    (0..PER_WRITER).for_each(|_| _ = record(&log(), &connection, &entry("concurrent")));
}

#[test]
#[ignore = "run by the test below, in a process of its own"]
fn appending_child() {
    append_many(Path::new(&std::env::var_os(CHILD_FILE).expect("a file")));
}

#[test]
fn processes_and_threads_append_to_one_chain() {
    let (_dir, path) = new_file();
    let child = || {
        let mut command = Command::new(std::env::current_exe().expect("the test program"));
        command
            .args(["--ignored", "--exact", "audit::tests::appending_child"])
            .env(CHILD_FILE, &path);
        command.spawn().expect("the test program runs")
    };
    let children = [child(), child()];
    thread::scope(|scope| {
        scope.spawn(|| append_many(&path));
        scope.spawn(|| append_many(&path));
    });
    for mut child in children {
        assert!(child.wait().expect("ended").success());
    }
    let expected = Report {
        records: 4 * PER_WRITER as u64,
        pruned: 0,
        problems: vec![],
    };
    assert_eq!(log().verify(&open(&path)).expect("readable"), expected);
}
