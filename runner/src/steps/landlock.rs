//! Landlock (Linux 5.13, deepened since): which files the program may open, for what, and whom it
//! may signal. The kernel enforces as much of it as its version knows.
#![forbid(unsafe_code)]

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

use super::reach::{Access, DEVICES, Place, READABLE_LOADER};
use crate::plan::Network;

/// The newest version whose rights we have looked at.
const NEWEST: ABI = ABI::V9;

/// The rules for these places, for the run's own directories, and for a few device nodes.
/// Rights that nobody names are denied.
pub(crate) fn rules(
    places: &[Place],
    own: &[&Path],
    network: Network,
) -> Result<RulesetCreated, RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let write = all & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let read = AccessFs::Execute | AccessFs::ReadFile | AccessFs::ReadDir;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::from_all(NEWEST))?;
    if network == Network::None {
        ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST))?;
    }
    let with = |access: Access| {
        let places = places.iter().filter(move |place| place.access == access);
        places.map(|place| place.path.as_path())
    };
    let mut rules = ruleset.create()?;
    let allowed: [(Vec<&Path>, BitFlags<AccessFs>); 3] = [
        (
            with(Access::Read)
                .chain(["/proc", READABLE_LOADER].map(Path::new))
                .collect(),
            read,
        ),
        (
            with(Access::Write).chain(own.iter().copied()).collect(),
            write,
        ),
        (DEVICES.map(Path::new).to_vec(), device),
    ];
    for (paths, access) in allowed {
        rules = rules.add_rules(path_beneath_rules(paths, access))?;
    }
    Ok(rules)
}
