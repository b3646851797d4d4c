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
use super::pinned::PinnedModule;
use super::place;
use super::rules::{self, Limits};
use super::units::{List, Pairs, Size, Span, Version, present};

/// How long a command may run when neither file nor request says so: what a build or a deployment takes.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// Bytes kept of each output stream unless the file says otherwise: more than an agent reads.
const OUTPUT_BYTES_DEFAULT: u64 = 1024 * 1024;
/// Processes and threads of one command unless the file says otherwise: enough for a parallel build.
const PROCESSES_DEFAULT: u32 = 1024;

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
    #[serde(default)]
    pub(super) modules: List<PinnedModule>,
    #[serde(default)]
    pub(super) sanitizers: List<PinnedModule>,
    #[serde(default)]
    pub(super) paths: PathsDocument,
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
    approval: Option<Approval>,
}

/// Whose approval a command needs beside the rule.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Approval {
    /// A person's, each time.
    Ask,
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
#[serde(deny_unknown_fields, expecting = "a mapping with `read` and `write`")]
pub(super) struct PathsDocument {
    #[serde(default)]
    pub(super) read: List<String>,
    #[serde(default)]
    pub(super) write: List<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with `require`")]
pub(super) struct RunnerDocument {
    #[serde(default)]
    pub(super) require: List<String>,
}

impl Document {
    pub(super) fn parse(bytes: &[u8]) -> Result<Document, Fault> {
        let text = std::str::from_utf8(bytes).map_err(|error| place::not_utf8(bytes, &error))?;
        serde_yaml::from_str(text).map_err(|error| place::of(text, &error))
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

    pub(super) fn allows_by_default(&self) -> bool {
        matches!(self.default_action, DefaultAction::Allow)
    }

    pub(super) fn allowed(&self) -> Vec<rules::AllowedCommand> {
        let rule = |AllowedCommand(rule): &AllowedCommand| rules::AllowedCommand {
            command: rule.command.clone(),
            keys_limited: rule.keys.is_some(),
            network: rule.network,
        };
        self.allowed_commands.0.iter().map(rule).collect()
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
    /// Without what it does not say: there can be hundreds of rules, and each request has them read again.
    fn to_guest(&self) -> Value {
        let mut rule = json!({ "command": self.command });
        if let Some(keys) = &self.keys {
            rule["keys"] = json!(keys.0);
        }
        if self.network != Network::default() {
            rule["network"] = json!(self.network);
        }
        if let Some(span) = self.timeout {
            rule["timeout_ms"] = json!(milliseconds(span.0));
        }
        if !self.expand {
            rule["expand"] = json!(false);
        }
        if let Some(approval) = self.approval {
            rule["approval"] = json!(approval);
        }
        rule
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

#[cfg(test)]
mod tests {
    use super::super::Policy;
    use super::*;

    #[test]
    fn the_first_seeds_file_is_read() {
        let policy = Policy::parse(
            br#"
version: 1
default_action: deny
# AI
allowed_commands:
- npm
- ./deploy.sh
denied_commands:
- rm
env_aliases:
  dev:
  - pattern: "db/*"
    target: "dev/db/*"
  prod:
  - pattern: "*"
    target: "prod/*"
"#,
        )
        .unwrap();
        let rule = |command: &str| json!({ "command": command });
        let expected = json!({
            "default_action": "deny",
            "allowed_commands": [rule("npm"), rule("./deploy.sh")],
            "denied_commands": ["rm"],
            "policies": null,
            "workdir": "temporary",
            "timeout_default_ms": 300_000,
            "timeout_max_ms": 300_000,
            "output_bytes": 1_048_576,
        });
        assert_eq!(policy.guest_document().parse::<Value>().unwrap(), expected);
        assert_eq!(policy.limits().processes, 1024);
        assert!(policy.trusted_dirs().is_empty() && policy.env_pass().is_empty());
        assert!(policy.required_layers().is_empty());
        assert!(policy.readable_paths().is_empty() && policy.writable_paths().is_empty());
    }

    #[test]
    fn the_fourth_seeds_file_is_read() {
        let policy = Policy::parse(
            br#"
# ~/.secretctl/mcp-policy.yaml
policies:
  - name: "claude-desktop"
    agent_id: "claude-desktop-*"
    allowed_keys:
      - "api/*"           # Allow api/ prefix
      - "config/dev/*"
    denied_keys:
      - "*/prod/*"        # Deny prod secrets
    capabilities:
      - env_inject        # Environment injection
      - reference_only    # Existence check
      - masked_return     # Masked display

  - name: "untrusted-agent"
    agent_id: "*"
    allowed_keys: []      # Deny all
    capabilities:
      - reference_only    # Only check existence
"#,
        )
        .unwrap();
        let guest: Value = policy.guest_document().parse().unwrap();
        let expected = json!([
            { "name": "claude-desktop", "agent_id": "claude-desktop-*", "allowed_keys": ["api/*", "config/dev/*"],
              "denied_keys": ["*/prod/*"], "capabilities": ["env_inject", "reference_only", "masked_return"] },
            { "name": "untrusted-agent", "agent_id": "*", "allowed_keys": [], "denied_keys": [],
              "capabilities": ["reference_only"] },
        ]);
        assert_eq!(guest["policies"], expected);
        assert_eq!(guest["default_action"], "deny");
    }

    #[test]
    fn every_key_is_read_and_the_guest_gets_its_part() {
        let policy = Policy::parse(
            br#"
version: 1
default_action: deny
allowed_commands:
  - npm test
  - ./deploy.sh
  - { command: aws s3, keys: ["aws/*"], network: none, timeout: 60s, expand: false }
  - { command: make release, approval: ask }
denied_commands: [rm, git push]
policies:
  - name: claude
    agent_id: "claude-*"
    allowed_keys: ["api/*", "aws/*", "db/**"]
    denied_keys: ["*/prod/*"]
    capabilities: [env_inject, reference_only, masked_return]
  - { name: others, agent_id: "*", allowed_keys: [], capabilities: [reference_only] }
workdir: temporary
trusted_dirs: ["~/.nvm/versions/node/*/bin"]
paths: { read: ["~/.kube"], write: ["/srv/cache/*"] }
env_pass: [AWS_REGION, KUBECONFIG]
limits: { timeout_max: 2m, output_bytes: 64KiB, processes: 64 }
runner: { require: [landlock] }
"#,
        )
        .unwrap();
        // The guest's tests take the same file, so both sides agree on its form.
        let expected = include_str!("../../policy-modules/default-policy/document.example.json");
        assert_eq!(
            policy.guest_document().parse::<Value>().unwrap(),
            expected.parse::<Value>().unwrap()
        );
        let limits = Limits {
            timeout_max: Duration::from_secs(120),
            output_bytes: 65_536,
            processes: 64,
        };
        assert_eq!(policy.limits(), limits);
        assert_eq!(policy.workdir(), Workdir::Temporary);
        assert_eq!(policy.trusted_dirs(), ["~/.nvm/versions/node/*/bin"]);
        assert_eq!(policy.readable_paths(), ["~/.kube"]);
        assert_eq!(policy.writable_paths(), ["/srv/cache/*"]);
        assert_eq!(
            policy
                .env_pass()
                .iter()
                .map(|name| name.as_str())
                .collect::<Vec<_>>(),
            ["AWS_REGION", "KUBECONFIG"]
        );
        assert_eq!(policy.required_layers(), ["landlock"]);
    }

    #[test]
    fn an_empty_key_never_means_everything() {
        let guest = |text: &str| {
            Policy::parse(text.as_bytes())
                .unwrap()
                .guest_document()
                .parse::<Value>()
                .unwrap()
        };
        assert_eq!(guest("policies:\n")["policies"], json!([]));
        assert_eq!(
            guest("allowed_commands:\n- command: a\n  keys:\n")["allowed_commands"][0]["keys"],
            json!([])
        );
        assert_eq!(guest("")["default_action"], "deny");
    }
}
