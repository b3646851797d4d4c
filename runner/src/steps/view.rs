//! A view of the file system of the run's own: a new root with nothing in it but what the program
//! can reach.
//!
//! It stands on a file system in memory that is mounted for this run alone: the mount points, and
//! the run's own directory. All mounts are copies of the system's, made unchangeable before they are
//! attached.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, chmod, open};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_change, move_mount, open_tree, unmount,
};
use rustix::process::{chdir, getuid, pivot_root};

use super::exec_only::{self, Copy, Protection};
use super::namespaces::Strangers;
use super::reach::{Access, DEVICES, Hidden, OWN, Place, READABLE_LOADER, Reach};
use crate::outcome::{Cause, Stage, StartError};
use crate::sys::{self, MountAttributes};

/// Where the space is mounted until it becomes the root.
const BASE: &str = "/tmp";

/// The most that a run can put into its own directory, in bytes: it is memory.
const SPACE_BYTES: u64 = 1 << 30;

/// The most files and directories in it, each of which takes about a KiB of the kernel's: a large
/// tree of packages.
const SPACE_FILES: u32 = 1 << 18;

/// Where the C library's linker script may be, beside the loader's own directory.
const LINKER_SCRIPTS: [&str; 2] = ["/usr/lib64", "/usr/lib"];

/// The largest file that is taken for a linker script, in bytes.
const LINKER_SCRIPT_MAX: u64 = 4096;

/// The number that unknown users are shown with (`/proc/sys/kernel/overflowuid`).
const NOBODY: u32 = 65_534;

/// Read-only, and nothing in it gives privileges or opens a device.
const READ: MountAttributes = MountAttributes {
    read_only: true,
    devices: false,
};
const WRITE: MountAttributes = MountAttributes {
    read_only: false,
    devices: false,
};
const DEVICE: MountAttributes = MountAttributes {
    read_only: false,
    devices: true,
};

/// A file system of the run's own, in memory, which nobody else sees: it goes with the last process
/// of the run.
struct Space {
    /// Is mounted at `view`, with all points in it.
    root: PathBuf,
    /// Becomes the root.
    view: PathBuf,
    /// The run's own directory.
    own: PathBuf,
    /// What covers hidden directories, and files.
    empty: PathBuf,
    nothing: PathBuf,
    top: PathBuf,
}

/// Where the run's own directory stands, beside the other places in [`OWN`].
pub(crate) fn own() -> PathBuf {
    PathBuf::from(OWN[0])
}

/// A view with the system in it, and nothing yet that only one jail has. It is not the root yet.
pub(crate) struct Unfinished {
    system: Reach,
    space: Space,
    made: Made,
    devices: Vec<OwnedFd>,
    covers: Option<Covers>,
    /// What stood where the space is mounted now, and its path.
    under: (OwnedFd, PathBuf),
}

/// Begins a view. `trees` are copies of the places' mounts, if they were
/// made by a helper that can reach more. With a map to strangers programs
/// are made unreadable.
pub(crate) fn begin(
    system: Reach,
    trees: Vec<OwnedFd>,
    strangers: Option<Strangers>,
) -> Result<Unfinished, StartError> {
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    mount_change("/", private).map_err(|error| failed("/", error))?;
    let devices = DEVICES
        .iter()
        .map(|path| copy_tree(Path::new(path), DEVICE).map_err(|error| failed(path, error)));
    let devices = devices.collect::<Result<Vec<_>, _>>()?;
    let loader = strangers.as_ref().and_then(|_| exec_only::system_loader());
    let loader = loader.map(Loader::find).transpose();
    let loader = loader.map_err(|error| failed("the dynamic loader", error))?;
    let unfinished = |error: io::Error| failed("a space of its own", error);
    let under = under().map_err(unfinished)?;

    let space = Space::make().map_err(unfinished)?;
    let mut view = Unfinished {
        made: [&space.top, &space.root, &space.own]
            .map(PathBuf::clone)
            .into(),
        system: Reach::default(),
        space,
        devices,
        covers: None,
        under,
    };
    view.make_points().map_err(unfinished)?;
    view.add_points(&system).map_err(unfinished)?;
    // The new root first: all else is attached to it.
    let root = view.space.root.clone();
    view.space.attach(&root, Path::new("/"), READ)?;
    // Then the run's own directory, in which some of the places may lie.
    for path in OWN {
        view.space.attach(&view.space.own, Path::new(path), WRITE)?;
    }
    view.add(system.places.iter(), trees)?;
    view.system = system;
    let covers = loader.zip(strangers);
    let covers = covers.map(|(loader, strangers)| loader.copy(&view.space, strangers.await_them()));
    let covers = covers.transpose();
    view.covers = covers.map_err(|error| failed("the dynamic loader", error))?;
    Ok(view)
}

