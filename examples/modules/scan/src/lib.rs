//! A search for shapes in a stream, the result of which does not depend on how the stream was cut into chunks.
//!
//! A [`Shape`] is asked at one place after the other what begins there. It sees the bytes up to the end of the last chunk, and says
//! [`Found::Undecided`] where more of them could change its answer. So each answer is the one that it would give in sight of the
//! whole stream, and what is not decided is held back: at most [`HELD_MAX_BYTES`].

#![forbid(unsafe_code)]

mod module;

pub use module::{Shapes, Stream};

/// Most bytes that are held back: a shape must be decided in sight of as many bytes, and a longer run is hidden in pieces.
pub const HELD_MAX_BYTES: usize = 4096;
/// Bytes before a place that a shape sees.
const BEFORE_BYTES: usize = 2;

/// Bytes to hide, as offsets in the whole stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset behind the last byte.
    pub end: u64,
    /// What it is, as the shape numbers it.
    pub subject: u32,
}

/// A set of bytes.
pub type Class = fn(u8) -> bool;

/// What a shape says of a place.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// Nothing begins at the place and at the ones behind it: so many of them, at least one.
    Nothing(usize),
    /// That depends on what follows. Never an answer in sight of the end, or of [`HELD_MAX_BYTES`].
    Undecided,
    /// To hide: these bytes, counted from the place.
    Bytes {
        /// The first one.
        start: usize,
        /// Behind the last one.
        end: usize,
        /// The next place: ranges may overlap.
        next: usize,
        /// What it is.
        subject: u32,
    },
    /// To hide: from a byte on, counted from the place, all that are of a class. The first one is.
    Run {
        /// The first byte.
        start: usize,
        /// What the run consists of.
        class: Class,
        /// What it is.
        subject: u32,
    },
}

/// What is looked for.
pub trait Shape {
    /// What begins at the first byte of `rest`, of which there is at least one; `before` are up to two bytes in front of it. Unless the
    /// stream `ended`, more bytes follow.
    fn at(&self, before: &[u8], rest: &[u8], ended: bool) -> Found;
}

/// The search for one shape in one stream.
pub struct Scanner<S> {
    shape: S,
    /// Up to two bytes before the place, and all behind it.
    held: Vec<u8>,
    before: usize,
    /// Offset of the place in the stream.
    place: u64,
    /// The run that the place is in.
    run: Option<(Class, u32)>,
}

impl<S: Shape> Scanner<S> {
    /// Starts with an empty stream.
    pub fn new(shape: S) -> Self {
        Self {
            shape,
            held: Vec::new(),
            before: 0,
            place: 0,
            run: None,
        }
    }

    /// Takes the next bytes, or the end, and adds what is to be hidden. Gives the offset up to which all is decided.
    pub fn push(&mut self, chunk: &[u8], ended: bool, hide: &mut Vec<Range>) -> u64 {
        self.held.extend_from_slice(chunk);
        let mut at = self.before;
        while at < self.held.len() {
            let Some(next) = self.step(at, ended, hide) else {
                break;
            };
            self.place += (next - at) as u64;
            at = next;
        }
        let forgotten = at.saturating_sub(BEFORE_BYTES);
        self.held.drain(..forgotten);
        self.before = at - forgotten;
        self.place
    }

    /// The next place, if what is at this one is decided.
    fn step(&mut self, at: usize, ended: bool, hide: &mut Vec<Range>) -> Option<usize> {
        if let Some((class, subject)) = self.run {
            return self.run_on(at, class, subject, ended, hide);
        }
        let (before, rest) = self.held.split_at(at);
        let before = &before[before.len().saturating_sub(BEFORE_BYTES)..];
        match self.shape.at(before, rest, ended) {
            Found::Nothing(places) => Some(self.held.len().min(at + places.max(1))),
            Found::Undecided => None,
            Found::Bytes {
                start,
                end,
                next,
                subject,
            } => {
                hide.push(self.range(start, end, subject));
                Some(at + next)
            }
            Found::Run {
                start,
                class,
                subject,
            } => {
                self.run = Some((class, subject));
                Some(at + start)
            }
        }
    }

