//! The one configuration of the Wasm engine.
//!
//! Compiled code fits only an engine of the same settings, so the build script, which compiles the built-in modules ahead of
//! time, includes this file too.

use wasmtime::{Config, OptLevel, Result};

/// Stack of a guest, in bytes: recursion ends here, in a trap.
const STACK_MAX_BYTES: usize = 512 * 1024;

/// Settings of every engine: components only, with fuel and epochs so that each call can be bounded.
pub(crate) fn engine_config() -> Result<Config> {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .consume_fuel(true)
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
