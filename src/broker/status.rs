//! The vault and its log as they stand, and what is wrong with them.

use ulid::Ulid;

use super::{Caution, PersonDoor, RunError};
use crate::audit::{AuditError, HeadMark, Marked};
use crate::vault::{KdfParams, VaultError};

/// What a person gets to know of the vault as a whole.
pub struct Status {
    /// Its id, a ULID.
    pub id: String,
    /// When it was made, in unix seconds.
    pub created_at: i64,
    /// What hashing the password costs.
    pub kdf: KdfParams,
    /// How many secrets there are; none if they cannot be read.
    pub secrets: Option<usize>,
    /// How many records the log has.
    pub records: Option<u64>,
    /// How often the master password was changed.
    pub epoch: Option<u64>,
    /// What is wrong with the anchor, or with the vault by its anchor.
    pub anchor: Option<String>,
    /// What was changed by somebody without the keys.
    pub problems: Vec<String>,
}

impl PersonDoor {
    /// Looks at everything but the records of the log one by one, and writes nothing.
    pub fn status(&self) -> Result<Status, RunError> {
        let broker = &self.broker;
        let mut problems = Vec::new();
        let caution = self.anchor_problem(&mut problems)?;
        let anchor = caution.map(|caution| caution.to_string());
        let anchor = anchor.or_else(|| problems.first().cloned());
        let vault = broker.vault();
        let entries = found(vault.entries(), &mut problems)?;
        found(vault.verify_set(), &mut problems)?;
        let extent = match broker.log.extent(vault.connection()) {
            Ok(extent) => Some(extent),
            Err(error @ (AuditError::NoHead | AuditError::ForgedHead)) => {
                problems.push(error.to_string());
                None
            }
            Err(error) => return Err(error.into()),
        };
        if extent.is_some()
            && let Err(error) = broker.log.require_one_time(vault.connection())
        {
            problems.push(error.to_string());
        }
        vault.require_current()?;
        Ok(Status {
            id: Ulid::from_bytes(vault.id()).to_string(),
            created_at: vault.created_at(),
            kdf: vault.kdf_params()?,
            secrets: entries.map(|entries| entries.len()),
            records: extent.map(|(records, _)| records),
            epoch: extent.map(|(_, epoch)| epoch),
            anchor,
            problems,
        })
    }

    /// The head of the log, to be kept elsewhere.
    pub fn audit_head(&self) -> Result<HeadMark, RunError> {
        let broker = &self.broker;
        Ok(broker.log.head(broker.vault().connection())?)
    }

    /// Compares the log with a head that was kept elsewhere.
    pub fn compare(&self, head: &HeadMark) -> Result<Marked, RunError> {
        let broker = &self.broker;
        Ok(broker.log.compare(broker.vault().connection(), head)?)
    }

    /// What the anchor says, as a problem or as a caution.
    pub(super) fn anchor_problem(
        &self,
        problems: &mut Vec<String>,
    ) -> Result<Option<Caution>, RunError> {
        match self.broker.compare_with_anchor() {
            Ok(Ok(caution)) => Ok(caution),
            Ok(Err(error)) => {
                problems.push(error.to_string());
                Ok(None)
            }
            // Said where the head itself is looked at.
            Err(RunError::Audit(AuditError::NoHead | AuditError::ForgedHead)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What was read; tampering is a problem to be told with others.
pub(super) fn found<T>(
    read: Result<T, VaultError>,
    problems: &mut Vec<String>,
) -> Result<Option<T>, RunError> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(VaultError::Corrupted(fact)) => {
            problems.push(fact.to_owned());
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
