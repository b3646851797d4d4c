//! Views of text written in digits of a fixed number of bits: base64 (RFC 4648, both alphabets, also mixed) and hex.
//!
//! Digits stand in groups (base64: 4 digits for 3 bytes; hex: 2 for 1), and a group may begin at any digit. So there is
//! a lane for each alignment, counted from the start of the run. A digit at `phase` of its group and the one behind it
//! hold one whole byte, except at the last phase; that makes a lane's bytes known as soon as their last digit is, and
//! independent of where the run of digits began or ends.
//!
//! Encoders break long lines, so a line break between two digits does not end a run. In front of one, a secret counts from
//! its first whole byte on: else a word at the end of a line would often be held back for the few bits in its last letter.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::automaton::{Automaton, ROOT, State, Text};
use crate::engine::{Found, form};

/// Not a digit.
const NONE: u8 = 0xFF;

/// Lanes of base64, the more demanding of the two.
const LANES_MAX: usize = 4;

/// White space behind a line break that may be the indentation of the next line; the bound keeps what is held back bounded.
const INDENT_MAX_BYTES: usize = 32;

/// Bytes between two digits, at most.
pub(crate) const GAP_MAX_BYTES: usize = "\r\n".len() + INDENT_MAX_BYTES;

/// What stands between the last digit and here.
#[derive(Clone, Copy, PartialEq)]
enum Gap {
    None,
    CarriageReturn,
    /// A line break, with this much white space behind it.
    LineBreak(usize),
}

impl Gap {
    /// The gap with one more byte, if it is one.
    fn grow(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::None, b'\r') => Some(Self::CarriageReturn),
            (Self::None | Self::CarriageReturn, b'\n') => Some(Self::LineBreak(0)),
            (Self::LineBreak(blank), b' ' | b'\t' | b'\r' | b'\n') if blank < INDENT_MAX_BYTES => {
                Some(Self::LineBreak(blank + 1))
            }
            _ => None,
        }
    }
}

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
    /// Value of the last digit of the run, `NONE` outside of one.
    last: u8,
    gap: Gap,
    /// Digits of the run so far.
    count: u64,
    /// Where the digits of the live partial match are in the stream, in order. Never empty within a run.
    lines: VecDeque<Line>,
}

