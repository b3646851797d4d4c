//! The places that a master password can come from: a list, of which the first that is configured is taken.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::args::PasswordArgs;
use super::failure::{Failure, codes};
use super::keyring::Keyring;
use super::{output, password_command};
use crate::secret::SecretBytes;
use crate::vault::{PASSWORD_MAX_BYTES, UnlockError};

/// Most that is read of a password file, in bytes: a password and its line break, and more is an error.
const PASSWORD_FILE_MAX_BYTES: usize = PASSWORD_MAX_BYTES + 2;
/// What is said when the password was in the environment: whatever started this program had it in the clear.
const ENVIRONMENT_NOTE: &str = "SECRETCTL_PASSWORD can be read where it is set; `secretctl unlock`, SECRETCTL_PASSWORD_FILE and SECRETCTL_PASSWORD_COMMAND are better";

/// A place that is configured.
enum Source {
    /// The first line of a file, which may be a pipe.
    File(PathBuf),
    /// The first line that an inherited descriptor gives.
    Descriptor(u32),
    /// The first line that a program prints.
    Command(OsString),
    /// A variable that is not there any more. Its value is taken once, so that no copy of it stays.
    Environment(RefCell<Option<SecretBytes>>),
}

/// A password, and the keyring if it comes from there: then it may be one of the past.
pub(super) struct Given {
    pub(super) password: SecretBytes,
    keyring: Option<Keyring>,
}

impl From<SecretBytes> for Given {
    fn from(password: SecretBytes) -> Self {
        Self {
            password,
            keyring: None,
        }
    }
}

impl Given {
    /// What trying it gave. A keyring that was wrong is not asked again: else each start of a server would count as a wrong try.
    pub(super) fn tried<T>(&self, unlocked: Result<T, UnlockError>) -> Result<T, Failure> {
        match (&self.keyring, unlocked) {
            (Some(keyring), Err(UnlockError::WrongPassword)) => {
                keyring.mistrust()?;
                Err(Failure::from(UnlockError::WrongPassword).next(
                    "the keyring has an old one, and is not asked again until: secretctl password remember",
                ))
            }
            (_, unlocked) => Ok(unlocked?),
        }
    }
}

/// All places that are configured: those of the command line, then those of the environment.
pub(super) struct Sources {
    all: Vec<Source>,
    is_given: bool,
}

impl Sources {
    /// `environment` is what `SECRETCTL_PASSWORD` was.
    pub(super) fn new(args: PasswordArgs, environment: Option<SecretBytes>) -> Self {
        let set = |text: Option<OsString>| text.filter(|text| !text.is_empty());
        let variable = |name: &str| set(std::env::var_os(name));
        let file = |path: OsString| Source::File(path.into());
        let given = [
            set(args.password_file).map(file),
            args.password_fd.map(Source::Descriptor),
            set(args.password_command).map(Source::Command),
        ];
        let found = [
            variable("SECRETCTL_PASSWORD_FILE").map(file),
            variable("SECRETCTL_PASSWORD_COMMAND").map(Source::Command),
            environment.map(|password| Source::Environment(RefCell::new(Some(password)))),
        ];
        let given: Vec<Source> = given.into_iter().flatten().collect();
        Self {
            is_given: !given.is_empty(),
            all: given
                .into_iter()
                .chain(found.into_iter().flatten())
                .collect(),
        }
    }

    /// Whether the command line has one: then no session is meant.
    pub(super) fn is_given(&self) -> bool {
        self.is_given
    }

    /// Whether there is one that has not been used up.
    pub(super) fn is_any(&self) -> bool {
        self.all.iter().any(|source| match source {
            Source::Environment(password) => password.borrow().is_some(),
            _ => true,
        })
    }

