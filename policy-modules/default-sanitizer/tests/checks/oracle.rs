//! The sanitizer as slow and obvious as can be: the whole stream at once, every secret at every offset.

use default_sanitizer::{FORMS, Range};

const ENCODED_MIN_BYTES: usize = 6;

/// White space behind a line break that may be the indentation of the next line.
const INDENT_MAX_BYTES: usize = 32;

/// Every occurrence of every secret in every form.
pub(crate) fn occurrences(secrets: &[Vec<u8>], text: &[u8]) -> Vec<Range> {
    let mut all = Vec::new();
    let percent = units(text, percent);
    let percent_plus = units(text, percent_plus);
    let json = units(text, backslash);
    let xml = units(text, xml);
    for (subject, secret) in secrets.iter().enumerate() {
        let mut add = |form: &str, (start, end): (usize, usize)| {
            let form = FORMS.iter().position(|name| *name == form).unwrap() as u32;
            all.push(Range {
                start: start as u64,
                end: end as u64,
                subject: subject as u32,
                form,
            });
        };
        for start in 0..text.len() {
            if text[start..].starts_with(secret) {
                add("raw", (start, start + secret.len()));
            }
        }
        if secret.len() < ENCODED_MIN_BYTES {
            continue;
        }
        for start in 0..text.len() {
            for phase in 0..3 {
                let digits = digits(text, start, secret, phase, 6, base64_value);
                digits.into_iter().for_each(|range| add("base64", range));
            }
            let digits = digits(text, start, secret, 0, 4, hex_value);
            digits.into_iter().for_each(|range| add("hex", range));
        }
        for (form, units) in [
            ("percent", &percent),
            ("percent", &percent_plus),
            ("json", &json),
            ("xml", &xml),
        ] {
            for start in 0..text.len() {
                for skipped in 0..units[start].bytes.len() {
                    if let Some(end) = escaped_end(units, start, skipped, secret) {
                        add(form, (start, end));
                    }
                }
            }
        }
    }
    all
}

/// Bytes between two letters of a loose match, at most, without those of terminal escapes.
const GAP_MAX_BYTES: usize = 64;

/// Letters that may stand apart in front of a loose match.
const APART_MAX: usize = 2;

/// Characters that are typed over one after the other, at most.
const UNDONE_MAX: usize = 4;

/// Every occurrence of loose needles, by subject and with form 6 (`loose`).
pub(crate) fn loose_occurrences(needles: &[Vec<u8>], text: &[u8]) -> Vec<Range> {
    let mut all = Vec::new();
    // What can be read at any moment; a letter that is typed over later may have completed a match before.
    for moment in readings(text) {
        for (subject, needle) in needles.iter().enumerate() {
            let Some(first) = moment.len().checked_sub(needle.len()) else {
                continue;
            };
            let read = &moment[first..];
            if !read.iter().map(|(letter, _)| letter).eq(needle) {
                continue;
            }
            let places: Vec<usize> = read.iter().map(|(_, place)| *place).collect();
            let apart = |count: &usize| places[count - 1] + 1 != places[*count];
            let skipped = (1..=APART_MAX).rev().find(apart).unwrap_or(0);
            all.push(Range {
                start: places[skipped] as u64,
                end: places[places.len() - 1] as u64 + 1,
                subject: subject as u32,
                form: 6,
            });
        }
    }
    all
}

/// The letters that can be read behind each letter of the text, with their places: those that a terminal shows, and all.
fn readings(text: &[u8]) -> Vec<Vec<(u8, usize)>> {
    [read(text, true), read(text, false)].concat()
}

