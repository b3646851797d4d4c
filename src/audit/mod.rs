//! The tamper-evident log, in the vault's own database.
//!
//! Each record carries an HMAC over itself and the record before it, and the head (number and HMAC of the last record) is
//! sealed in `metadata` in the same transaction. What a change of the vault and its record have in common is that one
//! transaction: [`Log::record`] is what commits it. Reading the head and writing the next record happen under SQLite's
//! write lock, so several processes append to one chain.
//!
//! This module cannot name a secret's value: it does not use the module that has the type.

#![forbid(unsafe_code)]

mod anchor;
mod cached;
mod chain;
mod entry;
mod epochs;
mod filter;
mod follow;
mod mark;
mod prune;
mod read;
mod verify;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use ulid::Ulid;

use crate::crypto::{self, CryptoError, Key};

use cached::CachedKey;
use chain::{Hash, Head, Row};

pub use anchor::{Anchor, AnchorState, Anchored};
pub use chain::SCHEMA;
pub use entry::{Action, Approval, Detail, Entry, Module, Outcome, Pruned, Redaction, Source};
pub use epochs::{Epoch, Epochs};
pub use filter::{Actions, Filter};
pub use follow::{Followed, Follower};
pub use mark::{HeadMark, InvalidMark, Marked};
pub use prune::RETENTION_MIN_SECONDS;
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
    /// The newest key and the head are not of one time.
    #[error("the keys of the audit log and its head are of different master passwords")]
    OtherEpoch,
    /// While this process ran, an earlier state of the vault was put in its place.
    #[error(
        "an earlier state of the vault was put back: its log no longer has record {known} as it was"
    )]
    OtherCourse {
        /// The last record that this process knows.
        known: i64,
    },
    /// The secrets are not those that the head was written with.
    #[error(
        "the secrets are not those of the audit log's last record: they or the log were set back"
    )]
    OtherSet,
    /// The keys that the head tells of cannot be read.
    #[error("the audit log: {0}")]
    Epochs(#[source] Box<dyn std::error::Error + Send + Sync>),
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
    /// Those of the records.
    pub epochs: Epochs,
    /// Seals the head of the chain.
    head: CachedKey<Head>,
    /// Authenticates the anchor.
    anchor: CachedKey<Anchored>,
}

impl Keys {
    /// The keys of a vault's log: `head` seals the head of the chain, `anchor` authenticates the anchor.
    pub fn new(vault_id: [u8; 16], epochs: Epochs, head: Key, anchor: Key) -> Self {
        Self {
            vault_id,
            epochs,
            head: head.into(),
            anchor: anchor.into(),
        }
    }
}

/// An open change of the vault, which becomes durable together with its record.
pub trait Commit {
    /// The connection, within the transaction. The transaction holds the write lock.
    fn connection(&self) -> &Connection;
    /// The keys of the records as they are stored within the transaction. Asked for when the head tells of newer ones than the
    /// log has: another process began an epoch.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn epochs(&self) -> Result<Vec<Epoch>, Box<dyn std::error::Error + Send + Sync>>;
    /// The row that changes with the set of secrets, as it was when the transaction began; empty if there was none.
    fn set_before(&self) -> &[u8];
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
    anchor: Option<Anchor>,
    /// The last record that this process has written or found at its entry.
    known: Mutex<Option<(i64, Hash)>>,
}

impl Log {
    /// The log that is kept with these keys.
    pub fn new(keys: Keys) -> Self {
        Self {
            keys,
            anchor: None,
            known: Mutex::new(None),
        }
    }

    /// Keeps the anchor up to date with each record from now on.
    pub fn with_anchor(self, anchor: Option<Anchor>) -> Self {
        Self { anchor, ..self }
    }

    /// The log under the keys that a new password has given it, within the transaction that changes it: the head is sealed again.
    ///
    /// # Errors
    /// Any; then the transaction is not to be committed.
    pub fn begin_epoch(&self, connection: &Connection, keys: Keys) -> Result<Self, AuditError> {
        let head = Head::read(connection, &self.keys)?;
        let epoch = keys.epochs.newest();
        Head { epoch, ..head }.write(connection, &keys)?;
        let anchor = self.anchor.clone();
        Ok(Self::new(keys).with_anchor(anchor))
    }

    /// Takes over the keys as they are stored now.
    pub fn learn(&self, epochs: Vec<Epoch>) {
        self.keys.epochs.replace(epochs);
    }

