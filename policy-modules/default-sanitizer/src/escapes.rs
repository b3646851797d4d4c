//! Views of text in which some bytes are escaped: percent (RFC 3986, and forms with `+` for a space), backslashes (JSON
//! strings, RFC 8259; string literals of C and its kin; shells), and references of XML and HTML. Any byte may stand for itself or be escaped; only what has an escape in it is reported, the rest is raw.
//!
//! What is no complete escape stands for itself. A secret is what a reader decodes who begins at any offset: a stray lead in
//! front of it must not spoil it (`%ba%61` is a byte 0xBA and an `a`, but also a `baa` behind a percent sign). One reading of
//! the stream, the trunk, is searched with the automaton. All other readings begin inside of its escapes, and join it sooner
//! or later: the secrets that begin there are followed one by one, as branches, for as long as they match.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::automaton::{Automaton, ROOT, State, Text};
use crate::decode::{Decoded, ESCAPE_MAX_BYTES, backslash, percent, xml};
use crate::engine::{Found, form};

/// Branches followed at once. There are more only where both secret and text repeat themselves (`""""""` as `\"\"\"\"\"\"`).
const BRANCHES_MAX: usize = 64;

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
static BACKSLASH: Escaping = Escaping {
    form: form::JSON,
    leads: [b'\\'; 2],
    decode: backslash,
};
static XML: Escaping = Escaping {
    form: form::XML,
    leads: [b'&'; 2],
    decode: xml,
};

pub(crate) struct Escapes {
    escaping: &'static Escaping,
    /// Whether all that counts stands for itself, so that the trunk would be where the search in the raw text is.
    idle: bool,
    /// The bytes taken last, as long as they may be the beginning of an escape.
    pending: Vec<u8>,
    trunk: Trunk,
    branches: Vec<Branch>,
    /// Where there were too many branches: what those that were given up could have become.
    flood: Option<(u64, u64)>,
}

/// What is read at some offset of the stream: one byte, or an escape.
struct Unit {
    start: u64,
    end: u64,
    bytes: [u8; 4],
    count: usize,
    escaped: bool,
}

/// The reading that is searched for secrets from any of its bytes on.
struct Trunk {
    state: State,
    /// Offset of the next unit.
    next: u64,
    /// Bytes decoded since the last restart, and those that it began behind.
    decoded: u64,
    /// Number of decoded bytes up to the last that was escaped.
    escaped: u64,
    /// Where the decoded bytes of the live partial match are in the stream, in order. Never empty behind a
    /// restart.
    pieces: VecDeque<Piece>,
}

/// A secret that begins inside of an escape of the trunk.
struct Branch {
    start: u64,
    state: State,
    /// Offset of the next unit.
    next: u64,
    escaped: bool,
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

    pub(crate) fn backslash() -> Self {
        Self::new(&BACKSLASH)
    }

    pub(crate) fn xml() -> Self {
        Self::new(&XML)
    }

    fn new(escaping: &'static Escaping) -> Self {
        Self {
            escaping,
            idle: true,
            pending: Vec::with_capacity(ESCAPE_MAX_BYTES),
            trunk: Trunk::new(),
            branches: Vec::new(),
            flood: None,
        }
    }

    /// Takes the byte at offset `at` of the stream; `raw` is where the search in the raw text is in front of it and behind it.
    #[inline]
    pub(crate) fn step(
        &mut self,
        automaton: &Automaton,
        at: u64,
        byte: u8,
        raw: [State; 2],
        found: &mut Found,
    ) {
        let is_lead = self.escaping.leads.contains(&byte);
        if self.idle && !is_lead {
            return;
        }
        self.follow(automaton, at, byte, raw, found);
    }

