//! What to run, and nothing else: the plan is complete, so nothing of the caller's environment,
//! directory or descriptors reaches the child unless it stands here.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::mem;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::{Zeroize, Zeroizing};

use crate::outcome::{Cause, Stage, StartError};

/// Longest `NAME=value` in bytes: Linux passes 32 pages for one string, the final NUL included.
pub(crate) const VARIABLE_BYTES_MAX: usize = 131_071;

/// One child process, described completely. Arguments and variables are wiped on drop.
pub struct Plan {
    /// The file to execute; absolute.
    pub program: PathBuf,
    /// The file that was judged: if `program` is another one when it is executed, the start is
    /// refused.
    pub expect: Option<FileId>,
    /// The arguments, the program's own name first.
    pub argv: Vec<OsString>,
    /// The whole environment. Only [`Home::Temporary`] adds to it.
    pub environment: Vec<Variable>,
    /// Where `HOME` and `TMPDIR` point.
    pub home: Home,
    /// Where the child starts.
    pub working_directory: WorkingDirectory,
    /// What it may use up.
    pub limits: Limits,
    /// Names of [layers](crate::Layer) without which it must not start.
    pub require: Vec<String>,
    /// How far it is shut in.
    pub confinement: Confinement,
}

/// How far a child is shut in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// By what disturbs no program: a session of its own, three descriptors, limits, no privileges,
    /// and an end for the whole tree.
    Base,
    /// By every layer that the machine has. The home is then always [`Home::Temporary`].
    Jail(Jail),
}

/// What a child in the jail can reach, beside the system's programs and libraries (read-only), a
/// few device nodes, the processes of its own run, and the run's fresh directory. That one stands
/// at `/tmp` where the jail has a view of the file system of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jail {
    /// Whether it may use the network.
    pub network: Network,
    /// Further files and directories that it may read and execute; absolute, and left out where
    /// they do not exist.
    pub readable: Vec<PathBuf>,
    /// Directories that it may change; absolute.
    pub writable: Vec<PathBuf>,
    /// Files and directories that stay out of sight even where they lie within one of the others:
    /// there they are empty.
    pub hidden: Vec<PathBuf>,
}

/// Whether a child may use the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// TCP and UDP, and Unix sockets within what it can reach. Nothing else.
    #[default]
    Allow,
    /// No socket of any kind, but for connected pairs of its own.
    None,
}

/// The identity of a file on this machine while it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// The file system's device number.
    pub dev: u64,
    /// The file's number in it.
    pub ino: u64,
}

#[cfg(unix)]
impl From<&std::fs::Metadata> for FileId {
    fn from(metadata: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        FileId {
            dev: metadata.dev(),
            ino: metadata.ino(),
        }
    }
}

/// One environment variable. The value may be a secret: it is wiped on drop and cannot be printed.
pub struct Variable {
    /// Not empty, without `=` and NUL.
    pub name: OsString,
    /// Any bytes but NUL.
    pub value: Zeroizing<Vec<u8>>,
}

impl Variable {
    /// Takes over both; neither is checked before the run.
    pub fn new(name: impl Into<OsString>, value: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        Variable {
            name: name.into(),
            value: value.into(),
        }
    }
}

/// Where `HOME` and `TMPDIR` of the child point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// Both are the run's fresh directory (mode 0700, removed afterwards), whatever the environment
    /// says.
    Temporary,
    /// The environment is passed as it stands.
    Unchanged,
}

/// Where the child starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkingDirectory {
    /// In the run's fresh directory.
    Temporary,
    /// In this directory; absolute.
    At(PathBuf),
}

/// What a run may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time from the start to the first signal. Values over some centuries mean no limit.
    pub timeout: Duration,
    /// Time between the request to end (SIGTERM) and the kill.
    pub grace: Duration,
    /// Processes and threads at one time. Only where the layer `process_limit` is enforced.
    pub processes: u32,
    /// Open descriptors of one process.
    pub open_files: u32,
    /// Largest file a process may write, in bytes.
    pub file_size_bytes: Option<u64>,
}

impl Default for Limits {
    /// 300 s, 2 s, 1024 processes and threads (a test runner of node has a dozen threads for each
    /// processor), 1024 files (the usual soft limit: node and cargo need more than
    /// the 256 that a shell tool would do with), files of 1 GiB (a build's, not a full disk).
    fn default() -> Self {
        Limits {
            timeout: Duration::from_secs(300),
            grace: Duration::from_secs(2),
            processes: 1024,
            open_files: 1024,
            file_size_bytes: Some(1 << 30),
        }
    }
}

impl Plan {
    /// Whether the run gets a fresh directory of its own.
    #[cfg(unix)]
    pub(crate) fn wants_directory(&self) -> bool {
        self.has_own_home() || self.working_directory == WorkingDirectory::Temporary
    }

    /// Whether `HOME` and `TMPDIR` are that directory: in the jail there is no other.
    #[cfg(unix)]
    pub(crate) fn has_own_home(&self) -> bool {
        matches!(self.confinement, Confinement::Jail(_)) || self.home == Home::Temporary
    }

    /// Finds what no start can succeed with, so that the error names it and not just an error
    /// number.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let refuse = |stage, cause| Err(StartError::new(stage, cause));
        if !self.program.is_absolute() {
            return refuse(Stage::Program, Cause::RelativePath);
        }
        if let WorkingDirectory::At(path) = &self.working_directory {
            if !path.is_absolute() {
                return refuse(Stage::WorkingDirectory, Cause::RelativePath);
            }
            if has_nul(path.as_os_str()) {
                return refuse(Stage::WorkingDirectory, Cause::ContainsNul);
            }
        }
        if has_nul(self.program.as_os_str()) || self.argv.iter().any(|argument| has_nul(argument)) {
            return refuse(Stage::Plan, Cause::ContainsNul);
        }
        if self.argv.is_empty() {
            return refuse(Stage::Plan, Cause::NoArguments);
        }
        self.check_environment()
            .map_err(|cause| StartError::new(Stage::Plan, cause))
    }

    fn check_environment(&self) -> Result<(), Cause> {
        let mut names = HashSet::new();
        for Variable { name, value } in &self.environment {
            let bytes = name.as_encoded_bytes();
            if bytes.is_empty() || bytes.contains(&b'=') {
                return Err(Cause::VariableName);
            }
            if has_nul(name) || value.contains(&0) {
                return Err(Cause::ContainsNul);
            }
            if bytes.len() + 1 + value.len() > VARIABLE_BYTES_MAX {
                return Err(Cause::VariableTooLong(name.clone()));
            }
            if !names.insert(name) {
                return Err(Cause::VariableRepeated(name.clone()));
            }
        }
        Ok(())
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        for argument in mem::take(&mut self.argv) {
            argument.into_encoded_bytes().zeroize();
        }
    }
}

fn has_nul(text: &OsStr) -> bool {
    text.as_encoded_bytes().contains(&0)
}
