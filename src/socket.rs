//! Sockets with names that are their user's alone: in a directory that nobody else gets into.

#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process;

const DIR_MODE: u32 = 0o700;
/// Mode bits that give anything to others than the owner.
const OTHERS: u32 = 0o077;
/// Connections that wait to be taken.
#[cfg(target_os = "linux")]
const BACKLOG: i32 = 128;

/// The name of a socket, which is removed with it.
#[derive(Debug)]
pub struct Named {
    path: PathBuf,
    file: (u64, u64),
}

impl Named {
    /// Makes a socket in `dir`, in the place of whatever had its name. It has that once it listens: whoever found it before would take it
    /// for a dead one.
    ///
    /// # Errors
    /// When the directory is not the user's alone, or what the system says.
    pub fn listen(dir: &Path, name: &str) -> io::Result<(UnixListener, Self)> {
        let listened = require_own(dir).and_then(|()| listen(dir, name));
        listened
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", dir.display())))
    }

    /// Whether the socket still has its name: after a logout, or when another one took it, it does not.
    pub fn is_there(&self) -> bool {
        file(&self.path).is_ok_and(|found| found == self.file)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if self.is_there() {
            // Whoever connects learns that nobody listens, too.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn listen(dir: &Path, name: &str) -> io::Result<(UnixListener, Named)> {
    let early = dir.join(format!(".{name}.{}", process::id()));
    match fs::remove_file(&early) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = bind(&early)?;
    let early = Named {
        file: file(&early)?,
        path: early,
    };
    let path = dir.join(name);
    // Unlike removing and making, this replaces what is there at once, and follows no link.
    fs::rename(&early.path, &path)?;
    let file = early.file;
    Ok((listener, Named { path, file }))
}

/// A socket with mode 0600 from the moment that it has a name, which takes its mode from the socket.
#[cfg(target_os = "linux")]
fn bind(path: &Path) -> io::Result<UnixListener> {
    use rustix::fs::Mode;
    use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// The directory's mode has to do.
#[cfg(not(target_os = "linux"))]
fn bind(path: &Path) -> io::Result<UnixListener> {
    UnixListener::bind(path)
}

/// Makes the directory if there is none, and refuses one that others could use.
///
/// # Errors
/// What is wrong with it.
pub fn require_own(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(DIR_MODE).create(dir)?;
    let found = fs::symlink_metadata(dir)?;
    let fact = if !found.is_dir() {
        "it is not a directory"
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        "it belongs to another user"
    } else if found.mode() & OTHERS != 0 {
        "others can look into it"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, fact))
}

/// Whether the other end is a process of the same user. Where the system does not say, the directory's mode has to do.
#[cfg(target_os = "linux")]
pub fn is_own(stream: impl AsFd) -> bool {
    let peer = rustix::net::sockopt::socket_peercred(stream);
    peer.is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

/// The same.
#[cfg(not(target_os = "linux"))]
pub fn is_own(_stream: impl AsFd) -> bool {
    true
}

fn file(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}
