//! The engine against the oracle: any secrets, any text, cut in any way.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod checks;
mod properties;

use std::collections::BTreeSet;

use default_sanitizer::{Channel, FORMS, HOLD_BYTES, Range, Sanitizer, Secret, StartError};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use checks::exact::{WAYS, base64, check, start, wrapped, written};
use checks::harness;
use properties::{cuts, properties};

fn form(name: &str) -> u32 {
    FORMS.iter().position(|form| *form == name).unwrap() as u32
}

fn run(secrets: &[Vec<u8>], chunks: &[&[u8]]) -> Vec<Range> {
    harness::run(start(secrets), chunks)
}

fn secrets(
    alphabet: &'static [u8],
    bytes: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(select(alphabet), bytes), 1..=4)
}

type Piece = (Index, usize, Vec<u8>, Vec<u8>);

/// Pieces of a text: a secret by index, a way to write it, choices for its bytes, and what stands in front of it.
fn pieces(filler: &'static [u8], filler_bytes: usize) -> impl Strategy<Value = Vec<Piece>> {
    let filler = prop::collection::vec(select(filler), 0..filler_bytes);
    let choice = prop::collection::vec(any::<u8>().prop_map(|byte| byte & 0x7F), 4..12);
    prop::collection::vec((any::<Index>(), 0..WAYS, choice, filler), 0..6)
}

fn text(secrets: &[Vec<u8>], pieces: &[Piece]) -> Vec<u8> {
    let write = |(secret, way, choice, filler): &Piece| {
        [
            filler.clone(),
            written(&secrets[secret.index(secrets.len())], *way, choice),
        ]
        .concat()
    };
    pieces.iter().flat_map(write).collect()
}

properties! {
    1000 values: fn raw_text_of_two_letters(secrets in secrets(b"ab", 1..9), text in prop::collection::vec(select(b"ab"), 0..60), cuts in cuts()) {
        check(&secrets, &text, &cuts);
    }

    1000 values: fn any_way_to_write_self_similar_secrets(secrets in secrets(b"ab", 1..14), pieces in pieces(b"ab%\\+=u604 \r\n&#x;1", 6), cuts in cuts()) {
        check(&secrets, &text(&secrets, &pieces), &cuts);
    }

    1000 values: fn any_way_to_write_awkward_secrets(secrets in secrets(b"%\\\"/+ u60\nAz\0\x7F", 1..20), pieces in pieces(b"%\\\"/+ u60\nAz\0=\xFF", 6), cuts in cuts()) {
        check(&secrets, &text(&secrets, &pieces), &cuts);
    }

    1000 values: fn text_that_the_scout_skips(secrets in secrets(b"%\\\"/+ u604a\nAz", 3..20), pieces in pieces(b"%\\\"/+ u604a\r\nAzQm5", 60), cuts in cuts()) {
        check(&secrets, &text(&secrets, &pieces), &cuts);
    }

    1000 values: fn random_bytes(secrets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..4), way in 0..WAYS, choice in prop::collection::vec(any::<u8>(), 4), filler in prop::collection::vec(any::<u8>(), 0..40), cuts in cuts()) {
        let mut text = filler.clone();
        for secret in &secrets {
            text.extend(written(secret, way, &choice));
            text.extend(&filler);
        }
        check(&secrets, &text, &cuts);
    }

    1000 values: fn raw_text_is_held_back_exactly_as_long_as_needed(secrets in secrets(b"ab", 1..6), text in prop::collection::vec(select(b"ab"), 0..40)) {
        let settled = start(&secrets).push(Channel::Stdout, &text).settled as usize;
        let goes_on = |tail: &[u8]| secrets.iter().any(|secret| secret.len() > tail.len() && secret.starts_with(tail));
        let live = (0..=text.len()).find(|&at| goes_on(&text[at..])).unwrap_or(text.len());
        prop_assert_eq!(settled, live);
        harness::count_case();
    }

    1000 values: fn behind_its_end_a_channel_begins_anew(secrets in secrets(b"ab4", 1..14), before in pieces(b"ab%\\+=u604 \x08\r\n&#x;1", 6), after in pieces(b"ab%\\+=u604 \x08\r\n&#x;1", 6)) {
        let (before, after) = (text(&secrets, &before), text(&secrets, &after));
        let mut used = start(&secrets);
        used.push(Channel::Stdout, &before);
        used.finish(Channel::Stdout);
        let verdicts = |mut sanitizer: Sanitizer| [sanitizer.push(Channel::Stdout, &after), sanitizer.finish(Channel::Stdout)];
        prop_assert_eq!(verdicts(used), verdicts(start(&secrets)));
        harness::count_case();
    }
}

