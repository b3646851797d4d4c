//! Which file a command will run: the facts that policy judges, and the file that is then started.
//!
//! Bare names are looked up in trusted directories only. A file that others could replace is refused, wherever it lies.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use globset::Glob;
use secretctl_runner::FileId;

use super::RunError;
use crate::policy;

/// Where a system keeps its programs.
const SYSTEM_DIRS: [&str; 7] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/opt/homebrew/bin",
];
/// Programs that act by the name they are called by: another name of the file says nothing about the call.
const MULTI_CALL: [&str; 3] = ["busybox", "toybox", "coreutils"];
/// Mode bits.
const EXECUTABLE: u32 = 0o111;
const GROUP_WRITABLE: u32 = 0o020;
const OTHERS_WRITABLE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// A program that was found and that nobody else can replace.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// Where it was found; this path is executed.
    pub path: PathBuf,
    /// The file that stood there when policy was asked.
    pub file: FileId,
    /// Its canonical path, and its other names in trusted directories.
    pub aliases: Vec<PathBuf>,
}

impl Program {
    /// The facts for policy.
    pub(super) fn facts(requested: String, program: Option<&Program>) -> policy::Program {
        policy::Program {
            requested,
            path: program.map(|program| program.path.clone()),
            aliases: program.map_or_else(Vec::new, |program| program.aliases.clone()),
        }
    }
}

/// The directories in which bare names are looked up, in order.
pub(super) struct TrustedPath {
    dirs: Vec<PathBuf>,
}

impl TrustedPath {
    /// The system's directories behind those that the policy file adds.
    pub(super) fn new(added: Vec<PathBuf>) -> Self {
        let system = SYSTEM_DIRS
            .iter()
            .map(PathBuf::from)
            .filter(|dir| dir.is_dir());
        Self {
            dirs: added.into_iter().chain(system).collect(),
        }
    }

    /// The directories as a value for `PATH`.
    pub(super) fn variable(&self) -> String {
        let dirs: Vec<_> = self.dirs.iter().map(|dir| dir.to_string_lossy()).collect();
        dirs.join(":")
    }

    /// Finds a bare name, or checks an absolute path. None when there is no such program.
    pub(super) fn find(
        &self,
        program: &str,
        names: &NameIndex,
    ) -> Result<Option<Program>, RunError> {
        if program.starts_with('/') {
            return self.examine(Path::new(program), names);
        }
        if program.contains('/') {
            return Ok(None);
        }
        for dir in &self.dirs {
            if let Some(program) = self.examine(&dir.join(program), names)? {
                return Ok(Some(program));
            }
        }
        Ok(None)
    }

    /// The facts about one path; none when no program stands there.
    pub(super) fn examine(
        &self,
        path: &Path,
        names: &NameIndex,
    ) -> Result<Option<Program>, RunError> {
        let Ok(metadata) = fs::metadata(path) else {
            return Ok(None);
        };
        if !metadata.is_file() || metadata.mode() & EXECUTABLE == 0 {
            return Ok(None);
        }
        let unreadable = |error| RunError::Program {
            path: path.to_owned(),
            fact: format!("cannot be examined: {error}"),
        };
        let canonical = fs::canonicalize(path).map_err(unreadable)?;
        for file in [path, &canonical] {
            require_unwritable_by_others(file)?;
        }
        let file = FileId::from(&metadata);
        let mut aliases = vec![canonical.clone()];
        let multi_call = canonical
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| MULTI_CALL.contains(&name));
        if !multi_call {
            aliases.extend(names.names_of(file, &self.dirs));
        }
        aliases.retain(|alias| alias != path);
        aliases.sort();
        aliases.dedup();
        Ok(Some(Program {
            path: path.to_owned(),
            file,
            aliases,
        }))
    }
}

