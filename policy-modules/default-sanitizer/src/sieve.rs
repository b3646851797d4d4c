//! The sieve: tells quickly where in a text a secret in any form could start, so that the views need not look elsewhere.
//!
//! Wu and Manber's skip search ("A Fast Algorithm for Multi-Pattern Searching", 1994) over the first `window` bytes of
//! everything that begins a secret: the secret itself, its hex digits in either case, and the base64 digits that it
//! determines alone at each of the three places it can have in a group. Bytes with an escape near the start are judged by
//! the pairs of decoded bytes they make. It may point at too many places, never at too few.

#![forbid(unsafe_code)]

use crate::digits::{Digits, INDENT_MAX_BYTES};
use crate::needles::Needle;

/// A longer window moves faster, but fills the table and has more escapes to judge. A secret determines at least as many
/// digits of base64 alone, whatever stands around it, as it has bytes.
pub(crate) const WINDOW_MAX_BYTES: usize = 18;

/// Bytes of the text that are looked up together.
const GRAM_BYTES: usize = 3;

/// Log2 of the size of the table: it has to stay in the processor's nearest caches.
const TABLE_BITS: u32 = 16;

/// Flag of grams that a pattern begins with; the other bits are how far the window can move.
const FIRST: u8 = 0x80;

/// Digits of base64 that both alphabets share.
const BASE64_DIGITS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

pub(crate) struct Sieve {
    table: Box<[u8]>,
    /// Bytes of the text that are judged together.
    window: usize,
    /// A bit for each pair of bytes that stand next to each other near the start of a secret.
    pairs: Box<[u64]>,
}

impl Sieve {
    /// None when a needle is too short to be sieved.
    pub(crate) fn new(needles: &[Needle]) -> Option<Self> {
        let raw = needles.iter().filter(|needle| needle.raw);
        let shortest = needles.iter().map(|needle| needle.bytes.len()).min()?;
        let window = shortest.min(WINDOW_MAX_BYTES);
        if window < GRAM_BYTES {
            return None;
        }
        let mut sieve = Self {
            table: vec![(window - GRAM_BYTES + 1) as u8; 1 << TABLE_BITS].into(),
            window,
            pairs: vec![0; (1 << 16) / 64].into(),
        };
        for needle in raw {
            let start = needle.bytes[..window].iter();
            sieve.add(&start.map(std::slice::from_ref).collect::<Vec<_>>());
        }
        for needle in needles.iter().filter(|needle| needle.decoded) {
            sieve.add_encoded(&needle.bytes);
        }
        Some(sieve)
    }

    fn add_encoded(&mut self, value: &[u8]) {
        // The first whole digit begins 0, 4 or 2 bits into the secret.
        for skipped in [0, 4, 2] {
            let digit = |index: usize| base64_digits(bits(value, skipped + 6 * index, 6));
            self.add(&(0..self.window).map(digit).collect::<Vec<_>>());
        }
        let digit = |index: usize| hex_digits(bits(value, 4 * index, 4));
        self.add(&(0..self.window).map(digit).collect::<Vec<_>>());
        for pair in value[..self.window.min(value.len())].windows(2) {
            let number = usize::from(pair[0]) << 8 | usize::from(pair[1]);
            self.pairs[number / 64] |= 1 << (number % 64);
        }
    }

    /// Adds a pattern of `window` bytes, each of them one of several.
    fn add(&mut self, pattern: &[&[u8]]) {
        for (at, gram) in pattern.windows(GRAM_BYTES).enumerate() {
            let shift = (self.window - GRAM_BYTES - at) as u8;
            for &a in gram[0] {
                for &b in gram[1] {
                    for &c in gram[2] {
                        let entry = &mut self.table[hash([a, b, c])];
                        let first = if at == 0 { FIRST } else { *entry & FIRST };
                        *entry = (*entry & !FIRST).min(shift) | first;
                    }
                }
            }
        }
    }

    /// Bytes of the text that are judged together.
    pub(crate) fn window(&self) -> usize {
        self.window
    }

