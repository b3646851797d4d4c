//! Every way of tampering with the log, by name.

use super::*;

fn problems(connection: &Connection) -> Vec<Problem> {
    log().verify(connection).expect("readable").problems
}

fn changed(sequence: i64, ids: &[String]) -> Problem {
    Problem::Changed {
        sequence,
        id: ids[usize::try_from(sequence).expect("small")].clone(),
    }
}

#[test]
fn nothing_is_recorded_behind_a_forged_head() {
    let (_dir, connection, _) = five();
    connection
        .execute("UPDATE metadata SET value = zeroblob(68)", [])
        .expect("changed");
    assert!(matches!(
        log().append(&connection, &entry("c"), 0),
        Err(AuditError::ForgedHead)
    ));
    assert_eq!(problems(&connection), [Problem::ForgedHead]);
}

#[test]
fn a_change_in_any_column_is_named() {
    let changes = [
        "id = 'X'",
        "time_ns = time_ns + 1",
        "action = 'secret.get'",
        "source = 'cli'",
        "result = 'denied'",
        "keys = zeroblob(32)",
        "keys = x''",
        "epoch = 1",
        "epoch = -1",
        "detail = zeroblob(60)",
        "detail = (SELECT detail FROM audit_log WHERE sequence = 2)",
        "prev_hash = zeroblob(32)",
        "prev_hash = x''",
        "hash = zeroblob(32)",
        "hash = x''",
        "hash = (SELECT hash FROM audit_log WHERE sequence = 4)",
    ];
    for change in changes {
        let (_dir, connection, ids) = five();
        connection
            .execute(
                &format!("UPDATE audit_log SET {change} WHERE sequence = 3"),
                [],
            )
            .expect("changed");
        let id = if change.starts_with("id") {
            "X".to_owned()
        } else {
            ids[3].clone()
        };
        assert_eq!(
            problems(&connection),
            [Problem::Changed { sequence: 3, id }],
            "{change}"
        );
        let listed = log()
            .list(&connection, &Filter::default())
            .expect("readable");
        let authentic: Vec<bool> = listed.iter().map(|record| record.is_authentic).collect();
        assert_eq!(authentic, [true, true, false, true, true], "{change}");
    }
}

#[test]
fn one_changed_byte_of_the_details_is_named() {
    let (_dir, connection, ids) = five();
    let detail: Vec<u8> = connection
        .query_row(
            "SELECT detail FROM audit_log WHERE sequence = 2",
            [],
            |row| row.get(0),
        )
        .expect("read");
    for index in [0, detail.len() / 2, detail.len() - 1] {
        let mut damaged = detail.clone();
        damaged[index] ^= 1;
        connection
            .execute(
                "UPDATE audit_log SET detail = ?1 WHERE sequence = 2",
                [damaged],
            )
            .expect("changed");
        assert_eq!(problems(&connection), [changed(2, &ids)]);
    }
}

#[test]
fn removed_records_are_named() {
    let cases = [
        ("sequence = 3", vec![Problem::Removed { first: 3, last: 3 }]),
        (
            "sequence IN (1, 3, 4)",
            vec![
                Problem::Removed { first: 1, last: 1 },
                Problem::Removed { first: 3, last: 4 },
            ],
        ),
        ("sequence = 5", vec![Problem::CutOff { first: 5, last: 5 }]),
        ("sequence >= 4", vec![Problem::CutOff { first: 4, last: 5 }]),
        ("true", vec![Problem::CutOff { first: 1, last: 5 }]),
    ];
    for (which, expected) in cases {
        let (_dir, connection, _) = five();
        connection
            .execute(&format!("DELETE FROM audit_log WHERE {which}"), [])
            .expect("deleted");
        assert_eq!(problems(&connection), expected, "{which}");
    }
}

