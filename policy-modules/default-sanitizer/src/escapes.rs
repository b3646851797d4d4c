//! Views of text in which some bytes are escaped: percent (RFC 3986, and forms with `+` for a space) and JSON strings
//! (RFC 8259). Any byte may stand for itself or be escaped; only what has an escape in it is reported, the rest is raw.
//!
//! Text is decoded from the start of the stream on, as its reader would. What is no complete escape stands for itself.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::automaton::{Automaton, ROOT, State};
use crate::engine::{Found, form};
use crate::sieve::Sieve;

/// The longest escape: a surrogate pair, `\ud83d\ude00`.
const ESCAPE_MAX_BYTES: usize = 12;

/// What the beginning of some text is.
enum Decoded {
    /// A byte that stands for itself.
    Literal,
    /// An escape of `len` bytes, which stands for `bytes[..count]`.
    Escape {
        len: usize,
        bytes: [u8; 4],
        count: usize,
    },
    /// An escape, if the right bytes follow.
    Incomplete,
}

/// A way to escape bytes.
struct Escaping {
    form: u32,
    /// The bytes that escapes begin with.
    leads: [u8; 2],
    /// What text is that begins with one of `leads`.
    decode: fn(&[u8]) -> Decoded,
}

static PERCENT: Escaping = Escaping {
    form: form::PERCENT,
    leads: [b'%'; 2],
    decode: percent,
};
static PERCENT_PLUS: Escaping = Escaping {
    form: form::PERCENT,
    leads: [b'%', b'+'],
    decode: percent,
};
static JSON: Escaping = Escaping {
    form: form::JSON,
    leads: [b'\\'; 2],
    decode: json,
};

pub(crate) struct Escapes {
    escaping: &'static Escaping,
    state: State,
    /// The bytes taken last, as long as they may be the beginning of an escape.
    pending: Vec<u8>,
    /// Offset in front of which steps are ignored.
    from: u64,
    /// Offset behind the last escape: what is behind it stands for itself, up to what is pending.
    plain: u64,
    /// Bytes decoded so far.
    decoded: u64,
    /// Number of decoded bytes up to the last that was escaped.
    escaped: u64,
    /// Where the decoded bytes of the live partial match are in the stream, in order. Never empty.
    pieces: VecDeque<Piece>,
}

/// Decoded bytes from number `decoded` up to the next piece.
struct Piece {
    decoded: u64,
    /// Offset in the stream of the first.
    start: u64,
    /// Whether they all come from one escape; else they follow each other in the stream.
    escape: bool,
}

impl Escapes {
    pub(crate) fn percent() -> Self {
        Self::new(&PERCENT)
    }

    /// Percent, with `+` for a space.
    pub(crate) fn percent_plus() -> Self {
        Self::new(&PERCENT_PLUS)
    }

    pub(crate) fn json() -> Self {
        Self::new(&JSON)
    }

    fn new(escaping: &'static Escaping) -> Self {
        Self {
            escaping,
            state: ROOT,
            pending: Vec::with_capacity(ESCAPE_MAX_BYTES),
            from: 0,
            plain: 0,
            decoded: 0,
            escaped: 0,
            pieces: VecDeque::from([Piece {
                decoded: 0,
                start: 0,
                escape: false,
            }]),
        }
    }

    /// Takes the byte at offset `at` of the stream.
    #[inline]
    pub(crate) fn step(&mut self, automaton: &Automaton, at: u64, byte: u8, found: &mut Found) {
        if at < self.from {
            return;
        }
        if self.pending.is_empty() && !self.escaping.leads.contains(&byte) {
            self.take(automaton, byte, at + 1, found);
        } else {
            self.pending.push(byte);
            self.decode(automaton, at + 1, false, found);
        }
    }

    /// Takes the end of the stream, at offset `end`.
    pub(crate) fn finish(&mut self, automaton: &Automaton, end: u64, found: &mut Found) {
        self.decode(automaton, end, true, found);
    }

