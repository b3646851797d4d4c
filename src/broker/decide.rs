//! The first half of an agent's request: facts, the policy's decision, and the record of it.

use std::sync::Arc;

use secretctl_runner::{Home, Limits};

use super::RunError;
use super::agent::{AgentDoor, RunRequest};
use super::approve::{Approved, Ruling};
use super::asked::Asked;
use super::hide;
use super::jail::NETWORK_LAYER;
use super::judge::{self, Facts, Prepared};
use super::keyring::tags;
use super::plan::{self, Start};
use super::run::Job;
use super::selection::Selected;
use super::short::AGENT_MIN_BYTES;
use super::words::{COMMAND_MAX_BYTES, WORDS_MAX};
use crate::audit::{Action, Detail, Module, Outcome, Recorded};
use crate::name::{KeyPattern, SecretName};
use crate::policy::{Grant, Key, Network, Policy, Purpose};
use crate::text::is_unseen;
use crate::vault::Entry;
use crate::wasm::{CustomSanitizer, Identity};

/// How the built-in module's reason begins when it hides a key; the name, if it is one, stands in it between quotes.
const HIDDEN: &str = "secret not found: ";
/// Longest name of an agent, in characters: it is the client's own choice.
const AGENT_MAX_CHARACTERS: usize = 128;
/// Bytes of a command that a record keeps: all of every command that can run, and less than a record holds even if each byte
/// takes six in JSON.
const COMMAND_LOGGED_MAX_BYTES: usize = COMMAND_MAX_BYTES + WORDS_MAX;
/// Bytes that a record keeps of any other text of an agent's choice: the longest path.
const TEXT_LOGGED_MAX_BYTES: usize = 4096;

impl AgentDoor {
    /// Gathers the facts about a command, asks the policy, and records its yes. Where that needs a person's yes as well, `approved` is it.
    pub(super) fn decide(
        &self,
        agent: &str,
        request: &RunRequest,
        approved: Option<Approved>,
    ) -> Result<(Recorded<Grant>, Job), RunError> {
        let broker = &self.broker;
        let policy = broker.policy()?;
        let judge = &broker.judge;
        let project = &*self.project(request.roots.as_deref());
        let facts = judge.facts(&policy, project, broker, agent, request)?;
        let ruling = judge
            .rule(&policy, &facts.question, &|name| tags(name, broker))
            .map_err(|error| hidden(error, request, &facts.selected))?;
        let prepared = judge.prepare(&policy, project, broker, request, &facts, ruling.grant())?;
        let mut detail = Detail {
            rule: Some(ruling.grant().rule.clone()),
            directory: facts.place.directory.clone(),
            modules: self.modules(&policy, &prepared.sanitizers)?,
            ..detail(agent, request)
        };
        // To keep them out of the log, and to find out what cannot be hidden: before the record, nothing of them goes anywhere from here.
        let values = broker.reveal(&prepared.selected, &prepared.variables, AGENT_MIN_BYTES)?;
        let sanitizer = broker.hide_in_detail(&hide::named(&values), &mut detail)?;
        limit(&mut detail, 1);
        let keys: Vec<SecretName> = (prepared.selected.iter())
            .map(|one| one.name.clone())
            .collect();
        let grant = match ruling {
            Ruling::Allowed(grant) => grant,
            Ruling::Asks(pending) => {
                let env = request.env.as_deref();
                let about = pending.about();
                let asked = Asked::new(&policy, &facts, &prepared, env, about)?;
                self.approved(pending, asked, approved, &mut detail, &keys)?
            }
        };
        let Facts { words, path, .. } = facts;
        let Prepared {
            program,
            selected,
            variables,
            directory,
            sanitizers,
            confinement,
        } = prepared;
        let start = Start {
            name: program
                .path
                .file_name()
                .unwrap_or(program.path.as_os_str())
                .to_owned(),
            program: program.path,
            file: Some(program.file),
            arguments: words.arguments.into_iter().map(Into::into).collect(),
            directory,
            home: Home::Temporary,
            environment: plan::agent_environment(path.variable(), policy.env_pass()),
            require: required_layers(&policy, &grant),
            limits: Limits {
                processes: policy.limits().processes,
                ..Limits::default()
            },
            confinement,
        };
        let entry = broker.entry(Action::SecretRun, Outcome::Success, keys, detail.clone());
        let recorded = broker.record(entry, grant)?;
        Ok((
            recorded,
            Job {
                start,
                selected,
                variables,
                values,
                sanitizer,
                sanitizers,
                detail,
            },
        ))
    }

