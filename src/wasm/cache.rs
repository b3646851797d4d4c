//! Compiled code of others' modules, kept between starts of the program: compiling takes milliseconds for a small module, and ten
//! seconds for one with an interpreter in it.
//!
//! Compiled code is native code and is not checked when it is loaded, so an entry carries a code of authentication under a key that only
//! the unlocked vault gives. One that was changed is not loaded; the module is compiled again, and it is said.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::compiled::Authentic;

/// Most entries: what the policy file can name, and as much again from before its last changes.
const ENTRIES_MAX: usize = 32;
/// Largest entry that is read, in bytes: a module of 32 MiB is some 100 MiB of native code.
const ENTRY_MAX_BYTES: u64 = 512 * 1024 * 1024;
/// Length of the code of authentication that an entry begins with, in bytes.
pub(super) const MAC_BYTES: usize = 32;
/// How the names of entries end.
const SUFFIX: &str = "cwasm";

/// What authenticates entries. No two different lists of parts may give the same code.
pub trait Seal: Send + Sync {
    /// The code of these parts.
    fn mac(&self, parts: &[&[u8]]) -> [u8; MAC_BYTES];
    /// Whether it is theirs, in a time that does not depend on where it differs.
    fn is_valid(&self, parts: &[&[u8]], mac: &[u8]) -> bool;
}

/// A directory of compiled modules.
pub struct Cache {
    dir: PathBuf,
    seal: Box<dyn Seal>,
}

/// What was found in the cache for a module.
pub(super) enum Found {
    /// Its code, made by this program.
    Code(Component),
    /// Nothing, or what another version of this program made.
    Nothing,
    /// Something that was not made by this program with this vault, or not for this module.
    Forged,
}

impl Cache {
    /// A cache in `dir`, which is made when it is first needed.
    pub fn new(dir: PathBuf, seal: Box<dyn Seal>) -> Self {
        Self { dir, seal }
    }

    /// Looks for the compiled code of the module with this digest.
    pub(super) fn find(&self, engine: &Engine, sha256: &str) -> Found {
        let bytes = match read(&self.entry(sha256)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
            // A link, a directory: this program never put it there.
            Err(_) => return Found::Forged,
        };
        let Some(code) = Authentic::verify(bytes, self.seal.as_ref(), sha256) else {
            return Found::Forged;
        };
        code.load(engine).map_or(Found::Nothing, Found::Code)
    }

    /// Keeps the compiled code of the module with this digest.
    pub(super) fn keep(&self, component: &Component, sha256: &str) -> io::Result<()> {
        let code = component.serialize().map_err(io::Error::other)?;
        let made = DirBuilder::new().mode(0o700).create(&self.dir);
        made.or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })?;
        let mac = self.seal.mac(&Authentic::parts(sha256, &code));
        replace(&self.entry(sha256), &[&mac, &code])?;
        self.forget_old()
    }

    fn entry(&self, sha256: &str) -> PathBuf {
        self.dir.join(format!("{sha256}.{SUFFIX}"))
    }

    /// Removes the oldest entries, until no more are left than may be.
    fn forget_old(&self) -> io::Result<()> {
        let mut entries: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            entries.push((entry.metadata()?.modified()?, entry.path()));
        }
        entries.sort();
        let surplus = entries.len().saturating_sub(ENTRIES_MAX);
        entries[..surplus]
            .iter()
            .try_for_each(|(_, path)| remove(path))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Without NONBLOCK, opening a named pipe would wait for somebody to write to it.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(ENTRY_MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Puts a file in the place of another, whole or not at all.
fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let written = create(&new).and_then(|mut file| {
        parts.iter().try_for_each(|part| file.write_all(part))?;
        // Whatever stands there, a forged directory too, makes room.
        remove(path)?;
        fs::rename(&new, path)
    });
    if written.is_err() {
        // The first error is the one to tell; what is left is removed with the oldest entries.
        let _ = fs::remove_file(&new);
    }
    written
}

