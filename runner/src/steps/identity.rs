//! Who the program is outside: for a helper that runs as root, a user that nobody else is.
#![forbid(unsafe_code)]

use std::io;

use rustix::process::{Gid, Uid, geteuid, getgroups, getpid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::namespaces::Numbers;

/// The first of the user numbers that runs started by root get. systemd's list of user numbers
/// ("Users, Groups, UIDs and GIDs on systemd Systems") has nobody in 0x7000_0000 to 0x7FFF_FFFF.
const FIRST: u32 = 0x7000_0000;

/// The numbers by which such a user knows itself within its own user namespace: `nobody`, which has
/// a name everywhere.
pub(crate) const INSIDE: Numbers = Numbers {
    user: 65_534,
    group: 65_534,
};

/// A user and group of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Identity {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
}

impl Identity {
    /// For root one of its own, which no other living run has: it counts up with the helper's
    /// process number. Others keep theirs.
    pub(crate) fn of_this_run() -> Option<Self> {
        if !geteuid().is_root() {
            return None;
        }
        let number = FIRST + getpid().as_raw_pid().unsigned_abs();
        Some(Identity {
            uid: Uid::from_raw(number),
            gid: Gid::from_raw(number),
        })
    }

    pub(crate) fn numbers(&self) -> Numbers {
        Numbers {
            user: self.uid.as_raw(),
            group: self.gid.as_raw(),
        }
    }

    /// Does something as this user, then is root again.
    pub(crate) fn assume<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let groups = getgroups()?;
        set_thread_groups(&[])?;
        set_thread_res_gid(self.gid, self.gid, self.gid)?;
        // The saved user stays root: that is the way back.
        set_thread_res_uid(self.uid, self.uid, Uid::ROOT)?;
        let done = act();
        set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
        set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
        set_thread_groups(&groups)?;
        done
    }

    /// Becomes this user for good.
    pub(crate) fn become_it(&self) -> io::Result<()> {
        set_thread_groups(&[])?;
        set_thread_res_gid(self.gid, self.gid, self.gid)?;
        Ok(set_thread_res_uid(self.uid, self.uid, self.uid)?)
    }
}
