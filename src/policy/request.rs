//! What an agent asks for, as the policy modules get to see it: names and metadata, never a value.

use std::path::PathBuf;
use std::time::Duration;

use crate::name::{SecretName, Tag};

/// What a request wants to do with its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Learn that keys exist, and their metadata.
    Reference,
    /// See the masked value.
    Masked,
    /// Run a command with the values in its environment.
    Inject,
}

/// A key that a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name in the vault, after environment aliases.
    pub name: SecretName,
    /// True when the agent named this very key, false when one of its patterns found it.
    pub named: bool,
    /// Tags of the secret; empty for a name that the vault does not hold, and for the built-in module, whose rules are about names.
    pub tags: Vec<Tag>,
}

/// The program that a command starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The word as the agent wrote it.
    pub requested: String,
    /// Absolute path of the file that will run; none when no trusted directory holds it.
    pub path: Option<PathBuf>,
    /// Every other absolute name of that file: its canonical path, and links and hard links to it in trusted directories.
    pub aliases: Vec<PathBuf>,
}

/// A command, split into words. No shell is involved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program.
    pub program: Program,
    /// The words after it, before any variable in them is expanded.
    pub arguments: Vec<String>,
    /// Programs with other names that the arguments mention, as far as words can be told. Whether a word means a program where
    /// it stands is for policy to judge.
    pub mentioned: Vec<Program>,
}

/// A moment: modules have no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub unix_seconds: u64,
    /// Offset of the user's local time from UTC, in minutes.
    pub utc_offset_minutes: i32,
}

/// What an agent asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is to be done with the keys.
    pub purpose: Purpose,
    /// The client's name, or the one the server was started with.
    pub agent: String,
    /// The keys in question.
    pub keys: Vec<Key>,
    /// Present exactly when the purpose is [`Purpose::Inject`]. The built-in module is also asked without one, which keys a run may
    /// get at all.
    pub command: Option<Command>,
    /// The directory asked for, relative to the project root and empty for the root itself; none for a temporary directory.
    pub directory: Option<String>,
    /// The time limit asked for.
    pub timeout: Option<Duration>,
    /// When it was asked.
    pub time: Moment,
}
