//! The agent's handle: names, masks and sanitized output. It has no way to a value.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secretctl_runner::{Cancel, Enforcement, Home, Limits, Stdin, WorkingDirectory};

use super::plan::{self, Start};
use super::program::{Program, TrustedPath};
use super::run::{Ended, Job, Output};
use super::selection::{self, Selected};
use super::words::Words;
use super::{Broker, RunError};
use crate::audit::{Action, Detail, Module, Outcome, Recorded, Source};
use crate::name::{EnvName, KeyPattern, SecretName, Tag};
use crate::policy::{self, Decision, Grant, Key, Moment, Network, Policy, Purpose, Request, Workdir};
use crate::sanitize::{Capped, Channel, Redaction};
use crate::time;
use crate::vault::{Entry, Vault};
use crate::wasm::Identity;

/// Shortest value that is injected for an agent, in bytes: hiding a shorter one would destroy the output and confirm guesses.
const VALUE_MIN_BYTES: usize = 4;
/// Shortest value whose last characters are shown in a mask, in bytes.
const MASK_TAIL_FROM_BYTES: usize = 9;
/// Characters of a value that its mask shows.
const MASK_TAIL_CHARACTERS: usize = 4;
/// What stands for the rest, whatever its length.
const MASK: &str = "********";
/// Longest name of an agent, in characters: it is the client's own choice.
const AGENT_MAX_CHARACTERS: usize = 128;

/// The runner's name for the layer that keeps a command from the network.
const NETWORK_LAYER: &str = "network";
/// Why a directory is refused.
const NOT_IN_PROJECT: &str = "it is not a directory in the project";

/// Where agents come in.
pub struct AgentDoor {
    broker: Broker,
    project: Result<PathBuf, String>,
}

/// Which secrets are listed.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Only those with this tag.
    pub tag: Option<Tag>,
    /// Only those that expire within this time, or have expired.
    pub expiring_within: Option<Duration>,
    /// Only those whose names begin like this.
    pub prefix: Option<String>,
}

/// What an agent may know of a secret beside its masked value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub key: SecretName,
    /// Its fields: names, and whether their values may never be shown.
    pub fields: Vec<(String, bool)>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Text beside it.
    pub notes: Option<String>,
    /// Where it is used.
    pub url: Option<String>,
    /// Unix seconds.
    pub expires_at: Option<i64>,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub updated_at: i64,
}

impl From<Entry> for Listed {
    fn from(entry: Entry) -> Self {
        let Entry { name, metadata, created_at, updated_at } = entry;
        let fields = metadata.fields.into_iter().map(|field| (field.name.into(), field.sensitive));
        Self {
            key: name,
            fields: fields.collect(),
            tags: metadata.tags.into_iter().map(String::from).collect(),
            notes: metadata.notes,
            url: metadata.url,
            expires_at: metadata.expires_at,
            created_at,
            updated_at,
        }
    }
}

/// A secret with its value masked: fixed in length, so that it does not tell the value's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked {
    /// The mask, with the last four characters of a value that has at least 9 bytes.
    pub value: String,
    /// All else.
    pub listed: Listed,
}

/// A command that an agent asks for.
#[derive(Clone, Debug, Default)]
pub struct RunRequest {
    /// Keys and patterns.
    pub keys: Vec<KeyPattern>,
    /// The program, or a whole command line.
    pub command: String,
    /// The program's arguments; none for a whole command line.
    pub arguments: Vec<String>,
    /// The environment whose aliases apply.
    pub env: Option<String>,
    /// In front of the names of variables.
    pub env_prefix: Option<EnvName>,
    /// The directory to run in, below the project's root.
    pub cwd: Option<String>,
    /// The time limit.
    pub timeout: Option<Duration>,
}

/// What an agent gets to know of a command that has ended.
#[derive(Clone, Debug)]
pub struct RunAnswer {
    /// How it ended.
    pub ended: Ended,
    /// What it wrote, sanitized.
    pub stdout: String,
    /// What it wrote to its error stream, sanitized.
    pub stderr: String,
    /// How long it ran.
    pub duration: Duration,
    /// What was hidden.
    pub redactions: Vec<Redaction>,
    /// Whether output was left out for its length.
    pub truncated: bool,
    /// What confined it, and what did not.
    pub enforcement: Enforcement,
}

