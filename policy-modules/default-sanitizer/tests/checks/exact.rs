//! Exact needles against the oracle.

use default_sanitizer::{ENCODED_MIN_BYTES, Needle, Needles, Range, Sanitizer};

use super::harness::{find, hidden, united};
use super::oracle;

/// Searches just these values, exactly.
pub(crate) fn start(secrets: &[Vec<u8>]) -> Sanitizer {
    let needle = |(subject, value): (u32, &Vec<u8>)| Needle {
        subject,
        form: 0,
        bytes: value.clone().into(),
        raw: true,
        decoded: value.len() >= ENCODED_MIN_BYTES,
    };
    Sanitizer::search(&Needles {
        exact: (0..).zip(secrets).map(needle).collect(),
        ..Needles::default()
    })
}

/// `ranges` hide what the oracle hides and nothing else, and each is made of occurrences of its own subject.
fn check_against_oracle(secrets: &[Vec<u8>], text: &[u8], ranges: &[Range]) {
    let occurrences = united(oracle::occurrences(secrets, text));
    if secrets.len() == 1 {
        assert_eq!(ranges, occurrences);
    }
    assert_eq!(hidden(ranges), hidden(&occurrences));
    for range in ranges {
        assert!(occurrences.iter().any(|known| {
            (known.subject, known.form) == (range.subject, range.form)
                && known.start <= range.start
                && range.end <= known.end
        }));
    }
}

pub(crate) fn check(secrets: &[Vec<u8>], text: &[u8], cuts: &[u16]) {
    let found = find(|| start(secrets), text, cuts);
    check_against_oracle(secrets, text, &found);
}

pub(crate) fn base64(plain: &[u8], url: bool) -> String {
    let (plus, slash) = if url { ('-', '_') } else { ('+', '/') };
    let alphabet: Vec<char> = ('A'..='Z')
        .chain('a'..='z')
        .chain('0'..='9')
        .chain([plus, slash])
        .collect();
    let mut text = String::new();
    for group in plain.chunks(3) {
        let bits = (0..3).fold(0, |bits, index| {
            bits << 8 | u32::from(*group.get(index).unwrap_or(&0))
        });
        for digit in 0..=group.len() {
            text.push(alphabet[(bits >> (18 - 6 * digit) & 63) as usize]);
        }
    }
    text
}

/// `digits` with line breaks of some kind in it, in lines of `columns`.
pub(crate) fn wrapped(digits: &str, columns: usize) -> Vec<u8> {
    let line_break = ["\n", "\r\n", "\n  ", "\n\r\n\t"][columns % 4];
    let lines: Vec<_> = digits.as_bytes().chunks(columns).collect();
    lines.join(line_break.as_bytes())
}

/// The ways of [`written`].
pub(crate) const WAYS: usize = 10;

/// `secret` as some program may write it. `choice` has a number for each byte.
pub(crate) fn written(secret: &[u8], way: usize, choice: &[u8]) -> Vec<u8> {
    let each = |write: &dyn Fn(u8, u8) -> String| {
        let text: String = secret
            .iter()
            .zip(choice.iter().cycle())
            .map(|(&b, &c)| write(b, c))
            .collect();
        text.into_bytes()
    };
    let prefix = &choice[..usize::from(choice[0] % 4).min(choice.len())];
    match way {
        0 => secret.to_vec(),
        1 | 2 => base64(&[prefix, secret, prefix].concat(), way == 1).into_bytes(),
        3 => each(&|byte, c| {
            if c % 2 == 0 {
                format!("{byte:02x}")
            } else {
                format!("{byte:02X}")
            }
        }),
        4 => each(&|byte, c| match (c % 3, byte) {
            (0, _) => format!("%{byte:02x}"),
            (1, _) => format!("%{byte:02X}"),
            (_, b' ') => "+".to_owned(),
            _ => char::from(byte).to_string(),
        }),
        6 => wrapped(
            &base64(&[prefix, secret, prefix].concat(), false),
            1 + usize::from(choice[1] % 20),
        ),
        7 => wrapped(
            &secret
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>(),
            1 + usize::from(choice[1] % 20),
        ),
        8 => each(&|byte, c| match (c % 4, byte) {
            (0, _) => format!("&#{byte};"),
            (1, _) => format!("&#x0{byte:X};"),
            (2, b'"') => "&quot;".to_owned(),
            _ => char::from(byte).to_string(),
        }),
        9 => each(&|byte, c| match c % 4 {
            0 => format!("\\x{byte:02x}"),
            1 => format!("\\{byte:03o}"),
            2 => format!("\\{byte:o}"),
            _ => char::from(byte).to_string(),
        }),
        _ => each(&|byte, c| match (c % 3, byte) {
            (0, _) => format!("\\u{byte:04x}"),
            (1, b'"' | b'\\' | b'/') => format!("\\{}", char::from(byte)),
            (1, b'\n') => "\\n".to_owned(),
            (1, _) => format!("\\u{byte:04X}"),
            _ => char::from(byte).to_string(),
        }),
    }
}
