//! The fresh directory of one run, and the removal of those that crashed runs left.
//!
//! A living run holds a lock on its directory. A directory of ours that nobody locks is a crashed
//! run's.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FlockOperation, Mode, OFlags, fchmod, flock, fstat, mkdirat, open, openat,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

/// What the names of all such directories begin with.
const PREFIX: &str = "secretctl-run-";

/// Tries for a name that is free and that no sweep takes away: each one fails only by a rare
/// accident.
const TRIES: usize = 16;

/// Looks before a directory counts as not removable: others may be writing into it.
const PASSES: usize = 3;

/// A directory with mode 0700 that nobody else uses. Removed on drop.
pub(crate) struct Directory {
    base: OwnedFd,
    name: CString,
    path: PathBuf,
    /// Also holds the lock.
    descriptor: OwnedFd,
    in_memory: bool,
    removed: bool,
}

impl Directory {
    /// Makes one in the first base that will do, and removes what crashed runs left there.
    /// One in memory is preferred, or else is out of the question.
    pub(crate) fn create(bases: &[PathBuf], in_memory: bool) -> io::Result<Self> {
        let mut last = Errno::NOENT.into();
        let mut usable = Vec::new();
        for path in bases {
            match open_base(path) {
                Ok(base) => usable.push((is_in_memory(&base), path, base)),
                Err(error) => last = error,
            }
        }
        // Stable: among equals the caller's order counts.
        usable.sort_by_key(|(in_memory, ..)| !in_memory);
        usable.retain(|(memory, ..)| in_memory || !memory);
        for (in_memory, path, base) in usable {
            sweep(&base);
            match create_in(base, path, in_memory) {
                Ok(directory) => return Ok(directory),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its file system is in memory, so that nothing in it reaches a disk (but by
    /// swapping).
    pub(crate) fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// Removes it with all it holds; its path if something of it is still there.
    pub(crate) fn remove(mut self) -> Option<PathBuf> {
        self.remove_all().then(|| self.path.clone())
    }

    /// Whether something is left.
    fn remove_all(&mut self) -> bool {
        self.removed = true;
        empty(&self.descriptor);
        unlinkat(&self.base, &self.name, AtFlags::REMOVEDIR).is_err()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.removed {
            self.remove_all();
        }
    }
}

/// Opens a directory in which no other user can take away or replace ours: it belongs to root or to
/// us, and where others may write, its sticky bit keeps names with their owners.
fn open_base(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if !path.is_absolute() {
        return Err(Errno::INVAL.into());
    }
    let base = open(path, flags, Mode::empty())?;
    let stat = fstat(&base)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    let shared = mode.intersects(Mode::WGRP | Mode::WOTH);
    if (stat.st_uid != 0 && stat.st_uid != geteuid().as_raw())
        || (shared && !mode.contains(Mode::SVTX))
    {
        return Err(Errno::PERM.into());
    }
    Ok(base)
}

#[cfg(target_os = "linux")]
fn is_in_memory(base: &OwnedFd) -> bool {
    /// `TMPFS_MAGIC` and `RAMFS_MAGIC` of linux/magic.h.
    const MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    rustix::fs::fstatfs(base).is_ok_and(|stat| MEMORY.contains(&(stat.f_type as u64)))
}

#[cfg(not(target_os = "linux"))]
fn is_in_memory(_base: &OwnedFd) -> bool {
    false
}

fn create_in(base: OwnedFd, path: &Path, in_memory: bool) -> io::Result<Directory> {
    for _ in 0..TRIES {
        let name = CString::new(random_name()?)?;
        match mkdirat(&base, &name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => continue,
            Err(error) => return Err(error.into()),
        }
        // Before it is locked, a sweep of another run may take it for a crashed run's.
        let Ok(descriptor) = open_below(&base, &name) else {
            continue;
        };
        let locked = flock(&descriptor, FlockOperation::NonBlockingLockExclusive).is_ok();
        if !locked || statat(&base, &name, AtFlags::SYMLINK_NOFOLLOW).is_err() {
            continue;
        }
        let path = path.join(OsStr::from_bytes(name.to_bytes()));
        return Ok(Directory {
            base,
            name,
            path,
            descriptor,
            in_memory,
            removed: false,
        });
    }
    Err(Errno::EXIST.into())
}

fn random_name() -> io::Result<String> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{PREFIX}{:016x}", u64::from_ne_bytes(bytes)))
}

/// Removes the directories of crashed runs. What cannot be removed is left to the next run.
fn sweep(base: &OwnedFd) {
    for name in names(base) {
        if !name.to_bytes().starts_with(PREFIX.as_bytes()) || !is_ours(base, &name) {
            continue;
        }
        let Ok(directory) = open_below(base, &name) else {
            continue;
        };
        if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            empty(&directory);
            let _ = unlinkat(base, &name, AtFlags::REMOVEDIR);
        }
    }
}

/// Root could open another user's, too.
fn is_ours(base: &OwnedFd, name: &CStr) -> bool {
    statat(base, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| stat.st_uid == geteuid().as_raw())
}

/// Removes what is in a directory, whatever its depth and its modes, without following a link and
/// without more open descriptors for more depth: directories found inside are first moved up next
/// to each other.
fn empty(top: &OwnedFd) {
    let _ = fchmod(top, Mode::RWXU);
    let mut moved = 0;
    for _ in 0..PASSES {
        let mut waiting = VecDeque::from(names(top));
        if waiting.is_empty() {
            return;
        }
        while let Some(name) = waiting.pop_front() {
            if unlinkat(top, &name, AtFlags::empty()).is_ok()
                || unlinkat(top, &name, AtFlags::REMOVEDIR).is_ok()
            {
                continue;
            }
            let Ok(directory) = open_below(top, &name) else {
                continue;
            };
            for inner in names(&directory) {
                if unlinkat(&directory, &inner, AtFlags::empty()).is_ok() {
                    continue;
                }
                // Moving a directory writes into it, since its `..` changes.
                let _ = open_below(&directory, &inner);
                if let Some(name) = move_up(&directory, &inner, top, &mut moved) {
                    waiting.push_back(name);
                }
            }
            let _ = unlinkat(top, &name, AtFlags::REMOVEDIR);
        }
    }
}

/// Moves a directory into `top`, under a name that is free there.
fn move_up(from: &OwnedFd, name: &CStr, top: &OwnedFd, moved: &mut u64) -> Option<CString> {
    loop {
        *moved += 1;
        let new = CString::new(format!(".{moved}")).ok()?;
        if statat(top, &new, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            continue;
        }
        return renameat(from, name, top, &new).is_ok().then_some(new);
    }
}

/// Opens a directory, never through a link, and gives us all rights on it if its mode did not.
fn open_below(parent: &OwnedFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let usable = |directory: &OwnedFd| {
        fstat(directory).is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode).contains(Mode::RWXU))
    };
    match openat(parent, name, flags, Mode::empty()) {
        Ok(directory) if usable(&directory) => Ok(directory),
        Ok(directory) => fchmod(&directory, Mode::RWXU).map(|()| directory),
        Err(Errno::ACCESS) => {
            unlock(parent, name)?;
            openat(parent, name, flags, Mode::empty())
        }
        Err(error) => Err(error),
    }
}

