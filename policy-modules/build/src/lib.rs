//! Builds the modules of `policy-modules/dist`, and checks that they come from the sources beside them.
//!
//! Users need no Wasm toolchain, so the built modules are part of the tree. `dist/manifest.toml` says of each what it was
//! made of and what came out. The sources' digests can be checked anywhere; the build itself is repeated byte for byte
//! where the pinned toolchain is at hand.

#![forbid(unsafe_code)]

mod build;
mod digest;
mod manifest;

use std::path::{Path, PathBuf};
use std::{fmt, io};

pub use build::{build, imports, policy_component, toolchain_is_ready};
pub use digest::sha256;
pub use manifest::{check_manifest, write_manifest};

/// The toolchain that builds the modules. Another one makes other bytes.
pub const TOOLCHAIN: &str = "1.95.0";

/// The target the modules are built for: no system interface at all.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// A module, built from the package of the same name.
pub struct Module {
    /// Name of the package, of its folder in `policy-modules` if it is part of `dist`, and of the module without `.wasm`.
    pub name: &'static str,
    /// `opt-level` it is built with.
    pub opt_level: &'static str,
}

/// All of `dist`.
pub const MODULES: [Module; 2] = [
    // Runs once for each request, and reads all rules then.
    Module {
        name: "default-policy",
        opt_level: "3",
    },
    // Runs over all output.
    Module {
        name: "default-sanitizer",
        opt_level: "3",
    },
];

/// Sanitizers that a person can name in the policy file. Not part of `dist`: they run only where they are asked for.
pub const EXAMPLES: [Module; 2] = [example("hide-personal-data"), example("hide-tokens")];

/// A policy module that a person can name there.
pub const POLICY_EXAMPLE: Module = example("office-hours");

/// A module of both worlds for tests of the host: it breaks the rule that its configuration names.
pub const HOSTILE: Module = example("hostile");

const fn example(name: &'static str) -> Module {
    Module {
        name,
        opt_level: "3",
    }
}

impl Module {
    /// Where the built module is in the tree `root`.
    pub fn path(&self, root: &Path) -> PathBuf {
        dist(root).join(format!("{}.wasm", self.name))
    }
}

/// The folder of built modules in the tree `root`.
pub fn dist(root: &Path) -> PathBuf {
    root.join("policy-modules/dist")
}

/// The tree that cargo runs this program in. Cargo's word at run time comes first: trees that share a target folder may
/// share the program, too.
pub fn root() -> PathBuf {
    let here =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = PathBuf::from(here);
    here.ancestors().nth(2).unwrap_or(&here).to_owned()
}

/// Why modules cannot be built or are not what they should be.
#[derive(Debug)]
pub enum Error {
    /// A file or a program could not be used.
    Io(PathBuf, io::Error),
    /// `Cargo.lock` has no such package.
    NotLocked(String),
    /// A program failed: its command line.
    Failed(String),
    /// What cargo built could not be made a component, or is none.
    Component(String),
    /// Lines of the manifest that are not what they should be.
    Manifest(Vec<String>),
    /// Building this module again made other bytes than those in the tree.
    Differs(PathBuf),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NotLocked(package) => write!(f, "Cargo.lock has no package {package}"),
            Self::Failed(command) => write!(f, "failed: {command}"),
            Self::Component(message) => write!(f, "not a component: {message}"),
            Self::Manifest(lines) => {
                write!(
                    f,
                    "policy-modules/dist is not built from these sources; the manifest should say:"
                )?;
                lines.iter().try_for_each(|line| write!(f, "\n    {line}"))
            }
            Self::Differs(path) => write!(f, "{} is not what its sources make", path.display()),
        }
    }
}

impl std::error::Error for Error {}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Io(path.to_owned(), error))
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    std::fs::write(path, bytes).map_err(|error| Error::Io(path.to_owned(), error))
}
