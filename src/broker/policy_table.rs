//! A table of requests compared with what the policy decides on them.

use std::path::Path;

use super::RunError;
use super::agent::RunRequest;
use super::judge::Facts;
use super::keyring::Keys;
use super::policy_door::PolicyDoor;
use super::project::Project;
use crate::policy::{Case, Command, Decision, Expectation, Place, Policy, Table};

/// Where programs are that a table says to exist.
const SUPPOSED_DIR: &str = "/usr/bin";

/// How a table of requests and a policy file agree.
#[derive(Debug)]
pub struct Tested {
    /// The number of requests.
    pub cases: usize,
    /// Those that were not decided as expected.
    pub failures: Vec<Mismatch>,
}

/// A request that was not decided as expected.
#[derive(Debug)]
pub struct Mismatch {
    /// Where it stands in the table.
    pub place: Option<Place>,
    /// The request, and what was expected.
    pub case: Case,
    /// What was decided. What is refused before a decision is denied.
    pub decided: Expectation,
    /// Rule and reason.
    pub why: String,
}

impl PolicyDoor {
    /// Compares decisions with a table of requests and expectations, which `file` holds. Only the policy is asked: what the vault
    /// holds, and whether paths and sanitizers of the policy file can be used, does not matter.
    pub fn test(&self, project: &Path, file: &Path) -> Result<Tested, RunError> {
        let table = Table::read(file).map_err(|fault| RunError::Table {
            path: file.to_owned(),
            fault,
        })?;
        let policy = self.judge.policy()?;
        let project = Project::new(project, &self.judge.kept);
        let mut failures = Vec::new();
        for (number, case) in table.cases().iter().enumerate() {
            let (decided, why) = self.decide(&policy, &project, case, table.programs())?;
            let because = case.because.as_deref().unwrap_or_default();
            if decided != case.expect || !why.contains(because) {
                failures.push(Mismatch {
                    place: table.place(number),
                    case: case.clone(),
                    decided,
                    why,
                });
            }
        }
        Ok(Tested {
            cases: table.cases().len(),
            failures,
        })
    }

    fn decide(
        &self,
        policy: &Policy,
        project: &Project,
        case: &Case,
        programs: Option<&[String]>,
    ) -> Result<(Expectation, String), RunError> {
        let request = RunRequest {
            keys: case.keys().cloned().collect(),
            command: case.command.clone(),
            arguments: case.arguments().to_vec(),
            env: case.env.clone(),
            cwd: case.cwd.clone(),
            ..RunRequest::default()
        };
        let facts = self
            .judge
            .facts(policy, project, &Keys(None), &case.agent, &request);
        let mut question = match facts {
            Ok(Facts { question, .. }) => question,
            Err(error) => return Ok((Expectation::Deny, error.to_string())),
        };
        question.time = case.at.unwrap_or(question.time);
        if let (Some(programs), Some(command)) = (programs, &mut question.command) {
            suppose(programs, command);
        }
        Ok(
            match self.judge.decide(policy, &question, &|_| Ok(Vec::new()))? {
                Decision::Allow(grant) => (Expectation::Allow, grant.rule),
                Decision::Ask(question) => (Expectation::Ask, question.grant.rule),
                Decision::Deny(denial) => {
                    let why = format!("{}: {}", denial.rule, denial.reason);
                    (Expectation::Deny, why)
                }
            },
        )
    }
}

/// Replaces what this machine says of a command's program by what the table does. A program of the project is looked up as ever: it is
/// where the table is.
fn suppose(programs: &[String], command: &mut Command) {
    command.mentioned = Vec::new();
    let program = &mut command.program;
    if program.requested.starts_with("./") {
        return;
    }
    let exists = programs.contains(&program.requested);
    let path = Path::new(SUPPOSED_DIR).join(&program.requested);
    program.path = exists.then_some(path);
    program.aliases = Vec::new();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Program;

    #[test]
    fn a_table_says_which_programs_there_are() {
        let programs = ["npm", "/opt/x"].map(str::to_owned);
        let supposed = |requested: &str| {
            let mut command = Command {
                program: Program {
                    requested: requested.to_owned(),
                    path: Some("/on/this/machine".into()),
                    aliases: vec!["/other".into()],
                },
                arguments: Vec::new(),
                mentioned: vec![Program {
                    requested: "awk".to_owned(),
                    path: None,
                    aliases: vec!["/other".into()],
                }],
            };
            suppose(&programs, &mut command);
            assert!(command.mentioned.is_empty(), "{requested}");
            let path = command.program.path.map(|path| path.display().to_string());
            (path.unwrap_or_default(), command.program.aliases.len())
        };
        assert_eq!(supposed("npm"), ("/usr/bin/npm".to_owned(), 0));
        assert_eq!(supposed("/opt/x"), ("/opt/x".to_owned(), 0));
        assert_eq!(supposed("ls"), (String::new(), 0));
        assert_eq!(supposed("./npm"), ("/on/this/machine".to_owned(), 1));
    }
}
