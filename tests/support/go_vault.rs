//! Writes vaults as the Go tool does, from the description of its files, with nothing of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use argon2::{Algorithm, Argon2, Params, Version};
use hmac::{Hmac, Mac};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use sha2::Sha256;

/// The password of every such vault.
pub(crate) const GO_PASSWORD: &str = "a password of the other tool";
const SALT: [u8; 16] = *b"0123456789abcdef";
const DEK: [u8; 32] = [7; 32];

/// A vault with the tables of one version.
pub(crate) struct GoVault {
    pub(crate) dir: PathBuf,
    pub(crate) database: Connection,
    version: i64,
}

/// A secret before it is sealed. What a version has no column for is left out.
pub(crate) struct GoSecret<'a> {
    pub(crate) key: &'a [u8],
    /// Of versions that knew nothing else, and beside the fields for those.
    pub(crate) value: Option<&'a str>,
    pub(crate) fields: Value,
    pub(crate) bindings: Value,
    pub(crate) metadata: Value,
    pub(crate) folder: Option<&'a str>,
    pub(crate) tags: Option<&'a str>,
    pub(crate) expires_at: Option<&'a str>,
    pub(crate) created_at: &'a str,
    pub(crate) updated_at: &'a str,
}

impl Default for GoSecret<'_> {
    fn default() -> Self {
        Self {
            key: b"KEY",
            value: None,
            fields: Value::Null,
            bindings: Value::Null,
            metadata: Value::Null,
            folder: None,
            tags: None,
            expires_at: None,
            created_at: "2025-01-02 03:04:05",
            updated_at: "2025-06-07 08:09:10",
        }
    }
}

impl GoVault {
    pub(crate) fn create(dir: &Path, version: i64) -> Self {
        fs::create_dir_all(dir).expect("a directory");
        fs::write(dir.join("vault.salt"), SALT).expect("written");
        let meta = r#"{"version":"1.0.0","created_at":"2025-01-02T03:04:05.123456789Z"}"#;
        fs::write(dir.join("vault.meta"), meta).expect("written");
        let database = Connection::open(dir.join("vault.db")).expect("a database");
        let since = |first: i64, columns: &'static str| if version >= first { columns } else { "" };
        let tables = format!(
            "CREATE TABLE vault_keys (id INTEGER PRIMARY KEY, {} encrypted_dek BLOB NOT NULL, dek_nonce BLOB NOT NULL, created_at TIMESTAMP);
             CREATE TABLE secrets (id INTEGER PRIMARY KEY, key_hash TEXT UNIQUE NOT NULL, encrypted_key BLOB NOT NULL, encrypted_value BLOB,
                {} {} {} encrypted_metadata BLOB, tags TEXT, expires_at TIMESTAMP, created_at TIMESTAMP, updated_at TIMESTAMP);",
            since(4, "salt BLOB NOT NULL,"),
            since(2, "encrypted_fields BLOB, encrypted_bindings BLOB, schema TEXT,"),
            since(3, "field_count INTEGER DEFAULT 1,"),
            since(5, "folder_id TEXT,"),
        );
        database.execute_batch(&tables).expect("tables");
        if version >= 2 {
            let table = format!(
                "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, migrated_at TIMESTAMP);
                 INSERT INTO schema_version VALUES ({version}, CURRENT_TIMESTAMP);"
            );
            database.execute_batch(&table).expect("a version");
        }
        if version >= 5 {
            let table = "CREATE TABLE folders (id TEXT PRIMARY KEY, name TEXT NOT NULL, parent_id TEXT, icon TEXT, color TEXT,
                sort_order INTEGER DEFAULT 0, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL)";
            database.execute_batch(table).expect("folders");
        }
        let vault = Self {
            dir: dir.to_owned(),
            database,
            version,
        };
        let wrapped = seal(&kek(), &DEK);
        let (nonce, wrapped) = wrapped.split_at(12);
        let statement = "INSERT INTO vault_keys (id, encrypted_dek, dek_nonce) VALUES (1, ?1, ?2)";
        if version >= 4 {
            let statement = "INSERT INTO vault_keys (id, encrypted_dek, dek_nonce, salt) VALUES (1, ?1, ?2, ?3)";
            vault
                .database
                .execute(statement, params![wrapped, nonce, SALT])
                .expect("a key");
            // The file is stale once the password was changed.
            fs::write(vault.dir.join("vault.salt"), b"another salt.bin").expect("written");
        } else {
            vault
                .database
                .execute(statement, params![wrapped, nonce])
                .expect("a key");
        }
        vault
    }

    pub(crate) fn folder(&self, id: &str, name: &str, parent: Option<&str>, icon: Option<&str>) {
        let statement = "INSERT INTO folders (id, name, parent_id, icon, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, '', '')";
        self.database
            .execute(statement, params![id, name, parent, icon])
            .expect("a folder");
    }

    pub(crate) fn secret(&self, secret: &GoSecret) {
        let blob = |value: &Value| (!value.is_null()).then(|| sealed(value.to_string().as_bytes()));
        let mut hash = <Hmac<Sha256> as KeyInit>::new_from_slice(&DEK).expect("any length");
        hash.update(secret.key);
        let hash: String = hash
            .finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let statement = "INSERT INTO secrets (key_hash, encrypted_key, encrypted_value, encrypted_metadata, tags, expires_at, created_at, updated_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        self.database
            .execute(
                statement,
                params![
                    hash,
                    sealed(secret.key),
                    secret.value.map(|value| sealed(value.as_bytes())),
                    blob(&secret.metadata),
                    secret.tags,
                    secret.expires_at,
                    secret.created_at,
                    secret.updated_at
                ],
            )
            .expect("a secret");
        let row = self.database.last_insert_rowid();
        if self.version >= 2 {
            let statement = "UPDATE secrets SET encrypted_fields = ?1, encrypted_bindings = ?2, schema = '' WHERE id = ?3";
            let blobs = params![blob(&secret.fields), blob(&secret.bindings), row];
            self.database.execute(statement, blobs).expect("fields");
        }
        if self.version >= 5 {
            let statement = "UPDATE secrets SET folder_id = ?1 WHERE id = ?2";
            self.database
                .execute(statement, params![secret.folder, row])
                .expect("a folder");
        }
    }
}

/// A blob under the key of the vault.
pub(crate) fn sealed(plaintext: &[u8]) -> Vec<u8> {
    seal(&DEK, plaintext)
}

/// A field as it is stored.
pub(crate) fn go_field(value: &str, sensitive: bool) -> Value {
    json!({ "value": value, "sensitive": sensitive })
}

fn seal(key: &[u8; 32], plaintext: &[u8]) -> Vec<u8> {
    // These vaults are thrown away: one nonce does for all.
    let nonce = *b"unique nonce";
    let cipher = Aes256Gcm::new(key.into());
    let sealed = cipher.encrypt(&Nonce::from(nonce), plaintext);
    [nonce.as_slice(), &sealed.expect("short enough")].concat()
}

fn kek() -> [u8; 32] {
    static KEK: OnceLock<[u8; 32]> = OnceLock::new();
    *KEK.get_or_init(derived_kek)
}

fn derived_kek() -> [u8; 32] {
    let params = Params::new(64 * 1024, 3, 4, Some(32)).expect("parameters");
    let mut kek = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(GO_PASSWORD.as_bytes(), &SALT, &mut kek)
        .expect("a key");
    kek
}
