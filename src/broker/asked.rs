//! What a person is asked about: one command, with all that a yes to it covers.
//!
//! The text that is shown and the digest that is approved are made from the same fields, so nobody approves what was not shown. Most of
//! the fields are an agent's own words: whatever could act on a terminal, hide, or push the rest out of view is shown as a code.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::RunError;
use super::judge::{Facts, Prepared};
use super::program::Program;
use crate::crypto;
use crate::name::{EnvName, FieldName, SecretName};
use crate::policy::{Grant, Network, Policy};
use crate::text::{hex, is_unseen};
use crate::time::Span;
use crate::vault::VALUE_FIELD;
use secretctl_runner::{Confinement, FileId, WorkingDirectory};

/// What stands in front of the parts of a digest, so that it is one of nothing else.
const LABEL: &str = "secretctl approval v1";
/// Longest command that a person is asked about, in characters as they are shown: a longer one is not read.
const COMMAND_SHOWN_MAX_CHARACTERS: usize = 4000;
/// Bytes of a program that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// Letters other than those of ASCII that are named by their codes.
const NAMED_LETTERS_MAX: usize = 10;
/// How the built-in module's question begins: it says less than what is shown here.
const OURS: &str = "Allow agent '";
/// Secrets that a person is asked about at once: what stands above a longer list is out of view.
const VARIABLES_SHOWN_MAX: usize = 40;
/// Scripts that are written from right to left. Their letters move others that stand beside them, without any sign of it.
const RIGHT_TO_LEFT: [std::ops::RangeInclusive<char>; 5] = [
    '\u{590}'..='\u{8ff}',
    '\u{fb1d}'..='\u{fdff}',
    '\u{fe70}'..='\u{feff}',
    '\u{10800}'..='\u{10fff}',
    '\u{1e800}'..='\u{1efff}',
];
/// Letters that are seen as nothing, though they count as letters.
const BLANK_LETTERS: [char; 5] = ['\u{115f}', '\u{1160}', '\u{17b4}', '\u{3164}', '\u{ffa0}'];

/// The digest of what was asked.
pub(super) type Digest = [u8; 32];

/// A command that a person is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    agent: String,
    /// The program as it was asked for, and its arguments before variables in them are expanded.
    words: Vec<String>,
    /// The file that is executed, and what that is in the end.
    path: String,
    canonical: String,
    /// The digest of its content, in hexadecimal.
    sha256: String,
    keys: Vec<AskedKey>,
    environment: Option<String>,
    /// None for an empty one.
    directory: Option<String>,
    /// What it can change beside that: the project is one, whose root is the client's to say.
    writable: Vec<String>,
    /// What it can read, beside the system.
    readable: Vec<String>,
    network: Network,
    timeout_ms: u64,
    output_bytes: u64,
    processes: u32,
    /// Whether `$NAME` in arguments becomes a value.
    expands: bool,
    rule: String,
    question: String,
    /// The digest of the policy file, in hexadecimal.
    policy: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedKey {
    name: SecretName,
    variables: Vec<(EnvName, FieldName)>,
}

impl Asked {
    /// About the command that `grant` would allow.
    pub(super) fn new(
        policy: &Policy,
        facts: &Facts,
        prepared: &Prepared,
        environment: Option<&str>,
        (grant, question): (&Grant, &str),
    ) -> Result<Self, RunError> {
        let program = &prepared.program;
        let words = std::iter::once(&facts.words.program).chain(&facts.words.arguments);
        let keys = prepared.selected.iter().zip(&prepared.variables);
        let texts = |paths: &[PathBuf]| -> Result<Vec<String>, RunError> {
            paths.iter().map(|path| text(program, path)).collect()
        };
        let (writable, readable) = match &prepared.confinement {
            Confinement::Jail(jail) => (texts(&jail.writable)?, texts(&jail.readable)?),
            Confinement::Base => (Vec::new(), Vec::new()),
        };
        let asked = Self {
            agent: facts.question.agent.clone(),
            words: words.cloned().collect(),
            path: text(program, &program.path)?,
            canonical: text(program, &canonical(program)?)?,
            sha256: hex(&content(program)?),
            keys: keys
                .map(|(key, variables)| AskedKey {
                    name: key.name.clone(),
                    variables: variables.clone(),
                })
                .collect(),
            environment: environment.map(str::to_owned),
            directory: match &prepared.directory {
                WorkingDirectory::Temporary => None,
                WorkingDirectory::At(path) => Some(text(program, path)?),
            },
            writable,
            readable,
            network: grant.network,
            timeout_ms: u64::try_from(grant.timeout.as_millis()).unwrap_or(u64::MAX),
            output_bytes: grant.output_bytes,
            processes: policy.limits().processes,
            expands: grant.expand_arguments,
            rule: grant.rule.clone(),
            question: question.to_owned(),
            policy: hex(policy.sha256()),
        };
        asked.require_readable()?;
        Ok(asked)
    }

