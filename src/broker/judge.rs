//! The facts about a command, the policy's decision on it, and what a run takes beside secrets: everything about a request that
//! needs neither values nor the log.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use secretctl_runner::{Confinement, WorkingDirectory};

use super::agent::RunRequest;
use super::approve::{Pending, Ruling};
use super::code_cache::code_cache;
use super::decide::label;
use super::jail::trusted_dirs;
use super::keyring::{Keyring, Keys, keys, require_usable};
use super::names::NameIndex;
use super::program::{Program, TrustedPath};
use super::project::{Place, Project};
use super::selection::{self, Selected, Variables};
use super::words::{Words, mentioned};
use super::{Outside, POLICY_FILE, RunError};
use crate::name::{SecretName, Tag};
use crate::policy::{
    self, Decision, Denial, Grant, Key, Moment, PinnedModule, Policy, PolicyError, PolicySource,
    Purpose, Request,
};
use crate::time;
use crate::vault::{Entry, Vault};
use crate::wasm::{Cache, CustomSanitizer, Host, Notice, PolicyModule};

/// The policy file, the modules, and the programs of this machine.
pub(super) struct Judge {
    /// The directory of the vault.
    pub(super) dir: PathBuf,
    /// What the paths of modules in the policy file are relative to: its own directory.
    pub(super) modules: PathBuf,
    /// What no command may see: that directory, the file with the master password, and the anchors.
    pub(super) kept: Vec<PathBuf>,
    policy: Mutex<PolicySource>,
    pub(super) names: NameIndex,
    /// Where the compiled code of others' modules is kept; only an unlocked vault gives one.
    pub(super) cache: Option<Arc<Cache>>,
    host: OnceLock<Host>,
}

/// Looks up the tags of a secret.
pub(super) type Tags<'a> = dyn Fn(&SecretName) -> Result<Vec<Tag>, RunError> + 'a;

/// What is found out about a command before anybody decides.
pub(super) struct Facts {
    pub(super) words: Words,
    pub(super) place: Place,
    pub(super) path: TrustedPath,
    pub(super) program: Option<Program>,
    pub(super) selected: Vec<Selected>,
    /// All of it, as policy sees it.
    pub(super) question: Request,
}

/// What the run of an allowed command takes beside the values of secrets.
pub(super) struct Prepared {
    pub(super) program: Program,
    pub(super) selected: Vec<Selected>,
    pub(super) variables: Vec<Variables>,
    pub(super) directory: WorkingDirectory,
    pub(super) sanitizers: Vec<CustomSanitizer>,
    pub(super) confinement: Confinement,
}

impl Judge {
    /// For the policy file of an unlocked vault.
    pub(super) fn new(vault: &Vault, outside: &Outside) -> Self {
        let dir = vault.dir().to_owned();
        let source = PolicySource::new(dir.join(POLICY_FILE));
        Self {
            cache: code_cache(vault).map(Arc::new),
            ..Self::of(source, dir, outside)
        }
    }

