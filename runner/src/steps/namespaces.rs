//! Namespaces of the run's own, and the first process in them.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::io::{read, write};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, getgid, getuid, kill_process,
    set_dumpable_behavior, setsid, waitpid,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stdin, stdout};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space, set_thread_res_uid};

use super::NOT_STARTED;
use super::identity::{self, Identity};
use crate::control::Control;
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

/// Makes one user known in a user namespace, the run's. `caller` is who the helper was.
pub(crate) fn users(
    holder: &Holder,
    identity: Option<Identity>,
    caller: Numbers,
) -> io::Result<OwnedFd> {
    let (inside, outside) = match identity {
        Some(identity) => (identity::INSIDE, identity.numbers()),
        None => (caller, caller),
    };
    holder.describe(|process| map(process, inside, outside))
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

/// Where a user namespace arrives that knows neither the user nor the group of this process by its
/// number: a mount that is mapped by it has files of nobody's.
pub(crate) struct Strangers(pub(crate) UnixStream);

impl Strangers {
    /// Makes it, of a holder in this process's namespace, and sends it to the other end of the socket.
    pub(crate) fn make(holder: &Holder, to: UnixStream) -> io::Result<()> {
        let own = Numbers::current();
        let other = Numbers {
            user: own.user + 1,
            group: own.group + 1,
        };
        holder.deepen()?;
        let namespace = holder.describe(|process| map(process, other, own))?;
        let mut to = Control::new(to);
        to.queue(&true).map_err(|_| io::ErrorKind::InvalidInput)?;
        to.flush(&mut Some(namespace.as_fd()))
    }

    /// Whoever would say why is gone if it never comes.
    pub(crate) fn await_them(self) -> OwnedFd {
        match Control::new(self.0).fill() {
            Ok(Some(namespace)) => namespace,
            _ => sys::exit_now(NOT_STARTED),
        }
    }
}

/// A process that does nothing but to be in a user namespace of its own.
///
/// The files in /proc of a process that others may not look into belong to root, so it lets others
/// look into it, and has nothing worth a look: no secret has been read yet, its descriptors are
/// closed, and it stands in the caller's own namespaces of mounts and processes, none of a run's.
pub(crate) struct Holder {
    process: Pid,
    socket: UnixStream,
}

impl Holder {
    /// On its way: there may be something else to do meanwhile.
    pub(crate) fn start() -> io::Result<Self> {
        let (socket, mut theirs) = UnixStream::pair()?;
        match sys::clone(libc::CLONE_NEWUSER)? {
            Some(process) => Ok(Holder { process, socket }),
            None => {
                drop(socket);
                wait_in_the_open(&mut theirs)
            }
        }
    }

    /// Lets it make another one within the one in which it is, and go there.
    fn deepen(&self) -> io::Result<()> {
        write(&self.socket, &[0])?;
        Ok(())
    }

    /// The namespace, once `describe` has given it its maps by the process's directory in /proc.
    pub(crate) fn describe(
        &self,
        describe: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<OwnedFd> {
        let process = PathBuf::from(format!("/proc/{}", self.process));
        if read(&self.socket, &mut [0])? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        describe(&process)?;
        Ok(File::open(process.join("ns/user"))?.into())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = kill_process(self.process, Signal::KILL);
        let _ = waitpid(Some(self.process), WaitOptions::empty());
    }
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
        while write(stdout(), &[0]).is_ok()
            && matches!(read(stdin(), &mut [0]), Ok(1))
            && sys::new_user_namespace().is_ok()
        {}
    }
    sys::exit_now(0)
}