impl AgentDoor {
    /// Opens the door. Commands may run below `project`, if that is a directory of its own.
    pub fn new(vault: Vault, project: &Path) -> Self {
        Self { broker: Broker::new(vault, Source::Mcp), project: project_root(project) }
    }

    /// Records that the vault is open to agents from now on.
    pub fn opened(&self) -> Result<(), RunError> {
        let entry = self.broker.entry(Action::VaultUnlock, Outcome::Success, Vec::new(), Detail::default());
        self.broker.note(entry)
    }

    /// The secrets that the agent may know of.
    pub fn list(&self, agent: &str, listing: &Listing) -> Result<Vec<Listed>, RunError> {
        let entries = self.broker.vault().entries()?;
        let wanted = |entry: &Entry| {
            let Listing { tag, expiring_within, prefix } = listing;
            tag.as_ref().is_none_or(|tag| entry.metadata.tags.contains(tag))
                && prefix.as_ref().is_none_or(|prefix| entry.name.as_str().starts_with(prefix.as_str()))
                && expiring_within.is_none_or(|within| expires_within(entry, within))
        };
        let entries = entries.into_iter().filter(wanted).collect();
        let visible = self.visible(agent, Purpose::Reference, entries, false)?;
        self.note(agent, Action::SecretList, Vec::new())?;
        Ok(visible.into_iter().map(Listed::from).collect())
    }

    /// The secrets that a key or pattern means, as far as the agent may know of them.
    pub fn matching(&self, agent: &str, pattern: &KeyPattern) -> Result<Vec<Listed>, RunError> {
        let exact = pattern.exact();
        let entries = match &exact {
            Some(name) => self.broker.vault().entry(name)?.into_iter().collect(),
            None => {
                let entries = self.broker.vault().entries()?;
                entries.into_iter().filter(|entry| pattern.matches(&entry.name)).collect()
            }
        };
        let visible = self.visible(agent, Purpose::Reference, entries, exact.is_some())?;
        self.note(agent, Action::SecretExists, exact.into_iter().collect())?;
        Ok(visible.into_iter().map(Listed::from).collect())
    }

    /// A secret with its value masked.
    pub fn masked(&self, agent: &str, name: &SecretName) -> Result<Masked, RunError> {
        let entry = self.broker.vault().entry(name)?;
        let visible = self.visible(agent, Purpose::Masked, entry.into_iter().collect(), true)?;
        let Some(entry) = visible.into_iter().next() else {
            return Err(RunError::SecretNotFound(name.to_string()));
        };
        self.note(agent, Action::SecretGetMasked, vec![name.clone()])?;
        let fields = self.broker.vault().reveal(name)?.ok_or_else(|| RunError::SecretNotFound(name.to_string()))?;
        let value = fields.iter().next().map_or_else(|| MASK.to_owned(), |field| mask(field.value.expose()));
        Ok(Masked { value, listed: entry.into() })
    }

    /// Runs a command with secrets in its environment and hides them in its output.
    pub fn run(&self, agent: &str, request: &RunRequest, cancel: &Cancel) -> Result<RunAnswer, RunError> {
        let (grant, job) = match self.decide(agent, request) {
            Ok(allowed) => allowed,
            Err(error) => {
                self.record_refusal(agent, request, &error)?;
                return Err(error);
            }
        };
        let output_bytes = usize::try_from(grant.get().output_bytes).unwrap_or(usize::MAX);
        let (mut stdout, mut stderr) = (Capped::new(output_bytes), Capped::new(output_bytes));
        let mut show = |channel, output: &_| {
            match channel {
                Channel::Stdout => stdout.push(output),
                Channel::Stderr => stderr.push(output),
            }
            ControlFlow::Continue(())
        };
        let finished = self.broker.execute(&grant, job, Stdin::Null, cancel, Output::Sanitized(&mut show))?;
        Ok(RunAnswer {
            ended: finished.ended,
            truncated: stdout.omitted() + stderr.omitted() > 0,
            stdout: stdout.into_text(),
            stderr: stderr.into_text(),
            duration: finished.duration,
            redactions: finished.redactions,
            enforcement: finished.enforcement,
        })
    }