    /// Refuses what a person would not read to its end.
    pub(super) fn require_readable(&self) -> Result<(), RunError> {
        let too_long = if self.command().chars().count() > COMMAND_SHOWN_MAX_CHARACTERS {
            format!("more than {COMMAND_SHOWN_MAX_CHARACTERS} characters")
        } else if self.variables().len() > VARIABLES_SHOWN_MAX {
            format!("more than {VARIABLES_SHOWN_MAX} variables with secrets")
        } else {
            return Ok(());
        };
        Err(RunError::Command(format!(
            "a person has to approve it, and it has {too_long}"
        )))
    }

    /// The digest of all of it.
    pub(super) fn digest(&self) -> Digest {
        let count = |count: usize| count.to_string();
        let option = |option: &Option<String>| match option {
            None => vec!["none".to_owned()],
            Some(text) => vec!["some".to_owned(), text.clone()],
        };
        let mut parts = vec![LABEL.to_owned(), self.agent.clone()];
        parts.push(count(self.words.len()));
        parts.extend(self.words.iter().cloned());
        parts.extend([&self.path, &self.canonical, &self.sha256].map(String::clone));
        parts.push(count(self.keys.len()));
        for AskedKey { name, variables } in &self.keys {
            parts.extend([name.to_string(), count(variables.len())]);
            for (variable, field) in variables {
                parts.extend([variable.to_string(), field.to_string()]);
            }
        }
        parts.extend(option(&self.environment));
        parts.extend(option(&self.directory));
        for paths in [&self.writable, &self.readable] {
            parts.push(count(paths.len()));
            parts.extend(paths.iter().cloned());
        }
        parts.extend([
            network(self.network).to_owned(),
            self.timeout_ms.to_string(),
            self.output_bytes.to_string(),
            self.processes.to_string(),
            self.expands.to_string(),
        ]);
        parts.extend([&self.rule, &self.question, &self.policy].map(String::clone));
        let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
        crypto::digest(&parts)
    }

    /// The command line, each word quoted so that it is read as it is.
    fn command(&self) -> String {
        let words: Vec<String> = self.words.iter().map(|word| quoted(word)).collect();
        words.join(" ")
    }

    fn variables(&self) -> Vec<String> {
        let shown = |key: &AskedKey, (variable, field): &(EnvName, FieldName)| {
            let field = match field.as_str() {
                VALUE_FIELD => String::new(),
                field => format!(", field {field}"),
            };
            format!("{variable} = {}{field}", key.name)
        };
        let of_key = |key| AskedKey::each(key, shown);
        self.keys.iter().flat_map(of_key).collect()
    }
}

impl AskedKey {
    fn each(&self, shown: impl Fn(&Self, &(EnvName, FieldName)) -> String) -> Vec<String> {
        let variables = self.variables.iter();
        variables.map(|variable| shown(self, variable)).collect()
    }
}

/// What a person reads. The command comes first, and nothing in it can end its line.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = self.command();
        let agent = escaped(&self.agent, &['"', '\\']);
        writeln!(
            f,
            "The agent \"{agent}\" asks to run a command with secrets.\n"
        )?;
        let mut line = |label: &str, value: &str| writeln!(f, "  {label:<12} {value}");
        line("command", &command)?;
        if let Some(letters) = foreign_letters(&command) {
            line("", &format!("not ASCII: {letters}"))?;
        }
        line("program", &plain(&self.path))?;
        if self.canonical != self.path {
            line("which is", &plain(&self.canonical))?;
        }
        line("its sha256", &plain(&self.sha256))?;
        for (number, variable) in self.variables().iter().enumerate() {
            line(if number == 0 { "secrets" } else { "" }, &plain(variable))?;
        }
        if let Some(environment) = &self.environment {
            line("environment", &plain(environment))?;
        }
        let empty = "an empty temporary one".to_owned();
        let directory = self.directory.as_ref().map_or(empty, |path| plain(path));
        line("directory", &directory)?;
        for (number, path) in self.writable.iter().enumerate() {
            line(if number == 0 { "may change" } else { "" }, &plain(path))?;
        }
        line("network", network(self.network))?;
        let timeout = Span(Duration::from_millis(self.timeout_ms));
        line("time limit", &timeout.to_string())?;
        line("asked by", &plain(&self.rule))?;
        let questions = self.question.lines().filter(|line| !line.starts_with(OURS));
        for question in questions {
            line("", &plain(question))?;
        }
        Ok(())
    }
}

fn network(network: Network) -> &'static str {
    match network {
        Network::Allow => "allow",
        Network::None => "none",
    }
}

