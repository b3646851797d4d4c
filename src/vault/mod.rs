//! The encrypted vault: a directory with `vault.db`, `vault.salt` and `vault.meta`.
//!
//! A vault is either a [`LockedVault`], which knows only what the files show to everybody, or a [`Vault`], which has the
//! keys. Nothing is kept between two calls but keys, so what another process changes is seen at once.
//!
//! ```text
//! password ─Argon2id─▶ master key ─HKDF "dek-v1"─▶ KEK ─AES-256-GCM─▶ DEK (random) ─HKDF, one label each─▶ purposes
//!                           └─HKDF "audit-log-v1"─▶ audit key of epoch 0
//! ```

#![forbid(unsafe_code)]

mod change;
mod cooldown;
mod digest;
mod files;
mod import;
mod keys;
mod metadata;
mod password;
mod record;
mod sealed;
mod stage;
mod store;
mod tables;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use crate::crypto::{self, CryptoError, Key, KeyService};
use crate::name::SecretName;
use crate::secret::SecretBytes;

use digest::SetDigest;
use files::{FileNumber, Files, Header};
use keys::{Keys, Wrapping};
use password::Hashing;
use stage::Stage;
use store::Known;

pub use crate::crypto::KdfParams;
pub use change::Change;
pub use cooldown::FailedTries;
pub use files::Warning;
pub use import::{Foreign, ImportError, Lost, read_go_vault};
pub use keys::{AuditEpoch, AuditKeys};
pub use password::{KDF_FLOOR, PasswordChange, PasswordOptions};
pub use record::{
    BINDINGS_MAX, Entry, FIELDS_MAX, Field, FieldInfo, Fields, InvalidSecret, Metadata,
    NOTES_MAX_BYTES, TAGS_MAX, URL_MAX_BYTES, VALUE_FIELD, VALUE_MAX_BYTES,
};
pub use store::{Fault, Renamed, Stored, Transaction};

/// The format this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// Shortest master password, in bytes. Below it, Argon2id does not help.
pub const PASSWORD_MIN_BYTES: usize = 8;
/// Longest master password, in bytes.
pub const PASSWORD_MAX_BYTES: usize = 128;

/// Why a vault cannot be made, opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// There is a vault already, or a part of one.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file that was found.
        path: PathBuf,
    },
    /// There is no vault.
    #[error("there is no vault in {}", dir.display())]
    Missing {
        /// The directory that was looked into.
        dir: PathBuf,
    },
    /// Some of the vault's files are there, but not this one.
    #[error("the vault is incomplete: {} is missing", path.display())]
    Incomplete {
        /// The file that is missing.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database cannot be read or written.
    #[error("the vault's database: {0}")]
    Database(#[from] rusqlite::Error),
    /// The vault was written by a newer version of this program.
    #[error("the vault has format version {found}; this program knows {FORMAT_VERSION}")]
    UnknownVersion {
        /// The version found in `vault.meta`.
        found: u32,
    },
    /// The directory is that of another program, which keeps its vaults in the same place.
    #[error("this is a vault of the Go tool of this name")]
    OfGoTool,
    /// A part of the vault is damaged, or was changed by someone without the keys.
    #[error("the vault is damaged or was tampered with: {0}")]
    Corrupted(&'static str),
    /// A new master password is too short or too long.
    #[error("a master password has {PASSWORD_MIN_BYTES} to {PASSWORD_MAX_BYTES} bytes")]
    PasswordLength,
    /// A new master password is the old one.
    #[error("the new master password is the present one")]
    SamePassword,
    /// Another file has the name of the database that is open. What is written to that is lost.
    #[error("the vault's database was replaced by another file; unlock it again")]
    Replaced,
    /// Another process has changed what the vault is unlocked with.
    #[error("the vault's key was changed; unlock it again")]
    KeyChanged,
    /// A secret breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidSecret),
    /// A formula failed for a reason that is not the vault's.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl VaultError {
    /// Whether the keys were elsewhere, and are gone.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Crypto(CryptoError::Locked))
    }

    /// What it means that something does not open: `fact`, unless the key could not be used at all.
    fn unopened(error: CryptoError, fact: Self) -> Self {
        match error {
            CryptoError::NotAuthentic => fact,
            other => other.into(),
        }
    }
}

/// Why a vault stays locked.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// The password is not this vault's.
    #[error("wrong master password")]
    WrongPassword,
    /// No password is tried for a time, the right one neither.
    #[error("too many wrong passwords; try again in {wait_seconds} s")]
    TooManyTries {
        /// How long from now.
        wait_seconds: u64,
    },
    /// The vault cannot be used, whatever the password.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<CryptoError> for UnlockError {
    fn from(error: CryptoError) -> Self {
        Self::Vault(error.into())
    }
}