#[test]
fn a_gap_closed_by_renumbering_is_named() {
    let (_dir, connection, ids) = five();
    let close = "DELETE FROM audit_log WHERE sequence = 3;
        UPDATE audit_log SET sequence = 3 WHERE sequence = 4;
        UPDATE audit_log SET sequence = 4 WHERE sequence = 5";
    connection.execute_batch(close).expect("changed");
    let moved = |sequence, id: &String, origin| Problem::Moved {
        sequence,
        id: id.clone(),
        origin,
    };
    let cut_off = Problem::CutOff { first: 5, last: 5 };
    assert_eq!(
        problems(&connection),
        [moved(3, &ids[4], 4), moved(4, &ids[5], 5), cut_off]
    );
}

#[test]
fn records_that_changed_places_are_named() {
    let (_dir, connection, ids) = five();
    let swap = "UPDATE audit_log SET sequence = 99 WHERE sequence = 2;
        UPDATE audit_log SET sequence = 2 WHERE sequence = 4;
        UPDATE audit_log SET sequence = 4 WHERE sequence = 99";
    connection.execute_batch(swap).expect("changed");
    let moved = |sequence, id: &String, origin| Problem::Moved {
        sequence,
        id: id.clone(),
        origin,
    };
    assert_eq!(
        problems(&connection),
        [moved(2, &ids[4], 4), moved(4, &ids[2], 2)]
    );
}

#[test]
fn a_record_moved_behind_the_end_is_named() {
    let (_dir, connection, ids) = five();
    connection
        .execute("UPDATE audit_log SET sequence = 6 WHERE sequence = 2", [])
        .expect("changed");
    let moved = Problem::Moved {
        sequence: 6,
        id: ids[2].clone(),
        origin: 2,
    };
    assert_eq!(
        problems(&connection),
        [Problem::Removed { first: 2, last: 2 }, moved]
    );
}

#[test]
fn a_forged_record_is_named() {
    let (_dir, connection, _) = five();
    let forge = |sequence| {
        let columns = chain::COLUMNS.replace("sequence, id", "");
        let copy =
            format!("SELECT {sequence}, 'FORGED'{columns} FROM audit_log WHERE sequence = 5");
        connection
            .execute(
                &format!("INSERT INTO audit_log ({}) {copy}", chain::COLUMNS),
                [],
            )
            .expect("forged");
    };
    forge(6);
    forge(0);
    let outside = |sequence| Problem::Outside {
        sequence,
        id: "FORGED".to_owned(),
        first: 1,
        last: 5,
    };
    assert_eq!(problems(&connection), [outside(0), outside(6)]);
    assert!(
        log().append(&connection, &entry("c"), 0).is_err(),
        "the next record's place is taken"
    );
}

#[test]
fn a_head_set_back_is_named() {
    let (_dir, connection, _) = five();
    let head: Vec<u8> = connection
        .query_row("SELECT value FROM metadata", [], |row| row.get(0))
        .expect("read");
    let id = record(&log(), &connection, &entry("newer")).id;
    connection
        .execute("UPDATE metadata SET value = ?1", [&head])
        .expect("changed");
    assert_eq!(
        problems(&connection),
        [Problem::Outside {
            sequence: 6,
            id,
            first: 1,
            last: 5
        }]
    );
}

/// All rows, so that each is genuine; in the open file, so that a process that runs goes on with them.
#[test]
fn a_log_set_back_under_a_running_process_gets_no_records() {
    let (_dir, connection, _) = five();
    let log = log();
    log.require_one_time(&connection).expect("as it was");
    let copy = "CREATE TABLE old_log AS SELECT * FROM audit_log;
        CREATE TABLE old_metadata AS SELECT * FROM metadata;";
    connection.execute_batch(copy).expect("copied");
    let set_back = "DELETE FROM audit_log; INSERT INTO audit_log SELECT * FROM old_log;
        REPLACE INTO metadata SELECT * FROM old_metadata;";
    let refused = |known| {
        let begun = connection.unchecked_transaction().expect("begun");
        let refused = log.record(Change(begun), &entry("later"), ());
        assert!(matches!(refused, Err(AuditError::OtherCourse { known: found }) if found == known));
    };
    record(&log, &connection, &entry("sixth"));
    connection.execute_batch(set_back).expect("set back");
    refused(6);
    // Another process goes on with it, past where it was.
    (0..3).for_each(|_| _ = record(&super::log(), &connection, &entry("other")));
    refused(6);
}

