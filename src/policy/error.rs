//! Why a policy file cannot be used.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A policy file that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("policy file {} {fault}", path.display())]
pub struct PolicyError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub fault: Fault,
}

/// What is wrong with a policy file. The texts continue a sentence that begins with the file's name.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no such file.
    #[error("does not exist")]
    Missing,
    /// Its last component is a symbolic link.
    #[error("is a symbolic link")]
    IsLink,
    /// It is a directory, a pipe, a device.
    #[error("is not a regular file")]
    NotRegular,
    /// Its permission bits are not 0600.
    #[error("has mode {found:04o}, not 0600")]
    Mode {
        /// The bits it has.
        found: u32,
    },
    /// It belongs to another user.
    #[error("belongs to user {found}, not to user {wanted}")]
    Owner {
        /// Its owner's user id.
        found: u32,
        /// The effective user id of this process.
        wanted: u32,
    },
    /// It has more bytes than [`POLICY_FILE_MAX_BYTES`](super::POLICY_FILE_MAX_BYTES).
    #[error("is larger than 1 MiB")]
    TooLarge,
    /// It cannot be opened or read.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// It is not YAML, or has an unknown key, a wrong type or a wrong word. The first such place is named.
    #[error("line {line}, column {column}: {message}: {text}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// The line as it stands in the file, without the white space around it.
        text: String,
        /// What is wrong there.
        message: String,
    },
    /// It says things that cannot be meant: all of them.
    #[error("has {} invalid {}: {}", .0.len(), if .0.len() == 1 { "entry" } else { "entries" }, listed(.0))]
    Invalid(Vec<Problem>),
}

impl PolicyError {
    /// Whether there is no file at all.
    pub fn is_missing(&self) -> bool {
        matches!(self.fault, Fault::Missing)
    }

    /// The same without a word of what the file says: that may be the name of a key which it hides from the reader.
    pub fn without_contents(&self) -> String {
        let file = format!("policy file {}", self.path.display());
        match &self.fault {
            Fault::Syntax { line, column, .. } => {
                format!("{file} is not understood at line {line}, column {column}")
            }
            Fault::Invalid(problems) => match problems.len() {
                1 => format!("{file} has an invalid entry"),
                count => format!("{file} has {count} invalid entries"),
            },
            _ => self.to_string(),
        }
    }
}

/// An entry that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, such as `allowed_commands[2].timeout`.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line as it stands in the file, without the white space around it, and cut if it is long.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

fn listed(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
