//! The document the module is configured with: the part of the policy file that it applies, as JSON.
//!
//! `document.example.json` beside this crate's sources has every key. The host has checked all entries, so what does not fit
//! is a mistake of the host and is reported as a whole.

use serde::Deserialize;

/// Rules and limits. All keys are always present, but for those of a command rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) default_action: DefaultAction,
    pub(crate) allowed_commands: Vec<CommandRule>,
    /// Words separated by white space.
    pub(crate) denied_commands: Vec<String>,
    /// Null when the file has no such key: then every agent may use all keys.
    pub(crate) policies: Option<Vec<AgentPolicy>>,
    pub(crate) workdir: Workdir,
    /// The time limit of a request that asks for none.
    pub(crate) timeout_default_ms: u64,
    /// The longest time limit.
    pub(crate) timeout_max_ms: u64,
    /// Bytes kept of each output stream.
    pub(crate) output_bytes: u64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DefaultAction {
    Deny,
    Ask,
    Allow,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandRule {
    /// Words separated by white space, with which a command line must begin; `*` alone means all commands.
    pub(crate) command: String,
    /// Patterns of the keys for which the rule holds; without them, for all.
    #[serde(default)]
    pub(crate) keys: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) network: Network,
    #[serde(default)]
    pub(crate) timeout_ms: Option<u64>,
    /// Whether `$NAME` of an injected variable is expanded in arguments.
    #[serde(default = "yes")]
    pub(crate) expand: bool,
    /// Whose approval is needed beside the rule.
    #[serde(default)]
    pub(crate) approval: Option<Approval>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Approval {
    Ask,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentPolicy {
    pub(crate) name: String,
    pub(crate) agent_id: String,
    pub(crate) allowed_keys: Vec<String>,
    pub(crate) denied_keys: Vec<String>,
    pub(crate) capabilities: Vec<Capability>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Capability {
    EnvInject,
    ReferenceOnly,
    MaskedReturn,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Network {
    #[default]
    Allow,
    None,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workdir {
    Temporary,
    Project,
}

impl Document {
    /// Takes the JSON text, or says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Document, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}
