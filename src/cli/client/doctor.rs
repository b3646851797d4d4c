//! `secretctl mcp doctor`: the whole set-up, from the client's file to a command that runs.

use std::path::Path;

use super::document::Broken;
use super::file::ClientFile;
use super::found::{Found, has_password};
use super::report::Report;
use super::server::{Server, visit};
use super::table::{CLIENTS, Client};
use crate::broker::{PolicyDoor, enforceable};
use crate::cli::args::{DoctorArgs, Scope};
use crate::cli::failure::Failure;
use crate::cli::policy;
use crate::cli::unlock::Access;
use crate::vault::{LockedVault, VaultError};

/// Permissions of others to write.
const OTHERS_WRITE: u32 = 0o022;

pub(super) fn run(access: &Access, args: &DoctorArgs) -> Result<u8, Failure> {
    let project = policy::project(args.project.clone())?.canonicalize()?;
    let mut report = Report::default();
    vault(access, &mut report)?;
    let door = policy::door(access, None)?;
    policy_file(&door, &mut report);
    machine(&mut report);
    let wanted = |client: &&Client| args.client.is_none_or(|name| name == client.name);
    let mut servers = Vec::new();
    for client in CLIENTS.iter().filter(wanted) {
        servers.extend(client_files(client, &project, &mut report));
    }
    for server in &servers {
        visit(server, access, &door, &mut report)?;
    }
    if servers.is_empty() {
        let client = args
            .client
            .and_then(Client::of)
            .map_or("claude-code", |client| client.id);
        let fact = "no configuration has this server";
        report.fail(
            "clients",
            fact,
            format!("secretctl mcp install --client {client}"),
        );
    }
    report.print(args.json)
}

fn vault(access: &Access, report: &mut Report) -> Result<(), Failure> {
    let dir = access.dir()?;
    match LockedVault::open(&dir) {
        Ok(vault) => {
            for warning in vault.warnings() {
                report.warn("vault", warning, "take it from them: chmod go-rwx");
            }
            report.ok("vault", dir.display());
        }
        Err(error @ VaultError::Missing { .. }) => report.fail("vault", error, "secretctl init"),
        Err(error) => report.failure("vault", error.into()),
    }
    Ok(())
}

fn policy_file(door: &PolicyDoor, report: &mut Report) {
    let path = door.path().display();
    if std::fs::symlink_metadata(door.path()).is_err() {
        let fact = format!("there is no {path}, so no command runs");
        return report.warn("policy", fact, "secretctl policy init");
    }
    match door.check() {
        Ok(_) => report.ok("policy", path),
        Err(problems) => {
            let first = problems
                .first()
                .map_or("it cannot be used", |(_, problem)| problem.as_str());
            report.fail(
                "policy",
                format!("{path}: {first}"),
                "secretctl policy check says all that is wrong",
            );
        }
    }
}

fn machine(report: &mut Report) {
    let found = match enforceable() {
        Ok(found) => found.without_network,
        Err(error) => {
            return report.fail(
                "machine",
                error,
                "secretctl-runner belongs beside secretctl; install both again",
            );
        }
    };
    let missing: Vec<&str> = found.missing().map(|layer| layer.name.as_str()).collect();
    match missing.as_slice() {
        [] => report.ok("machine", "all layers of the jail are enforced"),
        missing => {
            let fact = format!("not enforced here: {}", missing.join(", "));
            report.warn(
                "machine",
                fact,
                "secretctl status --sandbox tells what that means",
            );
        }
    }
}

/// The servers that a client's files name.
fn client_files(client: &'static Client, project: &Path, report: &mut Report) -> Vec<Server> {
    let files = [
        (Scope::User, client.user_file()),
        (Scope::Project, client.project_file(project)),
    ];
    let mut servers = Vec::new();
    for (scope, path) in files {
        let Some(path) = path else { continue };
        let inside = (scope == Scope::Project).then_some(project);
        let file = match ClientFile::open(path, inside) {
            Ok(file) => file,
            Err(failure) => {
                report.failure(client.id, failure);
                continue;
            }
        };
        match read(client, &file, scope, report) {
            Ok(None) => {}
            Ok(Some(found)) => servers.push(Server {
                client,
                scope,
                file: file.path,
                found,
                project: project.to_owned(),
            }),
            Err(error) => {
                let fact = format!("{} cannot be read: {error}", file.path.display());
                report.fail(
                    client.id,
                    fact,
                    "correct it: the client cannot read it either",
                );
            }
        }
    }
    servers
}

/// What a file says of this server, and what is wrong with the file.
fn read(
    client: &Client,
    file: &ClientFile,
    scope: Scope,
    report: &mut Report,
) -> Result<Option<Found>, Broken> {
    let Some(text) = file.text().filter(|text| !text.trim().is_empty()) else {
        return Ok(None);
    };
    let whole = client.format.parse(text)?.whole();
    let shown = file.path.display();
    if has_password(&whole) {
        let scope = match scope {
            Scope::User => "",
            Scope::Project => " --scope project",
        };
        let next = format!(
            "secretctl mcp install --client {}{scope} takes it out of its own entry; then: secretctl password change",
            client.id
        );
        report.warn(
            client.id,
            format!("the master password stands in {shown}"),
            next,
        );
    }
    let found = Found::of(&whole, client);
    if found.is_some() && file.mode().is_some_and(|mode| mode & OTHERS_WRITE != 0) {
        let fact = format!("others can write {shown}, and with it say what is started");
        report.warn(client.id, fact, format!("chmod go-w {shown}"));
    }
    Ok(found)
}
