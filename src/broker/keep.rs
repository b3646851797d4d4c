//! What a person changes of the secrets. Each change and its record are one transaction.

use super::RunError;
use super::person::PersonDoor;
use super::selection::require_free;
use crate::audit::{Action, Detail, Outcome, Recorded};
use crate::name::SecretName;
use crate::time;
use crate::vault::{Change, Renamed, Stored, Transaction};

impl PersonDoor {
    /// Stores a secret, or changes what is given of it.
    pub fn set(&self, name: &SecretName, change: Change) -> Result<Stored, RunError> {
        for (variable, field) in &change.bindings {
            // What may not be bound can still be unbound.
            if field.is_some() {
                require_free(variable)?;
            }
        }
        self.change(Action::SecretSet, &[name], |transaction| {
            Ok(transaction.set(name, change, time::now())?)
        })
    }

    /// Deletes a secret.
    pub fn delete(&self, name: &SecretName) -> Result<(), RunError> {
        self.change(
            Action::SecretDelete,
            &[name],
            |transaction| match transaction.delete(name)? {
                true => Ok(()),
                false => Err(RunError::SecretNotFound(name.to_string())),
            },
        )
    }

    /// Gives a secret a name that no other one has.
    pub fn rename(&self, old: &SecretName, new: &SecretName) -> Result<(), RunError> {
        self.change(
            Action::SecretRename,
            &[old, new],
            |transaction| match transaction.rename(old, new, time::now())? {
                Renamed::Done => Ok(()),
                Renamed::Missing => Err(RunError::SecretNotFound(old.to_string())),
                Renamed::Taken => Err(RunError::NameTaken(new.clone())),
            },
        )
    }

    fn change<T>(
        &self,
        action: Action,
        names: &[&SecretName],
        change: impl FnOnce(&Transaction<'_>) -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        let broker = &self.broker;
        let vault = broker.vault();
        let transaction = vault.begin()?;
        let changed = change(&transaction)?;
        let names = names.iter().map(|&name| name.clone()).collect();
        let entry = broker.entry(action, Outcome::Success, names, Detail::default());
        let recorded = broker.log.record(transaction, &entry, changed)?;
        Ok(Recorded::into_inner(recorded))
    }
}
