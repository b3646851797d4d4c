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

/// Log2 of the entries: a tenth of them in use with a hundred secrets.
const GRAM_BITS: u32 = 18;

/// Log2 of the bits that tell beginnings apart.
const WINDOW_BITS: u32 = 20;

pub(crate) struct Starts {
    /// For the last letters of a window, how far it can move.
    shifts: Box<[u8]>,
    /// A bit for each beginning of a needle.
    known: Box<[u64]>,
}

impl Starts {
    pub(crate) fn new(needles: &[Needle]) -> Self {
        let mut starts = Self {
            shifts: vec![FARTHEST as u8; 1 << GRAM_BITS].into(),
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
            let shift = &mut self.shifts[gram_entry(*gram)];
            *shift = (*shift).min((FARTHEST - 1 - at) as u8);
        }
        let number = window_entry(*window);
        self.known[number / 64] |= 1 << (number % 64);
    }

    /// Where the first needle can begin that has all of its first letters here.
    pub(crate) fn find(&self, letters: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(window) = letters.get(at..).and_then(<[u8]>::first_chunk::<WINDOW>) {
            let shift = self.shift(window);
            if shift == 0 && self.is_known(window) {
                return Some(at);
            }
            at += shift.max(1);
        }
        None
    }

    #[inline]
    fn shift(&self, window: &[u8; WINDOW]) -> usize {
        let [.., a, b, c, d] = *window;
        usize::from(self.shifts[gram_entry([a, b, c, d])])
    }

    fn is_known(&self, window: &[u8; WINDOW]) -> bool {
        let number = window_entry(*window);
        self.known[number / 64] >> (number % 64) & 1 != 0
    }
}

// Fibonacci hashing: the odd numbers nearest to 2^32 and 2^64 divided by the golden ratio.

#[inline]
fn gram_entry(gram: [u8; GRAM]) -> usize {
    (u32::from_le_bytes(gram).wrapping_mul(0x9E37_79B1) >> (32 - GRAM_BITS)) as usize
}

fn window_entry(window: [u8; WINDOW]) -> usize {
    (u64::from_le_bytes(window).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - WINDOW_BITS)) as usize
}
