//! Every way to write a secret that is claimed to be seen through: any secret, any position, any neighbours, any cutting.
//! What programs write is made here by code of its own.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod checks;
mod properties;

use default_sanitizer::{Channel, FORMS, Range, Sanitizer, Secret};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use checks::encodings::{check, is_hidden, start};
use checks::harness::{find, run};
use checks::writers::{NESTED, WAYS, base64, bytes};
use properties::{cuts, properties};

/// Long enough, and with letters enough, for every form: at least ten letters and digits, six bytes of anything.
fn secret() -> impl Strategy<Value = Vec<u8>> {
    "[a-zA-Z0-9]{4}[a-zA-Z0-9 '\"&<>$^/+._-]{0,12}[a-zA-Z0-9]{6,20}".prop_map(String::into_bytes)
}

/// What no encoder would take for a part of what it writes.
fn neighbour() -> impl Strategy<Value = Vec<u8>> {
    "[ .,:;!?()\n]{0,6}".prop_map(String::into_bytes)
}

/// What a terminal acts on: in front of something, it would swallow a part of that.
fn control() -> impl Strategy<Value = Vec<u8>> {
    let controls = [
        &b"\x1B"[..],
        b"\x1B[",
        b"\x1B(",
        b"\x9B",
        b"\x08",
        b"\x08\x08\x08",
    ];
    (neighbour(), select(controls.to_vec()))
        .prop_map(|(before, control)| [&before, control].concat())
}

properties! {
    100 values: fn every_way_to_write_a_secret(secret in secret(), before in neighbour(), behind in neighbour(), cuts in cuts()) {
        for (name, write, front, back) in WAYS {
            check(name, &secret, &write(&secret), (front, back), &before, &behind, &cuts);
        }
    }

    100 values: fn every_way_behind_and_in_front_of_controls(secret in secret(), before in control(), behind in control(), cuts in cuts()) {
        for (name, write, front, back) in WAYS {
            let written = write(&secret);
            // There the first letter cannot be told from what belongs to the control.
            if !written.iter().any(|byte| b"\x1B\x08".contains(byte)) {
                check(name, &secret, &written, (front, back), &before, &behind, &cuts);
            }
        }
    }

    500 values: fn two_encodings_deep(secret in secret(), before in neighbour(), behind in neighbour(), cuts in cuts()) {
        for (name, write) in NESTED {
            check(name, &secret, &write(&secret), (8, 8), &before, &behind, &cuts);
        }
    }

    20 values: fn in_texts_that_are_longer_than_a_block(secret in secret(), hits in prop::collection::vec((any::<Index>(), 0..6000_usize, control()), 1..4), cuts in cuts()) {
        let filler = b"Lorem ipsum %20 dolor \\n sit & amet,\x1B[0m 0123 \xC3\x9B sed do ".repeat(100);
        let mut text = Vec::new();
        let mut whole = Vec::new();
        for (way, before, control) in hits {
            text.extend_from_slice(&filler[..before % filler.len()]);
            text.extend(control);
            let (name, write, front, back) = WAYS[way.index(WAYS.len())];
            let written = write(&secret);
            if !written.iter().any(|byte| b"\x1B\x08".contains(byte)) {
                whole.push((name, text.len() + front..text.len() + written.len() - back));
            }
            text.extend(written);
            text.push(b' ');
        }
        text.extend_from_slice(&filler[..1000]);
        let ranges = find(|| start(&secret), &text, &cuts);
        for (name, places) in whole {
            for at in places {
                prop_assert!(is_hidden(&ranges, at), "{}: byte {}", name, at);
            }
        }
    }

    500 values: fn the_secret_itself_among_any_bytes(secret in prop::collection::vec(any::<u8>(), 4..40), before in prop::collection::vec(any::<u8>(), 0..20), behind in prop::collection::vec(any::<u8>(), 0..20), cuts in cuts()) {
        prop_assume!(!secret.iter().all(u8::is_ascii_digit));
        check("raw", &secret, &secret, (0, 0), &before, &behind, &cuts);
    }

    500 values: fn eight_letters_of_a_token(token in "([a-z][0-9][A-Z]){8}", from in 0..16_usize, before in neighbour(), behind in neighbour(), cuts in cuts()) {
        let piece = &token.as_bytes()[from..from + 8];
        check("fragment", token.as_bytes(), piece, (0, 0), &before, &behind, &cuts);
    }

    500 values: fn twelve_letters_of_anything(value in "[a-z]{4,8} [a-z]{4,8} [a-z]{4,8} [a-z]{4,8}", from: Index, before in neighbour(), behind in neighbour(), cuts in cuts()) {
        // Fifteen characters have three spaces at most.
        let from = from.index(value.len() - 15);
        let piece = value.as_bytes()[from..from + 15].trim_ascii();
        check("piece", value.as_bytes(), piece, (3, 0), &before, &behind, &cuts);
        let dump = bytes(piece, |b| format!("{b:02x}"), " ");
        check("piece of a dump", value.as_bytes(), &dump, (3, 0), &before, &behind, &cuts);
    }

    500 values: fn a_token_in_a_dump_of_lines(token in "([a-z][0-9][A-Z]){12}", skipped in 0..9_usize, cuts in cuts()) {
        let text = [&b"........"[..skipped.min(8)], token.as_bytes()].concat();
        let mut dump = Vec::new();
        let mut pieces = Vec::new();
        for (number, line) in text.chunks(16).enumerate() {
            dump.extend(format!("{:08x}: ", number * 16).into_bytes());
            let first = dump.len();
            dump.extend(line.chunks(2).map(|two| bytes(two, |b| format!("{b:02x}"), "")).collect::<Vec<_>>().join(&b" "[..]));
            if line.len() == 16 && !line.starts_with(b".") {
                pieces.push(first..dump.len());
            }
            dump.extend(format!("  {}\n", String::from_utf8_lossy(line)).into_bytes());
        }
        let ranges = find(|| start(token.as_bytes()), &dump, &cuts);
        for at in pieces.into_iter().flatten() {
            prop_assert!(is_hidden(&ranges, at), "byte {} of {}", at, String::from_utf8_lossy(&dump));
        }
    }

    500 values: fn lines_and_leaves(line in "[a-z]{4}[0-9A-F]{12}", cuts in cuts()) {
        let key = format!("-----BEGIN KEY-----\nfirst line\n{line}\n-----END KEY-----\n");
        let json = serde_json::json!({ "type": "key", "private_key": key }).to_string();
        let url = format!("postgres://user:{line}@host/db");
        for whole in [key, json, url] {
            let escaped = serde_json::Value::String(line.clone()).to_string();
            check("a line", whole.as_bytes(), line.as_bytes(), (0, 0), b"> ", b" <", &cuts);
            check("a line in JSON", whole.as_bytes(), &escaped.as_bytes()[1..escaped.len() - 1], (0, 0), b"\"", b"\"", &cuts);
            check("a line in base64", whole.as_bytes(), &base64(line.as_bytes()), (0, 0), b" ", b"=\n", &cuts);
        }
    }

    500 values: fn guesses_of_a_number_look_all_the_same(digits in 4..=10_u32, pick: u64, others in prop::collection::vec(any::<u64>(), 1..20), place: Index, backwards: bool, cuts in cuts()) {
        let number = |pick: u64| (10_u64.pow(digits - 1) + pick % (9 * 10_u64.pow(digits - 1))).to_string();
        let secret = number(pick);
        let hidden = |numbers: &[String]| {
            let text = numbers.join(" or ");
            find(|| start(secret.as_bytes()), text.as_bytes(), &cuts)
        };
        let without: Vec<String> = others.into_iter().map(number).filter(|other| *other != secret).collect();
        prop_assume!(!without.is_empty());
        let mut with = without.clone();
        let guess = if backwards { secret.chars().rev().collect() } else { secret.clone() };
        with[place.index(without.len())] = guess;
        prop_assert_eq!(hidden(&without), hidden(&with));
        prop_assert_eq!(hidden(&without).len(), without.len());
    }
}

