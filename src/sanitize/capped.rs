//! What is kept of long output.

use super::Sanitized;

/// The head and the tail of a stream that may be too long to be kept.
///
/// Sanitized bytes are cut, never raw ones: a secret across the cut is a marker by then.
#[derive(Debug)]
pub struct Capped {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    omitted: u64,
    head_max_bytes: usize,
    tail_max_bytes: usize,
}

impl Capped {
    /// Keeps at most `max_bytes`, half of them from the end.
    pub fn new(max_bytes: usize) -> Self {
        let tail_max_bytes = max_bytes / 2;
        Self {
            head: Vec::new(),
            tail: std::collections::VecDeque::new(),
            omitted: 0,
            head_max_bytes: max_bytes - tail_max_bytes,
            tail_max_bytes,
        }
    }

    /// Adds to the end.
    pub fn push(&mut self, output: &Sanitized) {
        let bytes = output.as_bytes();
        let room = (self.head_max_bytes - self.head.len()).min(bytes.len());
        let (to_head, to_tail) = bytes.split_at(room);
        self.head.extend_from_slice(to_head);
        // Of a piece longer than the tail, only its end can stay.
        let (skipped, kept) = to_tail.split_at(to_tail.len().saturating_sub(self.tail_max_bytes));
        self.tail.extend(kept);
        let surplus = self.tail.len().saturating_sub(self.tail_max_bytes);
        self.tail.drain(..surplus);
        self.omitted += (skipped.len() + surplus) as u64;
    }

    /// Bytes that were left out.
    pub fn omitted(&self) -> u64 {
        self.omitted
    }

    /// The text: bytes that are not UTF-8 become U+FFFD, and a line in between says how much was left out.
    pub fn into_text(self) -> String {
        let tail: Vec<u8> = self.tail.into();
        if self.omitted == 0 {
            let mut whole = self.head;
            whole.extend(tail);
            return String::from_utf8_lossy(&whole).into_owned();
        }
        let (head, tail) = (
            String::from_utf8_lossy(&self.head),
            String::from_utf8_lossy(&tail),
        );
        format!("{head}\n[{} bytes left out]\n{tail}", self.omitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> Sanitized {
        Sanitized {
            bytes: bytes.to_vec(),
            markers: Vec::new(),
        }
    }

    #[test]
    fn the_head_and_the_tail_of_long_output_are_kept() {
        let mut capped = Capped::new(8);
        for piece in [b"abc".as_slice(), b"defghi", b"jklmnopqrs", b"tu"] {
            capped.push(&shown(piece));
        }
        assert_eq!(capped.omitted(), 13);
        assert_eq!(capped.into_text(), "abcd\n[13 bytes left out]\nrstu");
        let mut short = Capped::new(8);
        short.push(&shown(b"12345678"));
        assert_eq!(short.into_text(), "12345678");
    }
}
