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
use crate::terminal::{Shown, Terminal, UNDONE_MAX};

/// Bytes between two letters of a match, at most, without those of terminal escapes.
const GAP_MAX_BYTES: u8 = 64;

/// Letters that may stand apart in front of a match.
const APART_MAX: usize = 2;

/// For each byte the letter or digit that it counts as, 0 for those left out.
pub(crate) static LETTERS: [u8; 256] = letters_table();

/// What is left of a text.
pub fn letters(text: &[u8]) -> impl Iterator<Item = u8> {
    let letters = text.iter().map(|&byte| LETTERS[usize::from(byte)]);
    letters.filter(|&letter| letter != 0)
}

pub(crate) struct Loose {
    state: State,
    /// Keeps the state in front of each letter and its depth. None where escapes and backspaces are left out like other signs: a
    /// letter that a terminal would not show is still there to be read.
    terminal: Option<Terminal<(State, u32)>>,
    /// Offsets of the letters that the state stands for, or more.
    places: VecDeque<u64>,
    /// Bytes since the last letter, up to one too many.
    gap: u8,
    /// Bytes taken so far.
    end: u64,
}

impl Loose {
    /// The letters that a terminal would show.
    pub(crate) fn shown() -> Self {
        Self {
            state: ROOT,
            terminal: Some(Terminal::new(0)),
            places: VecDeque::new(),
            gap: 0,
            end: 0,
        }
    }

    /// The same place in all letters, where nothing has been left out so far.
    pub(crate) fn plain(&self) -> Self {
        Self {
            terminal: None,
            places: self.places.clone(),
            ..*self
        }
    }

    /// Offset in front of which no byte is needed to find later matches; none inside of a terminal escape.
    pub(crate) fn needed(&self, automaton: &Automaton) -> Option<u64> {
        if self.terminal.as_ref().is_some_and(Terminal::is_in_escape) {
            return None;
        }
        // A letter that is typed over brings back what was in front of it.
        let depths = self.undone().map(|&(_, depth)| depth as usize);
        let depths = std::iter::once(automaton.depth(self.state) as usize).chain(depths);
        let letters = depths.zip(0..).map(|(depth, behind)| match depth {
            0 => 0,
            _ => depth + behind,
        });
        let letters = letters.max().unwrap_or(0);
        let first = self.places.len().checked_sub(letters)?;
        Some(self.places.get(first).copied().unwrap_or(self.end))
    }

    /// Starts afresh with the byte at offset `at`.
    pub(crate) fn wake(&mut self, at: u64, before: u8) {
        self.end = at;
        self.reset();
        if let Some(terminal) = &mut self.terminal {
            terminal.wake(before);
        }
    }

    fn reset(&mut self) {
        self.state = ROOT;
        self.gap = 0;
        self.places.clear();
        if let Some(terminal) = &mut self.terminal {
            terminal.forget();
        }
    }

    /// Takes the next byte of the stream.
    #[inline]
    pub(crate) fn step(&mut self, automaton: &Automaton, byte: u8, found: &mut Found) {
        let at = self.end;
        self.end += 1;
        let state = self.state;
        let now = || (state, automaton.depth(state));
        let shown = match &mut self.terminal {
            Some(terminal) => terminal.take(byte, now),
            None => match LETTERS[usize::from(byte)] {
                0 => Shown::Sign,
                letter => Shown::Letter(letter),
            },
        };
        match shown {
            Shown::Nothing => return,
            Shown::Letter(letter) => return self.letter(automaton, at, letter, found),
            Shown::Undone((before, _)) => {
                self.state = before;
                self.places.pop_back();
            }
            Shown::Sign => {}
        }
        self.gap += 1;
        if self.gap > GAP_MAX_BYTES {
            self.reset();
        }
    }

    fn letter(&mut self, automaton: &Automaton, at: u64, letter: u8, found: &mut Found) {
        self.gap = 0;
        self.state = automaton.next(self.state, letter);
        self.places.push_back(at);
        let depths = self.undone().map(|&(_, depth)| depth);
        let depth = depths.fold(automaton.depth(self.state), u32::max);
        let kept = depth as usize + UNDONE_MAX;
        while self.places.len() > kept {
            self.places.pop_front();
        }
        if let Some(hit) = automaton.hit(self.state, Text::Raw) {
            found.loose(hit, self.start(hit.len as usize, 0), at + 1);
        }
    }

    /// What a letter that is typed over brings back, the last one first.
    fn undone(&self) -> impl Iterator<Item = &(State, u32)> {
        self.terminal.iter().flat_map(Terminal::undone)
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
        for (behind, &(state, _)) in (1..).zip(self.undone()) {
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
