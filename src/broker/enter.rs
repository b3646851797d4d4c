//! What comes before all else when a vault was unlocked: whether it is the one that was there last, and who tried to get in
//! meanwhile.

use std::io;
use std::path::PathBuf;

use super::{Broker, RunError};
use crate::audit::{self, Action, Anchor, AnchorState, Detail, Outcome};
use crate::time;
use crate::vault::{FailedTries, Vault};

/// What belongs to a vault and is not in its directory. No command sees any of it.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// The file with the master password.
    pub password_file: Option<PathBuf>,
    /// The directory of the anchors; none to do without.
    pub state_dir: Option<PathBuf>,
    /// The directory of sockets; none to do without.
    pub runtime_dir: Option<PathBuf>,
}

/// The vault is not the one that its anchor knows.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// Its log is shorter.
    #[error(
        "the vault is older than its anchor: its log ends at record {last}{}, the anchor knows record {known} ({known_time})",
        in_brackets(.last_time.as_deref())
    )]
    Older {
        /// The last record of the log.
        last: i64,
        /// When it was written, if it is there.
        last_time: Option<String>,
        /// The record that the anchor knows.
        known: i64,
        /// When that was written.
        known_time: String,
        /// The anchor's file.
        path: PathBuf,
    },
    /// Its log has taken another course.
    #[error(
        "the vault is not the one that its anchor knows: record {known} ({known_time}) is another than it was, or gone"
    )]
    Other {
        /// The record that the anchor knows.
        known: i64,
        /// When that was written.
        known_time: String,
        /// The anchor's file.
        path: PathBuf,
    },
}

impl AnchorError {
    /// The anchor's file.
    pub fn path(&self) -> &PathBuf {
        match self {
            Self::Older { path, .. } | Self::Other { path, .. } => path,
        }
    }
}

fn in_brackets(time: Option<&str>) -> String {
    time.map(|time| format!(" ({time})")).unwrap_or_default()
}

/// Something that a person should know of the anchor, though the vault can be used.
#[derive(Debug, thiserror::Error)]
pub enum Caution {
    /// There is none.
    #[error(
        "the vault's anchor is missing, so nobody can tell whether the vault is an older copy: {}",
        .0.display()
    )]
    Missing(PathBuf),
    /// It is not as this vault wrote it.
    #[error(
        "the vault's anchor was changed, so nobody can tell whether the vault is an older copy: {}",
        .0.display()
    )]
    Changed(PathBuf),
    /// It can be read or written by nobody, or not by this user.
    #[error("an older copy of the vault will not be noticed: {}: {error}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl Broker {
    /// Where the anchor of this vault is.
    pub(super) fn anchor(outside: &Outside, vault_id: [u8; 16]) -> Option<Anchor> {
        let dir = outside.state_dir.as_deref()?;
        Some(Anchor::of(dir, vault_id))
    }

    /// Refuses a vault that is not the one that was there last; records the wrong passwords before the right one. Gives what a person
    /// should know.
    pub(super) fn enter(&self) -> Result<Vec<Caution>, RunError> {
        self.vault().require_tables(audit::SCHEMA)?;
        let mut cautions: Vec<Caution> = self.compare_with_anchor()??.into_iter().collect();
        self.log.require_one_time(self.vault().connection())?;
        self.record_failed_tries()?;
        let unwritten = self.write_anchor()?;
        if !unwritten.is_empty() {
            cautions = unwritten;
        }
        Ok(cautions)
    }

    /// The anchor is as the log is now; a caution if it cannot be.
    pub(super) fn write_anchor(&self) -> Result<Vec<Caution>, RunError> {
        let written = self.log.write_anchor(self.vault().connection())?;
        let path = self.log.anchor().map(|anchor| anchor.path().to_owned());
        let unusable = written.err().zip(path);
        let caution = unusable.map(|(error, path)| Caution::Unusable { path, error });
        Ok(caution.into_iter().collect())
    }

    /// Takes over the keys of epochs that another process began, which this one needs to read what was recorded since.
    pub(super) fn learn_epochs(&self, vault: &Vault) -> Result<(), RunError> {
        self.log.learn(super::epochs(vault.audit_epochs()?));
        Ok(())
    }

    /// Whether the log has the record that its anchor knows.
    pub(super) fn compare_with_anchor(
        &self,
    ) -> Result<Result<Option<Caution>, AnchorError>, RunError> {
        let state = self.log.anchor_state(self.vault().connection())?;
        let Some((anchor, state)) = self.log.anchor().zip(state) else {
            return Ok(Ok(None));
        };
        let path = anchor.path().to_owned();
        let (record, (last, last_time)) = match state {
            AnchorState::Holds(_) => return Ok(Ok(None)),
            AnchorState::Missing => return Ok(Ok(Some(Caution::Missing(path)))),
            AnchorState::Changed => return Ok(Ok(Some(Caution::Changed(path)))),
            AnchorState::Unreadable(error) => {
                return Ok(Ok(Some(Caution::Unusable { path, error })));
            }
            AnchorState::Contradicts { known, last } => (known, last),
        };
        let time = |time_ns: i64| time::rfc3339(time_ns / 1_000_000_000);
        let (known, known_time) = (record.sequence, time(record.time_ns));
        Ok(Err(if last < known {
            AnchorError::Older {
                last,
                last_time: last_time.map(time),
                known,
                known_time,
                path,
            }
        } else {
            AnchorError::Other {
                known,
                known_time,
                path,
            }
        }))
    }

    fn record_failed_tries(&self) -> Result<(), RunError> {
        let vault = self.vault();
        if vault.failed_tries().is_none() {
            return Ok(());
        }
        let transaction = vault.begin()?;
        // Another process may have recorded them.
        let Some(tries) = transaction.take_failed_tries()? else {
            return Ok(());
        };
        let detail = Detail {
            reason: Some(reason(&tries)),
            ..Detail::default()
        };
        let entry = self.entry(Action::VaultUnlock, Outcome::Denied, Vec::new(), detail);
        self.log.record(transaction, &entry, ())?.into_inner();
        Ok(())
    }
}

fn reason(tries: &FailedTries) -> String {
    let FailedTries {
        count, first, last, ..
    } = tries;
    let (first, last) = (time::rfc3339(*first), time::rfc3339(*last));
    match count {
        1 => format!("a wrong master password at {first}"),
        _ => format!("{count} wrong master passwords from {first} to {last}"),
    }
}
