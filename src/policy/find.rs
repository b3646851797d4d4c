//! Where in a file an entry stands: from a path such as `allowed_commands[2].keys[0]` to its line.
//!
//! The parser knows places only while it reads. So the file is read once more, along the path, up to an error that is raised at its end.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What the error at the end says.
const FOUND: &str = "this is the entry";

/// Line and column of the entry at `path`, both from 1. None where the file has no such entry.
pub(super) fn entry(text: &str, path: &str) -> Option<(usize, usize)> {
    let from = serde_yaml::Deserializer::from_str(text);
    let error = Along(path).deserialize(from).err()?;
    if !error.to_string().contains(FOUND) {
        return None;
    }
    error.location().map(|at| (at.line(), at.column()))
}

/// Goes along the path that is left, and fails at its end.
struct Along<'a>(&'a str);

impl<'a> Along<'a> {
    fn end<E: de::Error>(&self) -> Result<(), E> {
        if self.0.is_empty() {
            Err(E::custom(FOUND))
        } else {
            Ok(())
        }
    }

    /// The path behind `key`, which may contain a dot itself.
    fn behind_key(&self, key: &str) -> Option<Along<'a>> {
        let path = self.0.strip_prefix('.').unwrap_or(self.0);
        let rest = path.strip_prefix(key)?;
        (rest.is_empty() || rest.starts_with(['.', '['])).then_some(Along(rest))
    }

    /// The number of an entry of a list, and the path behind it.
    fn behind_number(&self) -> Option<(usize, Along<'a>)> {
        let (number, rest) = self.0.strip_prefix('[')?.split_once(']')?;
        Some((number.parse().ok()?, Along(rest)))
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
        while let Some(key) = map.next_key::<String>()? {
            match self.behind_key(&key) {
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
