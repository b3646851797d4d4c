//! What was probably meant by a word that is wrong.

use super::place::nearest;

/// Keys that stand elsewhere than people put them: the key, and what it belongs to.
const ELSEWHERE: [(&str, &str); 17] = [
    ("command", "an entry of `allowed_commands`"),
    ("keys", "an entry of `allowed_commands`"),
    ("network", "an entry of `allowed_commands`"),
    ("timeout", "an entry of `allowed_commands`"),
    ("expand", "an entry of `allowed_commands`"),
    ("approval", "an entry of `allowed_commands`"),
    ("agent_id", "an entry of `policies`"),
    ("allowed_keys", "an entry of `policies`"),
    ("denied_keys", "an entry of `policies`"),
    ("capabilities", "an entry of `policies`"),
    ("timeout_max", "`limits`"),
    ("output_bytes", "`limits`"),
    ("processes", "`limits`"),
    ("require", "`runner`"),
    ("read", "`paths`"),
    ("write", "`paths`"),
    ("sha256", "an entry of `modules`"),
];

/// Units as people write them, and as the file has them.
const SPANS: [(&str, &str); 16] = [
    ("", "s"),
    ("ms", "ms"),
    ("msec", "ms"),
    ("millis", "ms"),
    ("milliseconds", "ms"),
    ("s", "s"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("m", "m"),
    ("min", "m"),
    ("mins", "m"),
    ("minutes", "m"),
    ("h", "h"),
    ("hours", "h"),
];
const SIZES: [(&str, &str); 13] = [
    ("b", "B"),
    ("bytes", "B"),
    ("k", "KiB"),
    ("kb", "kB"),
    ("kib", "KiB"),
    ("m", "MiB"),
    ("mb", "MB"),
    ("mib", "MiB"),
    ("mbytes", "MB"),
    ("g", "GiB"),
    ("gb", "GB"),
    ("gib", "GiB"),
    ("gbytes", "GB"),
];

/// What the parser says of a file that is no YAML, and what most often leads to that.
const SYNTAX: [(&str, &str); 6] = [
    (
        "mapping values are not allowed",
        "is the line indented too far, or does a text with `: ` lack its quotes?",
    ),
    (
        "did not find expected key",
        "is the line indented like its neighbours, and is every quote and bracket closed?",
    ),
    ("expected ',' or ']'", "is the `[` closed?"),
    ("expected ',' or '}'", "is the `{` closed?"),
    (
        "did not find expected alphabetic",
        "a text that begins with `*` or `&` needs quotes",
    ),
    (
        "found character that cannot start any token",
        "a text that begins with `@`, `%` or a backquote needs quotes, and tabs do not indent",
    ),
];

/// Adds to the parser's words about a line what was probably meant.
pub(super) fn with_meant(message: String, text: &str, line: usize) -> String {
    continued(&message, text, line)
        .or_else(|| word(&message))
        .or_else(|| quantity(&message))
        .or_else(|| syntax(&message))
        .unwrap_or(message)
}

/// Of a text that goes on in the line below because that is indented.
fn continued(message: &str, text: &str, line: usize) -> Option<String> {
    let (wrong, expected) = message.split_once(", expected ")?;
    if !wrong.contains("string \"") && !wrong.contains("unknown variant") {
        return None;
    }
    let mut lines = text.lines().skip(line.checked_sub(1)?);
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let (this, below) = (lines.next()?, lines.next()?);
    let is_continued = indent(below) > indent(this) && !below.trim_start().starts_with('#');
    let is_plain = this.contains(": ") && !this.trim_end().ends_with(['\'', '"', ']', '}', ',']);
    (is_continued && is_plain).then(|| {
        format!("{wrong} (the line below is indented, and so is a part of this value), expected {expected}")
    })
}

/// Of "unknown field `a`, expected one of `b`, `c`": a word that is listed, or a key that stands elsewhere.
fn word(message: &str) -> Option<String> {
    let (unknown, listed) = message.split_once(", expected ")?;
    let is_field = unknown.contains("unknown field");
    if !is_field && !unknown.contains("unknown variant") {
        return None;
    }
    let wrong = unknown.split('`').nth(1)?;
    let known = listed.split('`').skip(1).step_by(2);
    let hint = match ELSEWHERE.iter().find(|(key, _)| is_field && *key == wrong) {
        Some((key, place)) => format!("`{key}` belongs into {place}"),
        None => format!("did you mean `{}`?", nearest(wrong, known)?),
    };
    Some(format!("{unknown} ({hint}), expected {listed}"))
}

/// Of "invalid type: integer `60`, expected a duration": the same with its unit.
fn quantity(message: &str) -> Option<String> {
    let (wrong, expected) = message.split_once(", expected ")?;
    let units: &[_] = match expected {
        _ if expected.starts_with("a duration") => &SPANS,
        _ if expected.starts_with("a size") => &SIZES,
        _ => return None,
    };
    let text = wrong.split(['`', '"']).nth(1)?.to_ascii_lowercase();
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.trim_start_matches('0').is_empty() {
        return None;
    }
    let (_, unit) = units.iter().find(|(written, _)| *written == unit.trim())?;
    Some(format!(
        "{wrong} (did you mean `{number}{unit}`?), expected {expected}"
    ))
}

fn syntax(message: &str) -> Option<String> {
    let (_, hint) = SYNTAX.iter().find(|(part, _)| message.contains(part))?;
    Some(format!("{message} ({hint})"))
}

#[cfg(test)]
mod tests {
    use super::super::{Fault, Policy};
    use super::*;

    fn message(text: &str) -> String {
        match Policy::parse(text.as_bytes()).unwrap_err() {
            Fault::Syntax { message, .. } => message,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_quantity_without_its_unit_is_answered_with_one() {
        for (written, meant) in [
            ("60", "60s"),
            ("'60'", "60s"),
            ("60 s", "60s"),
            ("5min", "5m"),
            ("2 Hours", "2h"),
            ("250 msec", "250ms"),
        ] {
            let message = message(&format!("limits: {{ timeout_max: {written} }}\n"));
            assert!(
                message.contains(&format!("(did you mean `{meant}`?)")),
                "{message}"
            );
        }
        for (written, meant) in [("1mb", "1MB"), ("64 KiB", "64KiB"), ("2M", "2MiB")] {
            let message = message(&format!("limits: {{ output_bytes: {written} }}\n"));
            assert!(
                message.contains(&format!("(did you mean `{meant}`?)")),
                "{message}"
            );
        }
        for vague in ["0", "-5s", "soon", "1.5h", "[]"] {
            let message = message(&format!("limits: {{ timeout_max: {vague} }}\n"));
            assert!(!message.contains("did you mean"), "{message}");
        }
    }

    #[test]
    fn every_answer_is_one_that_the_file_takes() {
        for (key, units) in [("timeout_max", &SPANS[..]), ("output_bytes", &SIZES)] {
            for (_, unit) in units {
                let text = format!("limits: {{ {key}: 1{unit} }}\n");
                assert!(
                    !matches!(Policy::parse(text.as_bytes()), Err(Fault::Syntax { .. })),
                    "{text}"
                );
            }
        }
        for (key, place) in ELSEWHERE {
            let message = message(&format!("{key}: x\n"));
            assert!(
                message.contains(&format!("(`{key}` belongs into {place})")),
                "{message}"
            );
            let list = place.split('`').nth(1).unwrap();
            let entry = match place.starts_with("an entry") {
                true => format!("{list}: [{{ no_key: x }}]\n"),
                false => format!("{list}: {{ no_key: x }}\n"),
            };
            let known = super::tests::message(&entry);
            assert!(known.contains(&format!("`{key}`")), "{known}");
        }
    }

    #[test]
    fn what_is_no_yaml_is_answered_with_what_leads_to_that() {
        for (text, hint) in [
            (
                "version: 1\ndenied_commands:\n  - a\n - b\n",
                "indented like its neighbours",
            ),
            ("workdir: project: x\n", "indented too far"),
            ("version: 1\n  workdir: project\n", "line below is indented"),
            ("workdir: project\n  limits: {}\n", "line below is indented"),
            ("denied_commands: [a\nversion: 1\n", "is the `[` closed?"),
            ("paths: { read: [a]\nversion: 1\n", "is the `{` closed?"),
            ("denied_commands:\n- *\n", "needs quotes"),
            ("denied_commands:\n- @a\n", "needs quotes"),
            ("denied_commands:\n\t- a\n", "tabs do not indent"),
            ("version: 1\n\u{feff}workdir: project\n", "byte order mark"),
        ] {
            let message = message(text);
            assert!(message.contains(hint), "{text}: {message}");
        }
    }
}