/// Where the space will be mounted.
fn under() -> io::Result<(OwnedFd, PathBuf)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok((open(BASE, flags, Mode::empty())?, fs::canonicalize(BASE)?))
}

impl Unfinished {
    /// Adds what this jail has beyond the system, and makes the view the root. `trees`
    /// are copies of the mounts beyond, as in [`begin`]. The answer is with what programs are made unreadable.
    pub(crate) fn finish(
        mut self,
        reach: &Reach,
        trees: Vec<OwnedFd>,
    ) -> Result<Option<Protection>, StartError> {
        let system = std::mem::take(&mut self.system);
        let unfinished = |error: io::Error| failed("a space of its own", error);
        let beyond = Reach {
            places: reach.beyond(&system).cloned().collect(),
            links: reach
                .links
                .iter()
                .filter(|link| !system.links.contains(link))
                .cloned()
                .collect(),
            hidden: Vec::new(),
        };
        self.add_points(&beyond).map_err(unfinished)?;
        self.add(beyond.places.iter(), trees)?;
        for (path, device) in DEVICES.iter().zip(&self.devices) {
            let target = self.space.inside(Path::new(path));
            move_to(device.as_fd(), &target).map_err(|error| failed(path, error))?;
        }
        for Hidden { path, directory } in &reach.hidden {
            let cover = if *directory {
                &self.space.empty
            } else {
                &self.space.nothing
            };
            self.space.attach(cover, path, READ)?;
        }
        let view = &self.space.view;
        mount_processes(view).map_err(|error| failed("/proc", error))?;
        let protection = self.covers.map(|covers| covers.attach(&self.space));
        let protection = protection.transpose();
        let protection = protection.map_err(|error| failed("the dynamic loader", error))?;
        enter(view).map_err(|error| failed("/", error))?;
        Ok(protection)
    }

    /// Puts places where their points are.
    fn add<'a>(
        &self,
        places: impl Iterator<Item = &'a Place>,
        trees: Vec<OwnedFd>,
    ) -> Result<(), StartError> {
        let mut trees = trees.into_iter();
        for place in places {
            let tree = match trees.next() {
                None => self.copy(&place.path),
                Some(tree) => Ok(tree),
            };
            let attributes = match place.access {
                Access::Read => READ,
                Access::Write => WRITE,
            };
            tree.and_then(|tree| {
                sys::set_mount_attributes(tree.as_fd(), attributes)?;
                move_to(tree.as_fd(), &self.space.inside(&place.path))
            })
            .map_err(|error| failed(&place.path, error))?;
        }
        Ok(())
    }

    /// A copy of the mounts at a path of the system's, also if the space covers it.
    fn copy(&self, path: &Path) -> io::Result<OwnedFd> {
        let (under, base) = &self.under;
        match path.strip_prefix(base) {
            Ok(below) => clone_tree(under.as_fd(), below),
            Err(_) => clone_tree(CWD, path),
        }
    }

    /// Directories, files and links for what every view has beside the system.
    fn make_points(&mut self) -> io::Result<()> {
        for path in OWN.into_iter().chain(["/proc"]) {
            self.make_point(Path::new(path), true)?;
        }
        for path in DEVICES.into_iter().chain([READABLE_LOADER]) {
            self.make_point(Path::new(path), false)?;
        }
        for (name, target) in [
            ("fd", ""),
            ("stdin", "/0"),
            ("stdout", "/1"),
            ("stderr", "/2"),
        ] {
            let path = self.space.root.join("dev").join(name);
            symlink(format!("/proc/self/fd{target}"), path)?;
        }
        Ok(())
    }

    /// Directories, files and links where nothing of the system's own will be.
    fn add_points(&mut self, reach: &Reach) -> io::Result<()> {
        for link in &reach.links {
            let path = self.space.point(&link.path);
            make_parents(&path, &mut self.made)?;
            symlink(&link.target, path)?;
        }
        for (index, place) in reach.places.iter().enumerate() {
            // In a place that is already there, so is its point.
            let mut others = self.system.places.iter().chain(&reach.places[..index]);
            if !others.any(|other| place.path.starts_with(&other.path)) {
                self.make_point(&place.path, place.directory)?;
            }
        }
        Ok(())
    }

    fn make_point(&mut self, path: &Path, directory: bool) -> io::Result<()> {
        let point = self.space.point(path);
        if directory {
            return make_directory(&point, &mut self.made);
        }
        make_parents(&point, &mut self.made)?;
        File::create(point).map(drop)
    }
}

