//! The engine: one set of views for each channel, and what they found.
//!
//! The views sleep while nothing is live: the sieve then runs ahead to where a secret could start, and they go on from
//! there as if what lies between had never been. The end of a chunk always finds them awake, so that what is live there is
//! known exactly, and cutting the stream elsewhere changes nothing.

#![forbid(unsafe_code)]

use std::fmt;

use crate::automaton::{Automaton, Hit, ROOT, State, Text};
use crate::digits::Digits;
use crate::escapes::Escapes;
use crate::loose::Loose;
use crate::needles::{Needle, Needles};
use crate::shape::Shape;
use crate::sieve::{Sieve, WINDOW_MAX_BYTES};
use crate::starts::Starts;

/// How a secret was written, by number of the form.
pub const FORMS: [&str; 16] = [
    "raw", "part", "base64", "hex", "percent", "json", "loose", "fragment", "reversed", "rot13",
    "base32", "decimal", "octal", "binary", "xml", "shape",
];

/// Indexes into [`FORMS`].
pub(crate) mod form {
    pub(crate) const RAW: u32 = 0;
    pub(crate) const PART: u32 = 1;
    pub(crate) const BASE64: u32 = 2;
    pub(crate) const HEX: u32 = 3;
    pub(crate) const PERCENT: u32 = 4;
    pub(crate) const JSON: u32 = 5;
    pub(crate) const LOOSE: u32 = 6;
    pub(crate) const FRAGMENT: u32 = 7;
    pub(crate) const REVERSED: u32 = 8;
    pub(crate) const ROT13: u32 = 9;
    pub(crate) const BASE32: u32 = 10;
    pub(crate) const DECIMAL: u32 = 11;
    pub(crate) const OCTAL: u32 = 12;
    pub(crate) const BINARY: u32 = 13;
    pub(crate) const XML: u32 = 14;
    pub(crate) const SHAPE: u32 = 15;
}

/// Bytes of all secrets together.
const SECRETS_MAX_BYTES: usize = 4 << 20;

/// Bytes of all needles together. Each costs 28 bytes in an automaton, so this is 336 MiB of linear memory: enough for
/// 200 KiB of secrets that are not longer than 4 KiB each, or for one of four mebibytes.
const NEEDLES_MAX_BYTES: usize = 12 << 20;

/// Bytes that all views look at when the sieve has found something, before it may go on: longer than its window.
const AWAKE_MIN_BYTES: usize = WINDOW_MAX_BYTES + 4;

/// A stream of the command. The two have offsets of their own, each from 0.
#[derive(Clone, Copy)]
pub enum Channel {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A value to find. Its subject is its place in the list given to [`Sanitizer::start`].
pub struct Secret<'a> {
    /// Name shown in markers.
    pub name: &'a str,
    /// The bytes to find; not empty.
    pub value: &'a [u8],
}

/// Bytes to hide: offsets `start..end` of a channel's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset behind the last byte; greater than `start`.
    pub end: u64,
    /// Index of the secret.
    pub subject: u32,
    /// Index into [`FORMS`].
    pub form: u32,
}

/// The answer to a chunk.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// New ranges by start. Those of one subject and form overlap neither each other, nor, unless they continue it, what
    /// an earlier verdict hid.
    pub hide: Vec<Range>,
    /// Offset in front of which no later range starts.
    pub settled: u64,
}

/// Why the secrets cannot be searched.
#[derive(Debug, PartialEq, Eq)]
pub enum StartError {
    /// The secret of this number has no bytes.
    Empty(usize),
    /// All secrets together are longer than the sanitizer can hold.
    TooLong,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty(index) => write!(f, "secret {index} is empty"),
            Self::TooLong => write!(f, "the secrets are too long to be searched together"),
        }
    }
}

impl std::error::Error for StartError {}

/// Searches both channels of one command. Holds the secrets: not printable, not cloneable.
pub struct Sanitizer {
    search: Search,
    found: Found,
    channels: [Stream; 2],
}

