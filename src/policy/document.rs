//! The policy file as it is written, key by key.
//!
//! The document is strict: an unknown key, a wrong type or a wrong word is an error. Commands and keys are judged by the
//! built-in policy module, which gets its part of the file as JSON.

use std::fmt;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::alias::Alias;
use super::decision::{Network, Workdir};
use super::error::Fault;
use super::rules::Limits;
use super::units::{List, Pairs, Size, Span, Unsupported, Version, present};

/// How long a command may run when neither file nor request says so: what a build or a deployment takes.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// Bytes kept of each output stream unless the file says otherwise: more than an agent reads.
const OUTPUT_BYTES_DEFAULT: u64 = 1024 * 1024;
/// Processes and threads of one command unless the file says otherwise: enough for a parallel build.
const PROCESSES_DEFAULT: u32 = 128;

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with the keys of a policy file"
)]
pub(super) struct Document {
    #[serde(default, rename = "version")]
    _version: Version,
    #[serde(default)]
    default_action: DefaultAction,
    #[serde(default)]
    pub(super) allowed_commands: List<AllowedCommand>,
    #[serde(default)]
    pub(super) denied_commands: List<String>,
    #[serde(default)]
    pub(super) env_aliases: Pairs<List<Alias>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) policies: Option<List<AgentPolicy>>,
    #[serde(default)]
    pub(super) workdir: Workdir,
    #[serde(default)]
    pub(super) trusted_dirs: List<String>,
    #[serde(default)]
    pub(super) env_pass: List<String>,
    #[serde(default)]
    limits: LimitsDocument,
    #[serde(default)]
    pub(super) runner: RunnerDocument,
    #[serde(default, deserialize_with = "present")]
    pub(super) modules: Option<Unsupported>,
    #[serde(default, deserialize_with = "present")]
    pub(super) sanitizers: Option<Unsupported>,
    #[serde(default, deserialize_with = "present")]
    pub(super) paths: Option<Unsupported>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum DefaultAction {
    #[default]
    Deny,
    Ask,
    Allow,
}

/// A rule, which the file may also write as its command alone.
#[derive(Debug)]
pub(super) struct AllowedCommand(pub(super) CommandRule);

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with `command` and its limits"
)]
pub(super) struct CommandRule {
    pub(super) command: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) keys: Option<List<String>>,
    #[serde(default)]
    network: Network,
    #[serde(default, deserialize_with = "present")]
    timeout: Option<Span>,
    #[serde(default = "yes")]
    expand: bool,
    #[serde(default, deserialize_with = "present")]
    pub(super) approval: Option<Unsupported>,
}

