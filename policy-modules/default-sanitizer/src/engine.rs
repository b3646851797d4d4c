//! The engine: one set of views for each channel, and what they found.
//!
//! The views sleep while nothing is live: the scout then runs ahead to where a secret could start, and they go on from
//! there as if what lies between had never been. The end of a chunk always finds them awake, so that what is live there is
//! known exactly, and cutting the stream elsewhere changes nothing.

#![forbid(unsafe_code)]

use std::{fmt, iter};

use crate::automaton::{Automaton, Hit, ROOT, State, Text};
use crate::compact::{BLOCK_BYTES, Block};
use crate::digits::Digits;
use crate::escapes::Escapes;
use crate::loose::Loose;
use crate::needles::{Needle, Needles};
use crate::scout::Scout;
use crate::shape::{Numbers, Shape};
use crate::terminal::may_control;

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

/// Bytes of all needles together. Each costs 29 bytes in an automaton, so this is 348 MiB of linear memory: enough for
/// some 200 KiB of secrets that are not longer than 4 KiB each, or for one of four mebibytes.
const NEEDLES_MAX_BYTES: usize = 12 << 20;

/// Bytes that all views look at before the scout may go on.
const AWAKE_MIN_BYTES: usize = 32;

/// A match that is not complete after so many bytes is hidden as far as it has come, so that less than twice as many are ever held
/// back behind the end of a chunk. Looked at where the stream has a multiple of them, so that cutting changes nothing.
pub const HOLD_BYTES: u64 = 64 * 1024;

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
    views: Views,
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
        let views = Views::of(needles);
        Self {
            found: Found::new(needles),
            channels: [views.stream(), views.stream()],
            views,
            search: Search {
                exact: Automaton::new(&needles.exact),
                loose: Automaton::new(&needles.loose),
                scout: Scout::new(needles),
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

    /// Takes the end of a channel; all of it is settled then. What is pushed next is another one, with offsets from 0.
    pub fn finish(&mut self, channel: Channel) -> Verdict {
        let stream = &mut self.channels[channel as usize];
        stream.finish(&self.search.exact, &mut self.found);
        let settled = stream.end;
        if settled > 0 {
            *stream = self.views.stream();
        }
        Verdict {
            hide: self.found.take(),
            settled,
        }
    }
}

/// What all channels search with.
struct Search {
    exact: Automaton,
    /// Of the needles that are searched in letters and digits.
    loose: Automaton,
    /// None when a secret could start everywhere.
    scout: Option<Scout>,
}

/// What a channel is looked at through.
struct Views {
    /// Digits and escapes.
    encoded: bool,
    /// A plus sign as a space.
    plus: bool,
    numbers: Option<Numbers>,
}

/// One channel: its views, and how far it is.
struct Stream {
    raw: State,
    digits: Vec<Digits>,
    escapes: Vec<Escapes>,
    /// The letters that a terminal would show.
    shown: Loose,
    /// All letters; none as long as they are the same.
    plain: Option<Loose>,
    shape: Option<Shape>,
    block: Block,
    /// Bytes pushed so far.
    end: u64,
    /// What is in front of this is hidden or shown, whatever goes on there.
    floor: u64,
    settled: u64,
}

impl Views {
    fn of(needles: &Needles) -> Self {
        let mut encoded = needles.exact.iter().filter(|needle| needle.decoded);
        Self {
            plus: encoded.clone().any(|needle| needle.bytes.contains(&b' ')),
            encoded: encoded.next().is_some(),
            numbers: needles.numbers,
        }
    }

    /// A channel of which nothing was seen yet.
    fn stream(&self) -> Stream {
        let (mut digits, mut escapes) = (Vec::new(), Vec::new());
        if self.encoded {
            digits.extend([Digits::base64(), Digits::hex()]);
            escapes.extend([Escapes::percent(), Escapes::backslash(), Escapes::xml()]);
        }
        if self.plus {
            escapes.push(Escapes::percent_plus());
        }
        Stream {
            raw: ROOT,
            digits,
            escapes,
            shown: Loose::shown(),
            plain: None,
            shape: self.numbers.map(Shape::new),
            block: Block::new(),
            end: 0,
            floor: 0,
            settled: 0,
        }
    }
}

impl Stream {
    fn push(&mut self, search: &Search, chunk: &[u8], found: &mut Found) {
        found.floor = self.floor;
        if let Some(shape) = &mut self.shape {
            shape.push(chunk, found);
        }
        let base = self.end;
        if search.exact.is_empty() && search.loose.is_empty() {
            self.wake(base + chunk.len() as u64, 0);
            return;
        }
        let mut at = 0;
        while at < chunk.len() {
            let mut until = at + AWAKE_MIN_BYTES;
            if let Some(scout) = &search.scout
                && let Some(from) = self.drowsy(search, base)
            {
                let stop = scout.stop(chunk, from, &mut self.block);
                // Where the views are further, they have seen it.
                if stop.at > at {
                    at = stop.at;
                    self.wake(base + at as u64, chunk[at - 1]);
                }
                until = stop.through.max(at + AWAKE_MIN_BYTES);
            }
            self.walk(search, &chunk[at..chunk.len().min(until)], found);
            at = until;
        }
    }

    /// Where in the chunk the scout can take over: no match that it would not point at again starts in front of it. It must
    /// not be far back, or time would not be linear.
    fn drowsy(&self, search: &Search, base: u64) -> Option<usize> {
        let mut needed = self.needed(&search.exact);
        for view in self.loose() {
            needed = needed.min(view.needed(&search.loose)?);
        }
        let near = self.end - needed <= BLOCK_BYTES as u64;
        if !near || !self.escapes.iter().all(|view| view.is_plain(&search.exact)) {
            return None;
        }
        usize::try_from(needed.checked_sub(base)?).ok()
    }

    fn loose(&self) -> impl Iterator<Item = &Loose> {
        iter::once(&self.shown).chain(&self.plain)
    }

    /// Starts all views afresh with the byte at offset `at`.
    fn wake(&mut self, at: u64, before: u8) {
        self.end = at;
        self.raw = ROOT;
        self.digits.iter_mut().for_each(Digits::wake);
        self.escapes.iter_mut().for_each(Escapes::wake);
        self.shown.wake(at, before);
        self.plain = None;
    }

    /// All views take the next bytes.
    #[inline(never)]
    fn walk(&mut self, search: &Search, bytes: &[u8], found: &mut Found) {
        let automaton = &search.exact;
        for &byte in bytes {
            let at = self.end;
            self.end += 1;
            if self.plain.is_none() && may_control(byte) {
                self.plain = Some(self.shown.plain());
            }
            self.shown.step(&search.loose, byte, found);
            if let Some(plain) = &mut self.plain {
                plain.step(&search.loose, byte, found);
            }
            let before = self.raw;
            self.raw = automaton.next(before, byte);
            if let Some(hit) = automaton.hit(self.raw, Text::Raw) {
                found.raw(hit, self.end);
            }
            for view in &mut self.digits {
                view.step(automaton, at, byte, found);
            }
            for view in &mut self.escapes {
                view.step(automaton, at, byte, [before, self.raw], found);
            }
            if self.end.is_multiple_of(HOLD_BYTES) {
                self.hide_unfinished(search, found);
            }
        }
    }

    fn hide_unfinished(&mut self, search: &Search, found: &mut Found) {
        let floor = self.end - HOLD_BYTES;
        let live = self.live(search).max(self.floor);
        if live < floor {
            found.unfinished(live, floor);
        }
        self.floor = floor;
        found.floor = floor;
    }

    fn finish(&mut self, automaton: &Automaton, found: &mut Found) {
        found.floor = self.floor;
        for view in &mut self.escapes {
            view.finish(automaton, self.end, found);
        }
        if let Some(shape) = &mut self.shape {
            shape.finish(found);
        }
    }

    fn settle(&mut self, search: &Search) -> u64 {
        let shape = self.shape.as_ref().map_or(self.end, Shape::live);
        let live = self.live(search).max(self.floor).min(shape);
        self.settled = self.settled.max(live);
        self.settled
    }

    /// Offset in front of which no later match of any view starts.
    fn live(&self, search: &Search) -> u64 {
        let loose = self.loose().map(|view| view.live(&search.loose));
        let digits = (self.digits.iter()).filter_map(|view| view.live(&search.exact));
        loose
            .chain(digits)
            .fold(self.live_text(&search.exact), u64::min)
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
            .map(|view| view.live(automaton, self.end, self.raw));
        escapes.fold(raw, u64::min)
    }
}

/// What was found since the last verdict.
pub(crate) struct Found {
    ranges: Vec<Range>,
    /// Where ranges start at the earliest.
    floor: u64,
    /// Subject of the longest needle.
    longest: u32,
    /// For each subject and form, one more than the index of its last range in `ranges`; 0 for none.
    last: Vec<usize>,
    /// Subject and form of each needle.
    exact: Vec<(u32, u32)>,
    loose: Vec<(u32, u32)>,
}

impl Found {
    fn new(needles: &Needles) -> Self {
        let all = needles.exact.iter().chain(&needles.loose);
        let longest = all.clone().max_by_key(|needle| needle.bytes.len());
        let subjects = all.map(|needle| needle.subject);
        let subjects = subjects.chain(needles.numbers.map(|numbers| numbers.subject));
        let subjects = subjects.max().map_or(0, |last| last as usize + 1);
        let labels = |needles: &[Needle]| {
            let labels = needles.iter().map(|needle| (needle.subject, needle.form));
            labels.collect()
        };
        Self {
            ranges: Vec::new(),
            floor: 0,
            longest: longest.map_or(0, |needle| needle.subject),
            last: vec![0; subjects * FORMS.len()],
            exact: labels(&needles.exact),
            loose: labels(&needles.loose),
        }
    }

    /// A needle that ends at offset `end`.
    #[inline]
    pub(crate) fn raw(&mut self, hit: Hit, end: u64) {
        let (subject, form) = self.exact[hit.needle as usize];
        self.add(Range {
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
        self.add(Range {
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

    /// A match that may never be complete: of the longest needle, as far as anybody can tell.
    fn unfinished(&mut self, start: u64, end: u64) {
        self.add(Range {
            start,
            end,
            subject: self.longest,
            form: form::FRAGMENT,
        });
    }

    /// Unites with the last range of its kind at once, so that a text full of overlapping matches costs no memory.
    fn add(&mut self, mut range: Range) {
        range.start = range.start.max(self.floor);
        if range.start >= range.end {
            return;
        }
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
