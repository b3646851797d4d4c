//! The vault's files: made with their modes, never chmod'ed later, and never written over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{FORMAT_VERSION, VaultError, crypto, import};
use crate::crypto::SALT_BYTES;

const FILE_MODE: u32 = 0o600;
/// Mode bits that give anything to others than the owner.
const OTHERS: u32 = 0o077;
/// Largest `vault.meta` that is read, in bytes: ours has some 200.
const META_MAX_BYTES: u64 = 4096;

/// Something about the vault's files that lets others in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Others than the owner may read, write or search it.
    #[error("{} is accessible to others (mode {mode:04o})", path.display())]
    Accessible {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another user, who can change its mode.
    #[error("{} belongs to user {owner}", path.display())]
    Foreign {
        /// The file or directory.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
}

/// The numbers of a device and of a file on it.
pub(super) type FileNumber = (u64, u64);

/// Where the vault's files are.
#[derive(Clone)]
pub(super) struct Files {
    dir: PathBuf,
}

impl Files {
    pub(super) fn in_dir(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn database(&self) -> PathBuf {
        self.dir.join("vault.db")
    }

    fn salt(&self) -> PathBuf {
        self.dir.join("vault.salt")
    }

    fn meta(&self) -> PathBuf {
        self.dir.join("vault.meta")
    }

    /// The database last: a vault is there when it is.
    pub(super) fn all(&self) -> [PathBuf; 3] {
        [self.salt(), self.meta(), self.database()]
    }

    pub(super) fn refuse_any(&self) -> Result<(), VaultError> {
        match self
            .all()
            .into_iter()
            .find(|path| path.symlink_metadata().is_ok())
        {
            Some(path) => Err(VaultError::Exists { path }),
            None => Ok(()),
        }
    }

    /// Whether the database has another name: that in the directory in which it was made, if that was not removed.
    pub(super) fn has_other_names(&self) -> bool {
        fs::metadata(self.database()).is_ok_and(|found| found.nlink() > 1)
    }

    /// Which file has the database's name now.
    pub(super) fn database_file(&self) -> Result<FileNumber, VaultError> {
        let path = self.database();
        match fs::metadata(&path) {
            Ok(found) => Ok((found.dev(), found.ino())),
            Err(source) => Err(VaultError::Io { path, source }),
        }
    }

    pub(super) fn require_all(&self) -> Result<(), VaultError> {
        let missing: Vec<PathBuf> = self
            .all()
            .into_iter()
            .filter(|path| is_absent(path))
            .collect();
        match missing.as_slice() {
            [] => Ok(()),
            [_, _, _] => Err(VaultError::Missing {
                dir: self.dir.clone(),
            }),
            [path, ..] => Err(VaultError::Incomplete { path: path.clone() }),
        }
    }

    pub(super) fn read_header(&self) -> Result<Header, VaultError> {
        let salt = read_at_most(&self.salt(), SALT_BYTES as u64 + 1)?;
        let salt = salt
            .try_into()
            .map_err(|_| VaultError::Corrupted("vault.salt does not have 16 bytes"))?;
        let meta = read_at_most(&self.meta(), META_MAX_BYTES)?;
        Header::parse(&meta, salt)
    }

    pub(super) fn write_header(&self, header: &Header) -> Result<(), VaultError> {
        write_new(&self.salt(), &header.salt)?;
        write_new(&self.meta(), header.to_json().as_bytes())
    }

    /// An empty database file: SQLite gives its `-wal` and `-shm` files the mode this one has.
    pub(super) fn create_database(&self) -> Result<(), VaultError> {
        write_new(&self.database(), &[])
    }

    pub(super) fn warnings(&self) -> Vec<Warning> {
        let beside_database = ["vault.db-wal", "vault.db-shm"].map(|name| self.dir.join(name));
        let paths = [self.dir.clone()]
            .into_iter()
            .chain(self.all())
            .chain(beside_database);
        paths.flat_map(|path| warnings_about(&path)).collect()
    }
}

/// What `vault.meta` and `vault.salt` hold. None of it is secret; all of it is authenticated when the vault is unlocked.
pub(super) struct Header {
    pub(super) vault_id: [u8; 16],
    pub(super) created_at: i64,
    pub(super) salt: [u8; SALT_BYTES],
}

#[derive(Serialize, Deserialize)]
struct Meta {
    version: u32,
    vault_id: String,
    created_at: String,
}

/// The one field that every version of the format has.
#[derive(Deserialize)]
struct MetaVersion {
    version: u32,
}

impl Header {
    pub(super) fn new(now: i64) -> Result<Self, VaultError> {
        Ok(Self {
            vault_id: crypto::random()?,
            created_at: now,
            salt: crypto::random()?,
        })
    }

    fn parse(meta: &[u8], salt: [u8; SALT_BYTES]) -> Result<Self, VaultError> {
        const MALFORMED: VaultError =
            VaultError::Corrupted("vault.meta does not have the form of its version");
        if import::is_go_meta(meta) {
            return Err(VaultError::OfGoTool);
        }
        let MetaVersion { version } = serde_json::from_slice(meta).map_err(|_| MALFORMED)?;
        if version != FORMAT_VERSION {
            return Err(VaultError::UnknownVersion { found: version });
        }
        let meta: Meta = serde_json::from_slice(meta).map_err(|_| MALFORMED)?;
        let created_at: jiff::Timestamp = meta.created_at.parse().map_err(|_| MALFORMED)?;
        let vault_id = Ulid::from_string(&meta.vault_id).map_err(|_| MALFORMED)?;
        Ok(Self {
            vault_id: vault_id.to_bytes(),
            created_at: created_at.as_second(),
            salt,
        })
    }

    fn to_json(&self) -> String {
        let created_at = jiff::Timestamp::from_second(self.created_at).unwrap_or_default();
        let meta = Meta {
            version: FORMAT_VERSION,
            vault_id: Ulid::from_bytes(self.vault_id).to_string(),
            created_at: created_at.to_string(),
        };
        serde_json::to_string(&meta).unwrap_or_default() + "\n"
    }
}

fn is_absent(path: &Path) -> bool {
    path.symlink_metadata()
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|source| VaultError::Io {
        path: path.to_owned(),
        source,
    })
}

fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>, VaultError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|source| VaultError::Io {
        path: path.to_owned(),
        source,
    })
}

fn warnings_about(path: &Path) -> Vec<Warning> {
    let Ok(found) = fs::metadata(path) else {
        return Vec::new();
    };
    let mode = found.mode() & 0o7777;
    let accessible = (mode & OTHERS != 0).then(|| Warning::Accessible {
        path: path.to_owned(),
        mode,
    });
    let is_foreign = found.uid() != rustix::process::geteuid().as_raw();
    let foreign = is_foreign.then(|| Warning::Foreign {
        path: path.to_owned(),
        owner: found.uid(),
    });
    accessible.into_iter().chain(foreign).collect()
}
