//! What the tools that look take and give.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::broker::{Listed, Masked};
use crate::time;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::mcp) struct ListInput {
    /// Only secrets with this tag.
    pub(in crate::mcp) tag: Option<String>,
    /// Only secrets that expire within this time, such as `30d`, or have expired.
    pub(in crate::mcp) expiring_within: Option<String>,
    /// Only secrets whose names begin like this, such as `aws/`.
    pub(in crate::mcp) prefix: Option<String>,
    /// Whether to give tags, dates and the like as well.
    #[serde(default)]
    pub(in crate::mcp) include_metadata: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct ListOutput {
    /// Names of secrets.
    keys: Vec<String>,
    /// The same with metadata, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    secrets: Option<Vec<Metadata>>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct Metadata {
    key: String,
    #[schemars(with = "i64")]
    field_count: usize,
    tags: Vec<String>,
    has_notes: bool,
    has_url: bool,
    /// RFC 3339, or null for a secret that does not expire.
    expires_at: Option<String>,
    created_at: String,
    updated_at: String,
}

impl From<&Listed> for Metadata {
    fn from(listed: &Listed) -> Self {
        Self {
            key: listed.key.to_string(),
            field_count: listed.fields.len(),
            tags: listed.tags.clone(),
            has_notes: listed.notes.is_some(),
            has_url: listed.url.is_some(),
            expires_at: listed.expires_at.map(time::rfc3339),
            created_at: time::rfc3339(listed.created_at),
            updated_at: time::rfc3339(listed.updated_at),
        }
    }
}

impl ListOutput {
    pub(in crate::mcp) fn new(listed: &[Listed], include_metadata: bool) -> Self {
        Self {
            keys: listed.iter().map(|one| one.key.to_string()).collect(),
            secrets: include_metadata.then(|| listed.iter().map(Metadata::from).collect()),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::mcp) struct ExistsInput {
    /// Name of a secret, or a pattern such as `aws/*`.
    pub(in crate::mcp) key: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct ExistsOutput {
    exists: bool,
    /// Names of the secrets that were found.
    matches: Vec<String>,
    /// About the secret, if exactly one was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
}

impl ExistsOutput {
    pub(in crate::mcp) fn new(found: &[Listed]) -> Self {
        let metadata = if let [one] = found {
            Some(Metadata::from(one))
        } else {
            None
        };
        Self {
            exists: !found.is_empty(),
            matches: found.iter().map(|one| one.key.to_string()).collect(),
            metadata,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::mcp) struct MaskedInput {
    /// Name of a secret.
    pub(in crate::mcp) key: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct MaskedOutput {
    key: String,
    /// `********`, with the last four characters of a longer value. The mask does not tell the value's length.
    masked_value: String,
    fields: Vec<FieldOutput>,
    tags: Vec<String>,
    notes: Option<String>,
    url: Option<String>,
    /// RFC 3339, or null for a secret that does not expire.
    expires_at: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct FieldOutput {
    name: String,
    sensitive: bool,
}

impl From<Masked> for MaskedOutput {
    fn from(masked: Masked) -> Self {
        let Masked { value, listed } = masked;
        let fields = listed
            .fields
            .into_iter()
            .map(|(name, sensitive)| FieldOutput { name, sensitive });
        Self {
            key: listed.key.to_string(),
            masked_value: value,
            fields: fields.collect(),
            tags: listed.tags,
            notes: listed.notes,
            url: listed.url,
            expires_at: listed.expires_at.map(time::rfc3339),
        }
    }
}
