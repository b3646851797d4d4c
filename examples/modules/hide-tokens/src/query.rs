//! Values of queries, forms and assignments.

#![forbid(unsafe_code)]

use scan::{Found, Shape, distance, distance_of};

/// Names of values that are secret, also as the last part of a longer name: `access_token`, `X-Amz-Signature`.
const NAMES: [&[u8]; 12] = [
    b"token=",
    b"accesstoken=",
    b"api_key=",
    b"apikey=",
    b"api-key=",
    b"access_key=",
    b"secret=",
    b"password=",
    b"passwd=",
    b"sig=",
    b"signature=",
    b"credential=",
];

/// Longest of them, in bytes.
const NAME_MAX_BYTES: usize = 12;

/// The value of `access_token=…` and the like.
pub(crate) struct QueryValue;

impl Shape for QueryValue {
    fn at(&self, before: &[u8], rest: &[u8], ended: bool) -> Found {
        // Nothing begins further away from a `=` than the longest name.
        let far = distance_of(b'=', rest).saturating_sub(NAME_MAX_BYTES);
        let skipped = far + distance(&rest[far..], is_initial);
        if skipped > 0 {
            return Found::Nothing(skipped);
        }
        if before.last().is_some_and(u8::is_ascii_alphanumeric) {
            return Found::Nothing(1);
        }
        let mut found = Found::Nothing(1);
        for name in NAMES {
            match begins(rest, name, ended) {
                Begins::No => {}
                Begins::Undecided => return Found::Undecided,
                Begins::Yes => match rest.get(name.len()) {
                    Some(&byte) if is_value(byte) => {
                        found = Found::Run {
                            start: name.len(),
                            class: is_value,
                            subject: 6,
                        };
                    }
                    None if !ended => return Found::Undecided,
                    _ => {}
                },
            }
        }
        found
    }
}

/// Whether a name begins like this.
fn is_initial(byte: u8) -> bool {
    matches!(byte.to_ascii_lowercase(), b'a' | b'c' | b'p' | b's' | b't')
}

fn is_value(byte: u8) -> bool {
    !matches!(
        byte,
        0..=b' ' | 0x7f | b'&' | b'#' | b'"' | b'\'' | b'<' | b'>' | b'`' | b'\\'
    )
}

/// Whether bytes begin with a text, or are the beginning of it and go on.
enum Begins {
    Yes,
    No,
    Undecided,
}

fn begins(bytes: &[u8], text: &[u8], ended: bool) -> Begins {
    let seen = bytes.len().min(text.len());
    if !bytes[..seen].eq_ignore_ascii_case(&text[..seen]) {
        Begins::No
    } else if seen == text.len() {
        Begins::Yes
    } else if ended {
        Begins::No
    } else {
        Begins::Undecided
    }
}
