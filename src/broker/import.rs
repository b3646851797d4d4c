//! Secrets that another program kept.

use std::path::Path;

use super::RunError;
use super::person::PersonDoor;
use super::selection::is_reserved;
use crate::audit::{self, Action, Detail, Outcome};
use crate::name::{EnvName, SecretName};
use crate::secret::SecretBytes;
use crate::time;
use crate::vault::{Foreign, Lost, Stored, read_go_vault};

/// Names in one record: the longest ones fit into it.
const NAMES_RECORDED: usize = 1000;

/// What happens to a secret whose name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Nothing is imported at all.
    Refuse,
    /// The present one stays.
    Skip,
    /// The present one is replaced, all of it.
    Overwrite,
}

/// What an import did, or would do.
pub struct Imported {
    /// Secrets that were not there.
    pub created: Vec<SecretName>,
    /// Secrets that were replaced.
    pub overwritten: Vec<SecretName>,
    /// Secrets that stayed as they were.
    pub skipped: Vec<SecretName>,
    /// Names that had to be changed.
    pub renamed: Vec<(String, SecretName)>,
    /// What was left out, and how often.
    pub lost: Vec<(&'static str, usize)>,
}

impl PersonDoor {
    /// Takes over all secrets of a vault of the Go tool, or none. A dry run finds out everything and changes nothing.
    pub fn import_go_vault(
        &self,
        dir: &Path,
        password: &SecretBytes,
        on_conflict: OnConflict,
        is_dry: bool,
    ) -> Result<Imported, RunError> {
        let mut foreign = read_go_vault(dir, password, time::now())?;
        drop_reserved(&mut foreign);
        let broker = &self.broker;
        let vault = broker.vault();
        let transaction = vault.begin()?;
        let mut imported = Imported {
            created: Vec::new(),
            overwritten: Vec::new(),
            skipped: Vec::new(),
            renamed: foreign.renamed,
            lost: (foreign.lost.iter())
                .map(|(what, count)| (what.as_str(), *count))
                .collect(),
        };
        let mut conflicts = Vec::new();
        for (entry, fields) in &foreign.secrets {
            let name = &entry.name;
            if on_conflict != OnConflict::Overwrite && transaction.contains(name)? {
                match on_conflict {
                    OnConflict::Skip => imported.skipped.push(name.clone()),
                    _ => conflicts.push(name.clone()),
                }
                continue;
            }
            match transaction.put(entry, fields)? {
                Stored::Created => imported.created.push(name.clone()),
                Stored::Updated => imported.overwritten.push(name.clone()),
            }
        }
        if !conflicts.is_empty() {
            return Err(RunError::Conflicts(conflicts));
        }
        if is_dry {
            return Ok(imported);
        }
        let names = [&imported.created[..], &imported.overwritten].concat();
        let detail = Detail {
            directory: dir.file_name().map(|name| name.to_string_lossy().into()),
            ..Detail::default()
        };
        let entry = |names: &[SecretName]| {
            let action = Action::SecretImport;
            broker.entry(action, Outcome::Success, names.to_vec(), detail.clone())
        };
        let entries: Vec<audit::Entry> = names.chunks(NAMES_RECORDED).map(entry).collect();
        broker.log.record_all(transaction, &entries)?;
        Ok(imported)
    }
}

/// Takes out bindings that would be refused in every run.
fn drop_reserved(foreign: &mut Foreign) {
    let mut dropped = 0;
    for (entry, _) in &mut foreign.secrets {
        let before = entry.metadata.bindings.len();
        let is_free = |variable: &EnvName| !is_reserved(variable.as_str());
        (entry.metadata.bindings).retain(|variable, _| is_free(variable));
        dropped += before - entry.metadata.bindings.len();
    }
    (0..dropped).for_each(|_| foreign.lose(Lost::BadVariable));
}
