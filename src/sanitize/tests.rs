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
        let legend = Legend::new(names(&["A", "B", "C"]), names(&["raw"])).expect("valid names");
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
    pass(&mut Sanitizer::new(Fixed::new(ranges)), text, cuts)
}

/// With a second finder, whose ranges are places in what the first one lets through.
fn rewrite_twice(
    text: &[u8],
    ranges: [&[(u64, u64, u32)]; 2],
    cuts: &[usize],
) -> (Vec<u8>, Vec<Redaction>) {
    let [first, second] = ranges.map(Fixed::new);
    let mut sanitizer = Sanitizer::new(first).then("second", second);
    let out = pass(&mut sanitizer, text, cuts);
    (out, sanitizer.redactions())
}

fn pass(sanitizer: &mut Sanitizer<Fixed>, text: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().chain([&text.len()]) {
        let cut = cut.clamp(start, text.len());
        let shown = sanitizer.push(Channel::Stdout, &text[start..cut]);
        out.extend_from_slice(shown.expect("sound verdicts").as_bytes());
        start = cut;
    }
    let rest = sanitizer.finish(Channel::Stdout).expect("sound verdicts");
    out.extend_from_slice(rest.as_bytes());
    out
}

#[test]
fn a_later_finder_takes_no_marker_apart() {
    // The first finder makes "ab[REDACTED:A]cd".
    let twice = |second: (u64, u64, u32)| {
        let (shown, _) = rewrite_twice(b"ab..cd", [&[(2, 4, 0)], &[second]], &[]);
        String::from_utf8(shown).expect("text")
    };
    let whole = "ab[REDACTED:A]cd";
    assert_eq!(twice((0, 2, 1)), "[REDACTED:B][REDACTED:A]cd");
    assert_eq!(twice((14, 16, 1)), "ab[REDACTED:A][REDACTED:B]");
    assert_eq!(
        twice((2, 14, 1)),
        whole,
        "nothing of the command's is hidden"
    );
    assert_eq!(twice((5, 9, 1)), whole);
    assert_eq!(twice((1, 3, 1)), "a[REDACTED:B]cd");
    assert_eq!(twice((13, 15, 1)), "ab[REDACTED:B]d");
    assert_eq!(twice((0, 16, 1)), "[REDACTED:B]");
}

#[test]
fn a_marker_stays_whole_where_a_later_finder_gets_it_in_two_calls() {
    let text = vec![b'x'; PIECE_MAX_BYTES + 100];
    // The marker of the first finder begins six bytes before the end of the first call.
    let start = PIECE_MAX_BYTES as u64 - 6;
    let twice = |second: (u64, u64, u32)| {
        let (shown, _) = rewrite_twice(&text, [&[(start, start + 2, 0)], &[second]], &[]);
        let shown = String::from_utf8(shown).expect("text");
        let kept = shown.matches('x').count();
        (shown.replace('x', ""), text.len() - kept)
    };
    let marker_end = start + "[REDACTED:A]".len() as u64;
    let hidden = "[REDACTED:B]".to_owned();
    assert_eq!(twice((start - 5, start + 3, 1)), (hidden.clone(), 7));
    assert_eq!(twice((start - 5, start + 9, 1)), (hidden.clone(), 7));
    assert_eq!(twice((start + 1, marker_end + 5, 1)), (hidden.clone(), 7));
    assert_eq!(twice((start + 9, marker_end + 5, 1)), (hidden, 7));
    let marker = "[REDACTED:A]".to_owned();
    assert_eq!(twice((start + 2, start + 9, 1)), (marker.clone(), 2));
    let both = format!("{marker}[REDACTED:B]");
    assert_eq!(twice((marker_end, marker_end + 5, 1)), (both, 7));
}

#[test]
fn a_text_that_looks_like_a_marker_is_a_text() {
    let (shown, _) = rewrite_twice(b"[REDACTED:A]", [&[], &[(3, 5, 1)]], &[]);
    assert_eq!(shown, b"[RE[REDACTED:B]CTED:A]");
}

#[test]
fn redactions_of_all_finders_are_counted_together() {
    let (_, redactions) = rewrite_twice(b"x.y.z", [&[(0, 1, 1)], &[(13, 14, 1), (15, 16, 2)]], &[]);
    let counted: Vec<_> = redactions.iter().map(|r| (&*r.key, r.count)).collect();
    assert_eq!(counted, [("B", 2), ("C", 1)]);
}

