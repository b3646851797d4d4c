//! The entry of this server as it stands in a client's file.

use serde_json::Value;

use super::document::at;
use super::entry::{NAME, PASSWORD};
use super::table::Client;

/// What it says.
pub(super) struct Found {
    pub(super) command: Option<String>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
}

impl Found {
    pub(super) fn of(whole: &Value, client: &Client) -> Option<Self> {
        let entry = at(whole, &[client.servers, NAME])?;
        let word = |value: &Value| value.as_str().map(str::to_owned);
        let args = entry.get("args").and_then(Value::as_array);
        let env = entry.get("env").and_then(Value::as_object);
        let variable = |(name, value): (&String, &Value)| Some((name.clone(), word(value)?));
        Some(Self {
            command: entry.get("command").and_then(word),
            args: args.into_iter().flatten().filter_map(word).collect(),
            env: env.into_iter().flatten().filter_map(variable).collect(),
        })
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().find(|(variable, _)| variable == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Whether a password stands anywhere in a file: in our entry, in one of another name, in one for a single project.
pub(super) fn has_password(whole: &Value) -> bool {
    match whole {
        Value::Object(members) => members.iter().any(|(key, value)| {
            (key == PASSWORD && value.as_str().is_some_and(|text| !text.is_empty()))
                || has_password(value)
        }),
        Value::Array(values) => values.iter().any(has_password),
        _ => false,
    }
}
