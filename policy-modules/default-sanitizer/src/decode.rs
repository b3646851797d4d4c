//! What escapes stand for.

#![forbid(unsafe_code)]

/// The longest escape: a surrogate pair, `\ud83d\ude00`. References have leading zeros up to that.
pub(crate) const ESCAPE_MAX_BYTES: usize = 12;

/// What the beginning of some text is.
pub(crate) enum Decoded {
    /// A byte that stands for itself.
    Literal,
    /// An escape of `len` bytes, which stands for `bytes[..count]`.
    Escape {
        len: usize,
        bytes: [u8; 4],
        count: usize,
    },
    /// An escape, if the right bytes follow.
    Incomplete,
}

/// Of a percent sign, or of a plus sign for a space.
pub(crate) fn percent(text: &[u8]) -> Decoded {
    match text {
        [b'+', ..] => escape(1, b" "),
        [_, digits @ ..] => match hex(digits, 2) {
            Some(value) => escape(3, &[value as u8]),
            None => missing(digits, 2),
        },
        [] => Decoded::Incomplete,
    }
}

/// Of a backslash in JSON, C and shells.
pub(crate) fn backslash(text: &[u8]) -> Decoded {
    let byte = match text.get(1) {
        None => return Decoded::Incomplete,
        Some(b'u') => return backslash_unicode(&text[2..]),
        Some(b'x') => {
            return match hex(&text[2..], 2) {
                Some(value) => escape(4, &[value as u8]),
                None => missing(&text[2..], 2),
            };
        }
        Some(b'0'..=b'7') => return octal(&text[1..]),
        Some(b'a') => 0x07,
        Some(b'b') => 0x08,
        Some(b't') => b'\t',
        Some(b'n') => b'\n',
        Some(b'v') => 0x0B,
        Some(b'f') => 0x0C,
        Some(b'r') => b'\r',
        Some(b'e') => 0x1B,
        // JSON has three of them, shells all.
        Some(sign @ b' '..=b'~') if !sign.is_ascii_alphanumeric() => *sign,
        Some(_) => return Decoded::Literal,
    };
    escape(2, &[byte])
}

/// One to three octal digits.
fn octal(digits: &[u8]) -> Decoded {
    let digits = &digits[..digits.len().min(3)];
    let count = digits
        .iter()
        .take_while(|digit| (b'0'..=b'7').contains(digit))
        .count();
    if count == digits.len() && count < 3 {
        return Decoded::Incomplete;
    }
    let value = digits[..count]
        .iter()
        .fold(0_u32, |value, digit| value << 3 | u32::from(digit - b'0'));
    escape(1 + count, &[value as u8])
}

/// `&amp;`, `&#39;`, `&#x27;`.
pub(crate) fn xml(text: &[u8]) -> Decoded {
    const NAMES: [(&[u8], u8); 5] = [
        (b"&amp;", b'&'),
        (b"&lt;", b'<'),
        (b"&gt;", b'>'),
        (b"&quot;", b'"'),
        (b"&apos;", b'\''),
    ];
    for (name, byte) in NAMES {
        if text.starts_with(name) {
            return escape(name.len(), &[byte]);
        }
        if name.starts_with(text) {
            return Decoded::Incomplete;
        }
    }
    let (first, radix) = match text {
        [b'&', b'#'] => return Decoded::Incomplete,
        [b'&', b'#', b'x' | b'X', ..] => (3, 16),
        [b'&', b'#', ..] => (2, 10),
        _ => return Decoded::Literal,
    };
    let digits = text[first..]
        .iter()
        .take_while(|byte| char::from(**byte).is_digit(radix));
    let end = first + digits.count();
    match text.get(end) {
        None if end < ESCAPE_MAX_BYTES => Decoded::Incomplete,
        Some(b';') if end > first => {
            let value = text[first..end].iter().try_fold(0_u32, |value, digit| {
                value
                    .checked_mul(radix)?
                    .checked_add(char::from(*digit).to_digit(radix)?)
            });
            match value.and_then(char::from_u32) {
                Some(char) => escape(end + 1, char.encode_utf8(&mut [0; 4]).as_bytes()),
                None => Decoded::Literal,
            }
        }
        _ => Decoded::Literal,
    }
}

/// `text` is what follows `\u`.
fn backslash_unicode(text: &[u8]) -> Decoded {
    let Some(unit) = hex(text, 4) else {
        return missing(text, 4);
    };
    if let Some(char) = char::from_u32(unit) {
        return escape(6, char.encode_utf8(&mut [0; 4]).as_bytes());
    }
    let rest = &text[4..];
    let prefix = &rest[..rest.len().min(2)];
    if unit >= 0xDC00 || !b"\\u".starts_with(prefix) {
        return Decoded::Literal;
    }
    let digits = &rest[prefix.len()..];
    match hex(digits, 4) {
        None => missing(digits, 4),
        Some(low @ 0xDC00..=0xDFFF) => {
            let code = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
            let char = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            escape(12, char.encode_utf8(&mut [0; 4]).as_bytes())
        }
        Some(_) => Decoded::Literal,
    }
}

/// The value of the first `count` bytes of `text`, if they are there and hex digits.
fn hex(text: &[u8], count: usize) -> Option<u32> {
    let digits = text.get(..count)?;
    digits.iter().try_fold(0, |value, &digit| {
        Some(value << 4 | char::from(digit).to_digit(16)?)
    })
}

/// What an escape is whose `count` hex digits are not all in `text`.
fn missing(text: &[u8], count: usize) -> Decoded {
    if text.len() < count && text.iter().all(u8::is_ascii_hexdigit) {
        Decoded::Incomplete
    } else {
        Decoded::Literal
    }
}

fn escape(len: usize, decoded: &[u8]) -> Decoded {
    let mut bytes = [0; 4];
    bytes[..decoded.len()].copy_from_slice(decoded);
    Decoded::Escape {
        len,
        bytes,
        count: decoded.len(),
    }
}
