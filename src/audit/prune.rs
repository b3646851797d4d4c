//! Records removed from the start of the log, on purpose: by a person, or since they are kept only for so long.
//!
//! Only a start of the chain is removed, up to the first record that is not older than the moment given, so that a clock
//! that once went back takes nothing newer along. The head keeps where the log begins since, and the removal is itself a
//! record, in the same transaction.

use rusqlite::{Connection, OptionalExtension};

use super::chain::{Checkpoint, Head};
use super::entry::{Action, Detail, Entry, Outcome, Pruned, Source};
use super::{AuditError, Commit, Log, now_ns};

/// Shortest time for which records are kept, in seconds: a log that forgets at once is none.
pub const RETENTION_MIN_SECONDS: u64 = 24 * 60 * 60;

const SECOND_NS: i64 = 1_000_000_000;
/// Records stay this much longer, so that they are not removed at each unlocking.
const RETENTION_SLACK_NS: i64 = 24 * 60 * 60 * SECOND_NS;
/// Why records were removed, where nobody asked for it.
const RETENTION_REASON: &str = "retention";

impl Log {
    /// What [`Log::prune`] would remove.
    ///
    /// # Errors
    /// [`AuditError::Database`]; [`AuditError::NoHead`], [`AuditError::ForgedHead`].
    pub fn prunable(
        &self,
        connection: &Connection,
        before_ns: i64,
    ) -> Result<Option<Pruned>, AuditError> {
        Ok(prunable(
            connection,
            &Head::read(connection, &self.keys)?,
            before_ns,
        )?)
    }

    /// Removes the records before a moment, in nanoseconds since 1970, and records that. Gives what was removed, if
    /// anything was. The vault's journal may hold them until it is emptied.
    ///
    /// # Errors
    /// [`AuditError::NotPruned`] if one of these records is not as it was written; or any. Nothing has happened then.
    pub fn prune<C: Commit>(
        &self,
        transaction: C,
        before_ns: i64,
        source: Source,
    ) -> Result<Option<Pruned>, AuditError> {
        self.prune_for(transaction, before_ns, source, None)
    }

    /// The moment since which records are kept, in nanoseconds since 1970, if there are older ones by more than a day.
    /// Takes constant time.
    ///
    /// # Errors
    /// [`AuditError::NoHead`], [`AuditError::ForgedHead`], [`AuditError::Database`].
    pub fn outdated(&self, connection: &Connection) -> Result<Option<i64>, AuditError> {
        let Some(kept) = self.retention_seconds(connection)? else {
            return Ok(None);
        };
        let kept_ns = i64::try_from(kept)
            .unwrap_or(i64::MAX)
            .saturating_mul(SECOND_NS);
        let before_ns = now_ns().saturating_sub(kept_ns);
        let oldest = "SELECT time_ns FROM audit_log ORDER BY sequence LIMIT 1";
        let mut oldest = connection.prepare(oldest)?;
        let oldest: Option<i64> = oldest.query_row([], |row| row.get(0)).optional()?;
        let limit = before_ns.saturating_sub(RETENTION_SLACK_NS);
        Ok(oldest.filter(|oldest| *oldest < limit).map(|_| before_ns))
    }

    /// Removes the records that [`Log::outdated`] finds within the transaction: the owner may have set another time meanwhile.
    ///
    /// # Errors
    /// As [`Log::prune`].
    pub fn keep_retention<C: Commit>(
        &self,
        transaction: C,
        source: Source,
    ) -> Result<Option<Pruned>, AuditError> {
        match self.outdated(transaction.connection())? {
            Some(before_ns) => {
                self.prune_for(transaction, before_ns, source, Some(RETENTION_REASON))
            }
            None => Ok(None),
        }
    }

    /// How long records are kept, in seconds; none for ever.
    ///
    /// # Errors
    /// [`AuditError::NoHead`], [`AuditError::ForgedHead`], [`AuditError::Database`].
    pub fn retention_seconds(&self, connection: &Connection) -> Result<Option<u64>, AuditError> {
        let kept = Head::read(connection, &self.keys)?.retention_seconds;
        Ok(Some(kept).filter(|kept| *kept > 0))
    }

    /// Sets how long records are kept, in seconds, none for ever, and records that as `text`.
    ///
    /// # Errors
    /// [`AuditError::RetentionTooShort`]; or any. Nothing has happened then.
    pub fn set_retention<C: Commit>(
        &self,
        transaction: C,
        seconds: Option<u64>,
        text: String,
        source: Source,
    ) -> Result<(), AuditError> {
        if seconds.is_some_and(|seconds| seconds < RETENTION_MIN_SECONDS) {
            return Err(AuditError::RetentionTooShort);
        }
        let head = Head {
            retention_seconds: seconds.unwrap_or_default(),
            ..Head::read(transaction.connection(), &self.keys)?
        };
        head.write(transaction.connection(), &self.keys)?;
        let detail = Detail {
            retention: Some(text),
            ..Detail::default()
        };
        let entry = about_the_log(Action::AuditRetention, source, detail);
        self.record(transaction, &entry, ())?.into_inner();
        Ok(())
    }

    fn prune_for<C: Commit>(
        &self,
        transaction: C,
        before_ns: i64,
        source: Source,
        reason: Option<&str>,
    ) -> Result<Option<Pruned>, AuditError> {
        let connection = transaction.connection();
        let head = Head::read(connection, &self.keys)?;
        let Some(pruned) = prunable(connection, &head, before_ns)? else {
            return Ok(None);
        };
        let hash = self.verify_start(connection, head, pruned.last)?;
        connection.execute("DELETE FROM audit_log WHERE sequence <= ?1", [pruned.last])?;
        let checkpoint = Checkpoint {
            sequence: pruned.last,
            hash,
        };
        Head { checkpoint, ..head }.write(connection, &self.keys)?;
        let detail = Detail {
            pruned: Some(pruned.clone()),
            reason: reason.map(str::to_owned),
            ..Detail::default()
        };
        let entry = about_the_log(Action::AuditPrune, source, detail);
        Ok(Some(self.record(transaction, &entry, pruned)?.into_inner()))
    }
}

/// The records in front of the first one that is not older.
fn prunable(
    connection: &Connection,
    head: &Head,
    before_ns: i64,
) -> rusqlite::Result<Option<Pruned>> {
    let newer = "SELECT sequence FROM audit_log WHERE time_ns >= ?1 ORDER BY sequence LIMIT 1";
    let newer: Option<i64> = connection
        .query_row(newer, [before_ns], |row| row.get(0))
        .optional()?;
    let first = head.checkpoint.sequence + 1;
    let last = newer.map_or(head.sequence, |newer| newer.saturating_sub(1));
    let before = jiff::Timestamp::from_nanosecond(before_ns.into()).unwrap_or_default();
    Ok((first <= last).then(|| Pruned {
        first,
        last,
        before: before.to_string(),
    }))
}

fn about_the_log(action: Action, source: Source, detail: Detail) -> Entry {
    Entry {
        action,
        source,
        outcome: Outcome::Success,
        keys: Vec::new(),
        detail,
    }
}
