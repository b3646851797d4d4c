//! Being a client: what the server behind a command answers. For people who want to know whether an agent would get through to it.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rmcp::ServiceExt;
use rmcp::model::{CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation};
use rmcp::service::{RoleClient, RunningService};
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// What a visitor calls itself, for policy and the log.
pub const VISITOR: &str = "secretctl-doctor";
/// How long an answer may take: starting includes hashing the password, and whatever prints it may ask a person.
const ANSWER_TIME: Duration = Duration::from_secs(90);
/// Time for the server to end by itself.
const ENDING_TIME: Duration = Duration::from_secs(5);
/// Most that is kept of what the server writes to its standard error, in bytes: the last of it counts.
const LOG_MAX_BYTES: usize = 4096;

/// A client with its server.
pub struct Visitor {
    runtime: Runtime,
    client: RunningService<RoleClient, ClientConfig>,
    child: Child,
}

/// What a server says of itself.
#[derive(Debug)]
pub struct Greeting {
    /// Its name and version.
    pub server: String,
    /// The version of the protocol that both speak.
    pub protocol: String,
}

/// The answer of a tool.
#[derive(Debug)]
pub struct ToolAnswer {
    /// Whether it is a refusal.
    pub is_error: bool,
    /// For people and models.
    pub text: String,
    /// For programs; null if there is none.
    pub structure: Value,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// The command cannot be started, or has no pipes.
    #[error("it cannot be started: {0}")]
    Start(#[from] io::Error),
    /// It is not a server, or one that ended. With the last that it wrote to its standard error.
    #[error("{fact}{}", said(.log))]
    Handshake {
        /// What the protocol's library says.
        fact: String,
        /// The last line of its standard error.
        log: String,
    },
    /// It answered with an error of the protocol.
    #[error("{0}")]
    Protocol(String),
    /// It did not answer.
    #[error("there was no answer within {} s", ANSWER_TIME.as_secs())]
    Silent,
}

fn said(log: &str) -> String {
    match log.is_empty() {
        true => String::new(),
        false => format!("; it said: {log}"),
    }
}

impl Visitor {
    /// Starts a server and shakes hands with it.
    pub fn start(command: std::process::Command) -> Result<(Self, Greeting), VisitError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (client, child) = runtime.block_on(connect(command))?;
        let info = client.peer().peer_info();
        let silent = || VisitError::Protocol("it did not say what it is".to_owned());
        let info = info.ok_or_else(silent)?;
        let server = info.server_info.as_ref();
        let greeting = Greeting {
            server: server.map_or_else(String::new, |server| {
                format!("{} {}", server.name, server.version)
            }),
            protocol: info.protocol_version.to_string(),
        };
        let visitor = Self {
            runtime,
            client,
            child,
        };
        Ok((visitor, greeting))
    }

    /// The names of its tools.
    pub fn tools(&self) -> Result<Vec<String>, VisitError> {
        let tools = self.answered(self.client.peer().list_all_tools())?;
        Ok(tools
            .into_iter()
            .map(|tool| tool.name.into_owned())
            .collect())
    }

    /// Calls a tool.
    pub fn call(
        &self,
        tool: &'static str,
        arguments: Map<String, Value>,
    ) -> Result<ToolAnswer, VisitError> {
        let params = CallToolRequestParams::new(tool).with_arguments(arguments);
        let result = self.answered(self.client.peer().call_tool(params))?;
        let texts = result.content.iter().filter_map(|block| block.as_text());
        let texts: Vec<&str> = texts.map(|text| text.text.as_str()).collect();
        Ok(ToolAnswer {
            is_error: result.is_error == Some(true),
            text: texts.join("\n"),
            structure: result.structured_content.unwrap_or_default(),
        })
    }

    fn answered<T>(
        &self,
        answer: impl Future<Output = Result<T, rmcp::ServiceError>>,
    ) -> Result<T, VisitError> {
        let within = async { tokio::time::timeout(ANSWER_TIME, answer).await };
        match self.runtime.block_on(within) {
            Ok(answer) => answer.map_err(|error| VisitError::Protocol(error.to_string())),
            Err(_) => Err(VisitError::Silent),
        }
    }

    /// Says good-bye, and waits for the server's end; one that does not end is killed.
    pub fn leave(mut self) -> Result<(), VisitError> {
        self.runtime.block_on(async {
            let closed = self.client.close_with_timeout(ENDING_TIME).await;
            closed.map_err(|error| VisitError::Protocol(error.to_string()))?;
            if tokio::time::timeout(ENDING_TIME, self.child.wait())
                .await
                .is_err()
            {
                self.child.kill().await?;
            }
            Ok(())
        })
    }
}

async fn connect(
    command: std::process::Command,
) -> Result<(RunningService<RoleClient, ClientConfig>, Child), VisitError> {
    let mut command = Command::from(command);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn()?;
    let no_pipe = || io::Error::other("it has no pipe");
    let stdin = child.stdin.take().ok_or_else(no_pipe)?;
    let stdout = child.stdout.take().ok_or_else(no_pipe)?;
    let log = tokio::spawn(last_line(child.stderr.take().ok_or_else(no_pipe)?));
    let name = Implementation::new(VISITOR, env!("CARGO_PKG_VERSION"));
    let config = ClientConfig::new(ClientCapabilities::default(), name);
    let shaken = tokio::time::timeout(ANSWER_TIME, config.serve((stdout, stdin))).await;
    match shaken {
        Ok(Ok(client)) => Ok((client, child)),
        Ok(Err(error)) => Err(VisitError::Handshake {
            fact: error.to_string(),
            log: ended(child, log).await,
        }),
        Err(_) => Err(VisitError::Silent),
    }
}

/// The last line of a server that is to end, now that its pipes are closed.
async fn ended(mut child: Child, log: JoinHandle<String>) -> String {
    let both = async {
        // What is wrong with it is told by what it wrote.
        let _ = child.wait().await;
        log.await.unwrap_or_default()
    };
    tokio::time::timeout(ENDING_TIME, both)
        .await
        .unwrap_or_default()
}

/// Reads to the end, so that nobody waits for a pipe to be emptied, and keeps the last line.
async fn last_line(stderr: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut reader = BufReader::new(stderr);
    let mut kept = Vec::new();
    let mut buffer = [0; LOG_MAX_BYTES];
    while let Ok(length @ 1..) = reader.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..length]);
        kept.drain(..kept.len().saturating_sub(LOG_MAX_BYTES));
    }
    let text = String::from_utf8_lossy(&kept);
    let facts = text.lines().rev().find(|line| line.starts_with("error: "));
    facts.or(text.lines().last()).unwrap_or_default().to_owned()
}
