//! Commands: what is blocked or denied under any of its names, and what a rule allows by the name that was asked for.

use crate::document::{CommandRule, Document};
use crate::nested::{self, file_name};
use crate::types::{Command, Denial};

/// Programs and shell words that print an environment, and so the secrets in it.
const BLOCKED: [&str; 5] = ["declare", "env", "export", "printenv", "set"];

/// Refuses a command which the built-in blocks or `denied_commands` name, itself or one that it starts.
pub(crate) fn refuse(document: &Document, command: &Command) -> Result<(), Denial> {
    let arguments: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
    let names = names(command);
    if let Some(name) = names.iter().find(|name| BLOCKED.contains(&file_name(name))) {
        return Err(blocked(file_name(name), command));
    }
    if reads_environ(&arguments) {
        return Err(blocked("/proc/*/environ", command));
    }
    if let Some(index) = denied(document, &names, &arguments, false) {
        return Err(denied_by(document, index, command));
    }
    refuse_nested(document, command, &names, &arguments)
}

fn refuse_nested(
    document: &Document,
    command: &Command,
    names: &[&str],
    arguments: &[&str],
) -> Result<(), Denial> {
    let judge = |line: &[&str]| {
        let (program, arguments) = line.split_first()?;
        let name = file_name(program);
        if prints_environment(name, arguments) {
            return Some(blocked(name, command));
        }
        let index = denied(document, &[program], arguments, true)?;
        Some(denied_by(document, index, command))
    };
    for name in names {
        let line: Vec<&str> = std::iter::once(*name)
            .chain(arguments.iter().copied())
            .collect();
        match nested::find(&line, &judge) {
            Ok(None) => {}
            Ok(Some(denial)) => return Err(denial),
            Err(nested::TooDeep) => return Err(blocked("scripts within scripts", command)),
        }
    }
    Ok(())
}

/// Whether a word of a shell prints variables: `set`, `export` and `declare` also change them, and print only when they are
/// given nothing to change.
fn prints_environment(name: &str, arguments: &[&str]) -> bool {
    match name {
        "env" | "printenv" => true,
        "set" => arguments.is_empty(),
        "export" | "declare" => arguments.iter().all(|argument| argument.starts_with('-')),
        _ => false,
    }
}

/// All names of the file that will run, each once.
fn names(command: &Command) -> Vec<&str> {
    let program = &command.program;
    let mut names = vec![program.requested.as_str()];
    for name in program.path.iter().chain(&program.aliases) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

fn reads_environ(arguments: &[&str]) -> bool {
    let line = arguments.join(" ");
    line.split_once("/proc/")
        .is_some_and(|(_, rest)| rest.contains("environ"))
}

/// The first of `denied_commands` that means the command.
fn denied(document: &Document, names: &[&str], arguments: &[&str], nested: bool) -> Option<usize> {
    document.denied_commands.iter().position(|rule| {
        let mut words = rule.split_whitespace();
        let program = words.next().unwrap_or_default();
        names
            .iter()
            .any(|name| is_denied_name(program, name, nested))
            && begins(arguments, words)
    })
}

/// A bare word denies every file of that name, a path the file itself. The file behind a bare name within a script is not
/// known, so there a path denies its file name.
fn is_denied_name(rule: &str, name: &str, nested: bool) -> bool {
    if rule == "*" {
        return true;
    }
    if !rule.contains('/') || (nested && !name.contains('/')) {
        return file_name(rule) == file_name(name);
    }
    let (rule, name) = (plain(rule), plain(name));
    if rule.starts_with('/') {
        name == rule
    } else {
        name == rule || name.ends_with(&format!("/{rule}"))
    }
}

/// The first of `allowed_commands` that names the command and may be used with `keys`; or the first that names it, if its keys
/// are not enough.
pub(crate) fn allowed<'d>(
    document: &'d Document,
    command: &Command,
    keys: &[String],
) -> Allowed<'d> {
    let mut lacking = None;
    for (index, rule) in document.allowed_commands.iter().enumerate() {
        if !names_command(rule, command) {
            continue;
        }
        let is_covered = |key: &&String| match &rule.keys {
            Some(patterns) => patterns
                .iter()
                .any(|pattern| crate::keys::matches(pattern, key)),
            None => true,
        };
        match keys.iter().find(|key| !is_covered(key)) {
            None => return Allowed::By(index, rule),
            Some(key) => lacking = lacking.or(Some(Allowed::Lacking(index, rule, key.clone()))),
        }
    }
    lacking.unwrap_or(Allowed::Unnamed)
}

/// What `allowed_commands` says about a command.
pub(crate) enum Allowed<'d> {
    /// This rule allows it.
    By(usize, &'d CommandRule),
    /// This rule would, but not with this key.
    Lacking(usize, &'d CommandRule, String),
    /// No rule names it.
    Unnamed,
}

fn names_command(rule: &CommandRule, command: &Command) -> bool {
    let requested = command.program.requested.as_str();
    let mut words = rule.command.split_whitespace();
    match words.next() {
        Some("*") => true,
        Some(program) => {
            let is_same = if program.contains('/') && requested.contains('/') {
                plain(program) == plain(requested)
            } else {
                program == requested
            };
            is_same && begins(&command.arguments, words)
        }
        None => false,
    }
}

fn begins<'r>(arguments: &[impl AsRef<str>], mut words: impl Iterator<Item = &'r str>) -> bool {
    let mut arguments = arguments.iter();
    words.all(|word| {
        arguments
            .next()
            .is_some_and(|argument| argument.as_ref() == word)
    })
}

/// A path without `.` and empty components. A `..` stays: what it means depends on links.
fn plain(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

fn blocked(what: &str, command: &Command) -> Denial {
    Denial {
        rule: format!("built-in: {what}"),
        reason: format!(
            "command not allowed: {}: it could print the environment ({what})",
            shown(command)
        ),
        remedy: String::new(),
    }
}

fn denied_by(document: &Document, index: usize, command: &Command) -> Denial {
    let rule = document
        .denied_commands
        .get(index)
        .map_or("", String::as_str);
    Denial {
        rule: format!("denied_commands[{index}]: {rule}"),
        reason: format!(
            "command not allowed: {}: it is denied ({rule})",
            shown(command)
        ),
        remedy: format!("remove \"{rule}\" from denied_commands"),
    }
}

/// The program as it was asked for, fit for a line of text.
pub(crate) fn shown(command: &Command) -> String {
    command.program.requested.escape_debug().to_string()
}
