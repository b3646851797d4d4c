//! What is hidden and what is not, and that cutting does not matter.
#![allow(clippy::expect_used, reason = "tests")]

use hide_personal_data::{HELD_MAX_BYTES, Stream};
use proptest::prelude::*;
use scan::{Range, Stream as _};

/// The text with markers, as the host makes it; and how much was held back at most.
fn hide(text: &[u8], cuts: &[usize]) -> (String, u64) {
    let mut stream = Stream::default();
    let (mut ranges, mut settled, mut held, mut start) = (Vec::new(), 0, 0, 0);
    for end in cuts.iter().copied().chain([text.len()]) {
        let end = end.clamp(start, text.len());
        let (hide, now) = stream.push(&text[start..end], false);
        assert!(settled <= now && now <= end as u64, "settled in order");
        assert!(
            hide.iter()
                .all(|range| range.start >= settled && range.end <= end as u64)
        );
        ranges.extend(hide);
        (settled, start) = (now, end);
        held = held.max(end as u64 - settled);
    }
    let (hide, end) = stream.push(b"", true);
    assert_eq!(end, text.len() as u64);
    ranges.extend(hide);
    (rewrite(text, ranges), held)
}

fn rewrite(text: &[u8], mut ranges: Vec<Range>) -> String {
    ranges.sort_unstable();
    let (mut out, mut done) = (Vec::new(), 0);
    for range in ranges {
        let (start, end) = (range.start as usize, range.end as usize);
        if start >= done {
            out.extend_from_slice(&text[done..start]);
            out.extend_from_slice(
                format!("[{}]", Stream::SUBJECTS[range.subject as usize]).as_bytes(),
            );
        }
        done = done.max(end);
    }
    out.extend_from_slice(&text[done..]);
    String::from_utf8_lossy(&out).into_owned()
}

#[track_caller]
fn all(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(hide(text.as_bytes(), &[]).0, *expected, "{text}");
        let cuts: Vec<usize> = (1..text.len()).collect();
        assert_eq!(
            hide(text.as_bytes(), &cuts).0,
            *expected,
            "{text}, byte by byte"
        );
    }
}

#[track_caller]
fn unchanged(texts: &[&str]) {
    for text in texts {
        all(&[(text, text)]);
    }
}

#[test]
fn addresses_are_hidden() {
    all(&[
        ("a@b.de", "[email]"),
        (
            "To: Eve <eve.x+tag@mail.example.co.uk>, ok",
            "To: Eve <[email]>, ok",
        ),
        (
            "mailto:eve@example.com?subject=x",
            "mailto:[email]?subject=x",
        ),
        ("It is eve@example.com.", "It is [email]."),
        ("eve@example.com...", "[email]..."),
        ("x@y@example.com", "x@[email]"),
        ("eve@example.com,bob@example.org", "[email],[email]"),
        ("eve@192.0.2.1.example.com", "[email]"),
        ("eve@example.com-x", "[email]-x"),
        ("jörg@müller.example", "[email]"),
        ("git@github.com:x/y", "[email]:x/y"),
        ("name@host.example:22", "[email]:22"),
    ]);
    let long = format!("{}@example.com", "x".repeat(70));
    all(&[(&long, "xxxxxx[email]")]);
}

#[test]
fn what_is_no_address_stays() {
    unchanged(&[
        "",
        "@",
        "a@",
        "@b.de",
        "a@b",
        "a @b.de",
        "a@ b.de",
        "a@b..de",
        "a@.de",
        "a@b.c",
        "a@b.1",
        "a@192.0.2.1",
        "#[derive(Debug)]",
        "@media screen",
        "x@y z.com",
        "user@localhost",
    ]);
}

#[test]
fn card_numbers_are_hidden() {
    all(&[
        ("4111111111111111", "[card-number]"),
        ("card 4111 1111 1111 1111.", "card [card-number]."),
        ("4111-1111-1111-1111", "[card-number]"),
        ("3782 822463 10005", "[card-number]"),
        ("378282246310005", "[card-number]"),
        ("4222222222222", "[card-number]"),
        ("6304000000000000000", "[card-number]"),
        (
            "1 4111 1111 1111 1111 12/26 737",
            "1 [card-number] 12/26 737",
        ),
        (
            "n:5500005555555559,n:5555555555554444",
            "n:[card-number],n:[card-number]",
        ),
        ("[4111111111111111]", "[[card-number]]"),
    ]);
}

