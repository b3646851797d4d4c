//! What a well-formed policy file must not say. All problems are found at once, each with its place.

use std::time::Duration;

use super::alias::Environments;
use super::document::{AgentPolicy, CommandRule, Document};
use super::error::{Fault, Problem};
use super::place::nearest;
use super::rules::{Limits, Policy};
use super::units::List;
use crate::name::{EnvName, KeyPattern};

/// The longest time limit a file can set: secrets are not handed to what runs for days.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// The largest limit of kept output: it is held in memory.
const OUTPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The largest limit of processes: a fork bomb within it does not yet stop a machine.
const PROCESSES_MAX: u32 = 4096;
/// The most custom modules of a kind: each one is asked about every request, or reads all output.
const MODULES_MAX: usize = 8;

/// The layers of confinement that a file can require: those that the runner reports.
pub const LAYERS: [&str; 16] = [
    "session",
    "descriptors",
    "limits",
    "core",
    "capabilities",
    "no_new_privileges",
    "kill",
    "memory_directory",
    "user",
    "process_limit",
    "namespaces",
    "files",
    "landlock",
    "network",
    "system_calls",
    "environment",
];

impl Document {
    pub(super) fn into_policy(self) -> Result<Policy, Fault> {
        let mut problems = Problems(Vec::new());
        problems.in_document(&self);
        let env_pass = problems.in_env_pass(&self.env_pass);
        if !problems.0.is_empty() {
            return Err(Fault::Invalid(problems.0));
        }
        Ok(Policy {
            // Known where the bytes are.
            sha256: [0; 32],
            guest_document: self.to_guest().to_string(),
            allows_by_default: self.allows_by_default(),
            allowed_commands: self.allowed(),
            command_rules: self.allowed_commands.0.len() + self.denied_commands.0.len(),
            agent_policies: self.policies.as_ref().map(|list| list.0.len()),
            limits: self.limits(),
            environments: Environments(self.env_aliases.0),
            trusted_dirs: self.trusted_dirs.0,
            readable_paths: self.paths.read.0,
            writable_paths: self.paths.write.0,
            env_pass,
            workdir: self.workdir,
            required_layers: self.runner.require.0,
            modules: self.modules.0,
            sanitizers: self.sanitizers.0,
        })
    }
}

struct Problems(Vec<Problem>);

impl Problems {
    fn note(&mut self, path: impl ToString, problem: Option<impl ToString>) {
        self.0.extend(problem.map(|message| Problem {
            path: path.to_string(),
            message: message.to_string(),
        }));
    }

    fn in_document(&mut self, document: &Document) {
        for (name, list) in [
            ("modules", &document.modules),
            ("sanitizers", &document.sanitizers),
        ] {
            let many = list.0.len() > MODULES_MAX;
            self.note(name, many.then_some("has more than 8 entries"));
        }
        for (i, rule) in document.allowed_commands.0.iter().enumerate() {
            self.in_command(&format!("allowed_commands[{i}]"), &rule.0);
        }
        for (i, command) in document.denied_commands.0.iter().enumerate() {
            self.note(
                format_args!("denied_commands[{i}]"),
                command_problem(command),
            );
        }
        for (env, aliases) in &document.env_aliases.0 {
            for (i, alias) in aliases.0.iter().enumerate() {
                self.note(format_args!("env_aliases.{env}[{i}]"), alias.problem());
            }
        }
        for (i, policy) in document
            .policies
            .iter()
            .flat_map(|list| &list.0)
            .enumerate()
        {
            self.in_agent_policy(&format!("policies[{i}]"), policy);
        }
        for (i, directory) in document.trusted_dirs.0.iter().enumerate() {
            self.note(
                format_args!("trusted_dirs[{i}]"),
                location_problem(directory),
            );
        }
        self.in_paths("paths.read", &document.paths.read);
        self.in_paths("paths.write", &document.paths.write);
        for (i, layer) in document.runner.require.0.iter().enumerate() {
            self.note(format_args!("runner.require[{i}]"), layer_problem(layer));
        }
        self.in_limits(document.limits());
    }

    fn in_command(&mut self, path: &str, rule: &CommandRule) {
        self.note(path, command_problem(&rule.command));
        if let Some(keys) = &rule.keys {
            self.in_patterns(&format!("{path}.keys"), keys);
        }
    }

