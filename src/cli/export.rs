//! `secretctl export`

use std::collections::BTreeMap;

use base64::Engine;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::args::{ExportArgs, ExportFormat};
use super::failure::Failure;
use super::output;
use super::unlock::Access;
use crate::broker::variable;
use crate::vault::{Entry, Fields};

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
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for (entry, fields) in secrets {
        let single = entry.metadata.fields.len() == 1;
        for field in fields {
            let key = if single {
                entry.name.to_string()
            } else {
                format!("{}/{}", entry.name, field.name)
            };
            let name = variable(&key, None)?.to_string();
            if let Some(first) = taken.insert(name.clone(), key.clone()) {
                return Err(Failure::new(format!(
                    "{first} and {key} would both become {name}"
                )));
            }
            if field.value.expose().contains(&0) {
                return Err(
                    Failure::new(format!("{key} contains a NUL byte")).next("use --format json")
                );
            }
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(b"='");
            for &byte in field.value.expose() {
                match byte {
                    b'\'' => text.extend_from_slice(b"'\\''"),
                    byte => text.push(byte),
                }
            }
            text.extend_from_slice(b"'\n");
        }
    }
    Ok(text)
}

/// A secret as JSON: its value, or an object of its fields. A value that is not UTF-8 is an object with `base64`.
fn json_entry((entry, fields): &(Entry, Fields)) -> (String, Value) {
    let value = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes) }),
    };
    let whole = if entry.metadata.fields.len() == 1 {
        fields
            .iter()
            .next()
            .map_or(Value::Null, |field| value(field.value.expose()))
    } else {
        fields
            .iter()
            .map(|field| (field.name.to_string(), value(field.value.expose())))
            .collect()
    };
    (entry.name.to_string(), whole)
}
