//! The jails of both doors: an agent's is what the policy file says, a person's what the command line says.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use secretctl_runner::{Confinement, Enforcement, Jail, Network, Runner, WorkingDirectory};

use super::agent::AgentDoor;
use super::judge::Judge;
use super::program::{self, Program};
use super::project::Project;
use super::reach::{self, Closed, Reach};
use super::{POLICY_FILE, RunError};
use crate::policy::{self, Fault, Policy, PolicyError, Problem, Workdir};

/// Variables that lead a program to a socket of the user's session. None of those is in the jail.
const OF_THE_SESSION: [&str; 5] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "SSH_AUTH_SOCK",
    "WAYLAND_DISPLAY",
    "XDG_RUNTIME_DIR",
];

/// The runner's name for the layer that keeps a command from the network.
pub(super) const NETWORK_LAYER: &str = "network";

impl Judge {
    /// The jail of a command: with `program`, if that is known already, and with the project if it runs there.
    pub(super) fn jail(
        &self,
        project: &Project,
        policy: &Policy,
        program: Option<&Program>,
        directory: &WorkingDirectory,
        network: policy::Network,
    ) -> Result<Confinement, RunError> {
        let root = project.root().ok();
        let mut reach = self
            .openings(policy, root)
            .map_err(|problems| PolicyError {
                path: self.dir.join(POLICY_FILE),
                fault: Fault::Invalid(problems),
            })?;
        if let (WorkingDirectory::At(_), Some(root)) = (directory, root) {
            reach.project(root);
        }
        trusted_dirs(policy)
            .iter()
            .for_each(|dir| reach.look_up(dir));
        if let Some(program) = program {
            reach.program(&program.path);
        }
        let network = match network {
            policy::Network::Allow => Network::Allow,
            policy::Network::None => Network::None,
        };
        Ok(Confinement::Jail(reach.jail(network)))
    }

    /// What the policy file opens to every command, or why that cannot be.
    pub(super) fn openings(
        &self,
        policy: &Policy,
        root: Option<&Path>,
    ) -> Result<Reach, Vec<Problem>> {
        let writable = expand(policy.writable_paths());
        let changeable = writable.iter().map(|(_, path)| path.as_path());
        let mut reach = Reach::new(&self.kept, changeable.chain(root));
        let mut problems = Vec::new();
        let mut note = |key: &str, entry: usize, path: &Path, opened: Result<(), Closed>| {
            problems.extend(opened.err().map(|closed| Problem {
                path: format!("paths.{key}[{entry}]"),
                message: format!("{} {closed}", path.display()),
            }));
        };
        for (entry, path) in &writable {
            note("write", *entry, path, reach.write(path));
        }
        for (entry, path) in expand(policy.readable_paths()) {
            note("read", entry, &path, reach.read(&path));
        }
        if problems.is_empty() {
            Ok(reach)
        } else {
            Err(problems)
        }
    }
}

impl AgentDoor {
    /// Prepares for the next command, which is expected to be of the kind of the last one. It takes a few milliseconds, which
    /// nobody should wait for.
    pub fn warm_up(&self) {
        let last = self.last_jail.lock();
        let last = last.unwrap_or_else(PoisonError::into_inner).clone();
        let next = last.map_or_else(|| self.first_jail(), Ok);
        // Nothing depends on all this: a request for which nothing is prepared finds out by itself, and says what is wrong.
        let _ = (self.broker.policy()).map(|policy| self.broker.judge.load_modules(&policy));
        let _ = next.and_then(|jail| Ok(self.broker.runner()?.warm_up(&jail)?));
    }

    /// The jail of a command that asks for nothing in particular.
    fn first_jail(&self) -> Result<Confinement, RunError> {
        let policy = self.broker.policy()?;
        let directory = match (policy.workdir(), self.project.root()) {
            (Workdir::Project, Ok(root)) => WorkingDirectory::At(root.to_owned()),
            _ => WorkingDirectory::Temporary,
        };
        let network = policy::Network::Allow;
        (self.broker.judge).jail(&self.project, &policy, None, &directory, network)
    }
}

/// The directories that the policy file trusts beside the system's: those that exist of what it names.
pub(super) fn trusted_dirs(policy: &Policy) -> Vec<PathBuf> {
    let dirs = policy
        .trusted_dirs()
        .iter()
        .flat_map(|dir| program::expand(dir));
    dirs.filter(|dir| dir.is_dir()).collect()
}

