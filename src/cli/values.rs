//! Where the values of `set` come from: the command line, files, standard input, hidden prompts, and the form of a kind of secret.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::args::SetArgs;
use super::failure::{Failure, codes};
use super::forms::{FormField, Typed};
use super::terminal;
use super::unlock::prompt;
use crate::name::{FieldName, SecretName};
use crate::secret::SecretBytes;
use crate::vault::{FieldInfo, VALUE_FIELD, VALUE_MAX_BYTES};

/// A value that the command line names.
pub(super) enum Source {
    /// It stands there itself.
    Given(SecretBytes),
    File(PathBuf),
    /// From a prompt or standard input.
    Asked,
}

/// The fields that the command line names. A text that is no field is not repeated: it may hold a secret.
pub(super) fn named(args: &SetArgs) -> Result<Vec<(FieldName, Source)>, Failure> {
    let mut named = Vec::new();
    for text in &args.fields {
        let (name, value) = split(text);
        let source = match value {
            Some(value) => Source::Given(SecretBytes::from_vec(value.to_owned().into_vec())),
            None => Source::Asked,
        };
        named.push((field_name("--field", name)?, source));
    }
    for text in &args.field_files {
        let (name, path) = split(text);
        let no_path = || usage("--field-file: write NAME=PATH");
        let path = path.filter(|path| !path.is_empty()).ok_or_else(no_path)?;
        named.push((field_name("--field-file", name)?, Source::File(path.into())));
    }
    if let Some(path) = &args.from_file {
        let name = VALUE_FIELD.parse().map_err(Failure::new)?;
        named.push((name, Source::File(path.clone())));
    }
    let asked = named
        .iter()
        .filter(|(_, source)| matches!(source, Source::Asked));
    if asked.count() > 1 && !io::stdin().is_terminal() {
        return Err(usage(
            "only one field can be read from standard input; --field-file reads others",
        ));
    }
    Ok(named)
}

fn usage(fact: &str) -> Failure {
    Failure::new(fact).with_code(codes::USAGE)
}

fn split(text: &OsString) -> (&OsStr, Option<&OsStr>) {
    let bytes = text.as_bytes();
    match bytes.iter().position(|&byte| byte == b'=') {
        Some(at) => (
            OsStr::from_bytes(&bytes[..at]),
            Some(OsStr::from_bytes(&bytes[at + 1..])),
        ),
        None => (text, None),
    }
}

fn field_name(flag: &str, name: &OsStr) -> Result<FieldName, Failure> {
    let name = name.to_string_lossy();
    name.parse()
        .map_err(|error| usage(&format!("{flag}: {error}")))
}

/// Reads a value from where it is.
pub(super) fn read(
    key: &SecretName,
    name: &FieldName,
    source: Source,
    exact: bool,
) -> Result<SecretBytes, Failure> {
    match source {
        Source::Given(value) => Ok(value),
        Source::File(path) => from_file(&path),
        Source::Asked if io::stdin().is_terminal() => prompt(&format!("{name} of {key}: ")),
        Source::Asked => from_stdin(exact),
    }
}

/// The fields of a form that the command line does not name: asked for one by one, an empty answer leaves one out.
pub(super) fn fill_in(
    key: &SecretName,
    form: &[FormField],
    named: &[FieldName],
    present: &[FieldInfo],
) -> Result<Vec<(FieldName, SecretBytes)>, Failure> {
    let is_present = |name: &str| present.iter().any(|field| field.name.as_str() == name);
    let open = form
        .iter()
        .filter(|field| named.iter().all(|name| name.as_str() != field.name));
    let mut filled = Vec::new();
    let mut missing = Vec::new();
    for field in open {
        let is_needed = field.is_required && !is_present(field.name);
        let value = if io::stdin().is_terminal() {
            ask(key, field, is_needed, is_present(field.name))?
        } else {
            None
        };
        match value {
            Some(value) => filled.push((field.name.parse().map_err(Failure::new)?, value)),
            None if is_needed => missing.push(field.name),
            None => {}
        }
    }
    if missing.is_empty() {
        return Ok(filled);
    }
    let fact = format!("values are missing: {}", missing.join(", "));
    Err(Failure::new(fact)
        .next("--field NAME=VALUE gives one, --field-file NAME=PATH and --field NAME read one"))
}

fn ask(
    key: &SecretName,
    field: &FormField,
    is_needed: bool,
    is_present: bool,
) -> Result<Option<SecretBytes>, Failure> {
    let what = match field.typed {
        Typed::File => format!("File with {} of {key}", field.name),
        Typed::Plain | Typed::Hidden => format!("{} of {key}", field.name),
    };
    let if_empty = match (is_needed, is_present) {
        (true, _) => "",
        (false, true) => " (empty: keep the present one)",
        (false, false) => " (may be empty)",
    };
    let question = format!("{what}{if_empty}: ");
    let value = match field.typed {
        Typed::Hidden => prompt(&question)?,
        Typed::Plain => SecretBytes::from_vec(terminal::ask(&question)?.into_bytes()),
        Typed::File => match terminal::ask(&question)? {
            path if path.is_empty() => return Ok(None),
            path => from_file(Path::new(&path))?,
        },
    };
    Ok(Some(value).filter(|value| !value.is_empty()))
}

fn from_file(path: &Path) -> Result<SecretBytes, Failure> {
    let fail = |error: io::Error| Failure::new(format!("{}: {error}", path.display()));
    let mut file = File::open(path).map_err(fail)?;
    bounded(&mut file, VALUE_MAX_BYTES + 1).map_err(fail)
}

/// All of standard input, without the line break at its end.
pub(super) fn from_stdin(exact: bool) -> Result<SecretBytes, Failure> {
    // A value and a line break, and one byte more, so that a longer input is refused and not cut.
    let read = bounded(&mut io::stdin().lock(), VALUE_MAX_BYTES + 3)?;
    if exact {
        return Ok(read);
    }
    let bytes = read.expose();
    let line = bytes.strip_suffix(b"\n");
    let line = line.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    Ok(match line {
        Some(line) => SecretBytes::from_vec(line.to_vec()),
        None => read,
    })
}

fn bounded(source: &mut impl Read, max_bytes: usize) -> io::Result<SecretBytes> {
    // Reserved at once: a buffer that grows leaves copies behind.
    let mut bytes = Vec::with_capacity(max_bytes);
    source.take(max_bytes as u64).read_to_end(&mut bytes)?;
    Ok(SecretBytes::from_vec(bytes))
}