/// Finds nothing, and settles all, nothing, or more than there is.
struct Odd {
    legend: Legend,
    pushed: u64,
    settle: fn(u64) -> u64,
}

impl Odd {
    fn new(settle: fn(u64) -> u64) -> Self {
        Self {
            legend: Legend::new(vec![], vec![]).expect("no names"),
            pushed: 0,
            settle,
        }
    }
}

impl Finder for Odd {
    fn legend(&self) -> &Legend {
        &self.legend
    }

    fn push(&mut self, channel: Channel, chunk: &[u8]) -> Result<Verdict, Withheld> {
        self.pushed += chunk.len() as u64;
        self.finish(channel)
    }

    fn finish(&mut self, _: Channel) -> Result<Verdict, Withheld> {
        Ok(Verdict {
            hide: Vec::new(),
            settled: (self.settle)(self.pushed),
        })
    }
}

#[test]
fn an_error_names_the_module() {
    let mut alone = Sanitizer::new(Odd::new(|pushed| pushed + 1));
    let error = alone.push(Channel::Stdout, b"x").expect_err("a lie");
    let built_in = "the output is withheld, since the sanitizer gave no usable answer: it settled bytes that it cannot have seen";
    assert_eq!(error.to_string(), built_in);
    let mut later = Sanitizer::new(Odd::new(|pushed| pushed))
        .then("a.wasm", Odd::new(|pushed| pushed))
        .then("b.wasm", Odd::new(|_| 0));
    assert_eq!(later.push(Channel::Stdout, b"x"), Ok(Sanitized::default()));
    let error = later.finish(Channel::Stdout).expect_err("unsettled");
    let named = "the output is withheld, since the sanitizer module b.wasm gave no usable answer: it left the end of the output unsettled";
    assert_eq!(error.to_string(), named);
}

#[test]
fn what_a_later_finder_holds_back_is_bounded() {
    let holding = Odd::new(|_| 0);
    let mut sanitizer = Sanitizer::new(Odd::new(|pushed| pushed)).then("a.wasm", holding);
    let most = vec![b'x'; HELD_MAX_BYTES];
    assert_eq!(
        sanitizer.push(Channel::Stdout, &most),
        Ok(Sanitized::default())
    );
    let error = sanitizer.push(Channel::Stdout, b"x").expect_err("too much");
    assert!(
        error
            .to_string()
            .contains("a.wasm gave no usable answer: it holds back"),
        "{error}"
    );
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
            .bytes
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
fn a_name_that_cannot_stand_in_a_marker_is_refused() {
    assert!(Legend::new(vec!["]\n".to_owned()], vec![]).is_err());
    assert!(Legend::new(vec![String::new()], vec![]).is_err());
    assert!(Legend::new(vec!["ok".to_owned()], vec!["x".repeat(33)]).is_err());
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

    #[test]
    fn cutting_does_not_matter_to_several_finders_and_markers_stay_whole(
        text in "[a-z]{0,60}",
        first in proptest::collection::vec((0u64..60, 1u64..20, 0u32..3), 0..5),
        second in proptest::collection::vec((0u64..150, 1u64..40, 0u32..3), 0..5),
        mut cuts in proptest::collection::vec(0usize..60, 0..12),
    ) {
        let within = |ranges: Vec<(u64, u64, u32)>, length: usize| -> Vec<_> {
            let ends = ranges.into_iter().map(|(start, len, subject)| (start, start + len, subject));
            ends.filter(|&(_, end, _)| end <= length as u64).collect()
        };
        let first = within(first, text.len());
        let second = within(second, rewrite(text.as_bytes(), &first, &[]).len());
        cuts.sort_unstable();
        let whole = rewrite_twice(text.as_bytes(), [&first, &second], &[]);
        prop_assert_eq!(&rewrite_twice(text.as_bytes(), [&first, &second], &cuts), &whole);
        let mut rest = String::from_utf8(whole.0).expect("text");
        for marker in ["[REDACTED:A]", "[REDACTED:B]", "[REDACTED:C]"] {
            rest = rest.replace(marker, "");
        }
        prop_assert!(rest.bytes().all(|byte| byte.is_ascii_lowercase()), "{rest}");
    }
}
