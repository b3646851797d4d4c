//! Where in a file an entry stands: from a path such as `allowed_commands[2].keys[0]` to its line.
//!
//! The parser knows places only while it reads. So the file is read once more, along the path, up to an error that is raised at its end.

use std::fmt;

use super::node::Step;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What the error at the end says.
const FOUND: &str = "this is the entry";

/// Line and column of the entry at `path`, both from 1. None where the file has no such entry.
pub(super) fn entry(text: &str, path: &str) -> Option<(usize, usize)> {
    found(text, Along::Path(path))
}

/// The same for the value at the end of steps, or for the last one's key.
pub(super) fn steps(text: &str, steps: &[Step], is_key: bool) -> Option<(usize, usize)> {
    found(text, Along::Steps(steps, is_key))
}

fn found(text: &str, along: Along<'_>) -> Option<(usize, usize)> {
    let from = serde_yaml::Deserializer::from_str(text);
    let error = along.deserialize(from).err()?;
    if !error.to_string().contains(FOUND) {
        return None;
    }
    error.location().map(|at| (at.line(), at.column()))
}

/// Goes along the way that is left, and fails at its end.
#[derive(Clone, Copy)]
enum Along<'a> {
    Path(&'a str),
    /// And whether the end is the last key itself.
    Steps(&'a [Step], bool),
}

impl<'a> Along<'a> {
    fn end<E: de::Error>(&self) -> Result<(), E> {
        let is_end = match self {
            Along::Path(path) => path.is_empty(),
            Along::Steps(steps, _) => steps.is_empty(),
        };
        match is_end {
            true => Err(E::custom(FOUND)),
            false => Ok(()),
        }
    }

    /// The way behind `key`, which may contain a dot itself; it was there `before` so often.
    fn behind_key(&self, key: &str, before: usize) -> Option<Along<'a>> {
        match self {
            Along::Path(path) => {
                let path = path.strip_prefix('.').unwrap_or(path);
                let rest = path.strip_prefix(key)?;
                (rest.is_empty() || rest.starts_with(['.', '['])).then_some(Along::Path(rest))
            }
            Along::Steps(steps, is_key) => match steps.split_first()? {
                (Step::Key(wanted, number), rest) if wanted == key && *number == before => {
                    Some(Along::Steps(rest, *is_key))
                }
                _ => None,
            },
        }
    }

    /// The number of an entry of a list, and the way behind it.
    fn behind_number(&self) -> Option<(usize, Along<'a>)> {
        match self {
            Along::Path(path) => {
                let (number, rest) = path.strip_prefix('[')?.split_once(']')?;
                Some((number.parse().ok()?, Along::Path(rest)))
            }
            Along::Steps(steps, is_key) => match steps.split_first()? {
                (Step::Entry(number), rest) => Some((*number, Along::Steps(rest, *is_key))),
                _ => None,
            },
        }
    }
}

/// Reads a key, behind those that were read before it, and fails at the one that is looked for.
struct Keys<'a, 'b>(Along<'a>, &'b mut Vec<String>);

impl<'de, 'a> DeserializeSeed<'de> for Keys<'a, '_> {
    type Value = Option<Along<'a>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Keys<'a, '_> {
    type Value = Option<Along<'a>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        let before = self.1.iter().filter(|known| *known == key).count();
        self.1.push(key.to_owned());
        match self.0.behind_key(key, before) {
            Some(Along::Steps([], true)) => Err(E::custom(FOUND)),
            behind => Ok(behind),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Along<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Along<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.end()?;
        let mut seen = Vec::new();
        while let Some(behind) = map.next_key_seed(Keys(self, &mut seen))? {
            match behind {
                Some(rest) => return map.next_value_seed(rest),
                None => map.next_value::<IgnoredAny>()?,
            };
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.end()?;
        let Some((wanted, rest)) = self.behind_number() else {
            return Ok(());
        };
        for _ in 0..wanted {
            if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        list.next_element_seed(rest).map(drop)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.end()
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.end()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.end()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.end()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.end()
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "version: 1\nallowed_commands:\n- npm\n- command: aws\n  keys: [a, \"b\"]\n\
                        limits: { processes: 3 }\nempty:\ndo.t: { a: 1 }\n";

    #[test]
    fn entries_are_found() {
        for (path, place) in [
            ("version", Some((1, 10))),
            ("allowed_commands[0]", Some((3, 3))),
            ("allowed_commands[1]", Some((4, 3))),
            ("allowed_commands[1].keys[1]", Some((5, 13))),
            ("limits.processes", Some((6, 22))),
            ("empty", Some((7, 7))),
            ("do.t.a", Some((8, 12))),
            ("allowed", None),
            ("allowed_commands[2]", None),
            ("allowed_commands[0].keys", None),
            ("version[0]", None),
            ("missing", None),
            ("allowed_commands[x]", None),
        ] {
            assert_eq!(entry(FILE, path), place, "{path}");
        }
    }
}
