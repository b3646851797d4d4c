//! Which records are wanted: what the database can tell by its columns, and what only the opened record shows.

use std::str::FromStr;

use rusqlite::types::Value;

use super::entry::{Action, FINGERPRINT_BYTES, Outcome, Source, fingerprint};
use super::{Keys, Record};
use crate::crypto::CryptoError;
use crate::name::{KeyPattern, SecretName};

/// Which records are wanted. All that is given must be true of a record.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only so many, the newest; none for all.
    pub limit: Option<u32>,
    /// Not before this time, in nanoseconds since 1970.
    pub since_ns: Option<i64>,
    /// Not after this time, in nanoseconds since 1970.
    pub until_ns: Option<i64>,
    /// Only of these actions.
    pub actions: Option<Actions>,
    /// Only with this outcome.
    pub outcome: Option<Outcome>,
    /// Only from this door.
    pub source: Option<Source>,
    /// Only about a secret of this name. A pattern has to open every record.
    pub key: Option<KeyPattern>,
    /// Only of this agent.
    pub agent: Option<String>,
    /// Only the record with this ULID.
    pub id: Option<String>,
    /// Only the record at this place in the chain.
    pub sequence: Option<i64>,
    /// Only records behind this place in the chain.
    pub after: Option<i64>,
}

/// One action, or all that begin alike: `secret.run`, `secret.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actions(String);

impl FromStr for Actions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = || Action::ALL.iter().map(|action| action.as_str());
        let is_start = text.ends_with('.') && all().any(|word| word.starts_with(text));
        if is_start || all().any(|word| word == text) {
            return Ok(Self(text.to_owned()));
        }
        let all: Vec<&str> = all().collect();
        Err(format!(
            "the actions are {}; one that ends in a dot, such as secret., stands for all that begin so",
            all.join(", ")
        ))
    }
}

impl Actions {
    /// A pattern of SQLite's GLOB. The words of the log have none of its special characters.
    fn glob(&self) -> String {
        let Self(text) = self;
        if text.ends_with('.') {
            format!("{text}*")
        } else {
            text.clone()
        }
    }
}

impl Filter {
    /// What the database is asked: conditions, and their parameters in order.
    pub(super) fn conditions(&self, keys: &Keys) -> Result<(String, Vec<Value>), CryptoError> {
        let word = |word: &str| Value::Text(word.to_owned());
        let name = self.key.as_ref().and_then(KeyPattern::exact);
        let all = [
            ("time_ns >= ?", self.since_ns.map(Value::Integer)),
            ("time_ns <= ?", self.until_ns.map(Value::Integer)),
            (
                "action GLOB ?",
                self.actions
                    .as_ref()
                    .map(|actions| Value::Text(actions.glob())),
            ),
            (
                "result = ?",
                self.outcome.map(|outcome| word(outcome.as_str())),
            ),
            (
                "source = ?",
                self.source.map(|source| word(source.as_str())),
            ),
            ("id = ?", self.id.as_deref().map(word)),
            ("sequence = ?", self.sequence.map(Value::Integer)),
            ("sequence > ?", self.after.map(Value::Integer)),
        ];
        let given = all
            .into_iter()
            .filter_map(|(condition, value)| Some((condition.to_owned(), value?)));
        let (mut conditions, mut values): (Vec<String>, Vec<Value>) = given.unzip();
        if let Some(name) = name {
            let prints = fingerprints(keys, &name)?;
            let any = vec!["instr(keys, ?) > 0"; prints.len()].join(" OR ");
            conditions.push(format!("({any})"));
            values.extend(prints);
        }
        let conditions = if conditions.is_empty() {
            "true".to_owned()
        } else {
            conditions.join(" AND ")
        };
        Ok((conditions, values))
    }

    /// Whether a record that meets the conditions has to be opened to know whether it is wanted.
    pub(super) fn needs_opening(&self) -> bool {
        self.agent.is_some() || self.pattern().is_some()
    }

    /// Whether a record that meets the conditions is wanted.
    pub(super) fn wants(&self, record: &Record) -> bool {
        let is_agent = |agent: &String| record.detail.agent.as_ref() == Some(agent);
        let has_key = |pattern: &KeyPattern| record.keys.iter().any(|key| pattern.matches(key));
        self.agent.as_ref().is_none_or(is_agent) && self.pattern().is_none_or(has_key)
    }

    /// A pattern that is more than one name.
    fn pattern(&self) -> Option<&KeyPattern> {
        self.key
            .as_ref()
            .filter(|pattern| pattern.exact().is_none())
    }
}

/// What stands for the name in the records of any epoch.
fn fingerprints(keys: &Keys, name: &SecretName) -> Result<Vec<Value>, CryptoError> {
    let epochs = keys.epochs.all();
    let prints = epochs.iter().map(|epoch| fingerprint(epoch, name));
    let mut prints = prints.collect::<Result<Vec<_>, _>>()?;
    prints.dedup();
    let blob = |print: [u8; FINGERPRINT_BYTES]| Value::Blob(print.to_vec());
    Ok(prints.into_iter().map(blob).collect())
}