impl Sanitizer {
    /// Prepares the search for `secrets`. Of equal values the first is the one that is found.
    pub fn start(secrets: &[Secret<'_>]) -> Result<Self, StartError> {
        if let Some(index) = secrets.iter().position(|secret| secret.value.is_empty()) {
            return Err(StartError::Empty(index));
        }
        if secrets
            .iter()
            .map(|secret| secret.value.len())
            .sum::<usize>()
            > SECRETS_MAX_BYTES
        {
            return Err(StartError::TooLong);
        }
        let needles = Needles::of(secrets);
        let all = needles.exact.iter().chain(&needles.loose);
        if all.map(|needle| needle.bytes.len()).sum::<usize>() > NEEDLES_MAX_BYTES {
            return Err(StartError::TooLong);
        }
        Ok(Self::search(&needles))
    }

    /// Prepares the search for needles.
    pub fn search(needles: &Needles) -> Self {
        let stream = || Stream::new(needles);
        let loose = (!needles.loose.is_empty())
            .then(|| (Automaton::new(&needles.loose), Starts::new(&needles.loose)));
        Self {
            found: Found::new(needles),
            channels: [stream(), stream()],
            search: Search {
                automaton: Automaton::new(&needles.exact),
                sieve: Sieve::new(&needles.exact),
                loose,
            },
        }
    }

    /// Takes the next bytes of a channel.
    pub fn push(&mut self, channel: Channel, chunk: &[u8]) -> Verdict {
        let stream = &mut self.channels[channel as usize];
        stream.push(&self.search, chunk, &mut self.found);
        let settled = stream.settle(&self.search);
        Verdict {
            hide: self.found.take(),
            settled,
        }
    }

    /// Takes the end of a channel; all of it is settled then. Nothing is pushed to it any more.
    pub fn finish(&mut self, channel: Channel) -> Verdict {
        let stream = &mut self.channels[channel as usize];
        stream.finish(&self.search.automaton, &mut self.found);
        Verdict {
            hide: self.found.take(),
            settled: stream.end,
        }
    }
}

/// What all channels search with.
struct Search {
    automaton: Automaton,
    /// None when a secret is so short that it could start everywhere.
    sieve: Option<Sieve>,
    /// The needles that are searched in letters and digits, if there are any.
    loose: Option<(Automaton, Starts)>,
}

/// One channel: its views, and how far it is.
struct Stream {
    raw: State,
    digits: Vec<Digits>,
    escapes: Vec<Escapes>,
    /// Bytes that escapes of any view begin with.
    leads: Vec<u8>,
    loose: Loose,
    shape: Option<Shape>,
    /// Bytes pushed so far.
    end: u64,
    settled: u64,
}

impl Stream {
    fn new(needles: &Needles) -> Self {
        let encoded = needles.exact.iter().filter(|needle| needle.decoded);
        let mut encoded = encoded.peekable();
        let (mut digits, mut escapes) = (Vec::new(), Vec::new());
        if encoded.peek().is_some() {
            digits.extend([Digits::base64(), Digits::hex()]);
            escapes.extend([Escapes::percent(), Escapes::backslash(), Escapes::xml()]);
        }
        if encoded.any(|needle| needle.bytes.contains(&b' ')) {
            escapes.push(Escapes::percent_plus());
        }
        let mut leads: Vec<u8> = escapes.iter().flat_map(Escapes::leads).collect();
        leads.sort_unstable();
        leads.dedup();
        Self {
            raw: ROOT,
            digits,
            escapes,
            leads,
            loose: Loose::new(),
            shape: needles.numbers.map(Shape::new),
            end: 0,
            settled: 0,
        }
    }

    fn push(&mut self, search: &Search, chunk: &[u8], found: &mut Found) {
        if let Some((automaton, starts)) = &search.loose {
            self.loose.push(automaton, starts, chunk, found);
        }
        if let Some(shape) = &mut self.shape {
            shape.push(chunk, found);
        }
        if search.automaton.is_empty() {
            self.end += chunk.len() as u64;
            return;
        }
        let base = self.end;
        let mut at = 0;
        let mut woken = None;
        let mut marks = Marks::default();
        while at < chunk.len() {
            if let Some(sieve) = &search.sieve
                && let Some(from) = self.drowsy(&search.automaton, base, woken)
            {
                at = self.skip(sieve, chunk, from, &mut marks);
                found.looked_at = found.looked_at.max(self.end);
                self.wake(base + at as u64);
                woken = Some(at);
            }
            let until = chunk.len().min(at + AWAKE_MIN_BYTES);
            for &byte in &chunk[at..until] {
                self.step(&search.automaton, byte, found);
            }
            at = until;
        }
    }

