//! Directories of another user, mounted so that the run's user owns what that user owns (Linux
//! 5.12, `MOUNT_ATTR_IDMAP` of mount_setattr(2)). Only a helper that is root can do that.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::identity::Identity;
use super::namespaces;
use super::view;
use crate::sys;

/// A copy of all that is mounted at a path, in which the directory's owner is the run's user.
pub(crate) fn clone_tree(path: &Path, identity: Identity) -> io::Result<OwnedFd> {
    let tree = view::clone_tree(path)?;
    let owner = fs::metadata(path)?;
    let users = line(owner.uid(), identity.uid.as_raw());
    let groups = line(owner.gid(), identity.gid.as_raw());
    let namespace = namespaces::made_by_child(|process| {
        fs::write(process.join("uid_map"), users)?;
        fs::write(process.join("gid_map"), groups)
    })?;
    sys::map_mount(tree.as_fd(), namespace.as_fd())?;
    Ok(tree)
}

/// The owner becomes the run's user, everybody else stays.
fn line(owner: u32, run: u32) -> String {
    let after = owner + 1;
    let mut lines = format!("{owner} {run} 1\n{after} {after} {}\n", run - after);
    if owner > 0 {
        lines.push_str(&format!("0 0 {owner}\n"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_becomes_the_runs_user_and_all_others_stay() {
        assert_eq!(line(0, 1000), "0 1000 1\n1 1 999\n");
        assert_eq!(line(7, 1000), "7 1000 1\n8 8 992\n0 0 7\n");
    }
}