pub(crate) fn failed(path: impl AsRef<Path>, error: impl Into<io::Error>) -> StartError {
    let number = error.into().raw_os_error().unwrap_or(libc::EIO);
    let cause = Cause::Path(path.as_ref().to_owned(), number);
    StartError::new(Stage::View, cause)
}

/// A copy of the mount at `path`, unchangeable, its owners mapped.
pub(crate) fn detached(path: &Path, map: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    let tree = copy_tree(path, READ)?;
    if let Some(map) = map {
        sys::map_mount(tree.as_fd(), map)?;
    }
    Ok(tree)
}

/// A copy of all that is mounted at a path and below it.
pub(crate) fn clone_tree(from: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    flags.set(OpenTreeFlags::AT_EMPTY_PATH, path.as_os_str().is_empty());
    Ok(open_tree(from, path, flags)?)
}

fn copy_tree(path: &Path, attributes: MountAttributes) -> io::Result<OwnedFd> {
    let tree = clone_tree(CWD, path)?;
    sys::set_mount_attributes(tree.as_fd(), attributes)?;
    Ok(tree)
}

pub(crate) fn move_to(tree: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(tree, "", CWD, target, flags)?)
}

/// The processes of the run's own namespace. Nothing is written there: a program that is root
/// outside could set the kernel's variables.
fn mount_processes(root: &Path) -> rustix::io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    mount("proc", root.join("proc"), "proc", flags, None)
}

/// What was the root before is out of reach: the new one takes its place, and it is taken off.
fn enter(root: &Path) -> rustix::io::Result<()> {
    chdir(root)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

impl Space {
    fn make() -> io::Result<Self> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        let options = format!("mode=0700,size={SPACE_BYTES},nr_inodes={SPACE_FILES}");
        let options = CString::new(options)?;
        mount("tmpfs", BASE, "tmpfs", flags, Some(options.as_c_str()))?;
        let top = PathBuf::from(BASE);
        let space = Space {
            root: top.join("root"),
            view: top.join("view"),
            own: top.join("own"),
            empty: top.join("empty"),
            nothing: top.join("nothing"),
            top,
        };
        for path in [&space.root, &space.view, &space.own, &space.empty] {
            fs::create_dir(path)?;
        }
        File::create(&space.nothing)?;
        chmod(&space.own, Mode::RWXU)?;
        Ok(space)
    }

    fn inside(&self, path: &Path) -> PathBuf {
        self.view.join(relative(path))
    }

    fn attach(
        &self,
        from: &Path,
        to: &Path,
        attributes: MountAttributes,
    ) -> Result<(), StartError> {
        copy_tree(from, attributes)
            .and_then(|tree| move_to(tree.as_fd(), &self.inside(to)))
            .map_err(|error| failed(to, error))
    }

    /// Where something has to be for a mount or a link to stand at this path.
    fn point(&self, path: &Path) -> PathBuf {
        let own = OWN.iter().find_map(|own| path.strip_prefix(own).ok());
        match own {
            Some(below) if !below.as_os_str().is_empty() => self.own.join(below),
            _ => self.root.join(relative(path)),
        }
    }
}

