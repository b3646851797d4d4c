//! The tools. Each parses its input, asks the broker on a thread of its own, and answers with structure and text.

use std::fmt::Display;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::{CallToolResult, ContentBlock, Implementation, ServerCapabilities, ServerConfig};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, tool, tool_handler, tool_router};
use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use super::answers::{
    ExistsInput, ExistsOutput, ListInput, ListOutput, MaskedInput, MaskedOutput, OPENED, RunInput,
    RunOutput,
};
use crate::broker::{AgentDoor, Cancel, Cause, Listing, RunError, RunRequest};
use crate::name::KeyPattern;
use crate::time::Span;

/// Commands that run at the same time; more of them wait.
const RUNS_MAX: usize = 8;
/// Keys and patterns of one request.
const KEYS_MAX: usize = 100;
/// What an agent is called that does not say its name.
const UNNAMED: &str = "unnamed";

const INSTRUCTIONS: &str = "secretctl lets you use secrets without seeing them. Find their names with secret_list, then let \
    secret_run run a command with them in its environment: the key aws/access_key becomes the variable AWS_ACCESS_KEY. Values are \
    never shown; in output they are replaced by [REDACTED:key]. There is no shell. A refusal says which rule decided and what a \
    person could change; do not try to get around it.";

/// A no that an agent can act on, as a tool's result.
type Refusal = CallToolResult;

#[derive(Clone)]
pub(super) struct Tools {
    door: Arc<AgentDoor>,
    agent_id: Option<String>,
    runs: Arc<Semaphore>,
    running: Arc<Running>,
    #[expect(
        dead_code,
        reason = "read by the code that the tool_handler macro makes"
    )]
    tool_router: ToolRouter<Self>,
}

/// Ends commands that run when the client has gone.
pub(super) struct Running(watch::Sender<bool>);

impl Running {
    pub(super) fn end_all(&self) {
        self.0.send_replace(true);
    }
}

impl Tools {
    pub(super) fn new(door: AgentDoor, agent_id: Option<String>) -> Self {
        Self {
            door: Arc::new(door),
            agent_id,
            runs: Arc::new(Semaphore::new(RUNS_MAX)),
            running: Arc::new(Running(watch::Sender::new(false))),
            tool_router: Self::tool_router(),
        }
    }

    pub(super) fn running(&self) -> Arc<Running> {
        Arc::clone(&self.running)
    }

    /// Prepares for the next command, on a thread of its own.
    pub(super) fn warm_up(&self) {
        let door = Arc::clone(&self.door);
        drop(tokio::task::spawn_blocking(move || door.warm_up()));
    }

    fn agent(&self, context: &RequestContext<RoleServer>) -> String {
        let client = || Some(context.peer.peer_info()?.client_info.name.clone());
        self.agent_id
            .clone()
            .or_else(client)
            .unwrap_or_else(|| UNNAMED.to_owned())
    }

    /// Does `work` where waiting for the disk or for a child holds up nobody else.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&AgentDoor) -> Result<T, RunError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let door = Arc::clone(&self.door);
        let asked = move || {
            let answer = work(&door);
            tell(&door)?;
            answer
        };
        match tokio::task::spawn_blocking(asked).await {
            Ok(answer) => answer.map_err(|error| explain(&error)),
            Err(_) => Err(refuse(
                "secretctl failed inside; the request was not carried out",
            )),
        }
    }
}

/// Writes what modules had to say to the server's log, which is its standard error.
fn tell(door: &AgentDoor) -> Result<(), RunError> {
    for notice in door.take_notices()? {
        // Where standard error is closed, there is nobody to tell.
        let _ = writeln!(io::stderr().lock(), "secretctl: {notice}");
    }
    Ok(())
}

