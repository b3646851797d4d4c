//! All processes of one run, and how they end: as the helper's children, or as the inhabitants of a
//! process namespace.
#![forbid(unsafe_code)]

mod children;
#[cfg(target_os = "linux")]
mod namespace;

use std::os::fd::BorrowedFd;
#[cfg(target_os = "linux")]
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::wire::Status;
#[cfg(target_os = "linux")]
use crate::{outcome::StartError, plan::Plan, steps::identity::Identity};

pub(crate) use children::Children;
#[cfg(target_os = "linux")]
pub(crate) use namespace::{First, Inhabitants, adopt, await_reach};

/// Longest wait for killed processes. One that hangs in the kernel may never end, the caller must
/// not wait for it.
const KILL_MAX: Duration = Duration::from_secs(5);

pub(crate) enum Tree {
    Children(Children),
    #[cfg(target_os = "linux")]
    Inhabitants(Inhabitants),
}

/// How processes are found that have left their parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kill {
    /// They cannot leave.
    #[cfg(target_os = "linux")]
    Namespace,
    /// They become children of the helper.
    Subreaper,
    /// Only in the main process's group.
    Group,
}

/// What was found at the end.
pub(crate) struct Ended {
    pub(crate) status: Status,
    pub(crate) leaked: bool,
    pub(crate) survivors: bool,
}

impl Tree {
    /// The process that the caller may kill by its group if the helper is gone.
    pub(crate) fn leader(&self) -> Pid {
        match self {
            Tree::Children(tree) => tree.leader(),
            #[cfg(target_os = "linux")]
            Tree::Inhabitants(tree) => tree.first(),
        }
    }

    /// How it is made sure that nobody is left.
    pub(crate) fn kill(&self) -> Kill {
        match self {
            Tree::Children(tree) if tree.finds_all() => Kill::Subreaper,
            Tree::Children(_) => Kill::Group,
            #[cfg(target_os = "linux")]
            Tree::Inhabitants(_) => Kill::Namespace,
        }
    }

    /// Becomes readable when the main process ends.
    pub(crate) fn leader_ended(&self) -> BorrowedFd<'_> {
        match self {
            Tree::Children(tree) => tree.leader_ended(),
            #[cfg(target_os = "linux")]
            Tree::Inhabitants(tree) => tree.leader_ended(),
        }
    }

    /// To the main process's group.
    pub(crate) fn signal(&mut self, signal: Signal) {
        match self {
            Tree::Children(tree) => tree.signal(signal),
            #[cfg(target_os = "linux")]
            Tree::Inhabitants(tree) => tree.signal(signal),
        }
    }

    /// Asks everything to end. A stopped process would not hear it.
    pub(crate) fn ask_to_end(&mut self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }

    /// Waits for orphans that have ended, where nobody else does.
    pub(crate) fn reap_orphans(&self) {
        match self {
            Tree::Children(tree) => tree.reap_orphans(),
            #[cfg(target_os = "linux")]
            Tree::Inhabitants(_) => {}
        }
    }

    /// Once the main process is there.
    #[cfg(target_os = "linux")]
    pub(crate) fn find_leader(&mut self) {
        if let Tree::Inhabitants(tree) = self {
            tree.find_leader();
        }
    }

    /// Makes the program unreadable for others, if the dynamic loader that already is does not do.
    /// False if it cannot be done.
    #[cfg(target_os = "linux")]
    pub(crate) fn protect(&mut self, plan: &mut Plan, loader: &Path) -> Result<bool, StartError> {
        match self {
            Tree::Children(_) => Ok(false),
            Tree::Inhabitants(tree) => tree.protect(plan, loader),
        }
    }

    /// Whether another process of the same user is kept from the program's environment and memory:
    /// it is tried. None if the program has ended, or does not hide.
    #[cfg(target_os = "linux")]
    pub(crate) fn hides_environment(&self, identity: Option<Identity>) -> Option<bool> {
        match self {
            Tree::Children(_) => None,
            Tree::Inhabitants(tree) => tree.hides_environment(identity),
        }
    }

    /// Kills what is still alive, and waits for all.
    pub(crate) fn end(&mut self) -> Ended {
        match self {
            Tree::Children(tree) => tree.end(),
            #[cfg(target_os = "linux")]
            Tree::Inhabitants(tree) => tree.end(),
        }
    }
}
