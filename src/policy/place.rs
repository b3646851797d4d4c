//! Where in the file an error is, and what may be meant there.

use std::str::Utf8Error;

use super::error::{Fault, Place};
use super::find;
use super::meant;

/// How similar a word has to be to be suggested; 1 is the same.
const NEAR: f64 = 0.6;

/// Characters of an offending line that an error shows: what fits a few lines of a terminal.
const SHOWN_MAX_CHARS: usize = 200;

/// Turns an error of the parser into one that shows the offending line.
pub(super) fn of(text: &str, error: &serde_yaml::Error) -> Fault {
    let full = error.to_string();
    let message = full.split(" at line ").next().unwrap_or(&full).to_owned();
    let parsed = error
        .location()
        .map_or((1, 1), |at| (at.line(), at.column()));
    let (line, column) = repeated_key(text, parsed.0, &message).unwrap_or(parsed);
    let Place {
        line,
        column,
        text: shown,
    } = at(text, line, column);
    Fault::Syntax {
        line,
        column,
        text: shown,
        message: meant::with_meant(marked(text, line).unwrap_or(message), text, line),
    }
}

/// The known word that is most like `wrong`, if any is.
pub(super) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = |known: &str| strsim::normalized_damerau_levenshtein(wrong, known);
    known
        .filter(|known| near(known) >= NEAR)
        .max_by(|a, b| near(a).total_cmp(&near(b)))
}

/// Where a key stands for the second time: the parser only knows the line on which its mapping begins.
fn repeated_key(text: &str, line: usize, message: &str) -> Option<(usize, usize)> {
    let (_, rest) = message.split_once("duplicate field `")?;
    let key = rest.strip_suffix('`')?;
    let is_key = |line: &str| {
        let entry = line.trim_start_matches(['-', ' ']);
        entry
            .strip_prefix(key)
            .is_some_and(|rest| rest.starts_with(':'))
    };
    let lines = text.lines().enumerate().skip(line.saturating_sub(1));
    let (index, found) = lines.filter(|(_, line)| is_key(line)).nth(1)?;
    Some((index + 1, found.find(key)? + 1))
}

/// Names the first byte that is no text.
pub(super) fn not_utf8(bytes: &[u8], error: &Utf8Error) -> Fault {
    let before = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let text = line_of(&String::from_utf8_lossy(bytes), line);
    Fault::Syntax {
        line,
        column,
        text,
        message: "not UTF-8".to_owned(),
    }
}

/// Where the entry at a path such as `allowed_commands[2]` stands. None where the file has no such entry.
pub(super) fn entry(text: &str, path: &str) -> Option<Place> {
    let (line, column) = find::entry(text, path)?;
    Some(at(text, line, column))
}

/// A place as the parser counts it.
pub(super) fn at(text: &str, line: usize, column: usize) -> Place {
    // The parser counts the mark that an editor may have put in front of the first line.
    let is_marked = line == 1 && text.starts_with(MARK);
    Place {
        line,
        column: column - usize::from(is_marked && column > 1),
        text: line_of(text, line),
    }
}

/// The byte order mark, which nobody sees. At the beginning of a file it says nothing; anywhere else it is a part of a word.
const MARK: char = '\u{feff}';

fn marked(text: &str, line: usize) -> Option<String> {
    let text = text.strip_prefix(MARK).unwrap_or(text);
    let line = text.lines().nth(line.checked_sub(1)?)?;
    (line.contains(MARK))
        .then(|| "there is a byte order mark in this line, which is not to be seen".to_owned())
}

