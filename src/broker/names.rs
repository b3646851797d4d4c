//! The names that files have in trusted directories: which programs are one and the same file.
//!
//! A directory is read again when it has changed, and so are the directories that its links lead through, such as those of the
//! system's alternatives.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use secretctl_runner::FileId;

/// A path that leads through more links than this leads nowhere, as in the kernel.
const LINKS_MAX: usize = 40;
/// The clock of a file system goes in ticks: what changed less long ago may change again without another time.
const TICK: Duration = Duration::from_millis(20);

/// What is known of trusted directories.
#[derive(Default)]
pub(super) struct NameIndex {
    dirs: Mutex<HashMap<PathBuf, Listing>>,
}

/// The directories as they are now, in their order.
pub(super) struct Names<'a> {
    listings: MutexGuard<'a, HashMap<PathBuf, Listing>>,
    dirs: &'a [PathBuf],
}

struct Listing {
    /// When each directory changed that had a part in it.
    changed: BTreeMap<PathBuf, Changed>,
    settled: bool,
    programs: HashMap<OsString, (u64, u64)>,
    /// By device and inode.
    names: HashMap<(u64, u64), Vec<PathBuf>>,
}

/// The inode's own time, which nobody can set back.
type Changed = Option<(i64, i64)>;

/// What was looked at already: the links of several directories lead through the same ones.
type Seen<'a> = HashMap<&'a Path, Changed>;

impl NameIndex {
    pub(super) fn read<'a>(&'a self, dirs: &'a [PathBuf]) -> Names<'a> {
        let mut listings = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = Seen::new();
        let mut is_current = |dir: &&PathBuf| {
            let listing = listings.get(*dir);
            listing.is_some_and(|listing| listing.is_current(&mut seen))
        };
        let stale: Vec<&PathBuf> = dirs.iter().filter(|dir| !is_current(dir)).collect();
        for dir in stale {
            listings.insert(dir.clone(), Listing::of(dir));
        }
        Names { listings, dirs }
    }
}

impl Names<'_> {
    /// All names of a file.
    pub(super) fn of(&self, file: FileId) -> Vec<PathBuf> {
        let listings = self.dirs.iter().filter_map(|dir| self.listings.get(dir));
        let names = listings.filter_map(|listing| listing.names.get(&(file.dev, file.ino)));
        names.flatten().cloned().collect()
    }

    /// The names by which programs are found.
    pub(super) fn all(&self) -> Vec<String> {
        let listings = self.dirs.iter().filter_map(|dir| self.listings.get(dir));
        let names = listings.flat_map(|listing| listing.programs.keys());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }

    /// Where a bare name is found first.
    pub(super) fn find(&self, name: &str) -> Option<PathBuf> {
        let name = OsStr::new(name);
        let mut dirs = self.dirs.iter();
        let holds = |dir: &&PathBuf| {
            let listing = self.listings.get(*dir);
            listing.is_some_and(|listing| listing.programs.contains_key(name))
        };
        dirs.find(holds).map(|dir| dir.join(name))
    }
}

impl Listing {
    fn of(dir: &Path) -> Listing {
        let mut listing = Listing {
            changed: BTreeMap::from([(dir.to_owned(), changed(dir))]),
            settled: true,
            programs: HashMap::new(),
            names: HashMap::new(),
        };
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                for parent in follow(&path).iter().filter_map(|hop| hop.parent()) {
                    let known = listing.changed.entry(parent.to_owned());
                    known.or_insert_with(|| changed(parent));
                }
            }
            // Links are followed: a link and its target are one program.
            if let Ok(metadata) = fs::metadata(&path)
                && metadata.is_file()
            {
                let file = (metadata.dev(), metadata.ino());
                listing.programs.insert(entry.file_name(), file);
                listing.names.entry(file).or_default().push(path);
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().saturating_sub(TICK);
        let latest = listing.changed.values().flatten().max();
        listing.settled = latest.is_none_or(|&(seconds, nanoseconds)| {
            (seconds, nanoseconds) < (now.as_secs().cast_signed(), i64::from(now.subsec_nanos()))
        });
        listing
    }

    fn is_current<'a>(&'a self, seen: &mut Seen<'a>) -> bool {
        let mut is_as_then = |(dir, then): (&'a PathBuf, &Changed)| {
            *seen.entry(dir).or_insert_with(|| changed(dir)) == *then
        };
        self.settled && self.changed.iter().all(&mut is_as_then)
    }
}

fn changed(dir: &Path) -> Changed {
    let metadata = fs::metadata(dir).ok()?;
    Some((metadata.ctime(), metadata.ctime_nsec()))
}

/// A path, and each path that it leads to by links of its last part.
pub(super) fn follow(path: &Path) -> Vec<PathBuf> {
    let mut hops = vec![path.to_owned()];
    while let Some(last) = hops.last()
        && let Ok(target) = fs::read_link(last)
        && hops.len() <= LINKS_MAX
    {
        // The directory as it really is: a `..` means its parent, whatever led there.
        let parent = last.parent().unwrap_or(Path::new("/"));
        let climbs = target.components().any(|part| part == Component::ParentDir);
        let parent = if climbs {
            fs::canonicalize(parent)
        } else {
            Ok(parent.to_owned())
        };
        let Ok(parent) = parent else { break };
        hops.push(plain(&parent.join(target)));
    }
    hops
}