/// Gives us all rights on a directory that we may not even open.
#[cfg(target_os = "linux")]
fn unlock(parent: &OwnedFd, name: &CStr) -> rustix::io::Result<()> {
    use std::os::fd::AsRawFd;
    // A path descriptor takes no rights, but fchmod refuses it; its name in /proc is the way
    // around.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, name, flags, Mode::empty())?;
    rustix::fs::chmod(
        format!("/proc/self/fd/{}", directory.as_raw_fd()),
        Mode::RWXU,
    )
}

#[cfg(not(target_os = "linux"))]
fn unlock(parent: &OwnedFd, name: &CStr) -> rustix::io::Result<()> {
    rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::SYMLINK_NOFOLLOW)
}

/// The names in a directory; none if it cannot be read.
fn names(directory: &OwnedFd) -> Vec<CString> {
    let Ok(entries) = Dir::read_from(directory) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.file_name().to_owned())
        .filter(|name| !matches!(name.to_bytes(), b"." | b".."))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn fresh() -> Directory {
        Directory::create(&["/dev/shm".into(), std::env::temp_dir()], true).unwrap()
    }

    #[test]
    fn a_tree_deeper_than_any_path_and_descriptor_limit_is_removed() {
        let directory = fresh();
        let mut parent = directory.descriptor.try_clone().unwrap();
        for depth in 0..5000 {
            // Among names like those that the removal itself gives.
            let name = CString::new(format!(".{}", depth % 7)).unwrap();
            mkdirat(&parent, &name, Mode::RWXU).unwrap();
            mkdirat(&parent, c"beside", Mode::empty()).unwrap();
            parent = open_below(&parent, &name).unwrap();
        }
        let path = directory.path().to_owned();
        assert_eq!(directory.remove(), None);
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_is_removed_on_drop() {
        let directory = fresh();
        let path = directory.path().to_owned();
        fs::write(path.join("file"), "data").unwrap();
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn memory_comes_first_whatever_the_order() {
        let bases = ["/nonexistent", "/tmp", "/dev/shm"].map(PathBuf::from);
        let directory = Directory::create(&bases, true).unwrap();
        let memory = |path: &str| open_base(Path::new(path)).is_ok_and(|base| is_in_memory(&base));
        assert_eq!(
            directory.is_in_memory(),
            memory("/dev/shm") || memory("/tmp")
        );
        let expected = if memory("/dev/shm") && !memory("/tmp") {
            "/dev/shm"
        } else {
            "/tmp"
        };
        assert!(directory.path().starts_with(expected));
    }

    #[test]
    fn a_base_where_others_could_replace_ours_is_not_used() {
        let outer = fresh();
        let open = outer.path().join("open");
        fs::create_dir(&open).unwrap();
        let refused = |mode| {
            rustix::fs::chmod(&open, Mode::from_raw_mode(mode)).unwrap();
            Directory::create(std::slice::from_ref(&open), true).is_err()
        };
        assert!(refused(0o777) && refused(0o770));
        assert!(!refused(0o1777) && !refused(0o755));
        assert!(Directory::create(&[PathBuf::from("relative")], true).is_err());
        assert!(Directory::create(&[], true).is_err());
    }
}