fn line_of(text: &str, line: usize) -> String {
    let found = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let found = found.trim_start_matches(MARK).trim();
    found.chars().take(SHOWN_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Policy;
    use super::*;

    /// Line, column and text that an error names.
    fn fault(text: &[u8]) -> (usize, usize, String, String) {
        match Policy::parse(text).unwrap_err() {
            Fault::Syntax {
                line,
                column,
                text,
                message,
            } => (line, column, text, message),
            other => panic!("{other}"),
        }
    }

    #[track_caller]
    fn refused(text: &str, line: usize, column: usize, message: &str) {
        let (found_line, found_column, found_text, found) = fault(text.as_bytes());
        assert_eq!((found_line, found_column), (line, column), "{found}");
        assert_eq!(
            found_text,
            text.lines().nth(line - 1).unwrap_or_default().trim()
        );
        assert!(found.contains(message), "{found}");
    }

    #[test]
    fn errors_name_the_place() {
        refused(
            "version: 1\nallowed_comands:\n- npm\n",
            2,
            1,
            "unknown field `allowed_comands`",
        );
        refused(
            "version: 1\ndefault_action: maybe\n",
            2,
            17,
            "unknown variant `maybe`",
        );
        refused(
            "default_action: deny\nversion: 2\n",
            2,
            10,
            "integer `2`, expected 1",
        );
        refused("version: \"1\"\n", 1, 10, "string \"1\", expected 1");
        refused("version: 1.0\n", 1, 10, "floating point `1.0`, expected 1");
        refused("version:\n", 1, 9, "expected 1");
        refused(
            "allowed_commands:\n- npm\n- true\n",
            3,
            3,
            "allowed_commands[1]: invalid type: boolean",
        );
        refused(
            "allowed_commands:\n- command: a\n  timeout: 60\n",
            3,
            12,
            "a duration with its unit",
        );
        refused(
            "allowed_commands:\n- command: a\n  keyz: []\n",
            3,
            3,
            "unknown field `keyz`",
        );
        refused(
            "allowed_commands:\n- keys: []\n",
            2,
            3,
            "missing field `command`",
        );
        refused(
            "allowed_commands: [npm\ndefault_action: deny\n",
            2,
            15,
            "did not find expected",
        );
        refused("allowed_commands: [*]\n", 1, 21, "did not find expected");
        refused("- a\n- b\n", 1, 1, "expected a mapping");
        refused(
            "version: 1\n---\nversion: 1\n",
            1,
            1,
            "more than one document",
        );
    }

    #[test]
    fn what_was_meant_is_said() {
        for (text, meant) in [
            ("allow_commands: []\n", "(did you mean `allowed_commands`?)"),
            ("default_action: denny\n", "(did you mean `deny`?)"),
            (
                "allowed_commands: [{ comand: a }]\n",
                "(did you mean `command`?)",
            ),
        ] {
            let (.., message) = fault(text.as_bytes());
            assert!(message.contains(meant), "{message}");
        }
        let (.., message) = fault(b"zzz: 1\n");
        assert!(!message.contains("did you mean"), "{message}");
    }

    #[test]
    fn no_key_may_come_twice() {
        refused(
            "denied_commands: [a]\nversion: 1\ndenied_commands: [b]\n",
            3,
            1,
            "duplicate field `denied_commands`",
        );
        refused(
            "env_aliases:\n  a: []\n  b: []\n  a: []\n",
            4,
            3,
            "duplicate field `a`",
        );
        refused(
            "limits: { processes: 1, processes: 2 }\n",
            1,
            9,
            "duplicate field `processes`",
        );
    }

    #[test]
    fn what_is_not_utf8_is_named() {
        let (line, column, _, message) = fault(b"version: 1\n# \xc3\xa4 \xff\n");
        assert_eq!((line, column, message.as_str()), (2, 5, "not UTF-8"));
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        let (.., text, _) = fault(format!("x: {}\n", "y".repeat(10_000)).as_bytes());
        assert_eq!(text.len(), SHOWN_MAX_CHARS);
    }

    #[test]
    fn who_may_do_what_has_to_be_written_down() {
        let policy = |rest: &str| format!("policies:\n- name: a\n  agent_id: a\n{rest}");
        refused(
            &policy("  allowed_keys: []\n"),
            2,
            3,
            "missing field `capabilities`",
        );
        refused(
            &policy("  capabilities: []\n"),
            2,
            3,
            "missing field `allowed_keys`",
        );
        refused(
            &policy("  allowed_keys: []\n  capabilities: [full]\n"),
            5,
            18,
            "unknown variant `full`",
        );
    }

    #[test]
    fn a_file_cannot_grow_by_references() {
        let keys = "k,".repeat(500);
        let entry =
            format!("- &p {{ name: a, agent_id: b, capabilities: [], allowed_keys: [{keys}] }}\n");
        let (.., message) =
            fault(format!("policies:\n{entry}{}", "- *p\n".repeat(1_000)).as_bytes());
        assert_eq!(message, "policies: more than 1000 entries");
    }

    #[test]
    fn a_limit_without_a_value_is_an_error() {
        refused(
            "allowed_commands:\n- command: a\n  timeout:\n",
            3,
            11,
            "a duration",
        );
        refused(
            "allowed_commands:\n- command: a\n  network:\n",
            3,
            11,
            "expected",
        );
    }
}
