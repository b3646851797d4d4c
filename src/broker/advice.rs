//! What an agent could do instead of what was refused.
//!
//! Of keys, only those are named that the agent may know of, and what it is told depends on these and on its own words alone: a hidden
//! key and one that the vault does not hold are answered alike.

use super::RunError;
use super::agent::AgentDoor;
use super::jail::trusted_dirs;
use super::near::near;
use super::program::TrustedPath;
use crate::name::SecretName;

/// Most allowed commands that are named.
const COMMANDS_MAX: usize = 10;
/// How the built-in policy module's reasons begin; the program follows.
const NOT_ALLOWED: &str = "command not allowed: ";
const NOT_FOUND: &str = "program not found: ";

/// Names that are near what was asked for, and commands that are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// Keys, or fields of a secret, that may have been meant.
    pub names: Vec<String>,
    /// Commands that the policy file allows, those of the same program first.
    pub commands: Vec<String>,
    /// How many more it allows.
    pub more_commands: usize,
    /// Programs that may have been meant.
    pub programs: Vec<String>,
}

impl AgentDoor {
    /// What can be said for the help of an agent beside an error.
    pub fn advice(&self, agent: &str, error: &RunError) -> Advice {
        // Advice that cannot be given is no second error.
        self.try_advice(agent, error).unwrap_or_default()
    }

    fn try_advice(&self, agent: &str, error: &RunError) -> Result<Advice, RunError> {
        let mut advice = Advice::default();
        match error {
            RunError::SecretNotFound(asked) | RunError::HiddenKey { asked, .. }
                if asked.parse::<SecretName>().is_ok() =>
            {
                let visible = self.visible(agent, self.broker.vault().entries()?)?;
                advice.names = near(asked, visible.iter().map(|entry| entry.name.as_str()));
            }
            RunError::NoSuchField { field, fields, .. } => {
                advice.names = near(field.as_str(), fields.iter().map(|field| field.as_str()));
            }
            RunError::ProgramNotFound(program) => advice.programs = self.programs(program)?,
            RunError::Denied(denial) => {
                if let Some(program) = denial.reason.strip_prefix(NOT_FOUND) {
                    let program = program.split(' ').next().unwrap_or_default();
                    advice.programs = self.programs(program)?;
                } else if let Some(command) = denial.reason.strip_prefix(NOT_ALLOWED) {
                    self.add_commands(command, &mut advice)?;
                }
            }
            _ => {}
        }
        Ok(advice)
    }

    /// Programs that are found by names like this one, if none is found by itself.
    fn programs(&self, wanted: &str) -> Result<Vec<String>, RunError> {
        let policy = self.broker.policy()?;
        let path = TrustedPath::new(trusted_dirs(&policy));
        let names = path.names(&self.broker.judge.names);
        if names.iter().any(|name| name == wanted) {
            return Ok(Vec::new());
        }
        Ok(near(wanted, names.iter().map(String::as_str)))
    }

    fn add_commands(&self, refused: &str, advice: &mut Advice) -> Result<(), RunError> {
        let policy = self.broker.policy()?;
        let refused = program_word(refused);
        advice.programs = self.programs(refused)?;
        let mut commands: Vec<&str> = policy
            .allowed_commands()
            .iter()
            .map(|rule| &*rule.command)
            .collect();
        // Stable: else they stay in the file's order.
        commands.sort_by_key(|command| program_word(command) != refused);
        advice.more_commands = commands.len().saturating_sub(COMMANDS_MAX);
        commands.truncate(COMMANDS_MAX);
        advice.commands = commands.into_iter().map(str::to_owned).collect();
        Ok(())
    }
}

/// The program of a command, without its directory and what a reason says of it.
fn program_word(command: &str) -> &str {
    let word = command.split([' ', ':']).next().unwrap_or_default();
    word.rsplit('/').next().unwrap_or_default()
}