/// A vault whose keys are not known.
pub struct LockedVault {
    files: Files,
    header: Header,
    warnings: Vec<Warning>,
}

impl LockedVault {
    /// Makes a new vault in `dir`, which is created if it is not there. `now` is in unix seconds. `init` may fill the
    /// vault; only when it returns without an error does the vault exist for others, with all that `init` committed.
    ///
    /// # Errors
    /// [`VaultError::Exists`] if `dir` holds a vault or a part of one, which is left untouched;
    /// [`VaultError::PasswordLength`]; whatever `init` returns.
    pub fn create<E: From<VaultError>>(
        dir: &Path,
        password: &SecretBytes,
        now: i64,
        init: impl FnOnce(&Vault) -> Result<(), E>,
    ) -> Result<Vault, E> {
        Self::create_with(dir, password, KdfParams::DEFAULT, now, init)
    }

    /// As [`LockedVault::create`], with another cost of hashing the password.
    ///
    /// # Errors
    /// As [`LockedVault::create`].
    pub fn create_with<E: From<VaultError>>(
        dir: &Path,
        password: &SecretBytes,
        params: KdfParams,
        now: i64,
        init: impl FnOnce(&Vault) -> Result<(), E>,
    ) -> Result<Vault, E> {
        let files = Files::in_dir(dir);
        let stage = prepare(&files, password)?;
        let header = Header::new(now)?;
        let vault = build(stage.files().clone(), header, password, params)?;
        init(&vault)?;
        Ok(vault.move_to(files, stage)?)
    }

    /// Reads what can be read of the vault in `dir` without its password.
    ///
    /// # Errors
    /// [`VaultError::Missing`], [`VaultError::Incomplete`], [`VaultError::UnknownVersion`], or
    /// [`VaultError::Corrupted`] if the files do not have the form of a vault's.
    pub fn open(dir: &Path) -> Result<Self, VaultError> {
        let files = Files::in_dir(dir);
        files.require_all()?;
        if files.has_other_names() {
            Stage::clear(&files);
        }
        let header = files.read_header()?;
        let warnings = files.warnings();
        Ok(Self {
            files,
            header,
            warnings,
        })
    }

    /// Unlocks the vault. Takes as long as Argon2id does with the vault's parameters. `now` is in unix seconds.
    ///
    /// # Errors
    /// [`UnlockError::WrongPassword`], [`UnlockError::TooManyTries`]; or what is wrong with the vault.
    pub fn unlock(self, password: &SecretBytes, now: i64) -> Result<Vault, UnlockError> {
        Ok(self.unlock_with_data_key(password, now)?.0)
    }

    /// As [`LockedVault::unlock`]. Gives the key that all others are derived from as well.
    ///
    /// # Errors
    /// As [`LockedVault::unlock`].
    pub fn unlock_with_data_key(
        self,
        password: &SecretBytes,
        now: i64,
    ) -> Result<(Vault, Key), UnlockError> {
        let opened = self.files.database_file()?;
        let connection = store::connect(&self.files.database())?;
        cooldown::require_open(&connection, now)?;
        let hashing = Hashing::read(&connection)?;
        let wrapping = Wrapping::new(password, &self.header, &hashing)?;
        let snapshot = connection
            .unchecked_transaction()
            .map_err(VaultError::from)?;
        if Hashing::read(&snapshot)? != hashing {
            return Err(VaultError::KeyChanged.into());
        }
        let keys = keys::load(&snapshot, &self.header, &hashing, &wrapping);
        drop(snapshot);
        let (keys, data_key) = match keys {
            Err(UnlockError::WrongPassword) => return Err(cooldown::count(&connection, now)?),
            // Others may have guessed wrongly meanwhile.
            keys => cooldown::require_open(&connection, now).and(keys)?,
        };
        let failed_tries = FailedTries::read(&connection)?;
        let password = Some(password.keep());
        let vault = Vault {
            files: self.files,
            header: self.header,
            warnings: self.warnings,
            opened,
            connection,
            keys,
            password,
            failed_tries,
            known: RefCell::default(),
        };
        Ok((vault, data_key))
    }