    /// The policy that hides keys. Without a file nothing is hidden, as in one without `policies`. With one that cannot be used nothing
    /// is shown: it may be meant to hide what is asked for.
    fn hiding(&self) -> Result<Option<Arc<Policy>>, RunError> {
        match self.broker.policy() {
            Ok(policy) => Ok(Some(policy)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(RunError::Hiding(error)),
        }
    }

    /// A secret, if the agent may use it for `purpose`.
    pub(super) fn visible_one(
        &self,
        agent: &str,
        purpose: Purpose,
        name: &SecretName,
    ) -> Result<Option<Entry>, RunError> {
        let broker = &self.broker;
        if let Some(policy) = self.hiding()? {
            let key = Key {
                name: name.clone(),
                named: true,
                tags: Vec::new(),
            };
            let question = judge::question(purpose, agent, vec![key]);
            let tags = |name: &SecretName| tags(name, broker);
            let grant = broker.judge.grant(&policy, &question, &tags)?;
            if !grant.keys.contains(name) {
                return Ok(None);
            }
        }
        Ok(broker.vault().entry(name)?)
    }

    /// Which of `entries`, sorted by name, the agent may know of.
    pub(super) fn visible(&self, agent: &str, entries: Vec<Entry>) -> Result<Vec<Entry>, RunError> {
        let Some(policy) = self.hiding()? else {
            return Ok(entries);
        };
        let key = |entry: &Entry| Key {
            name: entry.name.clone(),
            named: false,
            tags: Vec::new(),
        };
        let keys = entries.iter().map(key).collect();
        let question = judge::question(Purpose::Reference, agent, keys);
        let tags = |name: &SecretName| {
            let found = entries.binary_search_by(|entry| entry.name.cmp(name));
            Ok(found.map_or_else(|_| Vec::new(), |at| entries[at].metadata.tags.clone()))
        };
        let mut granted = self.broker.judge.grant(&policy, &question, &tags)?.keys;
        granted.sort_unstable();
        let is_granted = |entry: &Entry| granted.binary_search(&entry.name).is_ok();
        Ok(entries.into_iter().filter(is_granted).collect())
    }

    /// Records that a command was refused, and why.
    pub(super) fn record_refusal(
        &self,
        agent: &str,
        request: &RunRequest,
        error: &RunError,
    ) -> Result<(), RunError> {
        let mut detail = detail(agent, request);
        let outcome = refusal(error, &mut detail);
        // Twice of what is kept: a search of much more could fail, and what is cut through here is cut off below.
        limit(&mut detail, 2);
        // Which secrets the agent may use is not known here, so the words are recorded as they came.
        if let Err(error) = self.broker.hide_in_detail(&[], &mut detail) {
            detail = Detail {
                agent: detail.agent,
                rule: detail.rule,
                reason: Some(format!("the words are not recorded: {error}")),
                ..Detail::default()
            };
        }
        limit(&mut detail, 1);
        let keys = request.keys.iter().filter_map(KeyPattern::exact).collect();
        self.broker
            .note(self.broker.entry(Action::SecretRun, outcome, keys, detail))
    }

    /// The modules that decide and those that hide, for the record.
    fn modules(
        &self,
        policy: &Policy,
        sanitizers: &[CustomSanitizer],
    ) -> Result<Vec<Module>, RunError> {
        let built_in = self.broker.judge.built_in()?.identity();
        let sanitizer = self.broker.built_in_sanitizer()?.identity();
        let logged = |identity: &Identity| Module {
            name: identity.name.clone(),
            sha256: identity.sha256.clone(),
        };
        let policies = policy.modules().iter().map(|pinned| Module {
            name: pinned.path().to_owned(),
            sha256: pinned.sha256().to_owned(),
        });
        let sanitizers = sanitizers.iter().map(CustomSanitizer::identity);
        let sanitizers = std::iter::once(sanitizer).chain(sanitizers);
        Ok(std::iter::once(logged(built_in))
            .chain(policies)
            .chain(sanitizers.map(logged))
            .collect())
    }
}

/// A refusal for a key that the policy hides, as opposed to one for the command. An agent is told what it is told of a key that the vault
/// does not hold.
fn hidden(error: RunError, request: &RunRequest, selected: &[Selected]) -> RunError {
    match error {
        RunError::Denied(denial) if denial.reason.starts_with(HIDDEN) => {
            let is_meant = |one: &&Selected| denial.reason.contains(&format!("'{}'", one.name));
            let asked = selected.iter().find(is_meant).or(selected.first());
            let patterns = || {
                request
                    .keys
                    .iter()
                    .map(KeyPattern::as_str)
                    .collect::<Vec<_>>()
            };
            RunError::HiddenKey {
                asked: asked.map_or_else(|| patterns().join(", "), |one| one.asked.clone()),
                denial,
            }
        }
        other => other,
    }
}

/// Adds to a record why something was refused or failed.
pub(super) fn refusal(error: &RunError, detail: &mut Detail) -> Outcome {
    detail.reason = Some(error.to_string());
    match error {
        RunError::Denied(denial) | RunError::HiddenKey { denial, .. } => {
            detail.rule = Some(denial.rule.clone());
            detail.remedy = Some(denial.remedy.clone()).filter(|remedy| !remedy.is_empty());
            Outcome::Denied
        }
        RunError::NeedsApproval(question) | RunError::NotApproved { question, .. } => {
            detail.rule = Some(question.grant.rule.clone());
            detail.remedy = question.remedy();
            Outcome::Denied
        }
        RunError::Policy(_)
        | RunError::Hiding(_)
        | RunError::PolicyModule(_)
        | RunError::Module(_)
        | RunError::TooShort(_)
        | RunError::SensitiveField { .. }
        | RunError::Program { .. }
        | RunError::Directory(_) => Outcome::Denied,
        _ => Outcome::Error,
    }
}

/// What a record says of a request.
fn detail(agent: &str, request: &RunRequest) -> Detail {
    let words = std::iter::once(&request.command).chain(&request.arguments);
    Detail {
        argv: words.cloned().collect(),
        agent: Some(label(agent)),
        environment: request.env.clone(),
        directory: request.cwd.clone(),
        ..Detail::default()
    }
}

/// Cuts overlong texts, to so many times of what a record keeps: nobody escapes the log by asking at length.
pub(super) fn limit(detail: &mut Detail, times: usize) {
    let mut room = times * COMMAND_LOGGED_MAX_BYTES;
    let words = detail.argv.iter().map_while(|word| {
        let logged = (room > 0).then(|| cut(word, room));
        // One more for what stands between two words.
        room = room.saturating_sub(word.len() + 1);
        logged
    });
    detail.argv = words.collect();
    for text in [
        &mut detail.environment,
        &mut detail.directory,
        &mut detail.reason,
        &mut detail.remedy,
    ]
    .into_iter()
    .flatten()
    {
        *text = cut(text, times * TEXT_LOGGED_MAX_BYTES);
    }
}

/// The beginning of a text, with a mark where something is left out.
fn cut(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(max_bytes)])
}

