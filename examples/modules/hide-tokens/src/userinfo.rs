//! Passwords in URLs.

#![forbid(unsafe_code)]

use scan::{Found, Shape, distance_of, length};

/// Longest `user:password@` that is seen, in bytes.
const USERINFO_MAX_BYTES: usize = 2048;

/// The password of `//user:password@host`. It may have an `@` in it, but no `/`.
pub(crate) struct Password;

impl Shape for Password {
    fn at(&self, _: &[u8], rest: &[u8], ended: bool) -> Found {
        let skipped = distance_of(b'/', rest);
        if skipped > 0 {
            return Found::Nothing(skipped);
        }
        match rest.get(1) {
            None if !ended => return Found::Undecided,
            Some(b'/') => {}
            _ => return Found::Nothing(1),
        }
        let text = &rest[2..rest.len().min(2 + USERINFO_MAX_BYTES)];
        let whole = length(text, is_authority);
        if whole == text.len() && whole < USERINFO_MAX_BYTES && !ended {
            return Found::Undecided;
        }
        let authority = &text[..whole];
        let colon = authority.iter().position(|&byte| byte == b':');
        let at = authority.iter().rposition(|&byte| byte == b'@');
        match (colon, at) {
            (Some(colon), Some(at)) if colon + 1 < at => Found::Bytes {
                start: 2 + colon + 1,
                end: 2 + at,
                next: 2 + at,
                subject: 5,
            },
            _ => Found::Nothing(1),
        }
    }
}

fn is_authority(byte: u8) -> bool {
    !matches!(
        byte,
        0..=b' ' | 0x7f | b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>' | b'`' | b'\\'
    )
}
