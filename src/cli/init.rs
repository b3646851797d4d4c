//! `secretctl init`

use super::args::InitArgs;
use super::failure::Failure;
use super::output;
use super::password::advise;
use super::unlock::Access;
use crate::broker::PersonDoor;
use crate::vault::{KdfParams, LockedVault};

pub(super) fn run(access: &Access, args: &InitArgs) -> Result<u8, Failure> {
    let dir = access.dir()?;
    // Before anybody thinks of a password.
    if LockedVault::open(&dir).is_ok() {
        let fact = format!("there is a vault in {} already", dir.display());
        return Err(Failure::new(fact).next("choose another place with --vault-dir"));
    }
    let password = access.new_password(args.new_password_file.as_deref())?;
    let params = args.kdf.map_or(KdfParams::DEFAULT, |kdf| kdf.0);
    let cautions = PersonDoor::create(&dir, &password, params, &access.outside())?;
    advise(&password);
    output::cautions(&cautions);
    output::done(&format!(
        "Created a vault in {}. The master password cannot be recovered: keep it safe.",
        dir.display()
    ));
    Ok(super::codes::DONE)
}