#[test]
fn a_secret_of_a_mebibyte_takes_no_more_room_than_it_must() {
    let digit = |n: u32| b"aB3dE6gH"[(n.wrapping_mul(2_654_435_761) >> 29) as usize];
    let value: Vec<u8> = (0..1 << 20).map(digit).collect();
    let secrets = [Secret {
        name: "name",
        value: &value,
    }];
    let needles = default_sanitizer::Needles::of(&secrets);
    let all = needles.exact.iter().chain(&needles.loose);
    assert!(all.map(|needle| needle.bytes.len()).sum::<usize>() <= 2 * value.len());
    let text = [b"x ", &value[..], b" y"].concat();
    let found = run(start(&value), &text.chunks(65_536).collect::<Vec<_>>());
    assert!((2..text.len() - 2).all(|at| is_hidden(&found, at)));
}

#[test]
fn secrets_that_are_too_long_together_are_an_error() {
    let value: Vec<u8> = (0..4096_u32).map(|n| b'a' + (n * n % 23) as u8).collect();
    let values: Vec<Vec<u8>> = (0..400_u32)
        .map(|n| [&n.to_le_bytes()[..], &value].concat())
        .collect();
    let all = |count: usize| {
        values[..count]
            .iter()
            .map(|value| Secret {
                name: "name",
                value: &value[..4096],
            })
            .collect::<Vec<_>>()
    };
    assert!(Sanitizer::start(&all(10)).is_ok());
    assert_eq!(
        Sanitizer::start(&all(400)).err(),
        Some(default_sanitizer::StartError::TooLong)
    );
}

#[test]
fn a_number_that_is_a_part_is_hidden_with_all_like_it() {
    let found = run(
        start(b"postgres://user:12345678@host/db"),
        &[b"12345678 or 87654321 or 1234567"],
    );
    let places: Vec<_> = found
        .iter()
        .map(|range| (range.start, range.end, range.subject))
        .collect();
    assert_eq!(places, [(0, 8, 0), (12, 20, 0)]);
}

#[test]
fn numbers_of_any_length_are_hidden_whole() {
    let shape = FORMS.iter().position(|form| *form == "shape").unwrap() as u32;
    let text = format!("12 123 1234 a12345b {} 4711", "7".repeat(150));
    let found = run(start(b"4711"), &[text.as_bytes()]);
    let expected = [
        (7, 11),
        (13, 18),
        (20, 84),
        (84, 148),
        (148, 170),
        (171, 175),
    ];
    let expected = expected.map(|(start, end)| Range {
        start,
        end,
        subject: 0,
        form: shape,
    });
    assert_eq!(found, expected);
    let mut sanitizer = start(b"4711");
    assert_eq!(sanitizer.push(Channel::Stdout, b"port 80").settled, 5);
    assert_eq!(sanitizer.push(Channel::Stdout, b": ").settled, 9);
}

/// The second half of a character in UTF-8 is no control sequence introducer, wherever the text is cut.
#[test]
fn a_character_that_is_cut_is_no_control() {
    let text = b"here \xC3\x9BabcdX\x08efgh kkkkkkkkkkkkkkkkkkk";
    let ranges = find(|| start(b"abcdefgh"), text, &[6]);
    assert!((7..17).all(|at| is_hidden(&ranges, at)), "{ranges:?}");
}
