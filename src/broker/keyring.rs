//! What is known of the keys of a run, without their values: from the vault, or as far as a person says.

use super::agent::RunRequest;
use super::selection::Selected;
use super::{Broker, RunError};
use crate::name::{KeyPattern, SecretName, Tag};
use crate::policy::Key;
use crate::time;
use crate::vault::Entry;

/// What a vault holds, without values.
pub(super) trait Keyring {
    /// All names.
    fn names(&self) -> Result<Vec<SecretName>, RunError>;
    /// What is known of one of them.
    fn lookup(&self, name: &SecretName) -> Result<Option<Entry>, RunError>;
    /// Whether it is known at all what the vault holds.
    fn is_known(&self) -> bool {
        true
    }
}

impl Keyring for Broker {
    fn names(&self) -> Result<Vec<SecretName>, RunError> {
        Ok(self.vault().names()?)
    }

    fn lookup(&self, name: &SecretName) -> Result<Option<Entry>, RunError> {
        Ok(self.vault().entry(name)?)
    }
}

/// The keys of a vault that may not be open.
pub(super) struct Keys<'a>(pub(super) Option<&'a [Entry]>);

impl Keyring for Keys<'_> {
    fn names(&self) -> Result<Vec<SecretName>, RunError> {
        let entries = self.0.ok_or(RunError::NamesUnknown)?.iter();
        Ok(entries.map(|entry| entry.name.clone()).collect())
    }

    fn lookup(&self, name: &SecretName) -> Result<Option<Entry>, RunError> {
        let mut entries = self.0.unwrap_or_default().iter();
        Ok(entries.find(|entry| entry.name == *name).cloned())
    }

    fn is_known(&self) -> bool {
        self.0.is_some()
    }
}

/// The keys of a run, as policy sees them before anybody looks into the vault.
pub(super) fn keys(selected: &[Selected]) -> Vec<Key> {
    let key = |one: &Selected| Key {
        name: one.name.clone(),
        named: one.named,
        tags: Vec::new(),
    };
    selected.iter().map(key).collect()
}

/// The tags of a secret; none for a name that the vault does not hold.
pub(super) fn tags(name: &SecretName, keyring: &impl Keyring) -> Result<Vec<Tag>, RunError> {
    let entry = keyring.lookup(name)?;
    Ok(entry.map(|entry| entry.metadata.tags).unwrap_or_default())
}

/// Every secret is there and valid; a pattern has found something.
pub(super) fn require_usable(
    request: &RunRequest,
    selected: &[Selected],
    keyring: &impl Keyring,
) -> Result<(), RunError> {
    if selected.is_empty() {
        let patterns: Vec<_> = request.keys.iter().map(KeyPattern::as_str).collect();
        return Err(RunError::SecretNotFound(patterns.join(", ")));
    }
    for Selected { name, asked, .. } in selected {
        let missing = || RunError::SecretNotFound(asked.clone());
        let entry = keyring.lookup(name)?.ok_or_else(missing)?;
        if entry.is_expired(time::now()) {
            return Err(RunError::Expired(name.clone()));
        }
    }
    Ok(())
}
