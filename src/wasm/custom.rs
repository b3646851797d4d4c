//! Modules that the policy file names: pinned files, compiled once for each digest and kept.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::{Cache, Found};
use super::config::Author;
use super::engine::Place;
use super::file::{ModuleFile, Stamp};
use super::limits::Ticker;
use super::notice::{Notice, Notices};
use super::{
    Identity, Loaded, ModuleError, PolicyModule, SanitizerModule, SanitizerRun, once, sha256,
    short, wasi,
};
use crate::policy::{Decision, PinnedModule, Request};

/// A module of the policy file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the module {path} {fault}")]
pub struct UnusableModule {
    /// Its path, as the policy file has it.
    pub path: String,
    /// What is wrong with it.
    #[source]
    pub fault: ModuleFault,
}

/// What is wrong with a module. The texts continue a sentence that begins with its name.
#[derive(Debug, thiserror::Error)]
pub enum ModuleFault {
    /// There is no such file.
    #[error("does not exist")]
    Missing,
    /// Its last component is a symbolic link.
    #[error("is a symbolic link")]
    IsLink,
    /// A link in its path leads out of the directory of the policy file.
    #[error("lies, by a symbolic link, outside of the policy file's directory")]
    LeadsOut,
    /// It is a directory, a pipe, a device.
    #[error("is not a regular file")]
    NotRegular,
    /// It belongs neither to the user nor to root.
    #[error("belongs to user {found}")]
    Owner {
        /// Its owner's user id.
        found: u32,
    },
    /// Others than its owner can write to it.
    #[error("has mode {mode:04o}, with which others can write to it")]
    Writable {
        /// Its permission bits.
        mode: u32,
    },
    /// It has too many bytes.
    #[error("is larger than 32 MiB")]
    TooLarge,
    /// It cannot be opened or read.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// It is not the file that was pinned.
    #[error("is not the file that was pinned: its sha256 is another one")]
    // Which one is not said: a path that leads to a secret by mistake would make guesses at that possible.
    Digest,
    /// It is a component that wants something from the host.
    #[error("imports {0}, and a module may import nothing but WASI 0.2")]
    Import(String),
    /// It is no component, or none of its world.
    #[error("is not a {world} module: {error}")]
    World {
        /// The world that it should be of.
        world: &'static str,
        /// What is missing.
        error: ModuleError,
    },
    /// It did not start.
    #[error("cannot be started: {0}")]
    Start(ModuleError),
    /// It was asked for a decision.
    #[error("gave no usable answer: {0}")]
    Answer(ModuleError),
}

/// A module that decides after the built-in one.
pub struct CustomPolicy {
    identity: Identity,
    document: String,
    module: Arc<PolicyModule>,
    notices: Arc<Notices>,
}

impl CustomPolicy {
    /// Asks a fresh instance about `request`. What it says is known by its name.
    ///
    /// # Errors
    /// When it refuses its configuration or gives no usable answer.
    pub fn decide(&self, request: &Request) -> Result<Decision, UnusableModule> {
        let name = &self.identity.name;
        let named = |rule: String| match rule.is_empty() {
            true => name.clone(),
            false => format!("{name}: {rule}"),
        };
        let (decision, written) = self.module.decide_aloud(&self.document, request);
        self.notices.said(name, &written);
        let mut decision = decision.map_err(|error| UnusableModule {
            path: name.clone(),
            fault: ModuleFault::Answer(error),
        })?;
        keep_within_lines(&mut decision);
        let rule = match &mut decision {
            Decision::Allow(grant) => &mut grant.rule,
            Decision::Ask(question) => &mut question.grant.rule,
            Decision::Deny(denial) => &mut denial.rule,
        };
        *rule = named(std::mem::take(rule));
        Ok(decision)
    }
}

