//! The key hierarchy: from the password to the one key for each purpose.

use rusqlite::{Connection, OptionalExtension};

use super::files::Header;
use super::{FORMAT_VERSION, UnlockError, VaultError};
use crate::crypto::{self, KEY_BYTES, Key};
use crate::secret::SecretBytes;

const METADATA: &str = "metadata";
/// The DEK, sealed under the KEK.
const DEK_ROW: &str = "dek";
/// Tells a wrong password from a damaged DEK.
const CHECK_ROW: &str = "password_check";
/// The audit keys of all epochs, one behind the other, sealed under the DEK.
const EPOCHS_ROW: &str = "audit_epochs";

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
    /// Seals the rows of `secrets`.
    pub(super) record: Key,
    /// Makes the index by which a name is looked up.
    pub(super) index: Key,
    /// Makes and seals the digest of the set of secrets.
    pub(super) set_digest: Key,
    pub(super) cache: Key,
    pub(super) state: Key,
    audit_detail: Key,
    audit_fingerprint: Key,
    audit_head: Key,
    audit_epochs: Vec<Key>,
}

impl Keys {
    fn derive(vault_id: [u8; 16], dek: &Key, audit_epochs: Vec<Key>) -> Self {
        let purpose = |label| crypto::derive(dek, &vault_id, label);
        Self {
            vault_id,
            record: purpose("record-v1"),
            index: purpose("name-index-v1"),
            set_digest: purpose("set-digest-v1"),
            cache: purpose("cache-v1"),
            state: purpose("state-v1"),
            audit_detail: purpose("audit-detail-v1"),
            audit_fingerprint: purpose("audit-fingerprint-v1"),
            audit_head: purpose("audit-head-v1"),
            audit_epochs,
        }
    }

    pub(super) fn audit_keys(&self) -> AuditKeys {
        AuditKeys {
            vault_id: self.vault_id,
            epochs: self.audit_epochs.iter().map(Key::duplicate).collect(),
            detail: self.audit_detail.duplicate(),
            fingerprint: self.audit_fingerprint.duplicate(),
            head: self.audit_head.duplicate(),
        }
    }
}

/// What the audit log is kept with.
pub struct AuditKeys {
    /// The vault the log belongs to.
    pub vault_id: [u8; 16],
    /// The chain's keys; new records get the last one, its index is the epoch.
    pub epochs: Vec<Key>,
    /// Seals the details of a record.
    pub detail: Key,
    /// Makes the fingerprints of names.
    pub fingerprint: Key,
    /// Seals the head of the chain.
    pub head: Key,
}

/// What a password gives: the key that wraps the DEK, and what only the right password yields.
pub(super) struct Wrapping {
    kek: Key,
    check: Key,
    audit: Key,
}

impl Wrapping {
    pub(super) fn new(password: &SecretBytes, header: &Header) -> Result<Self, VaultError> {
        let master = crypto::password_key(password, &header.salt, header.params)?;
        let purpose = |label| crypto::derive(&master, &header.vault_id, label);
        Ok(Self {
            kek: purpose("dek-v1"),
            check: purpose("password-check-v1"),
            audit: purpose("audit-log-v1"),
        })
    }

    /// The header is associated data: a vault whose `vault.meta` or `vault.salt` was changed does not open.
    fn seal_dek(&self, header: &Header, dek: &Key) -> Result<Vec<u8>, VaultError> {
        with_header(header, DEK_ROW, |parts| {
            Ok(crypto::seal(&self.kek, parts, dek.expose())?)
        })
    }

    fn open_dek(&self, header: &Header, sealed: &[u8]) -> Option<Key> {
        let opened = with_header(header, DEK_ROW, |parts| {
            crypto::open(&self.kek, parts, sealed)
        });
        Key::from_secret(&opened.ok()?)
    }

    fn check(&self, header: &Header) -> [u8; crypto::MAC_BYTES] {
        with_header(header, CHECK_ROW, |parts| crypto::mac(&self.check, parts))
    }

