//! The log as it grows, whoever writes it.

use rusqlite::Connection;

use super::chain::Head;
use super::{AuditError, Filter, Log, Record, snapshot};

/// Something new in a log that is followed.
pub enum Followed<'a> {
    /// A record.
    Record(&'a Record),
    /// These records were removed before they could be shown.
    Pruned {
        /// The first of them.
        first: i64,
        /// The last of them.
        last: i64,
    },
}

/// How far the log has been read.
#[derive(Debug, Default)]
pub struct Follower {
    /// SQLite's number, which changes when another process writes.
    version: Option<i64>,
    /// The last record, once the log has been read.
    last: Option<i64>,
}

impl Follower {
    /// Hands over what `filter` wants of the records that came since the last call; the first time, of all. Takes a
    /// microsecond if nobody wrote.
    ///
    /// # Errors
    /// [`AuditError::SetBack`], [`AuditError::NewKey`]; those of [`Log::each`].
    pub fn poll<E: From<AuditError>>(
        &mut self,
        log: &Log,
        connection: &Connection,
        filter: &Filter,
        mut take: impl FnMut(Followed) -> Result<(), E>,
    ) -> Result<(), E> {
        let version = version(connection)?;
        if self.version == Some(version) {
            return Ok(());
        }
        let _snapshot = snapshot(connection).map_err(AuditError::from)?;
        let head = Head::read(connection, &log.keys)?;
        let filter = match self.last {
            None => filter.clone(),
            Some(last) => {
                log.check_progress(last, &head)?;
                let pruned = head.checkpoint.sequence;
                if pruned > last {
                    take(Followed::Pruned {
                        first: last + 1,
                        last: pruned,
                    })?;
                }
                Filter {
                    after: Some(last),
                    limit: None,
                    ..filter.clone()
                }
            }
        };
        log.each(connection, &filter, |record| take(Followed::Record(record)))?;
        (self.version, self.last) = (Some(version), Some(head.sequence));
        Ok(())
    }
}

impl Log {
    /// Whether the log that was read up to `last` has grown, and can be read.
    fn check_progress(&self, last: i64, head: &Head) -> Result<(), AuditError> {
        if head.sequence < last {
            return Err(AuditError::SetBack {
                from: last,
                to: head.sequence,
            });
        }
        match head.epoch > self.keys.epochs.newest() {
            true => Err(AuditError::NewKey),
            false => Ok(()),
        }
    }
}

/// Read in front of the snapshot: what is written between the two is seen again at worst, and never missed.
fn version(connection: &Connection) -> Result<i64, AuditError> {
    Ok(connection.query_row("PRAGMA data_version", [], |row| row.get(0))?)
}
