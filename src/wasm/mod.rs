//! The Wasm host, and the only user of wasmtime.
//!
//! A guest is a component in a store of its own, with limits on everything it can use. The built-in modules import nothing.
//! Guests answer with data, which is checked here before anyone sees it; whatever goes wrong inside one is a [`ModuleError`],
//! which the policy side turns into a denial and the sanitizer side into withheld output.

mod cache;
mod compiled;
mod config;
mod custom;
mod engine;
mod file;
mod limits;
mod notice;
mod outline;
mod policy;
mod sanitizer;
mod wasi;

use std::fmt;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, InstancePre, Linker};

pub use self::cache::{Cache, Seal};
use self::compiled::{BuiltIn, DEFAULT_POLICY, DEFAULT_SANITIZER};
use self::config::Author;
pub use self::custom::{CustomModules, CustomPolicy, CustomSanitizer, ModuleFault, UnusableModule};
use self::engine::Place;
use self::limits::{Guest, Ticker};
pub use self::notice::Notice;
use self::notice::Notices;
pub use self::outline::{Outline, World, component, read};
pub use self::policy::PolicyModule;
pub use self::sanitizer::{SanitizerModule, SanitizerRun};
use crate::text::{hex, is_unseen};

/// Why a module gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleError {
    fact: String,
}

impl ModuleError {
    fn host(error: impl fmt::Display) -> Self {
        Self {
            fact: format!("the Wasm host failed: {error}"),
        }
    }

    fn trap(error: &wasmtime::Error) -> Self {
        let fact = match error.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::OutOfFuel) => "it used up its fuel".to_owned(),
            Some(wasmtime::Trap::Interrupt) => "it ran past its deadline".to_owned(),
            Some(wasmtime::Trap::StackOverflow) => "it used up its stack".to_owned(),
            Some(trap) => format!("it trapped: {trap}"),
            None => format!("the call failed: {error}"),
        };
        Self { fact }
    }

    fn answer(fact: impl Into<String>) -> Self {
        Self { fact: fact.into() }
    }
}

impl fmt::Display for ModuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fact)
    }
}

impl std::error::Error for ModuleError {}

/// The engines, with the modules in them, each loaded once for each process, when it is first asked for.
pub struct Host {
    policy: OnceLock<PolicyModule>,
    sanitizer: OnceLock<SanitizerModule>,
    custom: CustomModules,
    ticker: Arc<Ticker>,
    notices: Arc<Notices>,
}

impl Host {
    /// A host of the built-in modules, and of others', whose compiled code is kept in `cache`, if there is one.
    ///
    /// # Errors
    /// When its clock cannot be started.
    pub fn new(cache: Option<Arc<Cache>>) -> Result<Self, ModuleError> {
        let ticker = Arc::new(Ticker::start()?);
        let notices = Arc::new(Notices::default());
        Ok(Self {
            policy: OnceLock::new(),
            sanitizer: OnceLock::new(),
            custom: CustomModules::new(ticker.clone(), cache, notices.clone()),
            ticker,
            notices,
        })
    }

    /// The built-in module that decides on requests. Loading takes under 1 ms, or about 100 ms where it has to be compiled first.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn policy(&self) -> Result<&PolicyModule, ModuleError> {
        once(&self.policy, || {
            let place = Place::pooled(Author::Ours, &self.ticker)?;
            let loaded = Loaded::built_in(place, &DEFAULT_POLICY)?;
            PolicyModule::new(loaded, self.ticker.clone())
        })
    }

    /// The built-in module that finds secrets in output, as [`policy`](Self::policy).
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn sanitizer(&self) -> Result<&SanitizerModule, ModuleError> {
        once(&self.sanitizer, || {
            let place = Place::of_its_own(Author::Ours, &self.ticker)?;
            let loaded = Loaded::built_in(place, &DEFAULT_SANITIZER)?;
            SanitizerModule::new(loaded, self.ticker.clone())
        })
    }

    /// The modules that the policy file names.
    pub fn custom(&self) -> &CustomModules {
        &self.custom
    }

    /// What a person should hear of, since this was asked last.
    pub fn take_notices(&self) -> Vec<Notice> {
        self.notices.take()
    }
}

/// What is there, or is made now.
fn once<T>(
    place: &OnceLock<T>,
    make: impl FnOnce() -> Result<T, ModuleError>,
) -> Result<&T, ModuleError> {
    if let Some(made) = place.get() {
        return Ok(made);
    }
    let made = make()?;
    Ok(place.get_or_init(|| made))
}

/// Names of the built-in modules, and what they say of themselves.
pub fn built_in() -> [(String, Result<Outline, ModuleError>); 2] {
    [&DEFAULT_POLICY, &DEFAULT_SANITIZER]
        .map(|module| (module.identity().name, Outline::of(module.wasm())))
}

/// Characters that are shown of a text that a module's author chose.
const SHOWN_MAX_CHARS: usize = 200;

/// The beginning of a text, on one line.
fn short(text: &str) -> String {
    let plain = |c: char| if is_unseen(c) { ' ' } else { c };
    text.chars().take(SHOWN_MAX_CHARS).map(plain).collect()
}

/// SHA-256 in lower-case hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// What a module is: its name and the digest of its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name of a built-in module; of another one, its path as the policy file has it.
    pub name: String,
    /// SHA-256 of the component, in hexadecimal.
    pub sha256: String,
}

/// A module that is ready to be instantiated.
struct Loaded {
    place: Place,
    identity: Identity,
    instance: InstancePre<Guest>,
}

impl Loaded {
    fn built_in(place: Place, module: &BuiltIn) -> Result<Self, ModuleError> {
        let component = module.load(&place.engine).map_err(ModuleError::host)?;
        Self::link(place, module.identity(), &component)
    }

    /// Links a component: ours against nothing, others' against a WASI that gives nothing. Any other import is an error.
    fn link(place: Place, identity: Identity, component: &Component) -> Result<Self, ModuleError> {
        let mut linker = Linker::new(&place.engine);
        if place.author == Author::Anybody {
            wasi::link(&mut linker).map_err(ModuleError::host)?;
        }
        let instance = linker
            .instantiate_pre(component)
            .map_err(ModuleError::host)?;
        Ok(Self {
            place,
            identity,
            instance,
        })
    }
}
