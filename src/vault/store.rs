//! Rows of `secrets`, sealed and opened.
//!
//! A row has two blobs: the entry (name and metadata), which lists read, and the values, which only `reveal` reads. The
//! entry holds the tag of its values, and its associated data binds the row's plain columns, so a row is authentic as a
//! whole or not at all.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, TransactionBehavior};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::change::Change;
use super::digest::{self, SetDigest};
use super::files::Header;
use super::keys::{Keys, place};
use super::record::{
    Entry, Field, FieldInfo, Fields, InvalidSecret, Metadata, check, check_values,
};
use super::{VaultError, crypto};
use crate::crypto::{CryptoError, MAC_BYTES, OpenKey, TAG_BYTES};
use crate::name::SecretName;
use crate::secret::SecretBytes;

/// Longest wait for another process that is writing. Writers hold the lock for milliseconds.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Most findings that [`verify`] names.
const FAULTS_MAX: usize = 20;
const TAMPERED_ENTRY: VaultError = VaultError::Corrupted("a secret's record was changed");
const TAMPERED_VALUES: VaultError = VaultError::Corrupted("a secret's value was changed");

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
        let fault = fault_of(row, keys);
        faults.extend(fault.filter(|_| faults.len() < FAULTS_MAX));
    }
    Ok((count, faults))
}

fn fault_of(row: &Row, keys: &Keys) -> Option<Fault> {
    let sealed = SealedEntry::from_row(row).ok();
    let opened = sealed.and_then(|sealed| sealed.open(keys).ok());
    let values = row.get_ref(5).ok().and_then(|value| value.as_blob().ok());
    match opened.zip(values) {
        None => Some(Fault::Record),
        Some((opened, values)) => match opened.open_values(keys, values) {
            Ok(_) => None,
            Err(_) => Some(Fault::Value(opened.entry.name)),
        },
    }
}

/// All secrets, sorted by name.
pub(super) fn entries(connection: &Connection, keys: &Keys) -> Result<Vec<Entry>, VaultError> {
    let mut statement = connection
        .prepare_cached("SELECT id, name_index, created_at, updated_at, entry FROM secrets")?;
    let rows = statement.query_map([], SealedEntry::from_row)?;
    let record = OpenKey::new(&keys.record);
    let open = |parts: &[&[u8]], blob: &[u8]| record.open(parts, blob);
    let opened = rows.map(|row| Ok(row?.open_with(keys, open)?.entry));
    let mut entries = opened.collect::<Result<Vec<Entry>, VaultError>>()?;
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

pub(super) fn entry(
    connection: &Connection,
    keys: &Keys,
    name: &SecretName,
) -> Result<Option<Entry>, VaultError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name_index, created_at, updated_at, entry FROM secrets WHERE name_index = ?1",
    )?;
    let index = name_index(keys, name);
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
        .query_row([name_index(keys, name)], read)
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
        Ok(statement.exists([name_index(self.keys, name)])?)
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
        let index = name_index(self.keys, name);
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
        let index = name_index(self.keys, &entry.name);
        let values = seal_values(self.keys, &id, fields)?;
        let sealed_entry = seal_entry(self.keys, &id, &index, entry, &values)?;
        self.replace_in_digest(
            &index,
            Some(SetDigest::of_row(self.keys, &id, &sealed_entry)),
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
            Ok(SetDigest::of_row(self.keys, &id, &entry))
        };
        let old = statement.query_row([index], stored).optional()?;
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
        let index = name_index(new, &opened.entry.name);
        let values = seal_values(new, &id, &fields)?;
        let entry = seal_entry(new, &id, &index, &opened.entry, &values)?;
        digest = digest.plus(SetDigest::of_row(new, &id, &entry));
        write.execute((id, index, entry, values))?;
    }
    digest.write(connection, new)
}

/// The random id of a row: what binds its two blobs to it.
type RowId = [u8; 16];
type Index = [u8; MAC_BYTES];

fn name_index(keys: &Keys, name: &SecretName) -> Index {
    crypto::mac(&keys.index, &[name.as_str().as_bytes()])
}

struct SealedEntry {
    id: RowId,
    index: Index,
    created_at: i64,
    updated_at: i64,
    blob: Vec<u8>,
}

struct OpenedEntry {
    id: RowId,
    entry: Entry,
    /// The tag of the values that belong to this entry.
    values_tag: [u8; TAG_BYTES],
}

/// What the entry's blob holds behind the tag of the values.
#[derive(Serialize, Deserialize)]
struct EntryBody {
    name: SecretName,
    metadata: Metadata,
}

