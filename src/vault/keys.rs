//! The key hierarchy: from the password to the one key for each purpose.

use std::sync::Arc;

use rusqlite::Connection;
use zeroize::Zeroizing;

use super::files::Header;
use super::password::Hashing;
use super::{FORMAT_VERSION, UnlockError, VaultError, metadata};
use crate::crypto::{self, CryptoError, KEY_BYTES, Key, KeyService, Purpose};
use crate::secret::SecretBytes;

const METADATA: &str = "metadata";
/// The DEK, sealed under the KEK.
const DEK_ROW: &str = "dek";
/// Tells a wrong password from a damaged DEK, and both from damage of what the password is hashed with: a MAC and a digest.
const CHECK_ROW: &str = "password_check";
/// The audit keys of all epochs, one behind the other, sealed under the DEK.
const EPOCHS_ROW: &str = "audit_epochs";
/// How often the DEK was replaced, in eight bytes (big-endian). Plain, so that a process with the old one can see it.
const GENERATION_ROW: &str = "generation";

/// The place of a sealed blob, which its associated data names, so that no blob opens in another's place.
pub(super) fn place<'a>(
    vault_id: &'a [u8; 16],
    table: &'a str,
    row: &'a [u8],
    column: &'a str,
) -> [&'a [u8]; 6] {
    const VERSION: &[u8] = &FORMAT_VERSION.to_be_bytes();
    [
        b"secretctl vault",
        VERSION,
        vault_id,
        table.as_bytes(),
        row,
        column.as_bytes(),
    ]
}

/// One key for each purpose, all of them derived from the DEK.
pub(super) struct Keys {
    pub(super) vault_id: [u8; 16],
    /// Which DEK they are of.
    pub(super) generation: u64,
    /// Seals the rows of `secrets`.
    pub(super) record: Key,
    /// Makes the index by which a name is looked up.
    pub(super) index: Key,
    /// Makes and seals the digest of the set of secrets.
    pub(super) set_digest: Key,
    pub(super) cache: Key,
    pub(super) state: Key,
    pub(super) approval: Key,
    /// Seals the audit keys.
    keyring: Key,
    audit_detail: Key,
    audit_fingerprint: Key,
    audit_head: Key,
    /// As they were when the keys were loaded; see [`epochs`].
    pub(super) audit_epochs: Vec<AuditEpoch>,
}

impl Keys {
    /// Without epochs.
    pub(super) fn derive(
        vault_id: [u8; 16],
        generation: u64,
        dek: &Key,
    ) -> Result<Self, VaultError> {
        let key = |purpose: Purpose| purpose.key(dek, &vault_id);
        Ok(Self::of(vault_id, generation, key)?)
    }

    /// As [`Keys::derive`], of a service that has the DEK of that generation.
    pub(super) fn elsewhere(
        vault_id: [u8; 16],
        generation: u64,
        service: &Arc<dyn KeyService>,
    ) -> Result<Self, VaultError> {
        let key = |purpose: Purpose| Ok(Key::elsewhere(service, purpose.number()));
        Ok(Self::of(vault_id, generation, key)?)
    }

    fn of(
        vault_id: [u8; 16],
        generation: u64,
        key: impl Fn(Purpose) -> Result<Key, CryptoError>,
    ) -> Result<Self, CryptoError> {
        Ok(Self {
            vault_id,
            generation,
            record: key(Purpose::Record)?,
            index: key(Purpose::NameIndex)?,
            set_digest: key(Purpose::SetDigest)?,
            cache: key(Purpose::Cache)?,
            state: key(Purpose::State)?,
            approval: key(Purpose::Approval)?,
            keyring: key(Purpose::Keyring)?,
            audit_detail: key(Purpose::AuditDetail)?,
            audit_fingerprint: key(Purpose::AuditFingerprint)?,
            audit_head: key(Purpose::AuditHead)?,
            audit_epochs: Vec::new(),
        })
    }

    /// The epoch that begins with a password.
    pub(super) fn new_epoch(&self, wrapping: &Wrapping) -> AuditEpoch {
        AuditEpoch {
            chain: wrapping.audit.duplicate(),
            detail: self.audit_detail.duplicate(),
            fingerprint: self.audit_fingerprint.duplicate(),
        }
    }

    pub(super) fn audit_keys(&self) -> AuditKeys {
        AuditKeys {
            vault_id: self.vault_id,
            epochs: self
                .audit_epochs
                .iter()
                .map(AuditEpoch::duplicate)
                .collect(),
            head: self.audit_head.duplicate(),
            anchor: self.state.duplicate(),
        }
    }

    /// Refuses to go on with the keys of a DEK that was replaced. Asked after reading and within the transactions that write:
    /// generations only grow, so what was read before was of this one too.
    pub(super) fn require_current(&self, connection: &Connection) -> Result<(), VaultError> {
        match generation(connection)? == self.generation {
            true => Ok(()),
            false => Err(VaultError::KeyChanged),
        }
    }
}

