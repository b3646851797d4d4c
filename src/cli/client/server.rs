//! A server as a client's file names it: looked at before it is started, then visited.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use serde_json::{Map, Value, json};

use super::entry::this_program;
use super::found::Found;
use super::report::Report;
use super::table::Client;
use crate::broker::{PolicyDoor, RunRequest};
use crate::cli::args::{Cli, Command as Subcommand, Scope};
use crate::cli::failure::Failure;
use crate::cli::places;
use crate::cli::unlock::Access;
use crate::mcp::{LOCKED, VISITOR, VisitError, Visitor};
use crate::name::KeyPattern;

/// Permissions of anybody but the owner.
const OTHERS: u32 = 0o077;

/// An entry, and where it stands.
pub(super) struct Server {
    pub(super) client: &'static Client,
    pub(super) scope: Scope,
    pub(super) file: PathBuf,
    pub(super) found: Found,
    pub(super) project: PathBuf,
}

/// Starts it as the client does, if that is safe, and tries what an agent would.
pub(super) fn visit(
    server: &Server,
    access: &Access,
    door: &PolicyDoor,
    report: &mut Report,
) -> Result<(), Failure> {
    let id = server.client.id;
    let command = match server.command() {
        Ok(command) => command,
        Err((fact, next)) => {
            report.fail(id, format!("{}: {fact}", server.file.display()), next);
            return Ok(());
        }
    };
    if let Some(fact) = server.untrusted() {
        let fact = format!("{}: not started, since {fact}", server.file.display());
        report.warn(
            id,
            fact,
            "it is the project's file: look at it, then start the client",
        );
        return Ok(());
    }
    report.ok(id, format!("{} starts this program", server.file.display()));
    server.password_file(report);
    let may_run = |key: &str| server.serves(access) && is_allowed(door, &server.project, key);
    if let Err(error) = try_all(id, command, may_run, report) {
        report.fail(id, error, "start it by hand: secretctl mcp-server");
    }
    Ok(())
}

/// What an agent does, in the order in which it does it.
fn try_all(
    id: &str,
    command: Command,
    may_run: impl FnOnce(&str) -> bool,
    report: &mut Report,
) -> Result<(), VisitError> {
    let (visitor, greeting) = Visitor::start(command)?;
    report.ok(
        id,
        format!(
            "initialize: {}, protocol {}",
            greeting.server, greeting.protocol
        ),
    );
    let tools = visitor.tools()?;
    report.ok(id, format!("tools/list: {}", tools.join(", ")));
    let listed = visitor.call("secret_list", Map::new())?;
    if listed.is_error {
        let fact = listed.text.lines().next().unwrap_or_default();
        match fact {
            LOCKED => report.warn(id, fact, "secretctl unlock"),
            _ => report.fail(id, fact, "start it by hand: secretctl mcp-server"),
        }
        return visitor.leave();
    }
    let keys = listed.structure.get("keys").and_then(Value::as_array);
    let keys: Vec<&str> = keys
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    report.ok(
        id,
        format!(
            "secret_list: {} visible to the agent {VISITOR}",
            counted(keys.len())
        ),
    );
    match keys.first() {
        Some(key) if may_run(key) => {
            let arguments = Map::from_iter([
                ("keys".to_owned(), json!([key])),
                ("command".to_owned(), json!(HARMLESS)),
            ]);
            let ran = visitor.call("secret_run", arguments)?;
            if ran.structure.get("exit_code") == Some(&json!(0)) {
                report.ok(id, format!("secret_run: `{HARMLESS}` ran with {key}"));
            } else {
                let fact = ran.text.lines().next().unwrap_or_default();
                report.fail(
                    id,
                    format!("secret_run: {fact}"),
                    "secretctl audit list --denied",
                );
            }
        }
        _ => report.ok(
            id,
            format!("secret_run: not tried, as no policy lets {VISITOR} run `{HARMLESS}`"),
        ),
    }
    visitor.leave()
}

/// A command that does nothing.
const HARMLESS: &str = "true";

fn counted(keys: usize) -> String {
    match keys {
        1 => "1 secret is".to_owned(),
        keys => format!("{keys} secrets are"),
    }
}

/// Whether the policy allows it. It is asked before, so that the log gets no refusal.
fn is_allowed(door: &PolicyDoor, project: &Path, key: &str) -> bool {
    let Ok(key) = key.parse::<KeyPattern>() else {
        return false;
    };
    let request = RunRequest {
        keys: vec![key],
        command: HARMLESS.to_owned(),
        ..RunRequest::default()
    };
    let explained = door.explain(project, VISITOR, &request, None);
    door.has_modules().is_ok_and(|has| !has)
        && explained.is_ok_and(|explained| explained.answer.is_ok())
}

