//! Opening the policy file.
//!
//! All checks are made on the open file, not on its name, so that what was checked is what is read. The file is read at
//! each request: it is small, and comparing its bytes cannot miss a change as a comparison of time stamps can.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::error::{Fault, Place, PolicyError, Problem};
use super::rules::Policy;
use super::{place, survey};

/// Largest policy file, in bytes: a thousand times what a long one has, and small enough to be read at each request.
pub const POLICY_FILE_MAX_BYTES: u64 = 1024 * 1024;

/// The only permission bits a policy file may have: its owner reads and writes it, and nobody else does anything.
const MODE: u32 = 0o600;

/// A policy file, and what it said when it was last read.
#[derive(Debug)]
pub struct PolicySource {
    path: PathBuf,
    guarded: bool,
    last: Option<(Vec<u8>, Arc<Policy>)>,
}

impl PolicySource {
    /// The policy file at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            guarded: true,
            last: None,
        }
    }

    /// A file that no decision of the server depends on: one that is written, or tested, before it becomes the policy. It may
    /// be anybody's.
    pub fn draft(path: impl Into<PathBuf>) -> Self {
        Self {
            guarded: false,
            ..Self::new(path)
        }
    }

    /// Where the entry at a path such as `allowed_commands[2]` stands in what was read last.
    pub fn place(&self, entry: &str) -> Option<Place> {
        let (bytes, _) = self.last.as_ref()?;
        place::entry(std::str::from_utf8(bytes).ok()?, entry)
    }

    /// All that is wrong with the file, each with its place if it has one. Empty for a file that can be used.
    pub fn problems(&self) -> Vec<(Option<Place>, String)> {
        let bytes = match read(&self.path, self.guarded) {
            Ok(bytes) => bytes,
            Err(fault) => return vec![(None, format!("the file {fault}"))],
        };
        match Policy::parse(&bytes) {
            Ok(_) => Vec::new(),
            Err(Fault::Syntax {
                line,
                column,
                text,
                message,
            }) => {
                let all = std::str::from_utf8(&bytes).ok().and_then(survey::of);
                let first = (Some(Place { line, column, text }), message);
                all.filter(|all| !all.is_empty())
                    .unwrap_or_else(|| vec![first])
            }
            Err(Fault::Invalid(problems)) => {
                let text = String::from_utf8_lossy(&bytes);
                let located = |problem: Problem| {
                    let place = place::entry(&text, &problem.path);
                    (place, problem.to_string())
                };
                problems.into_iter().map(located).collect()
            }
            Err(fault) => vec![(None, format!("the file {fault}"))],
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text of the file as it is now, whatever it says.
    ///
    /// # Errors
    /// When it is missing, is not safely the user's own, or is no text.
    pub fn text(&self) -> Result<String, PolicyError> {
        let text = read(&self.path, self.guarded).and_then(|bytes| {
            String::from_utf8(bytes)
                .map_err(|error| place::not_utf8(error.as_bytes(), &error.utf8_error()))
        });
        text.map_err(|fault| PolicyError {
            path: self.path.clone(),
            fault,
        })
    }

    /// The policy as the file states it now. What an earlier, usable file said never stands in for a bad one.
    ///
    /// # Errors
    /// When the file is missing, is not safely the user's own, or cannot be understood.
    pub fn current(&mut self) -> Result<Arc<Policy>, PolicyError> {
        let last = self.last.take();
        let at = |fault| PolicyError {
            path: self.path.clone(),
            fault,
        };
        let bytes = read(&self.path, self.guarded).map_err(at)?;
        let policy = match last {
            Some((before, policy)) if before == bytes => policy,
            _ => Arc::new(Policy::parse(&bytes).map_err(at)?),
        };
        self.last = Some((bytes, Arc::clone(&policy)));
        Ok(policy)
    }
}

/// Reads a file; a guarded one only if it is the user's own, with the right mode, and no link.
pub(super) fn read(path: &Path, guarded: bool) -> Result<Vec<u8>, Fault> {
    // Without NONBLOCK, opening a named pipe would wait for somebody to write to it.
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    flags.set(OFlags::NOFOLLOW, guarded);
    let file = open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => Fault::Missing,
        Errno::LOOP => Fault::IsLink,
        other => Fault::Unreadable(other.into()),
    })?;
    let found = fstat(&file).map_err(|errno| Fault::Unreadable(errno.into()))?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(Fault::NotRegular);
    }
    if guarded {
        check(found.st_mode, found.st_uid, geteuid().as_raw())?;
    }

    let mut bytes = Vec::new();
    File::from(file)
        .take(POLICY_FILE_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(Fault::Unreadable)?;
    if bytes.len() as u64 > POLICY_FILE_MAX_BYTES {
        Err(Fault::TooLarge)
    } else {
        Ok(bytes)
    }
}

