//! Where the master password comes from, and the way into the vault.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::args::VaultArgs;
use super::failure::{Failure, codes};
use super::keyring::Keyring;
use super::password_source::{self, Given, Sources};
use super::{output, places, session};
use crate::broker::{Desk, Outside, PersonDoor, RunError};
use crate::secret::SecretBytes;
use crate::time;
use crate::vault::{LockedVault, Vault, VaultError};

/// The directory in the home directory.
const VAULT_DIR: &str = ".secretctl";

/// Which vault is meant, and what was given to unlock it.
pub(super) struct Access {
    vault_dir: Option<OsString>,
    sources: Sources,
    new_password: RefCell<Option<SecretBytes>>,
}

impl Access {
    pub(super) fn new(
        args: VaultArgs,
        password: Option<SecretBytes>,
        new_password: Option<SecretBytes>,
    ) -> Self {
        Self {
            vault_dir: args.vault_dir.filter(|dir| !dir.is_empty()),
            sources: Sources::new(args.password, password),
            new_password: RefCell::new(new_password),
        }
    }

    /// The vault's directory.
    pub(super) fn dir(&self) -> Result<PathBuf, Failure> {
        if let Some(dir) = &self.vault_dir {
            return Ok(dir.into());
        }
        let home = places::home_dir();
        let home =
            home.ok_or_else(|| Failure::new("there is no home directory").next("use --vault-dir"))?;
        Ok(home.join(VAULT_DIR))
    }

    /// The vault's directory, if it was named: else it is the usual one.
    pub(super) fn named_dir(&self) -> Option<&Path> {
        self.vault_dir.as_deref().map(Path::new)
    }

    /// A way to the password that was named, as a variable and its value, for a server to go later.
    pub(super) fn named_source(&self) -> io::Result<Option<(&'static str, OsString)>> {
        self.sources.named()
    }

    /// What of the vault is not in its directory.
    pub(super) fn outside(&self) -> Outside {
        Outside {
            password_file: self.sources.file().map(Path::to_owned),
            state_dir: places::state_dir(),
            runtime_dir: places::runtime_dir(),
        }
    }

    /// The vault as it is found.
    pub(super) fn locked(&self) -> Result<LockedVault, Failure> {
        Ok(LockedVault::open(&self.dir()?)?)
    }

    /// Unlocks the vault: with its session, if there is one and the command line does not say where the password is.
    pub(super) fn vault(&self) -> Result<Vault, Failure> {
        match self.vault_of_session()? {
            Some(vault) => Ok(vault),
            None => self.vault_of_password().map(|(vault, _)| vault),
        }
    }

    /// The same without a question to anybody; none if it takes one.
    pub(super) fn vault_unasked(&self, with_password: bool) -> Result<Option<Vault>, Failure> {
        let vault = self.vault_of_session()?;
        if vault.is_some() || !with_password {
            return Ok(vault);
        }
        let locked = self.locked()?;
        let Some(given) = self.given(&locked)? else {
            return Ok(None);
        };
        warn_of(&locked);
        let unlocked = locked.unlock(&given.password, time::now());
        given.tried(unlocked).map(Some)
    }

