//! What all tests of the engine do with it.

use std::collections::BTreeSet;

use default_sanitizer::{Channel, Range, Sanitizer};
use proptest::prelude::*;
use proptest::sample::Index;

/// Runs `chunks` through a channel; checks what holds for every verdict; gives all ranges, united by subject and form.
pub(crate) fn run(mut sanitizer: Sanitizer, chunks: &[&[u8]]) -> Vec<Range> {
    let (mut all, mut settled, mut pushed) = (Vec::new(), 0, 0);
    for index in 0..=chunks.len() {
        let verdict = match chunks.get(index) {
            Some(chunk) => {
                pushed += chunk.len() as u64;
                sanitizer.push(Channel::Stdout, chunk)
            }
            None => sanitizer.finish(Channel::Stdout),
        };
        assert!(verdict.hide.is_sorted());
        for range in &verdict.hide {
            assert!(settled <= range.start && range.start < range.end && range.end <= pushed);
        }
        assert!(settled <= verdict.settled && verdict.settled <= pushed);
        settled = verdict.settled;
        all.extend(verdict.hide);
    }
    assert_eq!(settled, pushed, "the end settles everything");
    united(all)
}

/// The ranges of each subject and form, those that overlap as one.
pub(crate) fn united(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_by_key(|range| (range.subject, range.form, range.start));
    let mut united: Vec<Range> = Vec::new();
    for range in ranges {
        match united.last_mut() {
            Some(last)
                if (last.subject, last.form) == (range.subject, range.form)
                    && range.start < last.end =>
            {
                last.end = last.end.max(range.end);
            }
            _ => united.push(range),
        }
    }
    united
}

/// Every byte that is hidden, by form.
pub(crate) fn hidden(ranges: &[Range]) -> BTreeSet<(u32, u64)> {
    ranges
        .iter()
        .flat_map(|range| (range.start..range.end).map(|byte| (range.form, byte)))
        .collect()
}

pub(crate) fn cut<'a>(text: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    ends.extend([0, text.len()]);
    ends.sort_unstable();
    ends.windows(2)
        .map(|ends| &text[ends[0]..ends[1]])
        .collect()
}

pub(crate) fn cuts() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..8)
}
