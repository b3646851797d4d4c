//! A no that an agent can act on: what was refused, by which rule, and what could be done about it.

use std::fmt::Display;
use std::str::FromStr;

use rmcp::model::{CallToolResult, ContentBlock};
use serde::Serialize;

use super::answers::OPENED;
use crate::broker::{Advice, Cause, RunError, Unapproved};

/// A no, as a tool's result.
pub(super) type Refusal = CallToolResult;

/// A result with structure that is an error all the same.
pub(super) fn failed(output: &impl Serialize) -> Refusal {
    match serde_json::to_value(output) {
        Ok(value) => CallToolResult::structured_error(value),
        Err(_) => refuse("the answer cannot be written as JSON"),
    }
}

pub(super) fn refuse(text: impl Into<String>) -> Refusal {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

pub(super) fn parse<T: FromStr<Err: Display>>(argument: &str, text: &str) -> Result<T, Refusal> {
    text.parse()
        .map_err(|error| refuse(format!("{argument}: {error}")))
}

pub(super) fn optional<T: FromStr<Err: Display>>(
    argument: &str,
    text: Option<String>,
) -> Result<Option<T>, Refusal> {
    text.map(|text| parse(argument, &text)).transpose()
}

/// What was refused, by which rule, and what could be done about it.
pub(super) fn explain(error: &RunError, advice: &Advice) -> Refusal {
    let fact = error.for_agent();
    let (meant, next, allowed) = (meant(advice), next(error), allowed(advice));
    refuse(format!("{fact}{meant}{next}{allowed}"))
}

/// What there is instead of what was asked for.
fn meant(advice: &Advice) -> String {
    let near = [&advice.names, &advice.programs].into_iter();
    let near = near.filter(|names| !names.is_empty());
    near.map(|names| format!("\nDid you mean {}?", names.join(" or ")))
        .collect()
}

/// Which commands are allowed instead of a refused one.
fn allowed(advice: &Advice) -> String {
    if advice.commands.is_empty() {
        return String::new();
    }
    let commands = advice.commands.join("; ");
    let more = match advice.more_commands {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("\nCommands are allowed that begin with: {commands}{more}")
}

/// What a person, or the agent, could do.
fn next(error: &RunError) -> String {
    match error {
        RunError::Denied(denial) => {
            let remedy = match RunError::remedy_for_agent(denial) {
                "" => String::new(),
                remedy => format!("\nA person can allow it: {remedy}"),
            };
            format!("\nRule: {}{remedy}", denial.rule)
        }
        RunError::NotApproved { question, why } => {
            let ask = match why {
                Unapproved::Denied | Unapproved::DeniedForSession => "",
                Unapproved::NoWay => "\nA person can run the command with secretctl run.",
                _ => "\nA person can answer with secretctl approve while it waits.",
            };
            let remedy = question.remedy().map_or_else(String::new, |remedy| {
                format!("\nWithout being asked, a person can allow it in the policy file: {remedy}")
            });
            format!("\nRule: {}{ask}{remedy}", question.grant.rule)
        }
        RunError::Policy(_) | RunError::Hiding(_) => {
            "\nOnly a person can write the policy file, which must have mode 0600: secretctl policy check says what is wrong with it."
                .to_owned()
        }
        RunError::Module(_) => {
            "\nA person can put back the file that the policy file names, put there the sha256 of a file that is to be \
            trusted from now on, or take the entry out."
                .to_owned()
        }
        RunError::Withheld(withheld) if withheld.module().is_some() => {
            "\nThe command has run, or was ended. A person can repair the module, or take it out of sanitizers in the policy file."
                .to_owned()
        }
        RunError::SecretNotFound(_) | RunError::HiddenKey { .. } => {
            "\nsecret_list shows what there is; names are case-sensitive.".to_owned()
        }
        RunError::ProgramNotFound(_) => {
            "\nPrograms are looked up in the system's directories and in trusted_dirs of the \
            policy file; one in the project is written with its path, such as ./deploy.sh."
                .to_owned()
        }
        RunError::Directory(_) => {
            "\nGive a directory in the project that the server was started for, or none.".to_owned()
        }
        RunError::Start { error, .. }
            if matches!(error.cause, Cause::NotFound | Cause::NoInterpreter) =>
        {
            format!("\n{OPENED}")
        }
        RunError::TooShort(_) => {
            "\nA person can store a longer value, or run the command with secretctl run.".to_owned()
        }
        RunError::Expired(_) => {
            "\nA person can store a new value, or a new date with secretctl set --expires."
                .to_owned()
        }
        RunError::NotBound { .. } => {
            "\nA person can bind its fields: secretctl set KEY --binding VARIABLE=FIELD.".to_owned()
        }
        RunError::Reserved(_) => {
            "\nUse another env_prefix; without one, a person can bind another variable: secretctl set KEY --unbind VARIABLE --binding OTHER=FIELD."
                .to_owned()
        }
        RunError::Variable { .. } | RunError::SameVariable { .. } => {
            "\nUse env_prefix, or other keys.".to_owned()
        }
        RunError::SensitiveField { .. } => {
            "\nTo use it, run a command with it: secret_run or secret_run_with_bindings.".to_owned()
        }
        RunError::NoSuchField { .. } => {
            "\nsecret_list_fields shows what there is; names are case-sensitive.".to_owned()
        }
        _ => String::new(),
    }
}