#[tool_router]
impl Tools {
    #[tool(
        name = "secret_list",
        description = "List the names of the secrets you may use. Values are never shown.",
        annotations(title = "List secrets", read_only_hint = true, open_world_hint = false)
    )]
    async fn secret_list(
        &self,
        Parameters(input): Parameters<ListInput>,
        context: RequestContext<RoleServer>,
    ) -> Result<Json<ListOutput>, Refusal> {
        let agent = self.agent(&context);
        let listing = Listing {
            tag: optional("tag", input.tag)?,
            expiring_within: optional::<Span>("expiring_within", input.expiring_within)?
                .map(|span| span.0),
            prefix: input.prefix,
        };
        let listed = self.ask(move |door| door.list(&agent, &listing)).await?;
        Ok(Json(ListOutput::new(&listed, input.include_metadata)))
    }

    #[tool(
        name = "secret_exists",
        description = "Tell whether a secret exists; a pattern such as aws/* is allowed.",
        annotations(
            title = "Check a secret",
            read_only_hint = true,
            open_world_hint = false
        )
    )]
    async fn secret_exists(
        &self,
        Parameters(input): Parameters<ExistsInput>,
        context: RequestContext<RoleServer>,
    ) -> Result<Json<ExistsOutput>, Refusal> {
        let agent = self.agent(&context);
        let pattern: KeyPattern = parse("key", &input.key)?;
        let found = self
            .ask(move |door| door.matching(&agent, &pattern))
            .await?;
        Ok(Json(ExistsOutput::new(&found)))
    }

    #[tool(
        name = "secret_get_masked",
        description = "Show what is stored beside a secret, and its value masked.",
        annotations(
            title = "Describe a secret",
            read_only_hint = true,
            open_world_hint = false
        )
    )]
    async fn secret_get_masked(
        &self,
        Parameters(input): Parameters<MaskedInput>,
        context: RequestContext<RoleServer>,
    ) -> Result<Json<MaskedOutput>, Refusal> {
        let agent = self.agent(&context);
        let name = parse("key", &input.key)?;
        let masked = self.ask(move |door| door.masked(&agent, &name)).await?;
        Ok(Json(MaskedOutput::from(masked)))
    }

    #[tool(
        name = "secret_run",
        description = "Run a command with secrets in its environment. The policy decides; secrets are hidden in the output.",
        annotations(
            title = "Run with secrets",
            read_only_hint = false,
            destructive_hint = true,
            open_world_hint = true
        )
    )]
    async fn secret_run(
        &self,
        Parameters(input): Parameters<RunInput>,
        context: RequestContext<RoleServer>,
    ) -> Result<Json<RunOutput>, Refusal> {
        let agent = self.agent(&context);
        let request = run_request(input)?;
        let _permit = self
            .runs
            .acquire()
            .await
            .map_err(|_| refuse("the server is closing"))?;
        let cancel = Cancel::new();
        let token = context.ct.clone();
        let cancelled = async move { token.cancelled().await };
        let watcher = tokio::spawn(watch(cancelled, self.running.0.subscribe(), cancel.clone()));
        let result = self
            .ask(move |door| door.run(&agent, &request, &cancel))
            .await;
        watcher.abort();
        self.warm_up();
        let output = RunOutput::from(result?);
        // A command that was ended by its time limit has failed, whatever it wrote until then.
        if output.was_ended() {
            Err(failed(&output))
        } else {
            Ok(Json(output))
        }
    }
}

#[tool_handler]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        info.server_info = Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        info.with_instructions(INSTRUCTIONS)
    }
}

/// Ends the command when its request is cancelled or its client has gone.
async fn watch(
    cancelled: impl Future<Output = ()>,
    mut closing: watch::Receiver<bool>,
    cancel: Cancel,
) {
    tokio::select! {
        () = cancelled => {}
        _ = closing.wait_for(|closing| *closing) => {}
    }
    cancel.cancel();
}

/// A result with structure that is an error all the same.
fn failed(output: &impl Serialize) -> Refusal {
    match serde_json::to_value(output) {
        Ok(value) => CallToolResult::structured_error(value),
        Err(_) => refuse("the answer cannot be written as JSON"),
    }
}