/// The row of the set stands in the file as a change left it, and the next transaction says that it found another.
#[test]
fn secrets_set_back_under_a_running_process_get_no_record() {
    let (_dir, connection, _) = five();
    let begin = || connection.unchecked_transaction().expect("begun");
    let change = begin();
    let set = "INSERT INTO metadata VALUES ('secrets_digest', randomblob(60))";
    assert_eq!(change.execute(set, []), Ok(1));
    let recorded = log().record(Change(change), &entry("set"), ());
    assert_eq!(recorded.expect("recorded").id().sequence, 6);
    assert_eq!(problems(&connection), []);
    let refused = log().record(Change(begin()), &entry("later"), ());
    assert!(matches!(refused, Err(AuditError::OtherSet)));
    connection
        .execute(
            "UPDATE metadata SET value = randomblob(60) WHERE name = 'secrets_digest'",
            [],
        )
        .expect("changed");
    assert_eq!(problems(&connection), [Problem::OtherSet]);
}

#[test]
fn a_missing_head_is_named() {
    let (_dir, connection, _) = five();
    connection
        .execute("DELETE FROM metadata", [])
        .expect("deleted");
    assert_eq!(problems(&connection), [Problem::NoHead]);
}

/// Two histories of one log, as a restored copy makes them: each of the records is genuine.
#[test]
fn records_of_another_history_are_named() {
    let (dir, connection, _) = five();
    connection
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .expect("written back");
    let copy = dir.path().join("copy.db");
    std::fs::copy(dir.path().join("vault.db"), &copy).expect("copied");
    let other = open(&copy);
    let here: Vec<String> = (6..=8)
        .map(|n| record(&log(), &connection, &entry(&format!("here {n}"))).id)
        .collect();
    let there: Vec<String> = (6..=8)
        .map(|n| record(&log(), &other, &entry(&format!("there {n}"))).id)
        .collect();
    connection
        .execute("ATTACH ?1 AS other", [copy.to_str()])
        .expect("attached");
    let replace = |sequence: i64| {
        let statement =
            "REPLACE INTO main.audit_log SELECT * FROM other.audit_log WHERE sequence = ?1";
        connection.execute(statement, [sequence]).expect("replaced");
    };
    let unlinked = |sequence, id: &String| Problem::Unlinked {
        sequence,
        id: id.clone(),
    };
    replace(7);
    assert_eq!(
        problems(&connection),
        [unlinked(7, &there[1]), unlinked(8, &here[2])]
    );
    replace(8);
    assert_eq!(
        problems(&connection),
        [unlinked(7, &there[1]), Problem::OtherHead { sequence: 8 }]
    );
}

#[test]
fn a_report_is_bounded() {
    let (_dir, connection, _) = five();
    for n in 6..=40 {
        log().append(&connection, &entry("c"), n).expect("appended");
    }
    connection
        .execute("UPDATE audit_log SET result = 'denied'", [])
        .expect("changed");
    assert_eq!(problems(&connection).len(), PROBLEMS_MAX);
}

#[test]
fn a_log_of_another_vault_or_key_does_not_verify() {
    let (_dir, connection, _) = five();
    let other_vault = Keys {
        vault_id: [8; 16],
        ..keys(1)
    };
    let other_key = Keys {
        epochs: Epochs::new(vec![Epoch {
            chain: key(0),
            ..epoch(0)
        }]),
        ..keys(1)
    };
    for (keys, expected) in [(other_vault, 6), (other_key, 5)] {
        let report = Log::new(keys).verify(&connection).expect("readable");
        assert_eq!(report.problems.len(), expected);
    }
}
