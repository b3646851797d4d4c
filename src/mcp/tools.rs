//! The tools. Each parses its input, asks the broker on a thread of its own, and answers with structure and text.

mod look;
mod run;

use std::io::{self, Write};
use std::sync::Arc;

use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, tool_handler};
use tokio::sync::{Semaphore, watch};

use super::door::Door;
use super::refusal::{Refusal, explain, refuse};
use crate::broker::{AgentDoor, RunError};

/// Commands that run at the same time; more of them wait.
const RUNS_MAX: usize = 8;
/// What an agent is called that does not say its name.
const UNNAMED: &str = "unnamed";

const INSTRUCTIONS: &str = "secretctl lets you use secrets without seeing them. Find their names with secret_list, then let \
    secret_run run a command with them in its environment: the key aws/access_key becomes the variable AWS_ACCESS_KEY. Values are \
    never shown; in output they are replaced by [REDACTED:key]. There is no shell. A refusal says which rule decided and what a \
    person could change; do not try to get around it.";

#[derive(Clone)]
pub(super) struct Tools {
    door: Arc<Door>,
    agent_id: Option<String>,
    runs: Arc<Semaphore>,
    running: Arc<Running>,
    tool_router: ToolRouter<Self>,
}

/// Ends commands that run when the client has gone.
pub(super) struct Running(watch::Sender<bool>);

impl Running {
    pub(super) fn end_all(&self) {
        self.0.send_replace(true);
    }
}

impl Tools {
    pub(super) fn new(door: Arc<Door>, agent_id: Option<String>) -> Self {
        Self {
            door,
            agent_id,
            runs: Arc::new(Semaphore::new(RUNS_MAX)),
            running: Arc::new(Running(watch::Sender::new(false))),
            tool_router: Self::look_router() + Self::run_router(),
        }
    }

    pub(super) fn running(&self) -> Arc<Running> {
        Arc::clone(&self.running)
    }

    /// Prepares for the next command, on a thread of its own.
    pub(super) fn warm_up(&self) {
        let door = Arc::clone(&self.door);
        let warm_up = move || door.if_open().map(|door| door.warm_up());
        drop(tokio::task::spawn_blocking(warm_up));
    }

    fn agent(&self, context: &RequestContext<RoleServer>) -> String {
        let client = || Some(context.peer.peer_info()?.client_info.name.clone());
        self.agent_id
            .clone()
            .or_else(client)
            .unwrap_or_else(|| UNNAMED.to_owned())
    }

    /// Does `work` where waiting for the disk or for a child holds up nobody else.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&AgentDoor) -> Result<T, RunError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let door = Arc::clone(&self.door);
        let asked = move || {
            let door = door.get().map_err(|closed| refuse(closed.text))?;
            let answer = work(&door);
            let told = tell(&door).and(answer);
            told.map_err(|error| explain(&error))
        };
        match tokio::task::spawn_blocking(asked).await {
            Ok(answer) => answer,
            Err(_) => Err(refuse(
                "secretctl failed inside; the request was not carried out",
            )),
        }
    }
}

/// Writes what modules had to say to the server's log, which is its standard error.
fn tell(door: &AgentDoor) -> Result<(), RunError> {
    for notice in door.take_notices()? {
        // Where standard error is closed, there is nobody to tell.
        let _ = writeln!(io::stderr().lock(), "secretctl: {notice}");
    }
    Ok(())
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        info.server_info = Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        info.with_instructions(INSTRUCTIONS)
    }
}
