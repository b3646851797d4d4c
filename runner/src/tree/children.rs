//! A tree of processes by its parentage.
//!
//! On Linux the helper is a subreaper: whatever in the tree loses its parent becomes a child of the
//! helper, also daemons in sessions of their own. Killing all children until there are none
//! therefore leaves nobody. A process is only ever named by its number while it is our child and
//! has not been waited for, so that the number is its own.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpgid, kill_process, kill_process_group,
    wait, waitid,
};

use super::{Ended, KILL_MAX};
use crate::sys;
use crate::wait::wait_for;
use crate::wire::Status;

/// Longest pause between two looks at the children, for the case that the kernel's list was not
/// complete.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(crate) struct Children {
    leader: Pid,
    leader_ended: OwnedFd,
    status: Option<Status>,
    /// The kernel lists our children, so that daemons are found, too.
    listed: bool,
    /// No process is left.
    gone: bool,
    /// The kill is done, whether or not it reached all.
    ended: bool,
}

impl Children {
    pub(crate) fn new(leader: Pid, may_list: bool) -> rustix::io::Result<Self> {
        match sys::watch_exit(leader) {
            Ok(leader_ended) => Ok(Children {
                leader,
                leader_ended,
                status: None,
                listed: may_list && children().is_some(),
                gone: false,
                ended: false,
            }),
            Err(error) => {
                let _ = kill_process(leader, Signal::KILL);
                Err(error)
            }
        }
    }

    pub(crate) fn finds_all(&self) -> bool {
        self.listed
    }

    fn children(&self) -> Option<Vec<Pid>> {
        self.listed.then(children).flatten()
    }

    pub(crate) fn leader(&self) -> Pid {
        self.leader
    }

    /// Becomes readable when the leader ends.
    pub(crate) fn leader_ended(&self) -> BorrowedFd<'_> {
        self.leader_ended.as_fd()
    }

    /// To the leader's process group, or to the leader as long as it has none.
    pub(crate) fn signal(&self, signal: Signal) {
        if kill_process_group(self.leader, signal) == Err(Errno::SRCH) {
            let _ = kill_process(self.leader, signal);
        }
    }

    /// Waits for orphans that have ended, which nobody else can do. The leader is left for the end,
    /// so that its number stays its own.
    pub(crate) fn reap_orphans(&self) {
        for child in self.children().unwrap_or_default() {
            if child != self.leader && !is_alive(child) {
                let _ = waitid(
                    WaitId::Pid(child),
                    WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
                );
            }
        }
    }

    /// Kills what is still alive, and waits for all.
    pub(crate) fn end(&mut self) -> Ended {
        let leaked = !is_alive(self.leader) && self.others_alive();
        self.kill_all();
        Ended {
            status: self.status.unwrap_or(Status::Unknown),
            leaked,
            survivors: !self.gone,
        }
    }

    /// Whether a process other than the main one has not ended yet.
    fn others_alive(&self) -> bool {
        match self.children() {
            Some(children) => children
                .into_iter()
                .any(|child| child != self.leader && is_alive(child)),
            // The leader alone is still in the group if nobody else is; it was not waited for.
            None => group_has_others(self.leader),
        }
    }

    fn kill_all(&mut self) {
        self.ended = true;
        let give_up = Instant::now() + KILL_MAX;
        // A whole group is killed in one step, which no fork can slip through. Before the leader is
        // waited for its number is not anybody else's.
        self.signal(Signal::KILL);
        loop {
            self.reap();
            if self.gone || Instant::now() >= give_up {
                return;
            }
            let children = self.children().unwrap_or_else(|| vec![self.leader]);
            for &child in &children {
                if let Ok(group) = getpgid(Some(child))
                    && group != rustix::process::getpgrp()
                {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = kill_process(child, Signal::KILL);
            }
            wait_for_one(&children);
        }
    }

    /// Waits for all who have ended, and no longer.
    fn reap(&mut self) {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.leader => {
                    self.status = match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Some(Status::Exited(code)),
                        (_, Some(signal)) => Some(Status::Signaled(signal)),
                        _ => None,
                    };
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return,
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        if !self.ended {
            self.kill_all();
        }
    }
}

fn is_alive(child: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::Pid(child), options), Ok(None))
}

/// Without a list of children: a group whose only member has ended cannot be signalled on macOS. On
/// Linux it can, so nobody knows.
fn group_has_others(leader: Pid) -> bool {
    !cfg!(target_os = "linux") && rustix::process::test_kill_process_group(leader).is_ok()
}

fn wait_for_one(children: &[Pid]) {
    let watch = children
        .first()
        .and_then(|&child| sys::watch_exit(child).ok());
    let watch = watch.as_ref().map(|watch| (watch.as_fd(), PollFlags::IN));
    let _ = wait_for([watch], Some(Instant::now() + LOOK_AGAIN));
}

/// All children, also those that were handed to us when their parent ended.
#[cfg(target_os = "linux")]
fn children() -> Option<Vec<Pid>> {
    let me = rustix::process::getpid();
    let list = std::fs::read_to_string(format!("/proc/self/task/{me}/children")).ok()?;
    Some(
        list.split_whitespace()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .collect(),
    )
}

#[cfg(not(target_os = "linux"))]
fn children() -> Option<Vec<Pid>> {
    None
}
