//! Attempts on files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::process::Command;

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, MemfdFlags, Mode, OFlags, Timestamps, XattrFlags,
    mkdirat, openat,
};

pub(crate) fn attempt(words: &[&str]) -> Option<io::Result<()>> {
    Some(match *words {
        ["read", path] => File::open(path).and_then(|mut file| file.read(&mut [0]).map(drop)),
        ["write", path] => OpenOptions::new().write(true).open(path).map(drop),
        ["create", path] => File::create_new(path).map(drop),
        ["list", path] => list(path),
        ["stat", path] => fs::symlink_metadata(path).map(drop),
        ["look-at", path] => look_at(path),
        ["chmod", path] => fs::set_permissions(path, fs::Permissions::from_mode(0o777)),
        ["times", path] => times(path),
        ["attribute", path] => attribute(path),
        ["watch", path] => watch(path),
        ["truncate", path] => truncate(path),
        ["rename", from, to] => fs::rename(from, to),
        ["link", from, to] => fs::hard_link(from, to),
        ["remove", path] => fs::remove_file(path),
        ["make-directory", path] => fs::create_dir(path),
        ["device", path] => device(path),
        ["set-id", path] => set_id(path),
        ["unnamed", directory, bytes] => unnamed(directory, bytes),
        ["reserve", path, bytes] => reserve(path, bytes),
        ["deep-tree", top, depth] => deep_tree(top, depth),
        ["from-memory", program, ref rest @ ..] => from_memory(program, rest),
        _ => return None,
    })
}

/// The names in it as well.
fn list(path: &str) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().into_string().unwrap());
    }
    names.sort();
    for name in names {
        println!("{name}");
    }
    Ok(())
}

fn look_at(path: &str) -> io::Result<()> {
    rustix::fs::open(path, OFlags::PATH, Mode::empty())?;
    Ok(())
}

fn times(path: &str) -> io::Result<()> {
    let past = rustix::fs::Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let both = Timestamps {
        last_access: past,
        last_modification: past,
    };
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &both,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn attribute(path: &str) -> io::Result<()> {
    Ok(rustix::fs::setxattr(
        path,
        "user.mark",
        b"1",
        XattrFlags::empty(),
    )?)
}

fn watch(path: &str) -> io::Result<()> {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
    let watcher = init(CreateFlags::empty())?;
    add_watch(watcher, path, WatchFlags::MODIFY)?;
    Ok(())
}

fn truncate(path: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.set_len(0)
}

fn device(path: &str) -> io::Result<()> {
    let null = rustix::fs::makedev(1, 3);
    Ok(rustix::fs::mknodat(
        CWD,
        path,
        FileType::CharacterDevice,
        Mode::RUSR | Mode::WUSR,
        null,
    )?)
}

/// In each of the ways: after it is made, and when it is.
fn set_id(path: &str) -> io::Result<()> {
    File::create(path)?;
    let later = fs::set_permissions(path, fs::Permissions::from_mode(0o4755));
    let at_once = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o4755)
        .open(format!("{path}-new"));
    match (later, at_once) {
        (Err(error), Err(_)) => Err(error),
        _ => Ok(()),
    }
}

/// A file without a name, of so many bytes.
fn unnamed(directory: &str, bytes: &str) -> io::Result<()> {
    let flags = libc::O_TMPFILE;
    let mut file = OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(directory)?;
    let count = bytes.parse().unwrap();
    io::copy(&mut io::repeat(b'x').take(count), &mut file)?;
    Ok(())
}

/// A file that is sure of its space.
fn reserve(path: &str, bytes: &str) -> io::Result<()> {
    let file = File::create_new(path)?;
    let bytes = bytes.parse().unwrap();
    Ok(rustix::fs::fallocate(
        file,
        FallocateFlags::empty(),
        0,
        bytes,
    )?)
}

/// Directories within each other, deeper than any path is long.
fn deep_tree(top: &str, depth: &str) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut parent = rustix::fs::open(top, flags, Mode::empty())?;
    for _ in 0..depth.parse().unwrap() {
        mkdirat(&parent, "deeper", Mode::RWXU)?;
        parent = openat(&parent, "deeper", flags, Mode::empty())?;
    }
    Ok(())
}

/// Executes a program that no file system holds.
fn from_memory(program: &str, arguments: &[&str]) -> io::Result<()> {
    let memory = rustix::fs::memfd_create("program", MemfdFlags::empty())?;
    let mut file = File::from(memory);
    file.write_all(&fs::read(program)?)?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    // Not closed on execution, so that the name still leads to it.
    let status = Command::new(path).args(arguments).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("{status}")))
    }
}
