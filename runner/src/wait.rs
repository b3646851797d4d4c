//! Waiting for descriptors and a moment at once.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Waits until one of the descriptors is readable (or at its end) or, if asked for, writable, or
/// until the moment has come; without one, for as long as it takes. Says which descriptors are
/// ready.
pub(crate) fn wait_for<const N: usize>(
    watched: [Option<(BorrowedFd<'_>, PollFlags)>; N],
    until: Option<Instant>,
) -> io::Result<[bool; N]> {
    let pause = until.map(|moment| moment.saturating_duration_since(Instant::now()));
    // What is too long for the system call is for ever.
    let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
    let mut polled: Vec<_> = watched
        .iter()
        .flatten()
        .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
        .collect();
    match poll(&mut polled, pause.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok([false; N]),
        Err(error) => return Err(error.into()),
    }
    let mut answers = polled.iter().map(|fd| !fd.revents().is_empty());
    Ok(watched.map(|one| one.is_some() && answers.next().unwrap_or(false)))
}
