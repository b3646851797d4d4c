//! What is removed on purpose, and that nothing else passes for it.

use super::*;

const DAY_NS: i64 = 24 * 60 * 60 * 1_000_000_000;

fn begin(connection: &Connection) -> Change<'_> {
    let begun = rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate);
    Change(begun.expect("begun"))
}

/// Five records, written at 10, 20, 30, 40 and 50.
fn timed() -> (TempDir, Connection) {
    let (dir, path) = new_file();
    let connection = open(&path);
    for n in 1..=5 {
        log()
            .append(&connection, &entry(&format!("command {n}")), n * 10)
            .expect("appended");
    }
    (dir, connection)
}

fn prune(connection: &Connection, before_ns: i64) -> Option<(i64, i64)> {
    let pruned = log().prune(begin(connection), before_ns, Source::Cli);
    pruned
        .expect("pruned")
        .map(|pruned| (pruned.first, pruned.last))
}

fn report(connection: &Connection) -> Report {
    log().verify(connection).expect("readable")
}

fn problems(connection: &Connection) -> Vec<Problem> {
    report(connection).problems
}

fn sequences(connection: &Connection) -> Vec<i64> {
    let records = log().list(connection, &Filter::default());
    let records = records.expect("readable");
    assert!(records.iter().all(|record| record.is_authentic));
    records.iter().map(|record| record.sequence).collect()
}

#[test]
fn old_records_are_removed_and_that_is_recorded() {
    let (_dir, connection) = timed();
    assert_eq!(
        log()
            .prunable(&connection, 30)
            .expect("readable")
            .map(|pruned| pruned.last),
        Some(2)
    );
    assert_eq!(prune(&connection, 30), Some((1, 2)));
    assert_eq!(sequences(&connection), [3, 4, 5, 6]);
    let expected = Report {
        records: 4,
        pruned: 2,
        problems: vec![],
    };
    assert_eq!(report(&connection), expected);
    let newest = log()
        .list(&connection, &Filter::default())
        .expect("readable")
        .pop()
        .expect("a record");
    assert_eq!(newest.action, "audit.prune");
    let pruned = Pruned {
        first: 1,
        last: 2,
        before: "1970-01-01T00:00:00.00000003Z".to_owned(),
    };
    assert_eq!(newest.detail.pruned, Some(pruned));
}

#[test]
fn without_old_records_nothing_happens() {
    let (_dir, connection) = timed();
    assert_eq!(prune(&connection, 10), None);
    assert_eq!(sequences(&connection), [1, 2, 3, 4, 5]);
    assert_eq!(prune(&connection, 20), Some((1, 1)));
    assert_eq!(prune(&connection, 20), None);
    assert_eq!(sequences(&connection), [2, 3, 4, 5, 6]);
}

#[test]
fn all_can_be_removed_and_the_numbers_go_on() {
    let (_dir, connection) = timed();
    assert_eq!(prune(&connection, i64::MAX), Some((1, 5)));
    assert_eq!(sequences(&connection), [6]);
    assert_eq!(prune(&connection, i64::MAX), Some((6, 6)));
    record(&log(), &connection, &entry("after"));
    assert_eq!(sequences(&connection), [7, 8]);
    let expected = Report {
        records: 2,
        pruned: 6,
        problems: vec![],
    };
    assert_eq!(report(&connection), expected);
}

#[test]
fn a_clock_that_went_back_takes_nothing_newer_along() {
    let (_dir, connection) = timed();
    log()
        .append(&connection, &entry("of 1970"), 5)
        .expect("appended");
    assert_eq!(prune(&connection, 30), Some((1, 2)));
    assert_eq!(sequences(&connection), [3, 4, 5, 6, 7]);
}

#[test]
fn what_was_cut_from_the_start_is_told_from_what_was_pruned() {
    let (_dir, connection) = timed();
    prune(&connection, 30);
    connection
        .execute("DELETE FROM audit_log WHERE sequence = 3", [])
        .expect("deleted");
    assert_eq!(
        problems(&connection),
        [Problem::Removed { first: 3, last: 3 }]
    );
}

#[test]
fn a_pruned_record_that_is_put_back_is_named() {
    let (_dir, connection) = timed();
    let keep = "CREATE TABLE kept AS SELECT * FROM audit_log WHERE sequence = 2";
    connection.execute_batch(keep).expect("copied");
    let id = log().list(&connection, &Filter::default()).expect("read")[1]
        .id
        .clone();
    prune(&connection, 30);
    connection
        .execute("INSERT INTO audit_log SELECT * FROM kept", [])
        .expect("put back");
    let outside = Problem::Outside {
        sequence: 2,
        id,
        first: 3,
        last: 6,
    };
    assert_eq!(problems(&connection), [outside]);
}