/// What the audit log is kept with.
pub struct AuditKeys {
    /// The vault the log belongs to.
    pub vault_id: [u8; 16],
    /// New records get the keys of the last one; a record's epoch is its index.
    pub epochs: Vec<AuditEpoch>,
    /// Seals the head of the chain.
    pub head: Key,
    /// Authenticates what is kept of the log outside of the vault.
    pub anchor: Key,
}

/// The keys of the records that were written under one master password.
pub struct AuditEpoch {
    /// Chains the records.
    pub chain: Key,
    /// Seals the details of a record.
    pub detail: Key,
    /// Makes the fingerprints of names.
    pub fingerprint: Key,
}

impl AuditEpoch {
    const KEYS: usize = 3;

    fn duplicate(&self) -> Self {
        Self {
            chain: self.chain.duplicate(),
            detail: self.detail.duplicate(),
            fingerprint: self.fingerprint.duplicate(),
        }
    }

    fn keys(&self) -> [&Key; 3] {
        [&self.chain, &self.detail, &self.fingerprint]
    }

    fn from_keys(keys: &[Key]) -> Option<Self> {
        let [chain, detail, fingerprint] = keys else {
            return None;
        };
        Some(Self {
            chain: chain.duplicate(),
            detail: detail.duplicate(),
            fingerprint: fingerprint.duplicate(),
        })
    }
}

/// What a password gives: the key that wraps the DEK, and what only the right password yields.
pub(super) struct Wrapping {
    kek: Key,
    check: Key,
    audit: Key,
}

impl Wrapping {
    pub(super) fn new(
        password: &SecretBytes,
        header: &Header,
        hashing: &Hashing,
    ) -> Result<Self, VaultError> {
        let master = hashing.master_key(password, header)?;
        let purpose = |label| crypto::derive(&master, &header.vault_id, label);
        Ok(Self {
            kek: purpose("dek-v1")?,
            check: purpose("password-check-v1")?,
            audit: purpose("audit-log-v1")?,
        })
    }

    fn check(&self, header: &Header, hashing: &Hashing) -> Result<Vec<u8>, CryptoError> {
        with_header(header, hashing, CHECK_ROW, |parts| {
            let mac = crypto::mac(&self.check, parts)?;
            Ok([mac, crypto::digest(parts)].concat())
        })
    }

    fn is_right(
        &self,
        header: &Header,
        hashing: &Hashing,
        mac: &[u8],
    ) -> Result<bool, CryptoError> {
        with_header(header, hashing, CHECK_ROW, |parts| {
            crypto::mac_is_valid(&self.check, parts, mac)
        })
    }
}

/// What the files show to everybody is associated data: changed, it does not open the vault.
fn with_header<T>(
    header: &Header,
    hashing: &Hashing,
    row: &str,
    use_parts: impl FnOnce(&[&[u8]]) -> T,
) -> T {
    let (created_at, hashing) = (header.created_at.to_be_bytes(), hashing.to_bytes());
    let bound = [created_at.as_slice(), &header.salt, &hashing];
    use_parts(
        &[
            place(&header.vault_id, METADATA, row.as_bytes(), "value").as_slice(),
            &bound,
        ]
        .concat(),
    )
}

fn with_generation<T>(
    header: &Header,
    hashing: &Hashing,
    generation: u64,
    use_parts: impl FnOnce(&[&[u8]]) -> T,
) -> T {
    let generation = generation.to_be_bytes();
    with_header(header, hashing, DEK_ROW, |parts| {
        use_parts(&[parts, &[generation.as_slice()]].concat())
    })
}

/// Makes the keys of a new vault and stores them, wrapped.
pub(super) fn create(
    connection: &Connection,
    header: &Header,
    hashing: &Hashing,
    wrapping: &Wrapping,
) -> Result<Keys, VaultError> {
    let dek = Key::random()?;
    let mut keys = Keys::derive(header.vault_id, 0, &dek)?;
    keys.audit_epochs = vec![keys.new_epoch(wrapping)];
    let transaction = connection.unchecked_transaction()?;
    write(&transaction, header, hashing, wrapping, &dek, &keys)?;
    transaction.commit()?;
    Ok(keys)
}

/// Stores the keys, wrapped, and how the password is hashed that unwraps them.
pub(super) fn write(
    connection: &Connection,
    header: &Header,
    hashing: &Hashing,
    wrapping: &Wrapping,
    dek: &Key,
    keys: &Keys,
) -> Result<(), VaultError> {
    let epochs = keys.audit_epochs.iter().flat_map(AuditEpoch::keys);
    let room = keys.audit_epochs.len() * AuditEpoch::KEYS * KEY_BYTES;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    for key in epochs {
        bytes.extend_from_slice(key.expose()?);
    }
    let dek = with_generation(header, hashing, keys.generation, |parts| {
        crypto::seal(&wrapping.kek, parts, dek.expose()?)
    })?;
    let epochs = with_epochs_place(keys, hashing, |parts| {
        crypto::seal(&keys.keyring, parts, &bytes)
    })?;
    hashing.write(connection)?;
    let rows: [(&str, &[u8]); 4] = [
        (GENERATION_ROW, &keys.generation.to_be_bytes()),
        (DEK_ROW, &dek),
        (CHECK_ROW, &wrapping.check(header, hashing)?),
        (EPOCHS_ROW, &epochs),
    ];
    rows.iter()
        .try_for_each(|(name, value)| metadata::write(connection, name, value))
}

