//! Rows of `secrets`, sealed and opened.
//!
//! A row has two blobs: the entry (name and metadata), which lists read, and the values, which only `reveal` reads. The
//! entry holds the tag of its values, and its associated data binds the row's plain columns, so a row is authentic as a
//! whole or not at all.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, TransactionBehavior};

use super::change::Change;
use super::digest::{self, SetDigest};
use super::files::Header;
use super::keys::Keys;
use super::record::{Entry, Fields, Metadata, check, check_values};
use super::sealed::{Index, OpenedEntry, RowId, SealedEntry, name_index, seal_entry, seal_values};
use super::{VaultError, crypto};
use crate::crypto::OpenKey;
use crate::name::SecretName;

/// Longest wait for another process that is writing. Writers hold the lock for milliseconds.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Rows that are worked on at once, so that keys that are elsewhere are not asked for one by one.
pub(super) const BATCH_ROWS: usize = 256;
/// Sealed entries that are kept open in memory, in bytes: of some ten thousand secrets.
const KNOWN_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Most findings that [`verify`] names.
const FAULTS_MAX: usize = 20;

/// Opens the database file, which must exist.
pub(super) fn connect(path: &Path) -> Result<Connection, VaultError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // The file may have been written by someone else: nothing in its schema is run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    // `fullfsync` makes macOS flush the disk's own cache too; other systems ignore it.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA foreign_keys = ON;
         PRAGMA secure_delete = ON;
         PRAGMA cell_size_check = ON;
         PRAGMA mmap_size = 0;
         PRAGMA temp_store = MEMORY;",
    )?;
    Ok(connection)
}

/// Opens every record and every value. Gives their number and what is wrong, at most [`FAULTS_MAX`] findings.
pub(super) fn verify(
    connection: &Connection,
    keys: &Keys,
) -> Result<(usize, Vec<Fault>), VaultError> {
    let mut statement = connection.prepare(
        "SELECT id, name_index, created_at, updated_at, entry, value FROM secrets ORDER BY rowid",
    )?;
    let mut rows = statement.query([])?;
    let (mut count, mut faults) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        count += 1;
        let fault = fault_of(row, keys)?;
        faults.extend(fault.filter(|_| faults.len() < FAULTS_MAX));
    }
    Ok((count, faults))
}

fn fault_of(row: &Row, keys: &Keys) -> Result<Option<Fault>, VaultError> {
    let sealed = SealedEntry::from_row(row).ok();
    let opened = sealed
        .map(|sealed| if_whole(sealed.open(keys)))
        .transpose()?;
    let values = row.get_ref(5).ok().and_then(|value| value.as_blob().ok());
    let Some((opened, values)) = opened.flatten().zip(values) else {
        return Ok(Some(Fault::Record));
    };
    Ok(match if_whole(opened.open_values(keys, values))? {
        Some(_) => None,
        None => Some(Fault::Value(opened.entry.name)),
    })
}

