//! `secretctl init`

use super::failure::Failure;
use super::output;
use super::unlock::Access;
use crate::broker::PersonDoor;

pub(super) fn run(access: &Access) -> Result<u8, Failure> {
    let dir = access.dir()?;
    let password = access.new_password()?;
    PersonDoor::create(&dir, &password)?;
    output::done(&format!("Created a vault in {}. The master password cannot be recovered: keep it safe.", dir.display()));
    Ok(super::codes::DONE)
}
