//! The scout: tells quickly where in a text a secret in any form could start, so that the views need not look elsewhere.
//!
//! Whatever is found begins with the same few letters, if everything else is left out: those of a loose needle, of the secret
//! itself, or of its digits in base64 or hex. So the scout reads letters alone. Any run of `window` letters holds one of the
//! four-letter grams of which one begins every `window - 3` letters; where one of those is a gram of some
//! beginning, the windows around it are looked up. Where an escape is in a beginning, its letters are not the secret's: escapes
//! are judged by the pairs of decoded bytes they make. It may point at too many places, never at too few.

#![forbid(unsafe_code)]

use crate::compact::{BLOCK_BYTES, Block};
use crate::decode::{Decoded, ESCAPE_MAX_BYTES, backslash, percent, xml};
use crate::digits::GAP_MAX_BYTES as DIGITS_GAP_MAX_BYTES;
use crate::grams::{GRAM, Grams, Windows};
use crate::loose::{LETTERS, letters};
use crate::needles::{LOOSE_MIN_BYTES, Needles, base64, hex};
use crate::terminal::{self, BACKSPACE, Shown, Terminal, UNDONE_MAX};

/// Letters that are judged together, at most.
const WINDOW_MAX: usize = LOOSE_MIN_BYTES;

/// Digits in a row that are no letters, in a beginning that the scout can tell.
const SIGNS_MAX: usize = 2;

/// Bytes in a row that are no letters, in such a beginning: digits can have a line break on both sides.
const GAP_MAX_BYTES: usize = SIGNS_MAX + (SIGNS_MAX + 1) * DIGITS_GAP_MAX_BYTES;

/// Bytes of the first block: where there are many matches, the next one is near.
const FIRST_BLOCK_BYTES: usize = 256;

/// Bytes in which the effect of what terminals act on is worked out; where it is longer, the views do that.
const PASS_MAX_BYTES: usize = 256;

/// Where the views have to look again.
pub(crate) struct Stop {
    /// First byte they need.
    pub(crate) at: usize,
    /// Behind what made the scout stop.
    pub(crate) through: usize,
}

/// What terminals act on, and that was worked out.
struct Passed {
    /// Behind it.
    behind: usize,
    /// Behind the letters that were looked at with it.
    judged: usize,
}

pub(crate) struct Scout {
    /// Letters that are judged together.
    window: usize,
    grams: Grams,
    windows: Windows,
    /// Whether there are escapes to see, and whether a plus sign is one.
    escapes: bool,
    plus: bool,
    /// Bytes of a secret up to the last letter of its first window, at most.
    span: usize,
    /// Whether a byte stands so near to the start of a secret.
    bytes: [bool; 256],
    /// A bit for each pair of bytes that stand next to each other there.
    pairs: Box<[u64]>,
}

impl Scout {
    /// None when a needle cannot be told by its first letters: it has too few, or too much between them.
    pub(crate) fn new(needles: &Needles) -> Option<Self> {
        let mut beginnings = Vec::new();
        for needle in &needles.exact {
            beginnings.push(Beginning::of(&needle.bytes, GAP_MAX_BYTES)?);
            if needle.decoded {
                // The first whole digit begins 0, 4 or 2 bits into the secret.
                for phase in 0..3 {
                    beginnings.push(Beginning::of(
                        &base64(&needle.bytes, phase, false),
                        SIGNS_MAX,
                    )?);
                }
                beginnings.push(Beginning::of(&hex(&needle.bytes, 'a'), 0)?);
            }
        }
        for needle in &needles.loose {
            beginnings.push(Beginning::of(&needle.bytes, 0)?);
        }
        let window = beginnings.iter().map(|beginning| beginning.count).min()?;
        let mut scout = Self {
            window,
            grams: Grams::new(beginnings.len() * (window + 1 - GRAM)),
            windows: Windows::new(beginnings.len()),
            escapes: false,
            plus: false,
            span: 0,
            bytes: [false; 256],
            pairs: vec![0; (1 << 16) / 64].into(),
        };
        for beginning in &beginnings {
            let letters = &beginning.letters[..window];
            for gram in letters.array_windows() {
                scout.grams.add(*gram);
            }
            scout.windows.add(scout.window_number(&beginning.letters));
        }
        for needle in &needles.exact {
            let span = span(&needle.bytes, window);
            scout.span = scout.span.max(span);
            if needle.decoded {
                scout.escapes = true;
                scout.plus |= needle.bytes.contains(&b' ');
                for &byte in &needle.bytes[..span] {
                    scout.bytes[usize::from(byte)] = true;
                }
                for pair in needle.bytes[..span].windows(2) {
                    let number = pair_number(pair);
                    scout.pairs[number / 64] |= 1 << (number % 64);
                }
            }
        }
        Some(scout)
    }

