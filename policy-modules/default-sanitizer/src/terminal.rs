//! What a terminal would show: what of a stream belongs to its escapes (ECMA-48), and which characters are typed over.

#![forbid(unsafe_code)]

use crate::loose::LETTERS;

/// Characters that are typed over one after the other, at most.
pub(crate) const UNDONE_MAX: usize = 4;

/// Parameters of a control sequence, at most; what is longer is text.
const PARAMETERS_MAX: u8 = 32;

const ESCAPE: u8 = 0x1B;
pub(crate) const BACKSPACE: u8 = 0x08;
/// The control sequence introducer as one byte; in UTF-8 it comes behind 0xC2.
const CONTROL_SEQUENCE: u8 = 0x9B;

/// What a byte is.
pub(crate) enum Shown<T> {
    /// A part of an escape.
    Nothing,
    /// A letter or digit.
    Letter(u8),
    /// A backspace over a letter, with what was kept in front of it.
    Undone(T),
    /// Something else.
    Sign,
}

/// Where the stream is in an escape.
#[derive(Clone, Copy, PartialEq)]
enum Escape {
    None,
    /// Behind ESC and what comes between that and the final byte.
    Started,
    /// In a control sequence, with so many parameters.
    Sequence(u8),
}

/// Keeps a `T` for each of the last letters.
pub(crate) struct Terminal<T> {
    escape: Escape,
    /// The byte before.
    before: u8,
    /// The last characters that may be typed over, in a ring: what was kept in front of a letter, none for others.
    undone: [Option<T>; UNDONE_MAX],
    /// Place of the next one.
    next: usize,
    /// How many there are.
    kept: usize,
}

impl<T: Copy> Terminal<T> {
    /// Starts behind a byte.
    pub(crate) fn new(before: u8) -> Self {
        Self {
            escape: Escape::None,
            before,
            undone: [None; UNDONE_MAX],
            next: 0,
            kept: 0,
        }
    }

    /// Starts afresh behind a byte.
    pub(crate) fn wake(&mut self, before: u8) {
        self.kept = 0;
        self.before = before;
    }

    /// Forgets what may be typed over.
    pub(crate) fn forget(&mut self) {
        self.kept = 0;
    }

    /// Whether the next byte may belong to an escape that has begun.
    pub(crate) fn is_in_escape(&self) -> bool {
        self.escape != Escape::None
    }

    /// What was kept in front of the last letters, the last one first.
    pub(crate) fn undone(&self) -> impl Iterator<Item = &T> {
        let places = (1..=self.kept).map(|back| (self.next + UNDONE_MAX - back) % UNDONE_MAX);
        places.filter_map(|place| self.undone[place].as_ref())
    }

    /// The byte before the next one.
    pub(crate) fn before(&self) -> u8 {
        self.before
    }

    /// How many characters may be typed over.
    pub(crate) fn kept(&self) -> usize {
        self.kept
    }

    /// Takes the next byte, and keeps `now` if that is a letter.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8, now: impl FnOnce() -> T) -> Shown<T> {
        let before = std::mem::replace(&mut self.before, byte);
        if self.is_escaped(byte, before) {
            return Shown::Nothing;
        }
        let letter = LETTERS[usize::from(byte)];
        if letter != 0 {
            self.keep(Some(now()));
            return Shown::Letter(letter);
        }
        match byte {
            BACKSPACE => {
                if let Some(kept) = self.undo() {
                    return Shown::Undone(kept);
                }
            }
            b'\n' => self.kept = 0,
            _ => self.keep(None),
        }
        Shown::Sign
    }

    #[inline]
    fn keep(&mut self, kept: Option<T>) {
        self.undone[self.next] = kept;
        self.next = (self.next + 1) % UNDONE_MAX;
        self.kept = UNDONE_MAX.min(self.kept + 1);
    }

    fn undo(&mut self) -> Option<T> {
        self.kept = self.kept.checked_sub(1)?;
        self.next = (self.next + UNDONE_MAX - 1) % UNDONE_MAX;
        self.undone[self.next]
    }

    /// Strings in escapes (titles, links) count as text.
    #[inline]
    fn is_escaped(&mut self, byte: u8, before: u8) -> bool {
        self.escape = match (self.escape, byte) {
            (_, ESCAPE) => Escape::Started,
            _ if introduces(byte, before) => Escape::Sequence(0),
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
}

/// Whether a terminal acts on a byte behind that one.
pub(crate) fn is_control(byte: u8, before: u8) -> bool {
    matches!(byte, ESCAPE | BACKSPACE) || introduces(byte, before)
}

/// Whether it does behind some byte.
#[inline]
pub(crate) fn may_control(byte: u8) -> bool {
    matches!(byte, ESCAPE | BACKSPACE | CONTROL_SEQUENCE)
}

fn introduces(byte: u8, before: u8) -> bool {
    byte == CONTROL_SEQUENCE && (before < 0x80 || before == 0xC2)
}
