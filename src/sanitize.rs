//! Output with everything hidden that must not be seen, and the proof of it.
//!
//! A [`Finder`] (a Wasm module, see [`crate::wasm`]) says which bytes to hide and how far a stream is settled; the rewriting is done
//! here. [`Sanitized`] is the proof: nothing else makes one, and the agent door can show nothing else.
//!
//! The result does not depend on how the output was cut into writes: a byte is shown only when no later range can begin
//! before it and every range that covers it is known to its end.
//!
//! Several finders can work one behind the other. Each gets what the one before it let through, and none can take a marker of
//! an earlier one apart.

#![forbid(unsafe_code)]

mod capped;
mod held;
mod stream;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use self::capped::Capped;
use self::stream::Stream;

/// Longest marker name, in bytes: the longest name of a secret.
const SUBJECT_MAX_BYTES: usize = 256;
/// Longest name of a form, in bytes.
const FORM_MAX_BYTES: usize = 32;
/// Most bytes of one call of a finder behind another one: markers can make a short chunk a long one.
const PIECE_MAX_BYTES: usize = 64 * 1024;
/// Most bytes that a finder behind another one can hold back: all of a long output, and not all memory.
const HELD_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Most ranges of such a finder in what it holds back.
const RANGES_MAX: usize = 1024 * 1024;

/// One of a command's two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// Bytes to hide, as offsets in the whole stream of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset behind the last byte.
    pub end: u64,
    /// Index into the legend's subjects.
    pub subject: u32,
    /// Index into the legend's forms.
    pub form: u32,
}

/// A finder's answer to a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Ranges that became known.
    pub hide: Vec<Range>,
    /// Offset before which no later range starts.
    pub settled: u64,
}

/// What the numbers in ranges stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Legend {
    subjects: Vec<String>,
    forms: Vec<String>,
}

impl Legend {
    /// Takes the names a finder uses, if they can stand in a marker.
    pub fn new(subjects: Vec<String>, forms: Vec<String>) -> Result<Self, Withheld> {
        let printable = |name: &String, max: usize| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._/-".contains(&b);
            !name.is_empty() && name.len() <= max && name.bytes().all(allowed)
        };
        let valid = subjects
            .iter()
            .all(|name| printable(name, SUBJECT_MAX_BYTES))
            && forms.iter().all(|name| printable(name, FORM_MAX_BYTES));
        if valid {
            Ok(Self { subjects, forms })
        } else {
            Err(Withheld::because("its legend has an invalid name"))
        }
    }
}

/// Why output cannot be shown. It never contains any of that output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the output is withheld, since the sanitizer{} gave no usable answer: {reason}", of(.module.as_deref()))]
pub struct Withheld {
    module: Option<String>,
    reason: String,
}

impl Withheld {
    /// States what the sanitizer did.
    pub fn because(reason: impl Into<String>) -> Self {
        Self {
            module: None,
            reason: reason.into(),
        }
    }

    /// The custom module that it was; none for the built-in one.
    pub fn module(&self) -> Option<&str> {
        self.module.as_deref()
    }

    /// Says which module it was. Without a name, it is the built-in one.
    fn by(self, module: Option<&String>) -> Self {
        Self {
            module: module.cloned(),
            ..self
        }
    }
}

fn of(module: Option<&str>) -> String {
    module.map_or_else(String::new, |name| format!(" module {name}"))
}

/// Finds what must not be seen.
pub trait Finder {
    /// What the numbers in its ranges stand for.
    fn legend(&self) -> &Legend;
    /// Takes the next bytes of a channel.
    fn push(&mut self, channel: Channel, chunk: &[u8]) -> Result<Verdict, Withheld>;
    /// Takes the end of a channel.
    fn finish(&mut self, channel: Channel) -> Result<Verdict, Withheld>;
}

/// Bytes in which everything that must not be seen has been replaced by markers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sanitized {
    bytes: Vec<u8>,
    /// Where the markers are: text of a command that looks like one is none.
    markers: Vec<std::ops::Range<usize>>,
}

impl Sanitized {
    /// The bytes, free to be shown to anyone.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What was hidden: how often a subject stood in the output in one form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Redaction {
    /// The name in the marker.
    pub key: String,
    /// How it was written.
    pub form: String,
    /// Number of markers.
    pub count: u64,
}

/// Rewrites the two streams of one command by what finders answer, one behind the other.
pub struct Sanitizer<F> {
    first: Stage<F>,
    later: Vec<Stage<F>>,
}

impl<F: Finder> Sanitizer<F> {
    /// Starts with two empty streams and the finder that sees them as they are.
    pub fn new(finder: F) -> Self {
        Self {
            first: Stage::new(None, finder),
            later: Vec::new(),
        }
    }

    /// The first finder for two other streams, of which it has hidden nothing yet. Where it was given bytes of a channel it was given
    /// the end as well, behind which it begins anew.
    pub fn anew(self) -> Self {
        Self::new(self.first.finder)
    }

    /// Adds a finder that gets what all others have let through. Errors call it by `name`.
    #[must_use]
    pub fn then(mut self, name: impl Into<String>, finder: F) -> Self {
        self.later.push(Stage::new(Some(name.into()), finder));
        self
    }

