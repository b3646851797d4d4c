//! What a run came to: plain data, the same on every platform.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

/// One of the two output streams of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Descriptor 1 of the child.
    Stdout,
    /// Descriptor 2 of the child.
    Stderr,
}

/// Said by the receiver of the output to end the run; it is not called again in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop;

/// Receives the output as it comes.
pub type Sink<'a> = dyn FnMut(Channel, &[u8]) -> ControlFlow<Stop> + 'a;

/// How a started run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The main process ended by itself with this code, 0 to 255.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// The main process died of this signal, sent by something else than a limit or a cancel.
    Signaled {
        /// The signal's number on this platform.
        signal: i32,
    },
    /// The time limit passed, and everything was ended.
    TimedOut,
    /// The receiver of the output said [`Stop`].
    Stopped,
    /// [`Cancel::cancel`](crate::Cancel::cancel) was called.
    Cancelled,
    /// The helper program died during the run, so the exit status is unknown. The main process died
    /// with it; a process that had left the main process's group may have survived.
    Lost,
}

/// All there is to say about a run that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// From the start of the main process to its end, on the monotonic clock.
    pub duration: Duration,
    /// What confined the run, and what did not.
    pub enforcement: Enforcement,
    /// The main process ended while others it had started were alive; those were killed.
    pub leaked: bool,
    /// Some process could not be ended (it hangs in the kernel), or it still held an output pipe,
    /// or nobody can tell because the run was lost.
    pub survivors: bool,
    /// The run's temporary directory, if it could not be removed whole. A later run tries again.
    pub left_behind: Option<PathBuf>,
}

impl Report {
    /// Of a run that was given up before anything was started.
    #[cfg(unix)]
    pub(crate) fn not_started(outcome: Outcome) -> Self {
        Report {
            outcome,
            duration: Duration::ZERO,
            enforcement: Enforcement::default(),
            leaked: false,
            survivors: false,
            left_behind: None,
        }
    }
}

/// The names of all layers, in the order in which they are reported. `memory_directory` is reported
/// for runs that have a directory of their own, `user` for those that root started.
pub const LAYERS: [&str; 16] = [
    "session",
    "descriptors",
    "limits",
    "core",
    "capabilities",
    "no_new_privileges",
    "kill",
    "memory_directory",
    "user",
    "process_limit",
    "namespaces",
    "files",
    "landlock",
    "network",
    "system_calls",
    "environment",
];

/// Which layers confined a run, in the order in which they were put on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enforcement {
    /// One entry for each layer known, enforced or not.
    pub layers: Vec<Layer>,
}

/// One layer of confinement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// A stable identifier such as `no_new_privileges`.
    pub name: String,
    /// Whether the run was confined by it.
    pub enforced: bool,
    /// How it was enforced, or what is open without it: one clause for people.
    pub detail: String,
}

impl Enforcement {
    /// Whether the layer of this name is known and was enforced.
    pub fn has(&self, name: &str) -> bool {
        self.layers
            .iter()
            .any(|layer| layer.name == name && layer.enforced)
    }

    /// What was found out later about a layer.
    #[cfg(unix)]
    pub(crate) fn replace(&mut self, layer: Layer) {
        let known = self
            .layers
            .iter_mut()
            .find(|known| known.name == layer.name);
        if let Some(known) = known {
            *known = layer;
        }
    }

    /// The layers that did not hold.
    pub fn missing(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|layer| !layer.enforced)
    }
}

/// The run could not be started: where, and why. Neither part ever holds an argument or a
/// variable's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// The step that failed.
    pub stage: Stage,
    /// The reason.
    pub cause: Cause,
}

/// The step of the start that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// This operating system is not supported.
    Platform,
    /// Finding, starting or talking to the helper program.
    Helper,
    /// The plan itself is not one that can be run.
    Plan,
    /// Making the temporary directory.
    Directory,
    /// Making the new process.
    Process,
    /// Leaving the caller's session and terminal.
    Session,
    /// Setting resource limits.
    Limits,
    /// Giving up privileges.
    Privileges,
    /// Setting up the three descriptors.
    Descriptors,
    /// Entering the working directory.
    WorkingDirectory,
    /// Executing the program.
    Program,
    /// Checking that every layer which the plan requires holds.
    Confinement,
    /// Making namespaces.
    Namespaces,
    /// Building the view of the file system.
    View,
    /// Putting on Landlock.
    Landlock,
    /// Putting on the filter of system calls.
    SystemCalls,
    /// Becoming another user.
    User,
    /// Entering the sandbox of macOS.
    Sandbox,
}

