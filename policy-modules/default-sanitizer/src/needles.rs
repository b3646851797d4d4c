//! What is searched for: each secret, its parts, and the ways to write them that no view decodes.
//!
//! The exact needles are searched in the text and in what digits and escapes in it stand for. A second encoding around the
//! first is seen through by needles that are encoded already. The loose needles are searched in what is left of the text
//! when everything but letters and digits has been taken out ([`crate::loose`]).

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use crate::engine::{Secret, form};
use crate::loose;
use crate::parts;
use crate::shape::{Numbers, is_guessable};

/// Encoded forms of shorter values are not searched: they would be found by chance in ordinary text.
pub const ENCODED_MIN_BYTES: usize = 6;

/// The longest value of which every loose form is searched.
const ALL_FORMS_MAX_BYTES: usize = 512;

/// The longest value of which anything but itself and its letters is searched: pieces take a hundred times its room.
const MANY_FORMS_MAX_BYTES: usize = 4096;

/// Letters and digits of a loose needle, at least: less is found by chance.
pub const LOOSE_MIN_BYTES: usize = 8;

/// Letters in a row that are a piece of any value: two words, or a long one.
const PIECE_BYTES: usize = 12;

/// Bytes to find: not printable, not cloneable, wiped.
pub struct Needle {
    /// Number of the secret that it tells of.
    pub subject: u32,
    /// How that is written, as an index into [`FORMS`](crate::FORMS); digits and escapes have forms of their own.
    pub form: u32,
    /// Not empty.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Searched in the text as it came.
    pub raw: bool,
    /// Searched in what digits and escapes stand for.
    pub decoded: bool,
}

/// All needles of some secrets. Of equal ones the first is the one that is found.
#[derive(Default)]
pub struct Needles {
    /// Searched byte for byte.
    pub exact: Vec<Needle>,
    /// Searched in letters and digits alone: made of small letters and digits, and at least eight long.
    pub loose: Vec<Needle>,
    /// Numbers that are hidden whatever they are.
    pub numbers: Option<Numbers>,
}

impl Needles {
    /// What is to be searched so that these secrets are found. None of them is empty.
    pub fn of(secrets: &[Secret<'_>]) -> Self {
        let mut needles = Self::default();
        // Whole values first: they give their names to what is equal.
        for (subject, secret) in (0..).zip(secrets) {
            needles.value(subject, form::RAW, secret.value);
        }
        for (subject, secret) in (0..).zip(secrets) {
            for part in parts::of(secret.value) {
                needles.value(subject, form::PART, &part);
            }
        }
        for (subject, secret) in (0..).zip(secrets) {
            needles.fragments(subject, secret.value);
        }
        needles
    }

    fn value(&mut self, subject: u32, form: u32, value: &[u8]) {
        let encoded = value.len() >= ENCODED_MIN_BYTES;
        // As it stands it is hidden with all numbers, and must not be told from them.
        let raw = !is_guessable(value);
        if !raw {
            let digits = value.len() as u64;
            let numbers = self.numbers.get_or_insert(Numbers { subject, digits });
            numbers.digits = numbers.digits.min(digits);
        }
        if raw || encoded {
            self.exact.push(Needle {
                subject,
                form,
                bytes: value.to_vec().into(),
                raw,
                decoded: encoded,
            });
        }
        if encoded {
            self.written(subject, value);
        }
        if encoded && value.len() <= MANY_FORMS_MAX_BYTES {
            self.nested(subject, value);
        }
    }

    /// The inner one of two encodings, as programs write it.
    fn nested(&mut self, subject: u32, value: &[u8]) {
        let mut inner = vec![hex(value, 'a'), hex(value, 'A')];
        for url in [false, true] {
            inner.extend((0..3).map(|phase| base64(value, phase, url)));
        }
        inner.extend(["0123456789abcdef", "0123456789ABCDEF"].map(|digits| percent(value, digits)));
        inner.push(each(value, json));
        // What changes nothing is searched already.
        let mut known = BTreeSet::from([value.to_vec()]);
        for bytes in inner {
            if known.insert(bytes.to_vec()) {
                self.exact.push(Needle {
                    subject,
                    form: form::RAW,
                    bytes,
                    raw: false,
                    decoded: true,
                });
            }
        }
    }

    /// What is searched in letters and digits alone.
    fn written(&mut self, subject: u32, value: &[u8]) {
        // What looks like a number is hidden with all numbers, and must not be told from them.
        let is_number = is_guessable(value);
        if !is_number {
            self.loose(subject, form::LOOSE, value);
        }
        if value.len() > MANY_FORMS_MAX_BYTES {
            return;
        }
        if !is_number {
            let backwards = value.iter().rev().copied().collect::<Vec<_>>();
            let turned = each(value, |byte, to| to.push(rot13(byte)));
            self.loose(subject, form::REVERSED, &Zeroizing::new(backwards));
            self.loose(subject, form::ROT13, &turned);
        }
        self.loose(subject, form::HEX, &hex(value, 'a'));
        if value.len() > ALL_FORMS_MAX_BYTES {
            return;
        }
        for (form, write) in BYTEWISE {
            self.loose(subject, form, &each(value, write));
        }
        for phase in 0..5 {
            self.loose(subject, form::BASE32, &base32(value, phase));
        }
    }

    /// Pieces: of its letters and digits, and in hex, as the lines of a dump hold them.
    fn fragments(&mut self, subject: u32, value: &[u8]) {
        if value.len() > MANY_FORMS_MAX_BYTES {
            return;
        }
        let letters = value.iter().copied().filter(u8::is_ascii_alphanumeric);
        let letters: Zeroizing<Vec<u8>> = letters.collect::<Vec<_>>().into();
        for piece in pieces(&letters) {
            self.loose(subject, form::FRAGMENT, piece);
        }
        for piece in pieces(value) {
            self.loose(subject, form::HEX, &hex(piece, 'a'));
        }
    }

    fn loose(&mut self, subject: u32, form: u32, text: &[u8]) {
        let bytes: Zeroizing<Vec<u8>> = loose::letters(text).collect::<Vec<_>>().into();
        if bytes.len() >= LOOSE_MIN_BYTES {
            self.loose.push(Needle {
                subject,
                form,
                bytes,
                raw: true,
                decoded: false,
            });
        }
    }
}

/// Any eight in a row that look random, and any twelve, if those are not just the former.
fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let short = text.windows(LOOSE_MIN_BYTES);
    let long = text.windows(PIECE_BYTES).filter(|piece| {
        let (front, back) = (
            &piece[..LOOSE_MIN_BYTES],
            &piece[PIECE_BYTES - LOOSE_MIN_BYTES..],
        );
        !looks_random(front) || !looks_random(back)
    });
    short.filter(|piece| looks_random(piece)).chain(long)
}