    /// Whether the newest key is that of the newest records, and the set of secrets that of the last one. One password's rows set
    /// back alone give older keys; all secrets set back with their digest are in themselves as they should be.
    ///
    /// # Errors
    /// [`AuditError::OtherEpoch`], [`AuditError::OtherSet`] if not; any that reading the head gives.
    pub fn require_one_time(&self, connection: &Connection) -> Result<(), AuditError> {
        let _snapshot = snapshot(connection)?;
        let head = Head::read(connection, &self.keys)?;
        if head.epoch != self.keys.epochs.newest() {
            return Err(AuditError::OtherEpoch);
        }
        match head.set == chain::stored_set_mark(connection)? {
            true => self.know(&head),
            false => return Err(AuditError::OtherSet),
        }
        Ok(())
    }

    /// Creates the empty log in a new vault, within the transaction that will record the making of the vault.
    ///
    /// # Errors
    /// [`AuditError::Database`], also if there is a log already.
    pub fn install(&self, connection: &Connection) -> Result<(), AuditError> {
        connection.execute_batch(chain::SCHEMA)?;
        let set = chain::stored_set_mark(connection)?;
        Head { set, ..Head::EMPTY }.write(connection, &self.keys)
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
        self.require_continuation(&transaction)?;
        let (id, head, time_ns) = self.append(transaction.connection(), entry, now_ns())?;
        transaction.commit()?;
        self.keep_in_mind(&head, time_ns);
        Ok(Recorded { subject, id })
    }

    /// As [`Log::record`], for a change that is too large for one record.
    ///
    /// # Errors
    /// As [`Log::record`].
    pub fn record_all<C: Commit>(
        &self,
        transaction: C,
        entries: &[Entry],
    ) -> Result<(), AuditError> {
        self.require_continuation(&transaction)?;
        let mut last = None;
        for entry in entries {
            last = Some(self.append(transaction.connection(), entry, now_ns())?);
        }
        transaction.commit()?;
        if let Some((_, head, time_ns)) = last {
            self.keep_in_mind(&head, time_ns);
        }
        Ok(())
    }

    /// Whether what the transaction found is what the last record left, and that comes after what this process knows: a new head would
    /// vouch for what was set back, and in the end the anchor as well.
    fn require_continuation<C: Commit>(&self, transaction: &C) -> Result<(), AuditError> {
        let head = Head::read(transaction.connection(), &self.keys)?;
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((sequence, hash)) = known
            && !mark::find(transaction.connection(), &head, sequence, &hash)?.is_fine()
        {
            return Err(AuditError::OtherCourse { known: sequence });
        }
        if head.epoch > self.keys.epochs.newest() {
            self.learn(transaction.epochs().map_err(AuditError::Epochs)?);
        }
        match head.set == chain::set_mark(transaction.set_before()) {
            true => Ok(()),
            false => Err(AuditError::OtherSet),
        }
    }

    fn know(&self, head: &Head) {
        let known = Some((head.sequence, head.hash));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn keep_in_mind(&self, head: &Head, time_ns: i64) {
        self.know(head);
        if let Some(anchor) = &self.anchor {
            // It may lag behind; that it cannot be written was said when the log was opened.
            let _ = anchor.advance(&self.keys, &Anchored::at(head, time_ns));
        }
    }

    fn append(
        &self,
        connection: &Connection,
        entry: &Entry,
        time_ns: i64,
    ) -> Result<(RecordId, Head, i64), AuditError> {
        let head = Head::read(connection, &self.keys)?;
        if head.epoch != self.keys.epochs.newest() {
            return Err(AuditError::OtherEpoch);
        }
        let keys = self
            .keys
            .epochs
            .get(head.epoch)
            .ok_or(AuditError::OtherEpoch)?;
        let sequence = head.sequence + 1;
        let id = new_id(time_ns)?;
        let detail = entry.seal_detail(&self.keys, &keys, sequence, &id)?;
        let row = Row {
            sequence,
            id: id.as_bytes(),
            time_ns,
            action: entry.action.as_str().as_bytes(),
            source: entry.source.as_str().as_bytes(),
            result: entry.outcome.as_str().as_bytes(),
            keys: &entry.fingerprints(&keys)?,
            epoch: head.epoch,
            detail: &detail,
            prev_hash: &head.hash,
        };
        let hash = row.hash(&self.keys)?;
        row.insert(connection, &hash)?;
        let head = Head {
            sequence,
            hash,
            set: chain::stored_set_mark(connection)?,
            ..head
        };
        head.write(connection, &self.keys)?;
        Ok((RecordId { sequence, id }, head, time_ns))
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