    /// Gathers the facts, asks the policy, and records its yes.
    fn decide(&self, agent: &str, request: &RunRequest) -> Result<(Recorded<Grant>, Job), RunError> {
        let broker = &self.broker;
        let policy = broker.policy()?;
        let words = Words::parse(&request.command, &request.arguments)?;
        let path = TrustedPath::new(trusted_dirs(&policy));
        let place = self.place(&words.program, request.cwd.as_deref())?;
        let program = path.find(&place.program, &broker.names)?;
        let aliases = request.env.as_deref().map(|env| (&*policy, env));
        let selected = selection::select(&request.keys, aliases, || Ok::<_, RunError>(broker.vault().names()?))?;

        let question = Request {
            purpose: Purpose::Inject,
            agent: label(agent),
            keys: self.keys(&selected)?,
            command: Some(policy::Command {
                program: Program::facts(place.requested.clone(), program.as_ref()),
                arguments: words.arguments.clone(),
            }),
            directory: place.directory.clone(),
            timeout: request.timeout,
            time: moment(),
        };
        let grant = match self.judge(&policy, &question)? {
            Decision::Allow(grant) => grant,
            Decision::Ask(question) => return Err(RunError::NeedsApproval(question)),
            Decision::Deny(denial) => return Err(RunError::Denied(denial)),
        };
        let program = program.ok_or_else(|| RunError::ProgramNotFound(words.program.clone()))?;
        let selected: Vec<Selected> = selected.into_iter().filter(|one| grant.keys.contains(&one.name)).collect();
        self.require_usable(request, &selected)?;
        let variables = selection::variables(&selected, request.env_prefix.as_ref())?;

        let keys = selected.iter().map(|one| one.name.clone()).collect();
        let detail = Detail {
            rule: Some(grant.rule.clone()),
            directory: place.directory.clone(),
            modules: [broker.host()?.policy().identity(), broker.host()?.sanitizer().identity()].map(logged).to_vec(),
            ..detail(agent, request)
        };
        let mut require = policy.required_layers().to_vec();
        if grant.network == Network::None {
            // A grant without a network is worth nothing where it cannot be enforced.
            require.push(NETWORK_LAYER.to_owned());
        }
        let start = Start {
            name: program.path.file_name().unwrap_or(program.path.as_os_str()).to_owned(),
            program: program.path,
            file: Some(program.file),
            arguments: words.arguments.into_iter().map(Into::into).collect(),
            directory: self.working_directory(&place, &grant)?,
            home: Home::Temporary,
            environment: plan::agent_environment(path.variable(), policy.env_pass()),
            require,
            limits: Limits { processes: policy.limits().processes, ..Limits::default() },
        };
        let entry = broker.entry(Action::SecretRun, Outcome::Success, keys, detail.clone());
        Ok((broker.record(entry, grant)?, Job { start, selected, variables, value_min_bytes: VALUE_MIN_BYTES, detail }))
    }

    fn judge(&self, policy: &Policy, request: &Request) -> Result<Decision, RunError> {
        let module = self.broker.host()?.policy();
        module.decide(policy.guest_document(), request).map_err(RunError::PolicyModule)
    }

    /// The keys of a run, as policy sees them.
    fn keys(&self, selected: &[Selected]) -> Result<Vec<Key>, RunError> {
        let vault = self.broker.vault();
        let key = |one: &Selected| {
            let tags = vault.entry(&one.name)?.map(|entry| entry.metadata.tags).unwrap_or_default();
            Ok(Key { name: one.name.clone(), named: one.named, tags })
        };
        selected.iter().map(key).collect()
    }

