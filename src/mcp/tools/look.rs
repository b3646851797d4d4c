//! The tools that look: names, and what is stored beside secrets.

use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, tool, tool_router};

use super::Tools;
use crate::broker::Listing;
use crate::mcp::answers::look::{
    ExistsInput, ExistsOutput, ListInput, ListOutput, MaskedInput, MaskedOutput,
};
use crate::mcp::refusal::{Refusal, optional, parse};
use crate::name::KeyPattern;
use crate::time::Span;

#[tool_router(router = look_router, vis = "pub(super)")]
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
}
