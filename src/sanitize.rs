//! Output with everything hidden that must not be seen, and the proof of it.
//!
//! A [`Finder`] (a Wasm module, see [`crate::wasm`]) says which bytes to hide and how far a stream is settled; the rewriting is done
//! here. [`Sanitized`] is the proof: nothing else makes one, and the agent door can show nothing else.
//!
//! The result does not depend on how the output was cut into writes: a byte is shown only when no later range can begin
//! before it and every range that covers it is known to its end.

#![forbid(unsafe_code)]

mod held;

use std::collections::BTreeMap;

use self::held::Held;

/// Longest marker name, in bytes: the longest name of a secret.
const SUBJECT_MAX_BYTES: usize = 256;
/// Longest name of a form, in bytes.
const FORM_MAX_BYTES: usize = 32;

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
#[error("the output is withheld, since the sanitizer gave no usable answer: {reason}")]
pub struct Withheld {
    reason: String,
}

impl Withheld {
    /// States what the sanitizer did.
    pub fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }
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
pub struct Sanitized(Vec<u8>);

impl Sanitized {
    /// The bytes, free to be shown to anyone.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
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

/// Rewrites the two streams of one command by what a finder answers.
pub struct Sanitizer<F> {
    finder: F,
    stdout: Stream,
    stderr: Stream,
    hidden: BTreeMap<(u32, u32), u64>,
}

impl<F: Finder> Sanitizer<F> {
    /// Starts with two empty streams.
    pub fn new(finder: F) -> Self {
        Self {
            finder,
            stdout: Stream::default(),
            stderr: Stream::default(),
            hidden: BTreeMap::new(),
        }
    }

    /// Takes the next bytes of a channel and gives what of it can be shown by now.
    pub fn push(&mut self, channel: Channel, chunk: &[u8]) -> Result<Sanitized, Withheld> {
        let verdict = self.finder.push(channel, chunk)?;
        self.stream(channel).take(chunk, verdict)?;
        Ok(self.release(channel))
    }

    /// Ends a channel and gives the rest of it.
    pub fn finish(&mut self, channel: Channel) -> Result<Sanitized, Withheld> {
        let verdict = self.finder.finish(channel)?;
        let stream = self.stream(channel);
        stream.take(&[], verdict)?;
        if stream.settled != stream.pushed() {
            return Err(Withheld::because("it left the end of the output unsettled"));
        }
        Ok(self.release(channel))
    }

    /// What has been hidden so far, by subject and form.
    pub fn redactions(&self) -> Vec<Redaction> {
        let legend = self.finder.legend();
        let name =
            |names: &[String], index: u32| names.get(index as usize).cloned().unwrap_or_default();
        let mut redactions: Vec<Redaction> = (self.hidden.iter())
            .map(|(&(subject, form), &count)| Redaction {
                key: name(&legend.subjects, subject),
                form: name(&legend.forms, form),
                count,
            })
            .collect();
        redactions.sort();
        redactions
    }

    fn stream(&mut self, channel: Channel) -> &mut Stream {
        match channel {
            Channel::Stdout => &mut self.stdout,
            Channel::Stderr => &mut self.stderr,
        }
    }

    fn release(&mut self, channel: Channel) -> Sanitized {
        let stream = match channel {
            Channel::Stdout => &mut self.stdout,
            Channel::Stderr => &mut self.stderr,
        };
        stream.release(self.finder.legend(), &mut self.hidden)
    }
}

/// One stream: the bytes that are not shown yet, and the ranges that lie in them.
#[derive(Default)]
struct Stream {
    held: Held,
    /// Offset of the first held byte.
    shown: u64,
    /// Sorted by start, then subject, then form.
    ranges: Vec<Range>,
    settled: u64,
}

impl Stream {
    fn pushed(&self) -> u64 {
        self.shown + self.held.len() as u64
    }

