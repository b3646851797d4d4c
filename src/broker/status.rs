//! The vault and its log as they stand, and what is wrong with them.

use ulid::Ulid;

use super::{Caution, PersonDoor, RunError};
use crate::audit::{self, AuditError, HeadMark, Marked};
use crate::vault::{KdfParams, VaultError};

/// What a person gets to know of the vault as a whole.
pub struct Status {
    /// Its id, a ULID.
    pub id: String,
    /// When it was made, in unix seconds.
    pub created_at: i64,
    /// What hashing the password costs.
    pub kdf: KdfParams,
    /// How many secrets there are.
    pub secrets: usize,
    /// How many records the log has.
    pub records: Option<u64>,
    /// How often the master password was changed.
    pub epoch: Option<u64>,
    /// What is wrong with the anchor, or with the vault by its anchor.
    pub anchor: Option<String>,
    /// What was changed by somebody without the keys.
    pub problems: Vec<String>,
}

/// The vault and its log, compared with what they must be.
pub struct Verified {
    /// How many secrets there are.
    pub secrets: usize,
    /// How many records were read.
    pub records: u64,
    /// How many records were pruned before.
    pub pruned: u64,
    /// What is wrong with the anchor, or with the vault by its anchor.
    pub anchor: Option<String>,
    /// What was changed by somebody without the keys.
    pub problems: Vec<String>,
}

impl PersonDoor {
    /// Looks at everything, and writes nothing.
    pub fn status(&self) -> Result<Status, RunError> {
        let broker = &self.broker;
        let verified = self.verify()?;
        let vault = broker.vault();
        let extent = match broker.log.extent(vault.connection()) {
            Ok(extent) => Some(extent),
            // Among the problems.
            Err(AuditError::NoHead | AuditError::ForgedHead) => None,
            Err(error) => return Err(error.into()),
        };
        vault.require_current()?;
        Ok(Status {
            id: Ulid::from_bytes(vault.id()).to_string(),
            created_at: vault.created_at(),
            kdf: vault.kdf_params()?,
            secrets: verified.secrets,
            records: extent.map(|(records, _)| records),
            epoch: extent.map(|(_, epoch)| epoch),
            anchor: verified.anchor,
            problems: verified.problems,
        })
    }

    /// Compares all secrets, the set of them, the whole log and the anchor with what they must be.
    pub fn verify(&self) -> Result<Verified, RunError> {
        let broker = &self.broker;
        let (anchor, is_problem) = self.anchor_found()?;
        let vault = broker.vault();
        vault.require_tables(audit::SCHEMA)?;
        broker.learn_epochs(&vault)?;
        let report = broker.log.verify(vault.connection())?;
        // Else the problems are of a process that has old keys.
        vault.require_current()?;
        let mut problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
        problems.extend(anchor.clone().filter(|_| is_problem));
        let (secrets, faults) = vault.verify_secrets()?;
        problems.extend(faults.iter().map(ToString::to_string));
        match vault.verify_set() {
            Err(VaultError::Corrupted(fact)) => problems.push(fact.to_owned()),
            verified => verified?,
        }
        Ok(Verified {
            secrets,
            records: report.records,
            pruned: report.pruned,
            anchor,
            problems,
        })
    }

    /// What a person should know of the anchor, and whether it is a sign of tampering.
    fn anchor_found(&self) -> Result<(Option<String>, bool), RunError> {
        Ok(match self.broker.compare_with_anchor() {
            Ok(Ok(None)) => (None, false),
            Ok(Ok(Some(caution))) => {
                let is_problem = matches!(caution, Caution::Changed(_));
                (Some(caution.to_string()), is_problem)
            }
            Ok(Err(error)) => (Some(error.to_string()), true),
            // Said where the head itself is looked at.
            Err(RunError::Audit(AuditError::NoHead | AuditError::ForgedHead)) => (None, false),
            Err(error) => return Err(error),
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
}