    /// With a policy file that need not be the vault's own.
    pub(super) fn of(source: PolicySource, dir: PathBuf, outside: &Outside) -> Self {
        let Outside {
            password_file,
            state_dir,
            runtime_dir,
        } = outside.clone();
        let modules = source
            .path()
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty());
        Self {
            kept: [Some(dir.clone()), password_file, state_dir, runtime_dir]
                .into_iter()
                .flatten()
                .collect(),
            modules: modules.unwrap_or(Path::new(".")).to_owned(),
            dir,
            policy: Mutex::new(source),
            names: NameIndex::default(),
            cache: None,
            host: OnceLock::new(),
        }
    }

    /// The policy as its file states it now.
    pub(super) fn policy(&self) -> Result<Arc<Policy>, PolicyError> {
        let mut source = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        source.current()
    }

    /// All that is wrong with the policy file, each with its place if it has one.
    pub(super) fn problems(&self) -> Vec<(Option<policy::Place>, String)> {
        let source = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        source.problems()
    }

    /// Where an entry stands in the policy as it was read last.
    pub(super) fn place(&self, entry: &str) -> Option<policy::Place> {
        let source = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        source.place(entry)
    }

    /// The Wasm modules, loaded when they are first needed.
    pub(super) fn host(&self) -> Result<&Host, RunError> {
        if let Some(host) = self.host.get() {
            return Ok(host);
        }
        let host = Host::new(self.cache.clone()).map_err(RunError::Host)?;
        Ok(self.host.get_or_init(|| host))
    }

    /// The built-in module that decides.
    pub(super) fn built_in(&self) -> Result<&PolicyModule, RunError> {
        self.host()?.policy().map_err(RunError::Host)
    }

    /// What modules had to say since this was asked last.
    pub(super) fn take_notices(&self) -> Vec<Notice> {
        self.host.get().map_or_else(Vec::new, Host::take_notices)
    }

    /// Gathers the facts about a command.
    pub(super) fn facts(
        &self,
        policy: &Policy,
        project: &Project,
        keyring: &impl Keyring,
        agent: &str,
        request: &RunRequest,
    ) -> Result<Facts, RunError> {
        let words = Words::parse(&request.command, &request.arguments)?;
        let place = project.place(&words.program, request.cwd.as_deref())?;
        let path = TrustedPath::new(trusted_dirs(policy));
        let program = path.find(&place.program, &self.names)?;
        let aliases = request.env.as_deref().map(|env| (policy, env));
        let names = || self.usable(policy, agent, keyring.names()?);
        let selected = selection::select(&request.keys, aliases, names)?;
        // A command that names no directory runs in the project's root, or where there is nothing to be found.
        let base = place.absolute.as_deref().or(project.root().ok());
        let command = policy::Command {
            program: Program::facts(place.requested.clone(), program.as_ref()),
            arguments: words.arguments.clone(),
            mentioned: path.mentioned(mentioned(&words.arguments), base, &self.names),
        };
        let question = Request {
            command: Some(command),
            directory: place.directory.clone(),
            timeout: request.timeout,
            ..question(Purpose::Inject, agent, keys(&selected))
        };
        Ok(Facts {
            words,
            place,
            path,
            program,
            selected,
            question,
        })
    }

    /// Those of `names` that the rules of the file let the agent use in a run. Patterns are looked for among these only: whether one
    /// would also find what is hidden makes no difference, not even in time.
    fn usable(
        &self,
        policy: &Policy,
        agent: &str,
        names: Vec<SecretName>,
    ) -> Result<Vec<SecretName>, RunError> {
        if policy.agent_policies().is_none() {
            return Ok(names);
        }
        let key = |name: &SecretName| Key {
            name: name.clone(),
            named: false,
            tags: Vec::new(),
        };
        let asked = question(Purpose::Inject, agent, names.iter().map(key).collect());
        let decided = self.built_in()?.decide(policy.guest_document(), &asked);
        let decision = decided.map_err(RunError::PolicyModule)?;
        Ok(decision
            .grant()
            .map_or_else(Vec::new, |grant| grant.keys.clone()))
    }

    /// The built-in module's decision, and then that of each module of the policy file, as long as there is something left to
    /// decide on. Each gets to see only the keys that those before it granted.
    ///
    /// `tags` are looked up for these, and for no key that the file's own rules hide: whether the vault holds one of those makes no
    /// difference, not even in time.
    pub(super) fn decide(
        &self,
        policy: &Policy,
        request: &Request,
        tags: &Tags<'_>,
    ) -> Result<Decision, RunError> {
        let built_in = self.built_in()?.decide(policy.guest_document(), request);
        let mut decision = built_in.map_err(RunError::PolicyModule)?;
        if policy.modules().is_empty() {
            return Ok(decision);
        }
        // A list of all secrets is long, and only modules look at it again.
        let mut left = request.clone();
        for (number, pinned) in policy.modules().iter().enumerate() {
            let Some(grant) = decision.grant() else {
                break;
            };
            let granted: HashSet<&SecretName> = grant.keys.iter().collect();
            left.keys.retain(|key| granted.contains(&key.name));
            if number == 0 {
                for key in &mut left.keys {
                    key.tags = tags(&key.name)?;
                }
            }
            let module = self.host()?.custom().policy(&self.modules, pinned)?;
            decision = decision.and(module.decide(&left)?);
            if let Some(denial) = withheld(pinned, &left, &decision) {
                decision = Decision::Deny(denial);
            }
        }
        Ok(decision)
    }

    /// Asks the policy, and takes only a yes.
    pub(super) fn grant(
        &self,
        policy: &Policy,
        request: &Request,
        tags: &Tags<'_>,
    ) -> Result<Grant, RunError> {
        match self.decide(policy, request, tags)? {
            Decision::Allow(grant) => Ok(grant),
            Decision::Ask(question) => Err(RunError::NeedsApproval(question)),
            Decision::Deny(denial) => Err(RunError::Denied(denial)),
        }
    }

    /// Asks the policy, and takes a question for what it is.
    pub(super) fn rule(
        &self,
        policy: &Policy,
        request: &Request,
        tags: &Tags<'_>,
    ) -> Result<Ruling, RunError> {
        match self.decide(policy, request, tags)? {
            Decision::Allow(grant) => Ok(Ruling::Allowed(grant)),
            Decision::Ask(question) => Ok(Ruling::Asks(Pending::new(question))),
            Decision::Deny(denial) => Err(RunError::Denied(denial)),
        }
    }

    /// Makes ready for the run of a command that the policy allows.
    pub(super) fn prepare(
        &self,
        policy: &Policy,
        project: &Project,
        keyring: &impl Keyring,
        request: &RunRequest,
        facts: &Facts,
        grant: &Grant,
    ) -> Result<Prepared, RunError> {
        let not_found = || RunError::ProgramNotFound(facts.words.program.clone());
        let program = facts.program.clone().ok_or_else(not_found)?;
        let granted = |one: &&Selected| grant.keys.contains(&one.name);
        let selected: Vec<Selected> = facts.selected.iter().filter(granted).cloned().collect();
        // Each is looked up once.
        let entries = selected.iter().map(|one| keyring.lookup(&one.name));
        let entries: Vec<Option<Entry>> = entries.collect::<Result<_, _>>()?;
        let entries: Vec<Entry> = entries.into_iter().flatten().collect();
        let known = Keys(keyring.is_known().then_some(&*entries));
        if known.is_known() {
            require_usable(request, &selected, &known)?;
        }
        let lookup = |name: &SecretName| known.lookup(name);
        let prefix = request.env_prefix.as_ref();
        let variables = selection::variables(&selected, prefix, request.bound, lookup)?;
        let directory = project.working_directory(&facts.place, grant.workdir)?;
        let sanitizers = self.sanitizers(policy)?;
        let confinement = self.jail(project, policy, Some(&program), &directory, grant.network)?;
        Ok(Prepared {
            program,
            selected,
            variables,
            directory,
            sanitizers,
            confinement,
        })
    }

    /// Loads the built-in modules, and compiles those of the policy file or takes them from the cache.
    pub(super) fn load_modules(&self, policy: &Policy) -> Result<(), RunError> {
        self.built_in()?;
        self.host()?.sanitizer().map_err(RunError::Host)?;
        let custom = self.host()?.custom();
        for pinned in policy.modules() {
            custom.policy(&self.modules, pinned)?;
        }
        self.sanitizers(policy).map(drop)
    }

    /// The policy file's own sanitizers, ready to be started.
    fn sanitizers(&self, policy: &Policy) -> Result<Vec<CustomSanitizer>, RunError> {
        let custom = self.host()?.custom();
        let load = |pinned| Ok(custom.sanitizer(&self.modules, pinned)?);
        policy.sanitizers().iter().map(load).collect()
    }

    /// Has the built-in module read the policy file, as each request does.
    pub(super) fn try_built_in(&self, policy: &Policy) -> Result<(), RunError> {
        let decision = self.built_in()?.decide(policy.guest_document(), &trial());
        decision.map(drop).map_err(RunError::PolicyModule)
    }

    /// Loads a policy module and asks it once, as each request does.
    pub(super) fn try_policy(&self, pinned: &PinnedModule) -> Result<(), RunError> {
        let module = self.host()?.custom().policy(&self.modules, pinned)?;
        Ok(module.decide(&trial()).map(drop)?)
    }

    /// Loads a sanitizer and starts it once, as a run does.
    pub(super) fn try_sanitizer(&self, pinned: &PinnedModule) -> Result<(), RunError> {
        let sanitizer = (self.host()?.custom()).sanitizer(&self.modules, pinned)?;
        Ok(sanitizer.start().map(drop)?)
    }
}

/// A request about nothing, of nobody.
fn trial() -> Request {
    question(Purpose::Reference, "", Vec::new())
}

/// The denial of a command that a module let run without a key that was named: it would run without what it asked for.
fn withheld(pinned: &PinnedModule, request: &Request, decision: &Decision) -> Option<Denial> {
    let grant = decision.grant()?;
    let mut named = request.keys.iter().filter(|key| key.named);
    let key = named.find(|key| !grant.keys.contains(&key.name))?;
    request.command.as_ref()?;
    Some(Denial {
        rule: pinned.path().to_owned(),
        reason: format!("the module {} does not grant {}", pinned.path(), key.name),
        remedy: String::new(),
    })
}

/// A request without a command.
pub(super) fn question(purpose: Purpose, agent: &str, keys: Vec<Key>) -> Request {
    let now = time::now();
    Request {
        purpose,
        agent: label(agent),
        keys,
        command: None,
        directory: None,
        timeout: None,
        time: Moment {
            unix_seconds: now.unsigned_abs(),
            utc_offset_minutes: time::utc_offset_minutes(now),
        },
    }
}
