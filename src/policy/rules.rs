//! A policy as the rest of the program asks for it.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::alias::{AliasError, Aliased, Environments};
use super::decision::{Network, Workdir};
use super::document::Document;
use super::error::Fault;
use super::pinned::PinnedModule;
use crate::name::{EnvName, KeyPattern};

/// A policy file that can be used.
#[derive(Debug)]
pub struct Policy {
    pub(super) sha256: [u8; 32],
    pub(super) guest_document: String,
    pub(super) allows_by_default: bool,
    pub(super) allowed_commands: Vec<AllowedCommand>,
    pub(super) command_rules: usize,
    pub(super) agent_policies: Option<usize>,
    pub(super) environments: Environments,
    pub(super) trusted_dirs: Vec<String>,
    pub(super) readable_paths: Vec<String>,
    pub(super) writable_paths: Vec<String>,
    pub(super) env_pass: Vec<EnvName>,
    pub(super) limits: Limits,
    pub(super) workdir: Workdir,
    pub(super) required_layers: Vec<String>,
    pub(super) modules: Vec<PinnedModule>,
    pub(super) sanitizers: Vec<PinnedModule>,
}

/// A rule that allows a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedCommand {
    /// The words that a command line must begin with.
    pub command: String,
    /// Whether it holds only for some keys.
    pub keys_limited: bool,
    /// Whether such commands may reach a network.
    pub network: Network,
}

/// Limits of every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest time limit a run can get.
    pub timeout_max: Duration,
    /// Bytes kept of each output stream.
    pub output_bytes: u64,
    /// Processes and threads at the same time.
    pub processes: u32,
}

impl Policy {
    /// Takes the bytes of a policy file.
    ///
    /// # Errors
    /// [`Fault::Syntax`] for the first thing that is not understood, [`Fault::Invalid`] for all that cannot be meant.
    pub fn parse(bytes: &[u8]) -> Result<Policy, Fault> {
        let sha256 = Sha256::digest(bytes).into();
        let policy = Document::parse(bytes)?.into_policy()?;
        Ok(Policy { sha256, ..policy })
    }

    /// The digest of the file's bytes: what was decided by another file may be decided otherwise by this one.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The rules as JSON, for the `configure` of the built-in policy module, which documents its form.
    pub fn guest_document(&self) -> &str {
        &self.guest_document
    }

    /// Whether commands are allowed that no rule names.
    pub fn allows_by_default(&self) -> bool {
        self.allows_by_default
    }

    /// The rules that allow commands, in the order of the file.
    pub fn allowed_commands(&self) -> &[AllowedCommand] {
        &self.allowed_commands
    }

    /// How many commands are allowed or denied.
    pub fn command_rules(&self) -> usize {
        self.command_rules
    }

    /// How many entries `policies` has; none where the file has no `policies`, so that every agent may use all keys.
    pub fn agent_policies(&self) -> Option<usize> {
        self.agent_policies
    }

    /// What `pattern` means in the environment `env`: its first alias that fits decides, and without one nothing changes.
    ///
    /// # Errors
    /// When the file has no such environment, or the result is not a key pattern any more.
    pub fn alias(&self, env: &str, pattern: &KeyPattern) -> Result<Aliased, AliasError> {
        self.environments.apply(env, pattern)
    }

    /// Directories in which programs are looked up beside the system's: absolute or `~/…`, possibly with glob characters.
    pub fn trusted_dirs(&self) -> &[String] {
        &self.trusted_dirs
    }

    /// Files and directories that a run may read beside the system's: absolute or `~/…`, possibly with glob characters. What
    /// they stand for on this machine, and whether that may be opened, is checked where they are used.
    pub fn readable_paths(&self) -> &[String] {
        &self.readable_paths
    }

    /// The same for those that it may change.
    pub fn writable_paths(&self) -> &[String] {
        &self.writable_paths
    }

    /// Variables that a run takes over from the environment of this process.
    pub fn env_pass(&self) -> &[EnvName] {
        &self.env_pass
    }

    /// The limits of every run.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Where commands run when the request names no directory.
    pub fn workdir(&self) -> Workdir {
        self.workdir
    }

    /// Names of the layers of confinement without which nothing runs, each one of [`LAYERS`](super::LAYERS).
    pub fn required_layers(&self) -> &[String] {
        &self.required_layers
    }

    /// Modules that decide after the built-in one, in this order; each can only tighten.
    pub fn modules(&self) -> &[PinnedModule] {
        &self.modules
    }

    /// Modules that look for more to hide in the output of agents' commands, in this order.
    pub fn sanitizers(&self) -> &[PinnedModule] {
        &self.sanitizers
    }
}
