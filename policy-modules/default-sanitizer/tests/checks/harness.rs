//! What all tests of the engine do with it.

use std::cell::Cell;
use std::collections::BTreeSet;

use default_sanitizer::{Channel, Range, Sanitizer};

thread_local! {
    static CASES: Cell<u64> = const { Cell::new(0) };
}

/// How many cases this thread, and so this test, has had since the last call.
pub(crate) fn take_cases() -> u64 {
    CASES.take()
}

pub(crate) fn count_case() {
    CASES.set(CASES.get() + 1);
}

/// What is found in `text`, of which the same is hidden however it is cut. It counts as a case.
#[track_caller]
pub(crate) fn find(start: impl Fn() -> Sanitizer, text: &[u8], cuts: &[u16]) -> Vec<Range> {
    let shown = String::from_utf8_lossy(text);
    let whole = run(start(), &[text]);
    let same = |ranges: &[Range], how: &str| {
        assert_eq!(ranges, whole, "{how}: {shown:?}");
    };
    same(&run(start(), &cut(text, cuts)), "cut");
    let bytes: Vec<_> = text.chunks(1).collect();
    same(&run(start(), &bytes), "byte by byte");
    count_case();
    whole
}

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

fn cut<'a>(text: &'a [u8], cuts: &[u16]) -> Vec<&'a [u8]> {
    let place = |cut: &u16| usize::from(*cut) % (text.len() + 1);
    let mut ends: Vec<_> = cuts.iter().map(place).collect();
    ends.extend([0, text.len()]);
    ends.sort_unstable();
    ends.windows(2)
        .map(|ends| &text[ends[0]..ends[1]])
        .collect()
}