    /// Where in the chunk the sieve can take over: no match that it would not find again starts in front of it. It has to be
    /// behind where the views were `woken` last, and not far back, or time would not be linear.
    fn drowsy(&self, automaton: &Automaton, base: u64, woken: Option<usize>) -> Option<usize> {
        let needed = self.needed(automaton);
        let near = self.end - needed <= AWAKE_MIN_BYTES as u64;
        if !near || !self.escapes.iter().all(|view| view.is_plain(automaton)) {
            return None;
        }
        let from = needed.checked_sub(base)? as usize;
        woken.is_none_or(|woken| from > woken).then_some(from)
    }

    /// Where in the chunk, from `from` on, the views have to look again.
    fn skip(&self, sieve: &Sieve, chunk: &[u8], from: usize, marks: &mut Marks) -> usize {
        let windows = (chunk.len() + 1).saturating_sub(sieve.window());
        let mut at = from;
        self.advance(sieve, chunk, from, marks);
        loop {
            let mark = marks.lead.min(marks.line);
            let (stop, is_start) = sieve.scan(chunk, at, windows.min(mark));
            let dismissed = !is_start
                && mark < marks.line
                && self
                    .escapes
                    .iter()
                    .all(|view| view.dismiss(sieve, chunk, mark));
            if !dismissed {
                // The first digit of base64 may hold bits of what is in front of the secret, too.
                return marks
                    .first(sieve.window())
                    .min(stop.saturating_sub(1))
                    .max(from);
            }
            at = stop;
            self.advance(sieve, chunk, mark + 1, marks);
        }
    }

    /// Moves the marks that are in front of `from` to the next ones.
    fn advance(&self, sieve: &Sieve, chunk: &[u8], from: usize, marks: &mut Marks) {
        let rest = chunk.get(from..).unwrap_or(&[]);
        if marks.lead < from || !marks.started {
            let next = match *self.leads {
                [a, b, c] => memchr::memchr3(a, b, c, rest),
                [a, b, c, d] => {
                    let first = memchr::memchr2(a, b, rest);
                    let rest = &rest[..first.unwrap_or(rest.len())];
                    memchr::memchr2(c, d, rest).or(first)
                }
                _ => None,
            };
            marks.lead = next.map_or(chunk.len(), |index| from + index);
        }
        if marks.line < from || !marks.started {
            let next = if self.digits.is_empty() {
                None
            } else {
                memchr::memchr_iter(b'\n', rest)
                    .map(|index| from + index)
                    .find(|&index| !sieve.dismiss_break(chunk, index))
            };
            marks.line = next.unwrap_or(chunk.len());
        }
        marks.started = true;
    }

    /// Starts all views afresh with the byte at offset `at`.
    fn wake(&mut self, at: u64) {
        self.end = at;
        self.raw = ROOT;
        self.digits.iter_mut().for_each(Digits::wake);
        self.escapes.iter_mut().for_each(|view| view.wake(at));
    }

    fn step(&mut self, automaton: &Automaton, byte: u8, found: &mut Found) {
        let at = self.end;
        self.end += 1;
        self.raw = automaton.next(self.raw, byte);
        if let Some(hit) = automaton.hit(self.raw, Text::Raw) {
            found.raw(hit, self.end);
        }
        for view in &mut self.digits {
            view.step(automaton, at, byte, found);
        }
        for view in &mut self.escapes {
            view.step(automaton, at, byte, found);
        }
    }

    fn finish(&mut self, automaton: &Automaton, found: &mut Found) {
        for view in &mut self.escapes {
            view.finish(automaton, self.end, found);
        }
        if let Some(shape) = &mut self.shape {
            shape.finish(found);
        }
    }

    fn settle(&mut self, search: &Search) -> u64 {
        let loose = search.loose.as_ref();
        let loose = loose.map_or(self.end, |(automaton, _)| self.loose.live(automaton));
        let shape = self.shape.as_ref().map_or(self.end, Shape::live);
        let exact = self.live(&search.automaton);
        self.settled = self.settled.max(exact.min(loose).min(shape));
        self.settled
    }

    /// Offset in front of which no later match of any view starts.
    fn live(&self, automaton: &Automaton) -> u64 {
        let digits = self.digits.iter().filter_map(|view| view.live(automaton));
        digits.fold(self.live_text(automaton), u64::min)
    }

    /// Offset in front of which no byte is needed to find later matches.
    fn needed(&self, automaton: &Automaton) -> u64 {
        let digits = self.digits.iter().filter_map(|view| view.needed(automaton));
        digits.fold(self.live_text(automaton), u64::min)
    }

