//! `secretctl rename`

use super::args::RenameArgs;
use super::failure::Failure;
use super::output;
use super::unlock::Access;

pub(super) fn run(access: &Access, args: &RenameArgs) -> Result<u8, Failure> {
    let door = access.door()?;
    door.rename(&args.old, &args.new)
        .map_err(|error| Failure::of(error, &door))?;
    output::done(&format!("Renamed {} to {}.", args.old, args.new));
    Ok(super::codes::DONE)
}
