//! The count of wrong passwords, which makes guessing at the door slow.
//!
//! It is a row of `metadata`: whoever can remove it has the whole vault, and can guess elsewhere. It cannot be authenticated, since
//! nobody has a key yet when it is needed.

use rusqlite::{Connection, TransactionBehavior};

use super::{Transaction, UnlockError, VaultError, metadata};

/// From so many wrong passwords on, each further one closes the vault for so many seconds.
const STEPS: [(u32, i64); 3] = [(5, 30), (10, 5 * 60), (20, 30 * 60)];

const ROW: &str = "unlock_failures";
const ROW_BYTES: usize = size_of::<u32>() + 3 * size_of::<i64>();

/// Wrong passwords since the vault was unlocked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedTries {
    /// How many.
    pub count: u32,
    /// When the first was tried, in unix seconds.
    pub first: i64,
    /// When the last was tried, in unix seconds.
    pub last: i64,
    /// Until when no password is tried.
    until: i64,
}

impl FailedTries {
    pub(super) fn read(connection: &Connection) -> Result<Option<Self>, VaultError> {
        const MALFORMED: VaultError =
            VaultError::Corrupted("the count of wrong passwords was changed");
        let Some(row) = metadata::read(connection, ROW)? else {
            return Ok(None);
        };
        let row: [u8; ROW_BYTES] = row.try_into().map_err(|_| MALFORMED)?;
        let (count, times) = row.split_first_chunk().ok_or(MALFORMED)?;
        let (times, _) = times.as_chunks::<8>();
        let &[first, last, until] = times else {
            return Err(MALFORMED);
        };
        Ok(Some(Self {
            count: u32::from_be_bytes(*count),
            first: i64::from_be_bytes(first),
            last: i64::from_be_bytes(last),
            until: i64::from_be_bytes(until),
        }))
    }

    fn write(&self, connection: &Connection) -> Result<(), VaultError> {
        let times = [self.first, self.last, self.until].map(i64::to_be_bytes);
        let row = [self.count.to_be_bytes().as_slice(), times.as_flattened()].concat();
        metadata::write(connection, ROW, &row)
    }

    /// With one more.
    fn plus_one(before: Option<Self>, now: i64) -> Self {
        let count = before.map_or(0, |tries| tries.count).saturating_add(1);
        Self {
            count,
            first: before.map_or(now, |tries| tries.first),
            last: now,
            until: now.saturating_add(pause_seconds(count)),
        }
    }

    /// How long no password is tried, in seconds.
    fn wait_seconds(&self, now: i64) -> i64 {
        self.until.saturating_sub(now).max(0)
    }

    /// Whether the row tells of a longer pause than there is: the clock was set back. The pause then begins anew, and ends.
    fn is_ahead(&self, now: i64) -> bool {
        self.wait_seconds(now) > pause_seconds(self.count)
    }
}

/// Refuses to try a password while the vault is closed.
pub(super) fn require_open(connection: &Connection, now: i64) -> Result<(), UnlockError> {
    let Some(tries) = FailedTries::read(connection)? else {
        return Ok(());
    };
    let wait = match tries.is_ahead(now) {
        true => begin_anew(connection, now)?,
        false => tries.wait_seconds(now),
    };
    match u64::try_from(wait) {
        Ok(wait_seconds @ 1..) => Err(UnlockError::TooManyTries { wait_seconds }),
        _ => Ok(()),
    }
}

/// Counts a wrong password. It is told as wrong only while the vault is open, so that of many processes that guess at once only the
/// first get an answer.
pub(super) fn count(connection: &Connection, now: i64) -> Result<UnlockError, VaultError> {
    let transaction = begin(connection)?;
    let before = FailedTries::read(&transaction)?;
    FailedTries::plus_one(before, now).write(&transaction)?;
    transaction.commit()?;
    let wait = before.map_or(0, |tries| tries.wait_seconds(now));
    Ok(match u64::try_from(wait) {
        Ok(wait_seconds @ 1..) => UnlockError::TooManyTries { wait_seconds },
        _ => UnlockError::WrongPassword,
    })
}

fn begin_anew(connection: &Connection, now: i64) -> Result<i64, VaultError> {
    let transaction = begin(connection)?;
    let Some(tries) = FailedTries::read(&transaction)?.filter(|tries| tries.is_ahead(now)) else {
        return Ok(0);
    };
    let wait = pause_seconds(tries.count);
    let until = now.saturating_add(wait);
    let anew = FailedTries {
        last: now,
        until,
        ..tries
    };
    anew.write(&transaction)?;
    transaction.commit()?;
    Ok(wait)
}

fn begin(connection: &Connection) -> Result<rusqlite::Transaction<'_>, VaultError> {
    let behavior = TransactionBehavior::Immediate;
    Ok(rusqlite::Transaction::new_unchecked(connection, behavior)?)
}

fn pause_seconds(count: u32) -> i64 {
    let reached = STEPS.iter().rev().find(|(from, _)| count >= *from);
    reached.map_or(0, |(_, seconds)| *seconds)
}

impl Transaction<'_> {
    /// Ends the count of wrong passwords, and gives it for the log.
    ///
    /// # Errors
    /// [`VaultError::Corrupted`], [`VaultError::Database`].
    pub fn take_failed_tries(&self) -> Result<Option<FailedTries>, VaultError> {
        let tries = FailedTries::read(self.connection())?;
        if tries.is_some() {
            metadata::remove(self.connection(), ROW)?;
        }
        Ok(tries)
    }
}
