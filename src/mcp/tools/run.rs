//! The tools that run commands.

use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, tool, tool_router};
use tokio::sync::watch;

use super::Tools;
use crate::broker::{Cancel, RunRequest};
use crate::mcp::answers::run::{RunInput, RunOutput};
use crate::mcp::refusal::{Refusal, failed, optional, parse, refuse};
use crate::time::Span;

/// Keys and patterns of one request.
const KEYS_MAX: usize = 100;

#[tool_router(router = run_router, vis = "pub(super)")]
impl Tools {
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
