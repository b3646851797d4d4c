//! The origin of helpers: a helper that has no run of its own and makes others by forking, which
//! takes a tenth of what the start of a program takes.
//!
//! It never gets to know a plan, so what its copies inherit holds no secret; each one's socket and
//! output are sent to it, and it keeps none of them. Its copies are its parent's children, so that
//! the caller waits for them and signals them like those that it starts by itself, and nothing of
//! them depends on the origin's life.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, setpgid, waitpid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::control::Control;
use crate::helper::spawn;
use crate::sys;
use crate::wait::wait_for;
use crate::wire::Command;

/// How long it may take to make a helper: somebody may have stopped it, or the machine is busy.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The caller's side.
pub(crate) struct Origin {
    process: Pid,
    control: Control<UnixStream>,
}

impl Origin {
    pub(crate) fn start(program: &Path) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let nothing = || File::options().write(true).open("/dev/null");
        let process = spawn(
            program,
            &[theirs.into(), nothing()?.into(), nothing()?.into()],
        )?;
        let control = Control::new(ours);
        let mut origin = Origin { process, control };
        origin.control.send(&Command::Multiply)?;
        Ok(origin)
    }

    /// A new helper, our child, with these as standard input, output and error. After an error this
    /// origin is of no more use.
    pub(crate) fn bear(&mut self, descriptors: &[OwnedFd; 3]) -> io::Result<Pid> {
        for descriptor in descriptors {
            let queued = self.control.queue(&true);
            queued.map_err(|_| io::ErrorKind::InvalidInput)?;
            self.control.flush(&mut Some(descriptor.as_fd()))?;
        }
        let give_up = Instant::now() + ANSWER_MAX;
        loop {
            match self.control.next() {
                Ok(Some(number)) => return Pid::from_raw(number).ok_or_else(gone),
                Ok(None) if self.control.is_open() && Instant::now() < give_up => {}
                _ => return Err(gone()),
            }
            let watched = [Some((self.control.socket(), PollFlags::IN))];
            if let [true] = wait_for(watched, Some(give_up))? {
                self.control.fill()?;
            }
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = kill_process(self.process, Signal::KILL);
        let _ = waitpid(Some(self.process), WaitOptions::empty());
    }
}

fn gone() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

/// The origin's life: returns in the helpers that it makes, with their own caller, and at its end
/// with an error.
pub(crate) fn multiply(caller: &mut Control<io::Stdin>) -> io::Result<()> {
    loop {
        let descriptors = await_descriptors(caller)?;
        match sys::clone(libc::CLONE_PARENT)? {
            Some(helper) => {
                // First: it may be stopped when it has answered, and would hold the output open.
                drop(descriptors);
                caller.send(&helper.as_raw_pid())?;
            }
            None => {
                let [socket, stdout, stderr] = descriptors;
                dup2_stdin(&socket)?;
                dup2_stdout(&stdout)?;
                dup2_stderr(&stderr)?;
                setpgid(None, None)?;
                *caller = Control::new(io::stdin());
                return Ok(());
            }
        }
    }
}

/// One comes with each message.
fn await_descriptors(caller: &mut Control<io::Stdin>) -> io::Result<[OwnedFd; 3]> {
    let mut descriptors = Vec::new();
    let mut messages = 0;
    while messages < 3 {
        match caller.next() {
            Ok(Some(true)) => messages += 1,
            Ok(None) if caller.is_open() => descriptors.extend(caller.fill()?),
            _ => return Err(gone()),
        }
    }
    descriptors.try_into().map_err(|_| gone())
}