    /// Unlocks the vault with the keys of a service, which has the DEK of this generation. No password is tried.
    ///
    /// # Errors
    /// [`VaultError::KeyChanged`] if the DEK is another by now; what is wrong with the vault.
    pub fn unlock_elsewhere(
        self,
        service: &Arc<dyn KeyService>,
        generation: u64,
    ) -> Result<Vault, VaultError> {
        let opened = self.files.database_file()?;
        let connection = store::connect(&self.files.database())?;
        let snapshot = connection.unchecked_transaction()?;
        let keys = keys::load_elsewhere(&snapshot, &self.header, service, generation)?;
        drop(snapshot);
        let failed_tries = FailedTries::read(&connection)?;
        Ok(Vault {
            files: self.files,
            header: self.header,
            warnings: self.warnings,
            opened,
            connection,
            keys,
            password: None,
            failed_tries,
            known: RefCell::default(),
        })
    }

    /// The vault's id, which it keeps for ever.
    pub fn id(&self) -> [u8; 16] {
        self.header.vault_id
    }

    /// What others can do to the vault's files that they should not.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// A vault whose keys are known.
pub struct Vault {
    files: Files,
    header: Header,
    warnings: Vec<Warning>,
    /// The file that the connection is to.
    opened: FileNumber,
    connection: Connection,
    keys: Keys,
    password: Option<SecretBytes>,
    failed_tries: Option<FailedTries>,
    known: RefCell<Known>,
}

impl Vault {
    /// The vault's directory.
    pub fn dir(&self) -> &Path {
        self.files.dir()
    }

    /// When the vault was made, in unix seconds.
    pub fn created_at(&self) -> i64 {
        self.header.created_at
    }

    /// What others can do to the vault's files that they should not.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The names of all secrets, sorted.
    ///
    /// # Errors
    /// [`VaultError::Database`], [`VaultError::Corrupted`].
    pub fn names(&self) -> Result<Vec<SecretName>, VaultError> {
        Ok(self
            .entries()?
            .into_iter()
            .map(|entry| entry.name)
            .collect())
    }

    /// All secrets without their values, sorted by name.
    ///
    /// # Errors
    /// As [`Vault::names`].
    pub fn entries(&self) -> Result<Vec<Entry>, VaultError> {
        let mut known = self.known.borrow_mut();
        self.current(known.entries(&self.connection, &self.keys))
    }

    /// One secret without its values.
    ///
    /// # Errors
    /// As [`Vault::names`].
    pub fn entry(&self, name: &SecretName) -> Result<Option<Entry>, VaultError> {
        self.current(store::entry(&self.connection, &self.keys, name))
    }

    /// The values of one secret. Whoever calls this has recorded before why it may, or lets nothing of them out.
    ///
    /// # Errors
    /// As [`Vault::names`].
    pub fn reveal(&self, name: &SecretName) -> Result<Option<Fields>, VaultError> {
        self.current(store::reveal(&self.connection, &self.keys, name))
    }

    /// Opens every record and every value. Gives how many secrets there are, and what is wrong with them, cut off after some.
    ///
    /// # Errors
    /// [`VaultError::Database`].
    pub fn verify_secrets(&self) -> Result<(usize, Vec<Fault>), VaultError> {
        self.current(store::verify(&self.connection, &self.keys))
    }

    /// Refuses a database with other tables than a vault has, and `others`, which stand in it too; or with more than tables.
    ///
    /// # Errors
    /// [`VaultError::Corrupted`] if they differ; [`VaultError::Database`].
    pub fn require_tables(&self, others: &str) -> Result<(), VaultError> {
        tables::require(&self.connection, others)
    }

    /// Compares the set of secrets with its digest: finds rows that somebody without the keys removed, put back or set
    /// back to an earlier state, which one by one are genuine. Reads all of them.
    ///
    /// # Errors
    /// [`VaultError::Corrupted`] if they differ; [`VaultError::Database`].
    pub fn verify_set(&self) -> Result<(), VaultError> {
        self.current(digest::verify(&self.connection, &self.keys))
    }

