//! One stream of output on its way through one finder.

use std::collections::BTreeMap;

use super::held::Held;
use super::{Legend, Range, Sanitized, Verdict, Withheld};

/// Bytes of a stream, by their offsets in the whole of it.
type Span = std::ops::Range<u64>;

/// The bytes that are not shown yet, the ranges that lie in them, and the markers of earlier finders.
#[derive(Default)]
pub(super) struct Stream {
    held: Held,
    /// Offset of the first held byte. Never within a marker.
    shown: u64,
    /// Sorted by start, then subject, then form. None ends within a marker or begins there.
    ranges: Vec<Range>,
    /// Sorted. The last ones may lie in bytes that are still to come.
    markers: Vec<Span>,
    settled: u64,
}

impl Stream {
    fn pushed(&self) -> u64 {
        self.shown + self.held.len() as u64
    }

    /// How many bytes and ranges are not shown yet.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.held.len(), self.ranges.len())
    }

    /// Takes the places of markers in what is pushed next.
    pub(super) fn announce(&mut self, markers: &[std::ops::Range<usize>]) {
        let offset = self.pushed();
        let marker = |at: &std::ops::Range<usize>| offset + at.start as u64..offset + at.end as u64;
        self.markers.extend(markers.iter().map(marker));
    }

    /// As `take` and then `release`, where that is no more than a copy: nothing is held back, and nothing is to be hidden. Says
    /// whether it was.
    pub(super) fn show_at_once(
        &mut self,
        chunk: &[u8],
        verdict: &Verdict,
        out: &mut Sanitized,
    ) -> bool {
        let pushed = self.pushed() + chunk.len() as u64;
        let simple = self.held.is_empty() && self.markers.is_empty() && verdict.hide.is_empty();
        if !simple || verdict.settled < self.shown || verdict.settled > pushed {
            return false;
        }
        let (shown, held) = chunk.split_at((verdict.settled - self.shown) as usize);
        out.bytes.extend_from_slice(shown);
        self.held.push(held);
        self.shown = verdict.settled;
        self.settled = verdict.settled;
        true
    }

    /// Adds bytes and what a finder said of them. A verdict that makes no sense is refused.
    pub(super) fn take(&mut self, chunk: &[u8], verdict: Verdict) -> Result<(), Withheld> {
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
            let hide = verdict.hide.into_iter();
            let markers = &self.markers;
            self.ranges
                .extend(hide.filter_map(|range| beside(markers, range)));
            self.ranges
                .sort_by_key(|range| (range.start, range.subject, range.form));
        }
        Ok(())
    }

    /// Takes the last verdict.
    pub(super) fn end(&mut self, verdict: Verdict) -> Result<(), Withheld> {
        self.take(&[], verdict)?;
        if self.settled == self.pushed() {
            Ok(())
        } else {
            Err(Withheld::because("it left the end of the output unsettled"))
        }
    }

    /// Gives everything that can be shown: overlapping ranges united into one marker, those that only touch kept apart.
    pub(super) fn release(
        &mut self,
        legend: &Legend,
        hidden: &mut BTreeMap<(u32, u32), u64>,
        out: &mut Sanitized,
    ) {
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
            self.copy(done..first.start, out);
            let start = out.bytes.len();
            out.bytes
                .extend_from_slice(marker(legend, first.subject).as_bytes());
            out.markers.push(start..out.bytes.len());
            *hidden.entry((first.subject, first.form)).or_default() += 1;
            done = end;
        }
        let limit = self.outside_of_markers(
            unfinished
                .first()
                .map_or(self.settled, |range: &Range| range.start.min(self.settled)),
        );
        if done < limit {
            self.copy(done..limit, out);
            done = limit;
        }
        self.held.forget((done - self.shown) as usize);
        self.shown = done;
        self.ranges = unfinished;
        let over = self.markers.partition_point(|marker| marker.end <= done);
        self.markers.drain(..over);
    }

    /// Shows held bytes, with the markers in them.
    fn copy(&self, span: Span, out: &mut Sanitized) {
        let index = |offset: u64| (offset - self.shown) as usize;
        let place = |offset: u64| (offset - span.start) as usize + out.bytes.len();
        let first = self
            .markers
            .partition_point(|marker| marker.end <= span.start);
        let inside = self.markers[first..]
            .iter()
            .take_while(|marker| marker.end <= span.end);
        out.markers
            .extend(inside.map(|marker| place(marker.start)..place(marker.end)));
        out.bytes
            .extend_from_slice(&self.held[index(span.start)..index(span.end)]);
    }

    /// The offset, or the beginning of the marker around it: a later range there covers the whole marker.
    fn outside_of_markers(&self, offset: u64) -> u64 {
        let next = self.markers.partition_point(|marker| marker.end <= offset);
        self.markers
            .get(next)
            .map_or(offset, |marker| marker.start.min(offset))
    }
}

/// A range that takes no marker apart: it covers a whole one or nothing of it. One within a marker would hide nothing that the
/// command wrote, and is left out.
fn beside(markers: &[Span], range: Range) -> Option<Range> {
    let first = markers.partition_point(|marker| marker.end <= range.start);
    let behind = markers.partition_point(|marker| marker.start < range.end);
    let Some(touched) = markers.get(first..behind) else {
        return Some(range);
    };
    let (Some(head), Some(tail)) = (touched.first(), touched.last()) else {
        return Some(range);
    };
    if head.start <= range.start && range.end <= head.end {
        return None;
    }
    Some(Range {
        start: range.start.min(head.start),
        end: range.end.max(tail.end),
        ..range
    })
}

fn marker(legend: &Legend, subject: u32) -> String {
    let name = legend
        .subjects
        .get(subject as usize)
        .map_or("?", String::as_str);
    format!("[REDACTED:{name}]")
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
