//! Which file a command will run: the facts that policy judges, and the file that is then started.
//!
//! Bare names are looked up in trusted directories only. A file that others could replace is refused, wherever it lies.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use globset::Glob;
use secretctl_runner::FileId;

use super::RunError;
use super::names::{NameIndex, Names, follow};
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
/// Programs that act by the name they are called by, as their own names begin.
const MULTI_CALL: [&str; 3] = ["busybox", "toybox", "coreutils"];
/// A file with so many names in trusted directories acts by the name it is called by: an editor has ten, a busybox a hundred.
const MULTI_CALL_NAMES: usize = 16;
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

    /// The names of all programs in them.
    pub(super) fn names(&self, names: &NameIndex) -> Vec<String> {
        names.read(&self.dirs).all()
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
        let Some(file) = program_at(path) else {
            return Ok(None);
        };
        let unreadable = |error| RunError::Program {
            path: path.to_owned(),
            fact: format!("cannot be examined: {error}"),
        };
        let canonical = fs::canonicalize(path).map_err(unreadable)?;
        let mut way = follow(path);
        if !way.contains(&canonical) {
            way.push(canonical.clone());
        }
        for file in &way {
            require_unwritable_by_others(file)?;
        }
        Ok(Some(Program {
            path: path.to_owned(),
            file,
            aliases: aliases(path, canonical, file, &names.read(&self.dirs)),
        }))
    }

    /// Those of `words` that are programs with another name, each with its names: what `awk` in `sh -c 'awk …'` really is. A path is
    /// taken from `directory`; without one, only an absolute path can be followed.
    pub(super) fn mentioned(
        &self,
        words: BTreeSet<&str>,
        directory: Option<&Path>,
        names: &NameIndex,
    ) -> Vec<policy::Program> {
        let mut found = Vec::new();
        if words.is_empty() {
            return found;
        }
        let names = names.read(&self.dirs);
        for word in words {
            let place = if word.contains('/') {
                directory.unwrap_or(Path::new("/")).join(word)
            } else {
                match names.find(word) {
                    Some(path) => path,
                    None => continue,
                }
            };
            let relative_to_nothing =
                directory.is_none() && !word.starts_with('/') && word.contains('/');
            let Some(file) = program_at(&place).filter(|_| !relative_to_nothing) else {
                continue;
            };
            let Ok(canonical) = fs::canonicalize(&place) else {
                continue;
            };
            let aliases = aliases(&place, canonical, file, &names);
            if aliases
                .iter()
                .any(|alias| alias.file_name() != place.file_name())
            {
                found.push(policy::Program {
                    requested: word.to_owned(),
                    path: Some(place),
                    aliases,
                });
            }
        }
        found
    }
}

/// The file behind a path, if it can be executed.
fn program_at(path: &Path) -> Option<FileId> {
    let metadata = fs::metadata(path).ok()?;
    let is_program = metadata.is_file() && metadata.mode() & EXECUTABLE != 0;
    is_program.then(|| FileId::from(&metadata))
}

/// The other names of the program at `path` that say what it does.
///
/// Links, hard links and alternatives are one program under several names, so all of them count: who may not run `mawk` may not
/// run `awk`, and the other way round. A multi-call program does under each name what that name says. There the name that it is called
/// by counts, which is `path`, with the canonical one and the program's own: `busybox`, denied, is denied under all names, but
/// `rm`, denied, says nothing about `ls`. Such a program is known by its own name, or else by the number of its names, as nobody
/// can tell from the file.
fn aliases(path: &Path, canonical: PathBuf, file: FileId, names: &Names<'_>) -> Vec<PathBuf> {
    let all = names.of(file);
    let own = |name: &PathBuf| {
        let name = name.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| MULTI_CALL.iter().any(|own| name.starts_with(own)))
    };
    let distinct: BTreeSet<_> = all.iter().filter_map(|name| name.file_name()).collect();
    let multi_call = own(&canonical) || all.iter().any(own) || distinct.len() >= MULTI_CALL_NAMES;
    let counts = |name: &PathBuf| !multi_call || own(name);
    let mut aliases: Vec<PathBuf> = all.into_iter().filter(counts).collect();
    aliases.push(canonical);
    aliases.retain(|alias| alias != path);
    aliases.sort();
    aliases.dedup();
    aliases
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
    fn a_program_of_very_many_names_is_one_that_acts_by_its_name() {
        let (_dir, path) = fixture();
        let bin = &path.dirs[0];
        let aliases_of_tool = |names: usize| {
            for number in 1..names {
                let _ = fs::hard_link(bin.join("tool"), bin.join(format!("tool-{number}")));
            }
            let found = path.find("tool", &NameIndex::default());
            found.expect("trusted").expect("found").aliases.len()
        };
        assert_eq!(aliases_of_tool(MULTI_CALL_NAMES - 1), MULTI_CALL_NAMES - 2);
        assert_eq!(aliases_of_tool(MULTI_CALL_NAMES), 0);
        // By its own name it is known however few names it has.
        executable(&bin.join("busybox.static"));
        fs::hard_link(bin.join("busybox.static"), bin.join("rm")).expect("writable");
        fs::hard_link(bin.join("busybox.static"), bin.join("ls")).expect("writable");
        let found = path.find("ls", &NameIndex::default());
        assert_eq!(
            found.expect("trusted").expect("found").aliases,
            [bin.join("busybox.static")]
        );
    }

    #[test]
    fn programs_that_arguments_mention_are_known_by_their_other_names() {
        let (dir, path) = fixture();
        let bin = &path.dirs[0];
        symlink("tool", bin.join("link")).expect("writable");
        executable(&bin.join("plain"));
        let project = fs::canonicalize(dir.path())
            .expect("it exists")
            .join("project");
        fs::create_dir(&project).expect("writable");
        symlink(bin.join("tool"), project.join("mine")).expect("writable");
        let mentioned = |word: &str, directory: Option<&Path>| {
            let found = path.mentioned([word].into(), directory, &NameIndex::default());
            let aliases = found.into_iter().flat_map(|program| program.aliases);
            aliases.collect::<Vec<_>>()
        };
        assert_eq!(mentioned("link", None), [bin.join("tool")]);
        assert_eq!(mentioned("tool", None), [bin.join("link")]);
        assert_eq!(
            mentioned("./mine", Some(&project)),
            [bin.join("link"), bin.join("tool")]
        );
        let absolute = project.join("mine");
        assert_eq!(mentioned(absolute.to_str().expect("text"), None).len(), 2);
        for (word, directory) in [
            ("plain", None),
            ("missing", None),
            ("./mine", None),
            ("./gone", Some(&*project)),
        ] {
            assert_eq!(mentioned(word, directory), Vec::<PathBuf>::new(), "{word}");
        }
    }

    #[test]
    fn every_link_on_the_way_is_one_that_others_cannot_replace() {
        let (_dir, path) = fixture();
        let bin = &path.dirs[0];
        let open = bin.parent().expect("a parent").join("open");
        fs::create_dir(&open).expect("writable");
        symlink(bin.join("tool"), open.join("hop")).expect("writable");
        symlink(open.join("hop"), bin.join("link")).expect("writable");
        let find = || path.find("link", &NameIndex::default());
        assert!(find().expect("trusted").is_some());
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("own");
        let refused = find().expect_err("refused").to_string();
        assert!(
            refused.contains("open can be written by others"),
            "{refused}"
        );
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
