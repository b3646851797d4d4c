//! What a run in the jail can reach beside the system: from the words of a policy, or of a person, to paths of this machine.
//!
//! Runs of one kind get equal jails, whatever order and repetition stand in the words, so that one that was prepared ahead
//! fits the next run.

use std::fs;
use std::path::{Component, Path, PathBuf};

use secretctl_runner::{Jail, Network};

/// Directories of the system, which every jail has.
const SYSTEM: [&str; 11] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix", "/gnu",
];
/// What belongs to the programs of a directory named `bin` and stands beside it.
const BESIDE_BIN: [&str; 5] = ["lib", "lib64", "libexec", "include", "pyvenv.cfg"];
/// Directories below the home directory whose `bin` has more than its programs' files beside it: credentials, too.
const SHARED: [&str; 3] = ["", ".local", ".cargo"];
/// Links on one way before it counts as leading nowhere, as in the kernel.
const LINKS_MAX: usize = 40;

/// Why a path is not opened. The texts continue a sentence that begins with the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Closed {
    #[error("does not exist")]
    Missing,
    #[error("is the whole file system")]
    Everything,
    #[error("holds the whole home directory")]
    Home,
    #[error("is of the vault, or holds its password")]
    Vault,
    #[error("holds the vault, or the file with its password")]
    AroundVault,
    #[error("is not a directory")]
    NotDirectory,
    #[error("leads out of a directory that commands can change; name the place that it leads to")]
    LeadsOut,
}

/// Collects what is opened to a run.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    home: Option<PathBuf>,
    /// Not opened: the vault's directory, and the file with its password.
    kept: Vec<PathBuf>,
    /// Where this run, or one before it, can have put links.
    changeable: Vec<PathBuf>,
    /// Directories that belong to the programs in their `bin`.
    prefixes: Vec<PathBuf>,
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
}

impl Reach {
    /// Opens nothing yet. `changeable` is all that any run may change.
    pub(super) fn new<'a>(
        kept: &[PathBuf],
        changeable: impl IntoIterator<Item = &'a Path>,
    ) -> Self {
        let canonical = |path: &Path| fs::canonicalize(path).ok();
        Self {
            home: std::env::home_dir().as_deref().and_then(canonical),
            kept: kept
                .iter()
                .map(|path| canonical(path).unwrap_or_else(|| path.clone()))
                .collect(),
            changeable: changeable.into_iter().filter_map(canonical).collect(),
            prefixes: Vec::new(),
            readable: Vec::new(),
            writable: Vec::new(),
        }
    }

    /// Opens the canonical root of the project in which the run takes place.
    pub(super) fn project(&mut self, root: &Path) {
        self.writable.push(root.to_owned());
    }

    /// Opens a directory for changes.
    pub(super) fn write(&mut self, path: &Path) -> Result<(), Closed> {
        let target = self.target(path)?;
        self.require_not_around(&target)?;
        if !target.is_dir() {
            return Err(Closed::NotDirectory);
        }
        self.writable.extend(names(path, target));
        Ok(())
    }

    /// Opens a file or directory for reading, under this name and the one that it leads to.
    pub(super) fn read(&mut self, path: &Path) -> Result<(), Closed> {
        let target = self.target(path)?;
        self.readable.extend(names(path, target));
        Ok(())
    }

    /// Opens a directory in which programs are looked up, with what belongs to them. What may not be opened stays closed: that
    /// programs are looked up there as well is no reason.
    pub(super) fn look_up(&mut self, dir: &Path) {
        let Ok(target) = self.target(dir) else {
            return;
        };
        self.readable.extend(names(dir, target.clone()));
        for bin in [dir, &target] {
            let Some(prefix) = bin.parent().filter(|_| bin.ends_with("bin")) else {
                continue;
            };
            if self.is_shared(prefix) {
                continue;
            }
            for name in BESIDE_BIN {
                // Most of them do not exist.
                let _ = self.read(&prefix.join(name));
            }
            self.prefixes.extend(fs::canonicalize(prefix));
        }
    }

    /// Opens a program's file: where it was found, and where it stands.
    pub(super) fn program(&mut self, path: &Path) {
        let Ok(target) = self.target(path) else {
            return;
        };
        let own_dir = target.parent().filter(|dir| {
            self.prefixes
                .iter()
                .any(|prefix| dir.starts_with(prefix) && *dir != prefix)
        });
        self.readable.extend(own_dir.map(Path::to_owned));
        self.readable.extend(names(path, target));
    }

    /// The jail in which all of that is open.
    pub(super) fn jail(self, network: Network) -> Jail {
        let is_known = |path: &Path| {
            let mut known = SYSTEM.iter().map(Path::new).chain(paths(&self.writable));
            known.any(|dir| path.starts_with(dir))
        };
        let readable = self.readable.into_iter().filter(|path| !is_known(path));
        Jail {
            network,
            readable: outermost(readable.collect()),
            writable: outermost(self.writable),
            hidden: self.kept,
        }
    }

    /// Where a path leads, if that may be opened at all.
    fn target(&self, path: &Path) -> Result<PathBuf, Closed> {
        let target = follow(path, &self.changeable)?;
        if target.parent().is_none() {
            Err(Closed::Everything)
        } else if self
            .home
            .as_deref()
            .is_some_and(|home| home.starts_with(&target))
        {
            Err(Closed::Home)
        } else if self.kept.iter().any(|kept| target.starts_with(kept)) {
            Err(Closed::Vault)
        } else {
            Ok(target)
        }
    }

    /// What can be changed is not around what is kept: it could be moved away, and another put in its place.
    fn require_not_around(&self, target: &Path) -> Result<(), Closed> {
        match self.kept.iter().any(|kept| kept.starts_with(target)) {
            true => Err(Closed::AroundVault),
            false => Ok(()),
        }
    }

    fn is_shared(&self, prefix: &Path) -> bool {
        let Ok(prefix) = fs::canonicalize(prefix) else {
            return true;
        };
        let shared = |home: &PathBuf| SHARED.iter().any(|dir| home.join(dir) == prefix);
        prefix.parent().is_none() || self.home.as_ref().is_some_and(shared)
    }
}

