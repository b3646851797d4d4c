//! How the master password is hashed, and how it is changed.
//!
//! Salt and cost stand in one row of `metadata`, beside what they protect, so a change of the password is one transaction
//! of one file.

use rusqlite::Connection;

use super::files::Header;
use super::keys::{self, Keys, Wrapping};
use super::{
    AuditEpoch, AuditKeys, PASSWORD_MAX_BYTES, PASSWORD_MIN_BYTES, Transaction, Vault, VaultError,
    crypto, metadata, store,
};

use crate::crypto::{KdfParams, Key, SALT_BYTES};
use crate::secret::SecretBytes;

const ROW: &str = "password";
const ROW_BYTES: usize = SALT_BYTES + 3 * size_of::<u32>();
const MALFORMED: VaultError =
    VaultError::Corrupted("the salt and cost of the password were removed or changed");

/// The least that a new password may cost: the OWASP Password Storage Cheat Sheet's minimum for Argon2id.
pub const KDF_FLOOR: KdfParams = KdfParams {
    memory_kib: 19 * 1024,
    passes: 2,
    lanes: 1,
};

/// What Argon2id takes beside the password. Not secret; authenticated when the vault is unlocked.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hashing {
    salt: [u8; SALT_BYTES],
    pub(super) params: KdfParams,
}

impl Hashing {
    pub(super) fn new(params: KdfParams) -> Result<Self, VaultError> {
        Ok(Self {
            salt: crypto::random()?,
            params,
        })
    }

    /// The parameters are within their bounds: a changed row cannot exhaust the machine.
    pub(super) fn read(connection: &Connection) -> Result<Self, VaultError> {
        let row = metadata::read(connection, ROW)?.ok_or(MALFORMED)?;
        let (salt, cost) = row.split_first_chunk().ok_or(MALFORMED)?;
        let cost: [u8; ROW_BYTES - SALT_BYTES] = cost.try_into().map_err(|_| MALFORMED)?;
        let (numbers, _) = cost.as_chunks::<4>();
        let &[memory_kib, passes, lanes] = numbers else {
            return Err(MALFORMED);
        };
        let params = KdfParams {
            memory_kib: u32::from_be_bytes(memory_kib),
            passes: u32::from_be_bytes(passes),
            lanes: u32::from_be_bytes(lanes),
        };
        if !params.is_acceptable() {
            return Err(VaultError::Corrupted(
                "the cost of the password is outside of the accepted range",
            ));
        }
        Ok(Self {
            salt: *salt,
            params,
        })
    }

    pub(super) fn write(&self, connection: &Connection) -> Result<(), VaultError> {
        metadata::write(connection, ROW, &self.to_bytes())
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let KdfParams {
            memory_kib,
            passes,
            lanes,
        } = self.params;
        let cost = [memory_kib, passes, lanes].map(u32::to_be_bytes);
        [self.salt.as_slice(), cost.as_flattened()].concat()
    }

    /// Argon2's salt: the vault's own, which never changes, and that of this password.
    pub(super) fn master_key(
        &self,
        password: &SecretBytes,
        header: &Header,
    ) -> Result<Key, VaultError> {
        let salt = [header.salt, self.salt].concat();
        Ok(crypto::password_key(password, &salt, self.params)?)
    }
}

/// # Errors
/// [`VaultError::PasswordLength`].
pub(super) fn require_length(password: &SecretBytes) -> Result<(), VaultError> {
    match (PASSWORD_MIN_BYTES..=PASSWORD_MAX_BYTES).contains(&password.len()) {
        true => Ok(()),
        false => Err(VaultError::PasswordLength),
    }
}

/// What is asked for beside a new password.
#[derive(Debug, Clone, Copy, Default)]
pub struct PasswordOptions {
    /// Another cost of hashing it.
    pub params: Option<KdfParams>,
    /// A new key for all that is stored.
    pub rotate_key: bool,
}

