//! The way in, which is opened when somebody wants to go through: the vault may be locked when the server starts, and again later.

use std::sync::{Arc, Mutex, PoisonError};

use crate::broker::AgentDoor;

/// Opens the vault without asking anybody.
pub type Opener = Box<dyn Fn() -> Result<AgentDoor, Closed> + Send + Sync>;

/// What an agent is told first of a vault that nobody has unlocked.
pub const LOCKED: &str = "the vault is locked";

/// Why the vault is closed, as an agent is told: the fact, and what a person can do.
#[derive(Debug)]
pub struct Closed(pub String);

/// The door of a server, open or closed.
pub(super) struct Door {
    opener: Opener,
    open: Mutex<Option<Arc<AgentDoor>>>,
}

impl Door {
    pub(super) fn new(opener: Opener) -> Self {
        let open = Mutex::default();
        Self { opener, open }
    }

    /// The open door. One whose keys are gone is opened anew; others wait meanwhile.
    pub(super) fn get(&self) -> Result<Arc<AgentDoor>, Closed> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(door) = open.as_ref().filter(|door| door.is_open()) {
            return Ok(Arc::clone(door));
        }
        *open = None;
        let door = Arc::new((self.opener)()?);
        Ok(Arc::clone(open.insert(door)))
    }

    /// Closes it for those who come next.
    pub(super) fn close(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = None;
    }

    /// The door, if it is open already.
    pub(super) fn if_open(&self) -> Option<Arc<AgentDoor>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clone()
    }
}
