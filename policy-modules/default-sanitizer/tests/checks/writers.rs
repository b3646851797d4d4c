//! What programs write of a secret.

pub(crate) type Write = fn(&[u8]) -> Vec<u8>;

pub(crate) fn bytes(secret: &[u8], write: impl Fn(u8) -> String, between: &str) -> Vec<u8> {
    let all: Vec<String> = secret.iter().map(|&byte| write(byte)).collect();
    all.join(between).into_bytes()
}

pub(crate) fn chars(secret: &[u8], between: &str) -> Vec<u8> {
    let all: Vec<&[u8]> = secret.chunks(1).collect();
    all.join(between.as_bytes())
}

pub(crate) fn base64(plain: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    in_digits(plain, 6, DIGITS)
}

pub(crate) fn base64url(plain: &[u8]) -> Vec<u8> {
    let url = |byte: u8| match byte {
        b'+' => b'-',
        b'/' => b'_',
        byte => byte,
    };
    base64(plain).into_iter().map(url).collect()
}

pub(crate) fn base32(plain: &[u8]) -> Vec<u8> {
    in_digits(plain, 5, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
}

pub(crate) fn in_digits(plain: &[u8], width: usize, alphabet: &[u8]) -> Vec<u8> {
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

pub(crate) fn lines(text: &[u8], columns: usize) -> Vec<u8> {
    text.chunks(columns).collect::<Vec<_>>().join(&b"\n"[..])
}

pub(crate) fn swapped_case(secret: &[u8]) -> Vec<u8> {
    let swap = |byte: &u8| match byte {
        b'a'..=b'z' => byte.to_ascii_uppercase(),
        _ => byte.to_ascii_lowercase(),
    };
    secret.iter().map(swap).collect()
}

pub(crate) fn rot13(secret: &[u8]) -> Vec<u8> {
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

pub(crate) fn xml(secret: &[u8], apostrophe: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(secret)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    text.replace('"', "&quot;")
        .replace('\'', apostrophe)
        .into_bytes()
}

pub(crate) fn utf16(secret: &[u8], order: fn(u16) -> [u8; 2]) -> Vec<u8> {
    secret
        .iter()
        .flat_map(|byte| order(u16::from(*byte)))
        .collect()
}

/// Each with how many bytes of what was written may stay visible: in front, where up to two letters that stand apart do,
/// and at the end, where it is what frames the last byte.
pub(crate) const WAYS: [(&str, Write, usize, usize); 56] = [
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
    ("base64url", base64url, 0, 0),
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
fn percent(plain: &[u8]) -> Vec<u8> {
    percent_as(plain, |b| format!("%{b:02X}"))
}

fn small_percent(plain: &[u8]) -> Vec<u8> {
    percent_as(plain, |b| format!("%{b:02x}"))
}

fn percent_as(plain: &[u8], escape: fn(u8) -> String) -> Vec<u8> {
    let write = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(b).to_string()
        }
        _ => escape(b),
    };
    bytes(plain, write, "")
}

/// A string of JSON, without the quotes around it.
fn json(plain: &[u8]) -> Vec<u8> {
    let write = |b: u8| match b {
        b'"' | b'\\' => format!("\\{}", char::from(b)),
        _ => char::from(b).to_string(),
    };
    bytes(plain, write, "")
}

pub(crate) const NESTED: [(&str, Write); 15] = [
    ("percent where it must be, twice", |s| percent(&percent(s))),
    ("the same in small letters", |s| {
        small_percent(&small_percent(s))
    }),
    ("a JSON string in a JSON string", |s| json(&json(s))),
    ("a JSON string in base64", |s| base64(&json(s))),
    ("percent within a JSON string", |s| {
        json(&[b"\"", &percent(s)[..], b"\""].concat())
    }),
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
