//! Views of text written in digits of a fixed number of bits: base64 (RFC 4648, both alphabets, also mixed) and hex.
//!
//! Digits stand in groups (base64: 4 digits for 3 bytes; hex: 2 for 1), and a group may begin at any offset. So there is
//! a lane for each alignment, counted from the start of the stream. A digit at `phase` of its group and the one behind it
//! hold one whole byte, except at the last phase; that makes a lane's bytes known as soon as their last digit is, and
//! independent of where the run of digits began or ends.

#![forbid(unsafe_code)]

use crate::automaton::{Automaton, ROOT, State};
use crate::engine::{Found, form};

/// Not a digit.
const NONE: u8 = 0xFF;

/// Lanes of base64, the more demanding of the two.
const LANES_MAX: usize = 4;

/// A way to write bytes in digits.
struct Radix {
    /// Bits of a digit.
    bits: u32,
    /// Digits of a group.
    digits: u64,
    form: u32,
    /// Value of each digit, `NONE` for all other bytes.
    values: [u8; 256],
}

static BASE64: Radix = Radix {
    bits: 6,
    digits: 4,
    form: form::BASE64,
    values: base64_values(),
};
static HEX: Radix = Radix {
    bits: 4,
    digits: 2,
    form: form::HEX,
    values: hex_values(),
};

pub(crate) struct Digits {
    radix: &'static Radix,
    lanes: [State; LANES_MAX],
    /// Value of the byte before, `NONE` outside of a run.
    last: u8,
}

impl Digits {
    pub(crate) fn base64() -> Self {
        Self::new(&BASE64)
    }

    pub(crate) fn hex() -> Self {
        Self::new(&HEX)
    }

    fn new(radix: &'static Radix) -> Self {
        Self {
            radix,
            lanes: [ROOT; LANES_MAX],
            last: NONE,
        }
    }

    /// Starts afresh.
    pub(crate) fn wake(&mut self) {
        self.lanes = [ROOT; LANES_MAX];
        self.last = NONE;
    }

    /// Takes the byte at offset `at` of the stream.
    #[inline]
    pub(crate) fn step(&mut self, automaton: &Automaton, at: u64, byte: u8, found: &mut Found) {
        let digit = self.radix.values[usize::from(byte)];
        let last = std::mem::replace(&mut self.last, digit);
        if digit == NONE {
            self.lanes = [ROOT; LANES_MAX];
        } else if last != NONE {
            let pair = u32::from(last) << self.radix.bits | u32::from(digit);
            self.pair(automaton, at - 1, pair, found);
        }
    }

    /// Takes two digits in a row, the first of them at offset `at`.
    #[inline]
    fn pair(&mut self, automaton: &Automaton, at: u64, pair: u32, found: &mut Found) {
        let radix = self.radix;
        for lane in 0..radix.digits {
            let phase = radix.phase(at, lane);
            if phase + 1 == radix.digits {
                continue;
            }
            let byte = (pair >> (2 * radix.bits - 8 - radix.before(phase))) as u8;
            let state = &mut self.lanes[lane as usize];
            *state = automaton.next(*state, byte);
            if let Some(hit) = automaton.hit(*state) {
                let start = radix.back(at, phase, hit.len - 1);
                found.encoded(hit, start, at + 2, radix.form);
            }
        }
    }

    /// Where the earliest secret starts that may go on at offset `end`, the end of what was taken so far.
    pub(crate) fn live(&self, automaton: &Automaton, end: u64) -> Option<u64> {
        if self.last == NONE {
            return None;
        }
        let at = end - 1;
        (0..self.radix.digits)
            .filter_map(|lane| self.live_lane(automaton, at, lane))
            .min()
    }

    /// The last digit, at offset `at`, holds the upper bits of a byte, except at the last phase.
    fn live_lane(&self, automaton: &Automaton, at: u64, lane: u64) -> Option<u64> {
        let radix = self.radix;
        let phase = radix.phase(at, lane);
        let state = self.lanes[lane as usize];
        let known = radix.bits - radix.before(phase);
        if known == 0 {
            let depth = automaton.live_encoded(state).checked_sub(1)?;
            return Some(radix.back(at - 1, phase - 1, depth));
        }
        let bits = self.last & (0xFF >> (8 - known));
        let depth = automaton.live_bits(state, known, bits)?;
        Some(radix.back(at, phase, depth))
    }
}

impl Radix {
    /// Place in its group of the digit at offset `at`.
    fn phase(&self, at: u64, lane: u64) -> u64 {
        (at + lane) % self.digits
    }

    /// Bits of the digit at `phase` that belong to the byte before.
    fn before(&self, phase: u64) -> u32 {
        phase as u32 * (8 - self.bits)
    }

    /// Offset of the first digit of the byte that lies `bytes` before the one whose first digit is at `at`.
    fn back(&self, at: u64, phase: u64, bytes: u32) -> u64 {
        let in_group = self.digits - 1;
        let bytes = u64::from(bytes);
        // Every group that is left costs one digit more than bytes.
        let groups = if bytes > phase {
            (bytes - phase).div_ceil(in_group)
        } else {
            0
        };
        at - bytes - groups
    }
}

const fn base64_values() -> [u8; 256] {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < alphabet.len() {
        values[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    values[b'-' as usize] = 62;
    values[b'_' as usize] = 63;
    values
}

const fn hex_values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        values[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    values
}
