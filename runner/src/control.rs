//! One end of the socket between the two processes. It carries messages, at most one descriptor,
//! and by its end the news that the other side is gone.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use zeroize::{Zeroize, Zeroizing};

use crate::wire::{Malformed, Messages, Wire, Writer};

/// Bytes read at once: a plan of usual size in one go. Each page more is a page that every process of
/// the run touches first, which costs microseconds.
const READ_BYTES: usize = 1 << 10;

pub(crate) struct Control<S> {
    socket: S,
    arriving: Messages,
    /// Read into, and wiped as far as something was.
    buffer: Vec<u8>,
    leaving: VecDeque<(Zeroizing<Vec<u8>>, usize)>,
    open: bool,
}

impl<S: AsFd> Control<S> {
    pub(crate) fn new(socket: S) -> Self {
        Control {
            socket,
            arriving: Messages::default(),
            buffer: vec![0; READ_BYTES],
            leaving: VecDeque::new(),
            open: true,
        }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether the other side may still send something.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    pub(crate) fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Puts a message in line; [`Control::flush`] sends it.
    pub(crate) fn queue(&mut self, message: &impl Wire) -> Result<(), Malformed> {
        self.leaving.push_back((Writer::message(message)?, 0));
        Ok(())
    }

    /// Sends a message at once. For sockets that block.
    pub(crate) fn send(&mut self, message: &impl Wire) -> io::Result<()> {
        self.queue(message)
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        self.flush(&mut None)
    }

    /// Sends what is in line, the descriptor together with the first byte, until the socket would
    /// block. An other side that is gone is not an error here: the end of its stream says so.
    pub(crate) fn flush(&mut self, descriptor: &mut Option<BorrowedFd<'_>>) -> io::Result<()> {
        while let Some((message, sent)) = self.leaving.front_mut() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let rights = descriptor.map(|fd| [fd]);
            if let Some(fds) = &rights {
                ancillary.push(SendAncillaryMessage::ScmRights(fds));
            }
            let bytes = IoSlice::new(&message[*sent..]);
            match sendmsg(&self.socket, &[bytes], &mut ancillary, no_signal()) {
                Ok(count) => {
                    *descriptor = None;
                    *sent += count;
                    if *sent == message.len() {
                        self.leaving.pop_front();
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => self.leaving.clear(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads once; what arrived is then had from [`Control::next`]. Returns a descriptor that came
    /// along.
    pub(crate) fn fill(&mut self) -> io::Result<Option<OwnedFd>> {
        self.fill_with(READ_BYTES)
    }

    /// Reads once, and nothing that comes after the message that is arriving.
    pub(crate) fn fill_message(&mut self) -> io::Result<()> {
        let missing = self.arriving.missing().min(READ_BYTES);
        self.fill_with(missing).map(drop)
    }

    fn fill_with(&mut self, bytes: usize) -> io::Result<Option<OwnedFd>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [IoSliceMut::new(&mut self.buffer[..bytes])];
        let count = match recvmsg(&self.socket, &mut buffers, &mut ancillary, close_on_exec()) {
            Ok(received) => received.bytes,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(Errno::CONNRESET) => 0,
            Err(error) => {
                self.open = false;
                return Err(error.into());
            }
        };
        self.open = count > 0;
        let arrived = &mut self.buffer[..count];
        self.arriving.push(arrived);
        arrived.zeroize();
        Ok(ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        }))
    }

    /// The next whole message that has arrived.
    pub(crate) fn next<T: Wire>(&mut self) -> Result<Option<T>, Malformed> {
        self.arriving.next()
    }
}

#[cfg(target_os = "linux")]
fn no_signal() -> SendFlags {
    SendFlags::NOSIGNAL
}

/// Without such a flag for a single call: Rust programs ignore SIGPIPE from the start.
#[cfg(not(target_os = "linux"))]
fn no_signal() -> SendFlags {
    SendFlags::empty()
}

#[cfg(target_os = "linux")]
fn close_on_exec() -> RecvFlags {
    RecvFlags::CMSG_CLOEXEC
}

/// Without such a flag for a single call: the helper closes everything but three descriptors before
/// it executes.
#[cfg(not(target_os = "linux"))]
fn close_on_exec() -> RecvFlags {
    RecvFlags::empty()
}
