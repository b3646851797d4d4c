//! The one configuration of the Wasm engine.
//!
//! Compiled code fits only an engine of the same settings, so the build script, which compiles the built-in modules ahead of
//! time, includes this file too.

use wasmtime::{Config, OptLevel, Result};

/// Stack of a guest, in bytes: recursion ends here, in a trap.
const STACK_MAX_BYTES: usize = 512 * 1024;

/// Whose code an engine runs.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Author {
    /// This project's. Counting instructions costs as much again as they do themselves, so that only time is bounded.
    Ours,
    /// Anybody's: instructions are counted, so that the same input always gets as far.
    #[allow(dead_code, reason = "the build script compiles ours only")]
    Anybody,
}

/// Settings of an engine: components only, with epochs, and for others' code fuel, so that each call can be bounded.
pub(crate) fn engine_config(author: Author) -> Result<Config> {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .consume_fuel(author == Author::Anybody)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_MAX_BYTES)
        .cranelift_opt_level(OptLevel::Speed)
        // A memory stays where it is until its store is dropped, and goes back to the system then, so that no copy of a
        // secret is left: growing copies nothing, and instances are not pooled, as a pool keeps the pages.
        .memory_may_move(false)
        // A trap's backtrace names functions of the guest; messages give the kind of trap only.
        .wasm_backtrace_max_frames(None);
    Ok(config)
}
