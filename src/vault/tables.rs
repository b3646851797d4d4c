//! The tables, and whether they are all there is.

use rusqlite::Connection;

use super::VaultError;

const SCHEMA: &str = "
    CREATE TABLE metadata (
        name  TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE secrets (
        id         BLOB PRIMARY KEY,
        name_index BLOB NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        entry      BLOB NOT NULL,
        value      BLOB NOT NULL
    ) STRICT;
";

pub(super) fn create(connection: &Connection) -> Result<(), VaultError> {
    Ok(connection.execute_batch(SCHEMA)?)
}

/// Compares the tables with those of a vault and `others`, as they were made: nothing was added to them either.
pub(super) fn require(connection: &Connection, others: &str) -> Result<(), VaultError> {
    const OTHER: VaultError = VaultError::Corrupted(
        "a table, index, view or trigger of the database was added, removed or changed",
    );
    // What SQLite makes by itself, for a primary key, has no text.
    let mut statement =
        connection.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")?;
    let found = statement.query_map([], |row| row.get(0))?;
    let mut found = found.collect::<Result<Vec<String>, _>>()?;
    let mut expected: Vec<&str> = [SCHEMA, others].iter().flat_map(|of| tables(of)).collect();
    found.sort_unstable();
    expected.sort_unstable();
    match found == expected {
        true => Ok(()),
        false => Err(OTHER),
    }
}

/// The statements, as SQLite keeps them.
fn tables(schema: &str) -> impl Iterator<Item = &str> {
    let statements = schema.split(';').map(str::trim);
    statements.filter(|statement| !statement.is_empty())
}
