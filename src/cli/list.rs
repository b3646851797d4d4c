//! `secretctl list`

use serde::Serialize;

use super::args::ListArgs;
use super::failure::Failure;
use super::output;
use super::tree;
use super::unlock::Access;
use crate::time;
use crate::vault::Entry;

/// A secret without its value, as JSON.
#[derive(Serialize)]
struct Listed<'a> {
    key: &'a str,
    fields: Vec<&'a str>,
    #[serde(flatten)]
    beside: Beside<'a>,
}

/// What stands beside the values, as JSON.
#[derive(Serialize)]
pub(super) struct Beside<'a> {
    tags: Vec<&'a str>,
    notes: Option<&'a str>,
    url: Option<&'a str>,
    expires_at: Option<String>,
    created_at: String,
    updated_at: String,
}

impl<'a> From<&'a Entry> for Listed<'a> {
    fn from(entry: &'a Entry) -> Self {
        let metadata = &entry.metadata;
        Self {
            key: entry.name.as_str(),
            fields: metadata
                .fields
                .iter()
                .map(|field| field.name.as_str())
                .collect(),
            beside: entry.into(),
        }
    }
}

impl<'a> From<&'a Entry> for Beside<'a> {
    fn from(entry: &'a Entry) -> Self {
        let metadata = &entry.metadata;
        Self {
            tags: metadata.tags.iter().map(|tag| tag.as_str()).collect(),
            notes: metadata.notes.as_deref(),
            url: metadata.url.as_deref(),
            expires_at: metadata.expires_at.map(time::rfc3339),
            created_at: time::rfc3339(entry.created_at),
            updated_at: time::rfc3339(entry.updated_at),
        }
    }
}

pub(super) fn run(access: &Access, args: &ListArgs) -> Result<u8, Failure> {
    let door = access.door()?;
    let limit = args
        .expiring
        .map(|span| time::now().saturating_add_unsigned(span.0.as_secs()));
    let wanted = |entry: &Entry| {
        let metadata = &entry.metadata;
        args.tag
            .as_ref()
            .is_none_or(|tag| metadata.tags.contains(tag))
            && args
                .prefix
                .as_ref()
                .is_none_or(|folder| is_within(entry.name.as_str(), folder))
            && limit.is_none_or(|limit| metadata.expires_at.is_some_and(|at| at <= limit))
    };
    let entries: Vec<Entry> = door.entries()?.into_iter().filter(wanted).collect();
    if args.json {
        return output::json(&entries.iter().map(Listed::from).collect::<Vec<_>>());
    }
    if entries.is_empty() {
        output::done("No secrets found.");
    }
    if args.tree {
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        return output::result(tree::draw(&names).as_bytes());
    }
    let width = entries
        .iter()
        .map(|entry| entry.name.as_str().len())
        .max()
        .unwrap_or_default();
    let line = |entry: &Entry| {
        if output::is_terminal() {
            table_line(entry, width)
        } else {
            format!("{}\n", entry.name)
        }
    };
    output::result(entries.iter().map(line).collect::<String>().as_bytes())
}

/// Whether a secret has that name, or one that begins with its parts.
fn is_within(name: &str, folder: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    folder.is_empty()
        || name
            .strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn table_line(entry: &Entry, width: usize) -> String {
    let tags: Vec<&str> = entry.metadata.tags.iter().map(|tag| tag.as_str()).collect();
    let expires = entry
        .metadata
        .expires_at
        .map(|at| format!("expires {}", time::rfc3339(at)))
        .unwrap_or_default();
    let line = format!(
        "{:width$}  {}  {expires}",
        entry.name.as_str(),
        tags.join(",")
    );
    format!("{}\n", line.trim_end())
}
