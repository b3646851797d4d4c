//! The tools that look: names, and what is stored beside secrets.

use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, tool, tool_router};

use super::Tools;
use crate::broker::Listing;
use crate::mcp::answers::look::{
    ExistsInput, ExistsOutput, ListInput, ListOutput, MaskedInput, MaskedOutput, PAGE_MAX,
};
use crate::mcp::refusal::{Refusal, optional, parse};
use crate::name::{KeyPattern, SecretName};
use crate::time::Span;

#[tool_router(router = look_router, vis = "pub(super)")]
impl Tools {
    #[tool(
        name = "secret_list",
        title = "List secrets",
        description = "List the names of the secrets you may use. Values are never shown.",
        annotations(
            title = "List secrets",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn secret_list(
        &self,
        Parameters(input): Parameters<ListInput>,
        context: RequestContext<RoleServer>,
    ) -> Result<Json<ListOutput>, Refusal> {
        let listing = Listing {
            tag: optional("tag", input.tag)?,
            expiring_within: optional::<Span>("expiring_within", input.expiring_within)?
                .map(|span| span.0),
            prefix: input.prefix,
        };
        let after: Option<SecretName> = optional("cursor", input.cursor)?;
        let limit = input.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        let listed = self
            .ask(self.agent(&context), move |door, agent| {
                door.list(agent, &listing)
            })
            .await?;
        Ok(Json(ListOutput::page(
            &listed,
            after.as_ref(),
            limit,
            input.include_metadata,
        )))
    }

    #[tool(
        name = "secret_exists",
        title = "Check a secret",
        description = "Tell whether a secret exists; a pattern such as aws/* is allowed.",
        annotations(
            title = "Check a secret",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn secret_exists(
        &self,
        Parameters(input): Parameters<ExistsInput>,
        context: RequestContext<RoleServer>,
    ) -> Result<Json<ExistsOutput>, Refusal> {
        let pattern: KeyPattern = parse("key", &input.key)?;
        let found = self
            .ask(self.agent(&context), move |door, agent| {
                door.matching(agent, &pattern)
            })
            .await?;
        Ok(Json(ExistsOutput::new(&found)))
    }

    #[tool(
        name = "secret_get_masked",
        title = "Describe a secret",
        description = "Show what is stored beside a secret, and its value masked.",
        annotations(
            title = "Describe a secret",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn secret_get_masked(
        &self,
        Parameters(input): Parameters<MaskedInput>,
        context: RequestContext<RoleServer>,
    ) -> Result<Json<MaskedOutput>, Refusal> {
        let name = parse("key", &input.key)?;
        let masked = self
            .ask(self.agent(&context), move |door, agent| {
                door.masked(agent, &name)
            })
            .await?;
        Ok(Json(MaskedOutput::from(masked)))
    }
}