    /// The file with the password, if it is in one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.all.iter().find_map(|source| match source {
            Source::File(path) => Some(path.as_path()),
            _ => None,
        })
    }

    /// The first one as a variable and its value, if it is a way that can be gone again. Never a password.
    pub(super) fn named(&self) -> io::Result<Option<(&'static str, OsString)>> {
        Ok(match self.all.first() {
            Some(Source::File(path)) => {
                Some(("SECRETCTL_PASSWORD_FILE", std::path::absolute(path)?.into()))
            }
            Some(Source::Command(line)) => Some(("SECRETCTL_PASSWORD_COMMAND", line.clone())),
            _ => None,
        })
    }

    /// The password of the first one; none if nothing is configured. A keyring that has it comes before the variable; one that does not
    /// answer is told, and passed over, since it was named another day.
    ///
    /// # Errors
    /// When that one fails. Another is not tried: what was configured is what was meant.
    pub(super) fn read(&self, keyring: Option<Keyring>) -> Result<Option<Given>, Failure> {
        let is_next = matches!(self.all.first(), Some(Source::Environment(_)) | None);
        if let Some(keyring) = keyring.filter(|_| is_next) {
            match keyring.password() {
                Ok(password) => {
                    return Ok(Some(Given {
                        password,
                        keyring: Some(keyring),
                    }));
                }
                Err(failure) => output::warn(&failure.into_parts().0),
            }
        }
        Ok(self.first()?.map(Given::from))
    }

    fn first(&self) -> Result<Option<SecretBytes>, Failure> {
        match self.all.first() {
            Some(Source::File(path)) => read_file(path).map(Some),
            Some(Source::Descriptor(number)) => read_descriptor(*number).map(Some),
            Some(Source::Command(line)) => password_command::run(line).map(Some),
            Some(Source::Environment(password)) => {
                let password = password.take();
                if password.is_some() {
                    output::hint(ENVIRONMENT_NOTE);
                }
                Ok(password)
            }
            None => Ok(None),
        }
    }
}

/// The first line of a file, which may be a pipe.
pub(super) fn read_file(path: &Path) -> Result<SecretBytes, Failure> {
    let fail = |error: io::Error| {
        Failure::new(format!("the password file {}: {error}", path.display()))
            .next("name a file that you can read, whose first line is the password")
            .with_code(codes::LOCKED)
    };
    let file = File::open(path).map_err(fail)?;
    first_line_of(file, PASSWORD_FILE_MAX_BYTES).map_err(fail)
}

/// The first line of what `reader` gives, of which at most so many bytes are read.
pub(super) fn first_line_of(reader: impl Read, bytes: usize) -> io::Result<SecretBytes> {
    // As large as it gets: what grows leaves copies behind.
    let mut read = Vec::with_capacity(bytes);
    reader.take(bytes as u64).read_to_end(&mut read)?;
    let text = SecretBytes::from_vec(read);
    let line = text.expose().split(|&byte| byte == b'\n').next();
    let line = line.unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Ok(SecretBytes::from_vec(line.to_vec()))
}

/// The first line that a descriptor gives. What follows it is left unread: standard input may go on with something else.
///
/// The descriptor itself stays open in this process, but nothing that is started inherits it: the runner closes all but three.
fn read_descriptor(number: u32) -> Result<SecretBytes, Failure> {
    let fail = |error: io::Error| {
        Failure::new(format!("the password from descriptor {number}: {error}"))
            .next("open it for reading, as in --password-fd 3 3< FILE")
            .with_code(codes::LOCKED)
    };
    let line = if number == 0 {
        // Not by its name: that would open a file again, and begin at its beginning.
        up_to_line_end(|byte| Ok(rustix::io::read(io::stdin(), byte)?))
    } else {
        let file = File::open(format!("/dev/fd/{number}"));
        file.and_then(|mut file| up_to_line_end(|byte| file.read(byte)))
    };
    let line = line.map_err(fail)?;
    first_line_of(line.expose(), PASSWORD_FILE_MAX_BYTES).map_err(fail)
}

/// One byte after the other, since what is read of a pipe cannot be put back.
fn up_to_line_end(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<SecretBytes> {
    let mut line = Vec::with_capacity(PASSWORD_FILE_MAX_BYTES);
    let mut byte = [0];
    while line.len() < PASSWORD_FILE_MAX_BYTES && !line.ends_with(b"\n") {
        match read(&mut byte) {
            Ok(0) => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(SecretBytes::from_vec(line))
}
