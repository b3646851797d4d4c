//! Ends runs from another thread.
#![forbid(unsafe_code)]

use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{OFlags, fcntl_setfl};

/// A handle that ends every run it was given to. Clones are the same handle. To be used from any
/// thread, so also from one that waits for signals, but not from within a signal handler.
#[derive(Clone, Default)]
pub struct Cancel {
    state: Arc<Mutex<State>>,
}

enum State {
    /// The pipe of each run that is listening: a byte is a signal's number, the end of the stream
    /// is the cancel.
    Armed {
        next: u64,
        runs: Vec<(u64, PipeWriter)>,
    },
    /// For good: no run starts with this handle any more.
    Cancelled,
}

impl Default for State {
    fn default() -> Self {
        State::Armed {
            next: 0,
            runs: Vec::new(),
        }
    }
}

impl Cancel {
    /// A handle that has not been used.
    pub fn new() -> Self {
        Cancel::default()
    }

    /// Ends all runs of this handle, present and future: SIGTERM, grace, SIGKILL, for the whole
    /// tree.
    pub fn cancel(&self) {
        *self.lock() = State::Cancelled;
    }

    /// Whether [`Cancel::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.lock(), State::Cancelled)
    }

    /// Passes a signal on to the process group of each run of this handle; what it does there is up
    /// to the child. Numbers outside 1 to 64 do nothing.
    pub fn signal(&self, number: i32) {
        let Ok(byte @ 1..=64) = u8::try_from(number) else {
            return;
        };
        if let State::Armed { runs, .. } = &mut *self.lock() {
            for (_, run) in runs {
                // A full pipe means that dozens of signals wait already: one more says nothing new.
                let _ = run.write(&[byte]);
            }
        }
    }

    /// Begins to listen, until the answer is dropped.
    pub(crate) fn listen(&self) -> std::io::Result<Listener> {
        let (reader, writer) = pipe()?;
        fcntl_setfl(&writer, OFlags::NONBLOCK)?;
        let mut id = 0;
        if let State::Armed { next, runs } = &mut *self.lock() {
            id = *next;
            *next += 1;
            runs.push((id, writer));
        }
        Ok(Listener {
            reader,
            id,
            cancel: self.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Listener {
    pub(crate) reader: PipeReader,
    id: u64,
    cancel: Cancel,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let State::Armed { runs, .. } = &mut *self.cancel.lock() {
            runs.retain(|(id, _)| *id != self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_cancel_reaches_all_listeners_and_later_ones() {
        let cancel = Cancel::new();
        let mut early = [cancel.listen().unwrap(), cancel.clone().listen().unwrap()];
        cancel.signal(15);
        cancel.cancel();
        let mut late = cancel.listen().unwrap();
        for listener in &mut early {
            let mut bytes = Vec::new();
            listener.reader.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, [15]);
        }
        assert_eq!(late.reader.read(&mut [0]).unwrap(), 0);
        assert!(cancel.is_cancelled());
    }

    #[test]
    fn a_dropped_listener_is_forgotten() {
        let cancel = Cancel::new();
        drop(cancel.listen().unwrap());
        let State::Armed { runs, .. } = &*cancel.lock() else {
            panic!("cancelled")
        };
        assert!(runs.is_empty());
    }

    #[test]
    fn a_number_that_is_no_signal_is_not_sent() {
        let cancel = Cancel::new();
        let mut listener = cancel.listen().unwrap();
        for number in [0, -1, 65, 256 + 15, i32::MAX] {
            cancel.signal(number);
        }
        cancel.cancel();
        assert_eq!(listener.reader.read(&mut [0]).unwrap(), 0);
    }
}
