//! How many commands run at a time, and how many wait for it.

use rmcp::RoleServer;
use rmcp::service::RequestContext;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::mcp::refusal::{Refusal, refuse};

/// Commands that run at the same time; more of them wait.
const RUNS_MAX: usize = 8;
/// Commands that wait: more than any agent asks for at once, unless it is out of hand.
const WAITING_MAX: usize = 64;

/// The places of commands.
pub(super) struct Queue {
    runs: Semaphore,
    waiting: Semaphore,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            runs: Semaphore::new(RUNS_MAX),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }
}

impl Queue {
    /// Waits for its turn, unless too many wait already or the request is cancelled.
    pub(super) async fn enter(
        &self,
        context: &RequestContext<RoleServer>,
    ) -> Result<SemaphorePermit<'_>, Refusal> {
        if let Ok(place) = self.runs.try_acquire() {
            return Ok(place);
        }
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return Err(refuse(format!(
                "{RUNS_MAX} commands are running and {WAITING_MAX} wait already\nWait for some of them to end, and ask again."
            )));
        };
        let closing = || refuse("the command was cancelled before it began");
        tokio::select! {
            place = self.runs.acquire() => place.map_err(|_| closing()),
            () = context.ct.cancelled() => Err(closing()),
        }
    }
}
