//! The tool that rates how safely secrets are kept.

use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, tool, tool_router};

use super::Tools;
use crate::mcp::answers::score::{ScoreInput, ScoreOutput};
use crate::mcp::refusal::Refusal;

#[tool_router(router = score_router, vis = "pub(super)")]
impl Tools {
    #[tool(
        name = "security_score",
        title = "Rate the safety of secrets",
        description = "Rate how safely secrets are kept, from their dates, the policy and this machine; values are not looked at.",
        annotations(
            title = "Rate the safety of secrets",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn security_score(
        &self,
        Parameters(input): Parameters<ScoreInput>,
        context: RequestContext<RoleServer>,
    ) -> Result<Json<ScoreOutput>, Refusal> {
        // It starts a process, to see what confines it.
        let _place = self.queue.enter(&context).await?;
        let score = self
            .ask(self.agent(&context), |door, agent| door.score(agent))
            .await?;
        Ok(Json(ScoreOutput::new(score, input.include_keys)))
    }
}