fn check(mode: u32, owner: u32, user: u32) -> Result<(), Fault> {
    if owner != user {
        return Err(Fault::Owner {
            found: owner,
            wanted: user,
        });
    }
    let found = mode & 0o7777;
    if found == MODE {
        Ok(())
    } else {
        Err(Fault::Mode { found })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
            }
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("mcp-policy.yaml")
        }

        fn write(&self, text: &[u8], mode: u32) {
            fs::write(self.path(), text).unwrap();
            fs::set_permissions(self.path(), Permissions::from_mode(mode)).unwrap();
        }

        fn fault(&self) -> Fault {
            let error = PolicySource::new(self.path()).current().unwrap_err();
            assert_eq!(error.path, self.path());
            assert!(error.to_string().contains("mcp-policy.yaml"), "{error}");
            error.fault
        }
    }

    #[test]
    fn a_private_regular_file_is_read() {
        let place = Place::new();
        place.write(b"version: 1\n", 0o600);
        assert!(PolicySource::new(place.path()).current().is_ok());
    }

    #[test]
    fn any_other_mode_is_refused() {
        let place = Place::new();
        for mode in [0o644, 0o640, 0o660, 0o606, 0o700, 0o400, 0o4600] {
            place.write(b"version: 1\n", 0o600);
            place.write(b"version: 1\n", mode);
            assert!(
                matches!(place.fault(), Fault::Mode { found } if found == mode),
                "{mode:o}"
            );
            fs::remove_file(place.path()).unwrap();
        }
        assert_eq!(
            Fault::Mode { found: 0o644 }.to_string(),
            "has mode 0644, not 0600"
        );
    }

    #[test]
    fn another_owner_is_refused() {
        const REGULAR: u32 = 0o100_600;
        assert!(check(REGULAR, 1000, 1000).is_ok());
        assert!(matches!(
            check(REGULAR, 1001, 1000),
            Err(Fault::Owner {
                found: 1001,
                wanted: 1000
            })
        ));
        assert!(matches!(
            check(REGULAR, 0, 1000),
            Err(Fault::Owner {
                found: 0,
                wanted: 1000
            })
        ));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_nothing_hangs() {
        let place = Place::new();
        assert!(matches!(place.fault(), Fault::Missing));

        let elsewhere = place.dir.path().join("elsewhere");
        fs::write(&elsewhere, "version: 1\n").unwrap();
        fs::set_permissions(&elsewhere, Permissions::from_mode(0o600)).unwrap();
        symlink(&elsewhere, place.path()).unwrap();
        assert!(matches!(place.fault(), Fault::IsLink));
        fs::remove_file(place.path()).unwrap();

        fs::create_dir(place.path()).unwrap();
        assert!(matches!(place.fault(), Fault::NotRegular));
        fs::remove_dir(place.path()).unwrap();

        let made = std::process::Command::new("mkfifo")
            .args(["-m", "600"])
            .arg(place.path())
            .status();
        assert!(made.unwrap().success());
        assert!(matches!(place.fault(), Fault::NotRegular));
    }

    #[test]
    fn the_size_is_limited() {
        let place = Place::new();
        let mut text = b"version: 1\n#".to_vec();
        text.resize(POLICY_FILE_MAX_BYTES as usize, b'x');
        place.write(&text, 0o600);
        assert!(PolicySource::new(place.path()).current().is_ok());
        text.push(b'x');
        place.write(&text, 0o600);
        assert!(matches!(place.fault(), Fault::TooLarge));
    }

    #[test]
    fn a_changed_file_takes_effect_and_a_bad_one_never_falls_back() {
        let place = Place::new();
        let mut source = PolicySource::new(place.path());
        place.write(b"version: 1\ndefault_action: deny \n", 0o600);
        let first = source.current().unwrap();
        let again = source.current().unwrap();
        assert!(
            Arc::ptr_eq(&first, &again),
            "an unchanged file is not parsed again"
        );

        place.write(b"version: 1\ndefault_action: allow\n", 0o600);
        let changed = source.current().unwrap();
        assert_ne!(first.guest_document(), changed.guest_document());

        place.write(b"version: 1\ndefault_action: maybe\n", 0o600);
        assert!(matches!(
            source.current().unwrap_err().fault,
            Fault::Syntax { .. }
        ));
        assert!(matches!(
            source.current().unwrap_err().fault,
            Fault::Syntax { .. }
        ));

        place.write(b"version: 1\ndefault_action: allow\n", 0o600);
        assert_eq!(
            source.current().unwrap().guest_document(),
            changed.guest_document()
        );
        fs::set_permissions(place.path(), Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            source.current().unwrap_err().fault,
            Fault::Mode { found: 0o644 }
        ));
        fs::remove_file(place.path()).unwrap();
        assert!(matches!(
            source.current().unwrap_err().fault,
            Fault::Missing
        ));
    }
}
