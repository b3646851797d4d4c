//! The decision, in the order of the rules: built-in blocks, `denied_commands`, `denied_keys`, `allowed_keys`, `capabilities`,
//! `allowed_commands`, `default_action`.
//!
//! All of them are looked at, so that a remedy is one for the whole request; the first that refuses is the one that decided.
//! What is said about a key depends on its name alone, never on whether the vault holds it.

use crate::command::{self, Allowed, cut, shown};
use crate::document::{
    self, AgentPolicy, Approval, Capability, CommandRule, DefaultAction, Document,
};
use crate::keys;
use crate::refusal::{Refusal, denial};
use crate::remedy::{self, quote};
use crate::types::{
    Command, Decision, Denial, Grant, Key, Network, Purpose, Question, Request, Workdir,
};

/// Longest question, in characters: the host takes no longer text.
const QUESTION_MAX: usize = 1000;

/// Decides on a request.
pub(crate) fn decide(document: &Document, request: &Request) -> Decision {
    let rights = Rights::of(document, &request.agent);
    match (request.purpose, &request.command) {
        (Purpose::Reference, _) => reference(document, request, &rights),
        (Purpose::Masked, _) => masked(document, request, &rights),
        (Purpose::Inject, Some(command)) => inject(document, request, command, &rights),
        (Purpose::Inject, None) => usable(document, request, &rights),
    }
}

/// The answer of a module that has no document.
pub(crate) fn unconfigured() -> Decision {
    deny("configure", "the policy module has no rules")
}

fn deny(rule: &str, reason: &str) -> Decision {
    Decision::Deny(Denial {
        rule: rule.to_owned(),
        reason: reason.to_owned(),
        remedy: String::new(),
    })
}

fn reference(document: &Document, request: &Request, rights: &Rights<'_>) -> Decision {
    let able = rights.lacks(Capability::ReferenceOnly, request).is_none();
    let keys = if able {
        rights.visible(&request.keys)
    } else {
        Vec::new()
    };
    Decision::Allow(grant(document, request, keys, None, rights.rule()))
}

/// Which keys a run may get at all. The host asks before it follows a pattern, and looks for it among these only: then hidden keys
/// make no difference to anything that comes after, nor to how long it takes.
fn usable(document: &Document, request: &Request, rights: &Rights<'_>) -> Decision {
    let able = rights.lacks(Capability::EnvInject, request).is_none();
    let keys = if able {
        rights.visible(&request.keys)
    } else {
        Vec::new()
    };
    Decision::Allow(grant(document, request, keys, None, rights.rule()))
}

fn masked(document: &Document, request: &Request, rights: &Rights<'_>) -> Decision {
    let lacks = rights.lacks(Capability::MaskedReturn, request);
    match denial(lacks.into_iter().collect()) {
        Some(denial) => Decision::Deny(denial),
        None => {
            let keys = rights.visible(&request.keys);
            Decision::Allow(grant(document, request, keys, None, rights.rule()))
        }
    }
}

fn inject(
    document: &Document,
    request: &Request,
    command: &Command,
    rights: &Rights<'_>,
) -> Decision {
    let mut refusals = command::refuse(document, command);
    refusals.extend(rights.hidden(request));
    refusals.extend(rights.lacks(Capability::EnvInject, request));
    let keys = rights.visible(&request.keys);

    // Those that were named and are hidden are refused above, but the remedy has to see to them here as well.
    let used = request
        .keys
        .iter()
        .filter(|key| key.named || keys.contains(&key.name));
    let used: Vec<&str> = used.map(|key| key.name.as_str()).collect();
    let (rule, name) = match command::allowed(document, command, &used) {
        Allowed::By(index, rule) => (
            Some(rule),
            format!("allowed_commands[{index}]: {}", rule.command),
        ),
        Allowed::Lacking(index, rule, missing) => {
            refusals.push(lacking(index, rule, &missing, command));
            (None, String::new())
        }
        Allowed::Unnamed => match document.default_action {
            DefaultAction::Deny => {
                refusals.push(not_allowed(command));
                (None, String::new())
            }
            DefaultAction::Ask => (None, "default_action: ask".to_owned()),
            DefaultAction::Allow => (None, "default_action: allow".to_owned()),
        },
    };
    refusals.extend(not_found(command));
    if let Some(denial) = denial(refusals) {
        return Decision::Deny(denial);
    }
    let asks = match rule {
        Some(rule) => matches!(rule.approval, Some(Approval::Ask)),
        None => matches!(document.default_action, DefaultAction::Ask),
    };
    if asks {
        let text = question(request, command, &keys);
        let grant = grant(document, request, keys, rule, name);
        return Decision::Ask(Question { text, grant });
    }
    Decision::Allow(grant(document, request, keys, rule, name))
}

