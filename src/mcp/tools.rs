//! The tools. Each parses its input, asks the broker on a thread of its own, and answers with structure and text.

mod asking;
mod fields;
mod look;
mod queue;
mod run;
mod score;

use std::sync::Arc;

use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::tool::ToolCallContext;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CustomRequest, CustomResult, ErrorCode,
    Implementation, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
    Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use tokio::sync::watch;

use self::queue::Queue;
use super::approve::Approvals;
use super::arguments;
use super::door::Door;
use super::log::Log;
use super::refusal::{Refusal, explain, refuse};
use super::roots::Roots;
use super::schema;
use crate::broker::{AgentDoor, RunError};

/// What an agent is called that does not say its name.
const UNNAMED: &str = "unnamed";

/// For the model: what a person would tell a colleague who begins.
const INSTRUCTIONS: &str = "secretctl lets you use secrets without seeing them. secret_list names what there is; secret_run runs one \
    command with secrets in its environment: the key aws/access_key becomes the variable AWS_ACCESS_KEY, and $AWS_ACCESS_KEY in an \
    argument is expanded. There is no shell, so no pipes, redirections, && or $(...): put several steps into a script of the project. \
    Give cwd to work in the project; without it the command runs in an empty directory. In output, [REDACTED:key] stands in place of \
    a secret, and that means that it was there: do not print, encode or piece together values, and do not ask the user to paste them. \
    A refusal names the rule and what is allowed. If that is not enough, tell the user what a person could change, and do not look \
    for a way around it.";

#[derive(Clone)]
pub(super) struct Tools {
    door: Arc<Door>,
    agent_id: Option<String>,
    queue: Arc<Queue>,
    running: Arc<Running>,
    roots: Roots,
    log: Log,
    approvals: Approvals,
    tool_router: ToolRouter<Self>,
}

/// Ends the requests that are being answered, and the questions that wait for a client: each of them has a receiver.
pub(super) struct Running(watch::Sender<bool>);

impl Running {
    /// Takes part until this is dropped.
    pub(super) fn enter(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }

    /// Waits until all is recorded.
    pub(super) async fn end_all(&self) {
        self.0.send_replace(true);
        self.0.closed().await;
    }
}

/// Over when all are to end.
pub(super) async fn closing(mut running: watch::Receiver<bool>) {
    // It is an error only if nobody is left to say so, which comes to the same.
    let _ = running.wait_for(|ends| *ends).await;
}

impl Tools {
    pub(super) fn new(
        door: Arc<Door>,
        agent_id: Option<String>,
        roots: Roots,
        log: Log,
        approvals: Approvals,
    ) -> Self {
        Self {
            approvals,
            door,
            agent_id,
            queue: Arc::default(),
            running: Arc::new(Running(watch::Sender::new(false))),
            roots,
            log,
            tool_router: Self::router(),
        }
    }

    fn router() -> ToolRouter<Self> {
        let mut router =
            Self::look_router() + Self::fields_router() + Self::run_router() + Self::score_router();
        for route in router.map.values_mut() {
            let tool = &mut route.attr;
            schema::simplify(Arc::make_mut(&mut tool.input_schema));
            if let Some(output) = &mut tool.output_schema {
                schema::simplify(Arc::make_mut(output));
            }
        }
        router
    }

    pub(super) fn running(&self) -> Arc<Running> {
        Arc::clone(&self.running)
    }

    /// Prepares for the next command, on a thread of its own.
    pub(super) fn warm_up(&self) {
        let door = Arc::clone(&self.door);
        let warm_up = move || door.if_open().map(|door| door.warm_up());
        drop(tokio::task::spawn_blocking(warm_up));
    }

    fn agent(&self, context: &RequestContext<RoleServer>) -> String {
        let client = || Some(context.client_info()?.name);
        self.agent_id
            .clone()
            .or_else(client)
            .unwrap_or_else(|| UNNAMED.to_owned())
    }

    /// Does `work` for an agent, where waiting for the disk or for a child holds up nobody else.
    async fn ask<T: Send + 'static>(
        &self,
        agent: String,
        work: impl FnOnce(&Arc<AgentDoor>, &str) -> Result<T, RunError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (door, log) = (Arc::clone(&self.door), self.log.clone());
        aside(move || {
            let door = door.get().map_err(|closed| refuse(closed.0))?;
            at(&door, &log, &agent, work)
        })
        .await
    }

    /// The same at a door that was open before: what belongs to one request stays there, also if the vault was locked meanwhile.
    async fn ask_at<T: Send + 'static>(
        &self,
        door: &Arc<AgentDoor>,
        agent: &str,
        work: impl FnOnce(&AgentDoor) -> Result<T, RunError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (door, log, agent) = (Arc::clone(door), self.log.clone(), agent.to_owned());
        aside(move || at(&door, &log, &agent, |door, _| work(door))).await
    }
}

async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let failed = "secretctl failed inside; the request was not carried out";
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(refuse(failed)))
}

fn at<T>(
    door: &Arc<AgentDoor>,
    log: &Log,
    agent: &str,
    work: impl FnOnce(&Arc<AgentDoor>, &str) -> Result<T, RunError>,
) -> Result<T, Refusal> {
    let answer = work(door, agent);
    let told = tell(door, log);
    answer
        .and_then(|answer| told.map(|()| answer))
        .map_err(|error| explain(&error, &door.advice(agent, &error)))
}

/// Passes on what modules had to say.
fn tell(door: &AgentDoor, log: &Log) -> Result<(), RunError> {
    for notice in door.take_notices()? {
        log.notice(&notice);
    }
    Ok(())
}

#[expect(deprecated, reason = "older versions of the protocol have logging")]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_logging()
            .build();
        let mut info = ServerConfig::new(capabilities);
        info.server_info = Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        info.with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        // They fit one page, which names no other.
        if request.is_some_and(|request| request.cursor.is_some()) {
            return Err(ErrorData::invalid_params(
                "there is no such page of tools",
                None,
            ));
        }
        Ok(ListToolsResult::with_all_items(self.tool_router.list_all()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tool_router.get(name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = self.tool_router.get(&request.name) else {
            let tools = self.tool_router.list_all();
            let names: Vec<&str> = tools.iter().map(|tool| &*tool.name).collect();
            let text = arguments::unknown_tool(&request.name, &names);
            return Err(ErrorData::invalid_params(text, None));
        };
        let given = request.arguments.clone().unwrap_or_default();
        if let Some(mistakes) = arguments::mistakes(tool, &given) {
            return Ok(refuse(mistakes).into());
        }
        let _running = self.running.enter();
        let context = ToolCallContext::new(self, request, context);
        self.tool_router.call(context).await
    }

    /// Without the method, which can be as long as a message.
    async fn on_custom_request(
        &self,
        _: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let text = "there is no such method";
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, text, None))
    }

    async fn set_level(
        &self,
        request: rmcp::model::SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.log.set_level(request.level);
        Ok(())
    }
}