    /// Takes the next bytes of a channel and gives what of it can be shown by now.
    pub fn push(&mut self, channel: Channel, chunk: &[u8]) -> Result<Sanitized, Withheld> {
        let mut shown = Sanitized::default();
        self.push_into(channel, chunk, &mut shown)?;
        Ok(shown)
    }

    /// As [`push`](Self::push), in the memory of what was shown before.
    pub fn push_into(
        &mut self,
        channel: Channel,
        chunk: &[u8],
        shown: &mut Sanitized,
    ) -> Result<(), Withheld> {
        shown.bytes.clear();
        shown.markers.clear();
        self.first.push(channel, chunk, shown)?;
        for stage in &mut self.later {
            *shown = stage.pass(channel, shown)?;
        }
        Ok(())
    }

    /// Ends a channel and gives the rest of it.
    pub fn finish(&mut self, channel: Channel) -> Result<Sanitized, Withheld> {
        let mut shown = Sanitized::default();
        self.first.finish(channel, &mut shown)?;
        for stage in &mut self.later {
            shown = stage.pass(channel, &shown)?;
            stage.finish(channel, &mut shown)?;
        }
        Ok(shown)
    }

    /// What has been hidden so far, by subject and form.
    pub fn redactions(&self) -> Vec<Redaction> {
        let mut counts = BTreeMap::new();
        for stage in std::iter::once(&self.first).chain(&self.later) {
            for (key, form, count) in stage.hidden() {
                *counts.entry((key, form)).or_default() += count;
            }
        }
        let redaction = |((key, form), count)| Redaction { key, form, count };
        counts.into_iter().map(redaction).collect()
    }
}

/// A finder with the two streams that it sees.
struct Stage<F> {
    name: Option<String>,
    finder: F,
    stdout: Stream,
    stderr: Stream,
    hidden: BTreeMap<(u32, u32), u64>,
}

impl<F: Finder> Stage<F> {
    fn new(name: Option<String>, finder: F) -> Self {
        Self {
            name,
            finder,
            stdout: Stream::default(),
            stderr: Stream::default(),
            hidden: BTreeMap::new(),
        }
    }

    /// Takes what the stage before has let through.
    fn pass(&mut self, channel: Channel, input: &Sanitized) -> Result<Sanitized, Withheld> {
        self.stream(channel).announce(&input.markers);
        let mut shown = Sanitized::default();
        for piece in input.bytes.chunks(PIECE_MAX_BYTES) {
            self.push(channel, piece, &mut shown)?;
            let (held, ranges) = self.stream(channel).waiting();
            if held > HELD_MAX_BYTES || ranges > RANGES_MAX {
                let error = Withheld::because("it holds back more than 16 MiB or a million ranges");
                return Err(error.by(self.name.as_ref()));
            }
        }
        Ok(shown)
    }

    fn push(
        &mut self,
        channel: Channel,
        chunk: &[u8],
        shown: &mut Sanitized,
    ) -> Result<(), Withheld> {
        let verdict = self
            .finder
            .push(channel, chunk)
            .and_then(|verdict| self.known(verdict));
        let verdict = verdict.map_err(|error| error.by(self.name.as_ref()))?;
        if self.stream(channel).show_at_once(chunk, &verdict, shown) {
            return Ok(());
        }
        let taken = self.stream(channel).take(chunk, verdict);
        taken.map_err(|error| error.by(self.name.as_ref()))?;
        self.release(channel, shown);
        Ok(())
    }

    fn finish(&mut self, channel: Channel, shown: &mut Sanitized) -> Result<(), Withheld> {
        let verdict = self
            .finder
            .finish(channel)
            .and_then(|verdict| self.known(verdict));
        let ended = verdict.and_then(|verdict| self.stream(channel).end(verdict));
        ended.map_err(|error| error.by(self.name.as_ref()))?;
        self.release(channel, shown);
        Ok(())
    }

    /// The verdict, if its numbers stand for something.
    fn known(&self, verdict: Verdict) -> Result<Verdict, Withheld> {
        let Legend { subjects, forms } = self.finder.legend();
        let is_known = |range: &Range| {
            (range.subject as usize) < subjects.len() && (range.form as usize) < forms.len()
        };
        if verdict.hide.iter().all(is_known) {
            Ok(verdict)
        } else {
            Err(Withheld::because(
                "it answered a range of a subject or a form that its legend does not have",
            ))
        }
    }

    fn stream(&mut self, channel: Channel) -> &mut Stream {
        match channel {
            Channel::Stdout => &mut self.stdout,
            Channel::Stderr => &mut self.stderr,
        }
    }

    fn release(&mut self, channel: Channel, shown: &mut Sanitized) {
        let stream = match channel {
            Channel::Stdout => &mut self.stdout,
            Channel::Stderr => &mut self.stderr,
        };
        stream.release(self.finder.legend(), &mut self.hidden, shown);
    }

    fn hidden(&self) -> impl Iterator<Item = (String, String, u64)> {
        let legend = self.finder.legend();
        let name =
            |names: &[String], index: u32| names.get(index as usize).cloned().unwrap_or_default();
        self.hidden.iter().map(move |(&(subject, form), &count)| {
            let (key, form) = (name(&legend.subjects, subject), name(&legend.forms, form));
            (key, form, count)
        })
    }
}