/// The rights of agents. `allowed_keys` and `capabilities` have no default: whether nothing or everything is meant has to
/// be written down.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with the rights of an agent"
)]
pub(super) struct AgentPolicy {
    pub(super) name: String,
    pub(super) agent_id: String,
    pub(super) allowed_keys: List<String>,
    #[serde(default)]
    pub(super) denied_keys: List<String>,
    capabilities: List<Capability>,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Capability {
    EnvInject,
    ReferenceOnly,
    MaskedReturn,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping of limits")]
struct LimitsDocument {
    #[serde(default, deserialize_with = "present")]
    timeout_max: Option<Span>,
    #[serde(default, deserialize_with = "present")]
    output_bytes: Option<Size>,
    #[serde(default, deserialize_with = "present")]
    processes: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with `require`")]
pub(super) struct RunnerDocument {
    #[serde(default)]
    pub(super) require: List<String>,
}

impl Document {
    pub(super) fn parse(bytes: &[u8]) -> Result<Document, Fault> {
        let text =
            std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to()))?;
        serde_yaml::from_str(text).map_err(|error| syntax(text, &error))
    }

    pub(super) fn limits(&self) -> Limits {
        let limits = &self.limits;
        Limits {
            timeout_max: limits.timeout_max.map_or(TIMEOUT_DEFAULT, |span| span.0),
            output_bytes: limits
                .output_bytes
                .map_or(OUTPUT_BYTES_DEFAULT, |size| size.0),
            processes: limits.processes.unwrap_or(PROCESSES_DEFAULT),
        }
    }

    pub(super) fn to_guest(&self) -> Value {
        let limits = self.limits();
        json!({
            "default_action": self.default_action,
            "allowed_commands": each(&self.allowed_commands, |rule| rule.0.to_guest()),
            "denied_commands": self.denied_commands.0,
            "policies": self.policies.as_ref().map(|list| each(list, AgentPolicy::to_guest)),
            "workdir": self.workdir,
            "timeout_default_ms": milliseconds(TIMEOUT_DEFAULT),
            "timeout_max_ms": milliseconds(limits.timeout_max),
            "output_bytes": limits.output_bytes,
        })
    }
}

impl CommandRule {
    fn to_guest(&self) -> Value {
        json!({
            "command": self.command,
            "keys": self.keys.as_ref().map(|list| &list.0),
            "network": self.network,
            "timeout_ms": self.timeout.map(|span| milliseconds(span.0)),
            "expand": self.expand,
        })
    }
}

impl AgentPolicy {
    fn to_guest(&self) -> Value {
        json!({
            "name": self.name,
            "agent_id": self.agent_id,
            "allowed_keys": self.allowed_keys.0,
            "denied_keys": self.denied_keys.0,
            "capabilities": self.capabilities.0,
        })
    }
}

fn yes() -> bool {
    true
}

fn each<T>(list: &List<T>, to_guest: impl Fn(&T) -> Value) -> Vec<Value> {
    list.0.iter().map(to_guest).collect()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl<'de> Deserialize<'de> for AllowedCommand {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextOrMapping;
        impl<'de> Visitor<'de> for TextOrMapping {
            type Value = AllowedCommand;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command, or a mapping with `command` and its limits")
            }

            fn visit_str<E: de::Error>(self, command: &str) -> Result<AllowedCommand, E> {
                Ok(AllowedCommand(CommandRule {
                    command: command.to_owned(),
                    keys: None,
                    network: Network::default(),
                    timeout: None,
                    expand: true,
                    approval: None,
                }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AllowedCommand, A::Error> {
                CommandRule::deserialize(MapAccessDeserializer::new(map)).map(AllowedCommand)
            }
        }
        from.deserialize_any(TextOrMapping)
    }
}

fn syntax(text: &str, error: &serde_yaml::Error) -> Fault {
    let full = error.to_string();
    let message = full.split(" at line ").next().unwrap_or(&full).to_owned();
    let parsed = error
        .location()
        .map_or((1, 1), |at| (at.line(), at.column()));
    let (line, column) = repeated_key(text, parsed.0, &message).unwrap_or(parsed);
    Fault::Syntax {
        line,
        column,
        text: line_of(text, line),
        message,
    }
}

/// Where a key stands for the second time: the parser only knows the line on which its mapping begins.
fn repeated_key(text: &str, line: usize, message: &str) -> Option<(usize, usize)> {
    let (_, rest) = message.split_once("duplicate field `")?;
    let key = rest.strip_suffix('`')?;
    let is_key = |line: &str| {
        let entry = line.trim_start_matches(['-', ' ']);
        entry
            .strip_prefix(key)
            .is_some_and(|rest| rest.starts_with(':'))
    };
    let lines = text.lines().enumerate().skip(line.saturating_sub(1));
    let (index, found) = lines.filter(|(_, line)| is_key(line)).nth(1)?;
    Some((index + 1, found.find(key)? + 1))
}

fn not_utf8(bytes: &[u8], valid: usize) -> Fault {
    let before = String::from_utf8_lossy(bytes.get(..valid).unwrap_or_default());
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let text = line_of(&String::from_utf8_lossy(bytes), line);
    Fault::Syntax {
        line,
        column,
        text,
        message: "not UTF-8".to_owned(),
    }
}

fn line_of(text: &str, line: usize) -> String {
    text.lines()
        .nth(line.saturating_sub(1))
        .unwrap_or_default()
        .trim()
        .to_owned()
}