    fn in_agent_policy(&mut self, path: &str, policy: &AgentPolicy) {
        let empty = |text: &str| text.is_empty().then_some("is empty");
        self.note(format_args!("{path}.name"), empty(&policy.name));
        self.note(format_args!("{path}.agent_id"), empty(&policy.agent_id));
        self.in_patterns(&format!("{path}.allowed_keys"), &policy.allowed_keys);
        self.in_patterns(&format!("{path}.denied_keys"), &policy.denied_keys);
    }

    fn in_patterns(&mut self, path: &str, patterns: &List<String>) {
        for (i, pattern) in patterns.0.iter().enumerate() {
            self.note(format_args!("{path}[{i}]"), pattern_problem(pattern));
        }
    }

    fn in_paths(&mut self, key: &str, paths: &List<String>) {
        for (i, path) in paths.0.iter().enumerate() {
            let problem = location_problem(path).or_else(|| whole_problem(path));
            self.note(format_args!("{key}[{i}]"), problem);
        }
    }

    fn in_env_pass(&mut self, names: &List<String>) -> Vec<EnvName> {
        let mut valid = Vec::new();
        for (i, name) in names.0.iter().enumerate() {
            let path = format!("env_pass[{i}]");
            match name.parse::<EnvName>() {
                // The master password is in one of them.
                Ok(name) if name.as_str().starts_with("SECRETCTL_") => {
                    self.note(
                        path,
                        Some("variables of secretctl itself are not passed on"),
                    );
                }
                Ok(name) => valid.push(name),
                Err(error) => self.note(path, Some(error)),
            }
        }
        valid
    }

    fn in_limits(&mut self, limits: Limits) {
        let timeout = limits.timeout_max > TIMEOUT_MAX;
        self.note("limits.timeout_max", timeout.then_some("is more than 1h"));
        let output = limits.output_bytes > OUTPUT_BYTES_MAX;
        self.note(
            "limits.output_bytes",
            output.then_some("is more than 16MiB"),
        );
        let processes = !(1..=PROCESSES_MAX).contains(&limits.processes);
        self.note(
            "limits.processes",
            processes.then_some("is not from 1 to 4096"),
        );
    }
}

fn command_problem(command: &str) -> Option<&'static str> {
    let text = command.trim();
    if text.is_empty() {
        Some("is empty")
    } else if text != "*" && text.contains('*') {
        Some(
            "has a '*', which can only stand alone: a rule's words are the beginning of a command line anyway",
        )
    } else if text.contains(['"', '\'', '\\']) {
        Some(
            "has a quote or a backslash: a rule's words are separated by spaces and taken as they are",
        )
    } else {
        None
    }
}

/// A pattern that no key can fit is a mistake, and a dangerous one where it denies.
fn pattern_problem(pattern: &str) -> Option<String> {
    if let Err(error) = pattern.parse::<KeyPattern>() {
        return Some(error.to_string());
    }
    let part = pattern.contains("//") || pattern.contains("***");
    let edge = pattern.starts_with(['/', '!']) || pattern.ends_with('/');
    (part || edge).then(|| "is no pattern that a key could fit".to_owned())
}

fn location_problem(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') && !path.starts_with("~/") {
        Some("is neither absolute nor below ~/")
    } else if path.split('/').any(|part| part == "..") {
        Some("contains '..'")
    } else {
        None
    }
}

/// What nobody can mean to open, however it is written. That a name leads there by a link is found when it is used.
fn whole_problem(path: &str) -> Option<&'static str> {
    let mut parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    match (parts.next(), parts.next()) {
        (None, _) => Some("is the whole file system"),
        (Some("~"), None) => Some("is the whole home directory"),
        _ => None,
    }
}