/// What was opened; none if it was changed.
fn if_whole<T>(opened: Result<T, VaultError>) -> Result<Option<T>, VaultError> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(VaultError::Corrupted(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All entries as they were read last, for as long as no secret changes: to open each of a thousand takes milliseconds.
#[derive(Default)]
pub(super) struct Known {
    /// The row that is another one after each change of the set.
    set: Vec<u8>,
    entries: Vec<Entry>,
}

impl Known {
    /// All secrets, sorted by name.
    pub(super) fn entries(
        &mut self,
        connection: &Connection,
        keys: &Keys,
    ) -> Result<Vec<Entry>, VaultError> {
        // One state for both, while other processes write.
        let begin = || connection.unchecked_transaction();
        let _snapshot = connection.is_autocommit().then(begin).transpose()?;
        let set = digest::stored(connection)?.unwrap_or_default();
        if set.is_empty() || set != self.set {
            let (entries, bytes) = entries(connection, keys)?;
            if bytes > KNOWN_MAX_BYTES {
                return Ok(entries);
            }
            *self = Self { set, entries };
        }
        Ok(self.entries.clone())
    }
}

/// All secrets, sorted by name, and how long their entries are.
pub(super) fn entries(
    connection: &Connection,
    keys: &Keys,
) -> Result<(Vec<Entry>, usize), VaultError> {
    let mut statement = connection
        .prepare_cached("SELECT id, name_index, created_at, updated_at, entry FROM secrets")?;
    let mut rows = statement.query_map([], SealedEntry::from_row)?;
    let record = OpenKey::new(&keys.record);
    let (mut entries, mut bytes) = (Vec::new(), 0);
    loop {
        let sealed = rows.by_ref().take(BATCH_ROWS);
        let sealed = sealed.collect::<Result<Vec<SealedEntry>, _>>()?;
        if sealed.is_empty() {
            break;
        }
        bytes += sealed.iter().map(|sealed| sealed.blob.len()).sum::<usize>();
        open_all(keys, &record, sealed, &mut entries)?;
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok((entries, bytes))
}

fn open_all(
    keys: &Keys,
    record: &OpenKey,
    sealed: Vec<SealedEntry>,
    entries: &mut Vec<Entry>,
) -> Result<(), VaultError> {
    let place = |sealed: &SealedEntry| sealed.with_place(keys, crypto::framed);
    let blobs: Vec<_> = sealed.iter().map(|one| (place(one), &*one.blob)).collect();
    let opened = record.open_all(&blobs)?;
    for (sealed, opened) in sealed.iter().zip(opened) {
        entries.push(sealed.opened(opened)?.entry);
    }
    Ok(())
}

pub(super) fn entry(
    connection: &Connection,
    keys: &Keys,
    name: &SecretName,
) -> Result<Option<Entry>, VaultError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name_index, created_at, updated_at, entry FROM secrets WHERE name_index = ?1",
    )?;
    let index = name_index(keys, name)?;
    let sealed = statement
        .query_row([index], SealedEntry::from_row)
        .optional()?;
    sealed
        .map(|sealed| Ok(sealed.open(keys)?.entry))
        .transpose()
}

pub(super) fn reveal(
    connection: &Connection,
    keys: &Keys,
    name: &SecretName,
) -> Result<Option<Fields>, VaultError> {
    Ok(whole_row(connection, keys, name)?.map(|(_, fields)| fields))
}

/// Both blobs in one query: they are of one state, whatever other processes write meanwhile.
fn whole_row(
    connection: &Connection,
    keys: &Keys,
    name: &SecretName,
) -> Result<Option<(OpenedEntry, Fields)>, VaultError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name_index, created_at, updated_at, entry, value FROM secrets WHERE name_index = ?1",
    )?;
    let read = |row: &Row| Ok((SealedEntry::from_row(row)?, row.get::<_, Vec<u8>>(5)?));
    let Some((sealed, values)) = statement
        .query_row([name_index(keys, name)?], read)
        .optional()?
    else {
        return Ok(None);
    };
    let opened = sealed.open(keys)?;
    let fields = opened.open_values(keys, &values)?;
    Ok(Some((opened, fields)))
}

/// A secret that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// What its row holds beside the value, so that nobody knows its name.
    #[error("a secret's record was changed")]
    Record,
    /// Its value.
    #[error("the value of secret {0} was changed")]
    Value(SecretName),
}

/// A change of the vault that others see when it is committed, whole. Dropped, it never was.
pub struct Transaction<'a> {
    transaction: rusqlite::Transaction<'a>,
    keys: &'a Keys,
    header: &'a Header,
    set_before: Vec<u8>,
}

/// What [`Transaction::set`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// The secret is new.
    Created,
    /// The secret was there.
    Updated,
}

/// What [`Transaction::rename`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renamed {
    /// The secret has its new name.
    Done,
    /// There is no secret of the old name.
    Missing,
    /// There is a secret of the new name; nothing is changed.
    Taken,
}

