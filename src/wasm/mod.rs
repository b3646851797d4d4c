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
use std::sync::Arc;

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

/// The engines, with the built-in modules, loaded once for each process.
pub struct Host {
    policy: PolicyModule,
    sanitizer: SanitizerModule,
    custom: CustomModules,
    notices: Arc<Notices>,
}

impl Host {
    /// Loads the built-in modules: under 1 ms, or about 200 ms where they have to be compiled first. The compiled code of others' is
    /// kept in `cache`, if there is one.
    pub fn new(cache: Option<Arc<Cache>>) -> Result<Self, ModuleError> {
        let policies = [Author::Ours, Author::Anybody].map(Place::pooled);
        let sanitizers = [Author::Ours, Author::Anybody].map(Place::of_its_own);
        let ([our_policy, policies], [our_sanitizer, sanitizers]) = (policies, sanitizers);
        let places = [our_policy?, our_sanitizer?, policies?, sanitizers?];
        let ticker = Arc::new(Ticker::start(
            places.each_ref().map(|place| place.engine.clone()),
        )?);
        let [our_policy, our_sanitizer, policies, sanitizers] = places;
        let policy = Loaded::built_in(our_policy, &DEFAULT_POLICY)?;
        let sanitizer = Loaded::built_in(our_sanitizer, &DEFAULT_SANITIZER)?;
        let notices = Arc::new(Notices::default());
        Ok(Self {
            policy: PolicyModule::new(policy, ticker.clone())?,
            sanitizer: SanitizerModule::new(sanitizer, ticker.clone())?,
            custom: CustomModules::new([policies, sanitizers], ticker, cache, notices.clone()),
            notices,
        })
    }

    /// The module that decides on requests.
    pub fn policy(&self) -> &PolicyModule {
        &self.policy
    }

    /// The module that finds secrets in output.
    pub fn sanitizer(&self) -> &SanitizerModule {
        &self.sanitizer
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