fn read(text: &[u8], as_shown: bool) -> Vec<Vec<(u8, usize)>> {
    let mut readings = Vec::new();
    let mut letters: Vec<(u8, usize)> = Vec::new();
    // Whether each of the last characters was a letter.
    let mut undone: Vec<bool> = Vec::new();
    let mut gap = 0;
    let mut at = 0;
    while at < text.len() {
        if as_shown && let Some(len) = escape_len(text, at) {
            at += len;
            continue;
        }
        let byte = text[at];
        if byte.is_ascii_alphanumeric() {
            letters.push((byte.to_ascii_lowercase(), at));
            undone.push(true);
            gap = 0;
            readings.push(letters.clone());
        } else {
            match byte {
                8 if as_shown => {
                    if undone.pop() == Some(true) {
                        letters.pop();
                    }
                }
                b'\n' => undone.clear(),
                _ => undone.push(false),
            }
            gap += 1;
            if gap > GAP_MAX_BYTES {
                letters.clear();
                undone.clear();
                gap = 0;
            }
        }
        let forgotten = undone.len().saturating_sub(UNDONE_MAX);
        undone.drain(..forgotten);
        at += 1;
    }
    readings
}

/// The length of the terminal escape at `at`, if there is one.
fn escape_len(text: &[u8], at: usize) -> Option<usize> {
    let mut end = at + 1;
    let before = at.checked_sub(1).map_or(0, |index| text[index]);
    let sequence = match text[at] {
        0x1B => {
            if text.get(end) == Some(&b'[') {
                end += 1;
                true
            } else {
                false
            }
        }
        0x9B if before < 0x80 || before == 0xC2 => true,
        _ => return None,
    };
    let between = if sequence { 0x20..=0x3F } else { 0x20..=0x2F };
    let most = if sequence { 32 } else { usize::MAX };
    let count = text[end..]
        .iter()
        .take(most)
        .take_while(|byte| between.contains(*byte))
        .count();
    end += count;
    if let Some(0x30..=0x7E) = text.get(end) {
        end += 1;
    }
    Some(end - at)
}

/// Where the digits are that hold bits of `secret`, when it is written from `start` on in digits of `bits` bits and begins
/// with byte `phase` of a group; none when it is not. A first digit that stands alone in front of a line break is left out.
fn digits(
    text: &[u8],
    start: usize,
    secret: &[u8],
    phase: usize,
    bits: usize,
    value: fn(u8) -> Option<u8>,
) -> Option<(usize, usize)> {
    let first_bit = 8 * phase;
    let last_bit = first_bit + 8 * secret.len();
    let first_digit = first_bit / bits;
    let digits = last_bit.div_ceil(bits) - first_digit;
    let (mut at, mut from) = (start, start);
    for index in 0..digits {
        if index > 0 {
            let digit = at + line_break_len(&text[at..]);
            if index == 1 && digit > at {
                from = digit;
            }
            at = digit;
        }
        let value = value(*text.get(at)?)?;
        for bit in 0..bits {
            let place = (first_digit + index) * bits + bit;
            if place < first_bit || place >= last_bit {
                continue;
            }
            let place = place - first_bit;
            let is = value >> (bits - 1 - bit) & 1;
            if is != secret[place / 8] >> (7 - place % 8) & 1 {
                return None;
            }
        }
        at += 1;
    }
    Some((from, at))
}

/// Bytes of the line break that `text` begins with, and of the white space behind it; 0 when there is none.
fn line_break_len(text: &[u8]) -> usize {
    let newline = if text.starts_with(b"\r\n") {
        2
    } else if text.starts_with(b"\n") {
        1
    } else {
        return 0;
    };
    let blank = text[newline..]
        .iter()
        .take_while(|byte| b" \t\r\n".contains(byte))
        .count();
    if blank > INDENT_MAX_BYTES {
        0
    } else {
        newline + blank
    }
}

/// Where `secret` ends when it is what is read from `start` on, without the first `skipped` bytes, and has an escape in it.
fn escaped_end(units: &[Unit], start: usize, skipped: usize, secret: &[u8]) -> Option<usize> {
    let (mut at, mut read, mut escaped) = (start, Vec::new(), false);
    while read.len() < skipped + secret.len() {
        let unit = units.get(at)?;
        read.extend(&unit.bytes);
        escaped |= unit.escaped;
        at += unit.len;
    }
    (escaped && read[skipped..].starts_with(secret)).then_some(at)
}

