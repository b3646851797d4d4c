//! The tamper-evident log, in the vault's own database.
//!
//! Each record carries an HMAC over itself and the record before it, and the head (number and HMAC of the last record) is
//! sealed in `metadata` in the same transaction. What a change of the vault and its record have in common is that one
//! transaction: [`Log::record`] is what commits it. Reading the head and writing the next record happen under SQLite's
//! write lock, so several processes append to one chain.
//!
//! This module cannot name a secret's value: it does not use the module that has the type.

#![forbid(unsafe_code)]

mod chain;
mod entry;
mod filter;
mod follow;
mod prune;
mod read;
mod verify;

#[cfg(test)]
mod tests;

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use ulid::Ulid;

use crate::crypto::{self, CryptoError, Key};

use chain::{Head, Row};

pub use entry::{Action, Detail, Entry, Module, Outcome, Pruned, Redaction, Source};
pub use filter::{Actions, Filter};
pub use follow::{Followed, Follower};
pub use prune::{RETENTION_MIN_SECONDS, empty_journal};
pub use read::{Export, Record};
pub use verify::{PROBLEMS_MAX, Problem, Report};

/// Longest details of one record, in bytes: a command line of the usual limits, and one cannot fill the disk.
pub const DETAIL_MAX_BYTES: usize = 1024 * 1024;

/// Why a record was not written or the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The database cannot be read or written.
    #[error("the audit log's database: {0}")]
    Database(#[from] rusqlite::Error),
    /// The head of the chain is missing.
    #[error("the head of the audit log is missing")]
    NoHead,
    /// The head of the chain was changed by someone without the keys.
    #[error("the head of the audit log was changed")]
    ForgedHead,
    /// The details of a record are too long.
    #[error("the details of an audit record have more than {DETAIL_MAX_BYTES} bytes")]
    DetailTooLong,
    /// Records that were to be removed are not as they were written. They are evidence, and stay.
    #[error("nothing was removed: {0}")]
    NotPruned(Problem),
    /// Records would be kept for less than a day.
    #[error("records are kept for a day at least")]
    RetentionTooShort,
    /// The log that is followed has become shorter: an earlier state of the vault was put back.
    #[error("the log was set back from record {from} to {to}")]
    SetBack {
        /// The last record that was seen.
        from: i64,
        /// The last record now.
        to: i64,
    },
    /// The log that is followed goes on under a key that this process does not have.
    #[error("the log goes on under a new key, which this process does not have")]
    NewKey,
    /// A formula failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// What the log is kept with. Comes from the vault.
pub struct Keys {
    /// The vault the log belongs to.
    pub vault_id: [u8; 16],
    /// The chain's keys; new records get the last one, its index is the epoch. At least one.
    pub epochs: Vec<Key>,
    /// Seals the details of a record.
    pub detail: Key,
    /// Makes the fingerprints of names.
    pub fingerprint: Key,
    /// Seals the head of the chain.
    pub head: Key,
}

/// An open change of the vault, which becomes durable together with its record.
pub trait Commit {
    /// The connection, within the transaction. The transaction holds the write lock.
    fn connection(&self) -> &Connection;
    /// Commits and waits for the disk.
    ///
    /// # Errors
    /// What the database said; nothing was changed then.
    fn commit(self) -> Result<(), rusqlite::Error>;
}

/// A record that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordId {
    /// Its place in the chain, from 1.
    pub sequence: i64,
    /// Its ULID.
    pub id: String,
}

/// Proof that a record about the subject is on the disk. Only [`Log::record`] makes one.
#[must_use]
pub struct Recorded<T> {
    subject: T,
    id: RecordId,
}

impl<T> Recorded<T> {
    /// What was recorded.
    pub fn get(&self) -> &T {
        &self.subject
    }

    /// The record.
    pub fn id(&self) -> &RecordId {
        &self.id
    }

    /// What was recorded, without the proof.
    pub fn into_inner(self) -> T {
        self.subject
    }
}

/// The log of one vault.
pub struct Log {
    keys: Keys,
}

impl Log {
    /// The log that is kept with these keys.
    pub fn new(keys: Keys) -> Self {
        Self { keys }
    }

    /// Creates the empty log in a new vault, within the transaction that will record the making of the vault.
    ///
    /// # Errors
    /// [`AuditError::Database`], also if there is a log already.
    pub fn install(&self, connection: &Connection) -> Result<(), AuditError> {
        connection.execute_batch(chain::SCHEMA)?;
        Head::EMPTY.write(connection, &self.keys)
    }

    /// Adds the record to the transaction and commits it. When this returns, both are on the disk.
    ///
    /// # Errors
    /// Any; then neither the record nor the change it is about has happened.
    pub fn record<T, C: Commit>(
        &self,
        transaction: C,
        entry: &Entry,
        subject: T,
    ) -> Result<Recorded<T>, AuditError> {
        let id = self.append(transaction.connection(), entry, now_ns())?;
        transaction.commit()?;
        Ok(Recorded { subject, id })
    }

    fn append(
        &self,
        connection: &Connection,
        entry: &Entry,
        time_ns: i64,
    ) -> Result<RecordId, AuditError> {
        let head = Head::read(connection, &self.keys)?;
        let sequence = head.sequence + 1;
        let id = new_id(time_ns)?;
        let epoch = self.keys.epochs.len().saturating_sub(1);
        let detail = entry.seal_detail(&self.keys, sequence, &id)?;
        let row = Row {
            sequence,
            id: id.as_bytes(),
            time_ns,
            action: entry.action.as_str().as_bytes(),
            source: entry.source.as_str().as_bytes(),
            result: entry.outcome.as_str().as_bytes(),
            keys: &entry.fingerprints(&self.keys),
            epoch: i64::try_from(epoch).unwrap_or(i64::MAX),
            detail: &detail,
            prev_hash: &head.hash,
        };
        let hash = row.hash(&self.keys).ok_or(CryptoError::NotAuthentic)?;
        row.insert(connection, &hash)?;
        let head = Head {
            sequence,
            hash,
            ..head
        };
        head.write(connection, &self.keys)?;
        Ok(RecordId { sequence, id })
    }
}

/// One state of the database for several queries, while other processes write. None within a transaction, which has one.
fn snapshot(connection: &Connection) -> rusqlite::Result<Option<rusqlite::Transaction<'_>>> {
    let begin = || connection.unchecked_transaction();
    connection.is_autocommit().then(begin).transpose()
}

/// Nanoseconds since 1970, UTC: lasts until 2262.
fn now_ns() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn new_id(time_ns: i64) -> Result<String, CryptoError> {
    let random = u128::from_be_bytes(crypto::random()?);
    let time_ms = u64::try_from(time_ns / 1_000_000).unwrap_or_default();
    Ok(Ulid::from_parts(time_ms, random).to_string())
}
