//! The chain: what is hashed, and the sealed head.

use rusqlite::{Connection, OptionalExtension};

use super::{AuditError, Keys};
use crate::crypto::{self, Coded, CryptoError, MAC_BYTES, MacKey, TAG_BYTES};

/// Version of the canonical form, part of every hash.
const CHAIN_VERSION: &[u8] = b"secretctl audit 1";
/// The row of `metadata` (a table that the vault makes) with the sealed head.
const HEAD_ROW: &str = "audit_head";
/// The vault's row that changes with the set of secrets. The head knows which one it was written with.
const SET_ROW: &str = "secrets_digest";

/// The tables of the log, which stand in the database of the vault.
pub const SCHEMA: &str = "
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

/// Records that are judged at once by keys that are elsewhere.
const BATCH_RECORDS: usize = 256;

/// The columns in the order in which [`Row::read`] and [`stored_hash`] expect them.
pub(super) const COLUMNS: &str =
    "sequence, id, time_ns, action, source, result, keys, epoch, detail, prev_hash, hash";

pub(super) type Hash = [u8; MAC_BYTES];
type SetMark = [u8; TAG_BYTES];

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

    /// `HMAC-SHA256(audit key of the epoch, version, vault, every column)`.
    pub(super) fn hash(&self, keys: &Keys) -> Result<Hash, AuditError> {
        let epoch = keys.epochs.get(self.epoch).ok_or(AuditError::OtherEpoch)?;
        let mac = |parts: &[&[u8]]| crypto::mac(&epoch.chain, parts);
        Ok(self.with_parts(&keys.vault_id, mac)?)
    }

    pub(super) fn is_authentic(&self, checker: &Checker, hash: &[u8]) -> Result<bool, CryptoError> {
        let Some((_, key)) = checker.key(self.epoch) else {
            return Ok(false);
        };
        self.with_parts(&checker.vault_id, |parts| key.is_valid(parts, hash))
    }

    fn with_parts<T>(&self, vault_id: &[u8; 16], use_parts: impl FnOnce(&[&[u8]]) -> T) -> T {
        use_parts(&[
            CHAIN_VERSION,
            vault_id,
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
        ])
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

/// The chain's keys, made ready for many records.
pub(super) struct Checker {
    vault_id: [u8; 16],
    epochs: Vec<MacKey>,
}

impl Checker {
    pub(super) fn new(keys: &Keys) -> Self {
        Self {
            vault_id: keys.vault_id,
            epochs: keys
                .epochs
                .all()
                .iter()
                .map(|epoch| MacKey::new(&epoch.chain))
                .collect(),
        }
    }

    fn key(&self, epoch: i64) -> Option<(usize, &MacKey)> {
        let epoch = usize::try_from(epoch).ok()?;
        Some((epoch, self.epochs.get(epoch)?))
    }

    /// Of each record up to `last`, in their order, whether it is authentic. None where the keys are here, which takes no longer one by
    /// one.
    pub(super) fn verdicts(
        &self,
        connection: &Connection,
        last: i64,
    ) -> Result<Option<Vec<bool>>, AuditError> {
        if !self.epochs.iter().any(MacKey::is_elsewhere) {
            return Ok(None);
        }
        let query =
            format!("SELECT {COLUMNS} FROM audit_log WHERE sequence <= ?1 ORDER BY sequence");
        let mut statement = connection.prepare(&query)?;
        let mut rows = statement.query([last])?;
        let mut verdicts = Vec::new();
        // Records of one epoch follow each other.
        let mut batch = (0, Vec::new());
        while let Some(row) = rows.next()? {
            let coded = self.coded(row);
            let is_other = coded.as_ref().is_none_or(|(epoch, _)| *epoch != batch.0);
            if is_other || batch.1.len() == BATCH_RECORDS {
                self.judge(&mut batch, &mut verdicts)?;
            }
            match coded {
                None => verdicts.push(false),
                Some((epoch, coded)) => {
                    batch.0 = epoch;
                    batch.1.push(coded);
                }
            }
        }
        self.judge(&mut batch, &mut verdicts)?;
        Ok(Some(verdicts))
    }

    /// The epoch of a record, and what its hash is of; none if it cannot be a record of ours.
    fn coded(&self, row: &rusqlite::Row) -> Option<(usize, Coded)> {
        let (record, hash) = (Row::read(row).ok()?, stored_hash(row).ok()?);
        let (epoch, _) = self.key(record.epoch)?;
        let message = record.with_parts(&self.vault_id, crypto::framed);
        let code = hash.to_vec();
        Some((epoch, Coded { message, code }))
    }

    fn judge(
        &self,
        (epoch, coded): &mut (usize, Vec<Coded>),
        verdicts: &mut Vec<bool>,
    ) -> Result<(), AuditError> {
        if let Some(key) = self.epochs.get(*epoch) {
            verdicts.extend(key.are_valid(coded)?);
        }
        coded.clear();
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

/// Where the log begins: the last record that was pruned. Those before it are gone as well, so its number is also how
/// many were pruned in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) sequence: i64,
    pub(super) hash: Hash,
}

impl Checkpoint {
    /// Nothing was pruned.
    pub(super) const START: Self = Self {
        sequence: 0,
        hash: [0; MAC_BYTES],
    };
}

/// What must be true of the log: its last record, the epoch of the next, where it begins, and how long records are kept. It is one
/// sealed row, written with every record, so that none of this can be removed or set back without the rest; nor can the secrets.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) sequence: i64,
    pub(super) hash: Hash,
    pub(super) checkpoint: Checkpoint,
    /// In seconds; zero for ever.
    pub(super) retention_seconds: u64,
    /// The newest.
    pub(super) epoch: i64,
    /// The set of secrets, see [`set_mark`].
    pub(super) set: SetMark,
}

impl Head {
    pub(super) const EMPTY: Self = Self {
        sequence: Checkpoint::START.sequence,
        hash: Checkpoint::START.hash,
        checkpoint: Checkpoint::START,
        retention_seconds: 0,
        epoch: 0,
        set: [0; TAG_BYTES],
    };

    pub(super) fn read(connection: &Connection, keys: &Keys) -> Result<Self, AuditError> {
        let sealed = metadata(connection, HEAD_ROW)?.ok_or(AuditError::NoHead)?;
        keys.head.open(&sealed, |key| {
            let opened = crypto::open(key, &head_place(keys), &sealed);
            let opened = opened.map_err(|error| match error {
                CryptoError::NotAuthentic => AuditError::ForgedHead,
                other => other.into(),
            })?;
            Self::from_bytes(opened.expose()).ok_or(AuditError::ForgedHead)
        })
    }

    pub(super) fn write(&self, connection: &Connection, keys: &Keys) -> Result<(), AuditError> {
        let sealed = crypto::seal(keys.head.key(), &head_place(keys), &self.to_bytes())?;
        keys.head.made(&sealed, *self);
        let statement = "INSERT OR REPLACE INTO metadata (name, value) VALUES (?1, ?2)";
        connection
            .prepare_cached(statement)?
            .execute((HEAD_ROW, sealed))?;
        Ok(())
    }

    fn to_bytes(self) -> Vec<u8> {
        [
            self.sequence.to_be_bytes().as_slice(),
            &self.hash,
            &self.checkpoint.sequence.to_be_bytes(),
            &self.checkpoint.hash,
            &self.retention_seconds.to_be_bytes(),
            &self.epoch.to_be_bytes(),
            &self.set,
        ]
        .concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (sequence, rest) = bytes.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let (checkpoint_sequence, rest) = rest.split_first_chunk()?;
        let (checkpoint_hash, rest) = rest.split_first_chunk()?;
        let (retention_seconds, rest) = rest.split_first_chunk()?;
        let (epoch, set) = rest.split_first_chunk()?;
        Some(Self {
            sequence: i64::from_be_bytes(*sequence),
            hash: *hash,
            checkpoint: Checkpoint {
                sequence: i64::from_be_bytes(*checkpoint_sequence),
                hash: *checkpoint_hash,
            },
            retention_seconds: u64::from_be_bytes(*retention_seconds),
            epoch: i64::from_be_bytes(*epoch),
            set: set.try_into().ok()?,
        })
    }
}

/// What the head keeps of the row that changes with the set of secrets: the tag at its end, which is another with each change.
/// None of such a row is as good as an empty one.
pub(super) fn set_mark(row: &[u8]) -> SetMark {
    row.last_chunk().copied().unwrap_or_default()
}

/// The same of the row as it is stored now.
pub(super) fn stored_set_mark(connection: &Connection) -> Result<SetMark, AuditError> {
    let row = metadata(connection, SET_ROW)?;
    Ok(set_mark(&row.unwrap_or_default()))
}

fn metadata(connection: &Connection, name: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    let query = "SELECT value FROM metadata WHERE name = ?1";
    let mut statement = connection.prepare_cached(query)?;
    statement.query_row([name], |row| row.get(0)).optional()
}

fn head_place(keys: &Keys) -> [&[u8]; 3] {
    [CHAIN_VERSION, &keys.vault_id, b"metadata.audit_head"]
}