fn base64_value(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

fn hex_value(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|value| value as u8)
}

/// The length of an escape, and what it stands for.
type Escape = Option<(usize, Vec<u8>)>;

/// What some text begins with: an escape, or a byte that stands for itself.
struct Unit {
    len: usize,
    bytes: Vec<u8>,
    escaped: bool,
}

/// The unit at each offset; `escape` tells the length of the escape at the beginning of its text, and what it means.
fn units(text: &[u8], escape: fn(&str) -> Escape) -> Vec<Unit> {
    let unit = |start: usize| {
        // Latin-1, so that any bytes are text: escapes are ASCII.
        let rest: String = text[start..]
            .iter()
            .take(12)
            .map(|&byte| char::from(byte))
            .collect();
        let (len, bytes, escaped) = match escape(&rest) {
            Some((len, bytes)) => (len, bytes, true),
            None => (1, vec![text[start]], false),
        };
        Unit {
            len,
            bytes,
            escaped,
        }
    };
    (0..text.len()).map(unit).collect()
}

fn percent(text: &str) -> Escape {
    let digits = text.strip_prefix('%')?.get(..2)?;
    digits
        .chars()
        .all(|digit| digit.is_ascii_hexdigit())
        .then_some(())?;
    Some((3, vec![u8::from_str_radix(digits, 16).ok()?]))
}

fn percent_plus(text: &str) -> Escape {
    if text.starts_with('+') {
        Some((1, b" ".to_vec()))
    } else {
        percent(text)
    }
}

fn backslash(text: &str) -> Escape {
    let rest = text.strip_prefix('\\')?;
    let meaning = match rest.chars().next()? {
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        'a' => "\x07".to_owned(),
        'b' => "\x08".to_owned(),
        'v' => "\x0B".to_owned(),
        'f' => "\x0C".to_owned(),
        'r' => "\r".to_owned(),
        'e' => "\x1B".to_owned(),
        'u' => return json_unicode(text),
        'x' => {
            let digits = rest.get(1..3)?;
            let all = digits.chars().all(|digit| digit.is_ascii_hexdigit());
            return all.then(|| (4, vec![u8::from_str_radix(digits, 16).unwrap()]));
        }
        '0'..='7' => {
            let digits: String = rest
                .chars()
                .take(3)
                .take_while(|digit| digit.is_digit(8))
                .collect();
            let value = u32::from_str_radix(&digits, 8).unwrap();
            return Some((1 + digits.len(), vec![value as u8]));
        }
        sign if sign == ' ' || sign.is_ascii_punctuation() => sign.to_string(),
        _ => return None,
    };
    Some((2, meaning.into_bytes()))
}

fn xml(text: &str) -> Escape {
    let end = text.find(';')?;
    let meaning = match text.get(..end)? {
        "&amp" => '&',
        "&lt" => '<',
        "&gt" => '>',
        "&quot" => '"',
        "&apos" => '\'',
        reference => {
            let number = reference.strip_prefix("&#")?;
            let (digits, radix) = match number.strip_prefix(['x', 'X']) {
                Some(digits) => (digits, 16),
                None => (number, 10),
            };
            if !digits.chars().all(|digit| digit.is_digit(radix)) {
                return None;
            }
            char::from_u32(u32::from_str_radix(digits, radix).ok()?)?
        }
    };
    Some((end + 1, meaning.to_string().into_bytes()))
}

fn json_unicode(text: &str) -> Escape {
    let unit = |at: usize| {
        let digits = text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        digits
            .chars()
            .all(|digit| digit.is_ascii_hexdigit())
            .then_some(())?;
        u16::from_str_radix(digits, 16).ok()
    };
    let first = unit(0)?;
    if let Ok(one) = String::from_utf16(&[first]) {
        return Some((6, one.into_bytes()));
    }
    String::from_utf16(&[first, unit(6)?])
        .ok()
        .map(|pair| (12, pair.into_bytes()))
}
