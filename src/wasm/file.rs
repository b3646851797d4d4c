//! Reading the file of a module that the policy file names.
//!
//! All checks are made on the open file. The digest is what a module is trusted by; the checks keep this program from reading what
//! is no module at all, and name a file that others could replace before its digest does.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::custom::ModuleFault;

/// Largest file of a module, in bytes: one with all of Python in it has 18 MiB.
pub(super) const FILE_MAX_BYTES: u64 = 32 * 1024 * 1024;
/// Permission bits by which others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// An open file that has passed the checks.
pub(super) struct ModuleFile {
    file: File,
    stamp: Stamp,
}

/// What changes when a file does, as far as the file system sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl ModuleFile {
    /// Opens the file at `path`; a relative one is below `dir`, and no link leads out of that.
    pub(super) fn open(dir: &Path, path: &Path) -> Result<Self, ModuleFault> {
        let place = locate(dir, path)?;
        // Without NONBLOCK, opening a named pipe would wait for somebody to write to it.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = open(&place, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::LOOP => ModuleFault::IsLink,
            other => unreadable(other.into()),
        })?;
        let file = File::from(file);
        let found = file.metadata().map_err(unreadable)?;
        check(&found, geteuid().as_raw())?;
        Ok(Self {
            stamp: stamp(&found),
            file,
        })
    }

    pub(super) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// All of it.
    pub(super) fn read(self) -> Result<Vec<u8>, ModuleFault> {
        let mut bytes = Vec::new();
        (self.file.take(FILE_MAX_BYTES + 1))
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > FILE_MAX_BYTES {
            Err(ModuleFault::TooLarge)
        } else {
            Ok(bytes)
        }
    }
}

/// The file's place with all links resolved but a last one.
fn locate(dir: &Path, path: &Path) -> Result<PathBuf, ModuleFault> {
    let whole = dir.join(path);
    let (Some(parent), Some(name)) = (whole.parent(), whole.file_name()) else {
        return Err(ModuleFault::NotRegular);
    };
    let parent = fs::canonicalize(parent).map_err(unreadable)?;
    if path.is_relative() && !parent.starts_with(fs::canonicalize(dir).map_err(unreadable)?) {
        return Err(ModuleFault::LeadsOut);
    }
    Ok(parent.join(name))
}

pub(super) fn unreadable(error: io::Error) -> ModuleFault {
    match error.kind() {
        io::ErrorKind::NotFound => ModuleFault::Missing,
        _ => ModuleFault::Unreadable(error),
    }
}

fn check(found: &Metadata, user: u32) -> Result<(), ModuleFault> {
    if !found.is_file() {
        return Err(ModuleFault::NotRegular);
    }
    if found.uid() != user && found.uid() != 0 {
        return Err(ModuleFault::Owner { found: found.uid() });
    }
    if found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(ModuleFault::Writable {
            mode: found.mode() & 0o7777,
        });
    }
    Ok(())
}

fn stamp(found: &Metadata) -> Stamp {
    Stamp {
        file: (found.dev(), found.ino()),
        bytes: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().expect("a directory"));
            fs::create_dir_all(place.path("vault/modules")).expect("a directory");
            place.write("vault/modules/x.wasm", b"code", 0o600);
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, bytes: &[u8], mode: u32) {
            fs::write(self.path(name), bytes).expect("written");
            fs::set_permissions(self.path(name), Permissions::from_mode(mode)).expect("own file");
        }

        fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>, ModuleFault> {
            ModuleFile::open(&self.path("vault"), path.as_ref())?.read()
        }
    }

    #[test]
    fn a_file_of_the_users_own_is_read() {
        let place = Place::new();
        assert_eq!(place.read("modules/x.wasm").expect("bytes"), b"code");
        let absolute = place.path("vault/modules/x.wasm");
        assert_eq!(place.read(absolute).expect("bytes"), b"code");
        assert!(matches!(place.read("y.wasm"), Err(ModuleFault::Missing)));
        assert!(matches!(place.read("y/z.wasm"), Err(ModuleFault::Missing)));
    }

    #[test]
    fn links_lead_nowhere_but_within_the_vaults_directory() {
        let place = Place::new();
        fs::create_dir(place.path("other")).expect("a directory");
        place.write("other/x.wasm", b"code", 0o600);
        symlink(place.path("other/x.wasm"), place.path("vault/link.wasm")).expect("a link");
        symlink(place.path("other"), place.path("vault/out")).expect("a link");
        symlink("modules", place.path("vault/in")).expect("a link");
        symlink(place.path("vault"), place.path("other/vault")).expect("a link");
        let is_link = |read| matches!(read, Err(ModuleFault::IsLink));
        assert!(is_link(place.read("link.wasm")));
        assert!(is_link(place.read(place.path("vault/link.wasm"))));
        assert!(matches!(
            place.read("out/x.wasm"),
            Err(ModuleFault::LeadsOut)
        ));
        assert_eq!(place.read("in/x.wasm").expect("bytes"), b"code");
        let by_link = ModuleFile::open(&place.path("other/vault"), Path::new("in/x.wasm"));
        assert!(by_link.is_ok());
    }

    #[test]
    fn what_is_no_file_of_ones_own_is_refused_and_nothing_hangs() {
        let place = Place::new();
        let file = place.path("vault/modules/x.wasm");
        // Root's files are anybody's to use.
        let chowned = chown(&file, Some(65534), None);
        let found = fs::metadata(&file).expect("a file");
        let stranger = check(&found, found.uid() + 1);
        assert!(matches!(stranger, Err(ModuleFault::Owner { found: uid }) if uid == found.uid()));
        assert!(check(&found, found.uid()).is_ok());
        if chowned.is_ok() {
            chown(&file, Some(0), None).expect("root's again");
            let found = fs::metadata(&file).expect("a file");
            assert!(check(&found, 65534).is_ok());
        }
        for mode in [0o600, 0o444, 0o755] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).expect("own file");
            assert!(place.read("modules/x.wasm").is_ok(), "{mode:o}");
        }
        for mode in [0o620, 0o602, 0o666] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).expect("own file");
            let writable = place.read("modules/x.wasm");
            assert!(matches!(writable, Err(ModuleFault::Writable { mode: m }) if m == mode));
        }
        assert!(matches!(
            place.read("modules"),
            Err(ModuleFault::NotRegular)
        ));
        assert!(matches!(place.read("/"), Err(ModuleFault::NotRegular)));
        let made = std::process::Command::new("mkfifo")
            .args(["-m", "600"])
            .arg(place.path("vault/pipe"))
            .status();
        assert!(made.expect("mkfifo").success());
        assert!(matches!(place.read("pipe"), Err(ModuleFault::NotRegular)));
    }

    #[test]
    fn the_size_is_limited() {
        let place = Place::new();
        let mut bytes = vec![0; FILE_MAX_BYTES as usize];
        place.write("vault/large.wasm", &bytes, 0o600);
        assert!(place.read("large.wasm").is_ok());
        bytes.push(0);
        place.write("vault/large.wasm", &bytes, 0o600);
        assert!(matches!(
            place.read("large.wasm"),
            Err(ModuleFault::TooLarge)
        ));
    }

    #[test]
    fn a_changed_file_has_another_stamp() {
        let place = Place::new();
        let stamp = || {
            let file = ModuleFile::open(&place.path("vault"), Path::new("modules/x.wasm"));
            file.expect("a file").stamp()
        };
        let before = stamp();
        assert!(before == stamp());
        place.write("vault/modules/x.wasm", b"longer code", 0o600);
        assert!(before != stamp());
    }
}
