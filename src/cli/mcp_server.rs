//! `secretctl mcp-server`

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::args::McpServerArgs;
use super::failure::Failure;
use super::output;
use super::unlock::{Access, told};
use crate::broker::AgentDoor;
use crate::mcp::{self, Closed};

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
    match lock(&opening).failure.take() {
        Some(failure) => Err(failure),
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
    /// Why the server is of no use.
    failure: Option<Failure>,
}

impl Opening {
    /// A password is tried once, at the start: a wrong one would count each time.
    fn open(&mut self) -> Result<AgentDoor, Closed> {
        let is_first = std::mem::take(&mut self.is_first);
        match self.try_open(is_first) {
            Ok(Some(door)) => Ok(door),
            Ok(None) => Err(Closed {
                text: self.locked(),
                is_final: false,
            }),
            Err(failure) => {
                let closed = Closed {
                    text: failure.to_string(),
                    is_final: is_first,
                };
                match is_first {
                    true => self.failure = Some(failure),
                    false => failure.print(),
                }
                Err(closed)
            }
        }
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

    fn locked(&self) -> String {
        format!(
            "the vault is locked\nA person can unlock it, in a terminal: {}\nThen ask again: this server need not be started again.",
            self.access.unlock_command()
        )
    }
}
