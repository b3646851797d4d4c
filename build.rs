//! Compiles the built-in modules of `policy-modules/dist` ahead of time, so that a start costs no compilation.
//!
//! The compiled code is native and fits the building machine's processor. Where another one refuses it, and in cross builds,
//! the program compiles the module itself when it starts.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

#[path = "src/wasm/config.rs"]
mod config;

const MODULES: [&str; 2] = ["default-policy", "default-sanitizer"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/wasm/config.rs");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let native = env::var("HOST")? == env::var("TARGET")?;
    for name in MODULES {
        let source = PathBuf::from(format!("policy-modules/dist/{name}.wasm"));
        println!("cargo::rerun-if-changed={}", source.display());
        let wasm = fs::read(&source).map_err(|error| format!("{}: {error}", source.display()))?;
        let compiled = if native { compile(&wasm)? } else { Vec::new() };
        fs::write(out_dir.join(format!("{name}.cwasm")), compiled)?;
    }
    Ok(())
}

fn compile(wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
    wasmtime::Engine::new(&config::engine_config(config::Author::Ours)?)?.precompile_component(wasm)
}
