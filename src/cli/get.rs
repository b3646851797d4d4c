//! `secretctl get`

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::args::GetArgs;
use super::failure::{Failure, codes};
use super::list::Beside;
use super::output;
use super::unlock::Access;
use crate::secret::SecretBytes;
use crate::time;
use crate::vault::{Entry, Field, FieldInfo, Fields, VALUE_FIELD};

/// All of a secret, as JSON.
#[derive(Serialize)]
struct Whole<'a> {
    key: &'a str,
    fields: Value,
    sensitive: Vec<&'a str>,
    bindings: BTreeMap<&'a str, &'a str>,
    #[serde(flatten)]
    beside: Beside<'a>,
}

pub(super) fn run(access: &Access, args: &GetArgs) -> Result<u8, Failure> {
    let door = access.door()?;
    if args.fields {
        let entry = (door.entry(&args.key)).map_err(|error| Failure::of(error, &door))?;
        return output::result(names(&entry).as_bytes());
    }
    let (entry, fields) = door
        .get(&args.key)
        .map_err(|error| Failure::of(error, &door))?;
    if entry.is_expired(time::now()) {
        output::warn(&format!("{} has expired", args.key));
    }
    if args.json {
        return output::json(&whole(&entry, &fields));
    }
    if args.show_metadata {
        return output::result(&with_metadata(&entry, &fields));
    }
    // A terminal's next prompt belongs on a line of its own; a pipe gets the value and nothing else.
    let end: &[u8] = if output::is_terminal() { b"\n" } else { b"" };
    output::result(chosen(args, &entry, &fields)?.expose())?;
    output::result(end)
}

/// The field that is asked for, or the only one.
fn chosen<'a>(
    args: &GetArgs,
    entry: &Entry,
    fields: &'a Fields,
) -> Result<&'a SecretBytes, Failure> {
    let infos = &entry.metadata.fields;
    let Some(wanted) = &args.field else {
        let names: Vec<&str> = infos.iter().map(|field| field.name.as_str()).collect();
        let several = format!("{} has the fields {}", args.key, names.join(", "));
        let several = || Failure::new(several).next("--field NAME prints one of them, --json all");
        return fields.only().ok_or_else(several);
    };
    fields.get(wanted.as_str()).ok_or_else(|| {
        Failure::new(format!("{} has no field '{wanted}'", args.key))
            .with_code(codes::NOT_FOUND)
            .next_field(wanted, infos)
    })
}

fn names(entry: &Entry) -> String {
    let line = |FieldInfo { name, sensitive }: &FieldInfo| {
        let flag = if *sensitive { " [sensitive]" } else { "" };
        format!("{name}{flag}\n")
    };
    entry.metadata.fields.iter().map(line).collect()
}

fn whole<'a>(entry: &'a Entry, fields: &Fields) -> Whole<'a> {
    let metadata = &entry.metadata;
    let sensitive = metadata.fields.iter().filter(|field| field.sensitive);
    let bindings = metadata.bindings.iter();
    Whole {
        key: entry.name.as_str(),
        fields: output::json_fields(fields),
        sensitive: sensitive.map(|field| field.name.as_str()).collect(),
        bindings: bindings
            .map(|(variable, field)| (variable.as_str(), field.as_str()))
            .collect(),
        beside: entry.into(),
    }
}

fn with_metadata(entry: &Entry, fields: &Fields) -> Zeroizing<Vec<u8>> {
    let beside = beside(entry);
    // Room for all of it from the start: a buffer that grows leaves copies behind.
    let room = |field: &Field| field.name.as_str().len() + field.value.len() + "Value: \n".len();
    let room = fields.iter().map(room).sum::<usize>() + beside.len();
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    for field in fields {
        let label = if field.name.as_str() == VALUE_FIELD {
            "Value"
        } else {
            field.name.as_str()
        };
        text.extend_from_slice(label.as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(field.value.expose());
        text.push(b'\n');
    }
    text.extend_from_slice(beside.as_bytes());
    text
}

/// What is no value.
fn beside(entry: &Entry) -> String {
    let metadata = &entry.metadata;
    let bindings = metadata.bindings.iter();
    let mut text: String = bindings
        .map(|(variable, field)| format!("Binding: {variable} gets {field}\n"))
        .collect();
    let tags: Vec<&str> = metadata.tags.iter().map(|tag| tag.as_str()).collect();
    let lines = [
        ("Notes", metadata.notes.clone()),
        ("URL", metadata.url.clone()),
        ("Tags", (!tags.is_empty()).then(|| tags.join(", "))),
        ("Expires", metadata.expires_at.map(time::rfc3339)),
        ("Created", Some(time::rfc3339(entry.created_at))),
        ("Updated", Some(time::rfc3339(entry.updated_at))),
    ];
    for (label, value) in lines {
        if let Some(value) = value {
            text.push_str(&format!("{label}: {}\n", output::printable(&value)));
        }
    }
    text
}
