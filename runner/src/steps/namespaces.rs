//! Namespaces of the run's own, and the first process in them.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::{
    DumpableBehavior, Signal, Uid, WaitOptions, getgid, getuid, kill_process,
    set_dumpable_behavior, setsid, waitpid,
};
use rustix::thread::set_thread_res_uid;

use super::identity::{self, Identity};
use crate::outcome::{Stage, StartError};
use crate::plan::Network;
use crate::sys;

/// What the run gets of its own: users, mounts, processes, System V and POSIX message queues, host
/// name, and without a network a network that has nothing in it.
pub(crate) fn wanted(network: Network) -> i32 {
    let always = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS;
    match network {
        Network::Allow => always,
        Network::None => always | libc::CLONE_NEWNET,
    }
}

/// A user and a group by their numbers.
#[derive(Clone, Copy)]
pub(crate) struct Numbers {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Numbers {
    /// Of this process, in the namespace in which it is.
    pub(crate) fn current() -> Self {
        Numbers {
            user: getuid().as_raw(),
            group: getgid().as_raw(),
        }
    }
}

/// In the first process of the new namespaces: makes itself the one user that is known there.
/// `caller` is who the helper was.
pub(crate) fn settle(identity: Option<Identity>, caller: Numbers) -> Result<(), StartError> {
    let user = |error: io::Error| StartError::os(Stage::User, error);
    setsid().map_err(|error| StartError::os(Stage::Session, error))?;
    let (inside, outside) = match identity {
        Some(identity) => (identity::INSIDE, identity.numbers()),
        None => (caller, caller),
    };
    while_dumpable(|| map(Path::new("/proc/self"), inside, outside)).map_err(user)?;
    // Takes away the saved user, who may be root outside. Capabilities in the namespace stay.
    let inside = Uid::from_raw(inside.user);
    set_thread_res_uid(inside, inside, inside).map_err(|error| user(error.into()))?;
    // That may have made the process dumpable again.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| StartError::os(Stage::User, error))
}

/// Makes one user and one group known in a process's user namespace.
fn map(process: &Path, inside: Numbers, outside: Numbers) -> io::Result<()> {
    let write =
        |file, inside, outside| fs::write(process.join(file), format!("{inside} {outside} 1"));
    // Without a privilege outside, a group can be mapped only by who gives up changing groups.
    fs::write(process.join("setgroups"), "deny")?;
    write("uid_map", inside.user, outside.user)?;
    write("gid_map", inside.group, outside.group)
}

/// A user namespace that knows neither the user nor the group of this process by its number: a
/// mount that is mapped by it has files of nobody's.
pub(crate) fn strangers() -> io::Result<OwnedFd> {
    let own = Numbers::current();
    let other = Numbers {
        user: own.user + 1,
        group: own.group + 1,
    };
    let process = Path::new("/proc/self");
    while_dumpable(|| {
        let made = sys::in_user_namespace(|| {
            map(process, other, own)?;
            File::open(process.join("ns/user"))
        });
        made?.map(OwnedFd::from)
    })
}

/// The files in /proc of an undumpable process belong to root. Only before there is a secret in this
/// process, or in the one that it was copied from.
fn while_dumpable<T>(act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    let done = act();
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    done
}

/// The user namespace of a process that does nothing but to be in it, and ends at once. `describe`
/// gives it its maps.
pub(crate) fn made_by_child(describe: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<OwnedFd> {
    let (mut ours, mut theirs) = UnixStream::pair()?;
    let child = match sys::clone(libc::CLONE_NEWUSER)? {
        Some(child) => child,
        None => {
            drop(ours);
            // Its files in /proc are ours to write only then.
            let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
            let _ = theirs.write_all(&[0]);
            // Until the other end is closed, or the parent kills.
            let _ = theirs.read(&mut [0]);
            sys::exit_now(0)
        }
    };
    drop(theirs);
    let process = PathBuf::from(format!("/proc/{child}"));
    let namespace = ours
        .read_exact(&mut [0])
        .and_then(|()| describe(&process))
        .and_then(|()| File::open(process.join("ns/user")));
    let _ = kill_process(child, Signal::KILL);
    waitpid(Some(child), WaitOptions::empty())?;
    Ok(namespace?.into())
}
