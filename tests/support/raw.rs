//! A client that sends lines as they are, and sees each line of the server's standard output.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::Invocation;

/// Longest wait for an answer: generous, since the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Raw {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    last_id: i64,
}

impl Raw {
    /// Starts the server without a handshake.
    pub(crate) fn start(server: Invocation) -> Self {
        let mut command: Command = server.into_command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines() {
                if sender.send(line.expect("UTF-8")).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            stdin,
            lines,
            last_id: 0,
        }
    }

    /// Starts it and shakes hands, as a client that can do this.
    pub(crate) fn connect(server: Invocation, capabilities: Value) -> Self {
        let mut raw = Self::start(server);
        let hello = raw.initialize("2025-06-18", capabilities);
        assert_eq!(
            hello["result"]["serverInfo"]["name"], "secretctl",
            "{hello}"
        );
        raw.notify("notifications/initialized", json!({}));
        raw
    }

    pub(crate) fn initialize(&mut self, version: &str, capabilities: Value) -> Value {
        let client = json!({ "name": "raw", "version": "1" });
        let params = json!({ "protocolVersion": version, "capabilities": capabilities, "clientInfo": client });
        self.request("initialize", params);
        self.next()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("it is open");
        stdin
            .write_all(bytes)
            .and_then(|()| stdin.flush())
            .expect("the server reads");
    }

    pub(crate) fn send_line(&mut self, message: &Value) {
        self.send(format!("{message}\n").as_bytes());
    }

    pub(crate) fn notify(&mut self, method: &str, params: Value) {
        self.send_line(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Sends a request, and gives its id.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> i64 {
        self.last_id += 1;
        let id = self.last_id;
        self.send_line(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// Calls a tool, and gives the id of the request.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value, meta: Value) -> i64 {
        let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
        self.request("tools/call", params)
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Value {
        let line = self.lines.recv_timeout(DEADLINE).expect("a line");
        let message: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert_eq!(message["jsonrpc"], "2.0", "{message}");
        message
    }

    /// Nothing has come, and the server is well.
    #[track_caller]
    pub(crate) fn is_quiet(&mut self) {
        let id = self.request("ping", json!({}));
        assert_eq!(
            self.next(),
            json!({ "jsonrpc": "2.0", "id": id, "result": {} })
        );
    }

    /// Says good-bye; the server ends without a fault, and says nothing more.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        drop(self.stdin.take());
        assert!(self.child.wait().expect("it ends").success());
        assert_eq!(self.lines.recv_timeout(DEADLINE).ok(), None);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of a server whose input stays open. It is without a fault.
    #[track_caller]
    pub(crate) fn ends(mut self) {
        assert!(self.child.wait().expect("it ends").success());
    }
}
