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
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdGetfdFlags, Signal, WaitOptions, geteuid, getpid, kill_process, kill_process_group,
    pidfd_getfd, wait, waitpid,
};

use super::{Ended, KILL_MAX};
use crate::control::Control;
use crate::outcome::{Cause, Stage, StartError};
use crate::plan::Plan;
use crate::steps::NOT_STARTED;
use crate::steps::exec_only::{self, Protection};
use crate::steps::identity::Identity;
use crate::steps::namespaces::Holder;
use crate::steps::reach::Reach;
use crate::sys;
use crate::wait::wait_for;
use crate::wire::{Order, Status, Word};

/// Waits for a child that leaves us a child of its own. With the end of the holder, of which it made
/// use, that one is our only child.
pub(crate) fn adopt(midwife: Pid, holder: Holder) -> io::Result<Pid> {
    waitpid(Some(midwife), WaitOptions::empty())?;
    drop(holder);
    only_child(getpid()).ok_or_else(|| io::Error::from_raw_os_error(libc::ECHILD))
}

fn only_child(of: Pid) -> Option<Pid> {
    let list = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).ok()?;
    Pid::from_raw(list.trim().parse().ok()?)
}

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
        self.leader = only_child(self.first).and_then(|pid| {
            let process = sys::watch_exit(pid).ok()?;
            Some(Leader { pid, process })
        });
    }

    /// Lets the first process finish the view. `trees` are copies of mounts that it cannot reach.
    pub(crate) fn finish(&mut self, reach: Reach, trees: Vec<OwnedFd>) -> io::Result<()> {
        for tree in trees {
            self.control
                .queue(&Order::Tree)
                .map_err(|_| io::ErrorKind::InvalidInput)?;
            self.control.flush(&mut Some(tree.as_fd()))?;
        }
        self.control.send(&Order::Finish(reach))
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
        let _ = self.control.send(&Order::Signal(signal.as_raw()));
    }

    /// Makes the program unreadable, if the dynamic loader `loader` is not enough for that. False if
    /// it cannot be done.
    pub(crate) fn protect(&mut self, plan: &mut Plan, loader: &Path) -> Result<bool, StartError> {
        let Some(path) = exec_only::exposed(&plan.program, loader) else {
            return Ok(true);
        };
        let own = fs::canonicalize(&plan.program).is_ok_and(|program| program == path);
        let expect = plan.expect.filter(|_| own);
        let died = |_| StartError::new(Stage::Process, Cause::Died);
        self.control
            .send(&Order::Cover { path, expect })
            .map_err(died)?;
        loop {
            match self.control.next() {
                Ok(Some(Word::Covered(copy))) => {
                    if own && copy.is_some() {
                        plan.expect = copy;
                    }
                    return Ok(copy.is_some());
                }
                Ok(Some(Word::NotCovered(error))) => return Err(error),
                Ok(None) if self.control.is_open() => {
                    self.control.fill().map_err(died)?;
                }
                _ => return Err(StartError::new(Stage::Process, Cause::Died)),
            }
        }
    }

    /// The first process is waited for when this is dropped.
    pub(crate) fn end(&mut self) -> Ended {
        let watched = [Some((self.leader_ended(), PollFlags::IN))];
        if let Ok([true]) = wait_for(watched, Some(Instant::now()))
            && self.control.fill().is_ok()
            && let Ok(Some(Word::Passed {
                status,
                leaked,
                gone: true,
            })) = self.control.next()
        {
            return Ended {
                status,
                leaked,
                survivors: false,
            };
        }
        let gone = self.kill();
        Ended {
            status: if gone {
                Status::Signaled(Signal::KILL.as_raw())
            } else {
                Status::Unknown
            },
            leaked: false,
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

/// What [`Inhabitants::finish`] has sent. Who does not send it has no use for us.
pub(crate) fn await_reach(helper: &mut Control<UnixStream>) -> (Reach, Vec<OwnedFd>) {
    let mut trees = Vec::new();
    loop {
        match helper.next() {
            Ok(Some(Order::Finish(reach))) => return (reach, trees),
            // It has come with the message.
            Ok(Some(Order::Tree)) => {}
            Ok(None) if helper.is_open() => match helper.fill() {
                Ok(tree) => trees.extend(tree),
                Err(_) => sys::exit_now(NOT_STARTED),
            },
            _ => sys::exit_now(NOT_STARTED),
        }
    }
}

/// The first process.
pub(crate) struct First {
    pub(crate) leader: Pid,
    /// Readable when a child has ended.
    pub(crate) children: OwnedFd,
    pub(crate) protection: Option<Protection>,
    /// A directory in the run's own space.
    pub(crate) space: PathBuf,
}

impl First {
    /// Its life: waits for everybody whose parent has ended, does what the helper orders, and ends
    /// when the main process ends, after everybody else, or when the helper is gone.
    pub(crate) fn rule(self, mut helper: Control<UnixStream>) -> ! {
        loop {
            let watched = [
                Some((self.children.as_fd(), PollFlags::IN)),
                Some((helper.socket(), PollFlags::IN)),
            ];
            let Ok([child, order]) = wait_for(watched, None) else {
                sys::exit_now(1)
            };
            if order {
                self.obey(&mut helper);
            }
            if child {
                sys::take_signal(&self.children);
                if let Some(status) = self.reap().leader {
                    self.follow(status, &mut helper);
                }
            }
        }
    }

    fn obey(&self, helper: &mut Control<UnixStream>) {
        let understood = helper.fill().is_ok() && helper.is_open();
        loop {
            match helper.next() {
                Ok(Some(Order::Signal(number))) => {
                    if let Some(signal) = Signal::from_named_raw(number)
                        && kill_process_group(self.leader, signal).is_err()
                    {
                        // Before it has a group of its own.
                        let _ = kill_process(self.leader, signal);
                    }
                }
                Ok(Some(Order::Cover { path, expect })) => {
                    let protection = self.protection.as_ref();
                    let covered = protection.map_or(Ok(None), |protection| {
                        protection.cover(&path, expect, &self.space)
                    });
                    let answer = match covered {
                        Ok(copy) => Word::Covered(copy),
                        Err(cause) => Word::NotCovered(StartError::new(Stage::Program, cause)),
                    };
                    if helper.send(&answer).is_err() {
                        sys::exit_now(1);
                    }
                }
                Ok(None) if understood => return,
                // Nor is the view finished twice.
                _ => sys::exit_now(1),
            }
        }
    }

    /// After the main process: ends everybody else, says so, and ends.
    fn follow(&self, status: Status, helper: &mut Control<UnixStream>) -> ! {
        let leaked = sys::kill_everybody_else();
        let give_up = Instant::now() + KILL_MAX;
        let mut gone = !leaked;
        while !gone && Instant::now() < give_up {
            let _ = wait_for(
                [Some((self.children.as_fd(), PollFlags::IN))],
                Some(give_up),
            );
            sys::take_signal(&self.children);
            gone = self.reap().nobody;
        }
        let _ = helper.send(&Word::Passed {
            status,
            leaked,
            gone,
        });
        // Taking the namespaces down keeps a processor busy, on which the caller may want to go on.
        while gone && helper.is_open() && helper.fill().is_ok() {}
        sys::exit_now(0)
    }

    /// Waits for all who have ended.
    fn reap(&self) -> Reaped {
        let mut reaped = Reaped::default();
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.leader => {
                    reaped.leader = match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Some(Status::Exited(code)),
                        (_, Some(signal)) => Some(Status::Signaled(signal)),
                        _ => None,
                    };
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return reaped,
                Err(_) => {
                    reaped.nobody = true;
                    return reaped;
                }
            }
        }
    }
}

#[derive(Default)]
struct Reaped {
    /// How the main process ended, if it was among them.
    leader: Option<Status>,
    /// There is no child any more.
    nobody: bool,
}
