//! The tools about the fields of a secret.

use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, tool, tool_router};

use super::Tools;
use crate::mcp::answers::fields::{FieldInput, FieldValue, FieldsInput, FieldsOutput};
use crate::mcp::refusal::{Refusal, parse};
use crate::name::{FieldName, SecretName};

#[tool_router(router = fields_router, vis = "pub(super)")]
impl Tools {
    #[tool(
        name = "secret_list_fields",
        title = "List fields",
        description = "List the fields of a secret, and the environment variables that they are bound to. Values are not shown.",
        annotations(
            title = "List fields",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn secret_list_fields(
        &self,
        Parameters(input): Parameters<FieldsInput>,
        context: RequestContext<RoleServer>,
    ) -> Result<Json<FieldsOutput>, Refusal> {
        let name: SecretName = parse("key", &input.key)?;
        let agent = self.agent(&context);
        let fields = self
            .ask(agent, move |door, agent| door.fields(agent, &name))
            .await?;
        Ok(Json(FieldsOutput::from(fields)))
    }

    #[tool(
        name = "secret_get_field",
        title = "Read a plain field",
        description = "Read a field that is not sensitive, such as a host name. Sensitive fields are refused: run a command with them.",
        annotations(
            title = "Read a plain field",
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn secret_get_field(
        &self,
        Parameters(input): Parameters<FieldInput>,
        context: RequestContext<RoleServer>,
    ) -> Result<Json<FieldValue>, Refusal> {
        let name: SecretName = parse("key", &input.key)?;
        let field: FieldName = parse("field", &input.field)?;
        let (key, field_name) = (name.to_string(), field.to_string());
        let value = self
            .ask(self.agent(&context), move |door, agent| {
                door.field(agent, &name, &field)
            })
            .await?;
        Ok(Json(FieldValue {
            key,
            field: field_name,
            value,
            sensitive: false,
        }))
    }
}
