//! The first half of an agent's request: facts, the policy's decision, and the record of it.

use std::collections::HashSet;

use secretctl_runner::{Home, Limits};

use super::RunError;
use super::agent::{AgentDoor, RunRequest};
use super::hide;
use super::jail::{NETWORK_LAYER, trusted_dirs};
use super::plan::{self, Start};
use super::program::{Program, TrustedPath};
use super::run::Job;
use super::selection::{self, Selected};
use super::short::AGENT_MIN_BYTES;
use super::words::{COMMAND_MAX_BYTES, WORDS_MAX, Words};
use crate::audit::{Action, Detail, Module, Outcome, Recorded};
use crate::name::{KeyPattern, SecretName};
use crate::policy::{
    self, Decision, Denial, Grant, Key, Moment, Network, PinnedModule, Policy, Purpose, Request,
};
use crate::time;
use crate::vault::Entry;
use crate::wasm::{CustomSanitizer, Identity};

/// Longest name of an agent, in characters: it is the client's own choice.
const AGENT_MAX_CHARACTERS: usize = 128;
/// Bytes of a command that a record keeps: all of every command that can run, and less than a record holds even if each byte
/// takes six in JSON.
const COMMAND_LOGGED_MAX_BYTES: usize = COMMAND_MAX_BYTES + WORDS_MAX;
/// Bytes that a record keeps of any other text of an agent's choice: the longest path.
const TEXT_LOGGED_MAX_BYTES: usize = 4096;

impl AgentDoor {
    /// Gathers the facts about a command, asks the policy, and records its yes.
    pub(super) fn decide(
        &self,
        agent: &str,
        request: &RunRequest,
    ) -> Result<(Recorded<Grant>, Job), RunError> {
        let broker = &self.broker;
        let policy = broker.policy()?;
        let words = Words::parse(&request.command, &request.arguments)?;
        let place = self.project.place(&words.program, request.cwd.as_deref())?;
        let path = TrustedPath::new(trusted_dirs(&policy));
        let program = path.find(&place.program, &broker.names)?;
        let aliases = request.env.as_deref().map(|env| (&*policy, env));
        let names = || Ok(broker.vault().names()?);
        let selected = selection::select(&request.keys, aliases, names)?;

        let command = policy::Command {
            program: Program::facts(place.requested.clone(), program.as_ref()),
            arguments: words.arguments.clone(),
        };
        let question = Request {
            command: Some(command),
            directory: place.directory.clone(),
            timeout: request.timeout,
            ..question(Purpose::Inject, agent, self.keys(&selected)?)
        };
        let grant = match self.judge(&policy, &question)? {
            Decision::Allow(grant) => grant,
            Decision::Ask(question) => return Err(RunError::NeedsApproval(question)),
            Decision::Deny(denial) => return Err(RunError::Denied(denial)),
        };
        let program = program.ok_or(RunError::ProgramNotFound(words.program))?;
        let granted = |one: &Selected| grant.keys.contains(&one.name);
        let selected: Vec<Selected> = selected.into_iter().filter(granted).collect();
        self.require_usable(request, &selected)?;
        let variables = selection::variables(&selected, request.env_prefix.as_ref())?;

        let directory = self.project.working_directory(&place, grant.workdir)?;
        let sanitizers = self.sanitizers(&policy)?;
        let confinement = self.jail(&policy, Some(&program), &directory, grant.network)?;
        let mut detail = Detail {
            rule: Some(grant.rule.clone()),
            directory: place.directory.clone(),
            modules: self.modules(&policy, &sanitizers)?,
            ..detail(agent, request)
        };
        // Only to keep them out of the log, and to find out what cannot be hidden: nothing of them goes anywhere from here.
        let values = broker.reveal(&selected, &variables, AGENT_MIN_BYTES)?;
        broker.hide_in_detail(&hide::named(&values), &mut detail)?;
        drop(values);
        limit(&mut detail, 1);
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
        let keys = selected.iter().map(|one| one.name.clone()).collect();
        let entry = broker.entry(Action::SecretRun, Outcome::Success, keys, detail.clone());
        let recorded = broker.record(entry, grant)?;
        Ok((
            recorded,
            Job {
                start,
                selected,
                variables,
                value_min_bytes: AGENT_MIN_BYTES,
                sanitizers,
                detail,
            },
        ))
    }

