//! The engine: one set of views for each channel, all fed with the same bytes, and what they found.

#![forbid(unsafe_code)]

use std::fmt;

use crate::automaton::{Automaton, ENCODED_MIN_BYTES, Hit, ROOT, State};
use crate::digits::Digits;
use crate::escapes::Escapes;

/// How a secret was written, by number of the form.
pub const FORMS: [&str; 5] = ["raw", "base64", "hex", "percent", "json"];

/// Indexes into [`FORMS`].
pub(crate) mod form {
    pub(crate) const RAW: u32 = 0;
    pub(crate) const BASE64: u32 = 1;
    pub(crate) const HEX: u32 = 2;
    pub(crate) const PERCENT: u32 = 3;
    pub(crate) const JSON: u32 = 4;
}

/// Bytes of all secrets together. Each costs 24 bytes in the automaton, so this is 384 MiB of linear memory.
const SECRETS_MAX_BYTES: usize = 16 << 20;

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
            Self::TooLong => write!(f, "the secrets have more than {SECRETS_MAX_BYTES} bytes"),
        }
    }
}

impl std::error::Error for StartError {}

/// Searches both channels of one command. Holds the secrets: not printable, not cloneable.
pub struct Sanitizer {
    automaton: Automaton,
    found: Found,
    channels: [Stream; 2],
}

impl Sanitizer {
    /// Prepares the search for `secrets`. Of equal values the first is the one that is found.
    pub fn start(secrets: &[Secret<'_>]) -> Result<Self, StartError> {
        let values: Vec<&[u8]> = secrets.iter().map(|secret| secret.value).collect();
        if let Some(index) = values.iter().position(|value| value.is_empty()) {
            return Err(StartError::Empty(index));
        }
        if values.iter().map(|value| value.len()).sum::<usize>() > SECRETS_MAX_BYTES {
            return Err(StartError::TooLong);
        }
        Ok(Self {
            automaton: Automaton::new(&values),
            found: Found::new(values.len()),
            channels: [Stream::new(&values), Stream::new(&values)],
        })
    }

    /// Takes the next bytes of a channel.
    pub fn push(&mut self, channel: Channel, chunk: &[u8]) -> Verdict {
        let stream = &mut self.channels[channel as usize];
        stream.push(&self.automaton, chunk, &mut self.found);
        let settled = stream.settle(&self.automaton);
        Verdict {
            hide: self.found.take(),
            settled,
        }
    }

    /// Takes the end of a channel; all of it is settled then. Nothing is pushed to it any more.
    pub fn finish(&mut self, channel: Channel) -> Verdict {
        let stream = &mut self.channels[channel as usize];
        stream.finish(&self.automaton, &mut self.found);
        Verdict {
            hide: self.found.take(),
            settled: stream.end,
        }
    }
}

/// One channel: its views, and how far it is.
struct Stream {
    raw: State,
    digits: Vec<Digits>,
    escapes: Vec<Escapes>,
    /// Bytes pushed so far.
    end: u64,
    settled: u64,
}

impl Stream {
    fn new(values: &[&[u8]]) -> Self {
        let mut encoded = values
            .iter()
            .filter(|value| value.len() >= ENCODED_MIN_BYTES)
            .peekable();
        let (mut digits, mut escapes) = (Vec::new(), Vec::new());
        if encoded.peek().is_some() {
            digits.extend([Digits::base64(), Digits::hex()]);
            escapes.extend([Escapes::percent(), Escapes::json()]);
        }
        if encoded.any(|value| value.contains(&b' ')) {
            escapes.push(Escapes::percent_plus());
        }
        Self {
            raw: ROOT,
            digits,
            escapes,
            end: 0,
            settled: 0,
        }
    }

    fn push(&mut self, automaton: &Automaton, chunk: &[u8], found: &mut Found) {
        for &byte in chunk {
            self.step(automaton, byte, found);
        }
    }

    fn step(&mut self, automaton: &Automaton, byte: u8, found: &mut Found) {
        let at = self.end;
        self.end += 1;
        self.raw = automaton.next(self.raw, byte);
        if let Some(hit) = automaton.hit(self.raw) {
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
    }

    /// Offset in front of which no later match of any view starts.
    fn settle(&mut self, automaton: &Automaton) -> u64 {
        let raw = self.end - u64::from(automaton.live(self.raw));
        let digits = self
            .digits
            .iter()
            .filter_map(|view| view.live(automaton, self.end));
        let escapes = self
            .escapes
            .iter()
            .filter_map(|view| view.live(automaton, self.end));
        let live = digits.chain(escapes).fold(raw, u64::min);
        self.settled = self.settled.max(live);
        self.settled
    }
}

/// What was found since the last verdict.
pub(crate) struct Found {
    ranges: Vec<Range>,
    /// For each subject and form, one more than the index of its last range in `ranges`; 0 for none.
    last: Vec<usize>,
}

impl Found {
    fn new(subjects: usize) -> Self {
        Self {
            ranges: Vec::new(),
            last: vec![0; subjects * FORMS.len()],
        }
    }

    /// A secret that ends at offset `end`.
    #[inline]
    pub(crate) fn raw(&mut self, hit: Hit, end: u64) {
        self.add(Range {
            start: end - u64::from(hit.len),
            end,
            subject: hit.subject,
            form: form::RAW,
        });
    }

    /// A secret in an encoded form. Short ones come about by chance, and are dropped.
    #[inline]
    pub(crate) fn encoded(&mut self, hit: Hit, start: u64, end: u64, form: u32) {
        if hit.len as usize >= ENCODED_MIN_BYTES {
            self.add(Range {
                start,
                end,
                subject: hit.subject,
                form,
            });
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