/// Why a start failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Not available on this platform.
    Unsupported,
    /// There is no such file.
    NotFound,
    /// The helper program is not a regular file that only its owner (root or this user) can change.
    NotTrusted,
    /// The helper program ended without an answer.
    Died,
    /// The two sides did not understand each other; they are of different versions.
    Malformed,
    /// The plan has more bytes than the helper accepts.
    TooLarge,
    /// A path that has to be absolute is not.
    RelativePath,
    /// The argument list is empty; it must begin with the program's name.
    NoArguments,
    /// A path, an argument or a variable contains a NUL byte.
    ContainsNul,
    /// A variable's name is empty or contains `=`.
    VariableName,
    /// This variable stands in the environment twice.
    VariableRepeated(OsString),
    /// This variable is longer than the kernel passes on.
    VariableTooLong(OsString),
    /// The file exists but may not be executed, or it is not a file.
    NotExecutable,
    /// The interpreter that the program names (after `#!` or in its ELF header) does not exist.
    NoInterpreter,
    /// The file is neither a program of this machine nor a script that begins with `#!`.
    UnknownFormat,
    /// Arguments and environment together are longer than the kernel accepts.
    TooLong,
    /// The file is not the one that was judged.
    Replaced,
    /// The plan requires this layer, and it does not hold on this machine.
    LayerMissing(String),
    /// The operating system's answer about this path: the raw error number.
    Path(PathBuf, i32),
    /// Any other answer of the operating system: the raw error number.
    Os(i32),
}

impl StartError {
    pub(crate) fn new(stage: Stage, cause: Cause) -> Self {
        StartError { stage, cause }
    }

    #[cfg(unix)]
    pub(crate) fn os(stage: Stage, error: impl Into<io::Error>) -> Self {
        // Without a number it was a short read or the like.
        let cause = Cause::Os(error.into().raw_os_error().unwrap_or(libc::EIO));
        StartError { stage, cause }
    }
}

impl std::error::Error for StartError {}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start, {}: {}", self.stage, self.cause)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Platform => "platform",
            Stage::Helper => "helper program",
            Stage::Plan => "plan",
            Stage::Directory => "temporary directory",
            Stage::Process => "new process",
            Stage::Session => "session",
            Stage::Limits => "limits",
            Stage::Privileges => "privileges",
            Stage::Descriptors => "descriptors",
            Stage::WorkingDirectory => "working directory",
            Stage::Program => "program",
            Stage::Confinement => "confinement",
            Stage::Namespaces => "namespaces",
            Stage::View => "view of the file system",
            Stage::Landlock => "Landlock",
            Stage::SystemCalls => "system call filter",
            Stage::User => "user",
            Stage::Sandbox => "sandbox",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Cause::Unsupported => "not supported on this operating system",
            Cause::NotFound => "no such file",
            Cause::NotTrusted => "not a regular file that only root or its owner can change",
            Cause::Died => "it ended without an answer",
            Cause::Malformed => "it does not speak this version's protocol",
            Cause::TooLarge => "arguments and environment are too large",
            Cause::RelativePath => "the path is not absolute",
            Cause::NoArguments => "the argument list is empty",
            Cause::ContainsNul => "a path, an argument or a variable contains a NUL byte",
            Cause::VariableName => "a variable's name is empty or contains '='",
            Cause::VariableRepeated(name) => {
                return write!(f, "the variable {} is given twice", name.display());
            }
            Cause::VariableTooLong(name) => {
                return write!(
                    f,
                    "the variable {} is too long for the kernel",
                    name.display()
                );
            }
            Cause::NotExecutable => "not an executable file",
            Cause::NoInterpreter => "its interpreter does not exist",
            Cause::UnknownFormat => {
                "neither a program of this machine nor a script that begins with #!"
            }
            Cause::TooLong => "argument list too long",
            Cause::LayerMissing(name) => {
                return write!(
                    f,
                    "the required layer '{}' does not hold here",
                    name.escape_debug()
                );
            }
            Cause::Replaced => "not the file that was judged",
            Cause::Path(path, errno) => {
                let error = io::Error::from_raw_os_error(*errno);
                return write!(f, "{}: {error}", path.display());
            }
            Cause::Os(errno) => return write!(f, "{}", io::Error::from_raw_os_error(*errno)),
        };
        f.write_str(text)
    }
}
