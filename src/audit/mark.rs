//! A record that is known from elsewhere, compared with the log: by its number and hash alone.

use std::fmt;
use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension};
use ulid::Ulid;

use super::chain::{Hash, Head};
use super::{AuditError, Log, snapshot};
use crate::crypto::MAC_BYTES;

const PREFIX: &str = "secretctl-head";
const VERSION: &str = "1";

/// The head of a log at some time, as a text that can be kept anywhere: it tells nothing of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadMark {
    vault_id: [u8; 16],
    sequence: i64,
    hash: Hash,
}

/// The text is none of [`HeadMark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is one line that `secretctl audit head` has printed")]
pub struct InvalidMark;

/// What has become of a record that is known from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Marked {
    /// It is there as it was.
    #[error("record {sequence} is as it was")]
    Same {
        /// Its number.
        sequence: i64,
    },
    /// It was removed with all before it, on the owner's word.
    #[error("record {sequence} was pruned: the log begins after record {through}")]
    Pruned {
        /// Its number.
        sequence: i64,
        /// The last record that was pruned.
        through: i64,
    },
    /// The log is of another vault.
    #[error("the head is that of another vault")]
    OtherVault,
    /// The log ends before it: an older state was put back, or the log was cut off.
    #[error("the log ends at record {last}, before record {sequence}")]
    Beyond {
        /// Its number.
        sequence: i64,
        /// The last record.
        last: i64,
    },
    /// Another record stands in its place, or none.
    #[error("record {sequence} is another than it was, or gone")]
    Other {
        /// Its number.
        sequence: i64,
    },
}

impl Marked {
    /// Whether all is as it should be, as far as can be told.
    pub fn is_fine(&self) -> bool {
        matches!(self, Self::Same { .. } | Self::Pruned { .. })
    }
}

impl Log {
    /// The head, to be kept elsewhere.
    ///
    /// # Errors
    /// Any that reading the head gives.
    pub fn head(&self, connection: &Connection) -> Result<HeadMark, AuditError> {
        let Head { sequence, hash, .. } = Head::read(connection, &self.keys)?;
        Ok(HeadMark {
            vault_id: self.keys.vault_id,
            sequence,
            hash,
        })
    }

    /// How many records there are, and how often the keys were changed.
    ///
    /// # Errors
    /// Any that reading the head gives.
    pub fn extent(&self, connection: &Connection) -> Result<(u64, u64), AuditError> {
        let head = Head::read(connection, &self.keys)?;
        let records = head.sequence.saturating_sub(head.checkpoint.sequence);
        Ok((records.unsigned_abs(), head.epoch.unsigned_abs()))
    }

    /// Compares the log with a head that it had once. Looks at one record, whose hash tells of all before it.
    ///
    /// # Errors
    /// Any that reading the log gives.
    pub fn compare(&self, connection: &Connection, mark: &HeadMark) -> Result<Marked, AuditError> {
        if mark.vault_id != self.keys.vault_id {
            return Ok(Marked::OtherVault);
        }
        self.find(connection, mark.sequence, &mark.hash)
    }

    pub(super) fn find(
        &self,
        connection: &Connection,
        sequence: i64,
        hash: &Hash,
    ) -> Result<Marked, AuditError> {
        // Else a record that is pruned between the two queries is taken for a lost one.
        let _snapshot = snapshot(connection)?;
        find(
            connection,
            &Head::read(connection, &self.keys)?,
            sequence,
            hash,
        )
    }
}

/// What has become of a record in the log with this head.
pub(super) fn find(
    connection: &Connection,
    head: &Head,
    sequence: i64,
    hash: &Hash,
) -> Result<Marked, AuditError> {
    let through = head.checkpoint.sequence;
    if sequence > head.sequence {
        let last = head.sequence;
        return Ok(Marked::Beyond { sequence, last });
    }
    if sequence < through {
        return Ok(Marked::Pruned { sequence, through });
    }
    // Of these two the head itself has the hash; the record need not be there.
    let found = if sequence == head.sequence {
        Some(head.hash.to_vec())
    } else if sequence == through {
        Some(head.checkpoint.hash.to_vec())
    } else {
        let query = "SELECT hash FROM audit_log WHERE sequence = ?1";
        let mut statement = connection.prepare_cached(query)?;
        let stored = statement.query_row([sequence], |row| row.get(0));
        stored.optional()?
    };
    Ok(match found {
        Some(found) if found == hash => Marked::Same { sequence },
        _ => Marked::Other { sequence },
    })
}

impl fmt::Display for HeadMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vault = Ulid::from_bytes(self.vault_id);
        write!(f, "{PREFIX}:{VERSION}:{vault}:{}:", self.sequence)?;
        self.hash
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for HeadMark {
    type Err = InvalidMark;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.trim().split(':').collect();
        let &[PREFIX, VERSION, vault, sequence, hash] = parts.as_slice() else {
            return Err(InvalidMark);
        };
        let vault_id = Ulid::from_string(vault).map_err(|_| InvalidMark)?;
        let sequence = sequence.parse().map_err(|_| InvalidMark)?;
        Ok(Self {
            vault_id: vault_id.to_bytes(),
            sequence,
            hash: from_hex(hash).ok_or(InvalidMark)?,
        })
    }
}

fn from_hex(text: &str) -> Option<Hash> {
    let (digits, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || digits.len() != MAC_BYTES {
        return None;
    }
    let mut hash = Hash::default();
    for (byte, digits) in hash.iter_mut().zip(digits) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let value = digit(digits[0])? * 16 + digit(digits[1])?;
        *byte = u8::try_from(value).ok()?;
    }
    Some(hash)
}