    /// Which of `entries` the agent may use for `purpose`. Without a policy file, all of them.
    fn visible(&self, agent: &str, purpose: Purpose, entries: Vec<Entry>, named: bool) -> Result<Vec<Entry>, RunError> {
        let Ok(policy) = self.broker.policy() else { return Ok(entries) };
        let key = |entry: &Entry| Key { name: entry.name.clone(), named, tags: entry.metadata.tags.clone() };
        let request = Request {
            purpose,
            agent: label(agent),
            keys: entries.iter().map(key).collect(),
            command: None,
            directory: None,
            timeout: None,
            time: moment(),
        };
        match self.judge(&policy, &request)? {
            Decision::Allow(grant) => {
                let granted: std::collections::HashSet<SecretName> = grant.keys.into_iter().collect();
                Ok(entries.into_iter().filter(|entry| granted.contains(&entry.name)).collect())
            }
            Decision::Ask(question) => Err(RunError::NeedsApproval(question)),
            Decision::Deny(denial) => Err(RunError::Denied(denial)),
        }
    }

    /// Every secret is there and valid; a pattern has found something.
    fn require_usable(&self, request: &RunRequest, selected: &[Selected]) -> Result<(), RunError> {
        if selected.is_empty() {
            let patterns: Vec<_> = request.keys.iter().map(KeyPattern::as_str).collect();
            return Err(RunError::SecretNotFound(patterns.join(", ")));
        }
        let vault = self.broker.vault();
        for Selected { name, asked, .. } in selected {
            let entry = vault.entry(name)?.ok_or_else(|| RunError::SecretNotFound(asked.clone()))?;
            if entry.is_expired(time::now()) {
                return Err(RunError::Expired(name.clone()));
            }
        }
        Ok(())
    }

    fn note(&self, agent: &str, action: Action, keys: Vec<SecretName>) -> Result<(), RunError> {
        let detail = Detail { agent: Some(label(agent)), ..Detail::default() };
        self.broker.note(self.broker.entry(action, Outcome::Success, keys, detail))
    }

    fn record_refusal(&self, agent: &str, request: &RunRequest, error: &RunError) -> Result<(), RunError> {
        let mut detail = detail(agent, request);
        detail.reason = Some(error.to_string());
        let outcome = match error {
            RunError::Denied(denial) => {
                detail.rule = Some(denial.rule.clone());
                detail.remedy = Some(denial.remedy.clone()).filter(|remedy| !remedy.is_empty());
                Outcome::Denied
            }
            RunError::NeedsApproval(question) => {
                detail.rule = Some(question.grant.rule.clone());
                Outcome::Denied
            }
            RunError::Policy(_) | RunError::PolicyModule(_) | RunError::Program { .. } | RunError::Directory(_) => {
                Outcome::Denied
            }
            _ => Outcome::Error,
        };
        let keys = request.keys.iter().filter_map(KeyPattern::exact).collect();
        self.broker.note(self.broker.entry(Action::SecretRun, outcome, keys, detail))
    }

    /// Where a program named in a command line is looked up, and which directory was asked for.
    fn place(&self, program: &str, cwd: Option<&str>) -> Result<Place, RunError> {
        let relative = program.contains('/') && !program.starts_with('/');
        if cwd.is_none() && !relative {
            return Ok(Place { program: program.to_owned(), requested: program.to_owned(), directory: None });
        }
        let root = self.project.as_ref().map_err(|fact| RunError::Directory(fact.clone()))?;
        let directory = below(root, &root.join(cwd.unwrap_or(".")))?;
        if !directory.is_dir() {
            return Err(RunError::Directory(NOT_IN_PROJECT.to_owned()));
        }
        let in_project = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        let (program, requested) = if relative {
            // Policy judges the place below the project's root, however it was written.
            let path = below(root, &directory.join(program)).map_err(|_| RunError::ProgramNotFound(program.to_owned()))?;
            (path.to_string_lossy().into_owned(), format!("./{}", in_project(&path)))
        } else {
            (program.to_owned(), program.to_owned())
        };
        Ok(Place { program, requested, directory: Some(in_project(&directory)) })
    }

    fn working_directory(&self, place: &Place, grant: &Grant) -> Result<WorkingDirectory, RunError> {
        let relative = match (&place.directory, grant.workdir) {
            (None, Workdir::Temporary) => return Ok(WorkingDirectory::Temporary),
            (None, Workdir::Project) => "",
            (Some(directory), _) => directory,
        };
        let root = self.project.as_ref().map_err(|fact| RunError::Directory(fact.clone()))?;
        Ok(WorkingDirectory::At(root.join(relative)))
    }
}