    /// Looks for the start of a secret from `at` on, in front of `limit`. True and where it could be, or false and where
    /// to go on looking.
    pub(crate) fn scan(&self, text: &[u8], mut at: usize, limit: usize) -> (usize, bool) {
        // Most windows move by all they can. Looking ahead for that spares waiting for one look-up after the other.
        const AHEAD: usize = 2;
        let last_gram = self.window - GRAM_BYTES;
        let farthest = last_gram + 1;
        while at < limit {
            let ahead = at + (AHEAD - 1) * farthest;
            if ahead < limit
                && let Some(grams) = text.get(at + last_gram..ahead + self.window)
                && (0..AHEAD).fold(true, |all, step| {
                    all & (usize::from(self.entry(&grams[step * farthest..]) & !FIRST) == farthest)
                })
            {
                at += AHEAD * farthest;
                continue;
            }
            let Some(window) = text.get(at..at + self.window) else {
                break;
            };
            let shift = self.entry(&window[self.window - GRAM_BYTES..]) & !FIRST;
            if shift == 0 {
                if self.entry(window) & FIRST != 0 {
                    return (at, true);
                }
                at += 1;
            }
            at += usize::from(shift);
        }
        (at, false)
    }

    /// Whether no digits of a secret that begins near the line break at `index` go on behind it. They may also begin there.
    #[inline]
    pub(crate) fn dismiss_break(&self, text: &[u8], index: usize) -> bool {
        let end = index - usize::from(index > 0 && text[index - 1] == b'\r');
        let Some(last) = end.checked_sub(1) else {
            return true;
        };
        !Digits::is_digit(text[last]) || self.dismiss_joined(text, end, index + 1)
    }

    /// Whether the digits in front of `end` and those from `start` on, or behind white space there, make no secret together.
    fn dismiss_joined(&self, text: &[u8], end: usize, mut start: usize) -> bool {
        let indent_end = start + INDENT_MAX_BYTES;
        while start < text.len() && matches!(text[start], b' ' | b'\t' | b'\r' | b'\n') {
            start += 1;
        }
        let Some(&first) = text.get(start) else {
            return false;
        };
        if start > indent_end || !Digits::is_digit(first) {
            return true;
        }
        const SIDE: usize = WINDOW_MAX_BYTES;
        let (Some(left), Some(right)) = (
            text[..end].last_chunk::<SIDE>(),
            text[start..].first_chunk::<SIDE>(),
        ) else {
            return false;
        };
        // Without a branch, so that it becomes a vector operation.
        if right.iter().fold(false, |any, &byte| any | (byte == b'\n')) {
            return false;
        }
        let mut joined = [0; 2 * SIDE];
        joined[..SIDE].copy_from_slice(left);
        joined[SIDE..].copy_from_slice(right);
        !self.scan(&joined, SIDE + 1 - self.window, SIDE + 1).1
    }

    /// Whether these decoded bytes, some of them escaped, could stand near the start of a secret.
    pub(crate) fn plausible(&self, decoded: &[u8]) -> bool {
        decoded.windows(2).any(|pair| {
            let number = usize::from(pair[0]) << 8 | usize::from(pair[1]);
            self.pairs[number / 64] >> (number % 64) & 1 != 0
        })
    }

    #[inline]
    fn entry(&self, gram: &[u8]) -> u8 {
        self.table[hash([gram[0], gram[1], gram[2]])]
    }
}

#[inline]
fn hash([a, b, c]: [u8; GRAM_BYTES]) -> usize {
    let gram = u32::from(a) | u32::from(b) << 8 | u32::from(c) << 16;
    // Fibonacci hashing: the odd number nearest to 2^32 divided by the golden ratio.
    (gram.wrapping_mul(0x9E37_79B1) >> (32 - TABLE_BITS)) as usize
}

/// The digits of both base64 alphabets for a value.
fn base64_digits(value: usize) -> &'static [u8] {
    match value {
        62 => b"+-",
        63 => b"/_",
        _ => &BASE64_DIGITS[value..=value],
    }
}

/// The hex digits of both cases for a value.
fn hex_digits(value: usize) -> &'static [u8] {
    match value {
        0..10 => &b"0123456789"[value..=value],
        _ => &b"aAbBcCdDeEfF"[2 * (value - 10)..][..2],
    }
}

/// `count` bits of `value`, from bit `first` on.
fn bits(value: &[u8], first: usize, count: usize) -> usize {
    (first..first + count).fold(0, |bits, bit| {
        bits << 1 | usize::from(value[bit / 8] >> (7 - bit % 8) & 1)
    })
}
