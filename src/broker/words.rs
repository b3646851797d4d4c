//! From a command as it was written to its words. There is no shell: what only a shell could do is refused.

use std::collections::BTreeSet;

use super::RunError;

/// Longest command line, in bytes: the words end up in an argument list, which the kernel limits to 128 KiB a word.
pub(super) const COMMAND_MAX_BYTES: usize = 128 * 1024;
/// Longest name of a program, in bytes: the longest path.
const PROGRAM_MAX_BYTES: usize = 4096;
/// What stands between words in scripts, options and code.
const SEPARATORS: [char; 18] = [
    ';', '&', '|', '(', ')', '<', '>', '{', '}', '[', ']', '=', ',', '!', '`', '$', '"', '\'',
];
/// Most words of a command.
pub(super) const WORDS_MAX: usize = 1000;

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// The first word.
    pub program: String,
    /// The words after it.
    pub arguments: Vec<String>,
}

impl Words {
    /// Splits `command` by the quoting rules of a POSIX shell, or takes it as the program when `arguments` are given.
    pub(super) fn parse(command: &str, arguments: &[String]) -> Result<Self, RunError> {
        let words = if arguments.is_empty() {
            split(command)?
        } else {
            std::iter::once(command.trim().to_owned())
                .chain(arguments.iter().cloned())
                .collect()
        };
        Self::new(words)
    }

    /// Takes words as they are.
    pub(super) fn new(words: Vec<String>) -> Result<Self, RunError> {
        let refuse = |fact: String| Err(RunError::Command(fact));
        let length: usize = words.iter().map(String::len).sum();
        if length > COMMAND_MAX_BYTES || words.len() > WORDS_MAX {
            return refuse(format!(
                "it has more than {COMMAND_MAX_BYTES} bytes or {WORDS_MAX} words"
            ));
        }
        if words.iter().any(|word| word.contains('\0')) {
            return refuse("a word contains a NUL byte".to_owned());
        }
        if words
            .first()
            .is_some_and(|program| program.len() > PROGRAM_MAX_BYTES)
        {
            return refuse(format!(
                "its program's name has more than {PROGRAM_MAX_BYTES} bytes"
            ));
        }
        let mut words = words.into_iter();
        match words.next() {
            Some(program) if !program.is_empty() => Ok(Self {
                program,
                arguments: words.collect(),
            }),
            _ => refuse("it names no program".to_owned()),
        }
    }
}

/// The words that `arguments` mention, also within scripts: whatever a program could be called by there. Which of them a shell would
/// run is not known here, so there are more of them than a shell would see.
pub(super) fn mentioned(arguments: &[String]) -> BTreeSet<&str> {
    let separates = |c: char| c.is_whitespace() || SEPARATORS.contains(&c);
    let words = arguments
        .iter()
        .flat_map(|argument| std::iter::once(argument.as_str()).chain(argument.split(separates)));
    words
        .filter(|word| !word.is_empty() && word.len() <= PROGRAM_MAX_BYTES)
        .collect()
}

fn split(command: &str) -> Result<Vec<String>, RunError> {
    if let Some(syntax) = shell_syntax(command) {
        return Err(RunError::Command(format!(
            "it contains {syntax}, and no shell is involved; quote it if it is meant literally, or run one command at a time"
        )));
    }
    shell_words::split(command)
        .map_err(|_| RunError::Command("it has a quote without its end".to_owned()))
}

/// The first piece of syntax that only a shell would understand: an operator outside of quotes, or a command substitution.
fn shell_syntax(command: &str) -> Option<String> {
    let mut quote = None;
    let mut characters = command.trim().chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some('\''), '\'') => quote = None,
            (Some('\''), _) => {}
            (_, '\\') => drop(characters.next()),
            (Some(_), '"') => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (_, '`') => return Some("'`'".to_owned()),
            (_, '$') if characters.peek() == Some(&'(') => return Some("'$('".to_owned()),
            (None, '|' | '&' | ';' | '<' | '>' | '(' | ')') => {
                return Some(format!("'{character}'"));
            }
            (None, '\n') => return Some("a line break".to_owned()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &str) -> Vec<String> {
        let words = Words::parse(command, &[]).expect("a command");
        std::iter::once(words.program)
            .chain(words.arguments)
            .collect()
    }

    fn refusal(command: &str) -> String {
        Words::parse(command, &[])
            .expect_err("not a command")
            .to_string()
    }

    #[test]
    fn a_line_is_split_like_a_shell_does() {
        assert_eq!(words("npm test"), ["npm", "test"]);
        assert_eq!(
            words("psql $DATABASE_URL -c 'SELECT COUNT(*) FROM users'"),
            ["psql", "$DATABASE_URL", "-c", "SELECT COUNT(*) FROM users"]
        );
        assert_eq!(
            words(r#"a "b | c" 'd;e' f\&g ''"#),
            ["a", "b | c", "d;e", "f&g", ""]
        );
    }

    #[test]
    fn arguments_are_taken_as_they_are() {
        let words = Words::parse("/opt/my tool", &["$(x)".to_owned(), "a b".to_owned()])
            .expect("a command");
        assert_eq!(words.program, "/opt/my tool");
        assert_eq!(words.arguments, ["$(x)", "a b"]);
    }

    #[test]
    fn programs_can_be_mentioned_anywhere() {
        let arguments = ["-c", "a 'b c'|d; FOO=/x/e $(f)", "-e=g"].map(str::to_owned);
        let words = mentioned(&arguments);
        for word in ["-c", "a", "b", "c", "d", "/x/e", "f", "g", "-e=g"] {
            assert!(words.contains(word), "{word}");
        }
        assert!(!words.contains(""));
    }

    #[test]
    fn what_needs_a_shell_is_refused_by_name() {
        for (command, syntax) in [
            ("a | b", "'|'"),
            ("a > b", "'>'"),
            ("a; b", "';'"),
            ("a & b", "'&'"),
            ("a $(b)", "'$('"),
            ("a \"$(b)\"", "'$('"),
            ("a `b`", "'`'"),
            ("(a)", "'('"),
            ("a\nb", "a line break"),
        ] {
            assert!(
                refusal(command).contains(syntax),
                "{command}: {}",
                refusal(command)
            );
        }
        assert!(refusal("a 'b").contains("quote"));
        assert!(refusal("  ").contains("names no program"));
        assert!(refusal("a\0b").contains("NUL"));
        assert!(refusal(&"x".repeat(PROGRAM_MAX_BYTES + 1)).contains("more than 4096 bytes"));
        assert!(refusal(&"x ".repeat(COMMAND_MAX_BYTES)).contains("1000 words"));
    }
}
