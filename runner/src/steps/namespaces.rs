//! Namespaces of the run's own, and the first process in them.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Signal, WaitOptions, getgid, getuid, kill_process, set_dumpable_behavior,
    setsid, waitpid,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space, set_thread_res_uid};

use super::identity::{self, Identity};
use crate::outcome::{Stage, StartError};
use crate::plan::Network;
use crate::sys::{self, Above2};

/// What the run gets of its own, beside users: mounts, processes, System V and POSIX message queues,
/// host name, and without a network a network that has nothing in it.
pub(crate) fn wanted(network: Network) -> i32 {
    let always = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
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

/// A user namespace in which one user is known, the run's. `caller` is who the helper was.
pub(crate) fn users(identity: Option<Identity>, caller: Numbers) -> io::Result<OwnedFd> {
    let (inside, outside) = match identity {
        Some(identity) => (identity::INSIDE, identity.numbers()),
        None => (caller, caller),
    };
    made_by_child(|process| map(process, inside, outside))
}

/// Goes into it, with all capabilities there and no way back.
pub(crate) fn enter(users: &OwnedFd) -> io::Result<()> {
    Ok(move_into_link_name_space(
        users.as_fd(),
        Some(LinkNameSpaceType::User),
    )?)
}

/// In the first process of the new namespaces: takes away the saved user, who may be root outside.
pub(crate) fn settle() -> Result<(), StartError> {
    let user = |error: Errno| StartError::os(Stage::User, error);
    setsid().map_err(|error| StartError::os(Stage::Session, error))?;
    let own = getuid();
    set_thread_res_uid(own, own, own).map_err(user)?;
    // A change of user may open a process to others.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(user)
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
    made_by_child(|process| map(process, other, own))
}

/// The user namespace of a process that does nothing but to be in it, and ends at once. `describe`
/// gives it its maps.
///
/// The files in /proc of a process that others may not look into belong to root, so it lets others
/// look into it, and has nothing worth a look: no secret has been read yet, its descriptors are
/// closed, and it stands in the caller's own namespaces of mounts and processes, none of a run's.
pub(crate) fn made_by_child(describe: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<OwnedFd> {
    let (mut ours, mut theirs) = UnixStream::pair()?;
    let child = match sys::clone(libc::CLONE_NEWUSER)? {
        Some(child) => child,
        None => {
            drop(ours);
            wait_in_the_open(&mut theirs)
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

/// Until the other end is closed, or the parent kills.
fn wait_in_the_open(parent: &mut UnixStream) -> ! {
    let alone = dup2_stdin(&*parent)
        .and_then(|()| dup2_stdout(&*parent))
        .and_then(|()| dup2_stderr(&*parent));
    if alone.is_ok() {
        // The number in `parent` is closed with the others: from here on it is standard input.
        sys::descriptors_above_2(Above2::Close);
        let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
        let _ = io::stdout()
            .write_all(&[0])
            .and_then(|()| io::stdout().flush());
        let _ = io::stdin().read(&mut [0]);
    }
    sys::exit_now(0)
}
