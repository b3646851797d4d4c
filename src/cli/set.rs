//! `secretctl set`

use std::io::{self, IsTerminal, Read};

use super::args::SetArgs;
use super::failure::Failure;
use super::output;
use super::unlock::{Access, prompt};
use crate::broker::{Short, shortness};
use crate::name::SecretName;
use crate::secret::SecretBytes;
use crate::time;
use crate::vault::{Change, Stored, VALUE_MAX_BYTES};

pub(super) fn run(access: &Access, args: SetArgs) -> Result<u8, Failure> {
    let metadata = Change {
        tags: args.tags.map(|tags| tags.0),
        notes: args
            .notes
            .map(|notes| Some(notes).filter(|notes| !notes.is_empty())),
        url: args.url.map(|url| Some(url).filter(|url| !url.is_empty())),
        expires_at: match args.expires {
            Some(expiry) => Some(expiry.unix_seconds(time::now()).map_err(Failure::new)?),
            None => None,
        },
        ..Change::default()
    };
    let has_metadata = metadata.tags.is_some()
        || metadata.notes.is_some()
        || metadata.url.is_some()
        || metadata.expires_at.is_some();
    let door = access.door()?;
    let value = read_value(args.key.as_str(), has_metadata, args.exact)?;
    let short = shortness(&value).filter(|_| !value.is_empty());
    let change = match value {
        // Metadata alone was given; the value stays as it is.
        value if value.is_empty() && has_metadata => metadata,
        value => Change {
            fields: Change::value(value).fields,
            ..metadata
        },
    };
    let stored = door
        .set(&args.key, change)
        .map_err(|error| Failure::of(error, &door))?;
    let verb = match stored {
        Stored::Created => "Stored",
        Stored::Updated => "Updated",
    };
    output::done(&format!("{verb} {}.", args.key));
    if let Some(short) = short {
        warn(short, &args.key);
    }
    Ok(super::codes::DONE)
}

fn warn(short: Short, key: &SecretName) {
    let fact = match short {
        Short::Unusable => "fewer than 4 bytes: agents cannot use it, since it cannot be hidden",
        Short::Guessable => "fewer than 8 bytes: it can be guessed, and found in output by chance",
    };
    output::warn(&format!("{key} has {fact}"));
}

/// The value: typed without echo, or all of standard input.
fn read_value(key: &str, may_be_empty: bool, exact: bool) -> Result<SecretBytes, Failure> {
    if io::stdin().is_terminal() {
        let keeps = if may_be_empty {
            " (empty: keep the present one)"
        } else {
            ""
        };
        return prompt(&format!("Value of {key}{keeps}: "));
    }
    // Reserved at once: a buffer that grows leaves copies behind.
    let mut bytes = Vec::with_capacity(VALUE_MAX_BYTES + 3);
    // One byte more than a value and a line break, so that a longer input is refused and not cut.
    io::stdin()
        .lock()
        .take(VALUE_MAX_BYTES as u64 + 3)
        .read_to_end(&mut bytes)?;
    if !exact && bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Ok(SecretBytes::from_vec(bytes))
}