#[test]
fn what_is_no_card_number_stays() {
    unchanged(&[
        "4111111111111112",
        "411111111111111",
        "04111111111111111111",
        "4111  1111  1111  1111",
        "4111.1111.1111.1111",
        "0.4111111111111111",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "10 20 30 40 50 60 70 80",
        "2026-11-22 11:44:17 4111",
    ]);
}

#[test]
fn a_prompt_appears_at_once() {
    for prompt in ["Password: ", "Continue? [y/N] ", "mysql> ", "10% (3/7)"] {
        let mut stream = Stream::default();
        assert_eq!(
            stream.push(prompt.as_bytes(), false),
            (vec![], prompt.len() as u64)
        );
    }
}

#[test]
fn long_runs_are_held_back_within_the_bound() {
    let runs = [
        "x".repeat(5000),
        "4".repeat(5000),
        "a.".repeat(5000),
        "x@x.".repeat(2000),
        "411 ".repeat(2000),
    ];
    for run in &runs {
        let cuts: Vec<usize> = (1..run.len()).collect();
        let (whole, _) = hide(run.as_bytes(), &[]);
        let (cut, held) = hide(run.as_bytes(), &cuts);
        assert_eq!(whole, cut);
        assert!(held <= HELD_MAX_BYTES as u64, "{held}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn cutting_does_not_matter(
        words in proptest::collection::vec(
            prop_oneof![
                "[a.@ 1-]{0,12}", "[a-z]{1,70}", "[0-9]{1,21}", "[0-9]{3,6}[ -]",
                Just("@example.com".to_owned()), Just("4111 1111 1111 1111".to_owned()), Just("ü@ä.de".to_owned()),
                Just(".".to_owned()), Just("\0\n".to_owned()),
            ],
            0..12,
        ),
        mut cuts in proptest::collection::vec(0usize..300, 0..40),
    ) {
        let text = words.concat();
        cuts.sort_unstable();
        let (cut, held) = hide(text.as_bytes(), &cuts);
        prop_assert_eq!(cut, hide(text.as_bytes(), &[]).0);
        prop_assert!(held <= HELD_MAX_BYTES as u64);
    }

    #[test]
    fn no_digit_of_a_card_number_is_shown_wherever_it_stands(
        before in prop_oneof!["[0-9]{0,6}[ -]", "[a-z ,:]{0,5}", "[0-9]{3} [0-9]{4} "],
        mut digits in proptest::collection::vec(2u32..=9, 13..=19),
        group in 3usize..7,
        after in "[ ,.][ -~]{0,9}",
    ) {
        // Valid by its last digit; the digits in front of and behind it are others.
        let check = |digits: &[u32]| -> u32 {
            let doubled = |(index, digit): (usize, &u32)| digit * (1 + index as u32 % 2);
            digits.iter().rev().enumerate().map(doubled).map(|value| value / 10 + value % 10).sum()
        };
        *digits.last_mut().expect("digits") = 0;
        let last = (10 - check(&digits) % 10) % 10;
        *digits.last_mut().expect("digits") = last;
        let mut groups: Vec<String> = digits.chunks(group).map(|group| group.iter().map(u32::to_string).collect()).collect();
        if groups.last().is_some_and(|group| group.len() < 3) {
            let short = groups.pop().expect("a group");
            groups.last_mut().expect("a group").push_str(&short);
        }
        let number = groups.join("-");
        let text = format!("{before}{number}{after}");
        let shown = hide(text.as_bytes(), &[]).0;
        let kept = shown.matches(|c: char| c.is_ascii_digit()).count();
        let around = before.matches(|c: char| c.is_ascii_digit()).count() + after.matches(|c: char| c.is_ascii_digit()).count();
        prop_assert!(kept <= around, "{text} {shown}");
    }

    #[test]
    fn every_address_is_hidden_wherever_it_stands(
        before in "[ -~]{0,20}[ <,:]", address in "[a-z][a-z0-9.+_-]{0,20}@[a-z]{1,9}\\.[a-z]{2,6}", after in "[ >,:\n][ -~]{0,20}",
    ) {
        let text = format!("{before}{address}{after}");
        prop_assert!(!hide(text.as_bytes(), &[]).0.contains(&address));
    }
}
