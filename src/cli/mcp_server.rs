//! `secretctl mcp-server`

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::args::McpServerArgs;
use super::failure::Failure;
use super::output;
use super::unlock::{Access, told};
use crate::broker::AgentDoor;
use crate::mcp::{self, Closed, LOCKED};

pub(super) fn run(access: Access, args: McpServerArgs) -> Result<u8, Failure> {
    let fixed_project = args.project.is_some();
    let project = match args.project {
        Some(project) => project,
        None => std::env::current_dir()?,
    };
    let opening = Arc::new(Mutex::new(Opening {
        access,
        project,
        is_first: true,
        failure: None,
    }));
    let opener = Arc::clone(&opening);
    let opener = Box::new(move || lock(&opener).open());
    let served = mcp::serve(opener, args.agent_id, fixed_project, args.approval_wait.0);
    // One that is still being opened has not failed.
    let code = opening
        .try_lock()
        .ok()
        .and_then(|opening| Some(opening.failure.as_ref()?.code()));
    match code {
        // It was told when it happened.
        Some(code) => Ok(code),
        None => Ok(served.map(|()| super::codes::DONE)?),
    }
}

fn lock(opening: &Mutex<Opening>) -> std::sync::MutexGuard<'_, Opening> {
    opening.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What it takes to open the vault when an agent wants something of it.
struct Opening {
    access: Access,
    project: PathBuf,
    is_first: bool,
    /// Why the vault could not be opened at the start, or last.
    failure: Option<Failure>,
}

impl Opening {
    /// A password is tried once, at the start: a wrong one would count each time.
    fn open(&mut self) -> Result<AgentDoor, Closed> {
        let is_first = std::mem::take(&mut self.is_first);
        match self.try_open(is_first) {
            Ok(Some(door)) => {
                self.failure = None;
                return Ok(door);
            }
            Ok(None) => {}
            Err(failure) => {
                failure.print();
                self.failure = Some(failure);
            }
        }
        let fact = match &self.failure {
            Some(failure) => failure.to_string(),
            None => LOCKED.to_owned(),
        };
        Err(Closed(format!(
            "{fact}\nA person can unlock the vault, in a terminal: {}\nThen ask again: this server need not be started again.",
            self.access.unlock_command()
        )))
    }

    /// None while nobody has unlocked it.
    fn try_open(&self, with_password: bool) -> Result<Option<AgentDoor>, Failure> {
        let Some(vault) = self.access.vault_unasked(with_password)? else {
            return Ok(None);
        };
        let door = AgentDoor::new(vault, &self.project, &self.access.outside());
        output::cautions(&door.opened()?);
        told(door.keep_retention());
        Ok(Some(door))
    }
}