    /// Hides the rest of a run, or a piece of it as long as can be held.
    fn run_on(
        &mut self,
        at: usize,
        class: Class,
        subject: u32,
        ended: bool,
        hide: &mut Vec<Range>,
    ) -> Option<usize> {
        let rest = &self.held[at..];
        let length = length(&rest[..rest.len().min(HELD_MAX_BYTES)], class);
        let is_whole = length < HELD_MAX_BYTES;
        if is_whole && length == rest.len() && !ended {
            return None;
        }
        if is_whole {
            self.run = None;
        }
        if length > 0 {
            hide.push(self.range(0, length, subject));
        }
        Some(at + length)
    }

    fn range(&self, start: usize, end: usize, subject: u32) -> Range {
        Range {
            start: self.place + start as u64,
            end: self.place + end as u64,
            subject,
        }
    }
}

/// How many bytes at the beginning are of a class.
pub fn length(bytes: &[u8], class: Class) -> usize {
    bytes
        .iter()
        .position(|&byte| !class(byte))
        .unwrap_or(bytes.len())
}

/// How far away the first byte of a class is: the end, if there is none.
pub fn distance(bytes: &[u8], class: Class) -> usize {
    bytes
        .iter()
        .position(|&byte| class(byte))
        .unwrap_or(bytes.len())
}

/// How far away a byte is: the end, if there is none. Much faster than [`distance`].
pub fn distance_of(byte: u8, bytes: &[u8]) -> usize {
    memchr::memchr(byte, bytes).unwrap_or(bytes.len())
}

/// How far away a text of two bytes or more is: its beginning at the end counts. Shapes have rare pairs of bytes, not rare bytes.
pub fn distance_of_pair(bytes: &[u8], is_pair: fn(u8, u8) -> bool) -> usize {
    let last = bytes.len().saturating_sub(1);
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    pairs
        .map(|(&first, &second)| is_pair(first, second))
        .position(|found| found)
        .unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `<` and the letters behind it, if there are at least three.
    struct Tag;

    impl Shape for Tag {
        fn at(&self, before: &[u8], rest: &[u8], ended: bool) -> Found {
            if rest[0] != b'<' || before.ends_with(b"!") {
                return Found::Nothing(1);
            }
            let letters = length(&rest[1..rest.len().min(4)], |byte| {
                byte.is_ascii_lowercase()
            });
            match letters {
                3 => Found::Run {
                    start: 1,
                    class: |byte| byte.is_ascii_lowercase(),
                    subject: 7,
                },
                _ if rest.len() == letters + 1 && !ended => Found::Undecided,
                _ => Found::Nothing(1),
            }
        }
    }

    /// Ranges as pairs, and how much was held back at most.
    fn scan(text: &[u8], chunk: usize) -> (Vec<(u64, u64)>, u64) {
        let mut scanner = Scanner::new(Tag);
        let (mut hide, mut pushed, mut held) = (Vec::new(), 0, 0);
        for piece in text.chunks(chunk) {
            pushed += piece.len() as u64;
            held = held.max(pushed - scanner.push(piece, false, &mut hide));
        }
        assert_eq!(scanner.push(b"", true, &mut hide), pushed);
        (
            hide.iter().map(|range| (range.start, range.end)).collect(),
            held,
        )
    }

    #[test]
    fn a_run_is_found_however_it_is_cut() {
        for chunk in 1..20 {
            let (found, _) = scan(b"<ab <abc!<abc<abcdef <x", chunk);
            assert_eq!(found, [(5, 8), (14, 20)], "{chunk}");
        }
    }

    #[test]
    fn a_long_run_is_hidden_in_pieces_and_the_hold_is_bounded() {
        let mut text = vec![b'a'; 3 * HELD_MAX_BYTES];
        text[0] = b'<';
        let piece = HELD_MAX_BYTES as u64;
        let ends = [1, 1 + piece, 1 + 2 * piece, 3 * piece];
        for chunk in [1, 1000, text.len()] {
            let (found, held) = scan(&text, chunk);
            let expected: Vec<_> = ends.windows(2).map(|pair| (pair[0], pair[1])).collect();
            assert_eq!(found, expected);
            assert!(held <= piece, "{held}");
        }
    }
}