/// Ordinary words change between small letters, capitals and digits less often than that.
fn looks_random(window: &[u8]) -> bool {
    const CHANGES_MIN: usize = 3;
    let class = |byte: u8| (byte.is_ascii_digit(), byte.is_ascii_uppercase());
    let changes = window
        .windows(2)
        .filter(|pair| class(pair[0]) != class(pair[1]));
    changes.count() >= CHANGES_MIN
}

type Write = fn(u8, &mut Vec<u8>);

/// Ways to write each byte by itself, as letters and digits; signs around them are left out of the text as well. What stands in
/// escapes (`\x73`, `\u0073`, `&#115;`) is found by the views of those.
const BYTEWISE: [(u32, Write); 5] = [
    // `0x73`
    (form::HEX, |byte, to| {
        to.extend([b'0', b'x', digit(byte >> 4), digit(byte & 15)]);
    }),
    // `%2573`
    (form::PERCENT, |byte, to| {
        to.extend([b'2', b'5', digit(byte >> 4), digit(byte & 15)]);
    }),
    // `115 101`
    (form::DECIMAL, |byte, to| {
        to.extend(byte.to_string().bytes())
    }),
    // `163 145`
    (form::OCTAL, |byte, to| {
        to.extend([6, 3, 0].map(|bit| digit(byte >> bit & 7)))
    }),
    (form::BINARY, |byte, to| {
        to.extend([7, 6, 5, 4, 3, 2, 1, 0].map(|bit| digit(byte >> bit & 1)));
    }),
];

fn each(value: &[u8], write: impl Fn(u8, &mut Vec<u8>)) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(value.len() * 8));
    value.iter().for_each(|&byte| write(byte, &mut text));
    text
}

fn rot13(byte: u8) -> u8 {
    let turn = |first: u8| first + (byte - first + 13) % 26;
    match byte {
        b'a'..=b'z' => turn(b'a'),
        b'A'..=b'Z' => turn(b'A'),
        _ => byte,
    }
}

/// As in a URL, with all but unreserved characters escaped (RFC 3986).
fn percent(value: &[u8], digits: &str) -> Zeroizing<Vec<u8>> {
    let digits = digits.as_bytes();
    each(value, |byte, to| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(byte);
        } else {
            let [high, low] = [byte >> 4, byte & 15].map(usize::from);
            to.extend([b'%', digits[high], digits[low]]);
        }
    })
}

/// As in a string of JSON, with the escapes that have a name (RFC 8259).
fn json(byte: u8, to: &mut Vec<u8>) {
    let named = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => return to.push(byte),
    };
    to.extend([b'\\', named]);
}

/// A digit of hex, in small letters.
fn digit(value: u8) -> u8 {
    b"0123456789abcdef"[usize::from(value)]
}

pub(crate) fn hex(value: &[u8], ten: char) -> Zeroizing<Vec<u8>> {
    let digit = |value: u8| match value {
        0..10 => b'0' + value,
        _ => ten as u8 + value - 10,
    };
    each(value, |byte, to| {
        to.extend([digit(byte >> 4), digit(byte & 15)])
    })
}

/// The digits of base64 (RFC 4648) that a value determines alone when it begins at byte `phase` of a group.
pub(crate) fn base64(value: &[u8], phase: usize, url: bool) -> Zeroizing<Vec<u8>> {
    const DIGITS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let digit = |value: usize| match (value, url) {
        (62, false) => b'+',
        (62, true) => b'-',
        (63, false) => b'/',
        (63, true) => b'_',
        _ => DIGITS[value],
    };
    digits(value, 6, 8 * phase)
        .map(digit)
        .collect::<Vec<_>>()
        .into()
}

/// The same of base32.
fn base32(value: &[u8], phase: usize) -> Zeroizing<Vec<u8>> {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digits = digits(value, 5, 8 * phase).map(|value| DIGITS[value]);
    digits.collect::<Vec<_>>().into()
}

/// The values of the whole digits of `width` bits in a value that begins `before` bits behind the start of a digit.
fn digits(value: &[u8], width: usize, before: usize) -> impl Iterator<Item = usize> {
    let skipped = (width - before % width) % width;
    let count = (8 * value.len()).saturating_sub(skipped) / width;
    (0..count).map(move |index| {
        let first = skipped + index * width;
        let behind = value.get(first / 8 + 1).copied().unwrap_or(0);
        let bytes = u16::from_be_bytes([value[first / 8], behind]);
        usize::from(bytes << (first % 8) >> (16 - width))
    })
}
