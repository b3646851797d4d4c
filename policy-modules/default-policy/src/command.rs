//! Commands: what is blocked or denied under any of its names, and what a rule allows by the name that was asked for.

use crate::carriers::{begin, file_name};
use crate::code;
use crate::document::{CommandRule, Document};
use crate::nested;
use crate::refusal::Refusal;
use crate::remedy;
use crate::types::{Command, Program};

/// Programs and shell words that print an environment, and so the secrets in it.
const BLOCKED: [&str; 8] = [
    "declare",
    "env",
    "export",
    "genv",
    "gprintenv",
    "printenv",
    "set",
    "typeset",
];
/// Programs that act by the name they are called by, as their own names begin.
const MULTI_CALL: [&str; 3] = ["busybox", "toybox", "coreutils"];
/// Longest part of a command that a text shows, in characters.
const SHOWN_MAX: usize = 200;

/// What the built-in blocks or `denied_commands` have against a command, itself or one that it starts.
pub(crate) fn refuse(document: &Document, command: &Command) -> Vec<Refusal> {
    let arguments: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
    let names = names(&command.program);
    if let Some(name) = names.iter().find(|name| BLOCKED.contains(&file_name(name))) {
        return vec![blocked(file_name(name), command)];
    }
    if reads_environ(&arguments) {
        return vec![blocked("/proc/*/environ", command)];
    }
    let mut refusals = Vec::new();
    for (index, rule) in document.denied_commands.iter().enumerate() {
        if is_denied(rule, &names, &arguments, false) {
            refusals.push(denied_by(index, rule, command));
        }
    }
    refuse_nested(document, command, &names, &arguments, &mut refusals);
    refusals
}

fn refuse_nested(
    document: &Document,
    command: &Command,
    names: &[&str],
    arguments: &[&str],
    refusals: &mut Vec<Refusal>,
) {
    // A rule that was found once is found for the whole command.
    let left: Vec<(usize, &String)> = (document.denied_commands.iter().enumerate())
        .filter(|(index, _)| !refusals.iter().any(|refusal| refusal.entry == Some(*index)))
        .collect();
    let found = std::cell::RefCell::new(Vec::new());
    let judge = |line: &[&str]| {
        let (program, arguments) = line.split_first()?;
        let names = names_within(command, program);
        let prints = |name: &&&str| prints_environment(file_name(name), arguments);
        if let Some(name) = names.iter().find(prints) {
            return Some(blocked(file_name(name), command));
        }
        if let Some(environment) = code::environment(line) {
            return Some(blocked(environment, command));
        }
        let denied = left
            .iter()
            .filter(|(_, rule)| is_denied(rule, &names, arguments, true));
        found.borrow_mut().extend(denied);
        None
    };
    let mut seen = Vec::new();
    for name in lines_of(command, names) {
        if seen.contains(&file_name(name)) {
            continue;
        }
        seen.push(file_name(name));
        let line: Vec<&str> = std::iter::once(name)
            .chain(arguments.iter().copied())
            .collect();
        let environment = code::environment(&line).map(|name| blocked(name, command));
        let blocked =
            match environment.map_or_else(|| nested::find(&line, &judge), |one| Ok(Some(one))) {
                Ok(None) => continue,
                Ok(Some(refusal)) => refusal,
                Err(nested::TooDeep) => blocked("scripts within scripts", command),
            };
        refusals.insert(0, blocked);
        return;
    }
    let mut found = found.into_inner();
    found.sort_unstable_by_key(|(index, _)| *index);
    found.dedup_by_key(|(index, _)| *index);
    refusals.extend((found.into_iter()).map(|(index, rule)| denied_by(index, rule, command)));
}

/// Whether a word of a shell prints variables: `set`, `export` and `declare` also change them, and print only when they are
/// given nothing to change.
fn prints_environment(name: &str, arguments: &[&str]) -> bool {
    match name {
        "env" | "printenv" | "genv" | "gprintenv" => true,
        "set" => arguments.is_empty(),
        "export" | "declare" | "typeset" => {
            arguments.iter().all(|argument| argument.starts_with('-'))
        }
        _ => false,
    }
}