/// Sees to it that no line of a module's texts begins where one of this program's could, such as that of the rule. A remedy may have
/// lines to be pasted.
fn keep_within_lines(decision: &mut Decision) {
    let replace = |text: &mut String, by: &str| *text = text.replace('\n', by);
    match decision {
        Decision::Allow(grant) => replace(&mut grant.rule, " "),
        Decision::Ask(question) => {
            replace(&mut question.grant.rule, " ");
            replace(&mut question.text, " ");
        }
        Decision::Deny(denial) => {
            replace(&mut denial.rule, " ");
            replace(&mut denial.reason, " ");
            replace(&mut denial.remedy, "\n    ");
        }
    }
}

/// A module that is ready to look for more to hide.
#[derive(Clone)]
pub struct CustomSanitizer {
    identity: Identity,
    document: String,
    module: Arc<SanitizerModule>,
    notices: Arc<Notices>,
}

impl CustomSanitizer {
    /// What it is, for audit records.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Starts an instance, which is given its configuration and no secret.
    ///
    /// # Errors
    /// When it refuses its configuration or gives no usable answer.
    pub fn start(&self) -> Result<SanitizerRun, UnusableModule> {
        let unusable = |error| UnusableModule {
            path: self.identity.name.clone(),
            fault: ModuleFault::Start(error),
        };
        let notices = self.notices.clone();
        let name = &self.identity.name;
        (self.module.start_custom(&self.document, name, notices)).map_err(unusable)
    }
}

/// All custom modules of a process.
pub struct CustomModules {
    policies: OnceLock<Place>,
    sanitizers: OnceLock<Place>,
    ticker: Arc<Ticker>,
    cache: Option<Arc<Cache>>,
    notices: Arc<Notices>,
    /// Held while a module is compiled, so that no other request compiles it again.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Digests of files as they were when they were read.
    files: HashMap<PathBuf, (Stamp, String)>,
    /// By digest.
    policies: HashMap<String, Arc<PolicyModule>>,
    sanitizers: HashMap<String, Arc<SanitizerModule>>,
}

/// A kind of module.
struct Kind<'a, M> {
    world: &'static str,
    /// Where its instances are, once there are any.
    place: &'a OnceLock<Place>,
    open: fn(Author, &Ticker) -> Result<Place, ModuleError>,
    known: fn(&mut Known) -> &mut HashMap<String, Arc<M>>,
    make: fn(Loaded, Arc<Ticker>) -> Result<M, ModuleError>,
}

impl CustomModules {
    pub(super) fn new(
        ticker: Arc<Ticker>,
        cache: Option<Arc<Cache>>,
        notices: Arc<Notices>,
    ) -> Self {
        Self {
            policies: OnceLock::new(),
            sanitizers: OnceLock::new(),
            ticker,
            cache,
            notices,
            known: Mutex::default(),
        }
    }

    /// The policy module that `pinned`, of a policy file in `dir`, names. A file that has not changed since it was read is not read
    /// again; one that has is refused even if its former code is still at hand.
    ///
    /// # Errors
    /// When the file is not what was pinned, or no policy module without imports.
    pub fn policy(
        &self,
        dir: &Path,
        pinned: &PinnedModule,
    ) -> Result<CustomPolicy, UnusableModule> {
        let kind = Kind {
            world: "policy",
            place: &self.policies,
            open: Place::pooled,
            known: |known| &mut known.policies,
            make: PolicyModule::new,
        };
        Ok(CustomPolicy {
            identity: identity(pinned),
            document: pinned.document(),
            module: self.load(dir, pinned, &kind)?,
            notices: self.notices.clone(),
        })
    }

    /// The sanitizer that `pinned` names, as [`policy`](Self::policy).
    ///
    /// # Errors
    /// When the file is not what was pinned, or no sanitizer module without imports.
    pub fn sanitizer(
        &self,
        dir: &Path,
        pinned: &PinnedModule,
    ) -> Result<CustomSanitizer, UnusableModule> {
        let kind = Kind {
            world: "sanitizer",
            place: &self.sanitizers,
            open: Place::of_its_own,
            known: |known| &mut known.sanitizers,
            make: SanitizerModule::new,
        };
        Ok(CustomSanitizer {
            identity: identity(pinned),
            document: pinned.document(),
            module: self.load(dir, pinned, &kind)?,
            notices: self.notices.clone(),
        })
    }

