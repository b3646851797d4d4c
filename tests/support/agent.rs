//! An agent: rmcp's client, talking to `secretctl mcp-server` as any MCP client does.

use std::borrow::Cow;
use std::path::Path;
use std::process::Stdio;

use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, Implementation, Tool,
};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::TokioChildProcess;
use rmcp::{ClientHandler, ServiceExt};
use serde_json::{Value, json};

use super::{Invocation, Sandbox};

/// What the client calls itself in its handshake.
pub(crate) const AGENT: &str = "claude-code";

/// A client with its server.
pub(crate) struct Agent<H: ClientHandler = ClientConfig> {
    pub(crate) client: RunningService<RoleClient, H>,
    pub(crate) pid: u32,
}

/// What the client says of itself in its handshake.
pub(crate) fn introduction(capabilities: ClientCapabilities) -> ClientConfig {
    ClientConfig::new(capabilities, Implementation::new(AGENT, "1.0"))
}

impl Agent {
    /// Starts the server in `project` and shakes hands.
    pub(crate) async fn start(sandbox: &Sandbox, project: &Path) -> Self {
        Self::connect(sandbox.secretctl(["mcp-server"]).dir(project)).await
    }

    /// Starts the server in an empty project.
    pub(crate) async fn without_project(sandbox: &Sandbox) -> Self {
        let dir = sandbox.home().join("empty");
        std::fs::create_dir_all(&dir).expect("a directory");
        Self::start(sandbox, &dir).await
    }

    pub(crate) async fn connect(server: Invocation) -> Self {
        Self::logging(server, Stdio::inherit()).await
    }

    /// A server whose standard error goes to `log`.
    pub(crate) async fn logging(server: Invocation, log: impl Into<Stdio>) -> Self {
        let client = introduction(ClientCapabilities::default());
        Self::with(client, server, log).await
    }
}

impl<H: ClientHandler> Agent<H> {
    /// A client that does what `handler` says.
    pub(crate) async fn with(handler: H, server: Invocation, log: impl Into<Stdio>) -> Self {
        let command = tokio::process::Command::from(server.into_command());
        let started = TokioChildProcess::builder(command).stderr(log).spawn();
        let (transport, _) = started.expect("the server starts");
        let pid = transport.id().expect("it runs");
        let client = handler.serve(transport).await.expect("a handshake");
        Self { client, pid }
    }

    pub(crate) async fn tools(&self) -> Vec<Tool> {
        self.client.list_all_tools().await.expect("a list of tools")
    }

    /// Calls a tool. Refusals are results too; anything else is a failure of the test.
    pub(crate) async fn call(&self, tool: impl Into<Cow<'static, str>>, arguments: Value) -> Reply {
        let params = params(tool, arguments);
        let result = self.client.peer().call_tool(params).await;
        Reply::from(result.expect("an answer"))
    }

    /// Runs a command with one secret.
    pub(crate) async fn run(&self, key: &str, command: &str) -> Reply {
        self.call("secret_run", json!({ "keys": [key], "command": command }))
            .await
    }

    /// Has a command with this secret connect to a socket, with a network as all the rules here allow it, and gives what became of it.
    pub(crate) async fn connects(&self, key: &str, socket: &Path) -> String {
        let code = "import socket, sys\ntry: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n\
            except OSError as error: print(error.strerror)\nelse: print('connected')";
        let arguments = json!({ "keys": [key], "command": "python3", "args": ["-c", code, socket], "cwd": "." });
        self.call("secret_run", arguments).await.output().1
    }

    /// Says good-bye and waits for the server's end.
    pub(crate) async fn stop(mut self) {
        self.client.close().await.expect("the server ends");
    }
}

pub(crate) fn params(
    tool: impl Into<Cow<'static, str>>,
    arguments: Value,
) -> CallToolRequestParams {
    let Value::Object(arguments) = arguments else {
        panic!("arguments are an object")
    };
    CallToolRequestParams::new(tool).with_arguments(arguments)
}

/// A tool's answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) is_error: bool,
    /// Its text: what a client without structured content shows to the model.
    pub(crate) text: String,
    pub(crate) structured: Option<Value>,
}

impl From<CallToolResult> for Reply {
    fn from(result: CallToolResult) -> Self {
        let texts = result
            .content
            .iter()
            .map(|block| block.as_text().expect("text").text.as_str());
        Self {
            is_error: result.is_error == Some(true),
            text: texts.collect::<Vec<_>>().join("\n"),
            structured: result.structured_content,
        }
    }
}

impl Reply {
    /// The structure of a success, which its text says as well.
    #[track_caller]
    pub(crate) fn value(self) -> Value {
        assert!(!self.is_error, "refused: {}", self.text);
        self.structure()
    }

    /// The structure, whether it is a success or not.
    #[track_caller]
    pub(crate) fn structure(self) -> Value {
        let Self {
            text, structured, ..
        } = self;
        let value = structured.unwrap_or_else(|| panic!("no structure in {text}"));
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), value);
        value
    }

    /// The text of a refusal, which has no structure.
    #[track_caller]
    pub(crate) fn refusal(self) -> String {
        assert!(self.is_error, "not refused: {}", self.text);
        assert_eq!(self.structured, None);
        self.text
    }

    /// Exit code, output and error output of a command that was run.
    #[track_caller]
    pub(crate) fn output(self) -> (i64, String, String) {
        let value = self.value();
        assert_eq!(value["sanitized"], json!(true));
        let text = |name: &str| value[name].as_str().expect("text").to_owned();
        (
            value["exit_code"].as_i64().expect("a number"),
            text("stdout"),
            text("stderr"),
        )
    }
}
