//! `secretctl password`

use super::args::{PasswordChangeArgs, PasswordCommand};
use super::failure::Failure;
use super::unlock::Access;
use super::{output, session};
use crate::secret::SecretBytes;
use crate::vault::PasswordOptions;

pub(super) fn run(access: &Access, command: PasswordCommand) -> Result<u8, Failure> {
    match command {
        PasswordCommand::Change(args) => change(access, args),
        PasswordCommand::Remember => remember(access),
        PasswordCommand::Forget => forget(access),
    }
}

/// Only a password that opens the vault.
fn remember(access: &Access) -> Result<u8, Failure> {
    let (_, password) = access.door_and_password()?;
    access.keyring()?.remember(&password)?;
    output::done(
        "The system's keyring has the master password. Every program of yours can ask for it while the keyring is unlocked.",
    );
    Ok(super::codes::DONE)
}

fn forget(access: &Access) -> Result<u8, Failure> {
    output::done(match access.keyring()?.forget()? {
        true => "The system's keyring no longer has the master password.",
        false => "The system's keyring did not have the master password.",
    });
    Ok(super::codes::DONE)
}

fn change(access: &Access, args: PasswordChangeArgs) -> Result<u8, Failure> {
    let (door, current) = access.door_and_password()?;
    let new = access.changed_password(args.new_password_file.as_deref())?;
    let options = PasswordOptions {
        params: args.kdf.map(|kdf| kdf.0),
        rotate_key: args.rotate_key,
    };
    let keyring = access.keyring()?;
    let is_wiped = door.change_password(&current, &new, options)?;
    let what = match args.rotate_key {
        true => {
            "Changed the master password and the key. The vault is locked to servers that are running: secretctl unlock, or start them again."
        }
        false => "Changed the master password.",
    };
    output::done(what);
    if let Some(session) = session::find(&access.locked()?) {
        session.end()?;
        output::done("The session is over: secretctl unlock opens another.");
    }
    advise(&new);
    if keyring.is_remembered()
        && let Err(failure) = keyring.remember(&new)
    {
        output::warn(&failure.into_parts().0);
        output::note("the keyring still has the old one: secretctl password forget");
    }
    if !is_wiped {
        output::warn_of_journal("what the old password opens");
    }
    Ok(super::codes::DONE)
}

/// A password of so many kinds of characters and so many bytes is good; either alone is fair.
const GOOD: (usize, usize) = (2, 12);

/// Says what a weak password is, and takes it all the same.
pub(super) fn advise(password: &SecretBytes) {
    let bytes = password.expose();
    let is_other = |byte: &u8| !byte.is_ascii_alphanumeric();
    let kinds = [
        bytes.iter().any(u8::is_ascii_lowercase),
        bytes.iter().any(u8::is_ascii_uppercase),
        bytes.iter().any(u8::is_ascii_digit),
        bytes.iter().any(is_other),
    ];
    let kinds = kinds.into_iter().filter(|has| *has).count();
    let word = match (kinds >= GOOD.0, bytes.len() >= GOOD.1) {
        (true, true) => return,
        (false, false) => "weak",
        _ => "only fair",
    };
    output::warn(&format!(
        "the master password is {word}: a long one of several words or kinds of characters is harder to guess"
    ));
}