/// The canonical path of a directory that commands may run in and change.
pub(super) fn project(dir: &Path, kept: &[PathBuf]) -> Result<PathBuf, Closed> {
    let reach = Reach::new(kept, []);
    let root = reach.target(dir)?;
    reach.require_not_around(&root)?;
    root.is_dir().then_some(root).ok_or(Closed::NotDirectory)
}

/// Where a path leads. A link in a changeable directory that leads out of it is not followed: a run may have put it there to
/// open its target to the next one.
fn follow(path: &Path, changeable: &[PathBuf]) -> Result<PathBuf, Closed> {
    let missing = |_| Closed::Missing;
    let target = fs::canonicalize(path).map_err(missing)?;
    let mut way = std::path::absolute(path).map_err(missing)?;
    for _ in 0..LINKS_MAX {
        let mut places: Vec<&Path> = way.ancestors().collect();
        places.reverse();
        let Some(link) = places.into_iter().find(|place| place.is_symlink()) else {
            return Ok(target);
        };
        let dir = fs::canonicalize(link.parent().unwrap_or(link)).map_err(missing)?;
        let leaves = |held: &PathBuf| dir.starts_with(held) && !target.starts_with(held);
        if changeable.iter().any(leaves) {
            return Err(Closed::LeadsOut);
        }
        let mut next = dir.join(fs::read_link(link).map_err(missing)?);
        // Component by component: joining an empty rest would end the path in a slash, behind which no link is seen.
        next.extend(way.strip_prefix(link).unwrap_or(Path::new("")));
        way = next;
    }
    Err(Closed::Missing)
}

/// The names under which a place is opened: as it was written, and as it is. A name with `..` stands for no place by itself.
fn names(path: &Path, target: PathBuf) -> impl Iterator<Item = PathBuf> {
    let written = path.components().all(|part| part != Component::ParentDir);
    let written = written.then(|| path.components().collect());
    written.into_iter().chain([target])
}

fn paths(list: &[PathBuf]) -> impl Iterator<Item = &Path> {
    list.iter().map(PathBuf::as_path)
}