    /// Which of `entries` the agent may use for `purpose`. Without a usable policy file, all of them.
    pub(super) fn visible(
        &self,
        agent: &str,
        purpose: Purpose,
        entries: Vec<Entry>,
        named: bool,
    ) -> Result<Vec<Entry>, RunError> {
        let Ok(policy) = self.broker.policy() else {
            return Ok(entries);
        };
        let key = |entry: &Entry| Key {
            name: entry.name.clone(),
            named,
            tags: entry.metadata.tags.clone(),
        };
        let keys = entries.iter().map(key).collect();
        match self.judge(&policy, &question(purpose, agent, keys))? {
            Decision::Allow(grant) => {
                let granted: HashSet<SecretName> = grant.keys.into_iter().collect();
                Ok(entries
                    .into_iter()
                    .filter(|entry| granted.contains(&entry.name))
                    .collect())
            }
            Decision::Ask(question) => Err(RunError::NeedsApproval(question)),
            Decision::Deny(denial) => Err(RunError::Denied(denial)),
        }
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

    /// The built-in module's decision, and then that of each module of the policy file, as long as there is something left to
    /// decide on. Each gets to see only the keys that those before it granted.
    fn judge(&self, policy: &Policy, request: &Request) -> Result<Decision, RunError> {
        let host = self.broker.host()?;
        let built_in = host.policy().decide(policy.guest_document(), request);
        let mut decision = built_in.map_err(RunError::PolicyModule)?;
        for pinned in policy.modules() {
            let Some(grant) = decision.grant() else {
                break;
            };
            let granted: HashSet<&SecretName> = grant.keys.iter().collect();
            let mut left = request.clone();
            left.keys.retain(|key| granted.contains(&key.name));
            let module = host.custom().policy(&self.broker.dir, pinned)?;
            decision = decision.and(module.decide(&left)?);
            if let Some(denial) = withheld(pinned, &left, &decision) {
                decision = Decision::Deny(denial);
            }
        }
        Ok(decision)
    }

    /// The policy file's own sanitizers, ready to be started.
    fn sanitizers(&self, policy: &Policy) -> Result<Vec<CustomSanitizer>, RunError> {
        let custom = self.broker.host()?.custom();
        let load = |pinned| Ok(custom.sanitizer(&self.broker.dir, pinned)?);
        policy.sanitizers().iter().map(load).collect()
    }

    /// The modules that decide and those that hide, for the record.
    fn modules(
        &self,
        policy: &Policy,
        sanitizers: &[CustomSanitizer],
    ) -> Result<Vec<Module>, RunError> {
        let host = self.broker.host()?;
        let logged = |identity: &Identity| Module {
            name: identity.name.clone(),
            sha256: identity.sha256.clone(),
        };
        let policies = policy.modules().iter().map(|pinned| Module {
            name: pinned.path().to_owned(),
            sha256: pinned.sha256().to_owned(),
        });
        let sanitizers = sanitizers.iter().map(CustomSanitizer::identity);
        let sanitizers = std::iter::once(host.sanitizer().identity()).chain(sanitizers);
        Ok(std::iter::once(logged(host.policy().identity()))
            .chain(policies)
            .chain(sanitizers.map(logged))
            .collect())
    }

    /// The keys of a run, as policy sees them.
    fn keys(&self, selected: &[Selected]) -> Result<Vec<Key>, RunError> {
        let vault = self.broker.vault();
        let key = |one: &Selected| {
            let tags = vault
                .entry(&one.name)?
                .map(|entry| entry.metadata.tags)
                .unwrap_or_default();
            Ok(Key {
                name: one.name.clone(),
                named: one.named,
                tags,
            })
        };
        selected.iter().map(key).collect()
    }

    /// Every secret is there and valid; a pattern has found something.
    fn require_usable(&self, request: &RunRequest, selected: &[Selected]) -> Result<(), RunError> {
        if selected.is_empty() {
            let patterns: Vec<_> = request.keys.iter().map(KeyPattern::as_str).collect();
            return Err(RunError::SecretNotFound(patterns.join(", ")));
        }
        let vault = self.broker.vault();
        for Selected { name, asked, .. } in selected {
            let missing = || RunError::SecretNotFound(asked.clone());
            let entry = vault.entry(name)?.ok_or_else(missing)?;
            if entry.is_expired(time::now()) {
                return Err(RunError::Expired(name.clone()));
            }
        }
        Ok(())
    }
}

/// The denial of a command that a module let run without a key that was named: it would run without what it asked for.
fn withheld(pinned: &PinnedModule, request: &Request, decision: &Decision) -> Option<Denial> {
    let grant = decision.grant()?;
    let mut named = request.keys.iter().filter(|key| key.named);
    let key = named.find(|key| !grant.keys.contains(&key.name))?;
    request.command.as_ref()?;
    Some(Denial {
        rule: pinned.path().to_owned(),
        reason: format!("the module {} does not grant {}", pinned.path(), key.name),
        remedy: String::new(),
    })
}

/// Adds to a record why something was refused or failed.
pub(super) fn refusal(error: &RunError, detail: &mut Detail) -> Outcome {
    detail.reason = Some(error.to_string());
    match error {
        RunError::Denied(denial) => {
            detail.rule = Some(denial.rule.clone());
            detail.remedy = Some(denial.remedy.clone()).filter(|remedy| !remedy.is_empty());
            Outcome::Denied
        }
        RunError::NeedsApproval(question) => {
            detail.rule = Some(question.grant.rule.clone());
            Outcome::Denied
        }
        RunError::Policy(_)
        | RunError::PolicyModule(_)
        | RunError::Module(_)
        | RunError::TooShort(_)
        | RunError::Program { .. }
        | RunError::Directory(_) => Outcome::Denied,
        _ => Outcome::Error,
    }
}

/// A request without a command.
fn question(purpose: Purpose, agent: &str, keys: Vec<Key>) -> Request {
    let now = time::now();
    Request {
        purpose,
        agent: label(agent),
        keys,
        command: None,
        directory: None,
        timeout: None,
        time: Moment {
            unix_seconds: now.unsigned_abs(),
            utc_offset_minutes: time::utc_offset_minutes(now),
        },
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
fn required_layers(policy: &Policy, grant: &Grant) -> Vec<String> {
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
        .filter(|c| !c.is_control())
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
            workdir: policy::Workdir::Temporary,
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
