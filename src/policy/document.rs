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
/// Characters of an offending line that an error shows: what fits a few lines of a terminal.
const SHOWN_MAX_CHARS: usize = 200;

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
    let found = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    found.trim().chars().take(SHOWN_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Policy;
    use super::*;

    /// Line, column and text that an error names.
    fn fault(text: &[u8]) -> (usize, usize, String, String) {
        match Policy::parse(text).unwrap_err() {
            Fault::Syntax {
                line,
                column,
                text,
                message,
            } => (line, column, text, message),
            other => panic!("{other}"),
        }
    }

    #[track_caller]
    fn refused(text: &str, line: usize, column: usize, message: &str) {
        let (found_line, found_column, found_text, found) = fault(text.as_bytes());
        assert_eq!((found_line, found_column), (line, column), "{found}");
        assert_eq!(
            found_text,
            text.lines().nth(line - 1).unwrap_or_default().trim()
        );
        assert!(found.contains(message), "{found}");
    }

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
        let rule = |command: &str| json!({ "command": command, "keys": null, "network": "allow", "timeout_ms": null, "expand": true });
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
        assert_eq!(policy.limits().processes, 128);
        assert!(policy.trusted_dirs().is_empty() && policy.env_pass().is_empty());
        assert!(policy.required_layers().is_empty());
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
    fn errors_name_the_place() {
        refused(
            "version: 1\nallowed_comands:\n- npm\n",
            2,
            1,
            "unknown field `allowed_comands`",
        );
        refused(
            "version: 1\ndefault_action: maybe\n",
            2,
            17,
            "unknown variant `maybe`",
        );
        refused(
            "default_action: deny\nversion: 2\n",
            2,
            10,
            "integer `2`, expected 1",
        );
        refused("version: \"1\"\n", 1, 10, "string \"1\", expected 1");
        refused("version: 1.0\n", 1, 10, "floating point `1.0`, expected 1");
        refused("version:\n", 1, 9, "expected 1");
        refused(
            "allowed_commands:\n- npm\n- true\n",
            3,
            3,
            "allowed_commands[1]: invalid type: boolean",
        );
        refused(
            "allowed_commands:\n- command: a\n  timeout: 60\n",
            3,
            12,
            "a duration with its unit",
        );
        refused(
            "allowed_commands:\n- command: a\n  keyz: []\n",
            3,
            3,
            "unknown field `keyz`",
        );
        refused(
            "allowed_commands:\n- keys: []\n",
            2,
            3,
            "missing field `command`",
        );
        refused(
            "allowed_commands: [npm\ndefault_action: deny\n",
            2,
            15,
            "did not find expected",
        );
        refused("allowed_commands: [*]\n", 1, 21, "did not find expected");
        refused("- a\n- b\n", 1, 1, "expected a mapping");
        refused(
            "version: 1\n---\nversion: 1\n",
            1,
            1,
            "more than one document",
        );
    }

    #[test]
    fn no_key_may_come_twice() {
        refused(
            "denied_commands: [a]\nversion: 1\ndenied_commands: [b]\n",
            3,
            1,
            "duplicate field `denied_commands`",
        );
        refused(
            "env_aliases:\n  a: []\n  b: []\n  a: []\n",
            4,
            3,
            "duplicate field `a`",
        );
        refused(
            "limits: { processes: 1, processes: 2 }\n",
            1,
            9,
            "duplicate field `processes`",
        );
    }

    #[test]
    fn what_is_not_utf8_is_named() {
        let (line, column, _, message) = fault(b"version: 1\n# \xc3\xa4 \xff\n");
        assert_eq!((line, column, message.as_str()), (2, 5, "not UTF-8"));
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        let (.., text, _) = fault(format!("x: {}\n", "y".repeat(10_000)).as_bytes());
        assert_eq!(text.len(), SHOWN_MAX_CHARS);
    }

    #[test]
    fn who_may_do_what_has_to_be_written_down() {
        let policy = |rest: &str| format!("policies:\n- name: a\n  agent_id: a\n{rest}");
        refused(
            &policy("  allowed_keys: []\n"),
            2,
            3,
            "missing field `capabilities`",
        );
        refused(
            &policy("  capabilities: []\n"),
            2,
            3,
            "missing field `allowed_keys`",
        );
        refused(
            &policy("  allowed_keys: []\n  capabilities: [full]\n"),
            5,
            18,
            "unknown variant `full`",
        );
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
        refused(
            "allowed_commands:\n- command: a\n  timeout:\n",
            3,
            11,
            "a duration",
        );
        refused(
            "allowed_commands:\n- command: a\n  network:\n",
            3,
            11,
            "expected",
        );
    }

    #[test]
    fn a_file_cannot_grow_by_references() {
        let keys = "k,".repeat(500);
        let entry =
            format!("- &p {{ name: a, agent_id: b, capabilities: [], allowed_keys: [{keys}] }}\n");
        let (.., message) =
            fault(format!("policies:\n{entry}{}", "- *p\n".repeat(1_000)).as_bytes());
        assert_eq!(message, "policies: more than 1000 entries");
    }
}
