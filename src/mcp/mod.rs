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
mod rounds;
mod schema;
mod skim;
mod tools;
mod visit;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rmcp::ServiceExt;
use rmcp::transport::io::stdio_pipes;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::oneshot;

pub use self::door::{Closed, LOCKED, Opener};
pub use self::visit::{Greeting, ToolAnswer, VISITOR, VisitError, Visitor};

use self::door::Door;

/// Time for running commands to be ended and recorded when the client has gone, and for the vault to be opened or not.
const CLOSING_TIME: Duration = Duration::from_secs(10);

/// Serves one client until it goes away, or a signal asks for the end. `agent_id` stands in for what the client calls itself. With `fixed_project`, commands run in the
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
    let asked_to_end = end_at_signals()?;
    let result = runtime.block_on(async {
        let (log, messages) = log::Log::new();
        let roots = roots::Roots::new(fixed_project);
        let session = messages::Session::new(roots.clone());
        let door = Arc::new(Door::new(opener));
        let approvals = approve::Approvals::new(approval_wait);
        let tools = tools::Tools::new(Arc::clone(&door), agent_id, roots, log, approvals);
        let running = tools.running();
        // The client gets its first answers while the vault is being opened.
        let opened = Arc::clone(&door);
        let opening = tokio::task::spawn_blocking(move || {
            if let Ok(door) = opened.get() {
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
        let served = tokio::select! {
            served = serve => served.map(drop),
            _ = asked_to_end => Ok(()),
        };
        let all = async {
            running.end_all().await;
            // What is wrong with the vault is known at the end, however soon that comes.
            let _ = opening.await;
            door.close();
        };
        // What takes longer, such as a program that asks for the password, is not waited for.
        let _ = tokio::time::timeout(CLOSING_TIME, all).await;
        served
    });
    // A thread may wait for input that never comes.
    runtime.shutdown_background();
    result
}

/// Sent to when this process is asked to end: by a client that does not close its side, or from a terminal.
fn end_at_signals() -> io::Result<oneshot::Receiver<()>> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let (sender, asked) = oneshot::channel();
    std::thread::Builder::new().spawn(move || {
        if signals.forever().next().is_some() {
            // It may be ending already.
            let _ = sender.send(());
        }
    })?;
    Ok(asked)
}
