//! A block of text as the scout reads it: its letters in a row, and where something is that letters do not show.

#![forbid(unsafe_code)]

use crate::loose::LETTERS;

/// Bytes that are taken at once.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// Bytes whose marks fit into a word.
const WORD_BYTES: usize = 64;

const WORDS: usize = BLOCK_BYTES / WORD_BYTES;

/// Eight bytes are written at once, of which fewer may count.
const ROOM_BYTES: usize = BLOCK_BYTES + 8;

/// What marks stand for: the leads of escapes, and what terminals act on (backspace, escape, control sequence introducer).
const MARKED: [u8; 7] = [b'%', b'&', b'+', b'\\', 0x08, 0x1B, 0x9B];

pub(crate) struct Block {
    letters: Box<[u8; ROOM_BYTES]>,
    count: usize,
    /// For each word, the number of letters in front of it.
    before: [u16; WORDS],
    /// A bit for each byte that is one of [`MARKED`].
    marks: [u64; WORDS],
    words: usize,
}

impl Block {
    pub(crate) fn new() -> Self {
        Self {
            letters: Box::new([0; ROOM_BYTES]),
            count: 0,
            before: [0; WORDS],
            marks: [0; WORDS],
            words: 0,
        }
    }

    /// Takes a text of at most [`BLOCK_BYTES`].
    #[inline(never)]
    pub(crate) fn read(&mut self, text: &[u8]) {
        let (words, rest) = text.as_chunks();
        let mut last = [0; WORD_BYTES];
        last[..rest.len()].copy_from_slice(rest);
        let words = words.iter().chain((!rest.is_empty()).then_some(&last));
        // In a register: the letters could be anywhere, as far as the compiler knows.
        let (mut count, mut read) = (0, 0);
        let places = self.before.iter_mut().zip(&mut self.marks);
        for (word, (before, marks)) in words.zip(places) {
            *before = count as u16;
            let mut all = 0;
            for (at, sixteen) in word.as_chunks().0.iter().enumerate() {
                all |= u64::from(marks_of(sixteen)) << (16 * at);
                count = pack(sixteen, &mut self.letters, count);
            }
            *marks = all;
            read += 1;
        }
        self.words = read;
        self.count = count;
    }

    /// The letters and digits of the text, small.
    pub(crate) fn letters(&self) -> &[u8] {
        &self.letters[..self.count]
    }

    /// Where the text, which was read, has its letter of this number; its length behind the last one.
    pub(crate) fn place(&self, text: &[u8], letter: usize) -> usize {
        let words =
            self.before[..self.words].partition_point(|&before| usize::from(before) <= letter);
        let Some(word) = words.checked_sub(1) else {
            return text.len();
        };
        let rest = text[word * WORD_BYTES..].iter().enumerate();
        let mut places = rest.filter(|&(_, &byte)| LETTERS[usize::from(byte)] != 0);
        let place = places.nth(letter - usize::from(self.before[word]));
        place.map_or(text.len(), |(index, _)| word * WORD_BYTES + index)
    }

    /// How many letters are in front of the byte at `place` of the text.
    pub(crate) fn letters_before(&self, text: &[u8], place: usize) -> usize {
        let word = place / WORD_BYTES;
        let Some(&before) = self.before[..self.words].get(word) else {
            return self.count;
        };
        let inside = text[word * WORD_BYTES..place].iter();
        let inside = inside.filter(|&&byte| LETTERS[usize::from(byte)] != 0);
        usize::from(before) + inside.count()
    }

    /// The first mark that counts.
    pub(crate) fn mark(&self, mut counts: impl FnMut(usize) -> bool) -> Option<usize> {
        for (word, &marks) in self.marks[..self.words].iter().enumerate() {
            let mut left = marks;
            while left != 0 {
                let place = word * WORD_BYTES + left.trailing_zeros() as usize;
                if counts(place) {
                    return Some(place);
                }
                left &= left - 1;
            }
        }
        None
    }
}

/// Writes the letters of a text behind the first `count` ones, and gives the new count.
#[cfg(not(target_feature = "simd128"))]
fn pack(sixteen: &[u8; 16], letters: &mut [u8; ROOM_BYTES], mut count: usize) -> usize {
    for &byte in sixteen {
        let letter = LETTERS[usize::from(byte)];
        // A write behind the last letter does no harm.
        letters[count % ROOM_BYTES] = letter;
        count += usize::from(letter != 0);
    }
    count
}

