//! What a well-formed policy file must not say. All problems are found at once, each with its place.

use std::time::Duration;

use super::alias::Environments;
use super::document::{AgentPolicy, CommandRule, Document};
use super::error::{Fault, Problem};
use super::rules::{Limits, Policy};
use super::units::{List, Unsupported};
use crate::name::{EnvName, KeyPattern};

/// The longest time limit a file can set: secrets are not handed to what runs for days.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// The largest limit of kept output: it is held in memory.
const OUTPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The largest limit of processes: a fork bomb within it does not yet stop a machine.
const PROCESSES_MAX: u32 = 4096;

impl Document {
    pub(super) fn into_policy(self) -> Result<Policy, Fault> {
        let mut problems = Problems(Vec::new());
        problems.in_document(&self);
        let env_pass = problems.in_env_pass(&self.env_pass);
        if !problems.0.is_empty() {
            return Err(Fault::Invalid(problems.0));
        }
        Ok(Policy {
            guest_document: self.to_guest().to_string(),
            limits: self.limits(),
            environments: Environments(self.env_aliases.0),
            trusted_dirs: self.trusted_dirs.0,
            env_pass,
            workdir: self.workdir,
            required_layers: self.runner.require.0,
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
        self.unsupported("modules", document.modules.as_ref());
        self.unsupported("sanitizers", document.sanitizers.as_ref());
        self.unsupported("paths", document.paths.as_ref());
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
                directory_problem(directory),
            );
        }
        self.in_limits(document.limits());
    }

    fn unsupported(&mut self, path: &str, value: Option<&Unsupported>) {
        self.note(path, value.map(|_| "is not supported by this version"));
    }

    fn in_command(&mut self, path: &str, rule: &CommandRule) {
        self.note(path, command_problem(&rule.command));
        self.unsupported(&format!("{path}.approval"), rule.approval.as_ref());
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
            self.note(
                format_args!("{path}[{i}]"),
                pattern.parse::<KeyPattern>().err(),
            );
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

fn directory_problem(directory: &str) -> Option<&'static str> {
    if !directory.starts_with('/') && !directory.starts_with("~/") {
        Some("is neither absolute nor below ~/")
    } else if directory.split('/').any(|part| part == "..") {
        Some("contains '..'")
    } else {
        None
    }
}
