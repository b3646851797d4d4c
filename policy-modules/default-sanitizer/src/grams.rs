//! Sets that the scout looks letters up in: four at a time in a small one, to find out that most of the text is of no interest,
//! and whole windows in an exact one.

#![forbid(unsafe_code)]

/// Letters that are looked up together.
pub(crate) const GRAM: usize = 4;

/// Grams that are looked up at once: most of them are unknown, and nobody has to wait for one look-up after the other.
const AHEAD: usize = 8;

/// Bytes in which that many stand, if there is one for every fifth letter, which is the usual case.
const AHEAD_BYTES: usize = AHEAD * STEP;
const STEP: usize = 5;

/// Bits for each gram, at least, where there is room.
const SPARE: usize = 32;

/// A set of grams that may have more in it than were added, as a bit for each hash. Sizes that are known at compile time need no checks.
pub(crate) enum Grams {
    /// 32 Kibit: for one secret. It stays in the nearest cache.
    Small(Box<[u8; 1 << 12]>),
    /// 256 Kibit: for ten.
    Medium(Box<[u8; 1 << 15]>),
    /// 2 Mibit: for a hundred.
    Large(Box<[u8; 1 << 18]>),
}

impl Grams {
    /// With room for so many.
    pub(crate) fn new(count: usize) -> Self {
        match SPARE * count / 8 {
            0..=0x1000 => Self::Small(none()),
            0x1001..=0x8000 => Self::Medium(none()),
            _ => Self::Large(none()),
        }
    }

    pub(crate) fn add(&mut self, gram: [u8; GRAM]) {
        match self {
            Self::Small(bits) => add(bits, gram),
            Self::Medium(bits) => add(bits, gram),
            Self::Large(bits) => add(bits, gram),
        }
    }

    pub(crate) fn has(&self, gram: [u8; GRAM]) -> bool {
        let bits = match self {
            Self::Small(bits) => get(bits, gram),
            Self::Medium(bits) => get(bits, gram),
            Self::Large(bits) => get(bits, gram),
        };
        bits & 1 != 0
    }

    /// The first known gram of those at the places that are one less than a multiple of `step`.
    pub(crate) fn find(&self, letters: &[u8], step: usize) -> Option<usize> {
        match self {
            Self::Small(bits) => find(bits, letters, step),
            Self::Medium(bits) => find(bits, letters, step),
            Self::Large(bits) => find(bits, letters, step),
        }
    }
}

/// Zeros that have never been on the stack.
fn none<const BYTES: usize>() -> Box<[u8; BYTES]> {
    let zeros = Box::try_from(vec![0; BYTES]);
    zeros.unwrap_or_else(|_| Box::new([0; BYTES]))
}

fn add<const BYTES: usize>(bits: &mut [u8; BYTES], gram: [u8; GRAM]) {
    let bit = hash::<BYTES>(gram);
    bits[bit / 8] |= 1 << (bit % 8);
}

#[inline(never)]
fn find<const BYTES: usize>(bits: &[u8; BYTES], letters: &[u8], step: usize) -> Option<usize> {
    let mut at = step - 1;
    if step == STEP {
        while let Some(grams) = letters.get(at..).and_then(<[u8]>::first_chunk)
            && !any(bits, grams)
        {
            at += AHEAD_BYTES;
        }
    }
    loop {
        let gram = letters.get(at..)?.first_chunk()?;
        if get(bits, *gram) & 1 != 0 {
            return Some(at);
        }
        at += step;
    }
}

#[inline]
fn any<const BYTES: usize>(bits: &[u8; BYTES], letters: &[u8; AHEAD_BYTES]) -> bool {
    let (fives, _) = letters.as_chunks::<STEP>();
    let any = fives
        .iter()
        .fold(0, |any, &[a, b, c, d, _]| any | get(bits, [a, b, c, d]));
    any & 1 != 0
}

/// In its lowest bit, whether a gram is known.
#[inline]
fn get<const BYTES: usize>(bits: &[u8; BYTES], gram: [u8; GRAM]) -> u8 {
    let bit = hash::<BYTES>(gram);
    bits[bit / 8] >> (bit % 8)
}

/// Fibonacci hashing: the odd number nearest to 2^32 divided by the golden ratio.
#[inline]
fn hash<const BYTES: usize>(gram: [u8; GRAM]) -> usize {
    let shift = u32::BITS - (8 * BYTES).ilog2();
    (u32::from_le_bytes(gram).wrapping_mul(0x9E37_79B1) >> shift) as usize
}

/// A set of windows, as numbers that are not 0.
pub(crate) struct Windows {
    /// A power of two of them, half of which are 0 at least.
    numbers: Box<[u64]>,
    shift: u32,
}

impl Windows {
    /// With room for so many.
    pub(crate) fn new(count: usize) -> Self {
        let bits = (2 * count).next_power_of_two().ilog2();
        Self {
            numbers: vec![0; 1 << bits].into(),
            shift: u64::BITS - bits,
        }
    }

    pub(crate) fn add(&mut self, number: u64) {
        let place = self.place(number);
        self.numbers[place] = number;
    }

    pub(crate) fn has(&self, number: u64) -> bool {
        self.numbers[self.place(number)] == number
    }

    /// Where a number is, or would be. Fibonacci hashing, as above with 2^64, and linear probing.
    fn place(&self, number: u64) -> usize {
        let mut place = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize;
        while self.numbers[place] != 0 && self.numbers[place] != number {
            place = (place + 1) % self.numbers.len();
        }
        place
    }
}
