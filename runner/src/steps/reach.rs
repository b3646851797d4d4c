//! What a jailed program can reach in the file system: one list, from which its view of the file
//! system and its Landlock rules are made.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::plan::Jail;

/// Programs, libraries and settings of the system, where they exist. Not /var, /run and the home
/// directories: there are other programs' data and the sockets of daemons.
const SYSTEM: [&str; 18] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    // Nix and Guix, and NixOS's current set of programs.
    "/nix",
    "/gnu",
    "/run/current-system",
    "/home/linuxbrew",
    // Where links in /etc may lead.
    "/etc/resolv.conf",
    "/etc/localtime",
    "/var/lib/ca-certificates",
    // The number of processors, and how memory is handed out: the C library, Go and Java look.
    "/sys/devices/system/cpu",
    "/sys/kernel/mm/transparent_hugepage",
];

/// The device nodes that ordinary programs open.
pub(crate) const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

/// Where the run's own directory stands in a view of its own.
pub(crate) const OWN: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// Where a readable copy of the dynamic loader stands in a view of its own, for linkers.
pub(crate) const READABLE_LOADER: &str = "/run/secretctl/loader";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reading and executing.
    Read,
    /// Everything but making device nodes.
    Write,
}

/// A file or directory that the program can reach, with all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Canonical.
    pub(crate) path: PathBuf,
    pub(crate) access: Access,
    pub(crate) directory: bool,
    /// Named by the jail, and not every jail's.
    pub(crate) named: bool,
}

/// A name that leads to a place by way of a symbolic link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) path: PathBuf,
    pub(crate) target: PathBuf,
}

/// What is covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hidden {
    /// Canonical.
    pub(crate) path: PathBuf,
    pub(crate) directory: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Parents before what lies below them.
    pub(crate) places: Vec<Place>,
    pub(crate) links: Vec<Link>,
    /// Within the places, or around some of the system's own.
    pub(crate) hidden: Vec<Hidden>,
}

impl Reach {
    /// As the file system is now. What does not exist is left out.
    pub(crate) fn of(jail: &Jail) -> Self {
        Reach::system().with(jail)
    }

    /// What every jail has.
    pub(crate) fn system() -> Self {
        let mut reach = Reach::default();
        for path in SYSTEM {
            reach.add(Path::new(path), Access::Read, false, &[]);
        }
        reach.settle();
        reach
    }

    /// With what this jail has beyond that, and without what it hides.
    pub(crate) fn with(&self, jail: &Jail) -> Self {
        let hidden: Vec<PathBuf> = jail.hidden.iter().filter_map(canonical).collect();
        let mut reach = Reach {
            links: self.links.clone(),
            ..Reach::default()
        };
        for path in &jail.writable {
            reach.add(path, Access::Write, true, &hidden);
        }
        for place in &self.places {
            reach.put(place.clone(), &hidden);
        }
        for path in &jail.readable {
            reach.add(path, Access::Read, true, &hidden);
        }
        reach.settle();
        let hides = |path: &PathBuf| {
            let within = |place: &Place| path.starts_with(&place.path);
            let around = |place: &Place| place.path.starts_with(path);
            reach.places.iter().any(within) || self.places.iter().any(around)
        };
        let hidden = hidden.into_iter().filter(hides);
        let hidden = hidden.map(|path| Hidden {
            directory: path.is_dir(),
            path,
        });
        reach.hidden = hidden.collect();
        reach
    }

    /// The places that are not in `other` as well.
    pub(crate) fn beyond(&self, other: &Self) -> impl Iterator<Item = &Place> {
        let places = self.places.iter();
        places.filter(|place| !other.places.contains(place))
    }

    fn add(&mut self, path: &Path, access: Access, named: bool, hidden: &[PathBuf]) {
        let Some(canonical) = canonical(path) else {
            return;
        };
        let target = canonical.clone();
        let place = Place {
            directory: canonical.is_dir(),
            path: canonical,
            access,
            named,
        };
        if self.put(place, hidden) && target != path {
            self.links.push(Link {
                path: path.to_owned(),
                target,
            });
        }
    }

    /// False if it is not to be reached.
    fn put(&mut self, place: Place, hidden: &[PathBuf]) -> bool {
        let path = &place.path;
        if hidden.iter().any(|hidden| path.starts_with(hidden)) || path.parent().is_none() {
            return false;
        }
        // Writing includes reading, and the first word for a place counts.
        let covered = |other: &Place| match (other.access, place.access) {
            (Access::Read, Access::Write) => false,
            _ => path.starts_with(&other.path),
        };
        if !self.places.iter().any(covered) {
            self.places
                .retain(|other| other.access != place.access || !other.path.starts_with(path));
            self.places.push(place);
        }
        true
    }

