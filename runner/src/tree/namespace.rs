//! A process namespace: its first process on one side, the helper on the other.
//!
//! When the first process ends, the kernel kills all others and lets it be waited for only when
//! they are gone (pid_namespaces(7)). It lives as long as the main process, and no longer than the
//! helper.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::process::{
    Pid, PidfdGetfdFlags, Signal, WaitOptions, geteuid, kill_process, kill_process_group,
    pidfd_getfd, wait, waitpid,
};

use super::{Ended, KILL_MAX};
use crate::control::Control;
use crate::steps::identity::Identity;
use crate::sys;
use crate::wait::wait_for;
use crate::wire::{Command, Passed, Status};

/// The helper's side.
pub(crate) struct Inhabitants {
    first: Pid,
    first_ended: OwnedFd,
    control: Control<UnixStream>,
    leader: Option<Leader>,
    ended: bool,
}

/// The main process, as it is known outside.
struct Leader {
    pid: Pid,
    process: OwnedFd,
}

impl Inhabitants {
    pub(crate) fn new(first: Pid, control: UnixStream) -> io::Result<Self> {
        match sys::watch_exit(first) {
            Ok(first_ended) => Ok(Inhabitants {
                first,
                first_ended,
                control: Control::new(control),
                leader: None,
                ended: false,
            }),
            Err(error) => {
                let _ = kill_process(first, Signal::KILL);
                let _ = waitpid(Some(first), WaitOptions::empty());
                Err(error.into())
            }
        }
    }

    pub(crate) fn first(&self) -> Pid {
        self.first
    }

    /// Looks up the main process, as long as it is the first one's only child.
    pub(crate) fn find_leader(&mut self) {
        let first = self.first;
        let list = fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
        self.leader = list.ok().and_then(|list| {
            let pid = Pid::from_raw(list.trim().parse().ok()?)?;
            let process = sys::watch_exit(pid).ok()?;
            Some(Leader { pid, process })
        });
    }

    pub(crate) fn hides_environment(&self, identity: Option<Identity>) -> Option<bool> {
        let leader = self.leader.as_ref()?;
        let hidden = match identity {
            Some(identity) => identity.assume(|| Ok(leader.is_hidden())).ok()?,
            // Nothing is hidden from root.
            None if geteuid().is_root() => return None,
            None => leader.is_hidden(),
        };
        let ended = wait_for(
            [Some((leader.process.as_fd(), PollFlags::IN))],
            Some(Instant::now()),
        );
        matches!(ended, Ok([false])).then_some(hidden)
    }

    /// Readable when the first process says so, or has ended without a word.
    pub(crate) fn leader_ended(&self) -> BorrowedFd<'_> {
        self.control.socket()
    }

    /// The first process passes it on: it knows whether the main process is still there.
    pub(crate) fn signal(&mut self, signal: Signal) {
        // A message of a few bytes is never too long, and one to somebody who is gone says nothing.
        let _ = self.control.send(&Command::Signal(signal.as_raw()));
    }

    pub(crate) fn end(&mut self) -> Ended {
        let passed = match wait_for(
            [Some((self.leader_ended(), PollFlags::IN))],
            Some(Instant::now()),
        ) {
            Ok([true]) => self
                .control
                .fill()
                .ok()
                .and_then(|_| self.control.next().ok()?),
            _ => None,
        };
        let gone = self.kill();
        let (status, leaked) = match passed {
            Some(Passed { status, leaked }) => (status, leaked),
            None if gone => (Status::Signaled(Signal::KILL.as_raw()), false),
            None => (Status::Unknown, false),
        };
        Ended {
            status,
            leaked,
            survivors: !gone,
        }
    }

    /// Whether nobody is left.
    fn kill(&mut self) -> bool {
        self.ended = true;
        let _ = kill_process(self.first, Signal::KILL);
        let give_up = Some(Instant::now() + KILL_MAX);
        let ended = wait_for([Some((self.first_ended.as_fd(), PollFlags::IN))], give_up);
        let gone = matches!(ended, Ok([true]));
        if gone {
            let _ = waitpid(Some(self.first), WaitOptions::empty());
        }
        gone
    }
}

impl Leader {
    /// Neither what is decided by reading rights in /proc nor what asks for the right to trace.
    fn is_hidden(&self) -> bool {
        let environment = File::open(format!("/proc/{}/environ", self.pid));
        let descriptor = pidfd_getfd(&self.process, 0, PidfdGetfdFlags::empty());
        environment.is_err() && descriptor.is_err()
    }
}

impl Drop for Inhabitants {
    fn drop(&mut self) {
        if !self.ended {
            self.kill();
        }
    }
}

/// The life of the first process: waits for everybody whose parent has ended, passes signals on to
/// the main process's group, and ends when that process ends or the helper is gone.
pub(crate) fn rule(leader: Pid, children: &OwnedFd, helper: UnixStream) -> ! {
    let mut helper = Control::new(helper);
    loop {
        let watched = [
            Some((children.as_fd(), PollFlags::IN)),
            Some((helper.socket(), PollFlags::IN)),
        ];
        let Ok([child, command]) = wait_for(watched, None) else {
            sys::exit_now(1)
        };
        if command {
            obey(leader, &mut helper);
        }
        if child {
            sys::take_signal(children);
            if let Some(status) = reap(leader) {
                let leaked = sys::anybody_else();
                let _ = helper.send(&Passed { status, leaked });
                sys::exit_now(0);
            }
        }
    }
}

fn obey(leader: Pid, helper: &mut Control<UnixStream>) {
    let understood = helper.fill().is_ok() && helper.is_open();
    loop {
        match helper.next() {
            Ok(Some(Command::Signal(number))) => {
                if let Some(signal) = Signal::from_named_raw(number)
                    && kill_process_group(leader, signal).is_err()
                {
                    // Before it has a group of its own.
                    let _ = kill_process(leader, signal);
                }
            }
            Ok(None) if understood => return,
            _ => sys::exit_now(1),
        }
    }
}

/// Waits for all who have ended; how the main process did, if it is among them.
fn reap(leader: Pid) -> Option<Status> {
    let mut found = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid != leader {
            continue;
        }
        found = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Some(Status::Exited(code)),
            (_, Some(signal)) => Some(Status::Signaled(signal)),
            _ => None,
        };
    }
    found
}