    /// Adds bytes and what a finder said of them. A verdict that makes no sense is refused.
    fn take(&mut self, chunk: &[u8], verdict: Verdict) -> Result<(), Withheld> {
        self.held.push(chunk);
        let pushed = self.pushed();
        if verdict.settled < self.settled || verdict.settled > pushed {
            return Err(Withheld::because(
                "it settled bytes that it cannot have seen",
            ));
        }
        let sound = |range: &Range| {
            range.start >= self.settled && range.start < range.end && range.end <= pushed
        };
        if !verdict.hide.iter().all(sound) {
            return Err(Withheld::because(
                "it answered a range outside of the output",
            ));
        }
        self.settled = verdict.settled;
        if !verdict.hide.is_empty() {
            self.ranges.extend(verdict.hide);
            self.ranges
                .sort_by_key(|range| (range.start, range.subject, range.form));
        }
        Ok(())
    }

    /// Gives everything that can be shown: overlapping ranges united into one marker, those that only touch kept apart.
    fn release(&mut self, legend: &Legend, hidden: &mut BTreeMap<(u32, u32), u64>) -> Sanitized {
        let mut out = Vec::with_capacity(self.held.len());
        let mut done = self.shown;
        let mut ranges = std::mem::take(&mut self.ranges).into_iter().peekable();
        let mut unfinished = Vec::new();
        while let Some(first) = ranges.next() {
            let mut parts = vec![first];
            let mut end = first.end;
            while let Some(next) = ranges.next_if(|next| next.start < end) {
                end = end.max(next.end);
                parts.push(next);
            }
            if end > self.settled {
                unfinished.extend(parts);
                unfinished.extend(ranges);
                break;
            }
            out.extend_from_slice(self.bytes(done, first.start));
            out.extend_from_slice(marker(legend, first.subject).as_bytes());
            *hidden.entry((first.subject, first.form)).or_default() += 1;
            done = end;
        }
        let limit = unfinished
            .first()
            .map_or(self.settled, |range: &Range| range.start.min(self.settled));
        if done < limit {
            out.extend_from_slice(self.bytes(done, limit));
            done = limit;
        }
        self.held.forget((done - self.shown) as usize);
        self.shown = done;
        self.ranges = unfinished;
        Sanitized(out)
    }

    /// The held bytes between two offsets.
    fn bytes(&self, start: u64, end: u64) -> &[u8] {
        let index = |offset: u64| (offset - self.shown) as usize;
        &self.held[index(start)..index(end)]
    }
}

fn marker(legend: &Legend, subject: u32) -> String {
    let name = legend
        .subjects
        .get(subject as usize)
        .map_or("?", String::as_str);
    format!("[REDACTED:{name}]")
}

/// The head and the tail of a stream that may be too long to be kept.
///
/// Sanitized bytes are cut, never raw ones: a secret across the cut is a marker by then.
#[derive(Debug)]
pub struct Capped {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    omitted: u64,
    head_max_bytes: usize,
    tail_max_bytes: usize,
}

impl Capped {
    /// Keeps at most `max_bytes`, half of them from the end.
    pub fn new(max_bytes: usize) -> Self {
        let tail_max_bytes = max_bytes / 2;
        Self {
            head: Vec::new(),
            tail: std::collections::VecDeque::new(),
            omitted: 0,
            head_max_bytes: max_bytes - tail_max_bytes,
            tail_max_bytes,
        }
    }

    /// Adds to the end.
    pub fn push(&mut self, output: &Sanitized) {
        let bytes = output.as_bytes();
        let room = (self.head_max_bytes - self.head.len()).min(bytes.len());
        let (to_head, to_tail) = bytes.split_at(room);
        self.head.extend_from_slice(to_head);
        // Of a piece longer than the tail, only its end can stay.
        let (skipped, kept) = to_tail.split_at(to_tail.len().saturating_sub(self.tail_max_bytes));
        self.tail.extend(kept);
        let surplus = self.tail.len().saturating_sub(self.tail_max_bytes);
        self.tail.drain(..surplus);
        self.omitted += (skipped.len() + surplus) as u64;
    }

