//! The view of text as letters and digits alone: everything else is left out, and capitals are small. It sees through
//! spacing, quoting, line breaks, changes of case, UTF-16, controls, terminal escapes, invisible characters and letters
//! that were typed over, and, with needles for them, through every encoding that writes each byte in letters or digits.
//!
//! So that a prompt is not held back because it ends like a needle begins, up to two letters that stand apart in front of
//! the others are not part of a match.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::automaton::{Automaton, ROOT, State, Text};
use crate::engine::Found;

/// Bytes between two letters of a match, at most, without those of terminal escapes.
const GAP_MAX_BYTES: u8 = 64;

/// Letters that may stand apart in front of a match.
const APART_MAX: usize = 2;

/// Parameters of a control sequence, at most; what is longer is text.
const PARAMETERS_MAX: u8 = 32;

/// Characters that are typed over one after the other, at most.
pub(crate) const UNDONE_MAX: usize = 4;

const ESCAPE: u8 = 0x1B;
const BACKSPACE: u8 = 0x08;
/// The control sequence introducer of ECMA-48 as one byte; in UTF-8 it comes behind 0xC2.
const CONTROL_SEQUENCE: u8 = 0x9B;

/// For each byte the letter or digit that it counts as, 0 for those left out.
pub(crate) static LETTERS: [u8; 256] = letters_table();

/// What is left of a text.
pub fn letters(text: &[u8]) -> impl Iterator<Item = u8> {
    let letters = text.iter().map(|&byte| LETTERS[usize::from(byte)]);
    letters.filter(|&letter| letter != 0)
}

/// Where the view is in a terminal escape (ECMA-48).
#[derive(Clone, Copy, PartialEq)]
enum Escape {
    None,
    /// Behind ESC and what comes between that and the final byte.
    Started,
    /// In a control sequence, with so many parameters.
    Sequence(u8),
}

pub(crate) struct Loose {
    state: State,
    escape: Escape,
    /// Offsets of the letters that the state stands for, or more.
    places: VecDeque<u64>,
    /// The last characters that may be typed over: the state in front of a letter and its depth, none for others.
    undone: VecDeque<Option<(State, u32)>>,
    /// Bytes since the last letter, up to one too many.
    gap: u8,
    /// The byte before.
    before: u8,
    /// Bytes taken so far.
    end: u64,
}

impl Loose {
    pub(crate) fn new() -> Self {
        Self {
            state: ROOT,
            escape: Escape::None,
            places: VecDeque::new(),
            undone: VecDeque::new(),
            gap: 0,
            before: 0,
            end: 0,
        }
    }

    /// Offset in front of which no byte is needed to find later matches; none inside of a terminal escape.
    pub(crate) fn needed(&self, automaton: &Automaton) -> Option<u64> {
        if self.escape != Escape::None {
            return None;
        }
        let depth = automaton.depth(self.state) as usize;
        match self.places.len().checked_sub(depth) {
            Some(index) if depth > 0 => self.places.get(index).copied(),
            _ => Some(self.end),
        }
    }

    /// Starts afresh with the byte at offset `at`.
    pub(crate) fn wake(&mut self, at: u64, before: u8) {
        self.end = at;
        self.reset();
        self.before = before;
    }

    fn reset(&mut self) {
        self.state = ROOT;
        self.gap = 0;
        self.places.clear();
        self.undone.clear();
    }

    /// Takes the next byte of the stream.
    #[inline]
    pub(crate) fn step(&mut self, automaton: &Automaton, byte: u8, found: &mut Found) {
        let at = self.end;
        self.end += 1;
        let before = std::mem::replace(&mut self.before, byte);
        if self.is_escaped(byte, before) {
            return;
        }
        let letter = LETTERS[usize::from(byte)];
        if letter != 0 {
            self.letter(automaton, at, letter, found);
            return;
        }
        match byte {
            BACKSPACE => self.undo(),
            b'\n' => self.undone.clear(),
            _ => self.may_undo(None),
        }
        self.gap += 1;
        if self.gap > GAP_MAX_BYTES {
            self.reset();
        }
    }

