//! Loads the built-in modules, which the build script compiled to native code.
//!
//! The only `unsafe` code of the Wasm host: compiled code is not checked when it is loaded, so it has to come from ourselves.

use wasmtime::Engine;
use wasmtime::component::Component;

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

    /// What this module is, for audit records.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            name: self.name.to_owned(),
            sha256: sha256(self.wasm),
        }
    }
}

#[expect(
    unsafe_code,
    reason = "compiled code cannot be checked when it is loaded"
)]
fn deserialize(engine: &Engine, compiled: &'static [u8]) -> wasmtime::Result<Component> {
    // SAFETY: `compiled` is the unchanged output of `Engine::precompile_component` in build.rs: `BuiltIn` values exist only in this
    // file, and theirs is embedded in the executable. Settings or a version that differ are found by wasmtime and are an error.
    unsafe { Component::deserialize(engine, compiled) }
}
