//! What the tools about fields take and give.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::look::FieldOutput;
use crate::broker::FieldList;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::mcp) struct FieldsInput {
    /// Name of a secret.
    pub(in crate::mcp) key: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct FieldsOutput {
    key: String,
    fields: Vec<FieldOutput>,
    /// Environment variables that secret_run_with_bindings sets, each with the field whose value it gets.
    bindings: BTreeMap<String, String>,
}

impl From<FieldList> for FieldsOutput {
    fn from(list: FieldList) -> Self {
        Self {
            key: list.key.to_string(),
            fields: list.fields.into_iter().map(FieldOutput::from).collect(),
            bindings: list.bindings.into_iter().collect(),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::mcp) struct FieldInput {
    /// Name of a secret.
    pub(in crate::mcp) key: String,
    /// Name of a field that is not sensitive, as secret_list_fields gives it.
    pub(in crate::mcp) field: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct FieldValue {
    pub(in crate::mcp) key: String,
    pub(in crate::mcp) field: String,
    /// The value, with `[REDACTED:key]` wherever a sensitive field of the secret stands in it.
    pub(in crate::mcp) value: String,
    /// Always false: values of sensitive fields are not given.
    pub(in crate::mcp) sensitive: bool,
}
