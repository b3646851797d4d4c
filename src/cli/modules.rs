//! `secretctl policy list` and `policy add`

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::failure::{Failure, codes};
use super::unlock::Access;
use super::{output, policy};
use crate::broker::{
    AddError, Added, ListedModule, ModuleFault, ModuleOrigin, NewModule, Outline, PinError,
    PolicyDoor, World,
};

/// Digits of a digest that tell modules apart for a person.
const SHA256_SHOWN_DIGITS: usize = 12;

pub(super) fn list(access: &Access, as_json: bool) -> Result<u8, Failure> {
    let door = policy::keeping_code(access, None)?;
    let (modules, failure) = match door.modules() {
        Ok(modules) => (modules, None),
        Err(error) => (Vec::new(), Some(policy::failure(error, &door))),
    };
    let all: Vec<ListedModule> = PolicyDoor::built_in().into_iter().chain(modules).collect();
    if as_json {
        output::json(&all.iter().map(in_json).collect::<Vec<_>>())?;
    } else {
        let width = all.iter().map(|module| module.name.len()).max();
        let line = |module| line(module, width.unwrap_or_default());
        let lines: String = all.iter().map(line).collect();
        output::result(output::printable(&lines).as_bytes())?;
    }
    let is_usable = all.iter().all(|module| module.fault.is_none());
    match failure {
        Some(failure) => Err(failure),
        None if is_usable => Ok(codes::DONE),
        None => Ok(codes::FAILED),
    }
}

/// `name  world  digest  size  imports`, and below it what else there is to say.
fn line(module: &ListedModule, width: usize) -> String {
    let digest: String = module.sha256.chars().take(SHA256_SHOWN_DIGITS).collect();
    let said = module.outline.as_ref().map(said).unwrap_or_default();
    let line = format!(
        "{:width$}  {:9}  {digest}  {said}",
        module.name,
        module.world.to_string()
    );
    let mut text = format!("{}\n", line.trim_end());
    let config = module.config.as_ref().filter(|config| *config != "null");
    if let Some(config) = config {
        text.push_str(&format!("  config: {config}\n"));
    }
    if let Some(fault) = &module.fault {
        let place = match &module.origin {
            ModuleOrigin::File(Some(place)) => format!("line {}: ", place.line),
            _ => String::new(),
        };
        let fault = fault.replace('\n', " ");
        text.push_str(&format!("  {place}cannot be used: {fault}\n"));
    }
    text
}

fn said(outline: &Outline) -> String {
    format!("{:>9}  {}", size(outline.bytes), imports(&outline.imports))
}

fn size(bytes: usize) -> String {
    match bytes {
        0..=1023 => format!("{bytes} B"),
        1024..=1_048_575 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
    }
}

/// The packages of what is imported: an interpreter imports dozens of interfaces.
fn imports(names: &[String]) -> String {
    let package = |name: &String| name.split('/').next().unwrap_or_default().to_owned();
    let packages: BTreeSet<String> = names.iter().map(package).collect();
    match packages.len() {
        0 => "imports nothing".to_owned(),
        _ => {
            let packages: Vec<String> = packages.into_iter().collect();
            format!("imports {}", packages.join(" "))
        }
    }
}

fn in_json(module: &ListedModule) -> Value {
    let config = module.config.as_ref();
    let config = config.and_then(|config| serde_json::from_str::<Value>(config).ok());
    let line = match &module.origin {
        ModuleOrigin::File(Some(place)) => Some(place.line),
        _ => None,
    };
    json!({
        "name": module.name,
        "built_in": matches!(module.origin, ModuleOrigin::BuiltIn),
        "line": line,
        "world": module.world.to_string(),
        "sha256": module.sha256,
        "bytes": module.outline.as_ref().map(|outline| outline.bytes),
        "imports": module.outline.as_ref().map(|outline| &outline.imports),
        "config": config,
        "usable": module.fault.is_none(),
        "fault": module.fault,
    })
}

pub(super) fn add(
    access: &Access,
    file: PathBuf,
    name: Option<String>,
    config: Option<String>,
) -> Result<u8, Failure> {
    let mut door = policy::door(access, None)?;
    if access.is_unasked() {
        door.keep_code_of(&access.door()?);
    }
    let new = NewModule { file, name, config };
    let added = (door.add(&new)).map_err(|error| not_added(error, &door))?;
    policy::tell(&door);
    let Added { path, outline, .. } = &added;
    let lines = format!(
        "{path}: a {} module, {}, {}\n  sha256 {}\n",
        added.world,
        size(outline.bytes),
        imports(&outline.imports),
        outline.sha256
    );
    output::result(output::printable(&lines).as_bytes())?;
    let line = added.place.as_ref();
    let line = line.map_or_else(String::new, |place| format!(", line {}", place.line));
    let done = if added.was_there {
        "Pinned anew"
    } else {
        "Added"
    };
    output::done(&format!("{done} in {}{line}.", door.path().display()));
    output::note(match added.world {
        World::Policy => {
            "it decides from the next request on: secretctl policy explain --agent NAME --keys KEY -- COMMAND"
        }
        World::Sanitizer => "it reads the output of agents' commands from the next one on",
    });
    Ok(codes::DONE)
}

fn not_added(error: AddError, door: &PolicyDoor) -> Failure {
    let failure = Failure::new(&error);
    match error {
        AddError::Policy(error) => policy::failure(error.into(), door),
        AddError::Pin(PinError::ByHand { list, entry }) => failure.next(format!(
            "put this at the end of `{list}` yourself, and then run the same command again:\n{entry}"
        )),
        AddError::Pin(PinError::OtherConfig { .. }) => {
            failure.next("change it there, and leave out --config")
        }
        AddError::Pin(PinError::OtherList { .. }) => failure.next("use another --name"),
        AddError::Pin(PinError::Fault(_)) => failure.next("secretctl policy check"),
        AddError::Name(_) => failure.next("use --name"),
        AddError::Unusable {
            fault: ModuleFault::Answer(_) | ModuleFault::Start(_),
            ..
        } => failure.next("what it is configured with is given by --config"),
        AddError::Changed(_) => failure.next("try again"),
        _ => failure,
    }
}