    fn follow(
        &mut self,
        automaton: &Automaton,
        at: u64,
        byte: u8,
        [before, behind]: [State; 2],
        found: &mut Found,
    ) {
        if self.idle {
            self.idle = false;
            self.trunk.restart(at, before, automaton.depth(before));
        }
        self.pending.push(byte);
        self.decode(automaton, at + 1, false, found);
        self.idle = self.pending.is_empty()
            && self.branches.is_empty()
            && self.flood.is_none()
            && self.trunk.next <= at + 1
            && self.trunk.state == behind
            && self.trunk.is_plain(automaton.depth(behind));
    }

    /// Takes the end of the stream, at offset `end`.
    pub(crate) fn finish(&mut self, automaton: &Automaton, end: u64, found: &mut Found) {
        self.decode(automaton, end, true, found);
        self.end_flood(automaton, end, found);
    }

    /// Where the earliest secret starts that may go on at offset `end`, the end of what was taken so far, where the search in the
    /// raw text is at `raw`.
    pub(crate) fn live(&self, automaton: &Automaton, end: u64, raw: State) -> u64 {
        if self.idle {
            return end - u64::from(automaton.live(raw, Text::Decoded));
        }
        let pending = end - self.pending.len() as u64;
        let trunk = match automaton.live(self.trunk.state, Text::Decoded) {
            0 => pending,
            depth => self.trunk.start(depth).min(pending),
        };
        let branches = self.branches.iter().map(|branch| branch.start);
        let flood = self.flood.map(|(start, _)| start);
        branches.chain(flood).fold(trunk, u64::min)
    }

    /// Whether no live partial match has an escape in it, so that the scout would find their starts again.
    pub(crate) fn is_plain(&self, automaton: &Automaton) -> bool {
        let trunk = &self.trunk;
        self.idle
            || trunk.is_plain(automaton.live(trunk.state, Text::Decoded))
                && self.branches.iter().all(|branch| !branch.escaped)
                && self.flood.is_none()
    }

    /// Starts afresh.
    pub(crate) fn wake(&mut self) {
        self.idle = true;
        self.pending.clear();
        self.branches.clear();
    }

    /// Decodes what is pending and ends at offset `end`, which is the stream's when it has `ended`.
    fn decode(&mut self, automaton: &Automaton, end: u64, ended: bool, found: &mut Found) {
        while let Some(&first) = self.pending.first() {
            let decoded = if self.escaping.leads.contains(&first) {
                match (self.escaping.decode)(&self.pending) {
                    // What goes on with one digit less is an escape all the same.
                    Decoded::Incomplete if ended => {
                        const IN_NO_ESCAPE: [u8; 1] = [0xFF];
                        (self.escaping.decode)(&[&self.pending[..], &IN_NO_ESCAPE].concat())
                    }
                    decoded => decoded,
                }
            } else {
                Decoded::Literal
            };
            let (len, bytes, count, escaped) = match decoded {
                Decoded::Incomplete if !ended => return,
                Decoded::Literal | Decoded::Incomplete => (1, [first, 0, 0, 0], 1, false),
                Decoded::Escape { len, bytes, count } => (len, bytes, count, true),
            };
            let start = end - self.pending.len() as u64;
            self.pending.remove(0);
            let unit = Unit {
                start,
                end: start + len as u64,
                bytes,
                count,
                escaped,
            };
            self.unit(automaton, &unit, found);
        }
    }

    /// Takes the unit at the next offset, which may be inside of the unit before.
    fn unit(&mut self, automaton: &Automaton, unit: &Unit, found: &mut Found) {
        if self.flood.is_some_and(|(_, end)| end <= unit.start) {
            self.end_flood(automaton, unit.start, found);
        }
        let form = self.escaping.form;
        self.branches.retain_mut(|branch| {
            branch.next != unit.start
                || branch.take(automaton, unit, &unit.bytes[..unit.count], form, found)
        });
        if self.trunk.next <= unit.start {
            self.trunk.take_unit(automaton, unit, form, found);
            return;
        }
        for skipped in 0..unit.count {
            let mut branch = Branch {
                start: unit.start,
                state: ROOT,
                next: unit.end,
                escaped: false,
            };
            if !branch.take(
                automaton,
                unit,
                &unit.bytes[skipped..unit.count],
                form,
                found,
            ) {
                continue;
            }
            if self.branches.len() < BRANCHES_MAX {
                self.branches.push(branch);
            } else {
                self.add_flood(automaton, unit.start, found);
            }
        }
    }

