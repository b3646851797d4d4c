//! What is left of a piece of text, in a row.

#![forbid(unsafe_code)]

use crate::loose::LETTERS;

/// Bytes that are taken at once.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// Room for a block of letters. Eight bytes are written at once, of which fewer may count.
pub(crate) struct Letters(Box<[u8; BLOCK_BYTES + 8]>);

impl Letters {
    pub(crate) fn new() -> Self {
        Self(Box::new([0; BLOCK_BYTES + 8]))
    }

    /// The letters of a text of at most [`BLOCK_BYTES`].
    pub(crate) fn of(&mut self, text: &[u8]) -> &[u8] {
        let mut count = 0;
        let (sixteens, rest) = text.as_chunks();
        for sixteen in sixteens {
            count = self.add(sixteen, count);
        }
        for &byte in rest {
            count = self.add_byte(byte, count);
        }
        &self.0[..count]
    }

    fn add_byte(&mut self, byte: u8, count: usize) -> usize {
        let letter = LETTERS[usize::from(byte)];
        // There are never more letters than bytes; a write behind the last one does no harm.
        self.0[count % (BLOCK_BYTES + 8)] = letter;
        count + usize::from(letter != 0)
    }

    #[cfg(not(target_feature = "simd128"))]
    fn add(&mut self, sixteen: &[u8; 16], count: usize) -> usize {
        let bytes = sixteen.iter();
        bytes.fold(count, |count, &byte| self.add_byte(byte, count))
    }

    #[cfg(target_feature = "simd128")]
    #[inline]
    fn add(&mut self, sixteen: &[u8; 16], mut count: usize) -> usize {
        use std::arch::wasm32::{
            u8x16_bitmask, u8x16_lt, u8x16_splat, u8x16_sub, u8x16_swizzle, u64x2,
            u64x2_extract_lane, v128_or,
        };

        let [low, high] = [0, 8].map(|at| {
            let mut half = [0; 8];
            half.copy_from_slice(&sixteen[at..at + 8]);
            u64::from_le_bytes(half)
        });
        let text = u64x2(low, high);
        // For a digit that changes nothing.
        let small = v128_or(text, u8x16_splat(0x20));
        let is_letter = u8x16_lt(u8x16_sub(small, u8x16_splat(b'a')), u8x16_splat(26));
        let is_digit = u8x16_lt(u8x16_sub(text, u8x16_splat(b'0')), u8x16_splat(10));
        let kept = u8x16_bitmask(v128_or(is_letter, is_digit));
        for (half, first) in [(kept & 0xFF, 0), (kept >> 8, 0x0808_0808_0808_0808)] {
            let places = u64::from_le_bytes(PLACES[usize::from(half)]) + first;
            let packed = u64x2_extract_lane::<0>(u8x16_swizzle(small, u64x2(places, 0)));
            if let Some(room) = self.0.get_mut(count..count + 8) {
                room.copy_from_slice(&packed.to_le_bytes());
            }
            count += half.count_ones() as usize;
        }
        count
    }
}

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
