//! The socket: its directory, its name, and whether it is still there.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::process::{geteuid, umask};
use ulid::Ulid;

const DIR_MODE: u32 = 0o700;
/// Mode bits that give anything to others than the owner.
const OTHERS: u32 = 0o077;

/// Where the socket of a vault's session is.
pub(super) fn path(dir: &Path, vault_id: [u8; 16]) -> PathBuf {
    dir.join(format!("{}.sock", Ulid::from_bytes(vault_id)))
}

/// A socket that others can find.
pub(super) struct Place {
    path: PathBuf,
    file: (u64, u64),
}

impl Place {
    /// Makes the socket, in the place of whatever had its name. What it makes is for its owner alone from the beginning.
    pub(super) fn bind(dir: &Path, vault_id: [u8; 16]) -> io::Result<(UnixListener, Self)> {
        umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
        let bound = bind(dir, &path(dir, vault_id));
        bound.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", dir.display())))
    }

    /// Whether the socket still has its name: after a logout, or when another session has begun, it does not.
    pub(super) fn is_there(&self) -> bool {
        file(&self.path).is_ok_and(|found| found == self.file)
    }

    /// Takes the name away.
    pub(super) fn remove(&self) {
        if self.is_there() {
            // Whoever connects learns that nobody listens, too.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind(dir: &Path, path: &Path) -> io::Result<(UnixListener, Place)> {
    make_dir(dir)?;
    let random = crate::crypto::random().map_err(io::Error::other)?;
    let new = dir.join(format!(".{}", Ulid::from_bytes(random)));
    let listener = UnixListener::bind(&new)?;
    let placed = || {
        let file = file(&new)?;
        // Unlike removing and making, this replaces what is there at once, and follows no link.
        fs::rename(&new, path)?;
        Ok(file)
    };
    match placed() {
        Ok(file) => {
            let path = path.to_owned();
            Ok((listener, Place { path, file }))
        }
        Err(error) => {
            // The first error is the one to tell.
            let _ = fs::remove_file(&new);
            Err(error)
        }
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    // The mask of this process would take the owner's own right to enter.
    let mask = umask(Mode::RWXG | Mode::RWXO);
    let made = builder.recursive(true).mode(DIR_MODE).create(dir);
    umask(mask);
    made?;
    let found = fs::symlink_metadata(dir)?;
    let fact = if !found.is_dir() {
        "it is not a directory"
    } else if found.uid() != geteuid().as_raw() {
        "it belongs to another user"
    } else if found.mode() & OTHERS != 0 {
        "others can look into it"
    } else {
        return Ok(());
    };
    Err(io::Error::other(fact))
}

fn file(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}
