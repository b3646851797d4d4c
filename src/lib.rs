//! secretctl keeps secrets in an encrypted vault, and lets programs and AI agents use them without ever seeing them.
//!
//! An agent asks for a command to be run with named secrets. A policy module decides, a confined child process runs, a
//! sanitizer module finds every secret in its output, and a tamper-evident log records it all.
//!
//! # The modules, in reading order
//!
//! | Module | What it is | May use, of ours |
//! |---|---|---|
//! | [`secret`] | bytes that are wiped and cannot be printed | nothing |
//! | [`name`] | names, parsed once | nothing |
//! | [`text`] | which characters of others' texts are shown | nothing |
//! | [`time`] | moments and spans, as they are written | nothing |
//! | [`crypto`] | formulas with their RFC; no files, no clock | `secret` |
//! | [`socket`] | sockets with names that are their user's alone | nothing |
//! | [`keeper`] | a process that has the keys of an open vault, and works with them for others | `crypto`, `secret`, `socket`, the crate `secretctl_runner` |
//! | [`vault`] | the encrypted files | `crypto`, `secret`, `name` |
//! | [`audit`] | the log: a chain that shows every change of it | `crypto`, `name` |
//! | [`policy`] | the policy file, requests and decisions; nothing here decides | `name`, `time` |
//! | [`sanitize`] | output rewritten by ranges, and the proof of it | `name` |
//! | [`wasm`] | the host of policy and sanitizer modules | `policy`, `sanitize`, `name`, `text`; `secret` in one file |
//! | [`broker`] | the one way by which anybody uses a secret | all of the above and the crate `secretctl-runner` |
//! | [`mcp`] | the agent door | `broker`, `name`, `time` |
//! | [`cli`] | the human door | `broker`, `mcp`, `keeper`, `vault`, `name`, `secret`, `text`, `time` |
//!
//! # Invariants
//!
//! 1. No tool, error, log, audit record, temporary file, core, argument list or environment of another process shows a sensitive value
//!    or the password.
//! 2. No secret leaves the vault without a durable record that allows it.
//! 3. `mcp` cannot name plaintext, `audit` cannot name secrets, the runner knows nothing of ours.
//! 4. `unsafe` code stands in three files: the runner's system calls, the memory behind `secret`, the loading of compiled modules.
//! 5. A failing, slow, huge, malicious or missing module never widens anything.
//! 6. No descendant of a run outlives it.
//! 7. A tampered or truncated vault or log is noticed and named.
//! 8. A crash at any moment loses nothing that was acknowledged.
//! 9. Standard output of `mcp-server` carries protocol messages only.

#![deny(unsafe_code)]

pub mod audit;
pub mod broker;
pub mod cli;
pub mod crypto;
pub mod keeper;
pub mod mcp;
pub mod name;
pub mod policy;
pub mod sanitize;
pub mod secret;
pub mod socket;
pub mod text;
pub mod time;
pub mod vault;
pub mod wasm;