/// A bit for each byte that is marked.
#[cfg(not(target_feature = "simd128"))]
fn marks_of(sixteen: &[u8; 16]) -> u16 {
    let bits = sixteen.iter().enumerate();
    bits.fold(0, |bits, (at, &byte)| {
        bits | u16::from(MARKED.contains(&byte)) << at
    })
}

#[cfg(target_feature = "simd128")]
#[inline]
fn pack(sixteen: &[u8; 16], letters: &mut [u8; ROOM_BYTES], mut count: usize) -> usize {
    use std::arch::wasm32::{
        i8x16_add, i8x16_lt, i8x16_splat, u8x16_bitmask, u8x16_splat, u8x16_swizzle, u64x2,
        u64x2_extract_lane, v128_or,
    };

    let text = vector(sixteen);
    // For a digit that changes nothing.
    let small = v128_or(text, u8x16_splat(0x20));
    // Moved to where the least number is, since only signed ones are compared in one instruction.
    let among = |bytes, first: u8, count: i8| {
        let moved = i8x16_add(bytes, u8x16_splat(0x80_u8.wrapping_sub(first)));
        i8x16_lt(moved, i8x16_splat(i8::MIN + count))
    };
    let is_letter = among(small, b'a', 26);
    let is_digit = among(text, b'0', 10);
    let kept = u8x16_bitmask(v128_or(is_letter, is_digit));
    for (half, first) in [(kept & 0xFF, 0), (kept >> 8, 0x0808_0808_0808_0808)] {
        let places = u64::from_le_bytes(PLACES[usize::from(half)]) + first;
        let packed = u64x2_extract_lane::<0>(u8x16_swizzle(small, u64x2(places, 0)));
        // There are never more letters than bytes, which the compiler does not know.
        let at = count.min(BLOCK_BYTES);
        letters[at..at + 8].copy_from_slice(&packed.to_le_bytes());
        count += half.count_ones() as usize;
    }
    count
}

#[cfg(target_feature = "simd128")]
#[inline]
fn marks_of(sixteen: &[u8; 16]) -> u16 {
    use std::arch::wasm32::{
        u8x16_bitmask, u8x16_eq, u8x16_shr, u8x16_splat, u8x16_swizzle, u64x2, v128_and,
    };

    // A byte is marked whose two halves have a bit in common.
    let text = vector(sixteen);
    let [lower, upper] = HALVES.map(|[low, high]| u64x2(low, high));
    let lower = u8x16_swizzle(lower, v128_and(text, u8x16_splat(0x0F)));
    let upper = u8x16_swizzle(upper, u8x16_shr(text, 4));
    !u8x16_bitmask(u8x16_eq(v128_and(lower, upper), u8x16_splat(0)))
}

#[cfg(target_feature = "simd128")]
#[inline]
fn vector(sixteen: &[u8; 16]) -> std::arch::wasm32::v128 {
    let [low, high] = [0, 8].map(|at| {
        let mut half = [0; 8];
        half.copy_from_slice(&sixteen[at..at + 8]);
        u64::from_le_bytes(half)
    });
    std::arch::wasm32::u64x2(low, high)
}

/// For each lower and for each upper half of a byte, the marks that have it: a bit for each upper half. Two that share one have the
/// same lower half.
#[cfg(target_feature = "simd128")]
const HALVES: [[u64; 2]; 2] = {
    let mut halves = [[0; 2]; 2];
    let mut index = 0;
    while index < MARKED.len() {
        let (lower, upper) = (MARKED[index] & 0x0F, MARKED[index] >> 4);
        let bit = 1_u64 << (upper % 8);
        halves[0][lower as usize / 8] |= bit << (lower % 8 * 8);
        halves[1][upper as usize / 8] |= bit << (upper % 8 * 8);
        index += 1;
    }
    halves
};

/// For eight bits, the places of those that are set.
#[cfg(target_feature = "simd128")]
static PLACES: [[u8; 8]; 256] = {
    let mut places = [[0; 8]; 256];
    let mut bits = 0;
    while bits < 256 {
        let (mut bit, mut count) = (0, 0);
        while bit < 8 {
            if bits >> bit & 1 == 1 {
                places[bits][count] = bit;
                count += 1;
            }
            bit += 1;
        }
        bits += 1;
    }
    places
};
