//! One scenario through both doors, and then a search for its secret and its password everywhere they must not be.
//!
//! Linux only: elsewhere other processes cannot be looked into.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};
use support::process::{self, Mark, wait_for, wait_until};
use support::{Answer, Sandbox, modes};
use ulid::Ulid;

/// The secret. It is made anew each time, so that even this program's file does not hold it.
static CANARY: LazyLock<String> = LazyLock::new(|| format!("canary-{}", Ulid::generate()));
/// The master password of this vault.
static PASSWORD: LazyLock<String> = LazyLock::new(|| format!("master-{}", Ulid::generate()));
/// Directories in which programs put files for a while.
const TEMPORARY_DIRS: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "/run/user"];

/// Whether the text holds a part of the secret or of the password.
fn leaks(bytes: &[u8]) -> bool {
    [&CANARY, &PASSWORD].iter().any(|text| {
        // The random part, without the last characters, which a mask shows.
        let middle = &text.as_bytes()[text.len() - 16..text.len() - 4];
        bytes.windows(middle.len()).any(|part| part == middle)
    })
}

#[track_caller]
fn assert_clean(what: &str, bytes: &[u8]) {
    assert!(!leaks(bytes), "{what}: {}", bytes.escape_ascii());
}

#[test]
fn the_secret_is_where_it_belongs_and_nowhere_else() {
    let before: BTreeSet<PathBuf> = TEMPORARY_DIRS
        .iter()
        .flat_map(|dir| files(Path::new(dir)))
        .collect();
    let sandbox = Sandbox::empty();
    let secretctl = |args: &[&str]| {
        sandbox
            .secretctl(args)
            .env("SECRETCTL_PASSWORD", &*PASSWORD)
    };
    secretctl(&["init"]).answer().succeeded();
    sandbox.policy("version: 1\nallowed_commands: [sh, echo]\ndenied_commands: [rm]\n");
    secretctl(&["set", "CANARY", "--notes", "a note"])
        .stdin(CANARY.as_str())
        .answer()
        .is(0, "", "Stored CANARY.\n");
    let project = sandbox.project(&[("file", "")]);

    // An agent that has learned the password elsewhere: what it asks for is recorded as it is, so not in one piece.
    let (start, end) = PASSWORD.split_at(PASSWORD.len() - 10);
    let mut server = Server::start(secretctl(&["mcp-server"]).dir(&project).spawn());
    for (tool, arguments) in [
        ("secret_list", json!({ "include_metadata": true })),
        ("secret_exists", json!({ "key": "CANARY" })),
        ("secret_get_masked", json!({ "key": "CANARY" })),
        ("secret_list_fields", json!({ "key": "CANARY" })),
        (
            "secret_get_field",
            json!({ "key": "CANARY", "field": "value" }),
        ),
        (
            "secret_run_with_bindings",
            json!({ "key": "CANARY", "command": "echo x" }),
        ),
        ("security_score", json!({ "include_keys": true })),
        (
            "secret_run",
            json!({ "keys": ["CANARY"], "command": "echo '<$CANARY>'" }),
        ),
        (
            "secret_run",
            json!({ "keys": ["CANARY"], "command": "sh -c 'echo $CANARY; echo $CANARY >&2; exit 3'" }),
        ),
        (
            "secret_run",
            json!({ "keys": ["CANARY"], "command": "sh", "args": ["-c", "echo $0$1", start, end] }),
        ),
        (
            "secret_run",
            json!({ "keys": ["CANARY"], "command": "env" }),
        ),
        (
            "secret_run",
            json!({ "keys": ["CANARY"], "command": "rm x" }),
        ),
        (
            "secret_run",
            json!({ "keys": ["NONE"], "command": "echo x" }),
        ),
        (
            "secret_run",
            json!({ "keys": ["CANARY"], "command": "no-such-program" }),
        ),
        (
            "secret_run",
            json!({ "keys": ["CANARY"], "command": "sh", "args": ["-c", "cat /proc/$PPID/environ"] }),
        ),
        (
            "secret_run",
            json!({ "keys": ["CANARY"], "command": "sh -c 'tr x x < /proc/$PPID/cmdline'" }),
        ),
    ] {
        server.call(tool, arguments);
    }
    let mark = Mark::new();
    let [first, second] = &mark.halves;
    // The shell looks this variable up, not secretctl: arguments that name it would show it to other processes.
    let script = "sleep \"$1$2\" & echo ${CANARY-}; wait";
    let arguments =
        json!({ "keys": ["CANARY"], "command": "sh", "args": ["-c", script, "sh", first, second] });
    server.send(
        "tools/call",
        json!({ "name": "secret_run", "arguments": arguments }),
    );
    mark.wait_for_start();
    only_the_command_holds_it(&mark, server.child.id());
    let open_files = modes(&sandbox.vault());
    assert!(
        open_files.iter().all(|(_, mode)| *mode == 0o600),
        "{open_files:?}"
    );
    no_file_holds_it(&before);

    let said = server.stop();
    mark.wait_for_end();
    let run = secretctl(&["run", "-k", "CANARY", "--", "sh", "-c", "echo $CANARY"]).answer();
    run.is(0, "[REDACTED:CANARY]\n", "");
    let texts = [
        secretctl(&["list", "--json"]).answer(),
        secretctl(&["audit", "list", "--json"]).answer(),
        secretctl(&["audit", "verify"]).answer(),
        secretctl(&["filter", "-k", "CANARY"])
            .stdin(format!("a {} b", *CANARY))
            .answer(),
        secretctl(&["get", "CANARYX"]).answer(),
        secretctl(&["run", "-k", "CANARY", "--", "no-such-program"]).answer(),
        secretctl(&["get", "CANARY"])
            .env("SECRETCTL_PASSWORD", format!("{}x", *PASSWORD))
            .answer(),
    ];
    for answer in texts {
        assert_clean("an answer", &answer.stdout);
        assert_clean("an error", answer.stderr.as_bytes());
    }
    assert_clean("what the server said", said.stdout.as_slice());
    said.is(0, &said.stdout, "");
    for marker in [
        "<[REDACTED:CANARY]>",
        "[REDACTED:master-password]",
        "command not allowed: env",
        "********",
    ] {
        assert!(said.text().contains(marker), "{marker}: {said}");
    }
    no_file_holds_it(&before);
    // A person who asks for it gets it.
    secretctl(&["get", "CANARY"])
        .answer()
        .is(0, CANARY.as_str(), "");
}

