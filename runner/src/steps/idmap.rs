//! Directories of another user, mounted so that the run's user owns what that user owns (Linux
//! 5.12, `MOUNT_ATTR_IDMAP` of mount_setattr(2)). Only a helper that is root can do that.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::CWD;

use super::identity::Identity;
use super::namespaces::Holder;
use super::view;
use crate::sys;

/// Makes such mounts for one user of a run, each map once.
pub(crate) struct Mapper {
    identity: Identity,
    made: HashMap<(u32, u32), OwnedFd>,
}

impl Mapper {
    pub(crate) fn new(identity: Identity) -> Self {
        Mapper {
            identity,
            made: HashMap::new(),
        }
    }

    /// A copy of all that is mounted at a path, in which the directory's owner is the run's user.
    pub(crate) fn clone_tree(&mut self, path: &Path) -> io::Result<OwnedFd> {
        let tree = view::clone_tree(CWD, path)?;
        let owner = fs::metadata(path)?;
        let owner = (owner.uid(), owner.gid());
        let namespace = match self.made.entry(owner) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(place) => place.insert(namespace(owner, self.identity)?),
        };
        sys::map_mount(tree.as_fd(), namespace.as_fd())?;
        Ok(tree)
    }
}

fn namespace((user, group): (u32, u32), identity: Identity) -> io::Result<OwnedFd> {
    let unknown = || io::Error::from(io::ErrorKind::Unsupported);
    let users = lines(user, identity.uid.as_raw()).ok_or_else(unknown)?;
    let groups = lines(group, identity.gid.as_raw()).ok_or_else(unknown)?;
    Holder::start()?.describe(|process| {
        fs::write(process.join("uid_map"), users)?;
        fs::write(process.join("gid_map"), groups)
    })
}

/// The owner becomes the run's user, everybody below that one's number stays. None for an owner above
/// it.
fn lines(owner: u32, run: u32) -> Option<String> {
    let after = owner.checked_add(1)?;
    let others = run.checked_sub(after).filter(|others| *others > 0)?;
    let mut lines = format!("{owner} {run} 1\n{after} {after} {others}\n");
    if owner > 0 {
        lines.push_str(&format!("0 0 {owner}\n"));
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_becomes_the_runs_user_and_all_others_stay() {
        assert_eq!(lines(0, 1000).unwrap(), "0 1000 1\n1 1 999\n");
        assert_eq!(lines(7, 1000).unwrap(), "7 1000 1\n8 8 992\n0 0 7\n");
        for owner in [999, 1000, 1001, u32::MAX] {
            assert_eq!(lines(owner, 1000), None);
        }
    }
}
