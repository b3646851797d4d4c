//! The tools that run commands.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rmcp::handler::server::tool::{InputResponses, RequestState, schema_for_output};
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::ProgressNotificationParam;
use rmcp::service::RequestContext;
use rmcp::{RoleServer, tool, tool_router};
use tokio::time::{Instant, interval};

use super::Tools;
use crate::broker::{Progress, RunRequest};
use crate::mcp::answers::run::{BoundRunInput, RunInput, RunOutput};
use crate::mcp::refusal::{Refusal, failed, optional, parse, refuse};
use crate::mcp::rounds::{Answered, Retry};
use crate::name::SecretName;
use crate::time::Span;

/// Keys and patterns of one request.
const KEYS_MAX: usize = 100;
/// Time between two reports of progress.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

#[tool_router(router = run_router, vis = "pub(super)")]
impl Tools {
    #[tool(
        name = "secret_run",
        title = "Run with secrets",
        description = "Run a command with secrets in its environment. The policy decides; secrets are hidden in the output.",
        output_schema = schema_for_output::<RunOutput>(),
        annotations(
            title = "Run with secrets",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn secret_run(
        &self,
        Parameters(input): Parameters<RunInput>,
        RequestState(state): RequestState,
        InputResponses(responses): InputResponses,
        context: RequestContext<RoleServer>,
    ) -> Result<Answered<Json<RunOutput>>, Refusal> {
        let retry = Retry::new(state, responses);
        self.run(run_request(input)?, retry, context).await
    }

    #[tool(
        name = "secret_run_with_bindings",
        title = "Run with a secret's bindings",
        description = "Run a command with one secret, whose bindings say which environment variables get which of its fields.",
        output_schema = schema_for_output::<RunOutput>(),
        annotations(
            title = "Run with a secret's bindings",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn secret_run_with_bindings(
        &self,
        Parameters(input): Parameters<BoundRunInput>,
        RequestState(state): RequestState,
        InputResponses(responses): InputResponses,
        context: RequestContext<RoleServer>,
    ) -> Result<Answered<Json<RunOutput>>, Refusal> {
        let retry = Retry::new(state, responses);
        let key: SecretName = parse("key", &input.key)?;
        let request = RunRequest {
            keys: vec![parse("key", key.as_str())?],
            bound: true,
            command: input.command,
            arguments: input.args,
            cwd: input.cwd,
            timeout: optional::<Span>("timeout", input.timeout)?.map(|span| span.0),
            ..RunRequest::default()
        };
        self.run(request, retry, context).await
    }
}

impl Tools {
    async fn run(
        &self,
        mut request: RunRequest,
        retry: Option<Retry>,
        context: RequestContext<RoleServer>,
    ) -> Result<Answered<Json<RunOutput>>, Refusal> {
        let progress = Arc::new(Progress::default());
        request.roots = self.roots.current(&context).await;
        let work = self.answer(self.agent(&context), request, retry, &progress, &context);
        let answer = reporting(work, &progress, &context).await;
        self.warm_up();
        match answer?.map(RunOutput::from) {
            // A command that was ended by its time limit has failed, whatever it wrote until then.
            Answered::Done(output) if output.was_ended() => Err(failed(&output)),
            answered => Ok(answered.map(Json)),
        }
    }
}

/// Waits for `work`, and meanwhile tells the client how far it is, if it wants to know. Nothing is sent when the work is done: by then
/// the client has forgotten the token.
async fn reporting<T>(
    work: impl Future<Output = T>,
    progress: &Progress,
    context: &RequestContext<RoleServer>,
) -> T {
    let Some(token) = context.meta.get_progress_token() else {
        return work.await;
    };
    let begin = Instant::now();
    let mut work = pin!(work);
    let mut ticks = interval(REPORT_INTERVAL);
    // The first one is at once.
    ticks.tick().await;
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => {}
        }
        let elapsed = begin.elapsed();
        let text = format!(
            "{} s, {} bytes of output",
            elapsed.as_secs(),
            progress.bytes()
        );
        let param =
            ProgressNotificationParam::new(token.clone(), elapsed.as_secs_f64()).with_message(text);
        if context.peer.notify_progress(param).await.is_err() {
            return work.await;
        }
    }
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
        ..RunRequest::default()
    })
}