    /// Where in the chunk, from `from` on, a secret may begin, or its end.
    #[inline(never)]
    pub(crate) fn stop(&self, chunk: &[u8], from: usize, block: &mut Block) -> Stop {
        // Nothing that is still to be found has a part in what is in front of this.
        let mut floor = from;
        let mut start = from;
        let mut bytes = FIRST_BLOCK_BYTES;
        loop {
            let text = &chunk[start..chunk.len().min(start + bytes)];
            block.read(text);
            let mark = block.mark(|place| self.counts(chunk, start + place));
            let shown = mark.map_or(block.letters().len(), |place| {
                block.letters_before(text, place)
            });
            if let Some(letter) = self.find(&block.letters()[..shown]) {
                let place = start + block.place(text, letter);
                // Where letters behind it are typed over, it is one of these that something begins with.
                let begun = floor + last_letters(&chunk[floor..place], UNDONE_MAX - 1);
                return Stop {
                    at: before_signs(chunk, begun).max(floor),
                    through: start + block.place(text, letter + self.window - 1) + 1,
                };
            }
            if let Some(place) = mark {
                let place = start + place;
                let begun = floor + self.last_window(&chunk[floor..place]);
                if is_control(chunk, place)
                    && let Some(passed) = self.pass(chunk, begun, begun > floor, place)
                    && !(place..passed.judged).any(|place| self.is_escape(chunk, place))
                {
                    (floor, start, bytes) = (passed.behind, passed.behind, FIRST_BLOCK_BYTES);
                    continue;
                }
                let at = before_signs(chunk, begun).min((place + 1).saturating_sub(self.span));
                return Stop {
                    at: at.max(floor),
                    through: place + 1,
                };
            }
            let begun = start + self.last_window(text);
            if start + text.len() == chunk.len() {
                return Stop {
                    at: before_signs(chunk, begun).max(floor),
                    through: chunk.len(),
                };
            }
            start = begun;
            bytes = BLOCK_BYTES.min(4 * bytes);
        }
    }

    /// Whether a mark may stand for something in a beginning.
    fn counts(&self, chunk: &[u8], place: usize) -> bool {
        self.is_escape(chunk, place) || is_control(chunk, place)
    }

    /// Whether an escape may stand there that is in a beginning.
    fn is_escape(&self, chunk: &[u8], place: usize) -> bool {
        self.escapes && !self.dismisses(chunk, place)
    }

    /// Whether what stands at `index` of `chunk` can be skipped: it is no escape, or no secret can have it near its start as its first
    /// escape.
    #[inline]
    fn dismisses(&self, chunk: &[u8], index: usize) -> bool {
        let text = &chunk[index..chunk.len().min(index + ESCAPE_MAX_BYTES)];
        let lead = chunk[index];
        let decoded = match lead {
            b'\\' => backslash(text),
            b'&' => xml(text),
            b'%' => percent(text),
            b'+' if self.plus => percent(text),
            _ => return true,
        };
        let (len, bytes, count) = match decoded {
            Decoded::Literal => return true,
            Decoded::Incomplete => return false,
            Decoded::Escape { len, bytes, count } => (len, bytes, count),
        };
        if !bytes[..count]
            .iter()
            .any(|&byte| self.bytes[usize::from(byte)])
        {
            return true;
        }
        let before = index.checked_sub(1).map(|index| chunk[index]);
        let behind = chunk.get(index + len).copied();
        let (Some(before), Some(behind)) = (before, behind) else {
            return false;
        };
        if behind == lead || self.plus && b"%+".contains(&behind) {
            return false;
        }
        let mut around = [before; 6];
        around[1..=count].copy_from_slice(&bytes[..count]);
        around[count + 1] = behind;
        !self.plausible(&around[..count + 2])
    }

    /// What terminals act on at `place`, if nothing begins around it from `start` on. What stands in front of that may be typed over
    /// as well, unless there is `nothing_before`.
    fn pass(
        &self,
        chunk: &[u8],
        start: usize,
        mut nothing_before: bool,
        place: usize,
    ) -> Option<Passed> {
        // The byte before the chunk is not known, which tells whether its first one is a control.
        place.checked_sub(1)?;
        let before = start.checked_sub(1).map_or(0, |before| chunk[before]);
        let mut terminal = Terminal::new(before);
        let mut behind = place;
        let mut shown = Vec::with_capacity(PASS_MAX_BYTES);
        let (mut left, mut gap) = (self.window - 1 + UNDONE_MAX, 0);
        let end = chunk.len().min(place + PASS_MAX_BYTES);
        for (at, &byte) in (start..end).zip(&chunk[start..end]) {
            let is_control = terminal::is_control(byte, terminal.before());
            nothing_before |= byte == b'\n';
            if byte == BACKSPACE && terminal.kept() == 0 && !nothing_before {
                return None;
            }
            match terminal.take(byte, || ()) {
                Shown::Letter(letter) => {
                    shown.push(letter);
                    gap = 0;
                    left = left.saturating_sub(usize::from(at > place));
                }
                Shown::Undone(()) => {
                    // What was there is to be seen as well.
                    if self.find(&shown).is_some() {
                        return None;
                    }
                    shown.pop();
                }
                Shown::Sign => gap += 1,
                Shown::Nothing => behind = at + 1,
            }
            if is_control {
                behind = at + 1;
                left = self.window - 1 + UNDONE_MAX;
                gap = 0;
            }
            if at > place && (left == 0 || gap > GAP_MAX_BYTES) {
                let all: Vec<u8> = letters(&chunk[start..=at]).collect();
                let nothing = self.find(&shown).is_none() && self.find(&all).is_none();
                return nothing.then_some(Passed {
                    behind,
                    judged: at + 1,
                });
            }
        }
        None
    }