    fn may_undo(&mut self, before: Option<(State, u32)>) {
        if self.undone.len() == UNDONE_MAX {
            self.undone.pop_front();
        }
        self.undone.push_back(before);
    }

    fn undo(&mut self) {
        if let Some(Some((before, _))) = self.undone.pop_back() {
            self.state = before;
            self.places.pop_back();
        }
    }

    /// Whether a byte belongs to a terminal escape. Strings in escapes (titles, links) count as text.
    fn is_escaped(&mut self, byte: u8, before: u8) -> bool {
        let introduced = byte == CONTROL_SEQUENCE && (before < 0x80 || before == 0xC2);
        self.escape = match (self.escape, byte) {
            (_, ESCAPE) => Escape::Started,
            _ if introduced => Escape::Sequence(0),
            (Escape::None, _) => return false,
            (Escape::Started, b'[') if before == ESCAPE => Escape::Sequence(0),
            // Intermediate bytes, as in `ESC ( B`.
            (Escape::Started, 0x20..=0x2F) => Escape::Started,
            (Escape::Sequence(count), 0x20..=0x3F) if count < PARAMETERS_MAX => {
                Escape::Sequence(count + 1)
            }
            // The final byte.
            (_, 0x30..=0x7E) => Escape::None,
            _ => {
                self.escape = Escape::None;
                return false;
            }
        };
        true
    }

    fn letter(&mut self, automaton: &Automaton, at: u64, letter: u8, found: &mut Found) {
        self.gap = 0;
        self.may_undo(Some((self.state, automaton.depth(self.state))));
        self.state = automaton.next(self.state, letter);
        self.places.push_back(at);
        let depths = self.undone.iter().flatten().map(|&(_, depth)| depth);
        let depth = depths.fold(automaton.depth(self.state), u32::max);
        let kept = depth as usize + UNDONE_MAX;
        while self.places.len() > kept {
            self.places.pop_front();
        }
        if let Some(hit) = automaton.hit(self.state, Text::Raw) {
            found.loose(hit, self.start(hit.len as usize, 0), at + 1);
        }
    }

    /// Where a match of so many letters starts that ends in front of the last `behind` ones, without those that stand apart
    /// in front of it.
    fn start(&self, letters: usize, behind: usize) -> u64 {
        let index = self.places.len().saturating_sub(letters + behind);
        let apart = |index: usize| {
            let pair = (self.places.get(index), self.places.get(index + 1));
            matches!(pair, (Some(one), Some(next)) if one + 1 != *next)
        };
        let inside = letters.saturating_sub(1).min(APART_MAX);
        let skipped = (1..=inside).rev().find(|&count| apart(index + count - 1));
        let first = self.places.get(index + skipped.unwrap_or(0));
        first.copied().unwrap_or(self.end)
    }

    /// Offset in front of which no later match starts.
    pub(crate) fn live(&self, automaton: &Automaton) -> u64 {
        let ends_in_letter = self.places.back().is_some_and(|&last| last + 1 == self.end);
        let letters = automaton.live(self.state, Text::Raw) as usize;
        let mut live = match letters {
            0 => self.end,
            1..=APART_MAX if !ends_in_letter => self.end,
            _ => self.start(letters, 0),
        };
        for (behind, &(state, _)) in (1..).zip(self.undone.iter().rev().flatten()) {
            let letters = automaton.live(state, Text::Raw) as usize;
            if letters > APART_MAX {
                live = live.min(self.start(letters, behind));
            }
        }
        live
    }
}

const fn letters_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        if (byte as u8).is_ascii_alphanumeric() {
            table[byte] = (byte as u8).to_ascii_lowercase();
        }
        byte += 1;
    }
    table
}
