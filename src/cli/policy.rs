//! `secretctl policy`

use std::io;
use std::path::{Path, PathBuf};

use super::args::PolicyCommand;
use super::failure::{Failure, codes};
use super::unlock::Access;
use super::{explain, modules, new, output};
use crate::broker::{Expectation, Mismatch, Place, PolicyDoor, RunError};
use crate::vault::LockedVault;

pub(super) fn run(access: &Access, command: PolicyCommand) -> Result<u8, Failure> {
    match command {
        PolicyCommand::Init => init(access),
        PolicyCommand::Check { file } => check(&keeping_code(access, file.as_deref())?),
        PolicyCommand::List { json } => modules::list(access, json),
        PolicyCommand::Add {
            module,
            name,
            config,
        } => modules::add(access, module, name, config),
        PolicyCommand::New { language, dir } => new::run(language, &dir),
        PolicyCommand::Explain(args) => explain::run(access, args),
        PolicyCommand::Test {
            file,
            policy,
            project,
        } => test(&keeping_code(access, policy.as_deref())?, &file, project),
    }
}

/// Opens no vault.
pub(super) fn door(access: &Access, file: Option<&Path>) -> Result<PolicyDoor, Failure> {
    Ok(PolicyDoor::new(access.dir()?, file, &access.outside()))
}

/// Where modules have to be compiled, and the password is at hand anyway, their code is kept.
pub(super) fn keeping_code(access: &Access, file: Option<&Path>) -> Result<PolicyDoor, Failure> {
    let mut door = door(access, file)?;
    if door.is_own() && door.names_modules() && access.is_unasked() {
        door.keep_code_of(&access.door()?);
    }
    Ok(door)
}

/// Shows what modules had to say.
pub(super) fn tell(door: &PolicyDoor) {
    for notice in door.take_notices() {
        output::ours(&notice.to_string());
    }
}

/// The directory that is given, or the current one.
pub(super) fn project(given: Option<PathBuf>) -> io::Result<PathBuf> {
    given.map_or_else(std::env::current_dir, Ok)
}

/// A failure, with what helps where it is the policy file's.
pub(super) fn failure(error: RunError, door: &PolicyDoor) -> Failure {
    match error {
        RunError::Policy(error) => {
            let file = if door.is_own() {
                String::new()
            } else {
                format!(" {}", door.path().display())
            };
            let step = format!("secretctl policy check{file} says all that is wrong with it");
            Failure::new(error).next(step)
        }
        error => error.into(),
    }
}

fn init(access: &Access) -> Result<u8, Failure> {
    LockedVault::open(&access.dir()?)?;
    let door = door(access, None)?;
    let path = door.path().display();
    match door.create() {
        Ok(()) => {
            output::done(&format!("Wrote {path}. It allows nothing yet: edit it."));
            Ok(codes::DONE)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let fact = format!("there is a policy file already: {path}");
            Err(Failure::new(fact).next("secretctl policy check says whether it is valid"))
        }
        Err(error) => Err(Failure::new(format!("{path}: {error}"))),
    }
}

fn check(door: &PolicyDoor) -> Result<u8, Failure> {
    let path = door.path().display();
    let checked = door.check();
    tell(door);
    let policy = match checked {
        Ok(policy) => policy,
        Err(problems) => return Err(invalid(door, &problems)),
    };
    let rules = counted(policy.command_rules(), "command rule", "command rules");
    let agents = match policy.agent_policies() {
        Some(count) => counted(count, "agent's policy", "agents' policies"),
        None => "no policies, so every agent may use all keys".to_owned(),
    };
    let line = format!("{path} is valid: {rules}, {agents}\n");
    output::result(output::printable(&line).as_bytes())
}

fn invalid(door: &PolicyDoor, problems: &[(Option<Place>, String)]) -> Failure {
    let mut fact = format!("{} cannot be used", door.path().display());
    for (place, problem) in problems {
        let problem = match place {
            Some(Place { line, column, text }) => {
                format!("line {line}, column {column}: {problem}\n    {text}")
            }
            None => problem.clone(),
        };
        fact.push_str("\n  ");
        fact.push_str(&problem);
    }
    let failure = Failure::new(fact);
    // One problem without a place is that of the file as such.
    if door.is_own() && matches!(problems, [(None, _)]) {
        failure.next("it must be a regular file of yours with mode 0600; secretctl policy init writes one where there is none")
    } else {
        failure
    }
}

fn test(door: &PolicyDoor, table: &Path, at: Option<PathBuf>) -> Result<u8, Failure> {
    let tested = door
        .test(&project(at)?, table)
        .map_err(|error| failure(error, door))?;
    tell(door);
    if tested.cases == 0 {
        return Err(Failure::new(format!(
            "the table {} has no requests",
            table.display()
        )));
    }
    let mut text = String::new();
    for mismatch in &tested.failures {
        let line = format!("{}{}", table.display(), line(mismatch));
        text.push_str(&output::printable(&line).replace('\n', " "));
        text.push('\n');
    }
    let requests = counted(tested.cases, "request", "requests");
    text.push_str(&match tested.failures.len() {
        0 => format!("{requests}, all decided as expected\n"),
        failed => format!("{requests}, {failed} not decided as expected\n"),
    });
    output::result(text.as_bytes())?;
    Ok(if tested.failures.is_empty() {
        codes::DONE
    } else {
        codes::FAILED
    })
}

/// `:line: agent: command: expected allow, got deny (rule: reason)`
fn line(mismatch: &Mismatch) -> String {
    let case = &mismatch.case;
    let words = std::iter::once(&case.command).chain(case.arguments());
    let words: Vec<&str> = words.map(String::as_str).collect();
    let because = case.because.as_ref();
    let because = because.map_or_else(String::new, |text| format!(" because of '{text}'"));
    let line = mismatch.place.as_ref();
    let line = line.map_or_else(String::new, |place| format!(":{}", place.line));
    format!(
        "{line}: {}: {}: expected {}{because}, got {} ({})",
        case.agent,
        words.join(" "),
        word(case.expect),
        word(mismatch.decided),
        mismatch.why
    )
}

fn word(decision: Expectation) -> &'static str {
    match decision {
        Expectation::Allow => "allow",
        Expectation::Deny => "deny",
        Expectation::Ask => "ask",
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
