//! The decision, in the order of the rules: built-in blocks, `denied_commands`, `denied_keys`, `allowed_keys`, `capabilities`,
//! `allowed_commands`, `default_action`.
//!
//! What is said about a key depends on its name alone, never on whether the vault holds it.

use crate::command::{self, Allowed, shown};
use crate::document::{self, AgentPolicy, Capability, CommandRule, DefaultAction, Document};
use crate::keys;
use crate::types::{
    Command, Decision, Denial, Grant, Key, Network, Purpose, Question, Request, Workdir,
};

/// Decides on a request.
pub(crate) fn decide(document: &Document, request: &Request) -> Decision {
    let rights = Rights::of(document, &request.agent);
    let answer = match request.purpose {
        Purpose::Reference => Ok(reference(document, request, &rights)),
        Purpose::Masked => masked(document, request, &rights),
        Purpose::Inject => inject(document, request, &rights),
    };
    answer.unwrap_or_else(Decision::Deny)
}

/// The answer of a module that has no document.
pub(crate) fn unconfigured() -> Decision {
    Decision::Deny(Denial {
        rule: "configure".to_owned(),
        reason: "the policy module has no rules".to_owned(),
        remedy: String::new(),
    })
}

fn reference(document: &Document, request: &Request, rights: &Rights<'_>) -> Decision {
    let able = rights
        .ensure(Capability::ReferenceOnly, &request.agent)
        .is_ok();
    let keys = if able {
        rights.visible(&request.keys)
    } else {
        Vec::new()
    };
    Decision::Allow(grant(document, request, keys, None, rights.rule()))
}

fn masked(document: &Document, request: &Request, rights: &Rights<'_>) -> Result<Decision, Denial> {
    rights.ensure(Capability::MaskedReturn, &request.agent)?;
    let keys = rights.visible(&request.keys);
    Ok(Decision::Allow(grant(
        document,
        request,
        keys,
        None,
        rights.rule(),
    )))
}

fn inject(document: &Document, request: &Request, rights: &Rights<'_>) -> Result<Decision, Denial> {
    let command = request.command.as_ref().ok_or_else(|| Denial {
        rule: "request".to_owned(),
        reason: "the request has no command".to_owned(),
        remedy: String::new(),
    })?;
    command::refuse(document, command)?;
    rights.ensure_named(request)?;
    rights.ensure(Capability::EnvInject, &request.agent)?;
    let keys = rights.visible(&request.keys);

    let (rule, name) = match command::allowed(document, command, &keys) {
        Allowed::By(index, rule) => (
            Some(rule),
            format!("allowed_commands[{index}]: {}", rule.command),
        ),
        Allowed::Lacking(index, rule, key) => return Err(lacking(index, rule, &key, command)),
        Allowed::Unnamed => match document.default_action {
            DefaultAction::Deny => return Err(not_allowed(command)),
            DefaultAction::Ask => (None, "default_action: ask".to_owned()),
            DefaultAction::Allow => (None, "default_action: allow".to_owned()),
        },
    };
    ensure_found(command)?;
    let text = question(request, command, &keys);
    let grant = grant(document, request, keys, rule, name);
    match (rule, document.default_action) {
        (None, DefaultAction::Ask) => Ok(Decision::Ask(Question { text, grant })),
        _ => Ok(Decision::Allow(grant)),
    }
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

    /// The rule that keeps the agent from using a key, and the change that would let it.
    fn hides(&self, key: &str) -> Option<(String, String)> {
        let (index, policy) = match self {
            Rights::All => return None,
            Rights::None => return Some((self.rule(), String::new())),
            Rights::Some(index, policy) => (index, policy),
        };
        let mut denied = policy.denied_keys.iter().enumerate();
        if let Some((i, pattern)) = denied.find(|(_, pattern)| keys::covers(pattern, key)) {
            let rule = format!("{}: denied_keys[{i}] {pattern}", self.rule());
            return Some((
                rule,
                format!("remove \"{pattern}\" from denied_keys of policies[{index}]"),
            ));
        }
        if policy
            .allowed_keys
            .iter()
            .any(|pattern| keys::matches(pattern, key))
        {
            return None;
        }
        let remedy = format!("add \"{key}\" to allowed_keys of policies[{index}]");
        Some((format!("{}: allowed_keys", self.rule()), remedy))
    }

    /// Refuses a run for keys that the agent named and may not use, and any run of an agent that has no rights.
    fn ensure_named(&self, request: &Request) -> Result<(), Denial> {
        let agent = request.agent.escape_debug();
        let named = request.keys.iter().filter(|key| key.named);
        let hidden = named
            .map(|key| (key, self.hides(&key.name)))
            .find_map(|(key, rule)| Some((key, rule?)));
        if let Some((key, (rule, remedy))) = hidden {
            let name = &key.name;
            let reason =
                format!("secret not found: no key '{name}' is available to agent '{agent}'");
            return Err(Denial {
                rule,
                reason,
                remedy: if remedy.is_empty() {
                    add_agent(request)
                } else {
                    remedy
                },
            });
        }
        match self {
            Rights::None => Err(Denial {
                rule: self.rule(),
                reason: format!("secret not found: no key is available to agent '{agent}'"),
                remedy: add_agent(request),
            }),
            _ => Ok(()),
        }
    }

    fn ensure(&self, capability: Capability, agent: &str) -> Result<(), Denial> {
        let Rights::Some(index, policy) = self else {
            return Ok(());
        };
        if policy.capabilities.contains(&capability) {
            return Ok(());
        }
        let (word, use_of_it) = match capability {
            Capability::EnvInject => ("env_inject", "run commands with secrets"),
            Capability::ReferenceOnly => ("reference_only", "learn which secrets exist"),
            Capability::MaskedReturn => ("masked_return", "see masked values"),
        };
        Err(Denial {
            rule: format!("{}: capabilities", self.rule()),
            reason: format!(
                "agent '{}' may not {use_of_it}: it lacks {word}",
                agent.escape_debug()
            ),
            remedy: format!("add {word} to capabilities of policies[{index}]"),
        })
    }
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
    format!(
        "Allow agent '{agent}' to run `{line}` with the secrets {}?",
        keys.join(", ")
    )
}

fn not_allowed(command: &Command) -> Denial {
    let program = shown(command);
    Denial {
        rule: "default_action: deny".to_owned(),
        reason: format!("command not allowed: {program}"),
        remedy: format!("add \"{program}\" to allowed_commands"),
    }
}

fn lacking(index: usize, rule: &CommandRule, key: &str, command: &Command) -> Denial {
    Denial {
        rule: format!("allowed_commands[{index}]: {}", rule.command),
        reason: format!("command not allowed: {} with key '{key}'", shown(command)),
        remedy: format!("add \"{key}\" to keys of allowed_commands[{index}]"),
    }
}

fn ensure_found(command: &Command) -> Result<(), Denial> {
    let program = shown(command);
    match (
        &command.program.path,
        command.program.requested.contains('/'),
    ) {
        (Some(_), _) => Ok(()),
        (None, true) => Err(Denial {
            rule: "program".to_owned(),
            reason: format!("program not found: {program}"),
            remedy: String::new(),
        }),
        (None, false) => Err(Denial {
            rule: "program".to_owned(),
            reason: format!("program not found: {program} is in none of the trusted directories"),
            remedy: format!("add the directory of {program} to trusted_dirs"),
        }),
    }
}

fn add_agent(request: &Request) -> String {
    format!(
        "add an entry with agent_id \"{}\" to policies",
        request.agent.escape_debug()
    )
}
