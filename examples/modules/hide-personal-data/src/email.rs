//! E-mail addresses.

#![forbid(unsafe_code)]

use scan::{Found, Shape, distance, distance_of, length};

/// Longest part before the `@` that is looked at, in bytes: more is not allowed (RFC 5321, 4.5.3.1.1).
const LOCAL_MAX_BYTES: usize = 64;
/// Longest part behind it (RFC 5321, 4.5.3.1.2).
const DOMAIN_MAX_BYTES: usize = 255;

/// An address such as `name@example.com`. Of quoted names, the last part; letters outside of ASCII count as such.
pub(crate) struct Email;

impl Shape for Email {
    fn at(&self, _: &[u8], rest: &[u8], ended: bool) -> Found {
        // Nothing begins further away from an `@` than the longest name.
        let far = distance_of(b'@', rest).saturating_sub(LOCAL_MAX_BYTES);
        let skipped = far + distance(&rest[far..], is_local);
        if skipped > 0 {
            return Found::Nothing(skipped);
        }
        let local = length(rest, is_local);
        if local > LOCAL_MAX_BYTES {
            return Found::Nothing(local - LOCAL_MAX_BYTES);
        }
        match rest.get(local) {
            None if ended => Found::Nothing(local),
            None => Found::Undecided,
            Some(b'@') => domain(rest, local + 1, ended),
            Some(_) => Found::Nothing(local),
        }
    }
}

/// What begins in front of the domain that begins at `start`.
fn domain(rest: &[u8], start: usize, ended: bool) -> Found {
    let text = &rest[start..];
    let text = &text[..text.len().min(DOMAIN_MAX_BYTES)];
    let whole = length(text, |byte| is_domain(byte) || byte == b'.');
    if whole == text.len() && whole < DOMAIN_MAX_BYTES && !ended {
        return Found::Undecided;
    }
    match domain_length(&text[..whole]) {
        0 => Found::Nothing(start),
        length => Found::Bytes {
            start: 0,
            end: start + length,
            next: start + length,
            subject: 0,
        },
    }
}

/// Length of the longest beginning that is a name with a dot, of which the last part has two letters or more and nothing else.
fn domain_length(text: &[u8]) -> usize {
    let (mut longest, mut labels, mut label, mut letters) = (0, 0, 0, true);
    for (index, &byte) in text.iter().enumerate() {
        if byte == b'.' {
            if label == 0 {
                break;
            }
            (labels, label, letters) = (labels + 1, 0, true);
            continue;
        }
        label += 1;
        letters &= is_letter(byte);
        if labels > 0 && label >= 2 && letters {
            longest = index + 1;
        }
    }
    longest
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || !byte.is_ascii()
}

fn is_domain(byte: u8) -> bool {
    is_letter(byte) || byte.is_ascii_digit() || byte == b'-'
}

fn is_local(byte: u8) -> bool {
    is_letter(byte) || byte.is_ascii_digit() || b"._%+-".contains(&byte)
}