    /// Like `live`, for what is not written in digits.
    fn live_text(&self, automaton: &Automaton) -> u64 {
        let raw = self.end - u64::from(automaton.live(self.raw, Text::Raw));
        let escapes = self
            .escapes
            .iter()
            .map(|view| view.live(automaton, self.end));
        escapes.fold(raw, u64::min)
    }
}

/// Where in a chunk the sieve does not see what begins: the next of each that was not looked at yet.
#[derive(Default)]
struct Marks {
    started: bool,
    /// The lead of an escape.
    lead: usize,
    /// A line break that the sieve did not dismiss.
    line: usize,
}

impl Marks {
    /// Where a secret may begin, at the earliest, that has a mark in its first `window` bytes.
    fn first(&self, window: usize) -> usize {
        // The first digit of base64 in front of `window` others, and a line break of two bytes.
        let digits = window + "x\r".len();
        let line = self.line.saturating_sub(digits);
        line.min((self.lead + 1).saturating_sub(window))
    }
}

/// What was found since the last verdict.
pub(crate) struct Found {
    ranges: Vec<Range>,
    /// Offset up to which the stream was looked at before the views went back: what ends there is known.
    looked_at: u64,
    /// For each subject and form, one more than the index of its last range in `ranges`; 0 for none.
    last: Vec<usize>,
    /// Subject and form of each needle.
    exact: Vec<(u32, u32)>,
    loose: Vec<(u32, u32)>,
}

impl Found {
    fn new(needles: &Needles) -> Self {
        let all = needles.exact.iter().chain(&needles.loose);
        let subjects = all.map(|needle| needle.subject);
        let subjects = subjects.chain(needles.numbers.map(|numbers| numbers.subject));
        let subjects = subjects.max().map_or(0, |last| last as usize + 1);
        let labels = |needles: &[Needle]| {
            let labels = needles.iter().map(|needle| (needle.subject, needle.form));
            labels.collect()
        };
        Self {
            ranges: Vec::new(),
            looked_at: 0,
            last: vec![0; subjects * FORMS.len()],
            exact: labels(&needles.exact),
            loose: labels(&needles.loose),
        }
    }

    /// A needle that ends at offset `end`.
    #[inline]
    pub(crate) fn raw(&mut self, hit: Hit, end: u64) {
        let (subject, form) = self.exact[hit.needle as usize];
        self.exact_range(Range {
            start: end - u64::from(hit.len),
            end,
            subject,
            form,
        });
    }

    /// A needle in an encoded form.
    #[inline]
    pub(crate) fn encoded(&mut self, hit: Hit, start: u64, end: u64, form: u32) {
        let (subject, _) = self.exact[hit.needle as usize];
        self.exact_range(Range {
            start,
            end,
            subject,
            form,
        });
    }

    /// A loose needle.
    pub(crate) fn loose(&mut self, hit: Hit, start: u64, end: u64) {
        let (subject, form) = self.loose[hit.needle as usize];
        self.add(Range {
            start,
            end,
            subject,
            form,
        });
    }

    /// A number.
    pub(crate) fn shape(&mut self, subject: u32, start: u64, end: u64) {
        self.add(Range {
            start,
            end,
            subject,
            form: form::SHAPE,
        });
    }

    fn exact_range(&mut self, range: Range) {
        if range.end > self.looked_at {
            self.add(range);
        }
    }

    /// Unites with the last range of its kind at once, so that a text full of overlapping matches costs no memory.
    fn add(&mut self, range: Range) {
        let last = &mut self.last[range.subject as usize * FORMS.len() + range.form as usize];
        if let Some(before) = last.checked_sub(1).map(|index| &mut self.ranges[index])
            && range.start < before.end
            && before.start < range.end
        {
            before.start = before.start.min(range.start);
            before.end = before.end.max(range.end);
            return;
        }
        self.ranges.push(range);
        *last = self.ranges.len();
    }

    /// The ranges by start, united where those of one kind overlap.
    fn take(&mut self) -> Vec<Range> {
        self.last.fill(0);
        self.looked_at = 0;
        let mut ranges = std::mem::take(&mut self.ranges);
        ranges.sort_unstable_by_key(|range| (range.subject, range.form, range.start, range.end));
        ranges.dedup_by(|next, before| {
            let one = (next.subject, next.form) == (before.subject, before.form)
                && next.start < before.end;
            if one {
                before.end = before.end.max(next.end);
            }
            one
        });
        ranges.sort_unstable();
        ranges
    }
}