/// Looks into all processes while the command runs: its own have the secret in their environment, nobody has the password.
fn only_the_command_holds_it(mark: &Mark, server: u32) {
    let marked = mark.processes();
    let mut holders = BTreeSet::new();
    for pid in process::all()
        .into_iter()
        .filter(|pid| *pid != std::process::id())
    {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        assert_clean("arguments of a process", &read("cmdline"));
        let environment = read("environ");
        if leaks(&environment) {
            let text = String::from_utf8_lossy(&environment).into_owned();
            assert!(
                !text.contains(PASSWORD.as_str()),
                "{pid} has the password in its environment"
            );
            holders.insert(pid);
        }
    }
    // The shell and what it has started. Where the jail hides their environment even from root, there is nobody.
    let family: BTreeSet<u32> = marked
        .iter()
        .flat_map(|&pid| [Some(pid), parent(pid)])
        .flatten()
        .collect();
    assert!(holders.is_subset(&family), "{holders:?} {family:?}");
    assert!(!holders.contains(&server));
    if rustix::process::geteuid().is_root() {
        assert_eq!(holders, family);
    }
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))?
        .trim()
        .parse()
        .ok()
}

/// Looks into every file that is new since then. The vault lies in a temporary directory as well.
#[track_caller]
fn no_file_holds_it(before: &BTreeSet<PathBuf>) {
    for file in TEMPORARY_DIRS.iter().flat_map(|dir| files(Path::new(dir))) {
        if !before.contains(&file) {
            assert_clean(
                &file.display().to_string(),
                &fs::read(&file).unwrap_or_default(),
            );
        }
    }
}

/// All regular files below a directory. What cannot be read is not ours.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            Ok(kind) if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

/// A server whose every byte is kept.
struct Server {
    child: Child,
    stdin: ChildStdin,
    lines: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
    sent: u64,
}

impl Server {
    fn start(mut child: Child) -> Self {
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in stdout.lines() {
                kept.lock().expect("no panic").push(line.expect("text"));
            }
        });
        let mut server = Self {
            child,
            stdin,
            lines,
            reader,
            sent: 0,
        };
        let client = json!({ "name": "canary", "version": "1.0" });
        let hello =
            json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client });
        let id = server.send("initialize", hello);
        server.answer(id);
        server.write(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        server
    }

    fn write(&mut self, message: &Value) {
        writeln!(self.stdin, "{message}").expect("it reads");
    }

    fn send(&mut self, method: &str, params: Value) -> u64 {
        self.sent += 1;
        self.write(
            &json!({ "jsonrpc": "2.0", "id": self.sent, "method": method, "params": params }),
        );
        self.sent
    }

    fn answer(&self, id: u64) -> Value {
        wait_for("an answer", || {
            let lines = self.lines.lock().expect("no panic");
            // Nothing but protocol messages is ever written.
            let messages = lines
                .iter()
                .map(|line| serde_json::from_str::<Value>(line).expect("JSON-RPC"));
            messages
                .inspect(|message| assert_eq!(message["jsonrpc"], "2.0"))
                .find(|message| message["id"] == id)
        })
    }

    fn call(&mut self, tool: &str, arguments: Value) {
        let id = self.send(
            "tools/call",
            json!({ "name": tool, "arguments": arguments }),
        );
        let answer = self.answer(id);
        assert!(answer["result"].is_object(), "{answer}");
    }

    /// Closes the connection and waits for the end; gives all that was said.
    fn stop(self) -> Answer {
        drop(self.stdin);
        let ended = self.child.wait_with_output().expect("it ends");
        wait_until("all of it", || self.reader.is_finished());
        let lines = self.lines.lock().expect("no panic");
        Answer {
            stdout: lines.join("\n").into_bytes(),
            ..Answer::from(ended)
        }
    }
}
