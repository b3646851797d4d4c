//! The entry of this server in a client's file: what it should say, and what it says.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::document::{Broken, Document, at};
use super::table::{Client, Default};
use crate::cli::args::{InstallArgs, Scope};
use crate::cli::failure::Failure;
use crate::cli::unlock::Access;

/// What this server is called in every file.
pub(super) const NAME: &str = "secretctl";
/// The one variable that no file may have.
pub(super) const PASSWORD: &str = "SECRETCTL_PASSWORD";

/// What starts the server. There is no place for a password in it.
pub(super) struct Entry {
    command: String,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
}

impl Entry {
    /// What the command line asks for. The vault and a way to its password that were named to this command are named to the server.
    pub(super) fn new(
        access: &Access,
        args: &InstallArgs,
        client: &Client,
    ) -> Result<Self, Failure> {
        let mut words = vec!["mcp-server".to_owned()];
        let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
        if let Some(dir) = access.named_dir() {
            add("--vault-dir", text(&std::path::absolute(dir)?)?);
        }
        let named = args
            .place
            .project
            .as_deref()
            .filter(|_| args.place.scope == Scope::User);
        match (named, client.workspace) {
            (Some(dir), _) => add(
                "--project",
                text(
                    &dir.canonicalize()
                        .map_err(|error| no_project(dir, &error))?,
                )?,
            ),
            (None, Some(open)) => add("--project", open.to_owned()),
            (None, None) => {}
        }
        if let Some(agent_id) = &args.agent_id {
            add("--agent-id", agent_id.clone());
        }
        let mut env = Vec::new();
        if let Some((variable, value)) = access.named_source()? {
            env.push((variable, text(Path::new(&value))?));
        }
        Ok(Self {
            command: text(&this_program()?)?,
            args: words,
            env,
        })
    }

    /// Whether it says itself how the vault is unlocked.
    pub(super) fn unlocks(&self) -> bool {
        !self.env.is_empty()
    }

    /// Writes it into a client's file. Says whether a password was removed there.
    pub(super) fn write(
        &self,
        document: &mut dyn Document,
        client: &Client,
    ) -> Result<bool, Broken> {
        let before = document.whole();
        let before = at(&before, &[client.servers, NAME])
            .cloned()
            .unwrap_or_default();
        for (key, default) in client.defaults {
            if before.get(key).is_none() {
                document.set(&[client.servers, NAME, key], &default.value())?;
            }
        }
        document.set(&[client.servers, NAME, "command"], &json!(self.command))?;
        document.set(&[client.servers, NAME, "args"], &json!(self.args))?;
        document.remove(&[client.servers, NAME, "env", PASSWORD])?;
        for (variable, value) in &self.env {
            document.set(&[client.servers, NAME, "env", variable], &json!(value))?;
        }
        Ok(before
            .get("env")
            .and_then(|env| env.get(PASSWORD))
            .is_some())
    }
}

impl Default {
    fn value(self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number) => json!(number),
        }
    }
}

fn no_project(dir: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("the project {}: {error}", dir.display()))
}

/// Where this program is, past links, of which one may change.
pub(super) fn this_program() -> Result<PathBuf, Failure> {
    Ok(std::env::current_exe()?.canonicalize()?)
}

fn text(path: &Path) -> Result<String, Failure> {
    let fact = || {
        Failure::new(format!(
            "{} cannot be written into a text file",
            path.display()
        ))
    };
    path.to_str().map(str::to_owned).ok_or_else(fact)
}
