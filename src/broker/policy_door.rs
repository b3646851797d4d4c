//! Questions about a policy file: whether it can be used, and what it decides. No command runs, no decision is recorded, and a vault is
//! looked into only where a person opens it; what decides is what decides for agents.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secretctl_runner::{Cause, Runner, Stage, StartError};

use super::agent::RunRequest;
use super::decide::required_layers;
use super::judge::{Judge, Prepared};
use super::keyring::{Keys, tags};
use super::person::PersonDoor;
use super::project::Project;
use super::short::AGENT_MIN_BYTES;
use super::{Notice, Outside, POLICY_FILE, RunError};
use crate::policy::{self, Grant, Place, Policy, PolicySource, Problem, Request};

/// Where a person asks about policy.
pub struct PolicyDoor {
    pub(super) judge: Judge,
    path: PathBuf,
    is_own: bool,
}

/// What the server would do about a request.
#[derive(Debug)]
pub struct Explained {
    /// The facts, as policy sees them; none for a request that is refused before.
    pub facts: Option<Request>,
    /// The canonical path of the program.
    pub canonical: Option<PathBuf>,
    /// The limits of the yes, or why not.
    pub answer: Result<Grant, RunError>,
    /// Whether the vault was looked into: else keys are taken to exist, with values that can be hidden.
    pub knows_vault: bool,
}

impl PolicyDoor {
    /// For the policy file of the vault in `dir`, or for another `file`, which may then be anybody's.
    pub fn new(dir: PathBuf, file: Option<&Path>, outside: &Outside) -> Self {
        let own = dir.join(POLICY_FILE);
        let is_own = file.is_none_or(|file| is_same_place(file, &own));
        let (source, path, dir) = match file.filter(|_| !is_own) {
            None => (PolicySource::new(&own), own, dir),
            Some(file) => (PolicySource::draft(file), file.to_owned(), dir),
        };
        Self {
            judge: Judge::of(source, dir, outside),
            path,
            is_own,
        }
    }

    /// Where the policy file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is the vault's own. Of another one, nothing is judged but what it says.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// What modules had to say since this was asked last.
    pub fn take_notices(&self) -> Vec<Notice> {
        self.judge.take_notices()
    }

    /// Writes a file to begin with, which allows nothing.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when there is one.
    pub fn create(&self) -> io::Result<()> {
        policy::create_starter(&self.path)
    }

    /// All that is wrong with the file, each with its place if it has one; else what it says.
    pub fn check(&self) -> Result<Arc<Policy>, Vec<(Option<Place>, String)>> {
        let policy = (self.judge.policy()).map_err(|_| self.judge.problems())?;
        let mut problems = Vec::new();
        if let Err(error) = self.judge.try_built_in(&policy) {
            problems.push((None, error.to_string()));
        }
        if self.is_own {
            problems.extend(self.out_of_file(&policy));
        }
        if problems.is_empty() {
            Ok(policy)
        } else {
            Err(problems)
        }
    }

    /// What keeps a well-formed file from being used on this machine: `paths` that cannot be opened, modules that are not what was pinned.
    fn out_of_file(&self, policy: &Policy) -> Vec<(Option<Place>, String)> {
        let mut problems = Vec::new();
        if let Err(closed) = self.judge.openings(policy, None) {
            let located = |problem: Problem| (self.judge.place(&problem.path), problem.to_string());
            problems.extend(closed.into_iter().map(located));
        }
        for (number, pinned) in policy.modules().iter().enumerate() {
            let tried = self.judge.try_policy(pinned);
            problems.extend(self.of_module(&format!("modules[{number}]"), tried));
        }
        for (number, pinned) in policy.sanitizers().iter().enumerate() {
            let tried = self.judge.try_sanitizer(pinned);
            problems.extend(self.of_module(&format!("sanitizers[{number}]"), tried));
        }
        problems
    }

    fn of_module(
        &self,
        entry: &str,
        tried: Result<(), RunError>,
    ) -> Option<(Option<Place>, String)> {
        let fact = match tried.err()? {
            RunError::Module(unusable) => unusable.to_string(),
            other => other.to_string(),
        };
        Some((self.judge.place(entry), format!("{entry}: {fact}")))
    }

    /// Whether the file names modules of either kind, so that something has to be compiled.
    pub fn names_modules(&self) -> bool {
        let names =
            |policy: Arc<Policy>| !policy.modules().is_empty() || !policy.sanitizers().is_empty();
        self.judge.policy().is_ok_and(names)
    }

    /// Keeps compiled code where the unlocked vault keeps it, so that nobody waits for it again.
    pub fn keep_code_of(&mut self, vault: &PersonDoor) {
        self.judge.cache.clone_from(&vault.broker.judge.cache);
    }

    /// Whether decisions depend on what the vault holds: modules see the tags of keys.
    pub fn has_modules(&self) -> Result<bool, RunError> {
        Ok(!self.judge.policy()?.modules().is_empty())
    }