/// A change of the master password, with the slow part done.
pub struct PasswordChange {
    /// What the vault had when the change was prepared.
    before: Hashing,
    hashing: Hashing,
    wrapping: Wrapping,
    dek: Key,
    rotate_key: bool,
}

impl Vault {
    /// Hashes both passwords, before a transaction keeps others waiting.
    ///
    /// # Errors
    /// [`VaultError::PasswordLength`]; [`VaultError::SamePassword`] if nothing would change;
    /// [`VaultError::KeyChanged`] if the password was changed since the vault was unlocked.
    pub fn prepare_password(
        &self,
        current: &SecretBytes,
        new: &SecretBytes,
        options: PasswordOptions,
    ) -> Result<PasswordChange, VaultError> {
        require_length(new)?;
        let PasswordOptions { params, rotate_key } = options;
        if new.expose() == current.expose() && params.is_none() && !rotate_key {
            return Err(VaultError::SamePassword);
        }
        let before = Hashing::read(&self.connection)?;
        let wrapping = Wrapping::new(current, &self.header, &before)?;
        let dek = keys::unwrap(&self.connection, &self.header, &before, &wrapping);
        let dek = dek?.ok_or(VaultError::KeyChanged)?;
        let hashing = Hashing::new(params.unwrap_or(before.params))?;
        let wrapping = Wrapping::new(new, &self.header, &hashing)?;
        Ok(PasswordChange {
            before,
            hashing,
            wrapping,
            dek,
            rotate_key,
        })
    }

    /// Writes the database's journal back and empties it: it may hold what was removed or replaced. False if another process is
    /// reading the vault all the while, or the system refuses; then it happens when the last one closes the database. No error: what
    /// was committed before stays.
    pub fn empty_journal(&self) -> bool {
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy = self.connection.query_row(checkpoint, [], |row| row.get(0));
        busy.is_ok_and(|busy: i64| busy == 0)
    }

    /// What hashing the password costs.
    ///
    /// # Errors
    /// [`VaultError::Corrupted`], [`VaultError::Database`].
    pub fn kdf_params(&self) -> Result<KdfParams, VaultError> {
        Ok(Hashing::read(&self.connection)?.params)
    }
}

impl Transaction<'_> {
    /// The audit keys as they are stored now.
    ///
    /// # Errors
    /// [`VaultError::Corrupted`], [`VaultError::Database`].
    pub fn audit_epochs(&self) -> Result<Vec<AuditEpoch>, VaultError> {
        keys::epochs(self.connection(), self.keys())
    }

    /// Gives the vault the new password and the log a new epoch, and with a new key seals all rows again. Nothing of the audit
    /// log is touched: that is for whoever keeps it, with the keys that are returned. The vault itself is to be unlocked again.
    ///
    /// # Errors
    /// [`VaultError::KeyChanged`] if the password was changed meanwhile; [`VaultError::Corrupted`] if the set of secrets is
    /// not what it must be: a new key would hide that.
    pub fn change_password(&self, change: &PasswordChange) -> Result<AuditKeys, VaultError> {
        let connection = self.connection();
        if Hashing::read(connection)? != change.before {
            return Err(VaultError::KeyChanged);
        }
        let old = self.keys();
        let mut epochs = keys::epochs(connection, old)?;
        let (dek, generation) = match change.rotate_key {
            true => (Key::random()?, old.generation + 1),
            false => (change.dek.duplicate(), old.generation),
        };
        let mut new = Keys::derive(old.vault_id, generation, &dek)?;
        epochs.push(new.new_epoch(&change.wrapping));
        new.audit_epochs = epochs;
        if change.rotate_key {
            store::seal_all_again(connection, old, &new)?;
        }
        let header = self.header();
        keys::write(
            connection,
            header,
            &change.hashing,
            &change.wrapping,
            &dek,
            &new,
        )?;
        Ok(new.audit_keys())
    }
}
