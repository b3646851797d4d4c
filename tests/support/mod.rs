//! What the black-box tests share: a throw-away home directory with a vault, the program run in a known environment, and
//! its answer compared as a whole.

#![allow(dead_code, reason = "every test program uses a part of it")]
#![allow(clippy::expect_used, reason = "a test that cannot be set up fails")]

pub(crate) mod agent;
pub(crate) mod approve;
pub(crate) mod fields;
pub(crate) mod go_import;
pub(crate) mod go_vault;
pub(crate) mod languages;
pub(crate) mod modules;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod terminal;

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use tempfile::TempDir;

/// The program under test.
pub(crate) const SECRETCTL: &str = env!("CARGO_BIN_EXE_secretctl");
/// The master password of every vault made here.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// Makes a vault whose password costs as little as it may: thousands of commands hash it here.
pub(crate) const INIT: [&str; 3] = ["init", "--kdf", "19MiB,2,1"];
/// The directory for state in the home directory.
const STATE: &str = ".state";
/// That for sockets.
const RUNTIME: &str = ".run";
/// Where programs are found: the same for everybody who runs the tests.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A home directory of its own, gone after the test.
pub(crate) struct Sandbox {
    home: TempDir,
}

impl Sandbox {
    /// Without a vault.
    pub(crate) fn empty() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// The same, on a file system in memory if there is one: there nothing is waited for that only the end of the machine could lose.
    pub(crate) fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() {
            Self::below(memory)
        } else {
            Self::empty()
        }
    }

    fn below(dir: &Path) -> Self {
        let mut home = tempfile::Builder::new();
        let home = home.prefix("secretctl-test-").tempdir_in(dir);
        Self {
            home: home.expect("a temporary directory"),
        }
    }

    /// With an empty vault.
    pub(crate) fn new() -> Self {
        let sandbox = Self::empty();
        sandbox.secretctl(INIT).answer().succeeded();
        sandbox
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn vault(&self) -> PathBuf {
        self.home().join(".secretctl")
    }

    /// Where the anchors are.
    pub(crate) fn anchors(&self) -> PathBuf {
        self.home().join(STATE).join("secretctl")
    }

    /// Where the sockets of sessions are.
    pub(crate) fn sockets(&self) -> PathBuf {
        self.home().join(RUNTIME).join("secretctl")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.vault().join("vault.db")
    }

    pub(crate) fn policy_file(&self) -> PathBuf {
        self.vault().join("mcp-policy.yaml")
    }

    /// Writes the policy file as its owner must: mode 0600.
    pub(crate) fn policy(&self, yaml: &str) {
        let _ = fs::remove_file(self.policy_file());
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.policy_file());
        file.expect("a new file")
            .write_all(yaml.as_bytes())
            .expect("written");
    }

    /// A directory in which commands may run, with these files; those that end in `.sh` are executable.
    pub(crate) fn project(&self, files: &[(&str, &str)]) -> PathBuf {
        let dir = self.home().join("project");
        for (name, text) in files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().expect("below the project")).expect("a directory");
            fs::write(&path, text).expect("written");
            let mode = if name.ends_with(".sh") { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("an own file");
        }
        dir
    }

    /// Stores a secret.
    pub(crate) fn set(&self, key: &str, value: impl Into<Vec<u8>>) {
        let set = self.secretctl(["set", key, "--exact"]).stdin(value);
        set.answer().succeeded();
    }

    /// The program with this home directory and the vault's password.
    pub(crate) fn secretctl(
        &self,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Invocation {
        Invocation::new(SECRETCTL, self.home())
            .args(args)
            .env("SECRETCTL_PASSWORD", PASSWORD)
    }
}

/// A program to be started, in an environment made from nothing.
pub(crate) struct Invocation {
    command: Command,
    stdin: Vec<u8>,
}