impl<'a> Transaction<'a> {
    pub(super) fn begin(
        connection: &'a Connection,
        keys: &'a Keys,
        header: &'a Header,
    ) -> Result<Self, VaultError> {
        let transaction =
            rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        keys.require_current(&transaction)?;
        let set_before = digest::stored(&transaction)?.unwrap_or_default();
        Ok(Self {
            transaction,
            keys,
            header,
            set_before,
        })
    }

    pub(super) fn keys(&self) -> &Keys {
        self.keys
    }

    pub(super) fn header(&self) -> &Header {
        self.header
    }

    /// Creates the secret, or changes what `change` gives. `now` is in unix seconds.
    ///
    /// # Errors
    /// [`VaultError::Invalid`] if the secret would break a rule; nothing is changed then.
    pub fn set(&self, name: &SecretName, change: Change, now: i64) -> Result<Stored, VaultError> {
        let (id, created_at, mut metadata, fields, stored) =
            match whole_row(&self.transaction, self.keys, name)? {
                Some((OpenedEntry { id, entry, .. }, fields)) => (
                    id,
                    entry.created_at,
                    entry.metadata,
                    fields,
                    Stored::Updated,
                ),
                None => (
                    crypto::random()?,
                    now,
                    Metadata::default(),
                    Fields(Vec::new()),
                    Stored::Created,
                ),
            };
        let fields = change.apply(&mut metadata, fields, now)?;
        let entry = Entry {
            name: name.clone(),
            metadata,
            created_at,
            updated_at: now,
        };
        self.write(id, &entry, &fields)?;
        Ok(stored)
    }

    /// Stores a secret as it was kept elsewhere, with its own times, in place of one of the same name. It may have expired.
    ///
    /// # Errors
    /// [`VaultError::Invalid`] if it breaks a rule; nothing is changed then.
    pub fn put(&self, entry: &Entry, fields: &Fields) -> Result<Stored, VaultError> {
        check(&entry.metadata)?;
        check_values(fields.iter().map(|field| (&field.name, &field.value)))?;
        let (id, stored) = match whole_row(&self.transaction, self.keys, &entry.name)? {
            Some((OpenedEntry { id, .. }, _)) => (id, Stored::Updated),
            None => (crypto::random()?, Stored::Created),
        };
        self.write(id, entry, fields)?;
        Ok(stored)
    }

    /// Whether there is a secret of that name.
    ///
    /// # Errors
    /// [`VaultError::Database`].
    pub fn contains(&self, name: &SecretName) -> Result<bool, VaultError> {
        let query = "SELECT 1 FROM secrets WHERE name_index = ?1";
        let mut statement = self.transaction.prepare_cached(query)?;
        Ok(statement.exists([name_index(self.keys, name)?])?)
    }

    /// Gives a secret another name. `now` is in unix seconds.
    ///
    /// # Errors
    /// [`VaultError::Database`], [`VaultError::Corrupted`].
    pub fn rename(
        &self,
        old: &SecretName,
        new: &SecretName,
        now: i64,
    ) -> Result<Renamed, VaultError> {
        let Some((opened, fields)) = whole_row(&self.transaction, self.keys, old)? else {
            return Ok(Renamed::Missing);
        };
        if self.contains(new)? {
            return Ok(Renamed::Taken);
        }
        self.delete(old)?;
        let entry = Entry {
            name: new.clone(),
            updated_at: now,
            ..opened.entry
        };
        self.write(opened.id, &entry, &fields)?;
        Ok(Renamed::Done)
    }

    /// Deletes the secret. Says whether it was there.
    ///
    /// # Errors
    /// [`VaultError::Database`].
    pub fn delete(&self, name: &SecretName) -> Result<bool, VaultError> {
        let index = name_index(self.keys, name)?;
        let delete = "DELETE FROM secrets WHERE name_index = ?1";
        self.replace_in_digest(&index, None)?;
        Ok(self.transaction.prepare_cached(delete)?.execute([index])? > 0)
    }

