//! `secretctl mcp`: this server in the configurations of clients.

mod doctor;
mod document;
mod entry;
mod file;
mod found;
mod json;
mod report;
mod server;
mod table;
mod toml;

use std::path::PathBuf;

use super::args::{InstallArgs, McpCommand, PlaceArgs, Scope};
use super::failure::{Failure, codes};
use super::output;
use super::unlock::Access;
use document::{Broken, Document};
use entry::{Entry, NAME};
use file::ClientFile;
use table::Client;

pub(super) fn run(access: &Access, command: McpCommand) -> Result<u8, Failure> {
    match command {
        McpCommand::Install(args) => install(access, &args),
        McpCommand::Uninstall(place) => uninstall(&place),
        McpCommand::Config(args) => config(access, &args),
        McpCommand::Doctor(args) => doctor::run(access, &args),
    }
}

fn install(access: &Access, args: &InstallArgs) -> Result<u8, Failure> {
    let client = client(&args.place)?;
    let entry = Entry::new(access, args, client)?;
    let file = open(client, &args.place)?;
    let shown = file.path.display();
    let mut document = parse(client, &file)?;
    let had_password =
        (entry.write(document.as_mut(), client)).map_err(|error| broken(&file, &error))?;
    let text = document.text();
    if file.text() == Some(text.as_str()) {
        output::done(&format!("{NAME} is in {shown} as it should be."));
    } else {
        file.replace(&text)?;
        output::done(&format!(
            "Wrote {NAME} into {shown}. Start {} again to use it.",
            client.id
        ));
    }
    if had_password {
        output::warn(
            "the master password stood in that file, and was removed: who could read it knows it",
        );
        output::note("give the vault another one: secretctl password change");
    }
    if !entry.unlocks() {
        output::note("the server needs an unlocked vault: secretctl unlock");
    }
    Ok(codes::DONE)
}

fn uninstall(place: &PlaceArgs) -> Result<u8, Failure> {
    let client = client(place)?;
    let file = open(client, place)?;
    let shown = file.path.display();
    let Some(before) = file.text() else {
        output::done(&format!("There is no {shown}."));
        return Ok(codes::DONE);
    };
    let mut document = parse(client, &file)?;
    (document.remove(&[client.servers, NAME])).map_err(|error| broken(&file, &error))?;
    let text = document.text();
    if text == before {
        output::done(&format!("{NAME} is not in {shown}."));
    } else {
        file.replace(&text)?;
        output::done(&format!("Took {NAME} out of {shown}."));
    }
    Ok(codes::DONE)
}

fn config(access: &Access, args: &InstallArgs) -> Result<u8, Failure> {
    let client = client(&args.place)?;
    let entry = Entry::new(access, args, client)?;
    let path = path(client, &args.place)?.0;
    let mut document = client
        .format
        .parse(client.format.empty())
        .map_err(Failure::new)?;
    entry
        .write(document.as_mut(), client)
        .map_err(Failure::new)?;
    output::note(&format!("for {}:", path.display()));
    output::result(document.text().as_bytes())
}

fn client(place: &PlaceArgs) -> Result<&'static Client, Failure> {
    Client::of(place.client).ok_or_else(|| Failure::new("this client is not known"))
}

/// The file, and the project that it belongs to if it does.
fn path(client: &Client, place: &PlaceArgs) -> Result<(PathBuf, Option<PathBuf>), Failure> {
    if place.scope == Scope::User {
        let path = client.user_file();
        let path =
            path.ok_or_else(|| Failure::new("there is no home directory").next("set HOME"))?;
        return Ok((path, None));
    }
    let root = place
        .project
        .clone()
        .map_or_else(std::env::current_dir, Ok)?;
    let path = client.project_file(&root);
    let none = || {
        Failure::new(format!("{} has no configuration in projects", client.id))
            .next("leave out --scope: then it is for all that you do")
            .with_code(codes::USAGE)
    };
    Ok((path.ok_or_else(none)?, Some(root)))
}

fn open(client: &Client, place: &PlaceArgs) -> Result<ClientFile, Failure> {
    let (path, project) = path(client, place)?;
    ClientFile::open(path, project.as_deref())
}

fn parse(client: &Client, file: &ClientFile) -> Result<Box<dyn Document>, Failure> {
    let text = file.text().filter(|text| !text.trim().is_empty());
    let text = text.unwrap_or(client.format.empty());
    client
        .format
        .parse(text)
        .map_err(|error| broken(file, &error))
}

fn broken(file: &ClientFile, error: &Broken) -> Failure {
    Failure::new(format!(
        "{} was left as it is: {error}",
        file.path.display()
    ))
    .next("correct it, or put in by hand what `secretctl mcp config` prints")
}