impl SealedEntry {
    fn from_row(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            index: row.get(1)?,
            created_at: row.get(2)?,
            updated_at: row.get(3)?,
            blob: row.get(4)?,
        })
    }

    fn open(self, keys: &Keys) -> Result<OpenedEntry, VaultError> {
        self.open_with(keys, |parts, blob| crypto::open(&keys.record, parts, blob))
    }

    fn open_with(
        self,
        keys: &Keys,
        open: impl FnOnce(&[&[u8]], &[u8]) -> Result<SecretBytes, CryptoError>,
    ) -> Result<OpenedEntry, VaultError> {
        let Self {
            id,
            index,
            created_at,
            updated_at,
            blob,
        } = self;
        let opened = with_entry_place(keys, &id, &index, (created_at, updated_at), |parts| {
            open(parts, &blob).map_err(|_| TAMPERED_ENTRY)
        })?;
        let (tag, body) = opened
            .expose()
            .split_first_chunk::<TAG_BYTES>()
            .ok_or(TAMPERED_ENTRY)?;
        let EntryBody { name, metadata } =
            serde_json::from_slice(body).map_err(|_| TAMPERED_ENTRY)?;
        let entry = Entry {
            name,
            metadata,
            created_at,
            updated_at,
        };
        Ok(OpenedEntry {
            id,
            entry,
            values_tag: *tag,
        })
    }
}

impl OpenedEntry {
    fn open_values(&self, keys: &Keys, blob: &[u8]) -> Result<Fields, VaultError> {
        if blob.last_chunk() != Some(&self.values_tag) {
            return Err(TAMPERED_VALUES);
        }
        let opened = crypto::open(&keys.record, &values_place(keys, &self.id), blob)
            .map_err(|_| TAMPERED_VALUES)?;
        let values = split_values(opened.expose()).ok_or(TAMPERED_VALUES)?;
        let infos = &self.entry.metadata.fields;
        if values.len() != infos.len() {
            return Err(TAMPERED_VALUES);
        }
        let field = |(info, value): (&FieldInfo, SecretBytes)| Field {
            name: info.name.clone(),
            sensitive: info.sensitive,
            value,
        };
        Ok(Fields(infos.iter().zip(values).map(field).collect()))
    }
}

fn seal_entry(
    keys: &Keys,
    id: &RowId,
    index: &Index,
    entry: &Entry,
    values: &[u8],
) -> Result<Vec<u8>, VaultError> {
    let body = EntryBody {
        name: entry.name.clone(),
        metadata: entry.metadata.clone(),
    };
    let mut plaintext = Zeroizing::new(values[values.len().saturating_sub(TAG_BYTES)..].to_vec());
    serde_json::to_writer(&mut *plaintext, &body).map_err(|_| CryptoError::TooLong)?;
    with_entry_place(
        keys,
        id,
        index,
        (entry.created_at, entry.updated_at),
        |parts| Ok(crypto::seal(&keys.record, parts, &plaintext)?),
    )
}

fn with_entry_place<T>(
    keys: &Keys,
    id: &RowId,
    index: &Index,
    (created_at, updated_at): (i64, i64),
    use_parts: impl FnOnce(&[&[u8]]) -> T,
) -> T {
    let (created_at, updated_at) = (created_at.to_be_bytes(), updated_at.to_be_bytes());
    let columns = [index.as_slice(), &created_at, &updated_at];
    use_parts(
        &[
            place(&keys.vault_id, "secrets", id, "entry").as_slice(),
            &columns,
        ]
        .concat(),
    )
}

fn values_place<'a>(keys: &'a Keys, id: &'a RowId) -> [&'a [u8]; 6] {
    place(&keys.vault_id, "secrets", id, "value")
}

/// The values one behind the other, each preceded by its length in four bytes (big-endian).
fn seal_values(keys: &Keys, id: &RowId, fields: &Fields) -> Result<Vec<u8>, VaultError> {
    // Room for all of it from the start: a vector that grows leaves copies behind.
    let room = fields
        .iter()
        .map(|field| LENGTH_BYTES + field.value.len())
        .sum();
    let mut plaintext = Zeroizing::new(Vec::with_capacity(room));
    for Field { name, value, .. } in fields {
        let length =
            u32::try_from(value.len()).map_err(|_| InvalidSecret::ValueTooLong(name.clone()))?;
        plaintext.extend_from_slice(&length.to_be_bytes());
        plaintext.extend_from_slice(value.expose());
    }
    Ok(crypto::seal(
        &keys.record,
        &values_place(keys, id),
        &plaintext,
    )?)
}

const LENGTH_BYTES: usize = size_of::<u32>();

fn split_values(mut rest: &[u8]) -> Option<Vec<SecretBytes>> {
    let mut values = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<LENGTH_BYTES>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (value, behind) = behind.split_at_checked(length)?;
        values.push(SecretBytes::from_vec(value.to_vec()));
        rest = behind;
    }
    rest.is_empty().then_some(values)
}
