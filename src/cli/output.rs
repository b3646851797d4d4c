//! Everything this program prints. Writing fails like any other step: a closed pipe is no panic.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use base64::Engine;
use serde_json::{Value, json};

use super::Failure;
use super::failure::codes;
use crate::broker::Caution;
use crate::name::SecretName;
use crate::text::{self, is_unseen};
use crate::vault::{Field, Fields};

/// Writes a result to standard output.
pub(super) fn result(bytes: &[u8]) -> Result<u8, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        // Whoever read this has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(codes::DONE),
        written => written.map(|()| codes::DONE).map_err(Failure::from),
    }
}

/// Lets a long result be written to standard output piece by piece. Whoever reads it may go away when they have seen enough.
pub(super) fn stream(
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let mut out = BufWriter::new(Reader {
        stdout: io::stdout().lock(),
        is_gone: false,
    });
    let written = write(&mut out).and_then(|()| Ok(out.flush()?));
    match written {
        Err(_) if out.get_ref().is_gone => {
            // What is left is for nobody.
            let _ = out.into_parts();
            Ok(codes::DONE)
        }
        written => written.map(|()| codes::DONE),
    }
}

/// Standard output, and whether its reader is still there.
struct Reader {
    stdout: io::StdoutLock<'static>,
    is_gone: bool,
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stdout.write(bytes);
        self.note(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.stdout.flush();
        self.note(flushed)
    }
}

impl Reader {
    fn note<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        let is_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        self.is_gone |= done.as_ref().is_err_and(is_pipe);
        done
    }
}

/// Waits for this long, or until whoever reads standard output has gone away; says which.
pub(super) fn is_closed_within(time: Duration) -> Result<bool, Failure> {
    let stdout = io::stdout();
    // No event is asked for: that the other end was closed is reported always.
    let mut wanted = [PollFd::new(&stdout, PollFlags::empty())];
    let time = Timespec::try_from(time).map_err(Failure::new)?;
    match rustix::event::poll(&mut wanted, Some(&time)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(Failure::new(error)),
    }
}

/// Writes JSON, for people to read and programs to parse.
pub(super) fn json(value: &impl serde::Serialize) -> Result<u8, Failure> {
    let mut text = serde_json::to_vec_pretty(value).map_err(Failure::new)?;
    text.push(b'\n');
    result(&text)
}

/// A value in JSON: text, or an object with `base64`.
pub(super) fn json_value(value: &[u8]) -> Value {
    match std::str::from_utf8(value) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(value) }),
    }
}

/// All values of a secret in JSON.
pub(super) fn json_fields(fields: &Fields) -> Value {
    let value = |field: &Field| (field.name.to_string(), json_value(field.value.expose()));
    fields.iter().map(value).collect()
}

/// Whether results are read by a person.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// What was done, for the person who asked for it.
pub(super) fn done(text: &str) {
    say("", text);
}

pub(super) fn error(text: &str) {
    say("error: ", text);
}

pub(super) fn note(text: &str) {
    say("  ", text);
}

/// Something about a command, beside what it writes itself.
pub(super) fn ours(text: &str) {
    say("secretctl: ", text);
}

/// A better way to what was done.
pub(super) fn hint(text: &str) {
    say("note: ", text);
}

pub(super) fn warn(text: &str) {
    say("warning: ", text);
}

/// What is to be known of the vault's anchor.
pub(super) fn cautions(cautions: &[Caution]) {
    cautions
        .iter()
        .for_each(|caution| warn(&caution.to_string()));
}

/// The database's journal could not be emptied.
pub(super) fn warn_of_journal(what: &str) {
    warn(&format!(
        "another process is reading the vault: {what} stays in vault.db-wal until it ends"
    ));
}

/// A secret whose value cannot be hidden well.
pub(super) fn warn_of_short(key: &SecretName) {
    warn(&format!(
        "{key} has fewer than 4 bytes: they are hidden wherever they stand, which tells what they are"
    ));
}

/// Control characters are shown as what they are: a text may contain a name of somebody else's choice.
fn say(prefix: &str, text: &str) {
    let shown = printable(text);
    text::say(&format!("{prefix}{shown}"));
}

/// The text without characters that could act on a terminal or hide there.
pub(super) fn printable(text: &str) -> String {
    let show = |c: char| {
        if is_unseen(c) && c != '\n' {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(show).collect()
}