/// A path without `..`, which must not stand behind a link.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(dirs: &[PathBuf], index: &NameIndex, path: &Path) -> Vec<PathBuf> {
        let file = FileId::from(&fs::metadata(path).expect("it exists"));
        let mut names = index.read(dirs).of(file);
        names.sort();
        names
    }

    #[test]
    fn a_changed_directory_is_read_again() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (dirs, index) = ([dir.path().to_owned()], NameIndex::default());
        let (tool, hard) = (dir.path().join("tool"), dir.path().join("hard"));
        fs::write(&tool, "").expect("writable");
        assert_eq!(names(&dirs, &index, &tool), std::slice::from_ref(&tool));
        fs::hard_link(&tool, &hard).expect("writable");
        assert_eq!(names(&dirs, &index, &tool), [hard, tool]);
    }

    #[test]
    fn a_link_that_leads_elsewhere_by_now_is_seen_though_its_directory_is_unchanged() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = fs::canonicalize(dir.path()).expect("it exists");
        for name in ["bin", "alternatives"] {
            fs::create_dir(root.join(name)).expect("writable");
        }
        let [bin, alternative] = [root.join("bin"), root.join("alternatives/awk")];
        let [awk, gawk, mawk] = ["awk", "gawk", "mawk"].map(|name| bin.join(name));
        for program in [&gawk, &mawk] {
            fs::write(program, "").expect("writable");
        }
        symlink("../bin/gawk", &alternative).expect("writable");
        symlink("../alternatives/awk", &awk).expect("writable");
        let (dirs, index) = ([bin.clone()], NameIndex::default());
        assert_eq!(names(&dirs, &index, &gawk), [awk.clone(), gawk.clone()]);
        // As if all of that were long ago.
        for listing in index.dirs.lock().expect("not poisoned").values_mut() {
            listing.settled = true;
            assert!(listing.is_current(&mut Seen::new()));
        }
        let is_current = || {
            let listings = index.dirs.lock().expect("not poisoned");
            listings[&bin].is_current(&mut Seen::new())
        };
        // Until the clock of the file system has gone on.
        let seen = (0..1_000_000).any(|_| {
            fs::remove_file(&alternative).expect("own file");
            symlink(&mawk, &alternative).expect("writable");
            !is_current()
        });
        assert!(seen);
        assert_eq!(names(&dirs, &index, &mawk), [awk, mawk]);
        assert_eq!(names(&dirs, &index, &gawk), [gawk]);
    }

    #[test]
    fn links_are_followed_one_by_one() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = fs::canonicalize(dir.path()).expect("it exists");
        fs::create_dir_all(root.join("a/b")).expect("writable");
        fs::write(root.join("a/b/tool"), "").expect("writable");
        symlink("b/tool", root.join("a/hop")).expect("writable");
        symlink("../a/./hop", root.join("a/b/link")).expect("writable");
        let hops = follow(&root.join("a/b/link"));
        assert_eq!(hops, [root.join("a/b/link"), root.join("a/a/hop")]);
        fs::remove_file(root.join("a/b/link")).expect("own file");
        symlink("../hop", root.join("a/b/link")).expect("writable");
        let hops = follow(&root.join("a/b/link"));
        assert_eq!(
            hops,
            ["a/b/link", "a/hop", "a/b/tool"].map(|name| root.join(name))
        );
        symlink("loop", root.join("loop")).expect("writable");
        assert_eq!(follow(&root.join("loop")).len(), LINKS_MAX + 1);
    }

    #[test]
    fn every_directory_that_a_link_leads_through_is_watched() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = fs::canonicalize(dir.path()).expect("it exists");
        for (name, next) in [("bin", "one"), ("one", "two"), ("two", "three")] {
            fs::create_dir(root.join(name)).expect("writable");
            symlink(format!("../{next}/x"), root.join(name).join("x")).expect("writable");
        }
        fs::create_dir(root.join("three")).expect("writable");
        let mut listing = Listing::of(&root.join("bin"));
        for name in ["bin", "one", "two", "three"] {
            assert!(listing.changed.contains_key(&root.join(name)), "{name}");
        }
        // What changed a moment ago may have changed again since.
        listing.settled = false;
        assert!(!listing.is_current(&mut Seen::new()));
    }

    #[test]
    fn a_link_climbs_from_where_its_directory_really_is() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = fs::canonicalize(dir.path()).expect("it exists");
        fs::create_dir_all(root.join("real/deep")).expect("writable");
        symlink("real/deep", root.join("short")).expect("writable");
        symlink("../tool", root.join("real/deep/x")).expect("writable");
        let hops = follow(&root.join("short/x"));
        assert_eq!(hops, ["short/x", "real/tool"].map(|name| root.join(name)));
    }
}