#[test]
fn the_two_channels_are_apart() {
    let mut sanitizer = start(&[b"hunter2".to_vec()]);
    assert_eq!(sanitizer.push(Channel::Stdout, b"xhunt").settled, 1);
    assert_eq!(sanitizer.push(Channel::Stderr, b"er2").hide, []);
    let verdict = sanitizer.push(Channel::Stdout, b"er2!");
    assert_eq!(
        verdict.hide,
        [Range {
            start: 1,
            end: 8,
            subject: 0,
            form: 0
        }]
    );
    assert_eq!(verdict.settled, 9);
}

#[test]
fn a_prompt_is_settled_at_once() {
    let mut sanitizer = start(&[b"correct horse battery".to_vec(), vec![b'N'; 16_384]]);
    let mut pushed = 0;
    for prompt in [
        "Name? ",
        "Password: ",
        "> ",
        "$ ",
        "[y/N] ",
        "correct horse battery",
    ] {
        pushed += prompt.len() as u64;
        assert_eq!(
            sanitizer.push(Channel::Stdout, prompt.as_bytes()).settled,
            pushed,
            "{prompt}"
        );
    }
}

#[test]
fn every_form_of_a_known_value() {
    let secret = "pa ss/\"w\u{F6}rd\u{1F511}".as_bytes();
    for (name, text) in [
        ("raw", "pa ss/\"w\u{F6}rd\u{1F511}"),
        ("base64", "cGEgc3MvInfDtnJk8J+UkQ=="),
        ("base64", "cGEgc3MvInfDtnJk8J-UkQ"),
        ("hex", "70612073732F2277c3b67264F09F9491"),
        ("percent", "pa%20ss%2F%22w%C3%B6rd%F0%9F%94%91"),
        ("percent", "pa+ss%2f%22w%c3%b6rd%f0%9f%94%91"),
        ("json", r#"pa ss\/\"w\u00f6rd\uD83D\udd11"#),
    ] {
        let end = text.trim_end_matches('=').len() as u64;
        let expected = Range {
            start: 0,
            end,
            subject: 0,
            form: form(name),
        };
        assert_eq!(run(&[secret.to_vec()], &[text.as_bytes()]), [expected]);
    }
}

#[test]
fn short_secrets_have_no_encoded_forms() {
    assert_eq!(
        run(
            &[b"abcde".to_vec()],
            &[b"YWJjZGU= 6162636465 %61bcde \\u0061bcde"]
        ),
        []
    );
}

#[test]
fn linear_time_whatever_repeats() {
    let mut needle = vec![b'a'; 16_000];
    needle.push(b'b');
    let text = vec![b'a'; 1 << 20];
    assert_eq!(run(&[needle], &text.chunks(8192).collect::<Vec<_>>()), []);
}

#[test]
fn a_secret_of_a_mebibyte() {
    let secret: Vec<u8> = (0..1_u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let text = [b"x", &secret[..], b"y"].concat();
    let mut sanitizer = start(std::slice::from_ref(&secret));
    let mut hidden = BTreeSet::new();
    let mut pushed = 0;
    for chunk in text.chunks(10_000) {
        let verdict = sanitizer.push(Channel::Stdout, chunk);
        pushed += chunk.len() as u64;
        assert!(pushed - verdict.settled < 2 * HOLD_BYTES);
        hidden.extend(verdict.hide.iter().flat_map(|range| range.start..range.end));
    }
    assert!(hidden.into_iter().eq(1..secret.len() as u64 + 1));
}

#[test]
fn what_is_held_back_is_bounded_whatever_goes_on() {
    let start = || {
        Sanitizer::start(&[Secret {
            name: "name",
            value: b"correct horse battery staple",
        }])
        .unwrap()
    };
    for between in ["\x1B[m", "\x1B[0;1;31m", "\x1B(B"] {
        let text = format!("corr{}ect horse", between.repeat(100_000));
        let mut sanitizer = start();
        let mut pushed = 0;
        for chunk in text.as_bytes().chunks(1000) {
            pushed += chunk.len() as u64;
            let settled = sanitizer.push(Channel::Stdout, chunk).settled;
            assert!(pushed - settled < 2 * HOLD_BYTES, "{between:?}");
        }
        let ranges = harness::find(start, text.as_bytes(), &[999, 65_535]);
        // As far as it had come, and then as the piece that it is.
        let forms: Vec<_> = ranges
            .iter()
            .map(|range| FORMS[range.form as usize])
            .collect();
        assert_eq!(
            forms.concat(),
            "fragment".repeat(forms.len()),
            "{between:?}"
        );
        assert_eq!(
            (ranges[0].start, ranges[forms.len() - 1].end),
            (0, text.len() as u64)
        );
    }
}

#[test]
fn an_empty_secret_is_an_error() {
    let secrets = [
        Secret {
            name: "a",
            value: b"x",
        },
        Secret {
            name: "b",
            value: b"",
        },
    ];
    assert_eq!(Sanitizer::start(&secrets).err(), Some(StartError::Empty(1)));
}

#[test]
fn wrapped_digits_are_one_run() {
    let secret: Vec<u8> = (b' '..b'~').collect();
    let line = base64(&secret, false);
    let all = |form, end: usize| {
        [Range {
            start: 0,
            end: end as u64,
            subject: 0,
            form,
        }]
    };
    let lines: Vec<_> = line.as_bytes().chunks(76).collect();
    for line_break in ["\n", "\r\n", "\n    "] {
        let text = lines.join(line_break.as_bytes());
        assert_eq!(
            run(std::slice::from_ref(&secret), &[&text]),
            all(form("base64"), text.len())
        );
    }
    let far = "\n".to_owned() + &" ".repeat(33);
    assert_eq!(
        run(
            std::slice::from_ref(&secret),
            &[&lines.join(far.as_bytes())]
        ),
        []
    );
    let hex = wrapped(
        &secret
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<String>(),
        60,
    );
    assert_eq!(run(&[secret], &[&hex]), all(form("hex"), hex.len()));
}

#[test]
fn a_line_is_settled_at_once() {
    let mut sanitizer = start(&[b"correct horse battery".to_vec()]);
    let mut pushed = 0;
    for line in [
        "listening on 8080\n",
        "ready\r\n",
        "QUJD\n",
        "abc\n  ",
        "\n",
    ] {
        pushed += line.len() as u64;
        let settled = sanitizer.push(Channel::Stdout, line.as_bytes()).settled;
        assert_eq!(settled, pushed, "{line:?}");
    }
    // The end of this line is `co` in base64, and what is left over are the upper bits of `r`.
    assert_eq!(
        sanitizer.push(Channel::Stdout, b"!Y29\n").settled,
        pushed + 1
    );
    assert_eq!(sanitizer.push(Channel::Stdout, b"!").settled, pushed + 6);
}

#[test]
fn a_stray_lead_in_front_of_a_secret() {
    for (secret, text, start, name) in [
        ("baaaaa", "%ba%61aaa", 1, "percent"),
        ("Aaaaaa", r"\\u0041aaaaa", 1, "json"),
        ("naaaaa", r"\na\u0061aaa", 1, "json"),
        ("u0041\"", r#"\u0041\""#, 1, "json"),
    ] {
        let expected = Range {
            start,
            end: text.len() as u64,
            subject: 0,
            form: form(name),
        };
        assert_eq!(
            run(&[secret.as_bytes().to_vec()], &[text.as_bytes()]),
            [expected]
        );
    }
}

#[test]
fn linear_time_whatever_escapes_repeat() {
    let mut needle = vec![b'"'; 16_000];
    needle.push(b'b');
    let text = [r#"\""#.repeat(1 << 18), "b".to_owned()].concat();
    let hidden = run(
        std::slice::from_ref(&needle),
        &text.as_bytes().chunks(8192).collect::<Vec<_>>(),
    );
    let last = hidden.last().unwrap();
    assert!(last.start <= text.len() as u64 - 32_001 && last.end == text.len() as u64);
}

#[test]
fn a_secret_that_ends_in_a_short_octal_escape_is_found_where_the_views_go_back() {
    check(
        &[b"correcthorse6".to_vec()],
        br"\x41...correcthorse\66.",
        &[],
    );
}