/// What entries of the policy file mean, each with the entry's number.
fn expand(entries: &[String]) -> Vec<(usize, PathBuf)> {
    let paths = |(number, entry): (usize, &String)| {
        let paths = program::expand(entry).into_iter();
        paths.map(move |path| (number, path))
    };
    entries.iter().enumerate().flat_map(paths).collect()
}

/// The jail in which a person's command runs.
#[derive(Clone, Debug)]
pub struct PersonJail {
    reach: Reach,
    network: Network,
    /// Where the command runs, or why not in the caller's directory.
    project: Result<PathBuf, String>,
}

impl PersonJail {
    /// A jail around the caller's directory, if that can be a project, with the programs of the caller's `PATH` and what
    /// `read` and `write` name.
    pub(super) fn new(
        kept: &[PathBuf],
        network: Network,
        read: &[PathBuf],
        write: &[PathBuf],
    ) -> Result<Self, RunError> {
        let here = current_dir()?;
        let project =
            reach::project(&here, kept).map_err(|closed| format!("{} {closed}", here.display()));
        let absolute = |path: &PathBuf| here.join(path);
        let (read, write) = (read.iter().map(absolute), write.iter().map(absolute));
        let write: Vec<PathBuf> = write.collect();
        let changeable = write.iter().chain(project.as_ref().ok());
        let mut reach = Reach::new(kept, changeable.map(PathBuf::as_path));
        let refuse = |path: &Path, closed: Closed| RunError::Opening {
            path: path.to_owned(),
            fact: closed.to_string(),
        };
        for path in &write {
            reach.write(path).map_err(|closed| refuse(path, closed))?;
        }
        for path in read {
            reach.read(&path).map_err(|closed| refuse(&path, closed))?;
        }
        if let Ok(root) = &project {
            reach.project(root);
        }
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .filter(|dir| dir.is_absolute())
            .for_each(|dir| reach.look_up(&dir));
        Ok(Self {
            reach,
            network,
            project,
        })
    }

    /// Why the command runs in an empty directory and not in the caller's, if so.
    pub fn without_project(&self) -> Option<&str> {
        self.project.as_ref().err().map(String::as_str)
    }

    /// Where the command runs.
    pub(super) fn directory(&self) -> WorkingDirectory {
        match &self.project {
            Ok(root) => WorkingDirectory::At(root.clone()),
            Err(_) => WorkingDirectory::Temporary,
        }
    }

    /// The layers without which the jail would not be what was asked for.
    pub(super) fn require(&self) -> Vec<String> {
        let network = (self.network == Network::None).then(|| NETWORK_LAYER.to_owned());
        network.into_iter().collect()
    }

    /// The jail for this program.
    pub(super) fn confinement(mut self, program: &Path) -> Confinement {
        self.reach.program(program);
        Confinement::Jail(self.reach.jail(self.network))
    }
}

/// The caller's directory.
pub(super) fn current_dir() -> Result<PathBuf, RunError> {
    env::current_dir().map_err(|error| RunError::Directory(error.to_string()))
}

/// Whether a variable leads to what is not in the jail.
pub(super) fn leads_out(variable: &OsStr) -> bool {
    OF_THE_SESSION.iter().any(|name| variable == *name)
}

/// What this machine can enforce.
#[derive(Clone, Debug)]
pub struct Enforceable {
    /// On commands that may use the network.
    pub with_network: Enforcement,
    /// On those that may not.
    pub without_network: Enforcement,
}

/// Tries out what this machine can enforce. It takes no vault.
pub fn enforceable() -> Result<Enforceable, RunError> {
    let runner = Runner::beside_current_exe()?;
    let probe = |network| {
        runner.probe(&Confinement::Jail(Jail {
            network,
            ..Jail::default()
        }))
    };
    Ok(Enforceable {
        with_network: probe(Network::Allow)?,
        without_network: probe(Network::None)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_file_can_require_just_what_the_runner_reports() {
        assert_eq!(policy::LAYERS, secretctl_runner::LAYERS);
        assert!(policy::LAYERS.contains(&NETWORK_LAYER));
    }

    #[test]
    fn sockets_of_the_session_are_not_named_in_the_jail() {
        assert!(leads_out(OsStr::new("SSH_AUTH_SOCK")));
        assert!(!leads_out(OsStr::new("https_proxy")) && !leads_out(OsStr::new("PATH")));
    }
}
