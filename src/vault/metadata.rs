//! The rows of `metadata`: one value for each name.

use rusqlite::{Connection, OptionalExtension};

use super::VaultError;

pub(super) fn read(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>, VaultError> {
    let query = "SELECT value FROM metadata WHERE name = ?1";
    let mut statement = connection.prepare_cached(query)?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

/// The row, or the fact that is wrong without it.
pub(super) fn required(
    connection: &Connection,
    name: &str,
    missing: &'static str,
) -> Result<Vec<u8>, VaultError> {
    read(connection, name)?.ok_or(VaultError::Corrupted(missing))
}

pub(super) fn write(connection: &Connection, name: &str, value: &[u8]) -> Result<(), VaultError> {
    let statement = "INSERT OR REPLACE INTO metadata (name, value) VALUES (?1, ?2)";
    connection
        .prepare_cached(statement)?
        .execute((name, value))?;
    Ok(())
}

pub(super) fn remove(connection: &Connection, name: &str) -> Result<(), VaultError> {
    connection.execute("DELETE FROM metadata WHERE name = ?1", [name])?;
    Ok(())
}
