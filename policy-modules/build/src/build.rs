//! From a package to a component.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::{Error, Module, TARGET, TOOLCHAIN, read};

/// Compiles the package of `module` in the tree `root` and makes it a component. Compiled files are kept in
/// `target_dir`. The bytes depend on the sources and the toolchain alone.
pub fn build(root: &Path, target_dir: &Path, module: &Module) -> Result<Vec<u8>, Error> {
    run(&mut cargo(root, target_dir, module))?;
    let file = format!("{TARGET}/release/{}.wasm", module.name.replace('-', "_"));
    component(&read(&target_dir.join(file))?)
}

/// Whether the pinned toolchain can build for the target. Asks rustup to add the target when it is missing.
pub fn toolchain_is_ready() -> bool {
    let add = ["target", "add", "--toolchain", TOOLCHAIN, TARGET];
    has_target() || (quiet(Command::new("rustup").args(add)) && has_target())
}

/// Names of what a component imports.
pub fn imports(component: &[u8]) -> Result<Vec<String>, Error> {
    let decoded = wit_component::decode(component).map_err(component_error)?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(Error::Component("a package of interfaces".to_owned()));
    };
    Ok(resolve.worlds[world]
        .imports
        .keys()
        .map(|key| resolve.name_world_key(key))
        .collect())
}

/// Makes a component of a core module that exports the world `policy` of the interface at `wit` and does not say so, as C compilers
/// make it.
pub fn policy_component(wit: &Path, core: &[u8]) -> Result<Vec<u8>, Error> {
    let mut interface = Resolve::default();
    let (package, _) = interface.push_path(wit).map_err(component_error)?;
    let world = interface
        .select_world(&[package], Some("policy"))
        .map_err(component_error)?;
    let mut core = core.to_vec();
    embed_component_metadata(&mut core, &interface, world, StringEncoding::UTF8)
        .map_err(component_error)?;
    component(&core)
}

fn component(core: &[u8]) -> Result<Vec<u8>, Error> {
    ComponentEncoder::default()
        .validate(true)
        .module(core)
        .and_then(|encoder| encoder.encode())
        .map_err(component_error)
}

/// `{:#}` prints the whole chain of causes.
fn component_error(error: impl std::fmt::Display) -> Error {
    Error::Component(format!("{error:#}"))
}

fn cargo(root: &Path, target_dir: &Path, module: &Module) -> Command {
    let mut command = Command::new("rustup");
    // What the caller's cargo and environment set for other builds must not reach this one.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_setting = [
            "CARGO_BUILD_",
            "CARGO_ENCODED_",
            "CARGO_PROFILE_",
            "CARGO_TARGET_",
            "RUSTC",
            "RUSTFLAGS",
        ];
        if is_setting.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
        .current_dir(root)
        .args([
            "run",
            TOOLCHAIN,
            "cargo",
            "build",
            "--locked",
            "--release",
            "--lib",
        ])
        .args(["--package", module.name, "--target", TARGET, "--target-dir"])
        .arg(target_dir)
        .args(
            profile(module)
                .iter()
                .flat_map(|setting| ["--config", setting]),
        )
        .env("CARGO_ENCODED_RUSTFLAGS", rustc_flags(root).join("\x1f"))
        // Half-built state of other profiles is of no use here, and the modules are small.
        .env("CARGO_INCREMENTAL", "0");
    command
}

/// The whole profile, so that the one of the workspace does not matter.
fn profile(module: &Module) -> Vec<String> {
    [
        ("opt-level", module.opt_level),
        ("panic", "\"abort\""),
        ("strip", "true"),
        ("lto", "\"fat\""),
        ("codegen-units", "1"),
        ("debug", "false"),
        ("overflow-checks", "false"),
        ("debug-assertions", "false"),
        // Macros, which run once: building them with care takes longer than running them.
        ("build-override.opt-level", "0"),
    ]
    .map(|(key, value)| format!("profile.release.{key}={value}"))
    .into()
}

/// Paths end up in messages of panics; these make them the same on every machine.
fn rustc_flags(root: &Path) -> Vec<String> {
    let mut flags = vec!["-Ctarget-feature=+simd128".to_owned()];
    flags.push(remap(root, "tree"));
    flags.extend(
        registries()
            .iter()
            .map(|registry| remap(registry, "registry")),
    );
    flags
}

fn remap(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

/// Folders with sources of published packages: one for each registry or mirror.
fn registries() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .unwrap_or_default();
    let folders = std::fs::read_dir(home.join("registry/src"))
        .into_iter()
        .flatten();
    let mut folders: Vec<_> = folders.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

fn has_target() -> bool {
    let list = ["target", "list", "--installed", "--toolchain", TOOLCHAIN];
    let output = Command::new("rustup")
        .args(list)
        .stderr(Stdio::null())
        .output();
    output.is_ok_and(|output| {
        output.status.success()
            && output
                .stdout
                .split(|&byte| byte == b'\n')
                .any(|line| line == TARGET.as_bytes())
    })
}

fn quiet(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn run(command: &mut Command) -> Result<(), Error> {
    let program = PathBuf::from(command.get_program());
    let status = command
        .status()
        .map_err(|error| Error::Io(program, error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Failed(format!("{command:?}")))
    }
}
