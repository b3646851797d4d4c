//! A row's two blobs, sealed and opened.

use rusqlite::Row;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::keys::{Keys, place};
use super::record::{Entry, Field, FieldInfo, Fields, InvalidSecret, Metadata};
use super::{VaultError, crypto};
use crate::crypto::{CryptoError, MAC_BYTES, TAG_BYTES};
use crate::name::SecretName;
use crate::secret::SecretBytes;

const TAMPERED_ENTRY: VaultError = VaultError::Corrupted("a secret's record was changed");
const TAMPERED_VALUES: VaultError = VaultError::Corrupted("a secret's value was changed");

/// The random id of a row: what binds its two blobs to it.
pub(super) type RowId = [u8; 16];
pub(super) type Index = [u8; MAC_BYTES];

pub(super) fn name_index(keys: &Keys, name: &SecretName) -> Result<Index, CryptoError> {
    crypto::mac(&keys.index, &[name.as_str().as_bytes()])
}

pub(super) struct SealedEntry {
    id: RowId,
    index: Index,
    created_at: i64,
    updated_at: i64,
    pub(super) blob: Vec<u8>,
}

pub(super) struct OpenedEntry {
    pub(super) id: RowId,
    pub(super) entry: Entry,
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
    pub(super) fn from_row(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            index: row.get(1)?,
            created_at: row.get(2)?,
            updated_at: row.get(3)?,
            blob: row.get(4)?,
        })
    }

    pub(super) fn open(&self, keys: &Keys) -> Result<OpenedEntry, VaultError> {
        let open = |parts: &[&[u8]]| crypto::open(&keys.record, parts, &self.blob);
        self.opened(self.with_place(keys, open))
    }

    pub(super) fn with_place<T>(&self, keys: &Keys, use_parts: impl FnOnce(&[&[u8]]) -> T) -> T {
        let times = (self.created_at, self.updated_at);
        with_entry_place(keys, &self.id, &self.index, times, use_parts)
    }

    /// The entry in what came out of the blob.
    pub(super) fn opened(
        &self,
        opened: Result<SecretBytes, CryptoError>,
    ) -> Result<OpenedEntry, VaultError> {
        let opened = opened.map_err(|error| VaultError::unopened(error, TAMPERED_ENTRY))?;
        let (tag, body) = opened
            .expose()
            .split_first_chunk::<TAG_BYTES>()
            .ok_or(TAMPERED_ENTRY)?;
        let EntryBody { name, metadata } =
            serde_json::from_slice(body).map_err(|_| TAMPERED_ENTRY)?;
        let entry = Entry {
            name,
            metadata,
            created_at: self.created_at,
            updated_at: self.updated_at,
        };
        Ok(OpenedEntry {
            id: self.id,
            entry,
            values_tag: *tag,
        })
    }
}

impl OpenedEntry {
    pub(super) fn open_values(&self, keys: &Keys, blob: &[u8]) -> Result<Fields, VaultError> {
        if blob.last_chunk() != Some(&self.values_tag) {
            return Err(TAMPERED_VALUES);
        }
        let opened = crypto::open(&keys.record, &values_place(keys, &self.id), blob)
            .map_err(|error| VaultError::unopened(error, TAMPERED_VALUES))?;
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

pub(super) fn seal_entry(
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
pub(super) fn seal_values(keys: &Keys, id: &RowId, fields: &Fields) -> Result<Vec<u8>, VaultError> {
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