    fn is_right(&self, header: &Header, check: &[u8]) -> bool {
        with_header(header, CHECK_ROW, |parts| {
            crypto::mac_is_valid(&self.check, parts, check)
        })
    }
}

fn with_header<T>(header: &Header, row: &str, use_parts: impl FnOnce(&[&[u8]]) -> T) -> T {
    let created_at = header.created_at.to_be_bytes();
    let params = header.params;
    let cost = [params.memory_kib, params.passes, params.lanes].map(u32::to_be_bytes);
    let bound = [
        created_at.as_slice(),
        &cost[0],
        &cost[1],
        &cost[2],
        &header.salt,
    ];
    use_parts(
        &[
            place(&header.vault_id, METADATA, row.as_bytes(), "value").as_slice(),
            &bound,
        ]
        .concat(),
    )
}

/// Makes the keys of a new vault and stores them, wrapped.
pub(super) fn create(
    connection: &Connection,
    header: &Header,
    wrapping: &Wrapping,
) -> Result<Keys, VaultError> {
    let dek = Key::random()?;
    let epochs = SecretBytes::from_vec(wrapping.audit.expose().to_vec());
    let sealed_epochs = crypto::seal(
        &keyring(header, &dek),
        &epochs_place(header),
        epochs.expose(),
    )?;
    let rows = [
        (DEK_ROW, wrapping.seal_dek(header, &dek)?),
        (CHECK_ROW, wrapping.check(header).to_vec()),
        (EPOCHS_ROW, sealed_epochs),
    ];
    let transaction = connection.unchecked_transaction()?;
    for (name, value) in rows {
        transaction.execute(
            "INSERT INTO metadata (name, value) VALUES (?1, ?2)",
            (name, value),
        )?;
    }
    transaction.commit()?;
    Ok(Keys::derive(
        header.vault_id,
        &dek,
        vec![wrapping.audit.duplicate()],
    ))
}

/// Unwraps the keys of a vault.
pub(super) fn load(
    connection: &Connection,
    header: &Header,
    wrapping: &Wrapping,
) -> Result<Keys, UnlockError> {
    let sealed = required_row(connection, DEK_ROW, "the wrapped key is missing")?;
    let Some(dek) = wrapping.open_dek(header, &sealed) else {
        let check = required_row(connection, CHECK_ROW, "the password check is missing")?;
        return Err(match wrapping.is_right(header, &check) {
            true => VaultError::Corrupted("the wrapped key was changed").into(),
            false => UnlockError::WrongPassword,
        });
    };
    let epochs = load_epochs(connection, header, &dek)?;
    Ok(Keys::derive(header.vault_id, &dek, epochs))
}

fn load_epochs(
    connection: &Connection,
    header: &Header,
    dek: &Key,
) -> Result<Vec<Key>, VaultError> {
    let sealed = required_row(connection, EPOCHS_ROW, "the audit keys are missing")?;
    let opened = crypto::open(&keyring(header, dek), &epochs_place(header), &sealed)
        .map_err(|_| VaultError::Corrupted("the audit keys were changed"))?;
    Ok(opened
        .expose()
        .chunks(KEY_BYTES)
        .filter_map(Key::from_slice)
        .collect())
}

fn keyring(header: &Header, dek: &Key) -> Key {
    crypto::derive(dek, &header.vault_id, "keyring-v1")
}

fn epochs_place(header: &Header) -> [&[u8]; 6] {
    place(&header.vault_id, METADATA, EPOCHS_ROW.as_bytes(), "value")
}

fn required_row(
    connection: &Connection,
    name: &str,
    missing: &'static str,
) -> Result<Vec<u8>, VaultError> {
    let query = "SELECT value FROM metadata WHERE name = ?1";
    let value = connection
        .query_row(query, [name], |row| row.get(0))
        .optional()?;
    value.ok_or(VaultError::Corrupted(missing))
}