    /// Bytes that were left out.
    pub fn omitted(&self) -> u64 {
        self.omitted
    }

    /// The text: bytes that are not UTF-8 become U+FFFD, and a line in between says how much was left out.
    pub fn into_text(self) -> String {
        let tail: Vec<u8> = self.tail.into();
        if self.omitted == 0 {
            let mut whole = self.head;
            whole.extend(tail);
            return String::from_utf8_lossy(&whole).into_owned();
        }
        let (head, tail) = (
            String::from_utf8_lossy(&self.head),
            String::from_utf8_lossy(&tail),
        );
        format!("{head}\n[{} bytes left out]\n{tail}", self.omitted)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A finder that plays back fixed ranges: each is known when its last byte arrives.
    struct Fixed {
        legend: Legend,
        ranges: Vec<Range>,
        pushed: u64,
        told: usize,
    }

    impl Fixed {
        fn new(ranges: &[(u64, u64, u32)]) -> Self {
            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let legend =
                Legend::new(names(&["A", "B", "C"]), names(&["raw"])).expect("valid names");
            let range = |&(start, end, subject)| Range {
                start,
                end,
                subject,
                form: 0,
            };
            let mut ranges: Vec<Range> = ranges.iter().map(range).collect();
            ranges.sort_by_key(|range| range.end);
            Self {
                legend,
                ranges,
                pushed: 0,
                told: 0,
            }
        }

        fn answer(&mut self, ended: bool) -> Verdict {
            let known = self.ranges[self.told..]
                .iter()
                .take_while(|range| range.end <= self.pushed)
                .count();
            let hide = self.ranges[self.told..self.told + known].to_vec();
            self.told += known;
            let open = |range: &&Range| range.start < self.pushed;
            let settled = self.ranges[self.told..]
                .iter()
                .filter(open)
                .map(|range| range.start)
                .min();
            Verdict {
                hide,
                settled: if ended {
                    self.pushed
                } else {
                    settled.unwrap_or(self.pushed)
                },
            }
        }
    }

    impl Finder for Fixed {
        fn legend(&self) -> &Legend {
            &self.legend
        }

        fn push(&mut self, _: Channel, chunk: &[u8]) -> Result<Verdict, Withheld> {
            self.pushed += chunk.len() as u64;
            Ok(self.answer(false))
        }

        fn finish(&mut self, _: Channel) -> Result<Verdict, Withheld> {
            Ok(self.answer(true))
        }
    }

    fn rewrite(text: &[u8], ranges: &[(u64, u64, u32)], cuts: &[usize]) -> Vec<u8> {
        let mut sanitizer = Sanitizer::new(Fixed::new(ranges));
        let mut out = Vec::new();
        let mut start = 0;
        for &cut in cuts.iter().chain([&text.len()]) {
            let cut = cut.clamp(start, text.len());
            let shown = sanitizer
                .push(Channel::Stdout, &text[start..cut])
                .expect("sound verdicts");
            out.extend_from_slice(shown.as_bytes());
            start = cut;
        }
        out.extend_from_slice(
            sanitizer
                .finish(Channel::Stdout)
                .expect("sound verdicts")
                .as_bytes(),
        );
        out
    }

    #[test]
    fn overlapping_ranges_become_one_marker_and_touching_ones_two() {
        let shown = rewrite(
            b"..aaaabb..ccdd.",
            &[(2, 6, 0), (4, 8, 1), (10, 12, 2), (12, 14, 0)],
            &[],
        );
        assert_eq!(shown, b"..[REDACTED:A]..[REDACTED:C][REDACTED:A].");
    }

    #[test]
    fn nothing_is_shown_before_it_is_settled() {
        let mut sanitizer = Sanitizer::new(Fixed::new(&[(3, 9, 0)]));
        let mut push = |bytes: &[u8]| {
            sanitizer
                .push(Channel::Stdout, bytes)
                .expect("a sound verdict")
                .0
        };
        assert_eq!(push(b"ab"), b"ab");
        assert_eq!(push(b"csec"), b"c");
        assert_eq!(push(b"ret"), b"[REDACTED:A]");
        assert_eq!(push(b"!"), b"!");
    }

    #[test]
    fn redactions_are_counted() {
        let mut sanitizer = Sanitizer::new(Fixed::new(&[(0, 1, 1), (2, 3, 0), (4, 5, 1)]));
        sanitizer
            .push(Channel::Stderr, b"x.y.z")
            .expect("a sound verdict");
        let counted = |key: &str, count| Redaction {
            key: key.to_owned(),
            form: "raw".to_owned(),
            count,
        };
        assert_eq!(sanitizer.redactions(), [counted("A", 1), counted("B", 2)]);
    }

    #[test]
    fn a_verdict_that_makes_no_sense_is_refused() {
        let range = |start, end| Range {
            start,
            end,
            subject: 0,
            form: 0,
        };
        let lies = [
            Verdict {
                hide: vec![],
                settled: 5,
            },
            Verdict {
                hide: vec![range(0, 5)],
                settled: 0,
            },
            Verdict {
                hide: vec![range(2, 2)],
                settled: 0,
            },
            Verdict {
                hide: vec![range(3, 1)],
                settled: 0,
            },
        ];
        for lie in lies {
            assert!(
                Stream::default().take(b"four", lie.clone()).is_err(),
                "{lie:?}"
            );
        }
        let mut stream = Stream::default();
        stream
            .take(
                b"four",
                Verdict {
                    hide: vec![],
                    settled: 4,
                },
            )
            .expect("sound");
        assert!(
            stream
                .take(
                    b"",
                    Verdict {
                        hide: vec![],
                        settled: 3
                    }
                )
                .is_err()
        );
        assert!(
            stream
                .take(
                    b"five",
                    Verdict {
                        hide: vec![range(3, 6)],
                        settled: 4
                    }
                )
                .is_err()
        );
    }

    #[test]
    fn a_name_that_cannot_stand_in_a_marker_is_refused() {
        assert!(Legend::new(vec!["]\n".to_owned()], vec![]).is_err());
        assert!(Legend::new(vec![String::new()], vec![]).is_err());
        assert!(Legend::new(vec!["ok".to_owned()], vec!["x".repeat(33)]).is_err());
    }

    #[test]
    fn the_head_and_the_tail_of_long_output_are_kept() {
        let mut capped = Capped::new(8);
        for piece in [b"abc".as_slice(), b"defghi", b"jklmnopqrs", b"tu"] {
            capped.push(&Sanitized(piece.to_vec()));
        }
        assert_eq!(capped.omitted(), 13);
        assert_eq!(capped.into_text(), "abcd\n[13 bytes left out]\nrstu");
        let mut short = Capped::new(8);
        short.push(&Sanitized(b"12345678".to_vec()));
        assert_eq!(short.into_text(), "12345678");
    }

    proptest! {
        #[test]
        fn cutting_does_not_matter(
            text in proptest::collection::vec(any::<u8>(), 0..60),
            ranges in proptest::collection::vec((0u64..60, 1u64..20, 0u32..3), 0..8),
            mut cuts in proptest::collection::vec(0usize..60, 0..12),
        ) {
            let length = text.len() as u64;
            let ranges: Vec<_> = ranges.into_iter()
                .map(|(start, len, subject)| (start, start + len, subject))
                .filter(|&(_, end, _)| end <= length)
                .collect();
            cuts.sort_unstable();
            prop_assert_eq!(rewrite(&text, &ranges, &cuts), rewrite(&text, &ranges, &[]));
        }
    }
}
