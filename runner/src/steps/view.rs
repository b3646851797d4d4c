//! A view of the file system of the run's own: a new root with nothing in it but what the program
//! can reach.
//!
//! It stands on a file system in memory that is mounted for this run alone: the mount points, and
//! the run's own directory. All mounts are copies of the system's, made unchangeable before they are
//! attached.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, chmod};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_change, move_mount, open_tree, unmount,
};
use rustix::process::{chdir, pivot_root};

use super::exec_only::{self, Protection};
use super::reach::{Access, DEVICES, OWN, Place, READABLE_LOADER, Reach};
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

/// A copy of a place's mounts, if it was made ahead by a helper that could reach more.
pub(crate) type Tree = Option<OwnedFd>;

/// A file system of the run's own, in memory, which nobody else sees: it goes with the last process
/// of the run.
struct Space {
    /// Becomes the root.
    root: PathBuf,
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

/// Builds the view and makes it the root. `trees` belong to the places of the same index. With a map
/// to `strangers` programs are made unreadable; the answer is with what.
pub(crate) fn build(
    reach: &Reach,
    trees: Vec<Tree>,
    strangers: Option<OwnedFd>,
) -> Result<Option<Protection>, StartError> {
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    mount_change("/", private).map_err(|error| failed("/", error))?;
    // All is copied before the space covers some of it.
    let trees = copies(reach, trees)?;
    let loader = exec_only::system_loader().zip(strangers);
    let hidden = loader.map(|(path, strangers)| Loader::find(path, strangers));
    let hidden = hidden.transpose();
    let hidden = hidden.map_err(|error| failed("the dynamic loader", error))?;
    let devices = DEVICES
        .iter()
        .map(|path| copy_tree(Path::new(path), DEVICE).map_err(|error| failed(path, error)));
    let devices = devices.collect::<Result<Vec<_>, _>>()?;

    let space = Space::make().map_err(|error| failed("a space of its own", error))?;
    let unfinished = |error| failed("a space of its own", error);
    space.make_points(reach).map_err(unfinished)?;
    // The new root first: all else is attached to it.
    space.attach(&space.root, Path::new("/"), READ)?;
    // Then the run's own directory, in which some of the places may lie.
    for path in OWN {
        space.attach(&space.own, Path::new(path), WRITE)?;
    }
    let places = reach.places.iter().map(|place| place.path.as_path());
    for (path, tree) in places
        .zip(trees)
        .chain(DEVICES.map(Path::new).into_iter().zip(devices))
    {
        move_to(tree.as_fd(), &space.inside(path)).map_err(|error| failed(path, error))?;
    }
    for (path, directory) in &reach.hidden {
        let cover = if *directory {
            &space.empty
        } else {
            &space.nothing
        };
        space.attach(cover, path, READ)?;
    }
    mount_processes(&space.root).map_err(|error| failed("/proc", error))?;
    let protection = hidden.map(|loader| loader.hide(&space)).transpose();
    let protection = protection.map_err(|error| failed("the dynamic loader", error))?;
    enter(&space.root).map_err(|error| failed("/", error))?;
    Ok(protection)
}

pub(crate) fn failed(path: impl AsRef<Path>, error: impl Into<io::Error>) -> StartError {
    let number = error.into().raw_os_error().unwrap_or(libc::EIO);
    let cause = Cause::Path(path.as_ref().to_owned(), number);
    StartError::new(Stage::View, cause)
}

fn copies(reach: &Reach, trees: Vec<Tree>) -> Result<Vec<OwnedFd>, StartError> {
    let copy = |(place, tree): (&Place, Tree)| {
        let attributes = match place.access {
            Access::Read => READ,
            Access::Write => WRITE,
        };
        let tree = match tree {
            None => copy_tree(&place.path, attributes),
            Some(tree) => sys::set_mount_attributes(tree.as_fd(), attributes).map(|()| tree),
        };
        tree.map_err(|error| failed(&place.path, error))
    };
    reach.places.iter().zip(trees).map(copy).collect()
}

/// Puts a copy of the mount at `path` over `target`, unchangeable, its owners mapped.
pub(crate) fn attach(path: &Path, target: &Path, map: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let tree = copy_tree(path, READ)?;
    if let Some(map) = map {
        sys::map_mount(tree.as_fd(), map)?;
    }
    move_to(tree.as_fd(), target)
}

/// A copy of all that is mounted at a path and below it.
pub(crate) fn clone_tree(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(CWD, path, flags)?)
}