/// Digits that follow each other in the stream, up to the next line.
struct Line {
    /// Number of the first digit in the run.
    digit: u64,
    /// Its offset in the stream.
    start: u64,
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
            gap: Gap::None,
            count: 0,
            lines: VecDeque::new(),
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
        if digit == NONE {
            if self.last != NONE {
                match self.gap.grow(byte) {
                    Some(gap) => self.gap = gap,
                    None => self.wake(),
                }
            }
            return;
        }
        if self.gap != Gap::None && self.last != NONE {
            self.end_gap(automaton, at);
        }
        let last = std::mem::replace(&mut self.last, digit);
        if last == NONE {
            self.gap = Gap::None;
            self.count = 0;
            self.lines.clear();
            self.lines.push_back(Line {
                digit: 0,
                start: at,
            });
        }
        self.count += 1;
        if last != NONE {
            let pair = u32::from(last) << self.radix.bits | u32::from(digit);
            self.pair(automaton, at + 1, pair, found);
        }
    }

    /// Goes on with a digit at offset `at`, behind a gap.
    fn end_gap(&mut self, automaton: &Automaton, at: u64) {
        if self.gap == Gap::CarriageReturn {
            self.wake();
            return;
        }
        self.gap = Gap::None;
        let first = self.first_live(|state| automaton.depth(state));
        while self.lines.get(1).is_some_and(|line| line.digit <= first) {
            self.lines.pop_front();
        }
        self.lines.push_back(Line {
            digit: self.count,
            start: at,
        });
    }

    /// Takes the last two digits, which end at offset `end`.
    #[inline]
    fn pair(&mut self, automaton: &Automaton, end: u64, pair: u32, found: &mut Found) {
        let radix = self.radix;
        let first = self.count - 2;
        for lane in 0..radix.digits {
            let phase = radix.phase(first, lane);
            if phase + 1 == radix.digits {
                continue;
            }
            let byte = (pair >> (2 * radix.bits - 8 - radix.before(phase))) as u8;
            let state = &mut self.lanes[lane as usize];
            *state = automaton.next(*state, byte);
            if let Some(hit) = automaton.hit(*state, Text::Decoded) {
                let start = self.start(radix.back(first, phase, hit.len - 1));
                found.encoded(hit, start, end, radix.form);
            }
        }
    }

    /// Where in the stream a secret begins whose first bits are in digit number `digit`.
    fn start(&self, digit: u64) -> u64 {
        // The digit may stand alone in front of a line break.
        let next_line = self.lines.partition_point(|line| line.digit <= digit);
        match self.lines.get(next_line) {
            Some(line) if line.digit == digit + 1 => line.start,
            _ => self.offset(digit),
        }
    }

    /// Where in the stream digit number `digit` is.
    fn offset(&self, digit: u64) -> u64 {
        let next_line = self.lines.partition_point(|line| line.digit <= digit);
        let line = &self.lines[next_line - 1];
        line.start + digit - line.digit
    }

    /// Where the earliest secret starts that may go on behind what was taken so far.
    pub(crate) fn live(&self, automaton: &Automaton) -> Option<u64> {
        let whole = matches!(self.gap, Gap::LineBreak(_));
        self.live_digit(automaton, whole)
            .map(|digit| self.start(digit))
    }

    /// Where what was taken so far may be needed from, also for a secret that only starts behind the line break at the end.
    pub(crate) fn needed(&self, automaton: &Automaton) -> Option<u64> {
        self.live_digit(automaton, false)
            .map(|digit| self.offset(digit))
    }

    /// Number of the digit that the earliest live partial match begins with; with `whole`, of one with a whole byte.
    fn live_digit(&self, automaton: &Automaton, whole: bool) -> Option<u64> {
        if self.last == NONE {
            return None;
        }
        (0..self.radix.digits)
            .filter_map(|lane| self.live_lane(automaton, lane, whole))
            .min()
    }

    /// Like `live_digit`, for one lane. The last digit holds the upper bits of a byte,
    /// except at the last phase.
    fn live_lane(&self, automaton: &Automaton, lane: u64, whole: bool) -> Option<u64> {
        let radix = self.radix;
        let last = self.count - 1;
        let phase = radix.phase(last, lane);
        let state = self.lanes[lane as usize];
        let known = radix.bits - radix.before(phase);
        if known == 0 {
            let depth = automaton.live(state, Text::Decoded).checked_sub(1)?;
            return Some(radix.back(last - 1, phase - 1, depth));
        }
        let upper = self.last & (0xFF >> (8 - known));
        let depth = automaton.live_bits(state, known, upper)?;
        (!whole || depth > 0).then(|| radix.back(last, phase, depth))
    }

    /// Number of the digit that no match which goes on begins in front of, for matches of `depth` whole bytes in each lane.
    fn first_live(&self, depth: impl Fn(State) -> u32) -> u64 {
        let radix = self.radix;
        let last = self.count - 1;
        let lane = |lane: u64| {
            let phase = radix.phase(last, lane);
            let depth = depth(self.lanes[lane as usize]);
            match (phase + 1 == radix.digits, depth.checked_sub(1)) {
                (true, None) => last,
                (true, Some(depth)) => radix.back(last - 1, phase - 1, depth),
                (false, _) => radix.back(last, phase, depth),
            }
        };
        (0..radix.digits).map(lane).min().unwrap_or(last)
    }
}

impl Radix {
    /// Place in its group of digit number `digit`.
    fn phase(&self, digit: u64, lane: u64) -> u64 {
        (digit + lane) % self.digits
    }

    /// Bits of the digit at `phase` that belong to the byte before.
    fn before(&self, phase: u64) -> u32 {
        phase as u32 * (8 - self.bits)
    }

    /// Number of the first digit of the byte that lies `bytes` before the one whose first digit is number `digit`.
    fn back(&self, digit: u64, phase: u64, bytes: u32) -> u64 {
        let in_group = self.digits - 1;
        let bytes = u64::from(bytes);
        // Every group that is left costs one digit more than bytes.
        let groups = if bytes > phase {
            (bytes - phase).div_ceil(in_group)
        } else {
            0
        };
        digit - bytes - groups
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