fn text(program: &Program, path: &Path) -> Result<String, RunError> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| unusable(program, "its place is no text that a person could read"))
}

fn unusable(program: &Program, fact: impl fmt::Display) -> RunError {
    RunError::Program {
        path: program.path.clone(),
        fact: format!("nobody can be asked about it: {fact}"),
    }
}

fn canonical(program: &Program) -> Result<PathBuf, RunError> {
    fs::canonicalize(&program.path).map_err(|error| unusable(program, error))
}

/// The digest of the file that will run. Its number is not enough: a script can be written over while somebody thinks.
fn content(program: &Program) -> Result<Digest, RunError> {
    let read = || -> io::Result<Option<Digest>> {
        let mut file = File::open(&program.path)?;
        if FileId::from(&file.metadata()?) != program.file {
            return Ok(None);
        }
        let (mut hash, mut chunk) = (Sha256::new(), vec![0; READ_BYTES]);
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(Some(hash.finalize().into())),
                length => hash.update(&chunk[..length]),
            }
        }
    };
    let digest = read().map_err(|error| unusable(program, error))?;
    digest.ok_or_else(|| unusable(program, "it was replaced just now"))
}

/// A word of a command line: bare where every shell would take it as it is, else in double quotes. Two words never look alike.
fn quoted(word: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(bare) {
        return word.to_owned();
    }
    format!("\"{}\"", escaped(word, &['"', '\\']))
}

/// A text that is not of our making, on one line.
fn plain(text: &str) -> String {
    escaped(text, &['\\'])
}

