//! The chain: what is hashed, and the sealed head.

use rusqlite::{Connection, OptionalExtension};

use super::{AuditError, Keys};
use crate::crypto::{self, MAC_BYTES};

/// Version of the canonical form, part of every hash.
const CHAIN_VERSION: &[u8] = b"secretctl audit 1";
/// The row of `metadata` (a table that the vault makes) with the sealed head.
const HEAD_ROW: &str = "audit_head";

pub(super) const SCHEMA: &str = "
    CREATE TABLE audit_log (
        sequence  INTEGER PRIMARY KEY,
        id        TEXT NOT NULL,
        time_ns   INTEGER NOT NULL,
        action    TEXT NOT NULL,
        source    TEXT NOT NULL,
        result    TEXT NOT NULL,
        keys      BLOB NOT NULL,
        epoch     INTEGER NOT NULL,
        detail    BLOB NOT NULL,
        prev_hash BLOB NOT NULL,
        hash      BLOB NOT NULL
    ) STRICT;
";

/// The columns in the order in which [`Row::read`] and [`stored_hash`] expect them.
pub(super) const COLUMNS: &str =
    "sequence, id, time_ns, action, source, result, keys, epoch, detail, prev_hash, hash";

pub(super) type Hash = [u8; MAC_BYTES];

/// A record as it is stored, without its hash. Texts are bytes: what was tampered with need not be UTF-8.
pub(super) struct Row<'a> {
    pub(super) sequence: i64,
    pub(super) id: &'a [u8],
    pub(super) time_ns: i64,
    pub(super) action: &'a [u8],
    pub(super) source: &'a [u8],
    pub(super) result: &'a [u8],
    pub(super) keys: &'a [u8],
    pub(super) epoch: i64,
    pub(super) detail: &'a [u8],
    pub(super) prev_hash: &'a [u8],
}

impl<'a> Row<'a> {
    pub(super) fn read(row: &'a rusqlite::Row) -> rusqlite::Result<Self> {
        let bytes = |column: usize| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_bytes()?);
        Ok(Self {
            sequence: row.get(0)?,
            id: bytes(1)?,
            time_ns: row.get(2)?,
            action: bytes(3)?,
            source: bytes(4)?,
            result: bytes(5)?,
            keys: bytes(6)?,
            epoch: row.get(7)?,
            detail: bytes(8)?,
            prev_hash: bytes(9)?,
        })
    }

    /// `HMAC-SHA256(audit key of the epoch, version, vault, every column)`; none if there is no such epoch.
    pub(super) fn hash(&self, keys: &Keys) -> Option<Hash> {
        self.with_parts(keys, crypto::mac)
    }

    pub(super) fn is_authentic(&self, keys: &Keys, hash: &[u8]) -> bool {
        self.with_parts(keys, |key, parts| crypto::mac_is_valid(key, parts, hash))
            .unwrap_or(false)
    }

    fn with_parts<T>(
        &self,
        keys: &Keys,
        use_parts: impl FnOnce(&crypto::Key, &[&[u8]]) -> T,
    ) -> Option<T> {
        let key = keys.epochs.get(usize::try_from(self.epoch).ok()?)?;
        let parts: [&[u8]; 12] = [
            CHAIN_VERSION,
            &keys.vault_id,
            &self.sequence.to_be_bytes(),
            self.id,
            &self.time_ns.to_be_bytes(),
            self.action,
            self.source,
            self.result,
            self.keys,
            &self.epoch.to_be_bytes(),
            self.detail,
            self.prev_hash,
        ];
        Some(use_parts(key, &parts))
    }

    pub(super) fn insert(&self, connection: &Connection, hash: &Hash) -> Result<(), AuditError> {
        let text = |bytes: &'a [u8]| rusqlite::types::ValueRef::Text(bytes);
        let statement = format!(
            "INSERT INTO audit_log ({COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)"
        );
        connection
            .prepare_cached(&statement)?
            .execute(rusqlite::params![
                self.sequence,
                rusqlite::types::ToSqlOutput::Borrowed(text(self.id)),
                self.time_ns,
                rusqlite::types::ToSqlOutput::Borrowed(text(self.action)),
                rusqlite::types::ToSqlOutput::Borrowed(text(self.source)),
                rusqlite::types::ToSqlOutput::Borrowed(text(self.result)),
                self.keys,
                self.epoch,
                self.detail,
                self.prev_hash,
                hash,
            ])?;
        Ok(())
    }
}

/// The hash as it is stored with the record.
pub(super) fn stored_hash<'a>(row: &'a rusqlite::Row) -> rusqlite::Result<&'a [u8]> {
    Ok(row.get_ref(10)?.as_blob()?)
}

/// The associated data of a record's sealed details.
pub(super) fn detail_place<'a>(
    keys: &'a Keys,
    sequence: &'a [u8; 8],
    id: &'a [u8],
) -> [&'a [u8]; 5] {
    [
        CHAIN_VERSION,
        &keys.vault_id,
        b"audit_log.detail",
        sequence,
        id,
    ]
}

/// The last record: how many there must be, and the last hash.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) sequence: i64,
    pub(super) hash: Hash,
}

impl Head {
    pub(super) const EMPTY: Self = Self {
        sequence: 0,
        hash: [0; MAC_BYTES],
    };

    pub(super) fn read(connection: &Connection, keys: &Keys) -> Result<Self, AuditError> {
        let mut statement =
            connection.prepare_cached("SELECT value FROM metadata WHERE name = ?1")?;
        let sealed: Option<Vec<u8>> = statement
            .query_row([HEAD_ROW], |row| row.get(0))
            .optional()?;
        let sealed = sealed.ok_or(AuditError::NoHead)?;
        let opened = crypto::open(&keys.head, &head_place(keys), &sealed)
            .map_err(|_| AuditError::ForgedHead)?;
        let (sequence, hash) = opened
            .expose()
            .split_first_chunk()
            .ok_or(AuditError::ForgedHead)?;
        let hash = hash.try_into().map_err(|_| AuditError::ForgedHead)?;
        Ok(Self {
            sequence: i64::from_be_bytes(*sequence),
            hash,
        })
    }

    pub(super) fn write(&self, connection: &Connection, keys: &Keys) -> Result<(), AuditError> {
        let head = [self.sequence.to_be_bytes().as_slice(), &self.hash].concat();
        let sealed = crypto::seal(&keys.head, &head_place(keys), &head)?;
        let statement = "INSERT OR REPLACE INTO metadata (name, value) VALUES (?1, ?2)";
        connection
            .prepare_cached(statement)?
            .execute((HEAD_ROW, sealed))?;
        Ok(())
    }
}

fn head_place(keys: &Keys) -> [&[u8]; 3] {
    [CHAIN_VERSION, &keys.vault_id, b"metadata.audit_head"]
}
