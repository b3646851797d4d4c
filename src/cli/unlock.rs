//! Where the master password comes from, and the way into the vault.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::args::VaultArgs;
use super::failure::{Failure, codes};
use super::{output, places};
use crate::broker::{Outside, PersonDoor, RunError};
use crate::secret::SecretBytes;
use crate::time;
use crate::vault::{LockedVault, PASSWORD_MAX_BYTES, Vault};

/// The directory in the home directory.
const VAULT_DIR: &str = ".secretctl";
/// Most that is read of a password file, in bytes: a password and its line break, and more is an error.
const PASSWORD_FILE_MAX_BYTES: u64 = PASSWORD_MAX_BYTES as u64 + 2;

/// Which vault is meant, and what was given to unlock it.
pub(super) struct Access {
    args: VaultArgs,
    password: RefCell<Option<SecretBytes>>,
    new_password: RefCell<Option<SecretBytes>>,
}

impl Access {
    pub(super) fn new(
        args: VaultArgs,
        password: Option<SecretBytes>,
        new_password: Option<SecretBytes>,
    ) -> Self {
        Self {
            args,
            password: RefCell::new(password),
            new_password: RefCell::new(new_password),
        }
    }

    /// The vault's directory.
    pub(super) fn dir(&self) -> Result<PathBuf, Failure> {
        if let Some(dir) = given(self.args.vault_dir.as_ref()) {
            return Ok(dir.into());
        }
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let home =
            home.ok_or_else(|| Failure::new("there is no home directory").next("use --vault-dir"))?;
        Ok(home.join(VAULT_DIR))
    }

    /// What of the vault is not in its directory.
    pub(super) fn outside(&self) -> Outside {
        Outside {
            password_file: self.password_file().map(Path::to_owned),
            state_dir: places::state_dir(),
            runtime_dir: places::runtime_dir(),
        }
    }

    /// Unlocks the vault. Gives the password as well.
    pub(super) fn vault(&self) -> Result<(Vault, SecretBytes), Failure> {
        let locked = LockedVault::open(&self.dir()?)?;
        locked
            .warnings()
            .iter()
            .for_each(|warning| output::warn(&warning.to_string()));
        let password = match self.given()? {
            Some(password) => password,
            None => prompt("Master password: ")?,
        };
        Ok((locked.unlock(&password, time::now())?, password))
    }

    /// Unlocks the vault for a person.
    pub(super) fn door(&self) -> Result<PersonDoor, Failure> {
        Ok(self.door_and_password()?.0)
    }

    /// The same, and the password.
    pub(super) fn door_and_password(&self) -> Result<(PersonDoor, SecretBytes), Failure> {
        let (vault, password) = self.vault()?;
        let door = PersonDoor::new(vault, &self.outside());
        output::cautions(&door.enter()?);
        told(door.keep_retention());
        Ok((door, password))
    }

    /// Unlocks the vault for who wants to find out what is wrong with it.
    pub(super) fn inspecting_door(&self) -> Result<PersonDoor, Failure> {
        Ok(PersonDoor::new(self.vault()?.0, &self.outside()))
    }

    /// Whether the vault can be unlocked without asking.
    pub(super) fn has_password(&self) -> bool {
        self.password_file().is_some() || self.password.borrow().is_some()
    }

    /// The file with the master password, if one is used.
    pub(super) fn password_file(&self) -> Option<&Path> {
        given(self.args.password_file.as_ref()).map(Path::new)
    }

    /// The password of a vault that is to be created.
    pub(super) fn new_password(&self, file: Option<&OsStr>) -> Result<SecretBytes, Failure> {
        let given = self.given_new(file)?;
        match given.map_or_else(|| self.given(), |given| Ok(Some(given)))? {
            Some(password) => Ok(password),
            None => typed_twice(),
        }
    }

    /// The password that takes the place of the present one.
    pub(super) fn changed_password(&self, file: Option<&OsStr>) -> Result<SecretBytes, Failure> {
        self.given_new(file)?.map_or_else(typed_twice, Ok)
    }

    fn given_new(&self, file: Option<&OsStr>) -> Result<Option<SecretBytes>, Failure> {
        match file {
            Some(path) => read_password(Path::new(path)).map(Some),
            None => Ok(self.new_password.take()),
        }
    }

    fn given(&self) -> Result<Option<SecretBytes>, Failure> {
        match given(self.args.password_file.as_ref()) {
            Some(path) => read_password(Path::new(path)).map(Some),
            None => Ok(self.password.take()),
        }
    }
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

fn given(argument: Option<&OsString>) -> Option<&OsString> {
    argument.filter(|text| !text.is_empty())
}

/// The first line of a file, which may be a pipe.
pub(super) fn read_password(path: &Path) -> Result<SecretBytes, Failure> {
    let fail = |error: io::Error| {
        Failure::new(format!("{}: {error}", path.display())).with_code(codes::LOCKED)
    };
    let file = File::open(path).map_err(fail)?;
    let mut bytes = Vec::with_capacity(PASSWORD_FILE_MAX_BYTES as usize);
    file.take(PASSWORD_FILE_MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    let text = SecretBytes::from_vec(bytes);
    let line = text
        .expose()
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Ok(SecretBytes::from_vec(line.to_vec()))
}

/// Asks on the terminal, without echo.
pub(super) fn prompt(text: &str) -> Result<SecretBytes, Failure> {
    match rpassword::prompt_password(text) {
        Ok(typed) => Ok(SecretBytes::from_vec(typed.into_bytes())),
        Err(_) => Err(Failure::new("there is no terminal to ask for the password")
            .next("set SECRETCTL_PASSWORD_FILE or --password-file, or SECRETCTL_PASSWORD")
            .with_code(codes::LOCKED)),
    }
}
