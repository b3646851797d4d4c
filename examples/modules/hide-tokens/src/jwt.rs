//! JSON Web Tokens.

#![forbid(unsafe_code)]

use scan::{Found, Shape, distance_of_pair, length};

use crate::is_word;

/// `{"` in base64.
const HEADER: &[u8] = b"eyJ";
/// Longest header, in bytes: it names an algorithm and a key, or is no header.
const HEADER_MAX_BYTES: usize = 1024;
/// Shortest header, and shortest beginning of what follows.
const PART_MIN_BYTES: usize = 8;

/// Words in base64 for URLs, joined by dots, of which the first is a JSON object (RFC 7515, RFC 7516).
pub(crate) struct Jwt;

impl Shape for Jwt {
    fn at(&self, _: &[u8], rest: &[u8], ended: bool) -> Found {
        let skipped = distance_of_pair(rest, |first, second| (first, second) == (b'e', b'y'));
        if skipped > 0 {
            return Found::Nothing(skipped);
        }
        let seen = rest.len().min(HEADER.len());
        if rest[..seen] != HEADER[..seen] {
            return Found::Nothing(1);
        }
        let header = length(&rest[..rest.len().min(HEADER_MAX_BYTES)], is_word);
        if header == rest.len() && header < HEADER_MAX_BYTES && !ended {
            return Found::Undecided;
        }
        if !(PART_MIN_BYTES..HEADER_MAX_BYTES).contains(&header) || rest.get(header) != Some(&b'.')
        {
            return Found::Nothing(1);
        }
        let next = &rest[header + 1..];
        let part = length(&next[..next.len().min(PART_MIN_BYTES)], is_word);
        if part == PART_MIN_BYTES {
            Found::Run {
                start: 0,
                class: |byte| is_word(byte) || byte == b'.',
                subject: 4,
            }
        } else if part == next.len() && !ended {
            Found::Undecided
        } else {
            Found::Nothing(1)
        }
    }
}