impl Server {
    /// The command as the client starts it. Only this program is started, and only as a server: the file may be somebody else's.
    fn command(&self) -> Result<Command, (String, String)> {
        let again = match self.scope {
            Scope::User => format!("secretctl mcp install --client {}", self.client.id),
            Scope::Project => format!(
                "secretctl mcp install --client {} --scope project",
                self.client.id
            ),
        };
        let Some(word) = &self.found.command else {
            return Err(("the entry has no command".to_owned(), again));
        };
        let program = (self.program(word))
            .ok_or_else(|| (format!("there is no program {word}"), again.clone()))?;
        if !is_this_program(&program) {
            let next = format!("{again}; or ask that one: {} mcp doctor", program.display());
            return Err((
                format!("{} is another program than this one", program.display()),
                next,
            ));
        }
        let args = self.found.args.iter().map(|word| self.resolved(word));
        let args: Vec<String> = args.collect();
        let words = [word.clone()].into_iter().chain(args.iter().cloned());
        match Cli::try_parse_from(words).map(|cli| cli.command) {
            Ok(Subcommand::McpServer(_)) => {}
            Ok(_) => return Err(("its arguments start no server".to_owned(), again)),
            Err(error) => {
                let error = error.to_string();
                let fact = error.lines().next().unwrap_or_default().to_owned();
                return Err((format!("its arguments are wrong: {fact}"), again));
            }
        }
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.project);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"SECRETCTL_") {
                command.env_remove(name);
            }
        }
        let variables = self.found.env.iter();
        command.envs(variables.map(|(name, value)| (name, self.resolved(value))));
        Ok(command)
    }

    /// The file that a word means, past links. It is started in the project.
    fn program(&self, word: &str) -> Option<PathBuf> {
        if word.contains('/') {
            return self.project.join(word).canonicalize().ok();
        }
        let path = std::env::var_os("PATH")?;
        let found = std::env::split_paths(&path)
            .map(|dir| dir.join(word))
            .find(|file| file.is_file());
        found?.canonicalize().ok()
    }

    /// Why the server of a project's file is not started: such a file may say what is loaded and run before anything of ours does.
    fn untrusted(&self) -> Option<&'static str> {
        if self.scope == Scope::User {
            return None;
        }
        // Each would be tried, and a wrong one counts.
        let unlocks = |word: &String| word.starts_with("--password-");
        match (
            self.found.env.is_empty(),
            self.found.args.iter().any(unlocks),
        ) {
            (false, _) => Some("it sets variables"),
            (true, true) => Some("it says where the password comes from"),
            (true, false) => None,
        }
    }

    /// What clients put in for their own words.
    fn resolved(&self, text: &str) -> String {
        let home = places::home_dir().unwrap_or_default();
        let project = self.project.to_string_lossy();
        text.replace("${workspaceFolder}", &project)
            .replace("${userHome}", &home.to_string_lossy())
    }

    /// Whether the vault is the one that this command was started for.
    fn serves(&self, access: &Access) -> bool {
        let mut words = self.found.args.iter().map(String::as_str);
        let option = words.find_map(|word| match word.strip_prefix("--vault-dir")? {
            "" => Some(None),
            value => Some(Some(value.strip_prefix('=')?)),
        });
        let option = option.and_then(|value| value.or_else(|| words.next()));
        let dir = option.or_else(|| self.found.variable("SECRETCTL_VAULT_DIR"));
        let dir = dir.map(|dir| self.project.join(self.resolved(dir)));
        let dir = dir.or_else(|| Some(places::home_dir()?.join(".secretctl")));
        let file = |dir: &Path| std::fs::canonicalize(dir).ok();
        dir.and_then(|dir| file(&dir)) == access.dir().ok().and_then(|dir| file(&dir))
    }

    /// The file with the password, if the entry names one.
    fn password_file(&self, report: &mut Report) {
        let id = self.client.id;
        let Some(path) = self.found.variable("SECRETCTL_PASSWORD_FILE") else {
            return;
        };
        let file = self.project.join(self.resolved(path));
        let path = file.display();
        match std::fs::metadata(&file) {
            Err(error) => report.fail(
                id,
                format!("the password file {path}: {error}"),
                "make it, or install again without it",
            ),
            Ok(found) if found.mode() & OTHERS != 0 => {
                report.warn(
                    id,
                    format!("others can read the password file {path}"),
                    format!("chmod 600 {path}"),
                );
            }
            Ok(_) => report.ok(
                id,
                format!("the password file {path} is for its owner alone"),
            ),
        }
    }
}

fn is_this_program(program: &Path) -> bool {
    this_program().is_ok_and(|own| own == program)
}