#[test]
fn a_checkpoint_that_is_removed_forged_or_set_back_is_named() {
    let head = |connection: &Connection| -> Vec<u8> {
        let query = "SELECT value FROM metadata WHERE name = 'audit_head'";
        connection
            .query_row(query, [], |row| row.get(0))
            .expect("read")
    };
    let put = |connection: &Connection, value: &[u8]| {
        connection
            .execute("UPDATE metadata SET value = ?1", [value])
            .expect("changed")
    };
    let (_dir, connection) = timed();
    let before = head(&connection);
    prune(&connection, 20);
    let between = head(&connection);
    prune(&connection, 40);

    put(&connection, &before);
    let found = problems(&connection);
    assert_eq!(found[0], Problem::Removed { first: 1, last: 3 });
    assert!(matches!(found[1], Problem::Outside { sequence: 6, .. }));
    put(&connection, &between);
    let found = problems(&connection);
    assert_eq!(found[0], Problem::Removed { first: 2, last: 3 });
    assert!(matches!(found[1], Problem::Outside { sequence: 7, .. }));
    put(&connection, &[0; 116]);
    assert_eq!(problems(&connection), [Problem::ForgedHead]);
    connection
        .execute("DELETE FROM metadata", [])
        .expect("deleted");
    assert_eq!(problems(&connection), [Problem::NoHead]);
}

#[test]
fn what_was_tampered_with_is_evidence_and_stays() {
    let changes = [
        "UPDATE audit_log SET result = 'denied' WHERE sequence = 1",
        "DELETE FROM audit_log WHERE sequence = 1",
        "DELETE FROM audit_log WHERE sequence = 2",
        "DELETE FROM audit_log WHERE sequence = 3",
        "UPDATE audit_log SET sequence = 0 WHERE sequence = 2",
    ];
    for change in changes {
        let (_dir, connection) = timed();
        connection.execute(change, []).expect("changed");
        let before = report(&connection);
        assert_eq!(
            before.problems.len(),
            1 + usize::from(change.contains("= 0"))
        );
        let refused = log().prune(begin(&connection), 40, Source::Cli);
        assert!(matches!(refused, Err(AuditError::NotPruned(_))), "{change}");
        assert_eq!(report(&connection), before, "{change}");
    }
}

#[test]
fn a_removed_record_leaves_no_trace_in_the_files() {
    let (dir, path) = new_file();
    let connection = open(&path);
    connection
        .execute_batch("PRAGMA secure_delete = ON")
        .expect("set");
    let ids: Vec<String> = (1..=40)
        .map(|n| record(&log(), &connection, &entry(&format!("command {n}"))).id)
        .collect();
    let in_files = |id: &String| {
        let files = std::fs::read_dir(dir.path())
            .expect("a directory")
            .flatten();
        let mut files = files.map(|file| std::fs::read(file.path()).expect("readable"));
        files.any(|file| file.windows(id.len()).any(|part| part == id.as_bytes()))
    };
    assert!(ids.iter().all(in_files));
    prune(&connection, i64::MAX);
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let emptied = connection.query_row(checkpoint, [], |row| row.get(0));
    assert_eq!(emptied, Ok(0));
    assert!(!ids.iter().any(in_files));
}

#[test]
fn retention_removes_what_is_older_by_more_than_a_day() {
    let (_dir, path) = new_file();
    let connection = open(&path);
    let now = now_ns();
    for age in [20, 11, 9] {
        log()
            .append(&connection, &entry("c"), now - age * DAY_NS)
            .expect("appended");
    }
    let log = log();
    let keep = || {
        let kept = log.keep_retention(begin(&connection), Source::Mcp);
        kept.expect("done")
            .map(|pruned| (pruned.first, pruned.last))
    };
    let set = |seconds: Option<u64>| {
        let text = "a text".to_owned();
        log.set_retention(begin(&connection), seconds, text, Source::Cli)
    };
    let day = RETENTION_MIN_SECONDS;
    assert_eq!(keep(), None);
    set(Some(10 * day)).expect("set");
    assert_eq!(
        log.retention_seconds(&connection).expect("read"),
        Some(10 * day)
    );
    assert_eq!(keep(), Some((1, 2)));
    assert_eq!(keep(), None);
    // Records are in their ninth day, and then not yet a day over it.
    set(Some(8 * day + day / 2)).expect("set");
    assert_eq!(keep(), None);
    assert!(matches!(
        set(Some(day - 1)),
        Err(AuditError::RetentionTooShort)
    ));
    set(None).expect("set");
    assert_eq!(log.retention_seconds(&connection).expect("read"), None);
    let actions: Vec<(String, Detail)> = log
        .list(&connection, &Filter::default())
        .expect("readable")
        .into_iter()
        .map(|record| (record.action, record.detail))
        .collect();
    let words: Vec<&str> = actions.iter().map(|(action, _)| action.as_str()).collect();
    assert_eq!(
        words,
        [
            "secret.run",
            "audit.retention",
            "audit.prune",
            "audit.retention",
            "audit.retention"
        ]
    );
    assert_eq!(actions[1].1.retention.as_deref(), Some("a text"));
    assert_eq!(actions[2].1.reason.as_deref(), Some("retention"));
    assert!(report(&connection).is_intact());
}
