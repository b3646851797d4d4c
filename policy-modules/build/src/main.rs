//! `build [NAME…]` builds modules into `dist` (all of them without a name); `check` finds out whether `dist` is what the
//! sources make; `examples DIR` builds the example modules and says what the policy file needs to know of them.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use build_modules::{
    EXAMPLES, Error, MODULES, Module, POLICY_EXAMPLE, TARGET, TOOLCHAIN, build, check_manifest,
    root, sha256, toolchain_is_ready, write_manifest,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["build", names @ ..] => build_all(&root(), names),
        ["check"] => check(&root()),
        ["examples", dir] => build_examples(&root(), Path::new(dir)),
        _ => {
            say("usage: build-modules build [NAME…] | check | examples DIR");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn build_all(root: &Path, names: &[&str]) -> Result<(), Error> {
    for module in MODULES
        .iter()
        .filter(|module| names.is_empty() || names.contains(&module.name))
    {
        let component = build(root, &target_dir(root), module)?;
        let path = module.path(root);
        std::fs::write(&path, &component).map_err(|error| Error::Io(path.clone(), error))?;
        say(&format!("{}: {} bytes", path.display(), component.len()));
    }
    write_manifest(root)
}

fn check(root: &Path) -> Result<(), Error> {
    check_manifest(root)?;
    say("the manifest matches modules and sources");
    if !toolchain_is_ready() {
        say(&format!(
            "NOT BUILT AGAIN: no toolchain {TOOLCHAIN} with target {TARGET} here"
        ));
        return Ok(());
    }
    for module in &MODULES {
        rebuild(root, module)?;
    }
    Ok(())
}

fn build_examples(root: &Path, dir: &Path) -> Result<(), Error> {
    let error = |path: &Path| {
        let path = path.to_owned();
        move |error| Error::Io(path, error)
    };
    std::fs::create_dir_all(dir).map_err(error(dir))?;
    for module in EXAMPLES.iter().chain([&POLICY_EXAMPLE]) {
        let component = build(root, &target_dir(root), module)?;
        let path = dir.join(format!("{}.wasm", module.name));
        std::fs::write(&path, &component).map_err(error(&path))?;
        say(&format!(
            "{}: sha256 {}",
            path.display(),
            sha256(&component)
        ));
    }
    Ok(())
}

fn rebuild(root: &Path, module: &Module) -> Result<(), Error> {
    let path = module.path(root);
    let is = std::fs::read(&path).map_err(|error| Error::Io(path.clone(), error))?;
    if build(root, &target_dir(root), module)? != is {
        return Err(Error::Differs(path));
    }
    say(&format!("{}: built again, the same bytes", module.name));
    Ok(())
}

/// Apart from other builds, which have other flags.
fn target_dir(root: &Path) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |dir| root.join(dir));
    target.join("modules")
}

#[expect(clippy::print_stderr, reason = "the only output of a build tool")]
fn say(line: &str) {
    eprintln!("{line}");
}