fn copy_tree(path: &Path, attributes: MountAttributes) -> io::Result<OwnedFd> {
    let tree = clone_tree(path)?;
    sys::set_mount_attributes(tree.as_fd(), attributes)?;
    Ok(tree)
}

fn move_to(tree: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
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
            own: top.join("own"),
            empty: top.join("empty"),
            nothing: top.join("nothing"),
            top,
        };
        for path in [&space.root, &space.own, &space.empty] {
            fs::create_dir(path)?;
        }
        File::create(&space.nothing)?;
        chmod(&space.own, Mode::RWXU)?;
        Ok(space)
    }

    fn inside(&self, path: &Path) -> PathBuf {
        self.root.join(relative(path))
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

    /// Directories, files and links where nothing of the system's own will be.
    fn make_points(&self, reach: &Reach) -> io::Result<()> {
        for link in &reach.links {
            let path = self.point(&link.path);
            make_parents(&path)?;
            symlink(&link.target, path)?;
        }
        let mut seen: Vec<&Path> = Vec::new();
        for place in &reach.places {
            // In a place that is already there, so is its point.
            if seen.iter().any(|seen| place.path.starts_with(seen)) {
                continue;
            }
            seen.push(&place.path);
            self.make_point(&place.path, place.directory)?;
        }
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
            let path = self.root.join("dev").join(name);
            symlink(format!("/proc/self/fd{target}"), path)?;
        }
        Ok(())
    }

    /// Where something has to be for a mount or a link to stand at this path.
    fn point(&self, path: &Path) -> PathBuf {
        let own = OWN.iter().find_map(|own| path.strip_prefix(own).ok());
        match own {
            Some(below) if !below.as_os_str().is_empty() => self.own.join(below),
            _ => self.inside(path),
        }
    }

    fn make_point(&self, path: &Path, directory: bool) -> io::Result<()> {
        let point = self.point(path);
        if directory {
            return fs::create_dir_all(point);
        }
        make_parents(&point)?;
        File::create(point).map(drop)
    }
}

/// The dynamic loader, opened before the space covers anything.
struct Loader {
    path: PathBuf,
    file: File,
    tree: OwnedFd,
    strangers: OwnedFd,
    /// Linker scripts that name it, as they are to be read.
    scripts: Vec<(PathBuf, String)>,
}

impl Loader {
    fn find(path: PathBuf, strangers: OwnedFd) -> io::Result<Self> {
        let beside = path.parent().into_iter();
        let places = beside.chain(LINKER_SCRIPTS.map(Path::new));
        let scripts = places.filter_map(|place| redirected(&place.join("libc.so"), &path));
        Ok(Loader {
            file: File::open(&path)?,
            tree: copy_tree(&path, READ)?,
            scripts: scripts.collect(),
            strangers,
            path,
        })
    }

    /// Puts an unreadable copy in the loader's place. Linkers, which read it because the C library's
    /// linker script names it, are led to the readable one.
    fn hide(mut self, space: &Space) -> io::Result<Protection> {
        move_to(self.tree.as_fd(), &space.inside(Path::new(READABLE_LOADER)))?;
        for (path, text) in self.scripts {
            let mode = Mode::RUSR | Mode::RGRP | Mode::ROTH;
            let target = space.inside(&path);
            exec_only::cover(&mut text.as_bytes(), &target, &space.top, mode, None)?;
        }
        let target = space.inside(&self.path);
        let mut protection = Protection {
            loader: self.path,
            strangers: Some(self.strangers),
        };
        let covered = protection.cover_with(&mut self.file, &target, &space.top);
        // Before Linux 6.3 mounts in memory cannot be mapped.
        if covered.is_err_and(|error| error.kind() == io::ErrorKind::InvalidInput) {
            protection.strangers = None;
            protection.cover_with(&mut self.file, &target, &space.top)?;
        }
        Ok(protection)
    }
}

fn make_parents(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
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
