//! What a stranger may have written is read or refused, and nothing of it is a panic.

use proptest::prelude::*;

use super::plain::Plain;
use super::*;

fn blob(bytes: &[u8]) -> Plain<'_> {
    Plain {
        value: None,
        fields: Some(bytes),
        bindings: None,
        metadata: None,
        tags: None,
    }
}

/// JSON that is nearly what the tool writes.
fn nearly() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("1e999".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        Just("[]".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        "[a-z]{0,5}".prop_map(|text| format!("\"{text}\"")),
    ];
    let name = prop_oneof![
        Just("value"),
        Just("sensitive"),
        Just("aliases"),
        Just("kind"),
        Just("hint"),
        Just("inputType"),
        Just("notes"),
        Just("url"),
        Just("PATH"),
        Just("é"),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        let member = (name.clone(), inner.clone());
        let object = prop::collection::vec(member, 0..5).prop_map(|members| {
            let member = |(name, value)| format!("\"{name}\":{value}");
            format!(
                "{{{}}}",
                members
                    .into_iter()
                    .map(member)
                    .collect::<Vec<_>>()
                    .join(",")
            )
        });
        let list = prop::collection::vec(inner, 0..4);
        prop_oneof![
            object,
            list.prop_map(|list| format!("[{}]", list.join(",")))
        ]
    })
}

proptest! {
    #[test]
    fn no_blob_is_a_panic(random: Vec<u8>, fields in nearly(), other in nearly(), which in 0..4) {
        let _ = blob(&random).read(&mut Foreign::default());
        let given = |number| Some(other.as_bytes()).filter(|_| which == number);
        let plain = Plain {
            value: None,
            fields: Some(fields.as_bytes()),
            bindings: given(0),
            metadata: given(1),
            tags: given(2),
        };
        let _ = plain.read(&mut Foreign::default());
    }

    /// A file with these bytes at some place of a real one.
    #[test]
    fn no_file_is_a_panic(random in prop::collection::vec(any::<u8>(), 1..64), at: prop::sample::Index) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("vault.db");
        let database = Connection::open(&path).expect("a database");
        database
            .execute_batch(
                "CREATE TABLE vault_keys (id INTEGER PRIMARY KEY, encrypted_dek BLOB, dek_nonce BLOB);
                 CREATE TABLE secrets (encrypted_key BLOB, encrypted_value BLOB, tags TEXT);
                 INSERT INTO secrets VALUES (x'00', x'01', '[]');",
            )
            .expect("tables");
        drop(database);
        let mut bytes = fs::read(&path).expect("a file");
        let at = at.index(bytes.len() - random.len());
        bytes[at..at + random.len()].copy_from_slice(&random);
        fs::write(&path, bytes).expect("written");
        let read = connect(dir.path()).and_then(|connection| {
            rows::schema_version(&connection)?;
            let _ = rows::keys(&connection);
            rows::read_all(&connection, &Key::random()?, 0)
        });
        // With a random key, a row can only be refused.
        if let Ok(foreign) = read {
            prop_assert!(foreign.secrets.is_empty());
        }
    }
}

#[test]
fn a_value_that_cannot_be_read_is_not_shown() {
    let wrong = [
        r#"{"a":{"value":12345678}}"#,
        r#"{"a":{"value":"canary-12345678","sensitive":"canary-12345678"}}"#,
        r#"{"a":"canary-12345678"}"#,
        r#"{"a":{"value":"canary-12345678""#,
    ];
    for text in wrong {
        let error = blob(text.as_bytes()).read(&mut Foreign::default()).err();
        assert_eq!(error.as_deref(), Some("its fields cannot be read"));
    }
}
