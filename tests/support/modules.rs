//! Modules of the policy file: built from their sources, put beside it, and what the log says of them.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use build_modules::{Module, build, sha256, toolchain_is_ready};
use serde_json::Value;

use super::Sandbox;

/// The value of `KEY`.
pub(crate) const SECRET: &str = "s3cr3t-value";

/// The module built from its sources; none where there is no toolchain for it.
pub(crate) fn built(module: &Module) -> Option<Vec<u8>> {
    // The tests are threads of one program, and share what is compiled.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    if !toolchain_is_ready() {
        super::missing("there is no toolchain for WebAssembly");
        return None;
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    // Beside the folder of this build's profile, as the program build-modules has it.
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("modules");
    Some(build(&root, &target, module).expect("the module is built"))
}

/// A vault that allows everything, with a secret.
pub(crate) fn vault() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.set("KEY", SECRET);
    fs::create_dir(sandbox.vault().join("modules")).expect("a directory");
    sandbox
}

pub(crate) fn place(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox.vault().join("modules").join(name)
}

/// Puts a module beside the policy file. Gives its entry there.
pub(crate) fn entry(sandbox: &Sandbox, name: &str, module: &[u8], config: &str) -> String {
    fs::write(place(sandbox, name), module).expect("written");
    let sha256 = sha256(module);
    format!("  - {{ path: modules/{name}, sha256: {sha256}, config: {config} }}\n")
}

/// The last records of agents.
pub(crate) fn last_records(sandbox: &Sandbox, count: usize) -> Vec<Value> {
    let all = sandbox.secretctl(["audit", "export"]).answer().json();
    let all = all.as_array().expect("a list").iter();
    let all: Vec<_> = all
        .filter(|record| record["source"] == "mcp")
        .cloned()
        .collect();
    all[all.len() - count..].to_vec()
}
