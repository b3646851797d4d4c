//! What the tools that look take and give.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::broker::{Listed, Masked};
use crate::name::SecretName;
use crate::time;

/// Most secrets of one page: their names fit what a model can read.
pub(in crate::mcp) const PAGE_MAX: usize = 500;

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
    /// `next_cursor` of the page before.
    pub(in crate::mcp) cursor: Option<String>,
    /// Secrets on one page: 1 to 500.
    #[schemars(with = "Option<i32>")]
    pub(in crate::mcp) limit: Option<usize>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct ListOutput {
    /// Names of secrets.
    keys: Vec<String>,
    /// The same with metadata, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    secrets: Option<Vec<Metadata>>,
    /// How many there are, if they are not all on this page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    total: Option<usize>,
    /// What to give as `cursor` for the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
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
    /// Those that come after a name. A page begins behind the last name of the one before, so that it does not matter what comes or
    /// goes in between.
    pub(in crate::mcp) fn page(
        listed: &[Listed],
        after: Option<&SecretName>,
        limit: usize,
        include_metadata: bool,
    ) -> Self {
        let begin = after.map_or(0, |after| listed.partition_point(|one| one.key <= *after));
        let left = &listed[begin..];
        let page = &left[..left.len().min(limit)];
        let next = page.last().filter(|_| left.len() > page.len());
        Self {
            keys: page.iter().map(|one| one.key.to_string()).collect(),
            secrets: include_metadata.then(|| page.iter().map(Metadata::from).collect()),
            total: (page.len() < listed.len()).then_some(listed.len()),
            next_cursor: next.map(|one| one.key.to_string()),
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
    /// Names of the secrets that were found: the first 500.
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
            matches: found
                .iter()
                .take(PAGE_MAX)
                .map(|one| one.key.to_string())
                .collect(),
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
pub(super) struct FieldOutput {
    name: String,
    sensitive: bool,
}

impl From<(String, bool)> for FieldOutput {
    fn from((name, sensitive): (String, bool)) -> Self {
        Self { name, sensitive }
    }
}

impl From<Masked> for MaskedOutput {
    fn from(masked: Masked) -> Self {
        let Masked { value, listed } = masked;
        let fields = listed.fields.into_iter().map(FieldOutput::from);
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
