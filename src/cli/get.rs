//! `secretctl get`

use super::args::GetArgs;
use super::failure::Failure;
use super::output;
use super::unlock::Access;
use crate::time;
use crate::vault::{Entry, Fields, VALUE_FIELD};

pub(super) fn run(access: &Access, args: &GetArgs) -> Result<u8, Failure> {
    let door = access.door()?;
    let (entry, fields) = door
        .get(&args.key)
        .map_err(|error| Failure::of(error, &door))?;
    if entry.is_expired(time::now()) {
        output::warn(&format!("{} has expired", args.key));
    }
    if args.show_metadata {
        return output::result(&with_metadata(&entry, &fields));
    }
    let value = fields
        .get(VALUE_FIELD)
        .ok_or_else(|| Failure::new(format!("{} has several fields", args.key)))?;
    // A terminal's next prompt belongs on a line of its own; a pipe gets the value and nothing else.
    let end: &[u8] = if output::is_terminal() { b"\n" } else { b"" };
    output::result(value.expose())?;
    output::result(end)
}

fn with_metadata(entry: &Entry, fields: &Fields) -> zeroize::Zeroizing<Vec<u8>> {
    let metadata = &entry.metadata;
    let mut text = zeroize::Zeroizing::new(Vec::new());
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
            text.extend_from_slice(format!("{label}: {}\n", output::printable(&value)).as_bytes());
        }
    }
    text
}