/// What the key rules give an agent.
enum Rights<'d> {
    /// The file has no `policies`.
    All,
    /// The first of `policies` that means the agent.
    Some(usize, &'d AgentPolicy),
    /// None of `policies` means the agent.
    None,
}

impl<'d> Rights<'d> {
    fn of(document: &'d Document, agent: &str) -> Rights<'d> {
        let Some(policies) = &document.policies else {
            return Rights::All;
        };
        let mut entries = policies.iter().enumerate();
        match entries.find(|(_, policy)| keys::matches_agent(&policy.agent_id, agent)) {
            Some((index, policy)) => Rights::Some(index, policy),
            None => Rights::None,
        }
    }

    fn rule(&self) -> String {
        match self {
            Rights::All => "no policies".to_owned(),
            Rights::Some(index, policy) => format!("policies[{index}] {}", policy.name),
            Rights::None => "policies".to_owned(),
        }
    }

    fn visible(&self, keys: &[Key]) -> Vec<String> {
        keys.iter()
            .filter(|key| self.hides(&key.name).is_none())
            .map(|key| key.name.clone())
            .collect()
    }

    /// The rule that keeps the agent from using a key.
    fn hides(&self, key: &str) -> Option<String> {
        let policy = match self {
            Rights::All => return None,
            Rights::None => return Some(self.rule()),
            Rights::Some(_, policy) => policy,
        };
        let mut denied = policy.denied_keys.iter().enumerate();
        if let Some((i, pattern)) = denied.find(|(_, pattern)| keys::covers(pattern, key)) {
            return Some(format!("{}: denied_keys[{i}] {pattern}", self.rule()));
        }
        let is_allowed = |pattern: &String| keys::matches(pattern, key);
        let hidden = !policy.allowed_keys.iter().any(is_allowed);
        hidden.then(|| format!("{}: allowed_keys", self.rule()))
    }

    /// Why a run is refused for keys that the agent named and may not use, as is any run of an agent that has no rights.
    fn hidden(&self, request: &Request) -> Option<Refusal> {
        let agent = cut(&request.agent.escape_debug().to_string(), QUESTION_MAX);
        let named = request.keys.iter().filter(|key| key.named);
        let hidden: Vec<(&str, String)> = named
            .filter_map(|key| Some((key.name.as_str(), self.hides(&key.name)?)))
            .collect();
        let (rule, what) = match (hidden.first(), self) {
            (Some((key, rule)), _) => (rule.clone(), format!("no key '{key}' is")),
            (None, Rights::None) => (self.rule(), "no key is".to_owned()),
            (None, _) => return None,
        };
        let reason = format!("secret not found: {what} available to agent '{agent}'");
        let Rights::Some(index, policy) = self else {
            let changes = remedy::add_agent(request, "env_inject");
            return Some(match changes {
                Some(change) => Refusal::new(rule, reason, [change]),
                None => Refusal::for_good(rule, reason),
            });
        };
        let hidden = hidden.iter().map(|(key, _)| *key).collect();
        Some(Refusal::new(rule, reason, opened(*index, policy, hidden)))
    }

    fn lacks(&self, capability: Capability, request: &Request) -> Option<Refusal> {
        let Rights::Some(index, policy) = self else {
            return None;
        };
        if policy.capabilities.contains(&capability) {
            return None;
        }
        let (word, use_of_it) = match capability {
            Capability::EnvInject => ("env_inject", "run commands with secrets"),
            Capability::ReferenceOnly => ("reference_only", "learn which secrets exist"),
            Capability::MaskedReturn => ("masked_return", "see masked values"),
        };
        Some(Refusal::new(
            format!("{}: capabilities", self.rule()),
            format!(
                "agent '{}' may not {use_of_it}: it lacks {word}",
                request.agent.escape_debug()
            ),
            [remedy::add(
                &format!("policies[{index}].capabilities"),
                word,
            )],
        ))
    }
}

/// The changes that open these keys to the agents of a policy.
fn opened(index: usize, policy: &AgentPolicy, keys: Vec<&str>) -> Vec<String> {
    let list = |name: &str| format!("policies[{index}].{name}");
    let covers = |pattern: &&String| keys.iter().any(|key| keys::covers(pattern, key));
    let denied = policy.denied_keys.iter().filter(covers);
    let mut changes: Vec<String> = denied
        .map(|pattern| remedy::remove(&list("denied_keys"), &quote(pattern)))
        .collect();
    for key in keys {
        if !policy
            .allowed_keys
            .iter()
            .any(|pattern| keys::matches(pattern, key))
        {
            changes.push(remedy::add(&list("allowed_keys"), &quote(key)));
        }
    }
    changes
}

fn grant(
    document: &Document,
    request: &Request,
    keys: Vec<String>,
    rule: Option<&CommandRule>,
    name: String,
) -> Grant {
    let asked = request
        .timeout_ms
        .unwrap_or(document.timeout_default_ms)
        .min(document.timeout_max_ms);
    let of_rule = rule.and_then(|rule| rule.timeout_ms).unwrap_or(u64::MAX);
    Grant {
        keys,
        timeout_ms: asked.min(of_rule),
        output_bytes: document.output_bytes,
        network: match rule.map(|rule| rule.network) {
            Some(document::Network::None) => Network::None,
            Some(document::Network::Allow) | None => Network::Allow,
        },
        workdir: match document.workdir {
            document::Workdir::Project => Workdir::Project,
            document::Workdir::Temporary if is_of_project(request) => Workdir::Project,
            document::Workdir::Temporary => Workdir::Temporary,
        },
        expand_arguments: rule.is_none_or(|rule| rule.expand),
        rule: name,
    }
}

/// A program named by its place in the project, such as `./deploy.sh`, is one that works there.
fn is_of_project(request: &Request) -> bool {
    request.command.as_ref().is_some_and(|command| {
        let requested = &command.program.requested;
        requested.contains('/') && !requested.starts_with('/')
    })
}

fn question(request: &Request, command: &Command, keys: &[String]) -> String {
    let agent = request.agent.escape_debug();
    let words = std::iter::once(&command.program.requested).chain(&command.arguments);
    let line = words
        .map(|word| word.escape_debug().to_string())
        .collect::<Vec<_>>()
        .join(" ");
    let text = format!(
        "Allow agent '{agent}' to run `{line}` with the secrets {}?",
        keys.join(", ")
    );
    cut(&text, QUESTION_MAX)
}

fn not_allowed(command: &Command) -> Refusal {
    let rule = "default_action: deny";
    let reason = format!("command not allowed: {}", shown(command));
    match remedy::allow(command) {
        Some(change) => Refusal::new(rule, reason, [change]),
        None => Refusal::for_good(rule, reason),
    }
}

fn lacking(index: usize, rule: &CommandRule, missing: &[String], command: &Command) -> Refusal {
    let first = missing.first().map_or("", String::as_str);
    let list = format!("allowed_commands[{index}].keys");
    Refusal::new(
        format!("allowed_commands[{index}]: {}", rule.command),
        format!("command not allowed: {} with key '{first}'", shown(command)),
        missing.iter().map(|key| remedy::add(&list, &quote(key))),
    )
}

fn not_found(command: &Command) -> Option<Refusal> {
    let program = shown(command);
    if command.program.path.is_some() {
        return None;
    }
    if command.program.requested.contains('/') {
        let reason = format!("program not found: {program}");
        return Some(Refusal::for_good("program", reason));
    }
    Some(Refusal::new(
        "program",
        format!("program not found: {program} is in none of the trusted directories"),
        [format!("add the directory of {program} to trusted_dirs")],
    ))
}