/// Characters with a meaning get a backslash. Those that are not seen, or seen as a space that they are not, are shown by their
/// codes; so is each space behind another one, as a row of them moves the rest out of view.
fn escaped(text: &str, special: &[char]) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut after_space = false;
    for c in text.chars() {
        let is_read = c.is_ascii_graphic()
            || (c == ' ' && !after_space)
            || (c.is_alphanumeric() && !is_unseen(c) && !moves_or_hides(c));
        after_space = c == ' ';
        if special.contains(&c) {
            shown.extend(['\\', c]);
        } else if is_read {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    shown
}

fn moves_or_hides(c: char) -> bool {
    BLANK_LETTERS.contains(&c) || RIGHT_TO_LEFT.iter().any(|script| script.contains(&c))
}

/// Letters that may look like others: a Cyrillic а is read as a Latin one.
fn foreign_letters(command: &str) -> Option<String> {
    let mut letters: Vec<char> = command.chars().filter(|c| !c.is_ascii()).collect();
    letters.sort_unstable();
    letters.dedup();
    let more = letters.len().saturating_sub(NAMED_LETTERS_MAX);
    let named = letters.iter().take(NAMED_LETTERS_MAX);
    let mut named: Vec<String> = named.map(|c| format!("{c} U+{:04X}", *c as u32)).collect();
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    (!named.is_empty()).then(|| named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked {
            agent: "claude-code".to_owned(),
            words: ["./deploy.sh", "--to", "a b"].map(str::to_owned).to_vec(),
            path: "/p/deploy.sh".to_owned(),
            canonical: "/p/deploy.sh".to_owned(),
            sha256: "00".repeat(32),
            keys: vec![AskedKey {
                name: "db/password".parse().expect("a name"),
                variables: vec![(
                    "DB_PASSWORD".parse().expect("a name"),
                    VALUE_FIELD.parse().expect("a name"),
                )],
            }],
            environment: None,
            directory: Some("/p".to_owned()),
            writable: vec!["/p".to_owned()],
            readable: Vec::new(),
            network: Network::None,
            timeout_ms: 60_000,
            output_bytes: 1,
            processes: 2,
            expands: true,
            rule: "allowed_commands[0]: ./deploy.sh".to_owned(),
            question: "really?".to_owned(),
            policy: "11".repeat(32),
        }
    }

    /// Each field, and each border between two, is a part of what is approved.
    #[test]
    fn whatever_differs_has_another_digest() {
        let changes: [fn(&mut Asked); 23] = [
            |a| a.agent.push('x'),
            |a| a.words = vec!["./deploy.sh".to_owned(), "--to a b".to_owned()],
            |a| a.words.push(String::new()),
            |a| a.words.swap(0, 1),
            |a| a.path.push('x'),
            |a| a.canonical.push('x'),
            |a| a.sha256.replace_range(..1, "f"),
            |a| a.keys.clear(),
            |a| a.keys[0].name = "db/other".parse().expect("a name"),
            |a| a.keys[0].variables[0].0 = "OTHER".parse().expect("a name"),
            |a| a.keys[0].variables[0].1 = "other".parse().expect("a name"),
            |a| a.environment = Some("/p".to_owned()),
            |a| a.directory = None,
            |a| a.writable.clear(),
            |a| a.readable.push("/p".to_owned()),
            |a| (a.readable, a.writable) = (a.writable.clone(), Vec::new()),
            |a| a.network = Network::Allow,
            |a| a.timeout_ms += 1,
            |a| a.output_bytes += 1,
            |a| a.processes += 1,
            |a| a.expands = false,
            |a| (a.rule, a.question) = (a.question.clone(), a.rule.clone()),
            |a| a.policy.replace_range(..1, "f"),
        ];
        let mut digests = vec![asked().digest()];
        for change in changes {
            let mut other = asked();
            change(&mut other);
            digests.push(other.digest());
        }
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }

    #[test]
    fn nothing_in_a_command_is_other_than_it_looks() {
        let shown = |words: &[&str]| {
            let words = words.iter().map(|&word| word.to_owned()).collect();
            Asked { words, ..asked() }.command()
        };
        for (words, line) in [
            (&["npm", "test"][..], "npm test"),
            (&["a b", ""], r#""a b" """#),
            (&["a\" \"b"], r#""a\" \"b""#),
            (&["a\\u{41}"], r#""a\\u{41}""#),
            (
                &["x\n  secrets      none"],
                r#""x\u{a} \u{20}secrets \u{20}\u{20}\u{20}\u{20}\u{20}none""#,
            ),
            (
                &["\u{1b}[2K\rnpm", "\u{202e}tset"],
                r#""\u{1b}[2K\u{d}npm" "\u{202e}tset""#,
            ),
            (
                &["a\u{200d}b\u{a0}c\u{3164}d\u{ad}e\u{2800}f\u{301}"],
                r#""a\u{200d}b\u{a0}c\u{3164}d\u{ad}e\u{2800}f\u{301}""#,
            ),
            (&["größer"], "\"größer\""),
            (&["/a/\u{5d0}/b"], r#""/a/\u{5d0}/b""#),
            (&["$(x);y"], "\"$(x);y\""),
        ] {
            assert_eq!(shown(words), line);
        }
        assert_eq!(
            foreign_letters("n\u{440}m größer").as_deref(),
            Some("ß U+00DF, ö U+00F6, р U+0440")
        );
    }

    #[test]
    fn no_text_of_others_makes_a_line_of_its_own() {
        let usual = asked().to_string().lines().count();
        let forged = "x\"\n  command      true\u{2028}y\r".to_owned();
        let other = Asked {
            agent: forged.clone(),
            path: forged.clone(),
            canonical: forged.clone(),
            environment: Some(forged.clone()),
            directory: Some(forged.clone()),
            writable: vec![forged.clone()],
            rule: forged.clone(),
            ..asked()
        };
        let text = other.to_string();
        assert_eq!(text.lines().count(), usual + 1, "{text}");
        assert!(!text.chars().any(|c| is_unseen(c) && c != '\n'), "{text}");
        // A module's question may have several lines, none of which is taken for another fact.
        let question = Asked {
            question: forged,
            ..asked()
        };
        let text = question.to_string();
        assert_eq!(text.matches("\n  command      ").count(), 1, "{text}");
        assert!(!text.chars().any(|c| is_unseen(c) && c != '\n'), "{text}");
    }

    #[test]
    fn a_program_that_has_another_name_is_shown_with_it() {
        let link = Asked {
            canonical: "/usr/bin/real".to_owned(),
            ..asked()
        };
        let line = "\n  which is     /usr/bin/real\n";
        assert!(link.to_string().contains(line), "{link}");
        assert!(!asked().to_string().contains("which is"));
    }

    #[test]
    fn what_is_too_long_to_be_read_is_not_asked() {
        let long = |characters: usize| Asked {
            words: vec!["x".repeat(characters)],
            ..asked()
        };
        assert!(
            long(COMMAND_SHOWN_MAX_CHARACTERS)
                .require_readable()
                .is_ok()
        );
        let error = long(COMMAND_SHOWN_MAX_CHARACTERS + 1).require_readable();
        assert!(
            error
                .expect_err("refused")
                .to_string()
                .contains("4000 characters")
        );
        // What is shown counts: each of these takes eight.
        let unseen = Asked {
            words: vec!["\u{200b}".repeat(COMMAND_SHOWN_MAX_CHARACTERS / 4)],
            ..asked()
        };
        assert!(unseen.require_readable().is_err());
        let many = |keys: usize| Asked {
            keys: vec![asked().keys[0].clone(); keys],
            ..asked()
        };
        assert!(many(VARIABLES_SHOWN_MAX).require_readable().is_ok());
        assert!(many(VARIABLES_SHOWN_MAX + 1).require_readable().is_err());
    }
}
