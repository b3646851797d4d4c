//! The person's handle: the owner of the secrets may do everything, and everything is recorded.

use std::env;
use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secretctl_runner::{Cancel, Confinement, Home, Limits, Network, Stdin, Stop, WorkingDirectory};

use super::hide;
use super::jail::{PersonJail, current_dir, leads_out};
use super::keyring::Keyring;
use super::plan::Start;
use super::run::{Finished, Job, Output};
use super::selection::{self, Selected};
use super::{Broker, Caution, Outside, RunError};
use crate::audit::{self, Action, Detail, Log, Outcome, Source};
use crate::name::{EnvName, KeyPattern, SecretName};
use crate::policy::{self, Grant, Workdir};
use crate::sanitize::{Channel, Sanitized};
use crate::secret::SecretBytes;
use crate::time;
use crate::vault::{Entry, FieldInfo, Fields, KdfParams, LockedVault, Vault};

/// Processes and threads of a command in a jail: more than any build has, and not yet the machine's end.
const PROCESSES: u32 = 4096;

/// Where the owner comes in.
pub struct PersonDoor {
    pub(super) broker: Broker,
}

/// A command that a person runs.
#[derive(Clone, Debug)]
pub struct PersonRun {
    /// Keys and patterns.
    pub keys: Vec<KeyPattern>,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// The environment whose aliases apply.
    pub env: Option<String>,
    /// In front of the names of variables.
    pub env_prefix: Option<EnvName>,
    /// The time limit.
    pub timeout: Duration,
    /// The jail to run in; none to run as the caller could without this program.
    pub jail: Option<PersonJail>,
}

