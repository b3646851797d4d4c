//! Everything that was written of a secret is hidden.

use default_sanitizer::{Range, Sanitizer, Secret};

use super::harness::find;
use super::writers::{Write, base64, base64url, bytes, lines};

/// How many bytes in front and at the end may stay visible.
pub(crate) type Shown = (usize, usize);

/// The inner one of two encodings, with the digits of it that may stay visible at either side: they hold other bytes, too.
pub(crate) const INNER: [(Write, usize, usize); 7] = [
    (base64, 0, 1),
    (base64url, 0, 1),
    (|s| base64(&[b"x", s].concat()), 2, 1),
    (|s| base64(&[b"xy", s, b"z"].concat()), 3, 2),
    (|s| base64(&[s, b"\n"].concat()), 0, 2),
    (|s| bytes(s, |b| format!("{b:02x}"), ""), 0, 0),
    (|s| bytes(s, |b| format!("{b:02X}"), ""), 0, 0),
];

/// The outer one of two encodings.
pub(crate) const OUTER: [Write; 13] = [
    base64,
    base64url,
    |s| base64(&[b"x", s].concat()),
    |s| base64(&[b"xy", s, b"z"].concat()),
    |s| lines(&base64(s), 76),
    |s| bytes(s, |b| format!("{b:02x}"), ""),
    |s| bytes(s, |b| format!("{b:02X}"), ""),
    |s| bytes(s, |b| format!("%{b:02x}"), ""),
    |s| bytes(s, |b| format!("\\u{b:04X}"), ""),
    |s| bytes(s, |b| format!("\\x{b:02x}"), ""),
    |s| bytes(s, |b| format!("\\{b:03o}"), ""),
    |s| bytes(s, |b| format!("&#{b};"), ""),
    |s| bytes(s, |b| format!("&#x{b:x};"), ""),
];

/// Bytes that may stay visible at either side of `outer`, which is written of `inner` of which some may.
pub(crate) fn shown_of_two(inner: &[u8], outer: &[u8], (front, back): Shown) -> Shown {
    let width = outer.len().div_ceil(inner.len());
    // The outer encoding may have digits that hold other bytes, as well: three in front, and two at the end.
    (front * width + 3, back * width + 2)
}

pub(crate) fn start(secret: &[u8]) -> Sanitizer {
    Sanitizer::start(&[Secret {
        name: "name",
        value: secret,
    }])
    .unwrap()
}

pub(crate) fn is_hidden(ranges: &[Range], at: usize) -> bool {
    let at = at as u64;
    ranges
        .iter()
        .any(|range| range.start <= at && at < range.end)
}

/// Hides what was written but for `front` and `back` bytes at either side.
#[track_caller]
pub(crate) fn check(
    name: &str,
    secret: &[u8],
    written: &[u8],
    (front, back): Shown,
    before: &[u8],
    behind: &[u8],
    cuts: &[u16],
) {
    let text = [before, written, behind].concat();
    let ranges = find(|| start(secret), &text, cuts);
    let first = before.len() + front;
    let last = before.len() + written.len() - back;
    for at in first..last {
        assert!(
            is_hidden(&ranges, at),
            "{name}: byte {at} of {:?}",
            String::from_utf8_lossy(&text)
        );
    }
}
