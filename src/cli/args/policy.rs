//! The command line of `secretctl policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::super::templates::Language;
use crate::name::KeyPattern;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PolicyCommand {
    /// Write a policy file to begin with: it allows nothing, and its comments say how to allow something
    Init,
    /// Say whether the policy file can be used, and all that is wrong with it. It needs no password
    Check {
        /// Another file than the vault's own, of which only what it says is checked
        file: Option<PathBuf>,
    },
    /// List the modules that take part, the built-in ones and those of the policy file: exit code 1 if one cannot be used
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a module to the policy file: try it, put it beside the file and pin it there
    ///
    /// The module is copied to `modules/NAME.wasm` beside the policy file, which gets an entry in `modules` or in `sanitizers`, whatever the module is.
    /// If that path is there already its digest is replaced. All else in the file stays as it is, and if anything fails nothing changes.
    Add {
        /// A component, or a core module of which one can be made
        module: PathBuf,
        /// What the module is called [default: the file's name]
        #[arg(long)]
        name: Option<String>,
        /// What the module is configured with, as YAML or JSON
        #[arg(long, value_name = "YAML")]
        config: Option<String>,
    },
    /// Write a project for a module of one's own: an example that works, with its tests and all that it needs
    New {
        /// The language
        #[arg(long = "lang", value_enum)]
        language: Language,
        /// Where to: a new or empty directory, whose name becomes the module's
        dir: PathBuf,
    },
    /// Tell what the policy decides on an agent's command, and why: exit code 0 if it is allowed, 1 if not
    ///
    /// The command does not run, and no decision is recorded. The facts are gathered and the decision is made as for `secret_run`, by the server of this
    /// project. With a pattern in --keys, with `modules` in the policy file, or where the password is at hand without asking, the vault is
    /// unlocked; else the keys are taken to exist. What a pattern finds is recorded as a list of keys.
    Explain(ExplainArgs),
    /// Compare the policy's decisions with a table of requests: exit code 0 if all are as expected
    ///
    /// The table is a YAML list of mappings with `agent`, `command` (a whole line, or a program with `args`), `expect` (allow, deny or ask) and where
    /// they matter `keys` (names), `cwd`, `env`, `at` (a moment such as 2026-11-22T10:00:00+01:00) and `because`: a part of the rule or of the reason.
    /// Programs are looked up on this machine. A table that is to say the same on all machines is a mapping with that list as `requests` and a list
    /// of `programs` that are taken to exist, under no other name.
    /// The vault is not unlocked, so that tables can be run in CI.
    Test {
        /// The table
        file: PathBuf,
        /// Another policy file than the vault's own
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// Root of the project that commands may run in [default: the current directory]
        #[arg(long, value_name = "DIR")]
        project: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArgs {
    /// Name of the agent
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) agent: String,
    /// Secrets or patterns that the command is to get, separated by commas
    #[arg(long, short, value_name = "KEY,…", value_delimiter = ',')]
    pub(in crate::cli) keys: Vec<KeyPattern>,
    /// Environment whose aliases apply to the keys
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) env: Option<String>,
    /// Directory that the agent asks to run in, below the project's root
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) cwd: Option<String>,
    /// Root of the project that commands may run in [default: the current directory]
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) project: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// The command and its arguments; one word alone is split as a line
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(in crate::cli) command: Vec<String>,
}