    /// Gives up the branch that begins at offset `start`. To leak nothing and to stay linear, all it could have become is
    /// hidden instead.
    fn add_flood(&mut self, automaton: &Automaton, start: u64, found: &mut Found) {
        // A decoded byte may have taken a whole escape.
        const EXPANSION: u64 = ESCAPE_MAX_BYTES as u64;
        self.end_flood(automaton, start + 1, found);
        let len = u64::from(automaton.longest_hit().len);
        self.flood = Some((start, start + EXPANSION * len + ESCAPE_MAX_BYTES as u64));
    }

    fn end_flood(&mut self, automaton: &Automaton, end: u64, found: &mut Found) {
        if let Some((start, _)) = self.flood.take() {
            let hit = automaton.longest_hit();
            found.encoded(hit, start, end, self.escaping.form);
        }
    }
}

impl Branch {
    /// Reads `bytes` of the unit at its place; false when no secret goes on.
    fn take(
        &mut self,
        automaton: &Automaton,
        unit: &Unit,
        bytes: &[u8],
        form: u32,
        found: &mut Found,
    ) -> bool {
        self.next = unit.end;
        self.escaped |= unit.escaped;
        for &byte in bytes {
            let Some(state) = automaton.descend(self.state, byte) else {
                return false;
            };
            self.state = state;
            if self.escaped
                && let Some(hit) = automaton.hit(state, Text::Decoded)
                && hit.len == automaton.depth(state)
            {
                found.encoded(hit, self.start, unit.end, form);
            }
        }
        automaton.grows(self.state)
    }
}

impl Trunk {
    fn new() -> Self {
        Self {
            state: ROOT,
            next: 0,
            decoded: 0,
            escaped: 0,
            pieces: VecDeque::new(),
        }
    }

    /// Starts with the byte at offset `at`, behind so many bytes that stand for themselves.
    fn restart(&mut self, at: u64, state: State, depth: u32) {
        let depth = u64::from(depth);
        self.state = state;
        self.next = at;
        self.decoded = 0;
        self.escaped = 0;
        self.pieces.clear();
        self.piece(at - depth, false);
        self.decoded = depth;
    }

    /// Whether the last `depth` bytes all stand for themselves.
    fn is_plain(&self, depth: u32) -> bool {
        u64::from(depth) <= self.decoded - self.escaped
    }

    fn take_unit(&mut self, automaton: &Automaton, unit: &Unit, form: u32, found: &mut Found) {
        self.next = unit.end;
        if !unit.escaped {
            self.take(automaton, unit.bytes[0], unit.end, form, found);
            return;
        }
        self.piece(unit.start, true);
        for &byte in &unit.bytes[..unit.count] {
            self.escaped = self.decoded + 1;
            self.take(automaton, byte, unit.end, form, found);
        }
        self.piece(unit.end, false);
        self.forget(automaton);
    }

    /// Takes a decoded byte, which ends at offset `end` of the stream.
    #[inline]
    fn take(&mut self, automaton: &Automaton, byte: u8, end: u64, form: u32, found: &mut Found) {
        self.state = automaton.next(self.state, byte);
        self.decoded += 1;
        if let Some(hit) = automaton.hit(self.state, Text::Decoded)
            && u64::from(hit.len) > self.decoded - self.escaped
        {
            found.encoded(hit, self.start(hit.len), end, form);
        }
    }

    fn piece(&mut self, start: u64, escape: bool) {
        self.pieces.push_back(Piece {
            decoded: self.decoded,
            start,
            escape,
        });
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
