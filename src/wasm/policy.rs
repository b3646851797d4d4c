//! The `policy` world: names and facts go in, a decision comes out.
//!
//! Each request gets a fresh instance, so no request can leave anything behind for a later one.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;

use self::exports::secretctl::guard::decisions as guest;
use super::limits::{self, Guest, Limits, Ticker};
use super::{Identity, Loaded, ModuleError};
use crate::name::SecretName;
use crate::policy::{
    Command, Decision, Denial, Grant, Key, Moment, Network, Program, Purpose, Question, Request,
    Workdir,
};
use crate::text::is_unseen;

wasmtime::component::bindgen!({
    path: "policy-modules/wit",
    world: "policy",
});

/// A decision takes some 10 µs; a module with much to look up may take a thousand times that.
const LIMITS: Limits = Limits {
    fuel: 200_000_000,
    deadline_epochs: 10,
    memory_bytes: 64 * 1024 * 1024,
};
/// Longest text in an answer, in bytes: it is shown to agents and stands in the audit log.
const TEXT_MAX_BYTES: usize = 4096;

/// A policy module, ready to decide.
pub struct PolicyModule {
    loaded: Loaded,
    exports: PolicyPre<Guest>,
    ticker: Arc<Ticker>,
}

impl PolicyModule {
    pub(super) fn new(loaded: Loaded, ticker: Arc<Ticker>) -> Result<Self, ModuleError> {
        let exports = PolicyPre::new(loaded.instance.clone()).map_err(ModuleError::host)?;
        Ok(Self {
            loaded,
            exports,
            ticker,
        })
    }

    /// What this module is, for audit records.
    pub fn identity(&self) -> &Identity {
        &self.loaded.identity
    }

    /// Asks a fresh instance, configured with `document`, about `request`.
    pub fn decide(&self, document: &str, request: &Request) -> Result<Decision, ModuleError> {
        self.decide_aloud(document, request).0
    }

    /// Asks, and gives what the instance wrote to its standard streams beside its answer.
    pub(super) fn decide_aloud(
        &self,
        document: &str,
        request: &Request,
    ) -> (Result<Decision, ModuleError>, String) {
        let _room = self.loaded.place.enter();
        let mut store = limits::store(&self.loaded, LIMITS);
        let decision = self.ask(&mut store, document, request);
        (decision, store.data().take_log())
    }

    fn ask(
        &self,
        mut store: &mut Store<Guest>,
        document: &str,
        request: &Request,
    ) -> Result<Decision, ModuleError> {
        limits::arm(store, LIMITS)?;
        let _call = self.ticker.call();
        let trap = |error: wasmtime::Error| ModuleError::trap(&error);
        let instance = self.exports.instantiate(&mut store).map_err(trap)?;
        let guest = instance.secretctl_guard_decisions();
        if let Some(problem) = guest
            .call_configure(&mut store, document)
            .map_err(trap)?
            .first()
        {
            let place = if problem.path.is_empty() {
                "its document"
            } else {
                &problem.path
            };
            return Err(ModuleError::answer(format!(
                "it refused {}: {}",
                one_line(place)?,
                one_line(&problem.message)?
            )));
        }
        let decision = guest
            .call_decide(&mut store, &lower(request))
            .map_err(trap)?;
        Ok(match decision {
            guest::Decision::Allow(grant) => Decision::Allow(lift_grant(grant, request)?),
            guest::Decision::Ask(question) => Decision::Ask(Question {
                text: text(&question.text)?,
                grant: lift_grant(question.grant, request)?,
            }),
            guest::Decision::Deny(denial) => Decision::Deny(Denial {
                rule: text(&denial.rule)?,
                reason: text(&denial.reason)?,
                remedy: text(&denial.remedy)?,
            }),
        })
    }
}

/// Takes a grant, if it is about nothing but what was asked for.
fn lift_grant(grant: guest::Grant, request: &Request) -> Result<Grant, ModuleError> {
    let requested: std::collections::HashSet<&str> =
        request.keys.iter().map(|key| key.name.as_str()).collect();
    if grant.keys.len() > request.keys.len() {
        return Err(ModuleError::answer(
            "it granted more keys than were asked for",
        ));
    }
    let keys = (grant.keys.into_iter())
        .map(|key| match key.parse::<SecretName>() {
            Ok(name) if requested.contains(name.as_str()) => Ok(name),
            _ => Err(ModuleError::answer(
                "it granted a key that was not asked for",
            )),
        })
        .collect::<Result<_, _>>()?;
    Ok(Grant {
        keys,
        timeout: Duration::from_millis(grant.timeout_ms),
        output_bytes: grant.output_bytes,
        network: match grant.network {
            guest::Network::Allow => Network::Allow,
            guest::Network::None => Network::None,
        },
        workdir: match grant.workdir {
            guest::Workdir::Temporary => Workdir::Temporary,
            guest::Workdir::Project => Workdir::Project,
        },
        expand_arguments: grant.expand_arguments,
        rule: text(&grant.rule)?,
    })
}

/// Takes a text of a guest: bounded, and one that cannot play tricks with a terminal.
fn text(text: &str) -> Result<String, ModuleError> {
    if text.len() > TEXT_MAX_BYTES {
        return Err(ModuleError::answer(format!(
            "it answered a text of more than {TEXT_MAX_BYTES} bytes"
        )));
    }
    Ok(text
        .chars()
        .map(|c| {
            if is_unseen(c) && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect())
}

/// Such a text on one line.
fn one_line(line: &str) -> Result<String, ModuleError> {
    Ok(text(line)?.replace('\n', " "))
}

fn lower(request: &Request) -> guest::Request {
    let Request {
        purpose,
        agent,
        keys,
        command,
        directory,
        timeout,
        time,
    } = request;
    guest::Request {
        purpose: match purpose {
            Purpose::Reference => guest::Purpose::Reference,
            Purpose::Masked => guest::Purpose::Masked,
            Purpose::Inject => guest::Purpose::Inject,
        },
        agent: agent.clone(),
        keys: keys.iter().map(lower_key).collect(),
        command: command.as_ref().map(lower_command),
        directory: directory.clone(),
        timeout_ms: timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        time: lower_moment(*time),
    }
}

fn lower_key(key: &Key) -> guest::Key {
    let tags = key.tags.iter().map(|tag| tag.as_str().to_owned()).collect();
    guest::Key {
        name: key.name.as_str().to_owned(),
        named: key.named,
        tags,
    }
}

fn lower_command(command: &Command) -> guest::Command {
    guest::Command {
        program: lower_program(&command.program),
        arguments: command.arguments.clone(),
        mentioned: command.mentioned.iter().map(lower_program).collect(),
    }
}

fn lower_program(program: &Program) -> guest::Program {
    let text = |path: &std::path::PathBuf| path.to_string_lossy().into_owned();
    guest::Program {
        requested: program.requested.clone(),
        path: program.path.as_ref().map(text),
        aliases: program.aliases.iter().map(text).collect(),
    }
}

fn lower_moment(moment: Moment) -> guest::Moment {
    guest::Moment {
        unix_seconds: moment.unix_seconds,
        utc_offset_minutes: moment.utc_offset_minutes,
    }
}
