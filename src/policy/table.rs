//! A table of requests and the decisions that are expected of a policy file.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, Deserializer, Unexpected, Visitor};

use super::error::{Fault, Place};
use super::units::List;
use super::{file, place};
use crate::name::KeyPattern;

/// Requests, in the order of their file.
#[derive(Debug)]
pub struct Table {
    text: String,
    cases: List<Case>,
}

/// One request, and what is expected of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with `agent`, `command`, `keys` and `expect`"
)]
pub struct Case {
    /// The agent's name.
    pub agent: String,
    /// The program, or a whole command line.
    pub command: String,
    /// The program's arguments; none for a whole command line.
    #[serde(default)]
    args: List<String>,
    #[serde(default)]
    keys: List<Name>,
    /// The environment whose aliases apply.
    #[serde(default)]
    pub env: Option<String>,
    /// The directory to run in, below the project's root.
    #[serde(default)]
    pub cwd: Option<String>,
    /// The decision.
    pub expect: Expectation,
    /// A part of the rule or of the reason.
    #[serde(default)]
    pub because: Option<String>,
}

/// An expected decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expectation {
    /// It is allowed.
    Allow,
    /// It is not, nor is a person asked.
    Deny,
    /// A person is asked.
    Ask,
}

/// The name of a key, as a request has it.
#[derive(Debug, Clone)]
struct Name(KeyPattern);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a key; what a pattern finds depends on the vault")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Name, E> {
                let key: KeyPattern = text.parse().map_err(E::custom)?;
                match key.exact() {
                    Some(_) => Ok(Name(key)),
                    None => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        from.deserialize_any(Text)
    }
}

impl Table {
    /// Reads a file, which may be anybody's.
    ///
    /// # Errors
    /// When it cannot be read, is no regular file or larger than a policy file may be, and as [`parse`](Self::parse).
    pub fn read(path: &Path) -> Result<Table, Fault> {
        Table::parse(&file::read(path, false)?)
    }

    /// Takes the bytes of a file.
    ///
    /// # Errors
    /// [`Fault::Syntax`] for the first thing that is not understood.
    pub fn parse(bytes: &[u8]) -> Result<Table, Fault> {
        let text = std::str::from_utf8(bytes).map_err(|error| place::not_utf8(bytes, &error))?;
        let cases = serde_yaml::from_str(text).map_err(|error| place::of(text, &error))?;
        Ok(Table {
            text: text.to_owned(),
            cases,
        })
    }

    /// The requests.
    pub fn cases(&self) -> &[Case] {
        &self.cases.0
    }

    /// Where one of them stands.
    pub fn place(&self, number: usize) -> Option<Place> {
        place::entry(&self.text, &format!("[{number}]"))
    }
}

impl Case {
    /// The program's arguments; none for a whole command line.
    pub fn arguments(&self) -> &[String] {
        &self.args.0
    }

    /// The names of its keys.
    pub fn keys(&self) -> impl Iterator<Item = &KeyPattern> {
        self.keys.0.iter().map(|name| &name.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_know_their_lines() {
        let text = b"# two\n- { agent: a, command: x, keys: [k], expect: allow }\n\n- agent: b\n  command: y\n  \
                     args: ['1']\n  expect: deny\n  because: no\n";
        let table = Table::parse(text).unwrap();
        let line = |number| Some(table.place(number)?.line);
        assert_eq!([line(0), line(1), line(2)], [Some(2), Some(4), None]);
        let second = &table.cases()[1];
        assert_eq!(second.arguments(), ["1"]);
        assert_eq!(second.expect, Expectation::Deny);
        assert_eq!(second.because.as_deref(), Some("no"));
    }

    #[test]
    fn a_broken_table_is_an_error_with_its_place() {
        for (text, line, column, fact) in [
            ("- agent: a\n  comand: x\n", 2, 3, "did you mean `command`?"),
            ("- agent: a\n  command: x\n", 1, 3, "missing field `expect`"),
            (
                "- { agent: a, command: x, expect: maybe }\n",
                1,
                35,
                "unknown variant `maybe`",
            ),
            (
                "- { agent: a, command: x, expect: deny, keys: ['a['] }\n",
                1,
                48,
                "pattern",
            ),
            (
                "- { agent: a, command: x, expect: deny, keys: [a/*] }\n",
                1,
                48,
                "the name of a key",
            ),
            (
                "- { agent: a, command: x, expect: deny, keys: [1] }\n",
                1,
                48,
                "the name of a key",
            ),
            ("agent: a\n", 1, 1, "a list"),
            ("- [\n", 1, 3, "a mapping with `agent`"),
        ] {
            match Table::parse(text.as_bytes()).unwrap_err() {
                Fault::Syntax {
                    line: found_line,
                    column: found_column,
                    message,
                    ..
                } => {
                    assert_eq!((found_line, found_column), (line, column), "{message}");
                    assert!(message.contains(fact), "{message}");
                }
                other => panic!("{other}"),
            }
        }
    }
}
