//! `secretctl delete`

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};

use super::args::DeleteArgs;
use super::failure::Failure;
use super::output;
use super::unlock::Access;

pub(super) fn run(access: &Access, args: &DeleteArgs) -> Result<u8, Failure> {
    let door = access.door()?;
    if !args.force && !confirm(&format!("Delete {}? [y/N] ", args.key))? {
        return Err(Failure::new("nothing was deleted"));
    }
    door.delete(&args.key)
        .map_err(|error| Failure::of(error, &door))?;
    output::done(&format!("Deleted {}.", args.key));
    Ok(super::codes::DONE)
}

/// Asks on the terminal, whatever standard input and output are.
fn confirm(question: &str) -> Result<bool, Failure> {
    let no_terminal =
        |_| Failure::new("there is no terminal to ask whether this is meant").next("use --force");
    let mut terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(no_terminal)?;
    terminal.write_all(question.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(terminal).read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