    fn load<M>(
        &self,
        dir: &Path,
        pinned: &PinnedModule,
        kind: &Kind<'_, M>,
    ) -> Result<Arc<M>, UnusableModule> {
        self.read(dir, pinned, kind)
            .map_err(|fault| UnusableModule {
                path: pinned.path().to_owned(),
                fault,
            })
    }

    fn read<M>(
        &self,
        dir: &Path,
        pinned: &PinnedModule,
        kind: &Kind<'_, M>,
    ) -> Result<Arc<M>, ModuleFault> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let path = dir.join(pinned.path());
        let file = ModuleFile::open(dir, pinned.path().as_ref())?;
        let stamp = file.stamp();
        let is_same = (known.files.get(&path))
            .is_some_and(|(before, digest)| *before == stamp && digest == pinned.sha256());
        if is_same && let Some(module) = (kind.known)(&mut known).get(pinned.sha256()) {
            return Ok(module.clone());
        }
        let bytes = file.read()?;
        let found = sha256(&bytes);
        if found != pinned.sha256() {
            return Err(ModuleFault::Digest);
        }
        let module = match (kind.known)(&mut known).get(&found) {
            Some(module) => module.clone(),
            None => Arc::new(self.compile(pinned, &bytes, kind)?),
        };
        known.files.insert(path, (stamp, found.clone()));
        (kind.known)(&mut known).insert(found, module.clone());
        Ok(module)
    }

    fn compile<M>(
        &self,
        pinned: &PinnedModule,
        bytes: &[u8],
        kind: &Kind<'_, M>,
    ) -> Result<M, ModuleFault> {
        let other_world = |error| ModuleFault::World {
            world: kind.world,
            error,
        };
        let no_component =
            |error: wasmtime::Error| other_world(ModuleError::answer(short(&format!("{error:#}"))));
        let place = once(kind.place, || (kind.open)(Author::Anybody, &self.ticker));
        let place = place.map_err(other_world)?;
        let component = (self.compiled(&place.engine, pinned, bytes)).map_err(no_component)?;
        let imported = component.component_type();
        let mut names = imported.imports(&place.engine).map(|(name, _)| name);
        if let Some(name) = names.find(|name| !wasi::is_importable(name)) {
            return Err(ModuleFault::Import(short(name)));
        }
        Loaded::link(place.clone(), identity(pinned), &component)
            .and_then(|loaded| (kind.make)(loaded, self.ticker.clone()))
            .map_err(other_world)
    }
}

impl CustomModules {
    /// The code of a module whose bytes are those that were pinned: from the cache, or compiled and kept there.
    fn compiled(
        &self,
        engine: &Engine,
        pinned: &PinnedModule,
        bytes: &[u8],
    ) -> wasmtime::Result<Component> {
        let compile = || Component::from_binary(engine, bytes);
        let Some(cache) = &self.cache else {
            return compile();
        };
        let module = || pinned.path().to_owned();
        match cache.find(engine, pinned.sha256()) {
            Found::Code(component) => return Ok(component),
            Found::Nothing => {}
            Found::Forged => self.notices.add(Notice::Forged { module: module() }),
        }
        let component = compile()?;
        if let Err(error) = cache.keep(&component, pinned.sha256()) {
            self.notices.add(Notice::NotKept {
                module: module(),
                fact: error.to_string(),
            });
        }
        Ok(component)
    }
}

/// What a module of the policy file is called.
fn identity(pinned: &PinnedModule) -> Identity {
    Identity {
        name: pinned.path().to_owned(),
        sha256: pinned.sha256().to_owned(),
    }
}
