//! The log as it grows, and what of it is wanted.

use super::*;

/// What comes with one call, as text.
fn poll(follower: &mut Follower, connection: &Connection, filter: &Filter) -> Vec<String> {
    let mut seen = Vec::new();
    let polled = follower.poll(&log(), connection, filter, |followed| {
        seen.push(match followed {
            Followed::Record(record) => record.command().unwrap_or_default(),
            Followed::Pruned { first, last } => format!("{first} to {last} pruned"),
        });
        Ok::<(), AuditError>(())
    });
    polled.expect("readable");
    seen
}

#[test]
fn what_others_write_is_seen_once() {
    let (_dir, path) = new_file();
    let (here, there) = (open(&path), open(&path));
    let write = |command| _ = record(&log(), &there, &entry(command));
    ["a", "b", "c"].into_iter().for_each(write);
    let mut follower = Follower::default();
    let newest = Filter {
        limit: Some(2),
        ..Filter::default()
    };
    assert_eq!(poll(&mut follower, &here, &newest), ["b", "c"]);
    assert!(poll(&mut follower, &here, &newest).is_empty());
    ["d", "e", "f"].into_iter().for_each(write);
    assert_eq!(poll(&mut follower, &here, &newest), ["d", "e", "f"]);
    assert!(poll(&mut follower, &here, &newest).is_empty());
}

#[test]
fn records_removed_before_they_were_seen_are_named() {
    let (_dir, path) = new_file();
    let (here, there) = (open(&path), open(&path));
    let mut follower = Follower::default();
    record(&log(), &there, &entry("a"));
    assert_eq!(poll(&mut follower, &here, &Filter::default()), ["a"]);
    record(&log(), &there, &entry("b"));
    let begun = rusqlite::Transaction::new_unchecked(&there, TransactionBehavior::Immediate);
    let pruned = log().prune(Change(begun.expect("begun")), i64::MAX, Source::Cli);
    pruned.expect("pruned").expect("something");
    assert_eq!(
        poll(&mut follower, &here, &Filter::default()),
        ["2 to 2 pruned", ""]
    );
}

#[test]
fn a_log_set_back_or_under_another_key_is_not_followed() {
    let (_dir, path) = new_file();
    let (here, there) = (open(&path), open(&path));
    record(&log(), &there, &entry("a"));
    let head: Vec<u8> = there
        .query_row("SELECT value FROM metadata", [], |row| row.get(0))
        .expect("read");
    record(&log(), &there, &entry("b"));
    let mut follower = Follower::default();
    assert_eq!(poll(&mut follower, &here, &Filter::default()), ["a", "b"]);
    let mut next = || {
        let take = |_: Followed| Ok::<(), AuditError>(());
        follower.poll(&log(), &here, &Filter::default(), take)
    };
    let newer = log().begin_epoch(&there, keys(2)).expect("begun");
    record(&newer, &there, &entry("c"));
    assert!(matches!(next(), Err(AuditError::NewKey)));
    there
        .execute("UPDATE metadata SET value = ?1", [head])
        .expect("changed");
    assert!(matches!(
        next(),
        Err(AuditError::SetBack { from: 2, to: 1 })
    ));
}

#[test]
fn filters_combine() {
    let (_dir, path) = new_file();
    let connection = open(&path);
    let write = |n: i64, action, agent: &str, keys: &[&str]| {
        let entry = Entry {
            action,
            keys: keys.iter().map(|key| name(key)).collect(),
            detail: Detail {
                agent: Some(agent.to_owned()),
                ..entry("c").detail
            },
            ..entry("c")
        };
        log().append(&connection, &entry, n).expect("appended");
    };
    write(1, Action::SecretRun, "a", &["db/one", "db/two"]);
    write(2, Action::SecretRunOutcome, "b", &["db/two"]);
    write(3, Action::SecretSet, "a", &["API_KEY"]);
    write(4, Action::VaultUnlock, "b", &[]);
    write(5, Action::SecretRun, "b", &["API_KEY", "db/two"]);
    let found = |filter: Filter| {
        let found = log().list(&connection, &filter).expect("readable");
        let found: Vec<i64> = found.iter().map(|record| record.sequence).collect();
        found
    };
    let actions = |text: &str| Filter {
        actions: Some(text.parse().expect("an action")),
        ..Filter::default()
    };
    let key = |text: &str| Filter {
        key: Some(text.parse().expect("a pattern")),
        ..Filter::default()
    };
    let agent = |text: &str| Filter {
        agent: Some(text.to_owned()),
        ..Filter::default()
    };
    assert_eq!(found(actions("secret.run")), [1, 5]);
    assert_eq!(found(actions("secret.run.")), [2]);
    assert_eq!(found(actions("secret.")), [1, 2, 3, 5]);
    assert_eq!(found(key("db/two")), [1, 2, 5]);
    assert_eq!(found(key("db/*")), [1, 2, 5]);
    assert_eq!(found(key("*")), [3, 5]);
    assert_eq!(found(key("db/tw")), [0; 0]);
    assert_eq!(found(agent("b")), [2, 4, 5]);
    let newest = |filter: Filter, limit| Filter {
        limit: Some(limit),
        ..filter
    };
    assert_eq!(found(newest(agent("b"), 2)), [4, 5]);
    assert_eq!(found(newest(key("db/two"), 2)), [2, 5]);
    assert_eq!(found(newest(agent("c"), 2)), [0; 0]);
    let all = Filter {
        actions: actions("secret.").actions,
        key: key("db/*").key,
        agent: agent("b").agent,
        since_ns: Some(2),
        until_ns: Some(4),
        limit: Some(9),
        ..Filter::default()
    };
    assert_eq!(found(all), [2]);
}

#[test]
fn an_unknown_action_is_answered_with_those_there_are() {
    for unknown in ["secret", "secret.ru", "sec.", "", ".", "*", "secret.*"] {
        let error = unknown.parse::<Actions>().expect_err("unknown");
        assert!(error.contains("secret.run, "), "{error}");
    }
}

#[test]
fn records_about_a_key_are_found_under_the_fingerprints_of_every_epoch() {
    let (_dir, path) = new_file();
    let connection = open(&path);
    record(&log(), &connection, &entry("before"));
    let rotated = || {
        let later = Epoch {
            fingerprint: key(7),
            detail: key(8),
            ..epoch(1)
        };
        Keys {
            epochs: Epochs::new(vec![epoch(0), later]),
            ..keys(1)
        }
    };
    let later = log().begin_epoch(&connection, rotated()).expect("begun");
    record(&later, &connection, &entry("after"));
    let filter = Filter {
        key: Some("API_KEY".parse().expect("a name")),
        ..Filter::default()
    };
    let found = later.list(&connection, &filter).expect("readable");
    let commands: Vec<_> = found.iter().map(Record::command).collect();
    assert_eq!(
        commands,
        [Some("before".to_owned()), Some("after".to_owned())]
    );
}
