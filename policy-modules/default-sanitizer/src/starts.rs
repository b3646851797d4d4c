//! Where in a run of letters a loose needle can begin: Wu and Manber's skip search (see [`crate::sieve`]) over the first
//! eight letters of each, four at a time, since there are many needles and few letters.

#![forbid(unsafe_code)]

use crate::needles::{LOOSE_MIN_BYTES, Needle};

/// Letters that are judged together.
pub(crate) const WINDOW: usize = LOOSE_MIN_BYTES;

/// Letters that are looked up together.
const GRAM: usize = 4;

/// How far a window moves whose last letters stand in no needle's first ones.
const FARTHEST: usize = WINDOW - GRAM + 1;

/// Windows that are judged at once, as if all of them moved by all they can: most do, and nobody has to wait for one look-up
/// after the other.
const AHEAD: usize = 4;

/// Log2 of the entries, at most: then a tenth of them is in use with a hundred secrets.
const GRAM_BITS_MAX: u32 = 18;

/// Log2 of the entries for each one in use. Few entries stay in the nearest cache.
const SPARE_BITS: u32 = 4;

/// Log2 of the bits that tell beginnings apart.
const WINDOW_BITS: u32 = 20;

pub(crate) struct Starts {
    /// For the last letters of a window, how far it can move.
    shifts: Box<[u8]>,
    /// 32 less the log2 of their number.
    gram_shift: u32,
    /// A bit for each beginning of a needle.
    known: Box<[u64]>,
}

impl Starts {
    pub(crate) fn new(needles: &[Needle]) -> Self {
        let used = (needles.len() * FARTHEST).next_power_of_two().ilog2();
        let bits = (used + SPARE_BITS).min(GRAM_BITS_MAX);
        let mut starts = Self {
            shifts: vec![FARTHEST as u8; 1 << bits].into(),
            gram_shift: u32::BITS - bits,
            known: vec![0; (1 << WINDOW_BITS) / 64].into(),
        };
        for needle in needles {
            if let Some(window) = needle.bytes.first_chunk() {
                starts.add(window);
            }
        }
        starts
    }

    fn add(&mut self, window: &[u8; WINDOW]) {
        for (at, gram) in window.array_windows().enumerate() {
            let shift = &mut self.shifts[gram_entry(*gram, self.gram_shift)];
            *shift = (*shift).min((FARTHEST - 1 - at) as u8);
        }
        let number = window_entry(*window);
        self.known[number / 64] |= 1 << (number % 64);
    }

    /// Where the first needle can begin that has all of its first letters here.
    pub(crate) fn find(&self, letters: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            while let Some(next) = letters.get(at..).and_then(<[u8]>::first_chunk)
                && self.is_far(next)
            {
                at += AHEAD * FARTHEST;
            }
            let window: &[u8; WINDOW] = letters.get(at..)?.first_chunk()?;
            let [.., a, b, c, d] = *window;
            let shift = self.shift([a, b, c, d]);
            if shift == 0 && self.is_known(window) {
                return Some(at);
            }
            at += shift.max(1);
        }
    }

    /// Whether these windows all move by all they can.
    #[inline]
    fn is_far(&self, letters: &[u8; AHEAD * FARTHEST + GRAM - 1]) -> bool {
        (0..AHEAD).fold(true, |all, window| {
            let at = window * FARTHEST + WINDOW - GRAM;
            let gram = [
                letters[at],
                letters[at + 1],
                letters[at + 2],
                letters[at + 3],
            ];
            all & (self.shift(gram) == FARTHEST)
        })
    }

    #[inline]
    fn shift(&self, gram: [u8; GRAM]) -> usize {
        usize::from(self.shifts[gram_entry(gram, self.gram_shift)])
    }

    fn is_known(&self, window: &[u8; WINDOW]) -> bool {
        let number = window_entry(*window);
        self.known[number / 64] >> (number % 64) & 1 != 0
    }
}

// Fibonacci hashing: the odd numbers nearest to 2^32 and 2^64 divided by the golden ratio.

#[inline]
fn gram_entry(gram: [u8; GRAM], shift: u32) -> usize {
    (u32::from_le_bytes(gram).wrapping_mul(0x9E37_79B1) >> shift) as usize
}

fn window_entry(window: [u8; WINDOW]) -> usize {
    (u64::from_le_bytes(window).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - WINDOW_BITS)) as usize
}
