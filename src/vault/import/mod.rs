//! Reads a vault of the Go tool of the same name, without touching it.
//!
//! The file is read into memory in one go and opened there, so that nothing is locked, written or created beside it. What it holds is somebody
//! else's, and without associated data in its blobs: all of it is checked as if it came from a stranger, and nothing of a value
//! gets into a message.

mod names;
mod plain;
mod rows;
mod times;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, MAIN_DB};
use rustix::fs::{Mode, OFlags};

use super::record::{Entry, Fields};
use crate::crypto::{self, CryptoError, KdfParams, Key};
use crate::name::SecretName;
use crate::secret::SecretBytes;

/// Newest version of the tables that is known; the first is 1.
const SCHEMA_VERSION_MAX: i64 = 5;
/// Largest file that is read, in bytes: it is held in memory whole.
const FILE_MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// The beginning of the file up to the versions of its format, in bytes (section 1.3 of SQLite's description).
const HEADER_BYTES: usize = 20;
/// The only cost of the password that the tool knows.
const KDF: KdfParams = KdfParams {
    memory_kib: 64 * 1024,
    passes: 3,
    lanes: 4,
};

/// Why a vault cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} {fact}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        fact: &'static str,
    },
    /// It is not a database, or a damaged one.
    #[error("the database of that vault cannot be read: {0}")]
    Database(#[from] rusqlite::Error),
    /// The tables are newer than what is known.
    #[error("that vault has schema version {0}; 1 to {SCHEMA_VERSION_MAX} can be read")]
    Version(i64),
    /// The password does not open it.
    #[error("wrong password of that vault, or its keys are damaged")]
    WrongPassword,
    /// Something that is not about one secret is damaged.
    #[error("that vault is damaged: {0}")]
    Damaged(&'static str),
    /// These secrets cannot be taken over.
    #[error("{} cannot be imported:\n  {}", count(problems.len()), problems.join("\n  "))]
    Secrets {
        /// Each with what is wrong with it.
        problems: Vec<String>,
    },
    /// A formula failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

fn count(secrets: usize) -> String {
    match secrets {
        1 => "a secret".to_owned(),
        more => format!("{more} secrets"),
    }
}

/// What there is no place for here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// Another name of a field.
    Alias,
    /// What kind of value a field has.
    Kind,
    /// A text that explains a field.
    Hint,
    /// How a field is typed in a window.
    InputType,
    /// A field without a value.
    EmptyField,
    /// A binding to a field that is not there.
    LooseBinding,
    /// A binding to a variable whose name is not one, or which programs take instructions from.
    BadVariable,
    /// The icon or colour of a folder.
    FolderLook,
    /// A folder without secrets.
    EmptyFolder,
    /// A folder that a secret is said to be in, but which is not there.
    MissingFolder,
}

impl Lost {
    /// What it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alias => "aliases of fields",
            Self::Kind => "kinds of fields",
            Self::Hint => "hints on fields",
            Self::InputType => "input types of fields",
            Self::EmptyField => "fields without a value",
            Self::LooseBinding => "bindings to fields that do not exist",
            Self::BadVariable => "bindings to variables that no secret may set",
            Self::FolderLook => "icons and colours of folders",
            Self::EmptyFolder => "folders without secrets",
            Self::MissingFolder => "references to folders that do not exist",
        }
    }
}

/// What a vault of the Go tool holds, as it can be kept here.
#[derive(Default)]
pub struct Foreign {
    /// All secrets, with times and expiry as they are there.
    pub secrets: Vec<(Entry, Fields)>,
    /// Names that had to be changed.
    pub renamed: Vec<(String, SecretName)>,
    /// How often something was left out.
    pub lost: BTreeMap<Lost, usize>,
}

impl Foreign {
    /// Counts something that is left out.
    pub fn lose(&mut self, what: Lost) {
        *self.lost.entry(what).or_default() += 1;
    }
}