/// A layer that is not known would never hold, and every run would be refused for it.
fn layer_problem(layer: &str) -> Option<String> {
    if LAYERS.contains(&layer) {
        return None;
    }
    let nearest = nearest(layer, LAYERS.into_iter());
    let meant = nearest.map_or_else(String::new, |known| format!(" (did you mean '{known}'?)"));
    Some(format!(
        "'{}' is no layer{meant}; the layers are: {}",
        layer.escape_debug(),
        LAYERS.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that is wrong with a file that parses, as `path: message`.
    fn problems(text: &str) -> Vec<String> {
        match Policy::parse(text.as_bytes()) {
            Ok(_) => Vec::new(),
            Err(Fault::Invalid(problems)) => problems.iter().map(ToString::to_string).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    fn places(text: &str) -> Vec<String> {
        problems(text)
            .into_iter()
            .filter_map(|p| Some(p.split_once(": ")?.0.to_owned()))
            .collect()
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let found = places(
            r#"
            paths: { read: ["~/.kube", "kube", "~/", "/"], write: ["/srv/x", "~/a/../b", "//", "~/./"] }
            allowed_commands:
              - "*"
              - "aws *"
              - { command: " ", keys: ["a/*", "a["] }
            denied_commands: ["rm 'x'"]
            env_aliases: { dev: [{ pattern: "db/*", target: "dev/db/*" }, { pattern: "db/*", target: "dev" }] }
            policies: [{ name: "", agent_id: "", allowed_keys: ["!a*"], denied_keys: ["*/"], capabilities: [] }]
            trusted_dirs: ["~/bin", "/opt/*/bin", "bin", "/a/../b"]
            env_pass: [AWS_REGION, "A-B", SECRETCTL_PASSWORD]
            limits: { timeout_max: 2h, output_bytes: 1GiB, processes: 0 }
            runner: { require: [kill, "", Kill] }
            "#,
        );
        let expected = [
            "allowed_commands[1]",
            "allowed_commands[2]",
            "allowed_commands[2].keys[1]",
            "denied_commands[0]",
            "env_aliases.dev[1]",
            "policies[0].name",
            "policies[0].agent_id",
            "policies[0].allowed_keys[0]",
            "policies[0].denied_keys[0]",
            "trusted_dirs[2]",
            "trusted_dirs[3]",
            "paths.read[1]",
            "paths.read[2]",
            "paths.read[3]",
            "paths.write[1]",
            "paths.write[2]",
            "paths.write[3]",
            "runner.require[1]",
            "runner.require[2]",
            "limits.timeout_max",
            "limits.output_bytes",
            "limits.processes",
            "env_pass[1]",
            "env_pass[2]",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn modules_are_not_too_many() {
        let entry = format!("{{ path: a, sha256: '{}' }}", "0".repeat(64));
        for name in ["modules", "sanitizers"] {
            let list = |count| {
                let entries = vec![&*entry; count].join(", ");
                problems(&format!("{name}: [{entries}]"))
            };
            assert_eq!(list(MODULES_MAX), Vec::<String>::new());
            assert_eq!(
                list(MODULES_MAX + 1),
                [format!("{name}: has more than 8 entries")]
            );
        }
    }

    #[test]
    fn an_unknown_layer_is_answered_with_the_known_ones() {
        let found = problems("runner: { require: [landlok] }");
        let expected = format!(
            "runner.require[0]: 'landlok' is no layer (did you mean 'landlock'?); the layers are: {}",
            LAYERS.join(", ")
        );
        assert_eq!(found, [expected]);
        let all = LAYERS.join(", ");
        assert!(problems(&format!("runner: {{ require: [{all}] }}")).is_empty());
    }

    #[test]
    fn what_is_opened_is_less_than_everything() {
        let found = problems("paths: { read: [/], write: ['~/'] }");
        let expected = [
            "paths.read[0]: is the whole file system",
            "paths.write[0]: is the whole home directory",
        ];
        assert_eq!(found, expected);
        assert!(problems("paths: { read: ['~/*'], write: ['~/.cache'] }").is_empty());
    }

    #[test]
    fn the_largest_limits_are_accepted() {
        let text = "limits: { timeout_max: 1h, output_bytes: 16MiB, processes: 4096 }";
        assert_eq!(problems(text), Vec::<String>::new());
        for text in [
            "limits: { timeout_max: 3600001ms }",
            "limits: { output_bytes: 16777217 }",
            "limits: { processes: 4097 }",
        ] {
            assert_eq!(problems(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_pattern_no_key_can_fit_is_refused() {
        for good in ["a", "*", "**", "*/prod/*", "a/**/b", "k[0-9]", "**/x"] {
            assert_eq!(pattern_problem(good), None, "{good}");
        }
        for bad in [
            "", "!a*", "/a*", "a*/", "a//*", "a***", "a[", "a b", "{a,b}",
        ] {
            assert!(pattern_problem(bad).is_some(), "{bad}");
        }
    }
}