fn detail(agent: &str, request: &RunRequest) -> Detail {
    Detail {
        argv: std::iter::once(&request.command).chain(&request.arguments).cloned().collect(),
        agent: Some(label(agent)),
        environment: request.env.clone(),
        directory: request.cwd.clone(),
        ..Detail::default()
    }
}

struct Place {
    /// A bare name or an absolute path.
    program: String,
    /// The same for policy: a path in the project begins with `./`.
    requested: String,
    /// Relative to the project's root.
    directory: Option<String>,
}

/// The project's root: a directory, but neither `/` nor the home directory itself.
fn project_root(dir: &Path) -> Result<PathBuf, String> {
    let root = std::fs::canonicalize(dir).map_err(|error| format!("the project {}: {error}", dir.display()))?;
    let home = std::env::home_dir().and_then(|home| std::fs::canonicalize(home).ok());
    if root.parent().is_none() || home.as_deref() == Some(&root) {
        return Err(format!("the server has no project: it was started in {}", root.display()));
    }
    Ok(root)
}

/// The canonical path, if it is the root or lies below it. What lies elsewhere might as well not exist.
fn below(root: &Path, path: &Path) -> Result<PathBuf, RunError> {
    let canonical = std::fs::canonicalize(path).ok().filter(|path| path.starts_with(root));
    canonical.ok_or_else(|| RunError::Directory(NOT_IN_PROJECT.to_owned()))
}

/// The directories that the policy file trusts beside the system's: those that exist of what it names.
fn trusted_dirs(policy: &Policy) -> Vec<PathBuf> {
    policy.trusted_dirs().iter().flat_map(|dir| super::program::expand_dir(dir)).collect()
}

fn expires_within(entry: &Entry, within: Duration) -> bool {
    let limit = time::now().saturating_add(i64::try_from(within.as_secs()).unwrap_or(i64::MAX));
    entry.metadata.expires_at.is_some_and(|at| at <= limit)
}

fn moment() -> Moment {
    let now = time::now();
    Moment { unix_seconds: now.unsigned_abs(), utc_offset_minutes: time::utc_offset_minutes(now) }
}

/// An agent's name as it can stand in a log and in a policy.
fn label(agent: &str) -> String {
    agent.chars().filter(|c| !c.is_control()).take(AGENT_MAX_CHARACTERS).collect()
}

fn logged(identity: &Identity) -> Module {
    Module { name: identity.name.clone(), sha256: identity.sha256.clone() }
}

/// The mask of a value. Only printable ASCII is shown of it: anything else could be more than it looks.
fn mask(value: &[u8]) -> String {
    let tail = &value[value.len().saturating_sub(MASK_TAIL_CHARACTERS)..];
    if value.len() < MASK_TAIL_FROM_BYTES || !tail.iter().all(u8::is_ascii_graphic) {
        return MASK.to_owned();
    }
    format!("{MASK}{}", String::from_utf8_lossy(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_does_not_tell_the_length() {
        assert_eq!(mask(b"sk-proj-abc123xyz789"), "********z789");
        assert_eq!(mask(b"123456789"), "********6789");
        for short in [b"".as_slice(), b"1234", b"12345678"] {
            assert_eq!(mask(short), "********");
        }
        assert_eq!(mask(b"line one\nx\n"), "********");
        assert_eq!(mask("größer als".as_bytes()), "********");
        assert_eq!(mask("a value ending in ü".as_bytes()), "********");
    }

    #[test]
    fn a_project_is_a_directory_of_its_own() {
        assert!(project_root(Path::new("/")).is_err());
        assert!(project_root(Path::new("/nonexistent/project")).is_err());
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = project_root(dir.path()).expect("a project");
        assert!(below(&root, &root.join("..")).is_err());
        assert_eq!(below(&root, &root).expect("itself"), root);
    }

    #[test]
    fn an_agents_name_cannot_break_a_line() {
        assert_eq!(label("claude\n-code\u{1b}[0m"), "claude-code[0m");
        assert_eq!(label(&"x".repeat(1000)).len(), AGENT_MAX_CHARACTERS);
    }
}