/// Whether the text of `vault.meta` is that of the tool, whose version is a text.
pub(super) fn is_go_meta(meta: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct GoMeta {
        version: String,
    }
    serde_json::from_slice(meta).is_ok_and(|GoMeta { version }| version.starts_with("1."))
}

/// Reads the vault in `dir`. `now` stands for times that it does not tell.
///
/// # Errors
/// [`ImportError`]: nothing is left out silently, and one secret that cannot be kept is reason enough.
pub fn read_go_vault(dir: &Path, password: &SecretBytes, now: i64) -> Result<Foreign, ImportError> {
    if fs::symlink_metadata(dir).map_err(io_at(dir))?.is_symlink() {
        return Err(file(dir, "is a link, which is not followed"));
    }
    let connection = connect(dir)?;
    let version = rows::schema_version(&connection)?;
    if !(1..=SCHEMA_VERSION_MAX).contains(&version) {
        return Err(ImportError::Version(version));
    }
    let dek = data_key(dir, &connection, password)?;
    rows::read_all(&connection, &dek, now)
}

/// The database, in memory.
fn connect(dir: &Path) -> Result<Connection, ImportError> {
    for name in ["vault.db-journal", "vault.db-wal"] {
        let path = dir.join(name);
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.len() > 0) {
            return Err(file(
                &path,
                "is there: the other program is changing the vault, or was interrupted while it did",
            ));
        }
    }
    let path = dir.join("vault.db");
    let (mut opened, length) = open(&path)?;
    let length = usize::try_from(length).map_err(|_| ImportError::Damaged("its size"))?;
    let mut header = [0; HEADER_BYTES];
    let no_database = |_| file(&path, "is not a database");
    opened.read_exact(&mut header).map_err(no_database)?;
    // The two bytes say that there is a write-ahead log. There is none, as was seen above, and none in memory.
    if let [.., write @ 2, read @ 2] = &mut header {
        (*write, *read) = (1, 1);
    }
    let mut connection = Connection::open_in_memory()?;
    connection.deserialize_read_exact(MAIN_DB, header.chain(opened), length, true)?;
    // Nothing in its schema is run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.execute_batch("PRAGMA cell_size_check = ON")?;
    Ok(connection)
}

/// The key of all blobs.
fn data_key(
    dir: &Path,
    connection: &Connection,
    password: &SecretBytes,
) -> Result<Key, ImportError> {
    let keys = rows::keys(connection)?;
    let salt = match keys.salt {
        Some(salt) => salt,
        None => {
            let (opened, length) = open(&dir.join("vault.salt"))?;
            let mut salt = vec![0; usize::try_from(length.min(1024)).unwrap_or_default()];
            (&opened).read_exact(&mut salt).map_err(io_at(dir))?;
            salt
        }
    };
    if salt.len() != crypto::SALT_BYTES {
        return Err(ImportError::Damaged("the salt of its password"));
    }
    let kek = crypto::password_key(password, &salt, KDF)?;
    let wrapped = [keys.nonce, keys.wrapped].concat();
    let dek = crypto::open_without_place(&kek, &wrapped).map_err(|_| ImportError::WrongPassword)?;
    Key::from_secret(&dek).ok_or(ImportError::Damaged("its key"))
}

/// A regular file with its length.
fn open(path: &Path) -> Result<(File, u64), ImportError> {
    // Without waiting for the other end of a pipe.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::LOOP => file(path, "is a link, which is not followed"),
        other => io_at(path)(other.into()),
    })?;
    let opened = File::from(opened);
    let metadata = opened.metadata().map_err(io_at(path))?;
    if !metadata.is_file() {
        return Err(file(path, "is not a regular file"));
    }
    if metadata.len() > FILE_MAX_BYTES {
        return Err(file(path, "is larger than 1 GiB"));
    }
    Ok((opened, metadata.len()))
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> ImportError {
    let path = path.to_owned();
    move |source| ImportError::Io {
        path: path.clone(),
        source,
    }
}

fn file(path: &Path, fact: &'static str) -> ImportError {
    let path = path.to_owned();
    ImportError::File { path, fact }
}
