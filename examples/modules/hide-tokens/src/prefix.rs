//! Tokens that begin with the name of their kind.

#![forbid(unsafe_code)]

use scan::{Class, Found, Shape, distance_of_pair, length};

use crate::is_word;

/// A kind of tokens.
struct Kind {
    prefix: &'static [u8],
    class: Class,
    /// Fewest bytes behind the prefix.
    min_bytes: usize,
    subject: u32,
    /// Whether the prefix is so short that it is part of words.
    is_common: bool,
}

const fn kind(prefix: &'static [u8], class: Class, subject: u32) -> Kind {
    Kind {
        prefix,
        class,
        min_bytes: 16,
        subject,
        is_common: false,
    }
}

const KINDS: [Kind; 10] = [
    kind(b"ghp_", is_word, 0),
    kind(b"gho_", is_word, 0),
    kind(b"ghu_", is_word, 0),
    kind(b"ghs_", is_word, 0),
    kind(b"ghr_", is_word, 0),
    kind(b"github_pat_", is_word, 0),
    kind(b"glpat-", is_word, 1),
    kind(b"AKIA", is_upper, 2),
    kind(b"ASIA", is_upper, 2),
    Kind {
        prefix: b"sk-",
        class: is_word,
        min_bytes: 20,
        subject: 3,
        is_common: true,
    },
];
/// How far behind a common prefix something is looked for that no name in lower case has: a digit or a capital.
const ODD_WITHIN_BYTES: usize = 40;

/// A token such as `ghp_…`, `glpat-…`, `AKIA…` or `sk-…`.
pub(crate) struct Prefixed;

impl Shape for Prefixed {
    fn at(&self, before: &[u8], rest: &[u8], ended: bool) -> Found {
        let skipped = distance_of_pair(rest, |first, second| match first {
            b'g' => matches!(second, b'h' | b'i' | b'l'),
            b'A' => matches!(second, b'K' | b'S'),
            first => first == b's' && second == b'k',
        });
        if skipped > 0 {
            return Found::Nothing(skipped);
        }
        let mut found = Found::Nothing(1);
        for kind in &KINDS {
            match kind.at(before, rest, ended) {
                Found::Nothing(_) => {}
                // A later kind could not be certain either: no prefix is the beginning of another.
                other => found = other,
            }
        }
        found
    }
}

impl Kind {
    fn at(&self, before: &[u8], rest: &[u8], ended: bool) -> Found {
        let seen = rest.len().min(self.prefix.len());
        let is_in_word = before.last().is_some_and(u8::is_ascii_alphanumeric);
        if rest[..seen] != self.prefix[..seen] || (self.is_common && is_in_word) {
            return Found::Nothing(1);
        }
        let token = &rest[seen..];
        let window = if self.is_common {
            ODD_WITHIN_BYTES
        } else {
            self.min_bytes
        };
        let run = length(&token[..token.len().min(window)], self.class);
        if run == token.len() && run < window && !ended {
            return Found::Undecided;
        }
        let is_odd = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
        if run < self.min_bytes || (self.is_common && !token[..run].iter().any(is_odd)) {
            return Found::Nothing(1);
        }
        Found::Run {
            start: 0,
            class: self.class,
            subject: self.subject,
        }
    }
}

fn is_upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}
