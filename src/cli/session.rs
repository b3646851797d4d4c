//! `secretctl unlock`, and the session that it opens.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::args::UnlockArgs;
use super::failure::Failure;
use super::unlock::{Access, told};
use super::{codes, output, places};
use crate::broker::PersonDoor;
use crate::keeper::{self, Client, Facts, Start};
use crate::time::{self, Span};
use crate::vault::LockedVault;

/// The session of this vault, if one is open. What stands in its place and is none is no reason to do nothing.
pub(super) fn find(locked: &LockedVault) -> Option<Client> {
    let dir = places::runtime_dir()?;
    match Client::connect(&dir, locked.id()) {
        Ok(client) => client,
        Err(error) => {
            output::warn(&format!("no session is used: {}: {error}", dir.display()));
            None
        }
    }
}

pub(super) fn unlock(access: &Access, args: &UnlockArgs) -> Result<u8, Failure> {
    let UnlockArgs {
        ttl: Span(ttl),
        idle: Span(idle),
    } = *args;
    if ttl.as_secs() == 0 || idle.as_secs() == 0 {
        let fact = "a session lasts for a second at least";
        return Err(Failure::new(fact).with_code(codes::USAGE));
    }
    let dir = places::runtime_dir().ok_or_else(|| {
        Failure::new("there is no place for the session's socket").next("set XDG_RUNTIME_DIR")
    })?;
    let session = find(&access.locked()?);
    if let Some(session) = &session {
        output::note(&format!(
            "the vault is open already, {}; the password gives it new limits",
            limits(session.facts())
        ));
    }
    let (locked, given) = access.locked_and_password()?;
    let unlocked = locked.unlock_with_data_key(&given.password, time::now());
    let (vault, data_key) = given.tried(unlocked)?;
    drop(given);
    let (vault_id, generation) = (vault.id(), vault.generation());
    let approval = vault.approval_key().duplicate();
    let door = PersonDoor::new(vault, &access.outside());
    output::cautions(&door.enter()?);
    told(door.keep_retention());
    door.note_session(&limits_text(ttl, idle))?;
    let session = session.filter(|session| session.facts().generation == generation);
    let is_extended = session.is_some_and(|session| session.extend(ttl, idle, &approval).is_ok());
    if !is_extended {
        let start = Start {
            vault_id,
            generation,
            data_key,
            ttl,
            idle,
            dir,
        };
        let started = keeper::start(&std::env::current_exe()?, &start);
        started.map_err(|error| Failure::new(format!("no session was opened: {error}")))?;
    }
    output::done(&format!(
        "Unlocked for {}. secretctl lock ends it.",
        limits_text(ttl, idle)
    ));
    Ok(codes::DONE)
}

fn limits_text(ttl: Duration, idle: Duration) -> String {
    format!("{}, or until it was not used for {}", Span(ttl), Span(idle))
}

/// Until when a session lasts.
pub(super) fn limits(facts: &Facts) -> String {
    let idle = Span(facts.idle);
    format!("until {} or until it was not used for {idle}", until(facts))
}

/// The same moment, as it is written in JSON.
pub(super) fn until(facts: &Facts) -> String {
    let left = i64::try_from(facts.left.as_secs()).unwrap_or(i64::MAX);
    time::rfc3339(time::now().saturating_add(left))
}

/// This process becomes a keeper, for the one that has started it.
pub(super) fn keep() -> Result<u8, Failure> {
    let starter = io::stdin().as_fd().try_clone_to_owned()?;
    keeper::serve(UnixStream::from(starter))?;
    Ok(codes::DONE)
}