/// The files and directories that an entry of the policy file means, as far as they exist: `~/` is the home directory, and a
/// part may be a pattern.
pub(super) fn expand(entry: &str) -> Vec<PathBuf> {
    let path = match (entry.strip_prefix("~/"), std::env::home_dir()) {
        (Some(below), Some(home)) => home.join(below),
        _ => PathBuf::from(entry),
    };
    if !path.is_absolute() {
        return Vec::new();
    }
    let mut paths = vec![PathBuf::new()];
    for part in path.components() {
        let text = part.as_os_str().to_string_lossy();
        let Some(glob) = text
            .contains(['*', '?', '['])
            .then(|| Glob::new(&text).ok())
            .flatten()
        else {
            paths.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        let matcher = glob.compile_matcher();
        let entries = paths.iter().flat_map(fs::read_dir).flatten().flatten();
        paths = entries
            .filter(|entry| matcher.is_match(entry.file_name()))
            .map(|entry| entry.path())
            .collect();
        paths.sort();
    }
    paths.retain(|path| path.exists());
    paths
}

/// Refuses a path if somebody other than root and the user could put another file there.
fn require_unwritable_by_others(path: &Path) -> Result<(), RunError> {
    let refuse = |place: &Path, fact: &str| {
        Err(RunError::Program {
            path: path.to_owned(),
            fact: format!("cannot be trusted: {} {fact}", place.display()),
        })
    };
    let (user, group) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    for (depth, place) in path.ancestors().enumerate() {
        let Ok(metadata) = fs::symlink_metadata(place) else {
            return refuse(place, "cannot be examined");
        };
        if metadata.uid() != 0 && metadata.uid() != user {
            return refuse(place, "belongs to another user");
        }
        if metadata.file_type().is_symlink() {
            continue; // A link has no mode of its own; its directory decides who can replace it.
        }
        // In a sticky directory, such as /tmp, others cannot rename or remove what is not theirs.
        let sticky_dir = depth > 0 && metadata.permissions().mode() & STICKY != 0;
        let own_group = metadata.gid() == 0 || metadata.gid() == group;
        let writable = metadata.mode() & OTHERS_WRITABLE != 0
            || (metadata.mode() & GROUP_WRITABLE != 0 && !own_group);
        if writable && !sticky_dir {
            return refuse(place, "can be written by others");
        }
    }
    Ok(())
}

/// Every name that a file has in trusted directories. A directory is read again when it has changed.
#[derive(Default)]
pub(super) struct NameIndex {
    dirs: Mutex<HashMap<PathBuf, Listing>>,
}

struct Listing {
    changed: (i64, i64),
    /// By device and inode.
    names: HashMap<(u64, u64), Vec<PathBuf>>,
}

impl NameIndex {
    fn names_of(&self, file: FileId, dirs: &[PathBuf]) -> Vec<PathBuf> {
        let mut listings = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names = Vec::new();
        for dir in dirs {
            let Ok(metadata) = fs::metadata(dir) else {
                continue;
            };
            let changed = (metadata.mtime(), metadata.mtime_nsec());
            let listing = match listings.get(dir) {
                Some(listing) if listing.changed == changed => listing,
                _ => {
                    let fresh = Listing {
                        changed,
                        names: list(dir),
                    };
                    listings.entry(dir.clone()).insert_entry(fresh).into_mut()
                }
            };
            names.extend(
                listing
                    .names
                    .get(&(file.dev, file.ino))
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
        }
        names
    }
}

fn list(dir: &Path) -> HashMap<(u64, u64), Vec<PathBuf>> {
    let mut names: HashMap<_, Vec<PathBuf>> = HashMap::new();
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        // Links are followed: a link and its target are one program.
        if let Ok(metadata) = fs::metadata(&path)
            && metadata.is_file()
        {
            names
                .entry((metadata.dev(), metadata.ino()))
                .or_default()
                .push(path);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn executable(path: &Path) {
        fs::write(path, "#!/bin/sh\n").expect("writable");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("own file");
    }

    fn fixture() -> (tempfile::TempDir, TrustedPath) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = fs::canonicalize(dir.path()).expect("it exists");
        fs::create_dir(root.join("bin")).expect("writable");
        executable(&root.join("bin/tool"));
        (
            dir,
            TrustedPath {
                dirs: vec![root.join("bin")],
            },
        )
    }

    #[test]
    fn other_names_of_a_file_are_found() {
        let (_dir, path) = fixture();
        let bin = &path.dirs[0];
        symlink("tool", bin.join("link")).expect("writable");
        fs::hard_link(bin.join("tool"), bin.join("hard")).expect("writable");
        executable(&bin.join("other"));
        let found = path
            .find("link", &NameIndex::default())
            .expect("trusted")
            .expect("found");
        assert_eq!(found.path, bin.join("link"));
        assert_eq!(found.aliases, [bin.join("hard"), bin.join("tool")]);
    }

    #[test]
    fn a_changed_directory_is_read_again() {
        let (_dir, path) = fixture();
        let (bin, names) = (&path.dirs[0], NameIndex::default());
        assert_eq!(
            path.find("tool", &names)
                .expect("trusted")
                .expect("found")
                .aliases,
            Vec::<PathBuf>::new()
        );
        fs::hard_link(bin.join("tool"), bin.join("hard")).expect("writable");
        assert_eq!(
            path.find("tool", &names)
                .expect("trusted")
                .expect("found")
                .aliases,
            [bin.join("hard")]
        );
    }

    #[test]
    fn what_is_no_program_is_not_found() {
        let (_dir, path) = fixture();
        fs::write(path.dirs[0].join("data"), "").expect("writable");
        for name in ["missing", "data", "../bin/missing", "/", "/nonexistent/x"] {
            assert!(
                path.find(name, &NameIndex::default())
                    .expect("no error")
                    .is_none(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_multi_call_program_is_judged_by_the_name_it_is_called_by() {
        let (_dir, path) = fixture();
        let bin = &path.dirs[0];
        executable(&bin.join("busybox"));
        symlink("busybox", bin.join("ls")).expect("writable");
        symlink("busybox", bin.join("env")).expect("writable");
        let found = path
            .find("ls", &NameIndex::default())
            .expect("trusted")
            .expect("found");
        assert_eq!(found.aliases, [bin.join("busybox")]);
    }

    #[test]
    fn an_entry_of_the_policy_file_may_be_a_pattern() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in ["v20/bin", "v22/bin", "v22/lib", "other"] {
            fs::create_dir_all(dir.path().join(name)).expect("writable");
        }
        let expanded = |entry: &str| expand(&format!("{}/{entry}", dir.path().display()));
        assert_eq!(
            expanded("v*/bin"),
            [dir.path().join("v20/bin"), dir.path().join("v22/bin")]
        );
        assert_eq!(expanded("other"), [dir.path().join("other")]);
        assert_eq!(expanded("missing"), Vec::<PathBuf>::new());
        assert_eq!(expand("relative/bin"), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_file_that_others_can_replace_is_refused() {
        let (_dir, path) = fixture();
        let bin = &path.dirs[0];
        let refused = |mode: u32, place: &Path| {
            let before = fs::metadata(place).expect("exists").permissions();
            fs::set_permissions(place, fs::Permissions::from_mode(mode)).expect("own file");
            let result = path.find("tool", &NameIndex::default());
            fs::set_permissions(place, before).expect("own file");
            result.expect_err("refused").to_string()
        };
        assert!(refused(0o757, &bin.join("tool")).contains("tool can be written by others"));
        assert!(refused(0o777, bin).contains("bin can be written by others"));
        assert!(
            path.find("tool", &NameIndex::default())
                .expect("trusted again")
                .is_some()
        );
    }
}
