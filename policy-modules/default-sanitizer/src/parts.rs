//! Parts of a secret that are secret by themselves: its lines, the values in it where it is JSON, a URL or a list of
//! assignments, and what stands around the colon of `user:password`.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use serde_json::Value;
use zeroize::Zeroizing;

/// Shorter parts are ordinary words, or would be found by chance.
const PART_MIN_BYTES: usize = 8;

/// Values inside of values: a key's lines in a string in a JSON document.
const DEPTH_MAX: usize = 3;

/// The parts of a value, each at least eight bytes long and not the whole.
pub(crate) fn of(value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut parts = Vec::new();
    collect(value, DEPTH_MAX, &mut parts);
    let mut known = BTreeSet::from([value.to_vec()]);
    parts.retain(|part| known.insert(part.to_vec()));
    parts
}

fn collect(value: &[u8], depth: usize, parts: &mut Vec<Zeroizing<Vec<u8>>>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    let mut add = |part: &[u8]| {
        let part = part.trim_ascii();
        if part.len() >= PART_MIN_BYTES && part.len() < value.len() {
            parts.push(part.to_vec().into());
            collect(part, depth, parts);
        }
    };
    add(value);
    if matches!(value.trim_ascii().first(), Some(b'{' | b'['))
        && let Ok(document) = serde_json::from_slice::<Value>(value)
    {
        let mut leaves = Vec::new();
        strings(document, &mut leaves);
        leaves.iter().for_each(|leaf| add(leaf.as_bytes()));
        return;
    }
    let lines: Vec<&[u8]> = value.split(|byte| matches!(byte, b'\n' | b'\r')).collect();
    if lines.len() > 1 {
        // What frames a key is no secret.
        let framing = |line: &&&[u8]| !line.starts_with(b"-----");
        lines.iter().filter(framing).for_each(|line| add(line));
        return;
    }
    if let Some(at) = find(value, b"://") {
        in_url(&value[at + 3..], add);
    } else if let Some((name, assigned)) = split(value, b'=')
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    {
        add(assigned);
    } else if let Some((user, password)) = split(value, b':') {
        add(user);
        add(password);
    }
}

/// `user:password@host/path?key=value&key=value#fragment` (RFC 3986), as it stands and with its percents decoded.
fn in_url(rest: &[u8], mut add: impl FnMut(&[u8])) {
    let mut both = |part: &[u8]| {
        add(part);
        add(&unescaped(part));
    };
    let end = rest.iter().position(|byte| b"/?#".contains(byte));
    let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
    if let Some(at) = authority.iter().rposition(|byte| *byte == b'@') {
        match split(&authority[..at], b':') {
            Some((_, password)) => both(password),
            None => both(&authority[..at]),
        }
    }
    for pair in path.split(|byte| b"?&#;".contains(byte)).skip(1) {
        if let Some((_, value)) = split(pair, b'=') {
            both(value);
        }
    }
}

fn unescaped(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 1..at + 3).filter(|_| text[at] == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                at += 3;
            }
            None => {
                bytes.push(text[at]);
                at += 1;
            }
        }
    }
    bytes
}

fn strings(document: Value, leaves: &mut Vec<Zeroizing<String>>) {
    match document {
        Value::String(text) => leaves.push(text.into()),
        Value::Array(items) => items.into_iter().for_each(|item| strings(item, leaves)),
        Value::Object(fields) => fields
            .into_iter()
            .for_each(|(_, item)| strings(item, leaves)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = text.iter().position(|byte| *byte == at)?;
    Some((&text[..index], &text[index + 1..]))
}

fn find(text: &[u8], sought: &[u8]) -> Option<usize> {
    text.windows(sought.len())
        .position(|window| window == sought)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: &[&str]) {
        let found: Vec<_> = of(value.as_bytes())
            .iter()
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_plain_value_has_no_parts() {
        check("hunter2hunter2", &[]);
        check("", &[]);
        check("correct horse battery", &[]);
    }

    #[test]
    fn lines_without_what_frames_them() {
        check(
            "-----BEGIN KEY-----\nMIIEpAIBAAKC\r\n  abcdefgh  \nshort\n-----END KEY-----\n",
            &[
                "-----BEGIN KEY-----\nMIIEpAIBAAKC\r\n  abcdefgh  \nshort\n-----END KEY-----",
                "MIIEpAIBAAKC",
                "abcdefgh",
            ],
        );
    }

    #[test]
    fn the_strings_of_json_and_no_names() {
        check(
            r#"{"private_key_id": "0123456789", "n": 12345678901, "private_key": "-----BEGIN-----\nMIIEvQIBADAN\n", "list": [["abc"], "deeply nested"]}"#,
            &[
                "deeply nested",
                "-----BEGIN-----\nMIIEvQIBADAN",
                "MIIEvQIBADAN",
                "0123456789",
            ],
        );
    }

    #[test]
    fn the_password_and_the_values_of_a_url() {
        check(
            "postgres://deployer:s3cr%2Ft-pass@db.example.com/app?sslkey=0123456789&x=1",
            &["s3cr%2Ft-pass", "s3cr/t-pass", "0123456789"],
        );
        check("https://ghp_0123456789@github.com/x", &["ghp_0123456789"]);
    }

    #[test]
    fn both_sides_of_a_colon_and_what_is_assigned() {
        check("deployer:s3cretpass", &["deployer", "s3cretpass"]);
        check("API_KEY=s3cretpass", &["s3cretpass"]);
        check("ab:cd", &[]);
    }
}