    /// The sealed digest of the set as the transaction found it, which the audit log compares with what its last record left.
    pub(crate) fn set_before(&self) -> &[u8] {
        &self.set_before
    }

    /// The connection within the transaction, for the audit record of this change.
    pub(crate) fn connection(&self) -> &Connection {
        &self.transaction
    }

    /// Makes the change durable. Only the audit log calls this, after it has added its record.
    pub(crate) fn commit(self) -> Result<(), rusqlite::Error> {
        self.transaction.commit()
    }

    fn write(&self, id: RowId, entry: &Entry, fields: &Fields) -> Result<(), VaultError> {
        let index = name_index(self.keys, &entry.name)?;
        let values = seal_values(self.keys, &id, fields)?;
        let sealed_entry = seal_entry(self.keys, &id, &index, entry, &values)?;
        self.replace_in_digest(
            &index,
            Some(SetDigest::of_row(self.keys, &id, &sealed_entry)?),
        )?;
        let mut statement = self.transaction.prepare_cached(
            "INSERT OR REPLACE INTO secrets (id, name_index, created_at, updated_at, entry, value)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        statement.execute((
            id,
            index,
            entry.created_at,
            entry.updated_at,
            sealed_entry,
            values,
        ))?;
        Ok(())
    }

    /// Takes the stored row, if there is one, out of the digest of the set, and puts the new one in.
    fn replace_in_digest(&self, index: &Index, new: Option<SetDigest>) -> Result<(), VaultError> {
        let query = "SELECT id, entry FROM secrets WHERE name_index = ?1";
        let mut statement = self.transaction.prepare_cached(query)?;
        let stored = |row: &Row| {
            let (id, entry): (RowId, Vec<u8>) = (row.get(0)?, row.get(1)?);
            Ok((id, entry))
        };
        let old = statement.query_row([index], stored).optional()?;
        let old = old.map(|(id, entry)| SetDigest::of_row(self.keys, &id, &entry));
        let old = old.transpose()?;
        let others =
            SetDigest::read(&self.transaction, self.keys)?.minus(old.unwrap_or(SetDigest::EMPTY));
        others
            .plus(new.unwrap_or(SetDigest::EMPTY))
            .write(&self.transaction, self.keys)
    }
}

/// Seals every row under new keys, one by one. The set is compared with its digest first: a new digest would vouch for what
/// somebody removed or set back.
pub(super) fn seal_all_again(
    connection: &Connection,
    old: &Keys,
    new: &Keys,
) -> Result<(), VaultError> {
    digest::verify(connection, old)?;
    let mut ids = connection.prepare("SELECT id FROM secrets")?;
    let ids = ids.query_map([], |row| row.get(0))?;
    let ids = ids.collect::<Result<Vec<RowId>, _>>()?;
    let mut read = connection.prepare(
        "SELECT id, name_index, created_at, updated_at, entry, value FROM secrets WHERE id = ?1",
    )?;
    let mut write = connection
        .prepare("UPDATE secrets SET name_index = ?2, entry = ?3, value = ?4 WHERE id = ?1")?;
    let mut digest = SetDigest::EMPTY;
    for id in ids {
        let sealed = |row: &Row| Ok((SealedEntry::from_row(row)?, row.get::<_, Vec<u8>>(5)?));
        let (sealed, values) = read.query_row([id], sealed)?;
        let opened = sealed.open(old)?;
        let fields = opened.open_values(old, &values)?;
        let index = name_index(new, &opened.entry.name)?;
        let values = seal_values(new, &id, &fields)?;
        let entry = seal_entry(new, &id, &index, &opened.entry, &values)?;
        digest = digest.plus(SetDigest::of_row(new, &id, &entry)?);
        write.execute((id, index, entry, values))?;
    }
    digest.write(connection, new)
}
