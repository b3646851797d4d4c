//! `secretctl delete`

use super::args::DeleteArgs;
use super::failure::Failure;
use super::output;
use super::terminal;
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
pub(super) fn confirm(question: &str) -> Result<bool, Failure> {
    let no_terminal =
        |_| Failure::new("there is no terminal to ask whether this is meant").next("use --force");
    let answer = terminal::ask(question).map_err(no_terminal)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