    /// What the server of a project would do about a request, up to the start of the command. Without the vault, keys have no tags and
    /// are taken to exist.
    pub fn explain(
        &self,
        project: &Path,
        agent: &str,
        request: &RunRequest,
        vault: Option<&PersonDoor>,
    ) -> Result<Explained, RunError> {
        let policy = self.judge.policy()?;
        let project = Project::new(project, &self.judge.kept);
        let has_pattern = request.keys.iter().any(|key| key.exact().is_none());
        let entries = match vault {
            None => None,
            // It tells the names of secrets, which is recorded.
            Some(vault) if has_pattern => Some(vault.entries()?),
            Some(vault) => Some(vault.broker.vault().entries()?),
        };
        let keys = Keys(entries.as_deref());
        let judge = &self.judge;
        let mut explained = Explained {
            facts: None,
            canonical: None,
            answer: Err(RunError::NamesUnknown),
            knows_vault: vault.is_some(),
        };
        let facts = match judge.facts(&policy, &project, &keys, agent, request) {
            Ok(facts) => facts,
            Err(error) => {
                explained.answer = Err(error);
                return Ok(explained);
            }
        };
        explained.answer = judge
            .grant(&policy, &facts.question, &|name| tags(name, &keys))
            .and_then(|grant| {
                let prepared = judge.prepare(&policy, &project, &keys, request, &facts, &grant)?;
                if let Some(vault) = vault {
                    require_hidable(vault, &prepared)?;
                }
                require_layers(&policy, &grant, &prepared)?;
                Ok(grant)
            });
        let program = facts.program.as_ref();
        explained.canonical = program.and_then(|program| fs::canonicalize(&program.path).ok());
        explained.facts = Some(facts.question);
        Ok(explained)
    }

    /// Where a rule stands in the file, if it is one of the file's.
    pub fn place_of(&self, rule: &str) -> Option<Place> {
        let policy = self.judge.policy().ok()?;
        let mut modules = policy.modules().iter();
        let module = modules.position(|pinned| {
            let rest = rule.strip_prefix(pinned.path());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
        });
        let entry = match module {
            Some(number) => format!("modules[{number}]"),
            None => entry_of(rule)?,
        };
        self.judge.place(&entry)
    }
}

/// Looks at the values as a run does, for their length alone: nothing of them goes anywhere from here.
fn require_hidable(vault: &PersonDoor, prepared: &Prepared) -> Result<(), RunError> {
    let Prepared {
        selected,
        variables,
        ..
    } = prepared;
    let values = vault.broker.reveal(selected, variables, AGENT_MIN_BYTES);
    values.map(drop)
}

/// Tries out the layers of confinement without which the command would not be started.
fn require_layers(policy: &Policy, grant: &Grant, prepared: &Prepared) -> Result<(), RunError> {
    let layers = required_layers(policy, grant);
    if layers.is_empty() {
        return Ok(());
    }
    let enforcement = Runner::beside_current_exe()?.probe(&prepared.confinement)?;
    match layers.into_iter().find(|layer| !enforcement.has(layer)) {
        None => Ok(()),
        Some(layer) => Err(RunError::Start {
            program: prepared.program.path.clone(),
            error: StartError {
                stage: Stage::Confinement,
                cause: Cause::LayerMissing(layer),
            },
        }),
    }
}

/// The entry of the file that a rule names: `policies[0] claude: denied_keys[1] x` is `policies[0].denied_keys[1]`.
fn entry_of(rule: &str) -> Option<String> {
    let word = |text: &str| text.split([':', ' ']).next().map(str::to_owned);
    let entry = word(rule)?;
    match rule.rsplit_once(": ") {
        Some((_, inner)) if entry.starts_with("policies[") => {
            Some(format!("{entry}.{}", word(inner)?))
        }
        _ => Some(entry),
    }
}

/// Whether two paths name one entry of one directory.
fn is_same_place(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let parent = fs::canonicalize(parent.unwrap_or(Path::new("."))).ok()?;
        Some(parent.join(path.file_name()?))
    };
    a == b || place(a).is_some_and(|place_of_a| place(b) == Some(place_of_a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_its_entry() {
        for (rule, entry) in [
            ("allowed_commands[0]: npm: test", "allowed_commands[0]"),
            (
                "policies[1] my agent: denied_keys[2] */prod",
                "policies[1].denied_keys[2]",
            ),
            ("policies[1] a: b: capabilities", "policies[1].capabilities"),
            ("default_action: deny", "default_action"),
            ("policies", "policies"),
        ] {
            assert_eq!(entry_of(rule).as_deref(), Some(entry));
        }
    }

    #[test]
    fn the_vaults_own_file_is_known_by_any_path() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = |path: &str| {
            let path = dir.path().join(path);
            PolicyDoor::new(dir.path().to_owned(), Some(&path), &Outside::default()).is_own()
        };
        assert!(file(POLICY_FILE) && file("./mcp-policy.yaml"));
        assert!(!file("other.yaml") && !file("missing/mcp-policy.yaml"));
    }
}
