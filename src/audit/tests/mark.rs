//! A head that was kept elsewhere.

use super::*;

#[test]
fn a_head_is_one_line_and_is_read_back() {
    let (_dir, connection, _) = five();
    let head = log().head(&connection).expect("readable");
    let text = head.to_string();
    assert!(
        text.starts_with("secretctl-head:1:") && text.contains(":5:"),
        "{text}"
    );
    assert_eq!(text.parse(), Ok(head));
    let (start, hash) = text.rsplit_once(':').expect("a hash");
    for wrong in [
        String::new(),
        start.to_owned(),
        format!("{start}:{}", &hash[1..]),
        format!("{start}:{}é", &hash[2..]),
        format!("{start}:+{}", &hash[1..]),
        format!("{text}:"),
        text.replace(":1:", ":2:"),
        text.replace(":5:", ":five:"),
    ] {
        assert_eq!(wrong.parse::<HeadMark>(), Err(InvalidMark), "{wrong}");
    }
}

#[test]
fn what_became_of_a_record_is_said() {
    let (_dir, connection, _) = five();
    let head = log().head(&connection).expect("readable");
    let found = || log().compare(&connection, &head).expect("readable");
    assert_eq!(found(), Marked::Same { sequence: 5 });
    record(&log(), &connection, &entry("sixth"));
    assert_eq!(found(), Marked::Same { sequence: 5 });
    let newest = log().head(&connection).expect("readable");
    let shown = |statement: &str| {
        connection
            .execute_batch("SAVEPOINT tampering")
            .expect("begun");
        connection.execute_batch(statement).expect("changed");
        let found = log().compare(&connection, &head);
        connection
            .execute_batch("ROLLBACK TO tampering; RELEASE tampering")
            .expect("undone");
        found.expect("readable")
    };
    let other = Marked::Other { sequence: 5 };
    assert_eq!(shown("DELETE FROM audit_log WHERE sequence = 5"), other);
    assert_eq!(
        shown("UPDATE audit_log SET hash = zeroblob(32) WHERE sequence = 5"),
        other
    );
    let (_dir, shorter, _) = five();
    let compare = |head| log().compare(&shorter, head).expect("readable");
    assert_eq!(
        compare(&newest),
        Marked::Beyond {
            sequence: 6,
            last: 5
        }
    );
    assert_eq!(compare(&head), other, "of another course");
    let vault = Keys {
        vault_id: [8; 16],
        ..keys(1)
    };
    let found = Log::new(vault)
        .compare(&connection, &head)
        .expect("readable");
    assert_eq!(found, Marked::OtherVault);
}

#[test]
fn a_pruned_record_is_said_to_be_pruned() {
    let (_dir, connection, _) = five();
    let mark = |sequence| {
        let query = "SELECT hash FROM audit_log WHERE sequence = ?1";
        let hash = connection.query_row(query, [sequence], |row| row.get(0));
        (sequence, hash.expect("a record"))
    };
    let (second, third): ((i64, chain::Hash), (i64, chain::Hash)) = (mark(2), mark(3));
    let head = Head::read(&connection, &log().keys).expect("readable");
    let (sequence, hash) = third;
    let checkpoint = chain::Checkpoint { sequence, hash };
    Head { checkpoint, ..head }
        .write(&connection, &log().keys)
        .expect("written");
    connection
        .execute("DELETE FROM audit_log WHERE sequence <= 3", [])
        .expect("pruned");
    let find = |(sequence, hash)| log().find(&connection, sequence, &hash).expect("readable");
    assert_eq!(
        find(second),
        Marked::Pruned {
            sequence: 2,
            through: 3
        }
    );
    assert_eq!(find(third), Marked::Same { sequence: 3 });
    assert_eq!(find((3, second.1)), Marked::Other { sequence: 3 });
}
