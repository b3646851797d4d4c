//! Loads compiled code: that of the built-in modules, which the build script made, and that of others' modules, which this
//! program made before and authenticated.
//!
//! The only `unsafe` code of the Wasm host: compiled code is not checked when it is loaded, so it has to come from ourselves.

use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::{MAC_BYTES, Seal};
use super::{Identity, sha256};

/// A module that is part of the program.
pub(crate) struct BuiltIn {
    name: &'static str,
    wasm: &'static [u8],
    compiled: &'static [u8],
}

macro_rules! built_in {
    ($name:literal) => {
        BuiltIn {
            name: $name,
            wasm: include_bytes!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/policy-modules/dist/",
                $name,
                ".wasm"
            )),
            compiled: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".cwasm")),
        }
    };
}

/// Decides on requests of agents by the policy file.
pub(crate) const DEFAULT_POLICY: BuiltIn = built_in!("default-policy");
/// Finds secrets in output.
pub(crate) const DEFAULT_SANITIZER: BuiltIn = built_in!("default-sanitizer");

impl BuiltIn {
    /// Loads the compiled module, or compiles it where the build machine's code does not fit (about 100 ms).
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        if !self.compiled.is_empty()
            && let Ok(component) = deserialize(engine, self.compiled)
        {
            return Ok(component);
        }
        Component::from_binary(engine, self.wasm)
    }

    /// The component.
    pub(super) fn wasm(&self) -> &'static [u8] {
        self.wasm
    }

    /// What this module is, for audit records.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            name: self.name.to_owned(),
            sha256: sha256(self.wasm),
        }
    }
}

/// Compiled code that this program made for one module, and that nobody has changed since: there is no other way to a value than
/// [`verify`](Self::verify).
pub(super) struct Authentic(Vec<u8>);

impl Authentic {
    /// What is authenticated of an entry: what it is, for which module, and the code.
    pub(super) fn parts<'a>(sha256: &'a str, code: &'a [u8]) -> [&'a [u8]; 3] {
        [b"compiled module 1", sha256.as_bytes(), code]
    }

    /// Takes an entry of the cache: the code of authentication, and the compiled code behind it.
    pub(super) fn verify(entry: Vec<u8>, seal: &dyn Seal, sha256: &str) -> Option<Self> {
        let (mac, code) = entry.split_at_checked(MAC_BYTES)?;
        let is_ours = seal.is_valid(&Self::parts(sha256, code), mac);
        is_ours.then_some(Self(entry))
    }

    /// Loads it, if it is that of this version of wasmtime with these settings on this kind of processor.
    pub(super) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        deserialize(engine, &self.0[MAC_BYTES..])
    }
}

#[expect(
    unsafe_code,
    reason = "compiled code cannot be checked when it is loaded"
)]
fn deserialize(engine: &Engine, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `compiled` is the unchanged output of wasmtime's compiler. It comes from a `BuiltIn`, whose values exist only in this
    // file and whose code, made by build.rs, is embedded in the executable; or from an `Authentic`, which was authenticated as what
    // `Component::serialize` gave to this program. Settings or a version that differ are found by wasmtime and are an error.
    unsafe { Component::deserialize(engine, compiled) }
}