impl Invocation {
    pub(crate) fn new(program: impl AsRef<OsStr>, home: &Path) -> Self {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", home)
            .env("XDG_STATE_HOME", home.join(STATE))
            .env("XDG_RUNTIME_DIR", home.join(RUNTIME))
            .env("TZ", "UTC")
            .current_dir(home);
        Self {
            command,
            stdin: Vec::new(),
        }
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// What the program reads; without it, nothing.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Runs it to its end.
    pub(crate) fn answer(self) -> Answer {
        let stdin = self.stdin.clone();
        let mut child = self.spawn();
        let mut pipe = child.stdin.take().expect("a pipe");
        let writer = thread::spawn(move || {
            // A program need not read what it is given.
            let _ = pipe.write_all(&stdin);
        });
        let output = child.wait_with_output().expect("its output");
        writer.join().expect("written");
        output.into()
    }

    /// Starts it with three pipes.
    pub(crate) fn spawn(mut self) -> Child {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.command.spawn().expect("the program starts")
    }

    pub(crate) fn into_command(self) -> Command {
        self.command
    }
}

/// How a program ended and all that it wrote.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The exit code, or the negative number of the signal that ended it.
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// What every command says here, since its password comes from the environment. `tests/password_sources.rs` looks at it; all other
/// answers are without it.
pub(crate) const ENVIRONMENT_NOTE: &str = "note: SECRETCTL_PASSWORD can be read where it is set; `secretctl unlock`, SECRETCTL_PASSWORD_FILE and SECRETCTL_PASSWORD_COMMAND are better\n";

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        let signal = || -output.status.signal().unwrap_or_default();
        let stderr = String::from_utf8_lossy(&output.stderr);
        Self {
            code: output.status.code().unwrap_or_else(signal),
            stdout: output.stdout,
            stderr: stderr.replacen(ENVIRONMENT_NOTE, "", 1),
        }
    }
}

impl Answer {
    /// Compares all of it.
    #[track_caller]
    pub(crate) fn is(&self, code: i32, stdout: impl AsRef<[u8]>, stderr: &str) {
        let shown = |bytes: &[u8]| bytes.escape_ascii().to_string().replace("\\n", "\n");
        let (actual, wanted) = (shown(&self.stdout), shown(stdout.as_ref()));
        assert_eq!(
            (self.code, &*actual, &*self.stderr),
            (code, &*wanted, stderr)
        );
    }

    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{self}");
        self
    }

    /// What it wrote to standard output.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }

    /// The same, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self}"))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stdout = String::from_utf8_lossy(&self.stdout);
        write!(
            f,
            "exit {}\nstdout: {stdout}\nstderr: {}",
            self.code, self.stderr
        )
    }
}

/// Says, past the test harness, that a test could not be made here.
pub(crate) fn skipped(reason: &str) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {reason}");
}

/// Whether a test that needs `program` can be made. On the project's own Linux machines, which have all, it must be.
pub(crate) fn is_installed(program: &str) -> bool {
    let dirs = ["/usr/local/bin", "/usr/bin", "/bin", "/opt/homebrew/bin"];
    let found = dirs
        .iter()
        .any(|dir| Path::new(dir).join(program).is_file());
    if !found {
        missing(&format!("{program} is not installed"));
    }
    found
}

/// Says that a test cannot be made for want of a program.
pub(crate) fn missing(reason: &str) {
    let must_be_there = cfg!(target_os = "linux") && std::env::var_os("CI").is_some();
    assert!(!must_be_there, "{reason}");
    skipped(reason);
}

/// The names in a directory with their permission bits, sorted.
pub(crate) fn modes(dir: &Path) -> Vec<(String, u32)> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mode = |entry: fs::DirEntry| {
        let mode = entry.metadata().expect("exists").permissions().mode() & 0o7777;
        (entry.file_name().to_string_lossy().into_owned(), mode)
    };
    let mut modes: Vec<_> = entries
        .map(|entry| mode(entry.expect("an entry")))
        .collect();
    modes.sort();
    modes
}
