//! `secretctl policy explain`

use std::fmt::Display;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::args::ExplainArgs;
use super::failure::{Failure, codes};
use super::unlock::Access;
use super::{output, policy};
use crate::broker::{Explained, Place, PolicyDoor, RunError, RunRequest};

/// What is not known without the vault.
const NOT_CHECKED: &str = "that the keys exist, have not expired and are long enough to be hidden";

/// What would allow a denied command.
const REMEDY: &str = "remedy";
/// Goes on below the text of a line.
const NEXT_LINE: &str = "\n               ";

/// The answer in words, with the place of its rule.
struct Verdict {
    is_allowed: bool,
    /// Whether a person would be asked, who decides.
    asks: bool,
    rule: Option<String>,
    place: Option<Place>,
    reason: Option<String>,
    remedy: Option<String>,
}

pub(super) fn run(access: &Access, args: ExplainArgs) -> Result<u8, Failure> {
    let mut door = policy::door(access, None)?;
    let has_patterns = args.keys.iter().any(|key| key.exact().is_none());
    let needs_vault =
        has_patterns || (door.has_modules()).map_err(|error| policy::failure(error, &door))?;
    let vault = match needs_vault || (access.is_unasked() && !args.keys.is_empty()) {
        true => Some(access.door()?),
        false => None,
    };
    if let Some(vault) = &vault {
        door.keep_code_of(vault);
    }
    let project = policy::project(args.project)?;
    let mut words = args.command.into_iter();
    let request = RunRequest {
        keys: args.keys,
        command: words.next().unwrap_or_default(),
        arguments: words.collect(),
        env: args.env,
        cwd: args.cwd,
        ..RunRequest::default()
    };
    let explained = door
        .explain(&project, &args.agent, &request, vault.as_ref())
        .map_err(|error| policy::failure(error, &door))?;
    policy::tell(&door);
    let verdict = verdict(&door, &explained);
    if args.json {
        output::json(&in_json(&explained, &verdict))?;
    } else {
        let lines = lines(&explained, &verdict);
        output::result(output::printable(&lines).as_bytes())?;
    }
    Ok(if verdict.is_allowed {
        codes::DONE
    } else {
        codes::FAILED
    })
}

fn verdict(door: &PolicyDoor, explained: &Explained) -> Verdict {
    let (rule, remedy) = match &explained.answer {
        Ok(grant) => (Some(&grant.rule), None),
        Err(RunError::Denied(denial)) => (Some(&denial.rule), Some(&denial.remedy)),
        Err(RunError::NeedsApproval(question)) => (Some(&question.grant.rule), None),
        Err(_) => (None, None),
    };
    // What would not be asked at all.
    let unasked = match &explained.answer {
        Err(RunError::NeedsApproval(question)) => question.remedy(),
        _ => None,
    };
    Verdict {
        is_allowed: explained.answer.is_ok(),
        place: rule.and_then(|rule| door.place_of(rule)),
        rule: rule.cloned(),
        reason: explained.answer.as_ref().err().map(ToString::to_string),
        remedy: (remedy.filter(|remedy| !remedy.is_empty()).cloned()).or(unasked),
        asks: matches!(explained.answer, Err(RunError::NeedsApproval(_))),
    }
}

/// A line for each thing that is known.
fn lines(explained: &Explained, verdict: &Verdict) -> String {
    let mut text = match &verdict.reason {
        None => "allowed\n".to_owned(),
        Some(reason) if verdict.asks => format!("asked: {}\n", one_line(reason)),
        Some(reason) => format!("denied: {}\n", one_line(reason)),
    };
    let mut add = |label: &str, value: Option<String>| {
        if let Some(value) = value {
            // A remedy has lines to be pasted.
            let value = value.replace('\n', if label == REMEDY { NEXT_LINE } else { " " });
            text.push_str(&format!("  {label:<12} {value}\n"));
        }
    };
    add("rule", verdict.rule.clone());
    let at = |place: &Place| format!("line {}: {}", place.line, place.text);
    add("in the file", verdict.place.as_ref().map(at));
    add(REMEDY, verdict.remedy.clone());
    if let Ok(grant) = &explained.answer {
        add("time limit", Some(format!("{:?}", grant.timeout)));
        add("network", Some(word(&grant.network)));
        add(
            "not checked",
            (!explained.knows_vault).then(|| NOT_CHECKED.to_owned()),
        );
    }
    let Some(facts) = &explained.facts else {
        return text;
    };
    add("agent", Some(facts.agent.clone()));
    if let Some(command) = &facts.command {
        let program = &command.program;
        let words = std::iter::once(&program.requested).chain(&command.arguments);
        let words: Vec<String> = words.map(|word| format!("{word:?}")).collect();
        add("words", Some(words.join(" ")));
        let path = program.path.as_deref();
        add("program", Some(path.map_or("not found".to_owned(), shown)));
        let canonical = explained.canonical.as_deref();
        add(
            "which is",
            canonical.filter(|_| canonical != path).map(shown),
        );
        let others = others(explained, &program.aliases);
        add("also named", (!others.is_empty()).then(|| others.join(" ")));
    }
    let names: Vec<&str> = facts.keys.iter().map(|key| key.name.as_str()).collect();
    let none = "none, and a run needs at least one".to_owned();
    let names = if names.is_empty() {
        none
    } else {
        names.join(" ")
    };
    add("keys", Some(names));
    let directory = facts.directory.as_deref().map(|dir| match dir {
        "" => "the project's root".to_owned(),
        dir => format!("{dir}, in the project"),
    });
    add("directory", directory);
    text
}

fn in_json(explained: &Explained, verdict: &Verdict) -> Value {
    let facts = explained.facts.as_ref().map(|facts| {
        let command = facts.command.as_ref().map(|command| {
            json!({
                "program": command.program.requested,
                "arguments": command.arguments,
                "path": command.program.path.as_deref().map(shown),
                "canonical_path": explained.canonical.as_deref().map(shown),
                "other_names": others(explained, &command.program.aliases),
            })
        });
        let keys: Vec<&str> = facts.keys.iter().map(|key| key.name.as_str()).collect();
        json!({ "agent": facts.agent, "command": command, "keys": keys, "directory": facts.directory })
    });
    let limits = explained.answer.as_ref().ok().map(|grant| {
        let keys: Vec<&str> = grant.keys.iter().map(|key| key.as_str()).collect();
        json!({
            "keys": keys,
            "timeout_ms": u64::try_from(grant.timeout.as_millis()).unwrap_or(u64::MAX),
            "output_bytes": grant.output_bytes,
            "network": grant.network,
            "workdir": grant.workdir,
            "expand": grant.expand_arguments,
        })
    });
    json!({
        "decision": match (verdict.is_allowed, verdict.asks) {
            (true, _) => "allow",
            (false, true) => "ask",
            (false, false) => "deny",
        },
        "rule": verdict.rule,
        "line": verdict.place.as_ref().map(|place| place.line),
        "reason": verdict.reason,
        "remedy": verdict.remedy,
        "limits": limits,
        "vault_checked": explained.knows_vault,
        "facts": facts,
    })
}

/// The names that are shown beside the path and the canonical one.
fn others(explained: &Explained, aliases: &[std::path::PathBuf]) -> Vec<String> {
    let canonical = explained.canonical.as_ref();
    let other = aliases.iter().filter(|alias| Some(*alias) != canonical);
    other.map(|path| shown(path)).collect()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A word of the policy file.
fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn one_line(text: &impl Display) -> String {
    text.to_string().replace('\n', " ")
}