/// Unwraps the keys of a vault. Gives the DEK as well.
pub(super) fn load(
    connection: &Connection,
    header: &Header,
    hashing: &Hashing,
    wrapping: &Wrapping,
) -> Result<(Keys, Key), UnlockError> {
    let dek = unwrap(connection, header, hashing, wrapping)?.ok_or(UnlockError::WrongPassword)?;
    let mut keys = Keys::derive(header.vault_id, generation(connection)?, &dek)?;
    keys.audit_epochs = epochs(connection, &keys)?;
    Ok((keys, dek))
}

/// The keys of a vault whose DEK is with a service.
pub(super) fn load_elsewhere(
    connection: &Connection,
    header: &Header,
    service: &Arc<dyn KeyService>,
    generation: u64,
) -> Result<Keys, VaultError> {
    let mut keys = Keys::elsewhere(header.vault_id, generation, service)?;
    // Before the rest: with other keys, all of it looks as if somebody had changed it.
    keys.require_current(connection)?;
    keys.audit_epochs = epochs(connection, &keys)?;
    Ok(keys)
}

/// The DEK; none if the password is wrong.
pub(super) fn unwrap(
    connection: &Connection,
    header: &Header,
    hashing: &Hashing,
    wrapping: &Wrapping,
) -> Result<Option<Key>, VaultError> {
    let sealed = metadata::required(connection, DEK_ROW, "the wrapped key is missing")?;
    let opened = with_generation(header, hashing, generation(connection)?, |parts| {
        crypto::open(&wrapping.kek, parts, &sealed)
    });
    let dek = opened.ok().as_ref().and_then(Key::from_secret);
    let check = metadata::required(connection, CHECK_ROW, "the password check is missing")?;
    let (mac, digest) = check.split_at(check.len().min(crypto::MAC_BYTES));
    let is_right = wrapping.is_right(header, hashing, mac)?;
    let is_whole = with_header(header, hashing, CHECK_ROW, crypto::digest) == digest;
    match (dek, is_right, is_whole) {
        (Some(dek), true, true) => Ok(Some(dek)),
        (None, false, true) => Ok(None),
        (Some(_), ..) => Err(VaultError::Corrupted("the password check was changed")),
        (None, true, _) => Err(VaultError::Corrupted(
            "the wrapped key, or the number of its generation, was changed",
        )),
        (None, false, false) => Err(VaultError::Corrupted(
            "vault.salt, vault.meta, or the salt and cost of the password were changed",
        )),
    }
}

/// The audit keys as they are stored now: another process may have begun an epoch.
pub(super) fn epochs(connection: &Connection, keys: &Keys) -> Result<Vec<AuditEpoch>, VaultError> {
    const CHANGED: VaultError =
        VaultError::Corrupted("the audit keys were changed, or are not of this password");
    let sealed = metadata::required(connection, EPOCHS_ROW, "the audit keys are missing")?;
    let opened = with_epochs_place(keys, &Hashing::read(connection)?, |parts| {
        let opened = keys
            .keyring
            .open_keys(parts, &sealed, Purpose::FIRST_OPENED);
        opened.map_err(|error| VaultError::unopened(error, CHANGED))
    })?;
    let epochs = opened.chunks(AuditEpoch::KEYS).map(AuditEpoch::from_keys);
    let epochs: Option<Vec<_>> = epochs.collect();
    epochs.filter(|epochs| !epochs.is_empty()).ok_or(CHANGED)
}

/// Bound to the password's row: one that was set back alone, with a password that was changed since, does not fit.
fn with_epochs_place<T>(
    keys: &Keys,
    hashing: &Hashing,
    use_parts: impl FnOnce(&[&[u8]]) -> T,
) -> T {
    let (hashing, generation) = (hashing.to_bytes(), keys.generation.to_be_bytes());
    let bound = [hashing.as_slice(), &generation];
    use_parts(
        &[
            place(&keys.vault_id, METADATA, EPOCHS_ROW.as_bytes(), "value").as_slice(),
            &bound,
        ]
        .concat(),
    )
}

fn generation(connection: &Connection) -> Result<u64, VaultError> {
    const MISSING: &str = "the number of the key's generation was removed or changed";
    let bytes = metadata::required(connection, GENERATION_ROW, MISSING)?;
    let bytes = bytes
        .try_into()
        .map_err(|_| VaultError::Corrupted(MISSING))?;
    Ok(u64::from_be_bytes(bytes))
}