    fn vault_of_session(&self) -> Result<Option<Vault>, Failure> {
        if self.sources.is_given() {
            return Ok(None);
        }
        let locked = self.locked()?;
        let Some(session) = session::find(&locked) else {
            return Ok(None);
        };
        warn_of(&locked);
        let generation = session.facts().generation;
        match locked.unlock_elsewhere(&session.service(), generation) {
            Ok(vault) => Ok(Some(vault)),
            // Its keys are of the past, as is what it was opened for.
            Err(VaultError::KeyChanged) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn vault_of_password(&self) -> Result<(Vault, SecretBytes), Failure> {
        let (locked, given) = self.locked_and_password()?;
        let unlocked = locked.unlock(&given.password, time::now());
        Ok((given.tried(unlocked)?, given.password))
    }

    /// The vault as it is found, and the password for it.
    pub(super) fn locked_and_password(&self) -> Result<(LockedVault, Given), Failure> {
        let locked = self.locked()?;
        warn_of(&locked);
        let given = match self.given(&locked)? {
            Some(given) => given,
            None => prompt("Master password: ")?.into(),
        };
        Ok((locked, given))
    }

    /// The password, if nobody has to be asked for it.
    fn given(&self, locked: &LockedVault) -> Result<Option<Given>, Failure> {
        let keyring = Keyring::of(locked.id());
        let remembered = keyring.is_remembered().then_some(keyring);
        self.sources.read(remembered)
    }

    /// The keyring's place for the vault's password.
    pub(super) fn keyring(&self) -> Result<Keyring, Failure> {
        Ok(Keyring::of(self.locked()?.id()))
    }

    /// Unlocks the vault for a person.
    pub(super) fn door(&self) -> Result<PersonDoor, Failure> {
        self.entered(self.vault()?)
    }

    /// The same with a password that is typed, or comes from where the command line says: neither an open session nor the environment
    /// nor the keyring will do, which every program of the user has.
    pub(super) fn door_by_person(&self) -> Result<PersonDoor, Failure> {
        let locked = self.locked()?;
        warn_of(&locked);
        let given = match self.sources.is_given() {
            true => self.sources.read(None)?,
            false => None,
        };
        let password = match given {
            Some(given) => given.password,
            None => prompt("Master password: ")
                .map_err(|failure| failure.next("an answer takes a person at a terminal"))?,
        };
        self.entered(locked.unlock(&password, time::now())?)
    }

    /// Where questions of the vault's servers wait; none where there is no directory for sockets.
    pub(super) fn desk(&self) -> Result<Option<Desk>, Failure> {
        Ok(Desk::new(&self.outside(), self.locked()?.id()))
    }

    /// The same with the password, which is given as well.
    pub(super) fn door_and_password(&self) -> Result<(PersonDoor, SecretBytes), Failure> {
        let (vault, password) = self.vault_of_password()?;
        Ok((self.entered(vault)?, password))
    }

    fn entered(&self, vault: Vault) -> Result<PersonDoor, Failure> {
        let door = PersonDoor::new(vault, &self.outside());
        output::cautions(&door.enter()?);
        told(door.keep_retention());
        Ok(door)
    }

    /// Unlocks the vault for who wants to find out what is wrong with it.
    pub(super) fn inspecting_door(&self) -> Result<PersonDoor, Failure> {
        Ok(PersonDoor::new(self.vault()?, &self.outside()))
    }

    /// Whether the vault can be unlocked without asking.
    pub(super) fn is_unasked(&self) -> bool {
        let of_vault = |locked: LockedVault| {
            Keyring::of(locked.id()).is_remembered() || session::find(&locked).is_some()
        };
        self.sources.is_any() || self.locked().is_ok_and(of_vault)
    }

    /// How a person unlocks this vault.
    pub(super) fn unlock_command(&self) -> String {
        match &self.vault_dir {
            None => "secretctl unlock".to_owned(),
            Some(dir) => {
                let dir = shell_words::quote(&dir.to_string_lossy()).into_owned();
                format!("secretctl unlock --vault-dir {dir}")
            }
        }
    }

    /// The password of a vault that is to be created.
    pub(super) fn new_password(&self, file: Option<&OsStr>) -> Result<SecretBytes, Failure> {
        let given = self.given_new(file)?;
        if let Some(password) = given {
            return Ok(password);
        }
        match self.sources.read(None)? {
            Some(given) => Ok(given.password),
            None => typed_twice(),
        }
    }

    /// The password that takes the place of the present one.
    pub(super) fn changed_password(&self, file: Option<&OsStr>) -> Result<SecretBytes, Failure> {
        self.given_new(file)?.map_or_else(typed_twice, Ok)
    }

    fn given_new(&self, file: Option<&OsStr>) -> Result<Option<SecretBytes>, Failure> {
        match file {
            Some(path) => password_source::read_file(Path::new(path)).map(Some),
            None => Ok(self.new_password.take()),
        }
    }
}

fn warn_of(locked: &LockedVault) {
    let warnings = locked.warnings().iter();
    warnings.for_each(|warning| output::warn(&warning.to_string()));
}

/// A log that is not shortened is no reason to do nothing else.
pub(super) fn told<T>(kept: Result<T, RunError>) {
    if let Err(error) = kept {
        output::warn(&format!("no old records were removed: {error}"));
    }
}

fn typed_twice() -> Result<SecretBytes, Failure> {
    let password = prompt("New master password: ")
        .map_err(|failure| failure.next("set SECRETCTL_NEW_PASSWORD or --new-password-file"))?;
    let again = prompt("The same again: ")?;
    if password.expose() != again.expose() {
        return Err(Failure::new("the two passwords differ"));
    }
    Ok(password)
}

/// Asks on the terminal, without echo.
pub(super) fn prompt(text: &str) -> Result<SecretBytes, Failure> {
    match rpassword::prompt_password(text) {
        Ok(typed) => Ok(SecretBytes::from_vec(typed.into_bytes())),
        Err(_) => Err(Failure::new("there is no terminal to ask for the password")
            .next("use --password-file, --password-fd or --password-command, or in a terminal: secretctl unlock")
            .with_code(codes::LOCKED)),
    }
}
