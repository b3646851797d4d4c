//! The keeper: a process that has the keys of an open vault, and works with them for the other processes of its user.
//!
//! Whoever runs as the user can connect to it, programs of an agent too, and ask for what `secretctl` itself would do. So no message
//! hands out a key: when the session is over, nothing that ran before can open anything.
//!
//! ```text
//! unlock ─data key, over a pair of sockets─▶ keeper ─derives and keeps the keys of the purposes
//!                     get, run, mcp-server ─tasks, over a socket with a name─▶ keeper ─results
//! ```

#![forbid(unsafe_code)]

mod client;
mod protocol;
mod serve;
mod watch;

#[cfg(test)]
mod tests;

pub use client::{Client, start};
pub use protocol::{Facts, Start};
pub use serve::serve;

/// The argument with which this program is a keeper.
pub const ARGUMENT: &str = "keeper";

/// The socket of a vault's session.
fn socket_name(vault_id: [u8; 16]) -> String {
    format!("{}.sock", ulid::Ulid::from_bytes(vault_id))
}
