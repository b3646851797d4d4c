//! The agent door: the Model Context Protocol over standard input and output.
//!
//! Read-only by construction: no tool returns a value, none writes to the vault. This module uses neither the vault nor the type
//! of secrets, so it cannot even name one. Standard output carries protocol messages only.

#![forbid(unsafe_code)]

mod answers;
mod approve;
mod arguments;
mod board;
mod door;
mod lines;
mod log;
mod messages;
mod panic;
mod refusal;
mod roots;
mod schema;
mod tools;
mod visit;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rmcp::ServiceExt;
use rmcp::transport::io::stdio_pipes;

pub use self::door::{Closed, LOCKED, Opener};
pub use self::visit::{Greeting, ToolAnswer, VISITOR, VisitError, Visitor};

use self::door::Door;

/// Time for running commands to be ended and recorded when the client has gone.
const CLOSING_TIME: Duration = Duration::from_secs(10);

/// Serves one client until it goes away. `agent_id` stands in for what the client calls itself. With `fixed_project`, commands run in the
/// door's project whatever roots the client has. A person who is asked about a command has `approval_wait` for the answer.
pub fn serve(
    opener: Opener,
    agent_id: Option<String>,
    fixed_project: bool,
    approval_wait: Duration,
) -> io::Result<()> {
    panic::tell_only_places();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Protocol messages are few; commands run on threads of their own.
        .worker_threads(2)
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let (log, messages) = log::Log::new();
        let roots = roots::Roots::new(fixed_project);
        let session = messages::Session::new(roots.clone());
        let door = Arc::new(Door::new(opener));
        let approvals = approve::Approvals::new(approval_wait);
        let tools = tools::Tools::new(Arc::clone(&door), agent_id, roots, log, approvals);
        let running = tools.running();
        // The client gets its first answers while the vault is being opened.
        let opening = tokio::task::spawn_blocking(move || {
            if let Ok(door) = door.get() {
                door.warm_up();
            }
        });
        let serve = async {
            let (input, output) = stdio_pipes();
            let lines = lines::Lines::new(input, output, session);
            let service = tools.serve(lines).await.map_err(io::Error::other)?;
            tokio::spawn(log::forward(messages, service.peer().clone()));
            service.waiting().await.map_err(io::Error::other)
        };
        let served = serve.await.map(drop);
        running.end_all();
        // What is wrong with the vault is known at the end, however soon that comes.
        let _ = opening.await;
        served
    });
    runtime.shutdown_timeout(CLOSING_TIME);
    result
}
