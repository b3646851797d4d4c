//! A table of requests and the decisions that are expected of a policy file.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};

use super::error::{Fault, Place};
use super::request::Moment;
use super::units::{List, present};
use super::{file, place};
use crate::name::KeyPattern;
use crate::time;

/// Requests, in the order of their file.
#[derive(Debug)]
pub struct Table {
    text: String,
    document: Document,
}

/// A table as it is written: a list of requests, or a mapping with more.
#[derive(Debug, Default)]
struct Document {
    programs: Option<List<String>>,
    cases: List<Case>,
    is_mapping: bool,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with `programs` and `requests`"
)]
struct WithPrograms {
    #[serde(default, deserialize_with = "present")]
    programs: Option<List<String>>,
    requests: List<Case>,
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
    /// When it is made; none for now.
    #[serde(default, deserialize_with = "moment")]
    pub at: Option<Moment>,
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

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ListOrMapping;
        impl<'de> Visitor<'de> for ListOrMapping {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of requests, or a mapping with `programs` and `requests`")
            }

            fn visit_none<E: de::Error>(self) -> Result<Document, E> {
                Ok(Document::default())
            }

            fn visit_unit<E: de::Error>(self) -> Result<Document, E> {
                Ok(Document::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, from: A) -> Result<Document, A::Error> {
                let cases = List::deserialize(SeqAccessDeserializer::new(from))?;
                Ok(Document {
                    cases,
                    ..Document::default()
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, from: A) -> Result<Document, A::Error> {
                let WithPrograms { programs, requests } =
                    WithPrograms::deserialize(MapAccessDeserializer::new(from))?;
                Ok(Document {
                    programs,
                    cases: requests,
                    is_mapping: true,
                })
            }
        }
        from.deserialize_any(ListOrMapping)
    }
}

fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Moment>, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = Moment;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a moment with its offset, such as 2026-11-22T10:00:00+01:00")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Moment, E> {
            let local = text.parse::<time::Local>();
            let local = local.map_err(|_| E::invalid_value(Unexpected::Str(text), &self))?;
            Ok(Moment {
                unix_seconds: local.unix_seconds,
                utc_offset_minutes: local.utc_offset_minutes,
            })
        }
    }
    from.deserialize_any(Text).map(Some)
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
        let document = serde_yaml::from_str(text).map_err(|error| place::of(text, &error))?;
        Ok(Table {
            text: text.to_owned(),
            document,
        })
    }

    /// The requests.
    pub fn cases(&self) -> &[Case] {
        &self.document.cases.0
    }

    /// The programs that are taken to exist, and no others; none for those of this machine.
    pub fn programs(&self) -> Option<&[String]> {
        self.document.programs.as_ref().map(|list| &*list.0)
    }

    /// Where one of them stands.
    pub fn place(&self, number: usize) -> Option<Place> {
        let list = if self.document.is_mapping {
            "requests"
        } else {
            ""
        };
        place::entry(&self.text, &format!("{list}[{number}]"))
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
            ("agent: a\n", 1, 1, "expected `programs` or `requests`"),
            ("a\n", 1, 1, "a list of requests, or a mapping"),
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

    #[test]
    fn a_mapping_knows_its_lines_and_a_moment_its_offset() {
        let text = b"programs: [x]\nrequests:\n- agent: a\n  command: x\n  at: 1970-01-02T01:00:00+01:00\n  expect: allow\n";
        let table = Table::parse(text).unwrap();
        assert_eq!(table.place(0).map(|place| place.line), Some(3));
        let at = table.cases()[0].at.unwrap();
        assert_eq!((at.unix_seconds, at.utc_offset_minutes), (86_400, 60));
        assert_eq!(table.programs(), Some(&["x".to_owned()][..]));
    }
}
