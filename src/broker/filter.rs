//! A person's filter: text of any origin goes through the sanitizer, and the log says what was hidden in it.

use super::person::PersonDoor;
use super::run::logged;
use super::short::{Short, shortness};
use super::{Broker, RunError};
use crate::audit::{Action, Detail, Outcome};
use crate::name::{KeyPattern, SecretName};
use crate::sanitize::{Channel, Sanitized, Sanitizer, Withheld};
use crate::wasm::SanitizerRun;

/// A sanitizer at work on a text.
pub struct Filtering<'a> {
    broker: &'a Broker,
    sanitizer: Sanitizer<SanitizerRun>,
    keys: Vec<SecretName>,
    /// The record of its beginning.
    decision: String,
    short: Vec<SecretName>,
}

impl PersonDoor {
    /// Begins to filter out the secrets that `patterns` mean.
    pub fn filter(&self, patterns: &[KeyPattern]) -> Result<Filtering<'_>, RunError> {
        let names: Vec<SecretName> = (self.select(patterns, None)?.into_iter())
            .map(|one| one.name)
            .collect();
        let (decision, found) = self.reveal(Action::SecretFilter, names.clone())?;
        let is_short = |value| shortness(value) == Some(Short::Unusable);
        let short = (found.iter())
            .filter(|(_, fields)| fields.sensitive().any(is_short))
            .map(|(entry, _)| entry.name.clone())
            .collect();
        let secrets = found.iter().flat_map(|(entry, fields)| {
            let name = entry.name.as_str();
            fields.sensitive().map(move |value| (name, value))
        });
        Ok(Filtering {
            broker: &self.broker,
            sanitizer: self.broker.sanitizer(secrets)?,
            keys: names,
            decision,
            short,
        })
    }
}

impl Filtering<'_> {
    /// Secrets with a value of fewer than 4 bytes, which cannot be hidden well.
    pub fn short(&self) -> &[SecretName] {
        &self.short
    }

    /// Takes the next bytes and gives what can be shown by now.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Sanitized, RunError> {
        let shown = self.sanitizer.push(Channel::Stdout, chunk);
        shown.or_else(|withheld| Err(self.failed(withheld)?))
    }

    /// Records what was hidden, and gives the rest.
    pub fn finish(mut self) -> Result<Sanitized, RunError> {
        let rest = self.sanitizer.finish(Channel::Stdout);
        let rest = rest.or_else(|withheld| Err(self.failed(withheld)?))?;
        let redactions = self.sanitizer.redactions();
        self.note(
            Outcome::Success,
            Detail {
                redactions: redactions.iter().map(logged).collect(),
                ..Detail::default()
            },
        )?;
        Ok(rest)
    }

    fn failed(&self, withheld: Withheld) -> Result<RunError, RunError> {
        let detail = Detail {
            reason: Some(withheld.to_string()),
            ..Detail::default()
        };
        self.note(Outcome::Error, detail)?;
        Ok(withheld.into())
    }

    fn note(&self, outcome: Outcome, detail: Detail) -> Result<(), RunError> {
        let detail = Detail {
            decision: Some(self.decision.clone()),
            ..detail
        };
        let keys = self.keys.clone();
        let action = Action::SecretFilterOutcome;
        (self.broker).note(self.broker.entry(action, outcome, keys, detail))
    }
}
