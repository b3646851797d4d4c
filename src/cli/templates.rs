//! The projects that `policy new` writes: the examples of `examples/modules`, each with what it needs beside it.

use clap::ValueEnum;

/// A language in which modules are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Language {
    Rust,
    Javascript,
    Python,
    C,
}

/// An example that a project begins as.
pub(super) struct Template {
    /// Its name, which the project's own takes the place of.
    pub(super) name: &'static str,
    /// Paths in the project, and what stands there.
    pub(super) files: &'static [(&'static str, &'static str)],
}

/// The text of a file of this repository.
macro_rules! text {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path))
    };
}

const POLICY_WIT: (&str, &str) = ("wit/policy.wit", text!("policy-modules/wit/policy.wit"));
const IGNORED: (&str, &str) = (
    ".gitignore",
    "target/\nnode_modules/\n.venv/\n__pycache__/\n*.wasm\n*.test\n",
);

const RUST: Template = Template {
    name: "office-hours",
    files: &[
        (
            "README.md",
            text!("examples/modules/office-hours/README.md"),
        ),
        (
            "Cargo.toml",
            text!("examples/modules/office-hours/Cargo.toml"),
        ),
        (
            "src/lib.rs",
            text!("examples/modules/office-hours/src/lib.rs"),
        ),
        ("sdk/Cargo.toml", text!("policy-modules/sdk/Cargo.toml")),
        (
            "sdk/src/bindings.rs",
            text!("policy-modules/sdk/src/bindings.rs"),
        ),
        (
            "sdk/src/decision.rs",
            text!("policy-modules/sdk/src/decision.rs"),
        ),
        ("sdk/src/lib.rs", text!("policy-modules/sdk/src/lib.rs")),
        (
            "sdk/src/moment.rs",
            text!("policy-modules/sdk/src/moment.rs"),
        ),
        (
            "sdk/src/policy.rs",
            text!("policy-modules/sdk/src/policy.rs"),
        ),
        (
            "sdk/src/request.rs",
            text!("policy-modules/sdk/src/request.rs"),
        ),
        (
            "sdk/src/sanitizer.rs",
            text!("policy-modules/sdk/src/sanitizer.rs"),
        ),
        ("sdk/src/state.rs", text!("policy-modules/sdk/src/state.rs")),
        POLICY_WIT,
        (
            "wit/sanitizer.wit",
            text!("policy-modules/wit/sanitizer.wit"),
        ),
        IGNORED,
    ],
};

const JAVASCRIPT: Template = Template {
    name: "refuse-arguments",
    files: &[
        (
            "README.md",
            text!("examples/modules/refuse-arguments/README.md"),
        ),
        (
            "package.json",
            text!("examples/modules/refuse-arguments/package.json"),
        ),
        (
            "refuse-arguments.js",
            text!("examples/modules/refuse-arguments/refuse-arguments.js"),
        ),
        (
            "refuse-arguments.test.js",
            text!("examples/modules/refuse-arguments/refuse-arguments.test.js"),
        ),
        POLICY_WIT,
        IGNORED,
    ],
};

const PYTHON: Template = Template {
    name: "change-freeze",
    files: &[
        (
            "README.md",
            text!("examples/modules/change-freeze/README.md"),
        ),
        (
            "requirements.txt",
            text!("examples/modules/change-freeze/requirements.txt"),
        ),
        (
            "change_freeze.py",
            text!("examples/modules/change-freeze/change_freeze.py"),
        ),
        (
            "test_change_freeze.py",
            text!("examples/modules/change-freeze/test_change_freeze.py"),
        ),
        POLICY_WIT,
        IGNORED,
    ],
};

const C: Template = Template {
    name: "few-keys",
    files: &[
        ("README.md", text!("examples/modules/few-keys/README.md")),
        ("few-keys.c", text!("examples/modules/few-keys/few-keys.c")),
        (
            "few-keys.test.c",
            text!("examples/modules/few-keys/few-keys.test.c"),
        ),
        ("guard.h", text!("examples/modules/few-keys/guard.h")),
        POLICY_WIT,
        IGNORED,
    ],
};

/// The manifest names the crate of this repository; a project carries a copy, and is no part of a workspace around it.
const MANIFEST: (&str, &str) = ("../../../policy-modules/sdk", "sdk");
const OF_ITS_OWN: &str =
    "\n[profile.release]\nopt-level = \"s\"\nlto = true\nstrip = true\n\n[workspace]\n";

impl Language {
    pub(super) fn template(self) -> &'static Template {
        match self {
            Language::Rust => &RUST,
            Language::Javascript => &JAVASCRIPT,
            Language::Python => &PYTHON,
            Language::C => &C,
        }
    }
}

impl Template {
    /// The files of a project of this name.
    pub(super) fn files(&self, name: &str) -> impl Iterator<Item = (String, String)> {
        let word = |name: &str| name.replace('-', "_");
        let named = move |text: &str| {
            let text = text.replace(self.name, name);
            text.replace(&word(self.name), &word(name))
        };
        self.files.iter().map(move |(path, text)| {
            let mut text = named(text);
            if *path == "Cargo.toml" {
                text = text.replace(MANIFEST.0, MANIFEST.1) + OF_ITS_OWN;
            }
            (named(path), text)
        })
    }
}