    /// Begins a change. Waits up to ten seconds for other writers.
    ///
    /// # Errors
    /// [`VaultError::Database`], also when the wait was too long; [`VaultError::Replaced`], [`VaultError::KeyChanged`].
    pub fn begin(&self) -> Result<Transaction<'_>, VaultError> {
        let transaction = Transaction::begin(&self.connection, &self.keys, &self.header)?;
        match self.files.database_file()? == self.opened {
            true => Ok(transaction),
            false => Err(VaultError::Replaced),
        }
    }

    /// Whether the keys are still those of the vault. What was read before this says yes was read with the right ones.
    ///
    /// # Errors
    /// [`VaultError::KeyChanged`] if not; [`VaultError::Database`], [`VaultError::Corrupted`].
    pub fn require_current(&self) -> Result<(), VaultError> {
        self.keys.require_current(&self.connection)
    }

    /// What was read, unless it was read with keys that are no more: those find nothing, or take it for damaged.
    fn current<T>(&self, read: Result<T, VaultError>) -> Result<T, VaultError> {
        self.require_current()?;
        read
    }

    /// The audit keys as they are stored now.
    ///
    /// # Errors
    /// [`VaultError::Corrupted`], [`VaultError::Database`].
    pub fn audit_epochs(&self) -> Result<Vec<AuditEpoch>, VaultError> {
        self.current(keys::epochs(&self.connection, &self.keys))
    }

    /// The database, for those who read other tables of it.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The vault's id, which it keeps for ever.
    pub fn id(&self) -> [u8; 16] {
        self.header.vault_id
    }

    /// What the audit log is kept with.
    pub fn audit_keys(&self) -> AuditKeys {
        self.keys.audit_keys()
    }

    /// Authenticates compiled modules in the cache.
    pub fn cache_key(&self) -> &Key {
        &self.keys.cache
    }

    /// Authenticates what a person has approved. Whoever unlocked the vault without the password can only check that.
    pub fn approval_key(&self) -> &Key {
        &self.keys.approval
    }

    /// Which of its data keys the vault is open with: they are counted.
    pub fn generation(&self) -> u64 {
        self.keys.generation
    }

    /// Whether the vault can be used: the keys of a session may be gone, or of the past, and the database replaced.
    pub fn is_open(&self) -> bool {
        let is_current = || self.require_current().is_ok();
        let is_same = || (self.files.database_file()).is_ok_and(|found| found == self.opened);
        self.keys.record.is_open() && is_current() && is_same()
    }

    /// The master password, if the vault was unlocked with it: to be hidden wherever it turns up.
    pub fn password(&self) -> Option<&SecretBytes> {
        self.password.as_ref()
    }

    /// Wrong passwords before the right one.
    pub fn failed_tries(&self) -> Option<FailedTries> {
        self.failed_tries
    }

    /// Closes the staged vault, gives its files their places, and opens it there.
    fn move_to(self, files: Files, stage: Stage) -> Result<Self, VaultError> {
        self.connection.close().map_err(|(_, error)| error)?;
        stage.publish(&files)?;
        let opened = files.database_file()?;
        let connection = store::connect(&files.database())?;
        Ok(Self {
            warnings: files.warnings(),
            files,
            opened,
            connection,
            ..self
        })
    }
}

fn prepare(files: &Files, password: &SecretBytes) -> Result<Stage, VaultError> {
    password::require_length(password)?;
    Stage::clear(files);
    files.refuse_any()?;
    Stage::new(files)
}

fn build(
    files: Files,
    header: Header,
    password: &SecretBytes,
    params: KdfParams,
) -> Result<Vault, VaultError> {
    files.write_header(&header)?;
    files.create_database()?;
    let opened = files.database_file()?;
    let connection = store::connect(&files.database())?;
    tables::create(&connection)?;
    let hashing = Hashing::new(params)?;
    let wrapping = Wrapping::new(password, &header, &hashing)?;
    let keys = keys::create(&connection, &header, &hashing, &wrapping)?;
    SetDigest::EMPTY.write(&connection, &keys)?;
    let password = Some(password.keep());
    Ok(Vault {
        files,
        header,
        warnings: Vec::new(),
        opened,
        connection,
        keys,
        password,
        failed_tries: None,
        known: RefCell::default(),
    })
}
