//! A new vault is built in a directory inside its own and then linked into place, `vault.db` last. A crash leaves either
//! a whole vault or none that opens, and what it leaves beside that goes away with the next try.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use ulid::Ulid;

use super::files::Files;
use super::{VaultError, crypto};

const DIR_MODE: u32 = 0o700;
/// How the names of such directories begin.
const PREFIX: &str = ".new-";

/// A vault in the making. Removed when dropped, whatever became of it.
pub(super) struct Stage {
    files: Files,
    /// The directory, locked as long as somebody is at work in it.
    _lock: File,
}

impl Stage {
    pub(super) fn new(target: &Files) -> Result<Self, VaultError> {
        create(target.dir(), true)?;
        let name = format!("{PREFIX}{}", Ulid::from_bytes(crypto::random()?));
        let dir = target.dir().join(name);
        create(&dir, false)?;
        let lock = lock(&dir).map_err(|source| VaultError::Io {
            path: dir.clone(),
            source,
        })?;
        Ok(Self {
            files: Files::in_dir(&dir),
            _lock: lock,
        })
    }

    /// Removes what interrupted tries have left: their directories, and the files that they had in place when the database,
    /// which comes last, was not.
    pub(super) fn clear(target: &Files) {
        let is_vault = target.database().symlink_metadata().is_ok();
        let Ok(entries) = fs::read_dir(target.dir()) else {
            return;
        };
        for entry in entries.flatten() {
            let dir = entry.path();
            let is_stage = entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(PREFIX.as_bytes());
            let is_left = || entry.file_type().is_ok_and(|kind| kind.is_dir());
            // Whoever is at work there holds the lock.
            let Some(_lock) = (is_stage && is_left()).then(|| lock(&dir).ok()).flatten() else {
                continue;
            };
            let left = Self {
                files: Files::in_dir(&dir),
                _lock,
            };
            for (staged, placed) in left.files.all().iter().zip(target.all()) {
                if !is_vault && is_same(staged, &placed) {
                    // What cannot be removed is in the way of the next try, which says so.
                    _ = fs::remove_file(placed);
                }
            }
        }
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// Puts the files where they belong. A link, unlike a rename, never replaces what is there: of two processes that
    /// make a vault at the same time one gets an error.
    pub(super) fn publish(self, target: &Files) -> Result<(), VaultError> {
        for (done, (from, to)) in self.files.all().iter().zip(target.all()).enumerate() {
            if let Err(source) = fs::hard_link(from, &to) {
                target
                    .all()
                    .iter()
                    .take(done)
                    .for_each(|path| _ = fs::remove_file(path));
                return Err(match source.kind() {
                    io::ErrorKind::AlreadyExists => VaultError::Exists { path: to },
                    _ => VaultError::Io { path: to, source },
                });
            }
        }
        let synced = File::open(target.dir()).and_then(|dir| dir.sync_all());
        synced.map_err(|source| VaultError::Io {
            path: target.dir().to_owned(),
            source,
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(self.files.dir());
    }
}

fn create(dir: &Path, recursive: bool) -> Result<(), VaultError> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(recursive).mode(DIR_MODE).create(dir);
    made.map_err(|source| VaultError::Io {
        path: dir.to_owned(),
        source,
    })
}

/// The lock on a directory; it is let go with the file, also by a process that is killed.
fn lock(dir: &Path) -> io::Result<File> {
    let file = File::open(dir)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

fn is_same(one: &Path, other: &Path) -> bool {
    let number = |path: &Path| {
        path.symlink_metadata()
            .map(|found| (found.dev(), found.ino()))
    };
    matches!((number(one), number(other)), (Ok(one), Ok(other)) if one == other)
}
