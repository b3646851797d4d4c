//! What a command's output is read into.
#![forbid(unsafe_code)]

use std::io::{self, Read};

use zeroize::Zeroize;

/// Bytes given to the receiver of the output at once, at most.
const CHUNK_BYTES: usize = 64 << 10;

/// What is read into, wiped in the end as far as anything ever was: most output is short.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    used: usize,
}

impl Buffer {
    pub(crate) fn new() -> Self {
        Buffer {
            bytes: vec![0; CHUNK_BYTES],
            used: 0,
        }
    }

    /// Reads what is there; at the end of the stream there is no pipe any more.
    pub(crate) fn read_once(&mut self, pipe: &mut Option<impl Read>) -> io::Result<&[u8]> {
        let Some(reader) = pipe else { return Ok(&[]) };
        match reader.read(&mut self.bytes) {
            Ok(0) => *pipe = None,
            Ok(count) => {
                self.used = self.used.max(count);
                return Ok(&self.bytes[..count]);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
        Ok(&[])
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.bytes[..self.used].zeroize();
    }
}
