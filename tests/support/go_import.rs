//! What tests of `import` do again and again.

use std::path::{Path, PathBuf};

use super::go_vault::{GO_PASSWORD, GoVault};
use super::{Answer, Sandbox};

/// Runs `import`, with the other vault's password.
pub(crate) fn import(sandbox: &Sandbox, dir: &Path, flags: &[&str]) -> Answer {
    sandbox
        .secretctl(["import", "--from", "secretctl-go"])
        .args([dir])
        .args(flags)
        .env("SECRETCTL_IMPORT_PASSWORD", GO_PASSWORD)
        .answer()
}

/// An empty vault of ours, and the place for one of the other tool.
pub(crate) fn places() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    let dir = sandbox.home().join("other");
    (sandbox, dir)
}

/// What our vault holds.
pub(crate) fn names(sandbox: &Sandbox) -> Vec<String> {
    let list = sandbox.secretctl(["list"]).answer().succeeded();
    list.text().lines().map(str::to_owned).collect()
}

/// Changes the other vault's database by hand.
pub(crate) fn run(vault: &GoVault, sql: &str) {
    vault.database.execute_batch(sql).expect("changed");
}
