//! `secretctl export`

use std::collections::BTreeMap;

use serde_json::Value;
use zeroize::Zeroizing;

use super::args::{ExportArgs, ExportFormat};
use super::failure::Failure;
use super::output;
use super::unlock::Access;
use crate::broker::variable;
use crate::name::{EnvName, FieldName};
use crate::vault::{Entry, FieldInfo, Fields};

pub(super) fn run(access: &Access, args: &ExportArgs) -> Result<u8, Failure> {
    let door = access.door()?;
    let patterns = if args.keys.is_empty() {
        vec!["**".parse().map_err(Failure::new)?]
    } else {
        args.keys.clone()
    };
    let secrets = door
        .export(&patterns)
        .map_err(|error| Failure::of(error, &door))?;
    if output::is_terminal() {
        output::warn("these are secrets in the clear");
    }
    match args.format {
        ExportFormat::Env => output::result(&env(&secrets)?),
        ExportFormat::Json => {
            output::json(&secrets.iter().map(json_entry).collect::<BTreeMap<_, _>>())
        }
    }
}

/// Lines that a POSIX shell reads back byte by byte: single quotes protect everything but themselves.
fn env(secrets: &[(Entry, Fields)]) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut text = Zeroizing::new(Vec::new());
    let mut taken: BTreeMap<EnvName, String> = BTreeMap::new();
    for (entry, fields) in secrets {
        for (name, field) in variables(entry)? {
            let what = match fields.only() {
                Some(_) => entry.name.to_string(),
                None => format!("field {field} of {}", entry.name),
            };
            let Some(value) = fields.get(field.as_str()) else {
                return Err(Failure::new(format!("{what} was changed meanwhile")));
            };
            if value.expose().contains(&0) {
                return Err(
                    Failure::new(format!("{what} contains a NUL byte")).next("use --format json")
                );
            }
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b"='");
            for &byte in value.expose() {
                match byte {
                    b'\'' => text.extend_from_slice(b"'\\''"),
                    byte => text.push(byte),
                }
            }
            text.extend_from_slice(b"'\n");
            let key = entry.name.to_string();
            let both = |first| format!("{first} and {key} would both become {name}");
            if let Some(first) = taken.get(&name) {
                return Err(Failure::new(both(first)));
            }
            taken.insert(name, key);
        }
    }
    Ok(text)
}

/// The variables of a secret: those that it binds; else one for each field, named after the secret, and after the field where there are several.
fn variables(entry: &Entry) -> Result<Vec<(EnvName, FieldName)>, Failure> {
    let metadata = &entry.metadata;
    if !metadata.bindings.is_empty() {
        return Ok(metadata.bindings.clone().into_iter().collect());
    }
    let single = metadata.fields.len() == 1;
    let named = |FieldInfo { name, .. }: &FieldInfo| {
        let key = if single {
            entry.name.to_string()
        } else {
            format!("{}/{name}", entry.name)
        };
        Ok((variable(&key, None)?, name.clone()))
    };
    metadata.fields.iter().map(named).collect()
}

/// A secret as JSON: its value, or an object of its fields. A value that is not UTF-8 is an object with `base64`.
fn json_entry((entry, fields): &(Entry, Fields)) -> (String, Value) {
    let whole = match fields.only() {
        Some(value) => output::json_value(value.expose()),
        None => output::json_fields(fields),
    };
    (entry.name.to_string(), whole)
}
