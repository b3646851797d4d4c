//! Numbers: where a secret is a number that can be guessed, every number as long is hidden, so that output full of guesses
//! does not tell which of them is right.

#![forbid(unsafe_code)]

use crate::engine::Found;

/// Digits of a number that can be guessed: a command can print all of them within its time limit. Shorter ones would hide
/// every number there is.
const GUESSABLE_DIGITS: std::ops::RangeInclusive<usize> = 4..=10;

/// A longer number is hidden in pieces, so that what is held back is bounded.
const PIECE_DIGITS: u64 = 64;

/// Whether a value can be guessed.
pub(crate) fn is_guessable(value: &[u8]) -> bool {
    GUESSABLE_DIGITS.contains(&value.len()) && value.iter().all(u8::is_ascii_digit)
}

/// The numbers to hide.
#[derive(Clone, Copy)]
pub struct Numbers {
    /// The name that all of them get: that of the first secret that is one, or has one as a part.
    pub subject: u32,
    /// Digits of the shortest.
    pub digits: u64,
}

/// One channel's.
pub(crate) struct Shape {
    numbers: Numbers,
    /// Digits of the number so far.
    run: u64,
    /// How many of them are hidden already.
    hidden: u64,
    /// Bytes taken so far.
    end: u64,
}

impl Shape {
    pub(crate) fn new(numbers: Numbers) -> Self {
        Self {
            numbers,
            run: 0,
            hidden: 0,
            end: 0,
        }
    }

    pub(crate) fn push(&mut self, chunk: &[u8], found: &mut Found) {
        for &byte in chunk {
            let is_digit = byte.is_ascii_digit();
            if !is_digit && self.run > 0 {
                self.finish(found);
                self.run = 0;
                self.hidden = 0;
            }
            self.end += 1;
            self.run += u64::from(is_digit);
            if self.run - self.hidden == PIECE_DIGITS {
                self.hide(found);
            }
        }
    }

    /// At the end of a number.
    pub(crate) fn finish(&mut self, found: &mut Found) {
        if self.run >= self.numbers.digits && self.run > self.hidden {
            self.hide(found);
        }
    }

    fn hide(&mut self, found: &mut Found) {
        found.shape(self.numbers.subject, self.live(), self.end);
        self.hidden = self.run;
    }

    /// Offset in front of which no later match starts.
    pub(crate) fn live(&self) -> u64 {
        self.end - (self.run - self.hidden)
    }
}