    /// Where the earliest secret starts that may go on at offset `end`, the end of what was taken so far.
    pub(crate) fn live(&self, automaton: &Automaton, end: u64) -> Option<u64> {
        match automaton.live_encoded(self.state) {
            0 if self.pending.is_empty() => None,
            0 => Some(end - self.pending.len() as u64),
            depth => Some(self.start(depth)),
        }
    }

    /// Whether the live partial match has no escape in it, so that the sieve would find its start again.
    pub(crate) fn is_plain(&self, automaton: &Automaton) -> bool {
        u64::from(automaton.live_encoded(self.state)) <= self.decoded - self.escaped
    }

    /// Starts afresh with the byte at offset `at`, but never inside of an escape.
    pub(crate) fn wake(&mut self, at: u64) {
        self.state = ROOT;
        self.pending.clear();
        self.from = at.max(self.plain);
        self.escaped = self.decoded;
        self.pieces.clear();
        self.pieces.push_back(Piece {
            decoded: self.decoded,
            start: self.from,
            escape: false,
        });
    }

    /// Bytes that escapes begin with.
    pub(crate) fn leads(&self) -> [u8; 2] {
        self.escaping.leads
    }

    /// Whether the lead at `index` of `chunk`, which begins at offset `base`, can be skipped: it is no escape of this view,
    /// or no secret can have it near its start.
    pub(crate) fn dismiss(&mut self, sieve: &Sieve, chunk: &[u8], index: usize, base: u64) -> bool {
        let at = base + index as u64;
        if at < self.plain || !self.escaping.leads.contains(&chunk[index]) {
            return true;
        }
        let text = &chunk[index..chunk.len().min(index + ESCAPE_MAX_BYTES)];
        let (len, bytes, count) = match (self.escaping.decode)(text) {
            Decoded::Literal => return true,
            Decoded::Incomplete => return false,
            Decoded::Escape { len, bytes, count } => (len, bytes, count),
        };
        let before = index
            .checked_sub(1)
            .filter(|_| at > self.plain)
            .map(|index| chunk[index]);
        let behind = chunk
            .get(index + len)
            .filter(|byte| !self.escaping.leads.contains(byte));
        let (Some(before), Some(&behind)) = (before, behind) else {
            return false;
        };
        let mut around = [before; 6];
        around[1..=count].copy_from_slice(&bytes[..count]);
        around[count + 1] = behind;
        if sieve.plausible(&around[..count + 2]) {
            return false;
        }
        self.plain = at + len as u64;
        true
    }

    /// Decodes what is pending and ends at offset `end`, which is the stream's when it has `ended`.
    fn decode(&mut self, automaton: &Automaton, end: u64, ended: bool, found: &mut Found) {
        while let Some(&first) = self.pending.first() {
            let at = end - self.pending.len() as u64;
            let decoded = if self.escaping.leads.contains(&first) {
                (self.escaping.decode)(&self.pending)
            } else {
                Decoded::Literal
            };
            match decoded {
                Decoded::Incomplete if !ended => return,
                Decoded::Literal | Decoded::Incomplete => {
                    self.pending.remove(0);
                    self.take(automaton, first, at + 1, found);
                }
                Decoded::Escape { len, bytes, count } => {
                    self.pending.drain(..len);
                    self.take_escape(automaton, &bytes[..count], at, at + len as u64, found);
                }
            }
        }
    }

    fn take_escape(
        &mut self,
        automaton: &Automaton,
        bytes: &[u8],
        start: u64,
        end: u64,
        found: &mut Found,
    ) {
        self.pieces.push_back(Piece {
            decoded: self.decoded,
            start,
            escape: true,
        });
        for &byte in bytes {
            self.escaped = self.decoded + 1;
            self.take(automaton, byte, end, found);
        }
        self.pieces.push_back(Piece {
            decoded: self.decoded,
            start: end,
            escape: false,
        });
        self.plain = end;
        self.forget(automaton);
    }