/// Takes the output of a person's command.
pub enum Shown<'a> {
    /// With secrets hidden.
    Sanitized(&'a mut dyn FnMut(Channel, &Sanitized) -> ControlFlow<Stop>),
    /// As it is.
    Raw(&'a mut dyn FnMut(Channel, &[u8]) -> ControlFlow<Stop>),
}

impl PersonDoor {
    /// Makes a new vault in `dir`, with its log.
    pub fn create(
        dir: &Path,
        password: &SecretBytes,
        params: KdfParams,
        outside: &Outside,
    ) -> Result<Vec<Caution>, RunError> {
        let vault = LockedVault::create_with(
            dir,
            password,
            params,
            time::now(),
            |vault| -> Result<(), RunError> {
                let log = Log::new(super::audit_keys(vault.audit_keys()));
                let transaction = vault.begin()?;
                log.install(transaction.connection())?;
                let entry = audit::Entry {
                    action: Action::VaultInit,
                    source: Source::Cli,
                    outcome: Outcome::Success,
                    keys: Vec::new(),
                    detail: Detail::default(),
                };
                log.record(transaction, &entry, ())?.into_inner();
                Ok(())
            },
        )?;
        Self::new(vault, outside).broker.write_anchor()
    }

    /// Opens the door. Commands in a jail see nothing of `outside`.
    pub fn new(vault: Vault, outside: &Outside) -> Self {
        Self {
            broker: Broker::new(vault, outside, Source::Cli),
        }
    }

    /// Enters, if the vault is the one that was there last. Gives what a person should know. Who only wants to find out what is wrong
    /// with a vault does not enter.
    pub fn enter(&self) -> Result<Vec<Caution>, RunError> {
        self.broker.enter()
    }

    /// Records that the vault is opened for a time.
    pub fn note_session(&self, limits: &str) -> Result<(), RunError> {
        let detail = Detail {
            reason: Some(format!("for {limits}")),
            ..Detail::default()
        };
        let broker = &self.broker;
        broker.note(broker.entry(Action::VaultUnlock, Outcome::Success, Vec::new(), detail))
    }

    /// A secret with its values.
    pub fn get(&self, name: &SecretName) -> Result<(Entry, Fields), RunError> {
        let (_, mut found) = self.reveal(Action::SecretGet, vec![name.clone()])?;
        found
            .pop()
            .ok_or_else(|| RunError::SecretNotFound(name.to_string()))
    }

    /// All secrets without their values, sorted by name.
    pub fn entries(&self) -> Result<Vec<Entry>, RunError> {
        let broker = &self.broker;
        broker.note(broker.entry(
            Action::SecretList,
            Outcome::Success,
            Vec::new(),
            Detail::default(),
        ))?;
        Ok(broker.vault().entries()?)
    }

    /// A secret without its values.
    pub fn entry(&self, name: &SecretName) -> Result<Entry, RunError> {
        let broker = &self.broker;
        broker.note(broker.entry(
            Action::SecretList,
            Outcome::Success,
            vec![name.clone()],
            Detail::default(),
        ))?;
        (broker.lookup(name)?).ok_or_else(|| RunError::SecretNotFound(name.to_string()))
    }

    /// The fields that a secret has, to help with changing it; none if it does not exist.
    pub fn fields(&self, name: &SecretName) -> Result<Vec<FieldInfo>, RunError> {
        let entry = self.broker.lookup(name)?;
        Ok(entry.map_or_else(Vec::new, |entry| entry.metadata.fields))
    }

    /// The names of all secrets, to help with a mistyped one.
    pub fn names(&self) -> Result<Vec<SecretName>, RunError> {
        Ok(self.broker.vault().names()?)
    }

    /// All secrets that `patterns` mean, with their values; every pattern must find something.
    pub fn export(&self, patterns: &[KeyPattern]) -> Result<Vec<(Entry, Fields)>, RunError> {
        let names = self
            .select(patterns, None)?
            .into_iter()
            .map(|one| one.name)
            .collect();
        Ok(self.reveal(Action::SecretExport, names)?.1)
    }

    /// A jail around the caller's directory, if that can be a project, with the programs of the caller's `PATH` and what
    /// `read` and `write` name.
    pub fn jail(
        &self,
        network: Network,
        read: &[PathBuf],
        write: &[PathBuf],
    ) -> Result<PersonJail, RunError> {
        PersonJail::new(&self.broker.judge.kept, network, read, write)
    }

    /// Runs a command with secrets in its environment: in the caller's directory, with the caller's own environment. In a jail,
    /// its home is a fresh directory, and it does not get to know of the sockets of the caller's session.
    pub fn run(
        &self,
        run: PersonRun,
        stdin: Stdin,
        cancel: &Cancel,
        shown: Shown<'_>,
    ) -> Result<Finished, RunError> {
        let broker = &self.broker;
        let selected = self.select(&run.keys, run.env.as_deref())?;
        let lookup = |name: &SecretName| broker.lookup(name);
        let variables = selection::variables(&selected, run.env_prefix.as_ref(), false, lookup)?;
        let (program, arguments) = run
            .command
            .split_first()
            .ok_or_else(|| RunError::Command("it is empty".to_owned()))?;
        let path = find(program)?;
        let is_open = run.jail.is_none();
        let require = run.jail.as_ref().map_or_else(Vec::new, PersonJail::require);
        let (directory, home, confinement) = match run.jail {
            Some(jail) => (jail.directory(), Home::Temporary, jail.confinement(&path)),
            None => {
                let here = WorkingDirectory::At(current_dir()?);
                (here, Home::Unchanged, Confinement::Base)
            }
        };
        let keys: Vec<SecretName> = selected.iter().map(|one| one.name.clone()).collect();
        let mut detail = Detail {
            argv: run
                .command
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
            environment: run.env.clone(),
            directory: match &directory {
                WorkingDirectory::At(path) => Some(path.to_string_lossy().into_owned()),
                WorkingDirectory::Temporary => None,
            },
            ..Detail::default()
        };
        // To keep them out of the log: before the record, nothing of them goes anywhere from here.
        let values = broker.reveal(&selected, &variables, 0)?;
        let sanitizer = broker.hide_in_detail(&hide::named(&values), &mut detail)?;
        let start = Start {
            program: path,
            file: None,
            name: program.clone(),
            arguments: arguments.to_vec(),
            directory,
            home,
            environment: env::vars_os()
                .filter(|(name, _)| !is_ours(name) && (is_open || !leads_out(name)))
                .collect(),
            require,
            limits: Limits {
                file_size_bytes: None,
                processes: PROCESSES,
                ..Limits::default()
            },
            confinement,
        };
        let grant = Grant {
            keys: keys.clone(),
            timeout: run.timeout,
            output_bytes: u64::MAX,
            network: policy::Network::Allow,
            workdir: Workdir::Project,
            // The person's own shell has done that.
            expand_arguments: false,
            rule: "the owner".to_owned(),
        };
        let grant = broker.record(
            broker.entry(Action::SecretRun, Outcome::Success, keys, detail.clone()),
            grant,
        )?;
        let job = Job {
            start,
            selected,
            variables,
            values,
            sanitizer,
            sanitizers: Vec::new(),
            detail,
        };
        let output = match shown {
            Shown::Sanitized(show) => Output::Sanitized(show),
            Shown::Raw(show) => Output::Raw(show),
        };
        broker.execute(&grant, job, stdin, cancel, output)
    }

    /// Records the use, then reads the values. Gives the record's id as well.
    pub(super) fn reveal(
        &self,
        action: Action,
        names: Vec<SecretName>,
    ) -> Result<(String, Vec<(Entry, Fields)>), RunError> {
        let broker = &self.broker;
        for name in &names {
            if broker.vault().entry(name)?.is_none() {
                return Err(RunError::SecretNotFound(name.to_string()));
            }
        }
        let entry = broker.entry(action, Outcome::Success, names.clone(), Detail::default());
        let recorded = broker.record(entry, names)?;
        let id = recorded.id().id.clone();
        let names = recorded.into_inner();
        let vault = broker.vault();
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            match (vault.entry(&name)?, vault.reveal(&name)?) {
                (Some(entry), Some(fields)) => found.push((entry, fields)),
                _ => return Err(RunError::SecretNotFound(name.to_string())),
            }
        }
        Ok((id, found))
    }

    /// What `patterns` mean; every one must find something.
    pub(super) fn select(
        &self,
        patterns: &[KeyPattern],
        env: Option<&str>,
    ) -> Result<Vec<Selected>, RunError> {
        let broker = &self.broker;
        let policy = match env {
            Some(_) => Some(broker.policy()?),
            None => None,
        };
        let aliases = policy.as_deref().zip(env);
        let mut selected: Vec<Selected> = Vec::new();
        for pattern in patterns {
            let names = || Ok(broker.vault().names()?);
            let found = selection::select(std::slice::from_ref(pattern), aliases, names)?;
            let exists = match found.first() {
                Some(one) => broker.vault().entry(&one.name)?.is_some(),
                None => false,
            };
            if !exists {
                return Err(RunError::SecretNotFound(pattern.as_str().to_owned()));
            }
            for one in found {
                if selected.iter().all(|other| other.name != one.name) {
                    selected.push(one);
                }
            }
        }
        Ok(selected)
    }
}

/// Variables that are meant for this program and not for its children.
fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"SECRETCTL_")
}

/// The file that a shell would run for this word.
fn find(program: &OsStr) -> Result<PathBuf, RunError> {
    let not_found = || RunError::ProgramNotFound(program.to_string_lossy().into_owned());
    if program.as_encoded_bytes().contains(&b'/') {
        return std::path::absolute(program)
            .ok()
            .filter(|path| path.exists())
            .ok_or_else(not_found);
    }
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let candidates = env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program));
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(not_found)
}