fn refuse(text: impl Into<String>) -> Refusal {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

fn parse<T: FromStr<Err: Display>>(argument: &str, text: &str) -> Result<T, Refusal> {
    text.parse()
        .map_err(|error| refuse(format!("{argument}: {error}")))
}

fn optional<T: FromStr<Err: Display>>(
    argument: &str,
    text: Option<String>,
) -> Result<Option<T>, Refusal> {
    text.map(|text| parse(argument, &text)).transpose()
}

fn run_request(input: RunInput) -> Result<RunRequest, Refusal> {
    if input.keys.is_empty() || input.keys.len() > KEYS_MAX {
        return Err(refuse(format!(
            "keys: give 1 to {KEYS_MAX} names or patterns of secrets"
        )));
    }
    Ok(RunRequest {
        keys: input
            .keys
            .iter()
            .map(|key| parse("keys", key))
            .collect::<Result<_, _>>()?,
        command: input.command,
        arguments: input.args,
        env: input.env,
        env_prefix: optional(
            "env_prefix",
            input.env_prefix.filter(|prefix| !prefix.is_empty()),
        )?,
        cwd: input.cwd,
        timeout: optional::<Span>("timeout", input.timeout)?.map(|span| span.0),
    })
}

/// What was refused, by which rule, and what could be done about it.
fn explain(error: &RunError) -> Refusal {
    let next = match error {
        RunError::Denied(denial) => {
            let remedy = match RunError::remedy_for_agent(denial) {
                "" => String::new(),
                remedy => format!("\nA person can allow it: {remedy}"),
            };
            format!("\nRule: {}{remedy}", denial.rule)
        }
        RunError::NeedsApproval(question) => {
            let remedy = question.remedy().map_or_else(String::new, |remedy| {
                format!(", or change the policy file: {remedy}")
            });
            format!(
                "\nRule: {}\nThis server cannot ask. A person can run the command with secretctl run{remedy}",
                question.grant.rule
            )
        }
        RunError::Policy(_) | RunError::Hiding(_) => {
            "\nOnly a person can write the policy file, which must have mode 0600: secretctl policy check says what is wrong with it."
                .to_owned()
        }
        RunError::Module(_) => {
            "\nA person can put back the file that the policy file names, put there the sha256 of a file that is to be \
            trusted from now on, or take the entry out."
                .to_owned()
        }
        RunError::Withheld(withheld) if withheld.module().is_some() => {
            "\nThe command has run, or was ended. A person can repair the module, or take it out of sanitizers in the policy file."
                .to_owned()
        }
        RunError::SecretNotFound(_) | RunError::HiddenKey { .. } => {
            "\nsecret_list shows what there is; names are case-sensitive.".to_owned()
        }
        RunError::ProgramNotFound(_) => {
            "\nPrograms are looked up in the system's directories and in trusted_dirs of the \
            policy file; one in the project is written with its path, such as ./deploy.sh."
                .to_owned()
        }
        RunError::Directory(_) => {
            "\nGive a directory in the project that the server was started for, or none.".to_owned()
        }
        RunError::Start { error, .. }
            if matches!(error.cause, Cause::NotFound | Cause::NoInterpreter) =>
        {
            format!("\n{OPENED}")
        }
        RunError::TooShort(_) => {
            "\nA person can store a longer value, or run the command with secretctl run.".to_owned()
        }
        RunError::Expired(_) => {
            "\nA person can store a new value, or a new date with secretctl set --expires."
                .to_owned()
        }
        RunError::NotBound { .. } => {
            "\nA person can bind its fields: secretctl set KEY --binding VARIABLE=FIELD.".to_owned()
        }
        RunError::Reserved(_) => {
            "\nA person can bind another variable: secretctl set KEY --unbind VARIABLE --binding OTHER=FIELD."
                .to_owned()
        }
        RunError::Variable { .. } | RunError::SameVariable { .. } => {
            "\nUse env_prefix, or other keys.".to_owned()
        }
        _ => String::new(),
    };
    refuse(format!("{}{next}", error.for_agent()))
}