    /// Takes a decoded byte, which ends at offset `end` of the stream.
    #[inline]
    fn take(&mut self, automaton: &Automaton, byte: u8, end: u64, found: &mut Found) {
        self.state = automaton.next(self.state, byte);
        self.decoded += 1;
        if let Some(hit) = automaton.hit(self.state)
            && u64::from(hit.len) > self.decoded - self.escaped
        {
            found.encoded(hit, self.start(hit.len), end, self.escaping.form);
        }
    }

    /// Offset in the stream of the last `depth` decoded bytes.
    fn start(&self, depth: u32) -> u64 {
        let number = self.decoded - u64::from(depth);
        let index = self.pieces.partition_point(|piece| piece.decoded <= number);
        let piece = &self.pieces[index - 1];
        piece.start
            + if piece.escape {
                0
            } else {
                number - piece.decoded
            }
    }

    /// Drops the pieces in front of the live partial match: nothing starts there any more.
    fn forget(&mut self, automaton: &Automaton) {
        let number = self.decoded - u64::from(automaton.depth(self.state));
        while self
            .pieces
            .get(1)
            .is_some_and(|piece| piece.decoded <= number)
        {
            self.pieces.pop_front();
        }
    }
}

fn percent(text: &[u8]) -> Decoded {
    match text {
        [b'+', ..] => escape(1, b" "),
        [_, digits @ ..] => match hex(digits, 2) {
            Some(value) => escape(3, &[value as u8]),
            None => missing(digits, 2),
        },
        [] => Decoded::Incomplete,
    }
}

fn json(text: &[u8]) -> Decoded {
    let byte = match text.get(1) {
        None => return Decoded::Incomplete,
        Some(b'u') => return json_unicode(&text[2..]),
        Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
        Some(b'b') => 0x08,
        Some(b't') => b'\t',
        Some(b'n') => b'\n',
        Some(b'f') => 0x0C,
        Some(b'r') => b'\r',
        Some(_) => return Decoded::Literal,
    };
    escape(2, &[byte])
}

/// `text` is what follows `\u`.
fn json_unicode(text: &[u8]) -> Decoded {
    let Some(unit) = hex(text, 4) else {
        return missing(text, 4);
    };
    if let Some(char) = char::from_u32(unit) {
        return escape(6, char.encode_utf8(&mut [0; 4]).as_bytes());
    }
    let rest = &text[4..];
    let prefix = &rest[..rest.len().min(2)];
    if unit >= 0xDC00 || !b"\\u".starts_with(prefix) {
        return Decoded::Literal;
    }
    let digits = &rest[prefix.len()..];
    match hex(digits, 4) {
        None => missing(digits, 4),
        Some(low @ 0xDC00..=0xDFFF) => {
            let code = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
            let char = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            escape(12, char.encode_utf8(&mut [0; 4]).as_bytes())
        }
        Some(_) => Decoded::Literal,
    }
}

/// The value of the first `count` bytes of `text`, if they are there and hex digits.
fn hex(text: &[u8], count: usize) -> Option<u32> {
    let digits = text.get(..count)?;
    digits.iter().try_fold(0, |value, &digit| {
        Some(value << 4 | char::from(digit).to_digit(16)?)
    })
}

/// What an escape is whose `count` hex digits are not all in `text`.
fn missing(text: &[u8], count: usize) -> Decoded {
    if text.len() < count && text.iter().all(u8::is_ascii_hexdigit) {
        Decoded::Incomplete
    } else {
        Decoded::Literal
    }
}

fn escape(len: usize, decoded: &[u8]) -> Decoded {
    let mut bytes = [0; 4];
    bytes[..decoded.len()].copy_from_slice(decoded);
    Decoded::Escape {
        len,
        bytes,
        count: decoded.len(),
    }
}
