//! Where questions wait for a person in another terminal: a socket for each server that has some, in the user's own directory for
//! sockets. And one for each person who watches, at which servers ring when there is something new.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::approve::{Answer, Posted, Signed};
use super::{AgentDoor, Outside, PersonDoor, RunError};
use crate::socket::{self, Named};
use crate::vault::VaultError;

/// What a server says on its socket, each in one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// All questions that wait. It comes first, and once.
    Waiting(Vec<Posted>),
    /// Whether the answer was taken. Else its code is wrong, or its question does not wait any more.
    Taken(bool),
}

/// The places of one vault's sockets.
#[derive(Clone, Debug)]
pub struct Desk {
    dir: PathBuf,
    vault: String,
}

impl Desk {
    /// Of the vault with this id; none where there is no directory for sockets.
    pub fn new(outside: &Outside, vault: [u8; 16]) -> Option<Self> {
        Some(Self {
            dir: outside.runtime_dir.clone()?,
            vault: Ulid::from_bytes(vault).to_string(),
        })
    }

    /// Opens this process's socket for questions.
    ///
    /// # Errors
    /// When the directory is not the user's alone, or the socket cannot be made.
    pub fn open(&self) -> io::Result<(UnixListener, Named)> {
        self.listen("approve")
    }

    /// Opens this process's socket to be rung at.
    ///
    /// # Errors
    /// As [`Desk::open`].
    pub fn watch(&self) -> io::Result<(UnixListener, Named)> {
        self.listen("watch")
    }

    /// Tells all who watch that there is something new.
    pub fn ring(&self) {
        // A connection says it all.
        drop(self.all("watch"));
    }

    /// Connections to all servers that have questions.
    pub fn servers(&self) -> Vec<UnixStream> {
        self.all("approve")
    }

    fn listen(&self, purpose: &str) -> io::Result<(UnixListener, Named)> {
        let name = format!("{purpose}-{}-{}.sock", self.vault, process::id());
        Named::listen(&self.dir, &name)
    }

    /// Connects to every socket of this purpose, and removes the names of those that nobody listens at.
    fn all(&self, purpose: &str) -> Vec<UnixStream> {
        let prefix = format!("{purpose}-{}-", self.vault);
        let is_meant = |name: &str| name.starts_with(&prefix) && name.ends_with(".sock");
        let Ok(()) = socket::require_own(&self.dir) else {
            return Vec::new();
        };
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let sockets = entries.filter(|entry| {
            entry.file_name().to_str().is_some_and(is_meant)
                && entry.file_type().is_ok_and(|found| found.is_socket())
        });
        let mut paths: Vec<PathBuf> = sockets.map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().filter_map(|path| connect(path)).collect()
    }
}

fn connect(path: &Path) -> Option<UnixStream> {
    match UnixStream::connect(path) {
        Ok(stream) => Desk::is_of_this_user(&stream).then_some(stream),
        Err(error) => {
            if error.kind() == io::ErrorKind::ConnectionRefused {
                let _ = fs::remove_file(path);
            }
            None
        }
    }
}

impl Desk {
    /// Whether whoever connected may be listened to.
    pub fn is_of_this_user(stream: impl AsFd) -> bool {
        socket::is_own(stream)
    }
}

impl AgentDoor {
    /// Where questions can wait for a terminal.
    pub fn desk(&self) -> Option<&Desk> {
        self.desk.as_ref()
    }
}

impl PersonDoor {
    /// An answer to a question, which counts where the question waits.
    ///
    /// # Errors
    /// When the vault was not unlocked with its password.
    pub fn answer(&self, posted: &Posted, answer: Answer) -> Result<Signed, RunError> {
        let signed = posted.sign(answer, self.broker.vault().approval_key());
        Ok(signed.map_err(VaultError::from)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn desk(dir: &Path) -> Desk {
        of_vault(dir, 7)
    }

    fn of_vault(dir: &Path, number: u8) -> Desk {
        let outside = Outside {
            runtime_dir: Some(dir.to_owned()),
            ..Outside::default()
        };
        Desk::new(&outside, [number; 16]).expect("a place")
    }

    #[test]
    fn a_socket_is_its_owners_alone_and_gone_afterwards() {
        let dir = tempfile::tempdir().expect("a directory");
        let desk = desk(&dir.path().join("a/run"));
        let (listener, place) = desk.open().expect("a socket");
        let mode = |path: &Path| fs::metadata(path).expect("it exists").mode() & 0o777;
        assert_eq!(mode(&desk.dir), 0o700);
        if cfg!(target_os = "linux") {
            let name = format!("approve-{}-{}.sock", desk.vault, process::id());
            assert_eq!(mode(&desk.dir.join(name)), 0o600);
        }
        assert_eq!(desk.servers().len(), 1);
        assert_eq!(desk.all("watch").len(), 0);
        assert_eq!(of_vault(&desk.dir, 8).servers().len(), 0);
        drop((listener, place));
        assert_eq!(fs::read_dir(&desk.dir).expect("a directory").count(), 0);
    }

    #[test]
    fn a_name_that_another_socket_took_is_left_to_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let desk = desk(&dir.path().join("run"));
        let (_first, old) = desk.open().expect("a socket");
        let (_second, new) = desk.open().expect("a socket");
        assert!(!old.is_there() && new.is_there());
        drop(old);
        assert!(new.is_there());
    }

    #[test]
    fn a_socket_that_nobody_listens_at_is_removed_by_who_finds_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let desk = desk(&dir.path().join("run"));
        let (listener, place) = desk.open().expect("a socket");
        std::mem::forget(place);
        drop(listener);
        // What is no socket is left.
        let file = format!("approve-{}-1.sock", desk.vault);
        fs::write(desk.dir.join(file), "").expect("written");
        assert_eq!(fs::read_dir(&desk.dir).expect("a directory").count(), 2);
        assert!(desk.servers().is_empty());
        assert_eq!(fs::read_dir(&desk.dir).expect("a directory").count(), 1);
        // One that cannot be connected to for another reason is left.
        let name = format!("approve-{}-0.sock", desk.vault);
        let _other = UnixDatagram::bind(desk.dir.join(name)).expect("a socket");
        assert!(desk.servers().is_empty());
        assert_eq!(fs::read_dir(&desk.dir).expect("a directory").count(), 2);
    }

    #[test]
    fn a_directory_that_others_can_use_is_not_used() {
        let dir = tempfile::tempdir().expect("a directory");
        let (open, link) = (dir.path().join("open"), dir.path().join("link"));
        fs::create_dir(&open).expect("a directory");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).expect("own");
        assert!(desk(&open).open().is_err());
        fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).expect("own");
        let listening = desk(&open).open().expect("a socket");
        assert_eq!(desk(&open).servers().len(), 1);
        fs::set_permissions(&open, fs::Permissions::from_mode(0o711)).expect("own");
        assert_eq!(desk(&open).servers().len(), 0);
        fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).expect("own");
        drop(listening);
        symlink(&open, &link).expect("a link");
        assert!(desk(&link).open().is_err());
    }
}
