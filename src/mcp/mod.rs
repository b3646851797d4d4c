//! The agent door: the Model Context Protocol over standard input and output.
//!
//! Read-only by construction: no tool returns a value, none writes to the vault. This module uses neither the vault nor the type
//! of secrets, so it cannot even name one. Standard output carries protocol messages only.

#![forbid(unsafe_code)]

mod answers;
mod refusal;
mod tools;
mod visit;

use std::io;
use std::time::Duration;

use rmcp::ServiceExt;
use rmcp::transport::io::stdio_pipes;

pub use self::visit::{Greeting, ToolAnswer, VISITOR, VisitError, Visitor};

use crate::broker::AgentDoor;

/// Time for running commands to be ended and recorded when the client has gone.
const CLOSING_TIME: Duration = Duration::from_secs(10);

/// Serves one client until it goes away. `agent_id` stands in for what the client calls itself.
pub fn serve(door: AgentDoor, agent_id: Option<String>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Protocol messages are few; commands run on threads of their own.
        .worker_threads(2)
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let tools = tools::Tools::new(door, agent_id);
        let running = tools.running();
        let waiting = tools.clone();
        let service = tools.serve(stdio_pipes()).await.map_err(io::Error::other)?;
        waiting.warm_up();
        service.waiting().await.map_err(io::Error::other)?;
        running.end_all();
        Ok(())
    });
    runtime.shutdown_timeout(CLOSING_TIME);
    result
}