    /// Where the last letters of a text begin that are no whole window yet, or may be typed over.
    fn last_window(&self, text: &[u8]) -> usize {
        last_letters(text, self.window - 1 + UNDONE_MAX)
    }

    /// Where the first window is that is a beginning.
    fn find(&self, letters: &[u8]) -> Option<usize> {
        let mut from = 0;
        loop {
            let near = self.grams.find(&letters[from..], self.step())?;
            // One of the windows that hold this gram, or that it comes too early for.
            let last = from + near;
            let mut starts = (last + 1).saturating_sub(self.step())..=last;
            let known = starts.find(|&start| self.is_beginning(&letters[start..]));
            if known.is_some() {
                return known;
            }
            from = last + 1;
        }
    }

    /// Letters from one gram that is looked up to the next.
    fn step(&self) -> usize {
        self.window + 1 - GRAM
    }

    fn is_beginning(&self, letters: &[u8]) -> bool {
        let Some(text) = letters.get(..self.window) else {
            return false;
        };
        // Its other grams are looked up first, since that is fast.
        let ends = [text.first_chunk(), text.last_chunk()];
        if !ends.into_iter().flatten().all(|gram| self.grams.has(*gram)) {
            return false;
        }
        let mut window = [0; WINDOW_MAX];
        window[..text.len()].copy_from_slice(text);
        self.windows.has(self.window_number(&window))
    }

    fn window_number(&self, letters: &[u8; WINDOW_MAX]) -> u64 {
        let unused = 8 * (WINDOW_MAX - self.window);
        u64::from_le_bytes(*letters) << unused
    }

    /// Whether these decoded bytes, some of them escaped, could stand near the start of a secret.
    fn plausible(&self, decoded: &[u8]) -> bool {
        decoded.windows(2).any(|pair| {
            let number = pair_number(pair);
            self.pairs[number / 64] >> (number % 64) & 1 != 0
        })
    }
}

/// Where the last letters of a text begin, so many of them. What is in front of a gap that is in no beginning does not count.
fn last_letters(text: &[u8], mut left: usize) -> usize {
    let mut gap = 0;
    for (place, &byte) in text.iter().enumerate().rev() {
        if LETTERS[usize::from(byte)] == 0 {
            gap += 1;
            if gap > GAP_MAX_BYTES {
                return place + 1;
            }
            continue;
        }
        gap = 0;
        left -= 1;
        if left == 0 {
            return place;
        }
    }
    0
}

fn is_control(chunk: &[u8], place: usize) -> bool {
    let before = place.checked_sub(1).map_or(0, |before| chunk[before]);
    terminal::is_control(chunk[place], before)
}

/// Where what begins with the letter at `place` may begin at the earliest: the signs in front of it, and the digit of base64 that
/// holds bits of what stands there.
fn before_signs(chunk: &[u8], place: usize) -> usize {
    let first = place.saturating_sub(GAP_MAX_BYTES + 1);
    let signs = chunk[first..place].iter().rev();
    let signs = signs
        .take_while(|&&byte| LETTERS[usize::from(byte)] == 0)
        .count();
    place.saturating_sub(signs + 1)
}

/// Bytes of a needle up to the last letter of its first window.
fn span(bytes: &[u8], window: usize) -> usize {
    let mut places = bytes
        .iter()
        .enumerate()
        .filter(|&(_, &byte)| LETTERS[usize::from(byte)] != 0);
    places
        .nth(window - 1)
        .map_or(bytes.len(), |(place, _)| place + 1)
}

/// The first letters of something that is searched.
struct Beginning {
    letters: [u8; WINDOW_MAX],
    count: usize,
}

impl Beginning {
    /// None when there are less than a gram, or more than `gap` other bytes in a row in front of one of them.
    fn of(bytes: &[u8], gap: usize) -> Option<Self> {
        let mut beginning = Self {
            letters: [0; WINDOW_MAX],
            count: 0,
        };
        let mut rest = bytes;
        while beginning.count < WINDOW_MAX
            && let Some(letter) = letters(rest).next()
        {
            let signs = rest
                .iter()
                .take_while(|&&byte| LETTERS[usize::from(byte)] == 0)
                .count();
            if signs > gap {
                return None;
            }
            rest = &rest[signs + 1..];
            beginning.letters[beginning.count] = letter;
            beginning.count += 1;
        }
        (beginning.count >= GRAM).then_some(beginning)
    }
}

fn pair_number(pair: &[u8]) -> usize {
    usize::from(pair[0]) << 8 | usize::from(pair[1])
}
