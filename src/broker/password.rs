//! A change of the master password: of the vault's rows and of the log's keys, in one transaction with its record.

use super::{PersonDoor, RunError, audit_keys, code_cache};
use crate::audit::{Action, Detail, Outcome};
use crate::secret::SecretBytes;
use crate::vault::{PasswordChange, PasswordOptions, VaultError};

impl PersonDoor {
    /// Gives the vault a new master password, and the log new keys, whose first record says so. With a new key all that is stored is
    /// sealed again. The door closes, since its keys may be of the past.
    ///
    /// False if another process is reading the vault, so that what the old password opens stands in the database's journal until that one
    /// ends.
    pub fn change_password(
        self,
        current: &SecretBytes,
        new: &SecretBytes,
        options: PasswordOptions,
    ) -> Result<bool, RunError> {
        let broker = &self.broker;
        let vault = broker.vault();
        let change: PasswordChange = vault.prepare_password(current, new, options)?;
        let transaction = vault.begin()?;
        let keys = transaction.change_password(&change)?;
        let log = broker
            .log
            .begin_epoch(transaction.connection(), audit_keys(keys))?;
        let reason = options.rotate_key.then(|| "with a new key".to_owned());
        let detail = Detail {
            reason,
            ..Detail::default()
        };
        let entry = broker.entry(Action::PasswordChange, Outcome::Success, Vec::new(), detail);
        if options.rotate_key {
            // Under the old key it would be taken for forged.
            code_cache::remove(&vault).map_err(|source| VaultError::Io {
                path: vault.dir().to_owned(),
                source,
            })?;
        }
        log.record(transaction, &entry, ())?.into_inner();
        // The one there is may be under the old key. That it cannot be written is said at the next entry.
        let _ = log.write_anchor(vault.connection());
        Ok(vault.empty_journal())
    }
}
