//! The system's keyring, as a place for the master password: Secret Service on Linux, Keychain on macOS.
//!
//! It is asked only for a vault that a file in the state directory marks as remembered there: looking for a keyring takes time, and may
//! make the desktop ask a person.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use keyring::{Entry, Error};
use ulid::Ulid;

use super::failure::Failure;
use super::places;
use crate::secret::SecretBytes;

/// What the keyring shows as the program that a password belongs to.
const SERVICE: &str = "secretctl";
/// How long a person may take to unlock the keyring.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Where the password of one vault is, if it is in the keyring.
pub(super) struct Keyring {
    /// A vault's id, and not its path: it may be moved.
    user: String,
    mark: Option<PathBuf>,
}

impl Keyring {
    pub(super) fn of(vault_id: [u8; 16]) -> Self {
        let user = Ulid::from_bytes(vault_id).to_string();
        Self {
            mark: places::state_dir().map(|dir| dir.join(format!("{user}.keyring"))),
            user,
        }
    }

    /// Whether the password was put into the keyring.
    pub(super) fn is_remembered(&self) -> bool {
        self.mark.as_ref().is_some_and(|mark| mark.is_file())
    }

    /// The password.
    pub(super) fn password(&self) -> Result<SecretBytes, Failure> {
        self.ask(|entry| entry.get_secret().map(SecretBytes::from_vec))
    }

    /// Puts the password there.
    pub(super) fn remember(&self, password: &SecretBytes) -> Result<(), Failure> {
        let Some(mark) = &self.mark else {
            return Err(Failure::new("there is no directory for state").next("set HOME"));
        };
        let password = password.duplicate();
        self.ask(move |entry| entry.set_secret(password.expose()))?;
        let fail = |error: io::Error| Failure::new(format!("{}: {error}", mark.display()));
        if let Some(dir) = mark.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(fail)?;
        }
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(mark)
            .map_err(fail)?;
        Ok(())
    }

    /// Takes the password out. Says whether it was there.
    pub(super) fn forget(&self) -> Result<bool, Failure> {
        let was_there = self.ask(|entry| match entry.delete_credential() {
            Ok(()) => Ok(true),
            Err(Error::NoEntry) => Ok(false),
            Err(error) => Err(error),
        })?;
        self.mistrust()?;
        Ok(was_there)
    }

    /// From now on the keyring is not asked for this vault.
    pub(super) fn mistrust(&self) -> Result<(), Failure> {
        match self.mark.as_ref().map(fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// On a thread of its own, since nothing else ends a question that nobody answers.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Entry) -> keyring::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let user = self.user.clone();
        let (sender, receiver) = mpsc::channel();
        thread::Builder::new().spawn(move || {
            let answer = Entry::new(SERVICE, &user).and_then(|entry| question(&entry));
            // Nobody waits any more if it cannot be sent.
            let _ = sender.send(answer);
        })?;
        match receiver.recv_timeout(TIME_LIMIT) {
            Ok(answer) => answer.map_err(|error| failure(&error)),
            Err(_) => {
                let fact = format!(
                    "the keyring did not answer within {} s",
                    TIME_LIMIT.as_secs()
                );
                Err(Failure::new(fact).next(NEXT))
            }
        }
    }
}

const NEXT: &str = "unlock the keyring, or take another way: --password-file, --password-command";

/// What went wrong, without what may be a part of the answer.
fn failure(error: &Error) -> Failure {
    let fact = match error {
        Error::NoDefaultStore => match Entry::store_status() {
            Err(error) => format!("there is no keyring here: {}", reason(error)),
            Ok(()) => "there is no keyring here".to_owned(),
        },
        Error::NoEntry => {
            return Failure::new("the keyring does not have the password of this vault")
                .next("put it there again: secretctl password remember");
        }
        Error::Ambiguous(_) => "the keyring has several passwords of this vault".to_owned(),
        error => format!("the keyring cannot be used: {}", reason(error)),
    };
    Failure::new(fact).next(NEXT)
}

fn reason(error: &Error) -> String {
    match error {
        Error::PlatformFailure(error) | Error::NoStorageAccess(error) => error.to_string(),
        Error::Invalid(..) | Error::NotSupportedByStore(_) => "it is not supported".to_owned(),
        _ => "its answer is malformed".to_owned(),
    }
}
