//! Every way to write a secret that is claimed to be seen through: any secret, any position, any neighbours, any cutting.
//! What programs write is made here by code of its own.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "shared with the tests against the oracle")]
mod harness;

use default_sanitizer::{Channel, FORMS, Range, Sanitizer, Secret};
use proptest::prelude::*;
use proptest::sample::Index;

use harness::{cut, cuts, run};

type Write = fn(&[u8]) -> Vec<u8>;

fn bytes(secret: &[u8], write: impl Fn(u8) -> String, between: &str) -> Vec<u8> {
    let all: Vec<String> = secret.iter().map(|&byte| write(byte)).collect();
    all.join(between).into_bytes()
}

fn chars(secret: &[u8], between: &str) -> Vec<u8> {
    let all: Vec<&[u8]> = secret.chunks(1).collect();
    all.join(between.as_bytes())
}

fn base64(plain: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    in_digits(plain, 6, DIGITS)
}

fn base32(plain: &[u8]) -> Vec<u8> {
    in_digits(plain, 5, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
}

fn in_digits(plain: &[u8], width: usize, alphabet: &[u8]) -> Vec<u8> {
    let bits: Vec<bool> = plain
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
        .collect();
    let digit = |bits: &[bool]| {
        let value = (0..width).fold(0, |value, at| {
            value << 1 | usize::from(bits.get(at) == Some(&true))
        });
        alphabet[value]
    };
    bits.chunks(width).map(digit).collect()
}

fn lines(text: &[u8], columns: usize) -> Vec<u8> {
    text.chunks(columns).collect::<Vec<_>>().join(&b"\n"[..])
}

fn swapped_case(secret: &[u8]) -> Vec<u8> {
    let swap = |byte: &u8| match byte {
        b'a'..=b'z' => byte.to_ascii_uppercase(),
        _ => byte.to_ascii_lowercase(),
    };
    secret.iter().map(swap).collect()
}

fn rot13(secret: &[u8]) -> Vec<u8> {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let turned = |byte: &u8| match letters
        .iter()
        .position(|letter| *letter == byte.to_ascii_uppercase())
    {
        Some(index) if byte.is_ascii_uppercase() => letters[index + 13],
        Some(index) => letters[index + 13].to_ascii_lowercase(),
        None => *byte,
    };
    secret.iter().map(turned).collect()
}

fn xml(secret: &[u8], apostrophe: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(secret)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    text.replace('"', "&quot;")
        .replace('\'', apostrophe)
        .into_bytes()
}

fn utf16(secret: &[u8], order: fn(u16) -> [u8; 2]) -> Vec<u8> {
    secret
        .iter()
        .flat_map(|byte| order(u16::from(*byte)))
        .collect()
}

/// Each with how many bytes of what was written may stay visible: in front, where up to two letters that stand apart do,
/// and at the end, where it is what frames the last byte.
const WAYS: [(&str, Write, usize, usize); 56] = [
    ("as it is", |s| s.to_vec(), 0, 0),
    ("base64", base64, 0, 0),
    (
        "base64 behind one byte",
        |s| base64(&[b"x", s].concat()),
        2,
        1,
    ),
    (
        "base64 behind two bytes",
        |s| base64(&[b"xy", s, b"z"].concat()),
        3,
        2,
    ),
    (
        "base64 with a line break behind",
        |s| base64(&[s, b"\n"].concat()),
        0,
        2,
    ),
    ("base64 in lines of 76", |s| lines(&base64(s), 76), 0, 0),
    ("base64 in lines of 7", |s| lines(&base64(s), 7), 2, 0),
    (
        "base64url",
        |s| {
            base64(s)
                .iter()
                .map(|b| match b {
                    b'+' => b'-',
                    b'/' => b'_',
                    b => *b,
                })
                .collect()
        },
        0,
        0,
    ),
    ("hex", |s| bytes(s, |b| format!("{b:02x}"), ""), 0, 0),
    ("HEX", |s| bytes(s, |b| format!("{b:02X}"), ""), 0, 0),
    (
        "hex of changing case",
        |s| {
            bytes(
                s,
                |b| {
                    if b % 3 == 0 {
                        format!("{b:02x}")
                    } else {
                        format!("{b:02X}")
                    }
                },
                "",
            )
        },
        0,
        0,
    ),
    (
        "hex with colons",
        |s| bytes(s, |b| format!("{b:02x}"), ":"),
        3,
        0,
    ),
    (
        "hex with spaces",
        |s| bytes(s, |b| format!("{b:02x}"), " "),
        3,
        0,
    ),
    (
        "od -tx1 of sixteen in a line",
        |s| {
            s.chunks(16)
                .map(|l| bytes(l, |b| format!("{b:02x}"), " "))
                .collect::<Vec<_>>()
                .join(&b"\n "[..])
        },
        3,
        0,
    ),
    (
        "\\x of each byte",
        |s| bytes(s, |b| format!("\\x{b:02x}"), ""),
        0,
        0,
    ),
    (
        "0x of each byte",
        |s| bytes(s, |b| format!("0x{b:02X}"), ", "),
        2,
        0,
    ),
    ("octal", |s| bytes(s, |b| format!("{b:03o}"), " "), 0, 0),
    (
        "octal escapes",
        |s| bytes(s, |b| format!("\\{b:03o}"), ""),
        0,
        0,
    ),
    ("decimal", |s| bytes(s, |b| b.to_string(), ", "), 4, 0),
    (
        "decimal in lines",
        |s| bytes(s, |b| b.to_string(), "\n"),
        3,
        0,
    ),
    ("binary", |s| bytes(s, |b| format!("{b:08b}"), " "), 0, 0),
    (
        "percent of each byte",
        |s| bytes(s, |b| format!("%{b:02x}"), ""),
        0,
        0,
    ),
    (
        "PERCENT of each byte",
        |s| bytes(s, |b| format!("%{b:02X}"), ""),
        0,
        0,
    ),
    (
        "percent where it must be",
        |s| {
            bytes(
                s,
                |b| {
                    if b.is_ascii_alphanumeric() {
                        char::from(b).to_string()
                    } else {
                        format!("%{b:02X}")
                    }
                },
                "",
            )
        },
        0,
        0,
    ),
    (
        "percent twice",
        |s| bytes(s, |b| format!("%25{b:02X}"), ""),
        1,
        0,
    ),
    (
        "form with plus",
        |s| {
            bytes(
                s,
                |b| match b {
                    b' ' => "+".to_owned(),
                    b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
                    b => format!("%{b:02x}"),
                },
                "",
            )
        },
        0,
        0,
    ),
    (
        "JSON string",
        |s| {
            bytes(
                s,
                |b| match b {
                    b'"' | b'\\' | b'/' => format!("\\{}", char::from(b)),
                    b => char::from(b).to_string(),
                },
                "",
            )
        },
        0,
        0,
    ),
    (
        "\\u of each",
        |s| bytes(s, |b| format!("\\u{b:04x}"), ""),
        0,
        0,
    ),
    (
        "\\U of each",
        |s| bytes(s, |b| format!("\\u{b:04X}"), ""),
        0,
        0,
    ),
    ("XML with &apos;", |s| xml(s, "&apos;"), 0, 0),
    ("XML with &#39;", |s| xml(s, "&#39;"), 0, 0),
    ("XML with &#x27;", |s| xml(s, "&#x27;"), 0, 0),
    (
        "entity of each, decimal",
        |s| bytes(s, |b| format!("&#{b};"), ""),
        0,
        0,
    ),
    (
        "entity of each, hex",
        |s| bytes(s, |b| format!("&#x{b:x};"), ""),
        0,
        0,
    ),
    (
        "entity of each, HEX",
        |s| bytes(s, |b| format!("&#X{b:02X};"), ""),
        0,
        0,
    ),
    (
        "a backslash in front of signs",
        |s| {
            bytes(
                s,
                |b| {
                    if b.is_ascii_alphanumeric() {
                        char::from(b).to_string()
                    } else {
                        format!("\\{}", char::from(b))
                    }
                },
                "",
            )
        },
        0,
        0,
    ),
    (
        "set -x quoting",
        |s| {
            String::from_utf8_lossy(s)
                .replace('\'', "'\\''")
                .into_bytes()
        },
        0,
        0,
    ),
    (
        "BusyBox quoting",
        |s| {
            String::from_utf8_lossy(s)
                .replace('\'', "'\"'\"'")
                .into_bytes()
        },
        0,
        0,
    ),
    (
        "expression quoting",
        |s| String::from_utf8_lossy(s).replace('\'', "''").into_bytes(),
        0,
        0,
    ),
    (
        "batch quoting",
        |s| {
            bytes(
                s,
                |b| {
                    if b"&<>|^".contains(&b) {
                        format!("^{}", char::from(b))
                    } else {
                        char::from(b).to_string()
                    }
                },
                "",
            )
        },
        0,
        0,
    ),
    (
        "dollars doubled",
        |s| String::from_utf8_lossy(s).replace('$', "$$").into_bytes(),
        0,
        0,
    ),
    ("spaced", |s| chars(s, " "), 4, 0),
    ("with commas", |s| chars(s, ", "), 6, 0),
    ("a letter a line", |s| chars(s, "\n"), 4, 0),
    ("folded", |s| lines(s, 10), 0, 0),
    (
        "folded for Windows",
        |s| s.chunks(9).collect::<Vec<_>>().join(&b"\r\n"[..]),
        0,
        0,
    ),
    ("colours between", |s| chars(s, "\x1b[1;31m"), 16, 0),
    ("character sets between", |s| chars(s, "\x1b(B"), 8, 0),
    (
        "typed over",
        |s| bytes(s, |b| format!("{0}\x08{0}", char::from(b)), ""),
        8,
        0,
    ),
    ("zero-width spaces between", |s| chars(s, "\u{200B}"), 8, 0),
    (
        "soft hyphens and NULs between",
        |s| chars(s, "\u{AD}\0"),
        8,
        0,
    ),
    ("other case", swapped_case, 0, 0),
    ("reversed", |s| s.iter().rev().copied().collect(), 0, 0),
    ("rot13", rot13, 0, 0),
    (
        "UTF-16, little end first",
        |s| utf16(s, u16::to_le_bytes),
        4,
        1,
    ),
    (
        "UTF-16, big end first",
        |s| utf16(s, u16::to_be_bytes),
        5,
        0,
    ),
];

/// Encodings of encodings.
const NESTED: [(&str, Write); 10] = [
    ("base64 of base64", |s| base64(&base64(s))),
    ("base64 of base64 with a line break", |s| {
        base64(&[&base64(&[s, b"\n"].concat())[..], b"\n"].concat())
    }),
    ("base64 of hex", |s| {
        base64(&bytes(s, |b| format!("{b:02x}"), ""))
    }),
    ("base64 of HEX", |s| {
        base64(&bytes(s, |b| format!("{b:02X}"), ""))
    }),
    ("hex of base64", |s| {
        bytes(&base64(s), |b| format!("{b:02x}"), "")
    }),
    ("hex of hex", |s| {
        bytes(
            &bytes(s, |b| format!("{b:02x}"), ""),
            |b| format!("{b:02X}"),
            "",
        )
    }),
    ("percent of base64", |s| {
        bytes(&base64(s), |b| format!("%{b:02X}"), "")
    }),
    ("JSON escapes of base64", |s| {
        bytes(&base64(s), |b| format!("\\u{b:04x}"), "")
    }),
    ("base32", base32),
    ("small base32 in lines", |s| {
        lines(&base32(s).to_ascii_lowercase(), 8)
    }),
];

fn start(secret: &[u8]) -> Sanitizer {
    Sanitizer::start(&[Secret {
        name: "name",
        value: secret,
    }])
    .unwrap()
}

fn is_hidden(ranges: &[Range], at: usize) -> bool {
    let at = at as u64;
    ranges
        .iter()
        .any(|range| range.start <= at && at < range.end)
}

/// Hides what was written but for `shown` bytes at either side, and nothing of the neighbours beyond a few digits.
#[track_caller]
fn check(
    name: &str,
    secret: &[u8],
    written: &[u8],
    (front, back): (usize, usize),
    before: &[u8],
    behind: &[u8],
    cuts: &[Index],
) {
    let text = [before, written, behind].concat();
    let ranges = run(start(secret), &[&text]);
    let first = before.len() + front;
    let last = before.len() + written.len() - back;
    for at in first..last {
        assert!(
            is_hidden(&ranges, at),
            "{name}: byte {at} of {:?}",
            String::from_utf8_lossy(&text)
        );
    }
    assert_eq!(run(start(secret), &cut(&text, cuts)), ranges, "{name}, cut");
}

/// Long enough, and with letters enough, for every form: at least ten letters and digits, six bytes of anything.
fn secret() -> impl Strategy<Value = Vec<u8>> {
    "[a-zA-Z0-9]{4}[a-zA-Z0-9 '\"&<>$^/+._-]{0,12}[a-zA-Z0-9]{6,20}".prop_map(String::into_bytes)
}

/// What no encoder would take for a part of what it writes.
fn neighbour() -> impl Strategy<Value = Vec<u8>> {
    "[ .,:;!?()\n]{0,6}".prop_map(String::into_bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_way_to_write_a_secret(secret in secret(), before in neighbour(), behind in neighbour(), cuts in cuts()) {
        for (name, write, front, back) in WAYS {
            check(name, &secret, &write(&secret), (front, back), &before, &behind, &cuts);
        }
    }

    #[test]
    fn two_encodings_deep(secret in secret(), before in neighbour(), behind in neighbour(), cuts in cuts()) {
        for (name, write) in NESTED {
            check(name, &secret, &write(&secret), (8, 8), &before, &behind, &cuts);
        }
    }

    #[test]
    fn the_secret_itself_among_any_bytes(secret in prop::collection::vec(any::<u8>(), 4..40), before in prop::collection::vec(any::<u8>(), 0..20), behind in prop::collection::vec(any::<u8>(), 0..20), cuts in cuts()) {
        prop_assume!(!secret.iter().all(u8::is_ascii_digit));
        check("raw", &secret, &secret, (0, 0), &before, &behind, &cuts);
    }

    #[test]
    fn eight_letters_of_a_token(token in "([a-z][0-9][A-Z]){8}", from in 0..16_usize, before in neighbour(), behind in neighbour(), cuts in cuts()) {
        let piece = &token.as_bytes()[from..from + 8];
        check("fragment", token.as_bytes(), piece, (0, 0), &before, &behind, &cuts);
    }

    #[test]
    fn a_token_in_a_dump_of_lines(token in "([a-z][0-9][A-Z]){12}", skipped in 0..9_usize, cuts in cuts()) {
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
        let ranges = run(start(token.as_bytes()), &[&dump]);
        for at in pieces.into_iter().flatten() {
            prop_assert!(is_hidden(&ranges, at), "byte {} of {}", at, String::from_utf8_lossy(&dump));
        }
        prop_assert_eq!(run(start(token.as_bytes()), &cut(&dump, &cuts)), ranges);
    }

    #[test]
    fn lines_and_leaves(line in "[a-z]{4}[0-9A-F]{12}", cuts in cuts()) {
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

    #[test]
    fn guesses_of_a_number_look_all_the_same(digits in 4..=10_u32, pick: u64, others in prop::collection::vec(any::<u64>(), 1..20), place: Index, backwards: bool, cuts in cuts()) {
        let number = |pick: u64| (10_u64.pow(digits - 1) + pick % (9 * 10_u64.pow(digits - 1))).to_string();
        let secret = number(pick);
        let hidden = |numbers: &[String]| {
            let text = numbers.join(" or ");
            let whole = run(start(secret.as_bytes()), &[text.as_bytes()]);
            assert_eq!(run(start(secret.as_bytes()), &cut(text.as_bytes(), &cuts)), whole);
            whole
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
