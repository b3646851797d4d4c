//! `secretctl init`

use super::failure::Failure;
use super::output;
use super::unlock::Access;
use crate::broker::PersonDoor;
use crate::vault::LockedVault;

pub(super) fn run(access: &Access) -> Result<u8, Failure> {
    let dir = access.dir()?;
    // Before anybody thinks of a password.
    if LockedVault::open(&dir).is_ok() {
        let fact = format!("there is a vault in {} already", dir.display());
        return Err(Failure::new(fact).next("choose another place with --vault-dir"));
    }
    let password = access.new_password()?;
    PersonDoor::create(&dir, &password)?;
    output::done(&format!(
        "Created a vault in {}. The master password cannot be recovered: keep it safe.",
        dir.display()
    ));
    Ok(super::codes::DONE)
}