    fn settle(&mut self) {
        self.places.sort_by(|a, b| a.path.cmp(&b.path));
        let places = &self.places;
        let within = |link: &Link| {
            places
                .iter()
                .any(|place| link.path.starts_with(&place.path))
        };
        self.links.retain(|link| !within(link));
    }
}

fn canonical(path: impl AsRef<Path>) -> Option<PathBuf> {
    fs::canonicalize(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(readable: &[&Path], writable: &[&Path], hidden: &[&Path]) -> Reach {
        let owned = |paths: &[&Path]| paths.iter().map(|path| path.to_path_buf()).collect();
        Reach::of(&Jail {
            readable: owned(readable),
            writable: owned(writable),
            hidden: owned(hidden),
            ..Jail::default()
        })
    }

    fn tree() -> PathBuf {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let top = std::env::temp_dir().join(format!("reach-{}-{next}", std::process::id()));
        fs::create_dir_all(top.join("project/vault")).unwrap();
        fs::create_dir_all(top.join("tools/bin")).unwrap();
        std::os::unix::fs::symlink("tools", top.join("link")).unwrap();
        fs::canonicalize(top).unwrap()
    }

    fn below(reach: &Reach, top: &Path) -> Vec<(PathBuf, Access)> {
        let places = reach
            .places
            .iter()
            .filter(|place| place.path.starts_with(top));
        let relative = |place: &Place| place.path.strip_prefix(top).unwrap().to_owned();
        places
            .map(|place| (relative(place), place.access))
            .collect()
    }

    #[test]
    fn each_place_is_listed_once_and_parents_come_first() {
        let top = tree();
        let [tools, bin] = ["tools", "tools/bin"].map(|name| top.join(name));
        let both = reach(&[&bin, &tools, &bin], &[], &[]);
        assert_eq!(below(&both, &top), [("tools".into(), Access::Read)]);
        let inside = reach(&[&tools], &[&bin], &[]);
        assert_eq!(
            below(&inside, &top),
            [
                ("tools".into(), Access::Read),
                ("tools/bin".into(), Access::Write)
            ]
        );
        let around = reach(&[&bin], &[&tools], &[]);
        assert_eq!(below(&around, &top), [("tools".into(), Access::Write)]);
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn a_link_leads_to_its_place() {
        let top = tree();
        let link = top.join("link");
        let found = reach(&[&link], &[], &[]);
        assert_eq!(below(&found, &top), [("tools".into(), Access::Read)]);
        let target = top.join("tools");
        assert!(found.links.contains(&Link { path: link, target }));
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn what_is_hidden_is_covered_within_a_place_and_no_place_itself() {
        let top = tree();
        let [project, vault] = ["project", "project/vault"].map(|name| top.join(name));
        let inside = reach(&[&vault], &[&project], &[&vault]);
        assert_eq!(below(&inside, &top), [("project".into(), Access::Write)]);
        let directory = true;
        let path = vault.clone();
        assert_eq!(inside.hidden, [Hidden { path, directory }]);
        let around = reach(&[], &[&vault], &[&project]);
        assert_eq!(below(&around, &top), []);
        assert_eq!(around.hidden, []);
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn what_hides_a_place_of_the_systems_own_is_covered() {
        let found = reach(&[], &[], &[Path::new("/usr/lib"), Path::new("/etc")]);
        let paths: Vec<&Path> = found.hidden.iter().map(|one| one.path.as_path()).collect();
        assert_eq!(paths, [Path::new("/usr/lib"), Path::new("/etc")]);
        assert!(
            found
                .places
                .iter()
                .all(|place| !place.path.starts_with("/etc"))
        );
        assert!(
            found
                .places
                .iter()
                .any(|place| place.path == Path::new("/usr"))
        );
    }

    #[test]
    fn what_a_jail_has_beyond_another_is_what_it_names() {
        let top = tree();
        let tools = top.join("tools");
        let beyond = |readable: &[&Path], writable: &[&Path]| {
            let system = Reach::system();
            let found = reach(readable, writable, &[]);
            let beyond = found.beyond(&system);
            beyond
                .map(|place| (place.path.clone(), place.access))
                .collect::<Vec<_>>()
        };
        assert_eq!(beyond(&[], &[]), []);
        assert_eq!(beyond(&[Path::new("/usr/bin")], &[]), []);
        assert_eq!(beyond(&[&tools], &[]), [(tools, Access::Read)]);
        let etc = Path::new("/etc");
        assert_eq!(beyond(&[], &[etc]), [(etc.to_owned(), Access::Write)]);
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn the_root_and_what_is_missing_are_no_places() {
        let found = reach(&[Path::new("/")], &[Path::new("/nonexistent")], &[]);
        assert!(
            found
                .places
                .iter()
                .all(|place| place.path != Path::new("/"))
        );
        assert!(
            found
                .places
                .iter()
                .all(|place| place.access == Access::Read)
        );
        assert!(
            found
                .places
                .iter()
                .any(|place| place.path == Path::new("/usr"))
        );
    }
}