/// Sorted, without what lies below another one.
fn outermost(mut list: Vec<PathBuf>) -> Vec<PathBuf> {
    list.sort();
    list.dedup_by(|path, before| path.starts_with(before));
    list
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory with a home, a vault in it, and a project.
    struct Place {
        _dir: tempfile::TempDir,
        root: PathBuf,
    }

    impl Place {
        fn new(files: &[&str]) -> Self {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let root = fs::canonicalize(dir.path()).expect("it exists");
            let place = Self { _dir: dir, root };
            for name in ["home/vault/db", "project/file"].iter().chain(files) {
                let path = place.path(name);
                fs::create_dir_all(path.parent().expect("below the root")).expect("writable");
                fs::write(path, "").expect("writable");
            }
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.root.join(name)
        }

        fn link(&self, target: &str, name: &str) {
            symlink(target, self.path(name)).expect("writable");
        }

        fn reach(&self, changeable: &[&str]) -> Reach {
            let changeable: Vec<_> = changeable.iter().map(|name| self.path(name)).collect();
            Reach {
                home: Some(self.path("home")),
                ..Reach::new(&[self.path("home/vault")], paths(&changeable))
            }
        }

        /// Paths as names in this place.
        fn names(&self, paths: &[PathBuf]) -> Vec<String> {
            let name = |path: &PathBuf| {
                let name = path.strip_prefix(&self.root).expect("in this place");
                name.to_string_lossy().into_owned()
            };
            paths.iter().map(name).collect()
        }

        fn readable(&self, reach: Reach) -> Vec<String> {
            self.names(&reach.jail(Network::Allow).readable)
        }
    }

    #[test]
    fn equal_words_in_any_order_make_equal_jails() {
        let place = Place::new(&["a/b/file", "a-b/file", "c/file"]);
        let jail = |names: &[&str]| {
            let mut reach = place.reach(&[]);
            for name in names {
                reach.read(&place.path(name)).expect("open");
                reach.write(&place.path("project")).expect("open");
            }
            reach.jail(Network::None)
        };
        let first = jail(&["c", "a/b", "a-b", "a", "a/b/file", "c/../c/./file"]);
        assert_eq!(first, jail(&["a", "a-b", "c", "a"]));
        assert_eq!(place.names(&first.readable), ["a", "a-b", "c"]);
        assert_eq!(place.names(&first.writable), ["project"]);
        assert_eq!(place.names(&first.hidden), ["home/vault"]);
        assert_eq!(first.network, Network::None);
    }

    #[test]
    fn what_the_jail_has_anyway_is_not_named() {
        let place = Place::new(&[]);
        let mut reach = place.reach(&[]);
        reach.project(&place.path("project"));
        for path in ["/usr/bin", "/etc/passwd"] {
            reach.read(Path::new(path)).expect("open");
        }
        reach.program(Path::new("/bin/sh"));
        reach.program(&place.path("project/file"));
        assert_eq!(place.readable(reach), Vec::<String>::new());
    }

    #[test]
    fn a_link_is_open_under_both_names() {
        let place = Place::new(&["versions/v22/bin/node"]);
        place.link("versions/v22", "current");
        let mut reach = place.reach(&[]);
        reach.read(&place.path("current/bin")).expect("open");
        assert_eq!(place.readable(reach), ["current/bin", "versions/v22/bin"]);
    }

    #[test]
    fn home_and_vault_cannot_be_opened_by_any_name() {
        let place = Place::new(&[]);
        place.link("home", "link");
        place.link("../home/vault/db", "project/db");
        let mut reach = place.reach(&[]);
        for (name, closed) in [
            ("home", Closed::Home),
            ("", Closed::Home),
            ("link", Closed::Home),
            ("link/vault", Closed::Vault),
            ("home/vault/db", Closed::Vault),
            ("project/db", Closed::Vault),
            ("missing", Closed::Missing),
        ] {
            assert_eq!(reach.read(&place.path(name)), Err(closed), "{name}");
            assert_eq!(reach.write(&place.path(name)), Err(closed), "{name}");
            reach.look_up(&place.path(name));
            reach.program(&place.path(name));
        }
        assert_eq!(reach.read(Path::new("/")), Err(Closed::Everything));
        let file = place.path("project/file");
        assert_eq!(reach.write(&file), Err(Closed::NotDirectory));
        let jail = reach.jail(Network::Allow);
        assert_eq!((jail.readable.len(), jail.writable.len()), (0, 0));
    }

    #[test]
    fn a_directory_around_the_vault_can_be_read_and_not_changed() {
        let place = Place::new(&["data/vault/db"]);
        let mut reach = Reach::new(&[place.path("data/vault")], []);
        let data = place.path("data");
        assert_eq!(reach.write(&data), Err(Closed::AroundVault));
        let kept = [place.path("data/vault")];
        assert_eq!(project(&data, &kept), Err(Closed::AroundVault));
        assert_eq!(
            project(&place.path("project"), &kept),
            Ok(place.path("project"))
        );
        assert_eq!(reach.read(&data), Ok(()));
        assert_eq!(reach.jail(Network::Allow).hidden, [data.join("vault")]);
    }

    #[test]
    fn what_belongs_to_programs_is_open_with_them() {
        let place = Place::new(&[
            "v22/bin/node",
            "v22/lib/node_modules/npm/cli.js",
            "v22/share/secret",
            "v22/pyvenv.cfg",
            "home/bin/tool",
            "home/lib/mine",
            "home/.cargo/bin/cargo",
            "home/.cargo/lib/mine",
            "home/.local/bin/tool",
            "home/.local/lib/mine",
            "other/programs/tool",
            "other/lib/mine",
        ]);
        let mut reach = place.reach(&[]);
        for dir in [
            "v22/bin",
            "home/bin",
            "home/.cargo/bin",
            "home/.local/bin",
            "other/programs",
        ] {
            reach.look_up(&place.path(dir));
        }
        let expected = [
            "home/.cargo/bin",
            "home/.local/bin",
            "home/bin",
            "other/programs",
            "v22/bin",
            "v22/lib",
            "v22/pyvenv.cfg",
        ];
        assert_eq!(place.readable(reach), expected);
    }

    #[test]
    fn a_program_behind_a_link_is_open_and_its_directory_only_in_a_prefix() {
        let place = Place::new(&["v22/bin/node", "v22/tools/x/cli.js", "home/x/cli.js"]);
        place.link("../tools/x/cli.js", "v22/bin/x");
        place.link("../../home/x/cli.js", "v22/bin/y");
        let opened = |program: &str| {
            let mut reach = place.reach(&[]);
            reach.look_up(&place.path("v22/bin"));
            reach.program(&place.path(program));
            place.readable(reach)
        };
        assert_eq!(opened("v22/bin/node"), ["v22/bin"]);
        assert_eq!(opened("v22/bin/x"), ["v22/bin", "v22/tools/x"]);
        assert_eq!(opened("v22/bin/y"), ["home/x/cli.js", "v22/bin"]);
        let mut reach = place.reach(&[]);
        reach.program(&place.path("v22/bin/x"));
        assert_eq!(place.readable(reach), ["v22/bin/x", "v22/tools/x/cli.js"]);
    }

    #[test]
    fn a_run_cannot_open_more_to_the_next_one_by_a_link() {
        let place = Place::new(&["home/.ssh/id", "project/venv/bin/python"]);
        place.link("../home/.ssh", "project/data");
        place.link("../../home/.ssh", "project/venv/lib");
        place.link("project/data", "way");
        place.link("venv", "project/inside");
        let mut reach = place.reach(&["project"]);
        for name in ["project/data", "project/data/id", "way", "way/id"] {
            let path = place.path(name);
            assert_eq!(reach.read(&path), Err(Closed::LeadsOut), "{name}");
            reach.look_up(&path);
            reach.program(&path);
        }
        assert_eq!(reach.read(&place.path("project/inside/bin")), Ok(()));
        reach.look_up(&place.path("project/venv/bin"));
        let expected = ["project/inside/bin", "project/venv/bin"];
        assert_eq!(place.readable(reach), expected);
    }
}