/// All names of a program, each once.
fn names(program: &Program) -> Vec<&str> {
    let mut names = vec![program.requested.as_str()];
    for name in program.path.iter().chain(&program.aliases) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

/// The names of a program within a command: those that the host knows of the word, else the word itself.
fn names_within<'a>(command: &'a Command, word: &'a str) -> Vec<&'a str> {
    let mut mentioned = command.mentioned.iter();
    match mentioned.find(|program| program.requested == word) {
        Some(program) => names(program),
        None => vec![word],
    }
}

/// The names under which a program may run another one. A multi-call program that is called by another name in a directory of
/// programs, such as `/bin/ls`, is what that name says: there, `ls env` lists a file.
fn lines_of<'a>(command: &Command, names: &[&'a str]) -> Vec<&'a str> {
    let is_own = |name: &str| {
        MULTI_CALL
            .iter()
            .any(|own| file_name(name).starts_with(own))
    };
    let path = command.program.path.as_deref().unwrap_or_default();
    let directory = path
        .rsplit_once('/')
        .map_or("", |(directory, _)| file_name(directory));
    let by_its_name = matches!(directory, "bin" | "sbin") && !is_own(path);
    let lines = names.iter().filter(|name| !(by_its_name && is_own(name)));
    lines.copied().collect()
}

/// Whether words name `/proc/…/environ`, also in parts, in quotes, or as a pattern of a shell.
fn reads_environ(arguments: &[&str]) -> bool {
    let line: String = arguments.join(" ");
    let Some((_, rest)) = line.split_once("/pr") else {
        return false;
    };
    let rest = rest.replace(['"', '\'', '\\'], "");
    let Some(rest) = rest.strip_prefix("oc") else {
        return rest.contains("/proc") && names_environ(&rest);
    };
    !rest.starts_with(|c: char| c.is_alphanumeric() || "_-.".contains(c)) && names_environ(rest)
}

fn names_environ(rest: &str) -> bool {
    let separates = |c: char| c.is_whitespace() || "/;|&()<>`".contains(c);
    let is_pattern = |part: &str| part.len() > 1 && part.contains(['*', '?', '[']);
    let mut parts = rest.split(separates);
    rest.contains("environ")
        || parts.any(|part| is_pattern(part) && fast_glob::glob_match(part, "environ"))
}

/// Whether a rule of `denied_commands` means the command.
///
/// The rule's words begin the command line, options aside: `git push` is also `git -C x push`, and `git-push`.
fn is_denied(rule: &str, names: &[&str], arguments: &[&str], nested: bool) -> bool {
    let words: Vec<&str> = rule.split_whitespace().collect();
    let Some((program, rest)) = words.split_first() else {
        return false;
    };
    let named = |name: &&str| is_denied_name(program, name, nested);
    if names.iter().any(named) && begin(arguments, rest).is_some() {
        return true;
    }
    let joined = |name: &&str| {
        (1..words.len()).any(|count| {
            let (own, rest) = words.split_at(count + 1);
            file_name(name) == own.join("-") && begin(arguments, rest).is_some()
        })
    };
    names.iter().any(joined)
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
pub(crate) fn allowed<'d>(document: &'d Document, command: &Command, keys: &[&str]) -> Allowed<'d> {
    let mut lacking = None;
    for (index, rule) in document.allowed_commands.iter().enumerate() {
        if !names_command(rule, command) {
            continue;
        }
        let is_covered = |key: &&&str| match &rule.keys {
            Some(patterns) => patterns
                .iter()
                .any(|pattern| crate::keys::matches(pattern, key)),
            None => true,
        };
        let missing: Vec<String> = (keys.iter().filter(|key| !is_covered(key)))
            .map(|key| (*key).to_owned())
            .collect();
        if missing.is_empty() {
            return Allowed::By(index, rule);
        }
        lacking = lacking.or(Some(Allowed::Lacking(index, rule, missing)));
    }
    lacking.unwrap_or(Allowed::Unnamed)
}

/// What `allowed_commands` says about a command.
pub(crate) enum Allowed<'d> {
    /// This rule allows it.
    By(usize, &'d CommandRule),
    /// This rule would, but not with these keys.
    Lacking(usize, &'d CommandRule, Vec<String>),
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
            let mut arguments = command.arguments.iter();
            is_same && words.all(|word| arguments.next().is_some_and(|argument| argument == word))
        }
        None => false,
    }
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

fn blocked(what: &str, command: &Command) -> Refusal {
    Refusal::for_good(
        format!("built-in: {what}"),
        format!(
            "command not allowed: {}: it could print the environment ({what})",
            shown(command)
        ),
    )
}

fn denied_by(index: usize, rule: &str, command: &Command) -> Refusal {
    let mut refusal = Refusal::new(
        format!("denied_commands[{index}]: {rule}"),
        format!(
            "command not allowed: {}: it is denied ({rule})",
            shown(command)
        ),
        [remedy::remove("denied_commands", &remedy::quote(rule))],
    );
    refusal.entry = Some(index);
    refusal
}

/// The program as it was asked for, fit for a line of text.
pub(crate) fn shown(command: &Command) -> String {
    cut(
        &command.program.requested.escape_debug().to_string(),
        SHOWN_MAX,
    )
}

/// The beginning of a text, saying how much is left out.
pub(crate) fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… and {} more bytes", &text[..end], text.len() - end),
    }
}