/// The dynamic loader, opened before the space covers anything.
struct Loader {
    path: PathBuf,
    file: File,
    tree: OwnedFd,
    /// Linker scripts that name it, as they are to be read.
    scripts: Vec<(PathBuf, String)>,
}

impl Loader {
    fn find(path: PathBuf) -> io::Result<Self> {
        let beside = path.parent().into_iter();
        let places = beside.chain(LINKER_SCRIPTS.map(Path::new));
        let scripts = places.filter_map(|place| redirected(&place.join("libc.so"), &path));
        Ok(Loader {
            file: File::open(&path)?,
            tree: copy_tree(&path, READ)?,
            scripts: scripts.collect(),
            path,
        })
    }

    /// An unreadable copy of the loader. Linkers, which read it because the C library's linker script
    /// names it, will be led to the readable one.
    fn copy(mut self, space: &Space, strangers: OwnedFd) -> io::Result<Covers> {
        let mut covers = Vec::new();
        for (index, (path, text)) in self.scripts.into_iter().enumerate() {
            let mode = Mode::RUSR | Mode::RGRP | Mode::ROTH;
            let copy = space.top.join(format!(".script{index}"));
            covers.push((path, Copy::make(&mut text.as_bytes(), &copy, mode, None)?));
        }
        let mut protection = Protection {
            loader: self.path.clone(),
            strangers: Some(strangers),
        };
        let path = space.top.join(".loader");
        let mut copy = protection.copy(&mut self.file, &path);
        // Before Linux 6.3 mounts in memory cannot be mapped.
        if let Err(error) = &copy
            && error.kind() == io::ErrorKind::InvalidInput
        {
            protection.strangers = None;
            copy = protection.copy(&mut self.file, &path);
        }
        let copy = copy?;
        let own = getuid();
        let is_own = own.as_raw() != NOBODY && copy.owner()? == own;
        if protection.strangers.is_some() && is_own {
            // Somebody has laid hands on the process that held the map.
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        covers.push((self.path, copy));
        Ok(Covers {
            covers,
            readable: self.tree,
            protection,
        })
    }
}

/// What will stand over files of the system.
struct Covers {
    covers: Vec<(PathBuf, Copy)>,
    /// The loader as it is.
    readable: OwnedFd,
    protection: Protection,
}

impl Covers {
    fn attach(self, space: &Space) -> io::Result<Protection> {
        let readable = space.inside(Path::new(READABLE_LOADER));
        move_to(self.readable.as_fd(), &readable)?;
        for (path, copy) in self.covers {
            copy.cover(&space.inside(&path))?;
        }
        Ok(self.protection)
    }
}

/// Directories that are there: one call for each is a third of what asking the file system takes.
type Made = BTreeSet<PathBuf>;

fn make_directory(path: &Path, made: &mut Made) -> io::Result<()> {
    if made.contains(path) {
        return Ok(());
    }
    make_parents(path, made)?;
    made.insert(path.to_owned());
    fs::create_dir(path)
}

fn make_parents(path: &Path, made: &mut Made) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |parent| make_directory(parent, made))
}

/// A linker script with the readable loader in place of the other, and where it stands; none if it
/// is no such script.
fn redirected(script: &Path, loader: &Path) -> Option<(PathBuf, String)> {
    let mut text = String::new();
    let file = File::open(script).ok()?;
    if file.metadata().ok()?.len() > LINKER_SCRIPT_MAX {
        return None;
    }
    file.take(LINKER_SCRIPT_MAX)
        .read_to_string(&mut text)
        .ok()?;
    let same = |word: &str| {
        word.starts_with('/') && fs::canonicalize(word).is_ok_and(|path| path == loader)
    };
    let word = text.split_whitespace().find(|word| same(word))?;
    let changed = text.replace(word, READABLE_LOADER);
    Some((fs::canonicalize(script).ok()?, changed))
}