/// What the policy file requires, and what the grant is worth nothing without.
pub(super) fn required_layers(policy: &Policy, grant: &Grant) -> Vec<String> {
    let network = (grant.network == Network::None).then(|| NETWORK_LAYER.to_owned());
    policy
        .required_layers()
        .iter()
        .cloned()
        .chain(network)
        .collect()
}

/// An agent's name as it can stand in a log and in a policy.
pub(super) fn label(agent: &str) -> String {
    agent
        .chars()
        .filter(|c| !is_unseen(*c))
        .take(AGENT_MAX_CHARACTERS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_name_cannot_break_a_line() {
        assert_eq!(label("claude\n-code\u{1b}[0m"), "claude-code[0m");
        assert_eq!(label(&"x".repeat(1000)).len(), AGENT_MAX_CHARACTERS);
    }

    #[test]
    fn no_request_is_too_long_for_a_record() {
        let long = "\u{1}".repeat(10 * COMMAND_MAX_BYTES);
        let request = RunRequest {
            command: "x".to_owned(),
            arguments: vec!["ä".repeat(COMMAND_MAX_BYTES), long.clone()],
            env: Some(long.clone()),
            cwd: Some(long.clone()),
            ..RunRequest::default()
        };
        let mut detail = detail(&long, &request);
        refusal(&RunError::ProgramNotFound(long), &mut detail);
        limit(&mut detail, 1);
        assert_eq!(detail.argv.len(), 2);
        assert_eq!(
            detail.argv[1].len(),
            COMMAND_LOGGED_MAX_BYTES - 2 + "…".len()
        );
        let json = serde_json::to_vec(&detail).expect("JSON");
        assert!(
            json.len() < crate::audit::DETAIL_MAX_BYTES,
            "{}",
            json.len()
        );

        let words = |words: &[&str]| {
            words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>()
        };
        let whole = RunRequest {
            command: "echo".to_owned(),
            arguments: words(&["", "a b"]),
            ..RunRequest::default()
        };
        assert_eq!(super::detail("a", &whole).argv, words(&["echo", "", "a b"]));
    }

    #[test]
    fn a_grant_without_a_network_requires_the_layer() {
        let file = "version: 1\nrunner: { require: [kill] }\n";
        let policy = Policy::parse(file.as_bytes()).expect("a policy");
        let grant = |network| Grant {
            keys: Vec::new(),
            timeout: std::time::Duration::ZERO,
            output_bytes: 0,
            network,
            workdir: crate::policy::Workdir::Temporary,
            expand_arguments: true,
            rule: String::new(),
        };
        assert_eq!(required_layers(&policy, &grant(Network::Allow)), ["kill"]);
        assert_eq!(
            required_layers(&policy, &grant(Network::None)),
            ["kill", "network"]
        );
    }
}
