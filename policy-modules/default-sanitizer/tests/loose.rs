//! What is found in letters and digits alone: against the oracle, cut in any way.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod checks;
mod properties;

use default_sanitizer::{Channel, Range, letters};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use checks::harness::run;
use checks::loose::{check, spread, start};
use properties::{cuts, properties};

fn needles(alphabet: &'static [u8]) -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(select(alphabet), 8..14), 1..=3)
}

/// Pieces of a text: a needle by index, what stands between its letters, and what stands in front of it.
type Piece = (Index, Vec<Vec<u8>>, Vec<u8>);

fn pieces(between: &'static [u8], filler_bytes: usize) -> impl Strategy<Value = Vec<Piece>> {
    let gap = prop::collection::vec(select(between), 0..4);
    let gaps = prop::collection::vec(gap, 1..5);
    let filler = prop::collection::vec(select(between), 0..filler_bytes);
    prop::collection::vec((any::<Index>(), gaps, filler), 0..5)
}

fn text(needles: &[Vec<u8>], pieces: &[Piece]) -> Vec<u8> {
    let mut text = Vec::new();
    for (needle, gaps, filler) in pieces {
        text.extend(filler);
        text.extend(spread(&needles[needle.index(needles.len())], gaps));
    }
    text
}

properties! {
    3500 values: fn anything_between_the_letters(needles in needles(b"ab1"), pieces in pieces(b"ab1A \n,\x08\x1B[m(;\x9B\xC2\0", 12), cuts in cuts()) {
        check(&needles, &text(&needles, &pieces), &cuts);
    }

    3500 values: fn text_that_the_scout_skips(needles in needles(b"abcdefgh12"), pieces in pieces(b"ijklmnopqrstuvwxyz ,.\n\x08\x1B[m", 60), cuts in cuts()) {
        check(&needles, &text(&needles, &pieces), &cuts);
    }

    3500 values: fn letters_of_two_kinds(needles in needles(b"ab"), text in prop::collection::vec(select(&b"ab \x08"[..]), 0..80), cuts in cuts()) {
        check(&needles, &text, &cuts);
    }

    3500 values: fn wide_gaps(needles in needles(b"abcdefgh"), gap in 55..75_usize, fill in select(&b" \x1B\0"[..]), cuts in cuts()) {
        let mut text = Vec::new();
        for (index, letter) in needles[0].iter().enumerate() {
            text.push(*letter);
            if index == 4 {
                text.extend(vec![fill; gap]);
            }
        }
        check(&needles, &text, &cuts);
    }
}

#[test]
fn a_prompt_is_settled_at_once() {
    let mut sanitizer = start(&[b"passwordpassword".to_vec(), b"yesorno123".to_vec()]);
    let mut pushed = 0;
    for prompt in [
        "Name? ",
        "up: ",
        "p> ",
        "[y/N] ",
        "(ye) ",
        "listen on port:\n",
    ] {
        pushed += prompt.len() as u64;
        let settled = sanitizer.push(Channel::Stdout, prompt.as_bytes()).settled;
        assert_eq!(settled, pushed, "{prompt}");
    }
}

#[test]
fn a_needle_of_many_letters_in_a_long_text() {
    let needle: Vec<u8> = letters(&[b'a'; 16_000]).chain(*b"b").collect();
    let text = b"a ".repeat(1 << 18);
    assert_eq!(
        run(start(&[needle]), &text.chunks(8192).collect::<Vec<_>>()),
        []
    );
}

#[test]
fn letters_that_stand_apart_in_front() {
    let found = |text: &str| {
        let ranges = run(start(&[b"s3cretvalue".to_vec()]), &[text.as_bytes()]);
        let shown = |range: &Range| text[range.start as usize..range.end as usize].to_owned();
        ranges.iter().map(shown).collect::<Vec<_>>()
    };
    assert_eq!(found("x S3CRET-value x"), ["S3CRET-value"]);
    assert_eq!(found("s 3 c r e t v a l u e"), ["c r e t v a l u e"]);
    assert_eq!(found("s3 cret value"), ["cret value"]);
    assert_eq!(found("s 3cret value"), ["3cret value"]);
    assert_eq!(
        found("s3cret\x1B[31;1mval\x1B(Bue"),
        ["s3cret\x1B[31;1mval\x1B(Bue"]
    );
    assert_eq!(found("s3cretvalu"), [""; 0]);
}

#[test]
fn what_is_typed_over_may_have_been_the_beginning_of_another() {
    let needles = ["bcdefghxyz", "abcdefg123"].map(|needle| needle.as_bytes().to_vec());
    check(&needles, b"here: abcdefghx\x08\x08123", &[]);
    check(&[b"aaaaaaab".to_vec()], b"aaaaaaaaaaab\x08\x08b", &[]);
}

#[test]
fn letters_in_front_of_a_long_row_of_backspaces_go_on_behind_it() {
    let rows = ["a".repeat(70), "b".to_owned(), "\x08".repeat(62)];
    let text = rows.concat() + "a baa baa baa baa baa baa bab ba";
    check(&[b"aaaaaaab".to_vec()], text.as_bytes(), &[]);
}

/// Each letter that is typed over brings back a state from which all ends of the needle were to be looked at.
#[test]
fn linear_time_whatever_is_typed_over() {
    let needle = [vec![b'a'; 100_000], b"b".to_vec()].concat();
    let typed = ["k\x08", "ak\x08", "kl\x08\x08"].map(|letters| letters.repeat(20_000));
    for typed in typed {
        let text = ["a".repeat(60_000), typed].concat();
        let chunks: Vec<_> = text.as_bytes().chunks(8192).collect();
        let found = run(start(std::slice::from_ref(&needle)), &chunks);
        let unfinished = |range: &Range| range.form == 7;
        assert!(found.iter().all(unfinished), "{found:?}");
    }
}

/// What the first letters of one needle are typed over with makes another one of them and of three letters in front.
#[test]
fn letters_in_front_of_a_find_belong_to_what_is_typed_over_it() {
    let text = ". ".repeat(200) + "abcdefghijk\x08\x08\x08\x081xyz" + &". ".repeat(200);
    let needles = [b"defghijk".to_vec(), b"abcdefg1xyz".to_vec()];
    check(&needles, text.as_bytes(), &[]);
}

/// After each letter one is typed over: behind that, the state in front of it goes on.
#[test]
fn a_letter_that_is_typed_over_everywhere() {
    let needle = b"1aaaaaaba";
    let mut text = b"aa".to_vec();
    needle
        .iter()
        .for_each(|letter| text.extend([*letter, b'1', 8, b'[']));
    needle
        .iter()
        .for_each(|letter| text.extend([*letter, b'm']));
    check(&[needle.to_vec()], &text, &[]);
}