fn create(path: &Path) -> io::Result<File> {
    remove(path)?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        _ => fs::remove_file(path),
    };
    removed.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::sync::Arc;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::policy::{Decision, Policy, Purpose, Request};
    use crate::wasm::{Host, Notice, sha256};

    const MODULE: &[u8] = include_bytes!("../../policy-modules/dist/default-policy.wasm");
    const PATH: &str = "modules/x.wasm";

    /// A code that depends on a key and on every part.
    struct TestSeal(u8);

    impl Seal for TestSeal {
        fn mac(&self, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
            let mut hash = Sha256::new_with_prefix([self.0]);
            for part in parts {
                hash.update(part.len().to_be_bytes());
                hash.update(part);
            }
            hash.finalize().into()
        }

        fn is_valid(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
            self.mac(parts) == mac
        }
    }

    /// A directory with a module and the policy file that pins it.
    struct Place {
        dir: tempfile::TempDir,
        policy: Policy,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            fs::create_dir(dir.path().join("modules")).expect("a directory");
            fs::write(dir.path().join(PATH), MODULE).expect("written");
            let text = format!(
                "version: 1\nmodules: [{{ path: {PATH}, sha256: {}, config: {{}} }}]\n",
                sha256(MODULE)
            );
            let policy = Policy::parse(text.as_bytes()).expect("a policy");
            Self { dir, policy }
        }

        fn cache(&self) -> PathBuf {
            self.dir.path().join("cache")
        }

        fn entry(&self) -> PathBuf {
            self.cache().join(format!("{}.cwasm", sha256(MODULE)))
        }

        /// What a new process with this key hears of when it uses the module.
        fn use_with(&self, key: u8) -> Vec<Notice> {
            let cache = Cache::new(self.cache(), Box::new(TestSeal(key)));
            let host = Host::new(Some(Arc::new(cache))).expect("the modules load");
            let module = host
                .custom()
                .policy(self.dir.path(), &self.policy.modules()[0])
                .expect("a module");
            // It wants another document than the one it gets here, and says so: its code runs.
            let question = Request {
                purpose: Purpose::Reference,
                agent: String::new(),
                keys: Vec::new(),
                command: None,
                directory: None,
                timeout: None,
                time: crate::policy::Moment {
                    unix_seconds: 0,
                    utc_offset_minutes: 0,
                },
            };
            let refused: Result<Decision, _> = module.decide(&question);
            let refused = refused.expect_err("another document is needed").to_string();
            assert!(refused.contains("it refused its document: "), "{refused}");
            host.take_notices()
        }

        fn inode(&self) -> u64 {
            fs::metadata(self.entry()).expect("an entry").ino()
        }
    }

    fn forged() -> Vec<Notice> {
        vec![Notice::Forged {
            module: PATH.to_owned(),
        }]
    }

    #[test]
    fn compiled_code_is_kept_for_the_next_start() {
        let place = Place::new();
        assert_eq!(place.use_with(1), []);
        let (first, mode) = (
            place.inode(),
            fs::metadata(place.cache()).expect("it").mode(),
        );
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(
            fs::metadata(place.entry()).expect("it").mode() & 0o777,
            0o600
        );
        assert_eq!(place.use_with(1), []);
        assert_eq!(place.inode(), first, "it was compiled again");
        assert_eq!(fs::read_dir(place.cache()).expect("it").count(), 1);
    }

    #[test]
    fn a_changed_entry_is_refused_and_made_again() {
        let place = Place::new();
        place.use_with(1);
        let good = fs::read(place.entry()).expect("an entry");
        let flipped = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            bytes
        };
        let longer = [good.as_slice(), &[0]].concat();
        let shorter = good[..good.len() - 1].to_vec();
        for bad in [
            flipped(0),
            flipped(MAC_BYTES - 1),
            flipped(MAC_BYTES),
            flipped(good.len() / 2),
            flipped(good.len() - 1),
            longer,
            shorter,
            good[..MAC_BYTES].to_vec(),
            b"short".to_vec(),
            Vec::new(),
        ] {
            fs::write(place.entry(), bad).expect("written");
            assert_eq!(place.use_with(1), forged());
            assert_eq!(fs::read(place.entry()).expect("an entry"), good);
            assert_eq!(place.use_with(1), []);
        }
    }

    #[test]
    fn an_entry_of_another_key_or_of_another_module_is_refused() {
        let place = Place::new();
        place.use_with(1);
        assert_eq!(place.use_with(2), forged());
        assert_eq!(place.use_with(2), []);
        // Code that this program made, but for another module.
        let cache = Cache::new(place.cache(), Box::new(TestSeal(2)));
        let code = &fs::read(place.entry()).expect("an entry")[MAC_BYTES..];
        let mac = cache.seal.mac(&Authentic::parts(&sha256(b"another"), code));
        fs::write(place.entry(), [&mac, code].concat()).expect("written");
        assert_eq!(place.use_with(2), forged());
    }

    #[test]
    fn what_is_no_file_makes_room() {
        let place = Place::new();
        place.use_with(1);
        let moved = place.dir.path().join("moved");
        fs::rename(place.entry(), &moved).expect("moved");
        symlink(&moved, place.entry()).expect("a link");
        assert_eq!(place.use_with(1), forged());
        assert!(fs::symlink_metadata(place.entry()).expect("it").is_file());
        assert!(moved.exists());
        fs::remove_file(place.entry()).expect("removed");
        fs::create_dir_all(place.entry().join("below")).expect("directories");
        assert_eq!(place.use_with(1), forged());
        // Nobody writes to it, and nobody waits for that.
        fs::remove_file(place.entry()).expect("removed");
        let (pipe, mode) = (FileType::Fifo, Mode::RUSR | Mode::WUSR);
        mknodat(CWD, place.entry(), pipe, mode, 0).expect("a pipe");
        assert_eq!(place.use_with(1), forged());
        assert_eq!(place.use_with(1), []);
    }

    #[test]
    fn code_that_cannot_be_kept_is_used_all_the_same() {
        let place = Place::new();
        fs::write(place.cache(), "no directory").expect("written");
        let [Notice::Forged { .. }, Notice::NotKept { module, .. }] = &place.use_with(1)[..] else {
            panic!("not two notices")
        };
        assert_eq!(module, PATH);
    }

    #[test]
    fn the_oldest_entries_go() {
        let place = Place::new();
        fs::create_dir(place.cache()).expect("a directory");
        for number in 0..ENTRIES_MAX + 3 {
            fs::write(place.cache().join(format!("{number}.cwasm")), "").expect("written");
        }
        assert_eq!(place.use_with(1), []);
        assert_eq!(
            fs::read_dir(place.cache()).expect("it").count(),
            ENTRIES_MAX
        );
        assert!(place.entry().exists());
    }
}
