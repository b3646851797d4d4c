//! The defects: what somebody without the keys can do to the files of a vault.

use super::maker::{BEFORE, FORMER};

/// One way to change a vault.
pub(crate) struct Defect {
    /// The vector's directory.
    pub(crate) name: String,
    pub(crate) change: Change,
}

pub(crate) enum Change {
    /// Statements on the database. Its earlier states are attached: `before`, and `former` with the password before this one.
    Sql(String),
    /// The bytes of one file.
    Bytes(&'static str, fn(&mut Vec<u8>)),
    /// One file is gone.
    Gone(&'static str),
    /// The files of another state of the vault, beside the present anchor.
    State(&'static str),
}

/// Rows of `metadata` with the state that they can be set back to alone.
const ROWS: [(&str, &str); 7] = [
    ("password", FORMER),
    ("generation", FORMER),
    ("dek", FORMER),
    ("password_check", FORMER),
    ("audit_epochs", FORMER),
    ("secrets_digest", BEFORE),
    ("audit_head", BEFORE),
];

/// Columns with a value of their type that is another.
const SECRET_COLUMNS: [(&str, Other); 6] = [
    ("id", Other::Blob),
    ("name_index", Other::Blob),
    ("created_at", Other::Number),
    ("updated_at", Other::Number),
    ("entry", Other::Blob),
    ("value", Other::Blob),
];
const RECORD_COLUMNS: [(&str, Other); 10] = [
    ("id", Other::Text),
    ("time_ns", Other::Number),
    ("action", Other::Text),
    ("source", Other::Text),
    ("result", Other::Text),
    ("keys", Other::Blob),
    ("epoch", Other::Number),
    ("detail", Other::Blob),
    ("prev_hash", Other::Blob),
    ("hash", Other::Blob),
];

#[derive(Clone, Copy)]
enum Other {
    Blob,
    Number,
    Text,
}

impl Other {
    /// An expression for the value of the column, changed in one place.
    fn of(self, column: &str) -> String {
        match self {
            // There is no function of single bits; the last four are set to others.
            Self::Blob => format!(
                "unhex(substr(hex({column}), 1, 2 * length({column}) - 1) || iif(hex({column}) LIKE '%0', '1', '0'))"
            ),
            Self::Number => format!("{column} + 1"),
            Self::Text => {
                format!(
                    "substr({column}, 1, length({column}) - 1) || iif({column} LIKE '%x', 'y', 'x')"
                )
            }
        }
    }
}

/// The secret that was changed last, which has an earlier version in `before`.
const SECRET: &str = "rowid = (SELECT max(rowid) FROM secrets)";
const COLUMNS: &str = "id, time_ns, action, source, result, keys, epoch, detail, prev_hash, hash";

/// All of them, in the order in which the list of what they must give has them.
pub(crate) fn all() -> Vec<Defect> {
    let sql = |(name, statements): (&str, &str)| Defect {
        name: name.to_owned(),
        change: Change::Sql(statements.to_owned()),
    };
    let rows = ROWS.iter().flat_map(|(row, earlier)| of_row(row, earlier));
    let secret_columns = SECRET_COLUMNS.iter().map(|(column, other)| Defect {
        name: format!("secret-{}-changed", column.replace('_', "-")),
        change: Change::Sql(format!(
            "UPDATE secrets SET {column} = {} WHERE {SECRET}",
            other.of(column)
        )),
    });
    let record_columns = RECORD_COLUMNS.iter().map(|(column, other)| Defect {
        name: format!("record-{}-changed", column.replace('_', "-")),
        change: Change::Sql(format!(
            "UPDATE audit_log SET {column} = {} WHERE sequence = 7",
            other.of(column)
        )),
    });
    let file = |(name, change): (&str, Change)| Defect {
        name: name.to_owned(),
        change,
    };
    rows.chain(ROWS_AS_A_WHOLE.into_iter().map(sql))
        .chain(secret_columns)
        .chain(SECRETS.into_iter().map(sql))
        .chain(record_columns)
        .chain(records())
        .chain(SCHEMA.into_iter().map(sql))
        .chain(files().into_iter().map(file))
        .collect()
}

fn of_row(row: &str, earlier: &str) -> [Defect; 3] {
    let defect = |what: &str, statement: String| Defect {
        name: format!("metadata-{}-{what}", row.replace('_', "-")),
        change: Change::Sql(statement),
    };
    let other = Other::Blob.of("value");
    [
        defect(
            "removed",
            format!("DELETE FROM metadata WHERE name = '{row}'"),
        ),
        defect(
            "changed",
            format!("UPDATE metadata SET value = {other} WHERE name = '{row}'"),
        ),
        defect(
            "set-back",
            format!(
                "INSERT OR REPLACE INTO metadata SELECT * FROM {earlier}.metadata WHERE name = '{row}'"
            ),
        ),
    ]
}

/// The row of the cost has 16 bytes of salt, then memory, passes and lanes.
const ROWS_AS_A_WHOLE: [(&str, &str); 8] = [
    (
        "cost-memory-too-large",
        "UPDATE metadata SET value = unhex(hex(substr(value, 1, 16)) || '00200000' || hex(substr(value, 21))) WHERE name = 'password'",
    ),
    (
        "cost-passes-too-many",
        "UPDATE metadata SET value = unhex(hex(substr(value, 1, 20)) || 'ffffffff' || hex(substr(value, 25))) WHERE name = 'password'",
    ),
    (
        "cost-no-lanes",
        "UPDATE metadata SET value = unhex(hex(substr(value, 1, 24)) || '00000000') WHERE name = 'password'",
    ),
    (
        "cost-short",
        "UPDATE metadata SET value = substr(value, 1, 20) WHERE name = 'password'",
    ),
    ("metadata-all-removed", "DELETE FROM metadata"),
    (
        "metadata-generation-short",
        "UPDATE metadata SET value = x'00' WHERE name = 'generation'",
    ),
    (
        "tries-malformed",
        "INSERT INTO metadata VALUES ('unlock_failures', x'00000001')",
    ),
    (
        "tries-of-a-huge-number",
        "INSERT INTO metadata VALUES ('unlock_failures', unhex('ffffffff7fffffffffffffff7fffffffffffffff7fffffffffffffff'))",
    ),
];

const SECRETS: [(&str, &str); 10] = [
    ("secret-removed", "DELETE FROM secrets WHERE rowid = (SELECT min(rowid) FROM secrets)"),
    ("secrets-all-removed", "DELETE FROM secrets"),
    ("secret-duplicated", "INSERT INTO secrets SELECT randomblob(16), randomblob(32), created_at, updated_at, entry, value FROM secrets LIMIT 1"),
    ("secret-set-back", "UPDATE secrets SET (updated_at, entry, value) = (SELECT updated_at, entry, value FROM before.secrets AS b WHERE b.id = secrets.id)"),
    ("secrets-all-set-back-with-their-digest", "DELETE FROM secrets; INSERT INTO secrets SELECT * FROM before.secrets;
        INSERT OR REPLACE INTO metadata SELECT * FROM before.metadata WHERE name = 'secrets_digest'"),
    ("secret-entry-set-back", "UPDATE secrets SET entry = (SELECT entry FROM before.secrets AS b WHERE b.id = secrets.id)"),
    ("secret-value-set-back", "UPDATE secrets SET value = (SELECT value FROM before.secrets AS b WHERE b.id = secrets.id)"),
    ("secrets-entries-swapped", "CREATE TEMP TABLE t AS SELECT rowid AS r, lead(entry, 1, first) OVER (ORDER BY rowid) AS e FROM (SELECT rowid, entry, first_value(entry) OVER (ORDER BY rowid) AS first FROM secrets);
        UPDATE secrets SET entry = (SELECT e FROM t WHERE r = secrets.rowid)"),
    ("secrets-values-swapped", "CREATE TEMP TABLE t AS SELECT rowid AS r, lead(value, 1, first) OVER (ORDER BY rowid) AS e FROM (SELECT rowid, value, first_value(value) OVER (ORDER BY rowid) AS first FROM secrets);
        UPDATE secrets SET value = (SELECT e FROM t WHERE r = secrets.rowid)"),
    ("secret-empty-blobs", "UPDATE secrets SET entry = x'', value = x''"),
];

fn records() -> Vec<Defect> {
    let last = "(SELECT max(sequence) FROM audit_log)";
    let before = "(SELECT max(sequence) FROM before.audit_log)";
    let head =
        "INSERT OR REPLACE INTO metadata SELECT * FROM before.metadata WHERE name = 'audit_head'";
    [
        ("records-swapped", "UPDATE audit_log SET sequence = -7 WHERE sequence = 7; UPDATE audit_log SET sequence = 7 WHERE sequence = 8; UPDATE audit_log SET sequence = 8 WHERE sequence = -7".to_owned()),
        ("records-reordered", "UPDATE audit_log SET sequence = -6 - (sequence - 5) % 3 WHERE sequence BETWEEN 6 AND 8; UPDATE audit_log SET sequence = -sequence WHERE sequence < 0".to_owned()),
        ("record-removed", "DELETE FROM audit_log WHERE sequence = 7".to_owned()),
        ("records-first-removed", "DELETE FROM audit_log WHERE sequence < 8".to_owned()),
        ("records-closed-up", format!("DELETE FROM audit_log WHERE sequence = 7; UPDATE audit_log SET sequence = -sequence WHERE sequence > 7; UPDATE audit_log SET sequence = -sequence - 1 WHERE sequence < 0 AND {last} > 0")),
        ("records-cut-off", format!("DELETE FROM audit_log WHERE sequence > {last} - 2")),
        ("records-cut-off-with-older-head", format!("DELETE FROM audit_log WHERE sequence > {before}; {head}")),
        ("records-all-removed", "DELETE FROM audit_log".to_owned()),
        ("record-duplicated", format!("INSERT INTO audit_log SELECT {last} + 1, {COLUMNS} FROM audit_log WHERE sequence = 7")),
        ("record-of-another-place", format!("DELETE FROM audit_log WHERE sequence = 7; INSERT INTO audit_log SELECT 7, {COLUMNS} FROM audit_log WHERE sequence = 8")),
        ("record-forged", format!("INSERT INTO audit_log SELECT {last} + 1, '01JFORGED0000000000000000R', time_ns, 'secret.get', 'cli', 'success', x'', epoch, randomblob(60), hash, randomblob(32) FROM audit_log WHERE sequence = {last}")),
        ("record-forged-far-away", "INSERT INTO audit_log SELECT 9223372036854775807, '01JFORGED0000000000000000R', time_ns, 'secret.get', 'cli', 'success', x'', epoch, randomblob(60), hash, randomblob(32) FROM audit_log WHERE sequence = 7".to_owned()),
        ("record-of-an-impossible-place", "UPDATE audit_log SET sequence = -9223372036854775807 WHERE sequence = 7".to_owned()),
        ("record-of-an-impossible-time", "UPDATE audit_log SET time_ns = -9223372036854775807, epoch = -9223372036854775807 WHERE sequence = 7".to_owned()),
        ("record-of-no-text", "UPDATE audit_log SET id = CAST(x'ff00fe' AS TEXT) WHERE sequence = 7".to_owned()),
        ("checkpoint-pruned-put-back", format!("INSERT INTO audit_log SELECT * FROM former.audit_log WHERE sequence < {last}")),
        ("checkpoint-set-back", "INSERT OR REPLACE INTO metadata SELECT * FROM former.metadata WHERE name = 'audit_head'".to_owned()),
    ]
    .map(|(name, statements)| Defect {
        name: name.to_owned(),
        change: Change::Sql(statements),
    })
    .into()
}

const SCHEMA: [(&str, &str); 11] = [
    ("schema-no-metadata", "DROP TABLE metadata"),
    ("schema-no-secrets", "DROP TABLE secrets"),
    ("schema-no-log", "DROP TABLE audit_log"),
    ("schema-a-trigger", "CREATE TRIGGER t AFTER INSERT ON audit_log BEGIN DELETE FROM secrets; END"),
    ("schema-a-view", "CREATE VIEW v AS SELECT * FROM secrets"),
    ("schema-a-view-for-secrets", "ALTER TABLE secrets RENAME TO s; CREATE VIEW secrets AS SELECT * FROM s"),
    ("schema-an-index", "CREATE INDEX i ON secrets (updated_at)"),
    ("schema-a-table", "CREATE TABLE t (x)"),
    ("schema-no-column", "ALTER TABLE audit_log DROP COLUMN keys"),
    ("schema-secrets-of-other-types", "CREATE TABLE t (id TEXT PRIMARY KEY, name_index, created_at TEXT, updated_at TEXT, entry TEXT, value TEXT);
        INSERT INTO t SELECT hex(id), name_index, created_at, updated_at, hex(entry), hex(value) FROM secrets; DROP TABLE secrets; ALTER TABLE t RENAME TO secrets"),
    ("schema-records-of-other-types", "CREATE TABLE t AS SELECT * FROM audit_log; DROP TABLE audit_log; ALTER TABLE t RENAME TO audit_log; UPDATE audit_log SET keys = 1.5, hash = NULL, time_ns = 'x' WHERE sequence = 7"),
];

fn files() -> Vec<(&'static str, Change)> {
    use Change::{Bytes, Gone, State};
    const DATABASE: &str = "vault.db";
    const SALT: &str = "vault.salt";
    const META: &str = "vault.meta";
    const ANCHOR: &str = super::ANCHOR;
    let replace = |name, change| (name, Bytes(META, change));
    vec![
        ("vault-older-than-its-anchor", State(BEFORE)),
        ("vault-of-another-course", State(super::maker::OTHER)),
        ("database-missing", Gone(DATABASE)),
        ("database-empty", Bytes(DATABASE, Vec::clear)),
        (
            "database-no-database",
            Bytes(DATABASE, |bytes| {
                *bytes =
                    b"This is a text, and long enough to be read as something else.\n".repeat(80)
            }),
        ),
        (
            "database-cut-off",
            Bytes(DATABASE, |bytes| bytes.truncate(bytes.len() / 2)),
        ),
        (
            "database-cut-off-within-a-page",
            Bytes(DATABASE, |bytes| bytes.truncate(bytes.len() / 2 + 1000)),
        ),
        (
            "database-zeros-in-the-middle",
            Bytes(DATABASE, |bytes| bytes[4096..].fill(0)),
        ),
        (
            "database-other-page-size",
            Bytes(DATABASE, |bytes| bytes[16..18].copy_from_slice(&[2, 0])),
        ),
        ("salt-missing", Gone(SALT)),
        ("salt-changed", Bytes(SALT, |bytes| bytes[15] ^= 1)),
        ("salt-short", Bytes(SALT, |bytes| bytes.truncate(15))),
        ("salt-long", Bytes(SALT, |bytes| bytes.push(0))),
        ("salt-empty", Bytes(SALT, Vec::clear)),
        ("meta-missing", Gone(META)),
        replace("meta-empty", Vec::clear),
        replace("meta-other-version", |bytes| {
            exchange(bytes, "\"version\":1", "\"version\":2")
        }),
        replace("meta-no-number", |bytes| {
            exchange(bytes, "\"version\":1", "\"version\":-1e9")
        }),
        replace("meta-no-json", |bytes| bytes[0] = b'x'),
        replace("meta-other-id", |bytes| {
            bytes[IN_ID] = if bytes[IN_ID] == b'0' { b'1' } else { b'0' }
        }),
        replace("meta-no-id", |bytes| bytes[IN_ID] = b'!'),
        replace("meta-other-time", |bytes| {
            exchange(bytes, "\"created_at\":\"20", "\"created_at\":\"19")
        }),
        replace("meta-no-time", |bytes| {
            exchange(bytes, "\"created_at\":\"20", "\"created_at\":\"99999")
        }),
        replace("meta-long", |bytes| {
            bytes.splice(0..0, [b' '; 5000]).for_each(drop)
        }),
        replace("meta-deep", |bytes| *bytes = b"[".repeat(4000)),
        ("anchor-changed", Bytes(ANCHOR, |bytes| bytes[15] ^= 1)),
        ("anchor-short", Bytes(ANCHOR, |bytes| bytes.truncate(40))),
        ("anchor-long", Bytes(ANCHOR, |bytes| bytes.push(0))),
        ("anchor-forged", Bytes(ANCHOR, |bytes| bytes[56..].fill(7))),
    ]
}

/// A character of the vault's id in `vault.meta`.
const IN_ID: usize = "{\"version\":1,\"vault_id\":\"01234567".len();

fn exchange(bytes: &mut Vec<u8>, old: &str, new: &str) {
    let text = String::from_utf8_lossy(bytes);
    assert!(text.contains(old), "{text}");
    *bytes = text.replace(old, new).into_bytes();
}
