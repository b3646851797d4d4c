//! Building blocks of the policy file with rules of their own. Errors are raised while a value is visited, since only then
//! does the parser know its line.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::time;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};

/// Most entries of one list or mapping. YAML lets a small file repeat a long list by reference; this is far more than a
/// person writes, and keeps what such a file can grow to in bounds.
pub(super) const ENTRIES_MAX: usize = 1000;

/// A duration greater than zero, such as `500ms`, `60s`, `5m` (minutes) or `1h`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

/// A size in bytes: a number, or digits and `B`, `KiB`, `MiB`, `GiB`, `kB`, `MB` or `GB`. Greater than zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size(pub(super) u64);

/// The only version of the file.
#[derive(Debug, Default)]
pub(super) struct Version;

/// At most [`ENTRIES_MAX`] values.
#[derive(Debug, Clone)]
pub(super) struct List<T>(pub(super) Vec<T>);

/// A mapping of at most [`ENTRIES_MAX`] entries in the order of the file, in which no key comes twice.
#[derive(Debug)]
pub(super) struct Pairs<T>(pub(super) Vec<(String, T)>);

/// For a key that is either absent or has a value: an empty one is no way to say "absent", which may mean "everything".
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl Span {
    fn parse(text: &str) -> Option<Self> {
        let span = text.parse::<time::Span>().ok()?.0;
        (!span.is_zero()).then_some(Self(span))
    }
}

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let bytes = match unit {
            "B" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(bytes).map(Self)
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number = number.parse().ok().filter(|number| *number > 0)?;
    Some((number, unit))
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, such as 500ms, 60s, 5m or 1h")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        from.deserialize_any(Text)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextOrNumber;
        impl Visitor<'_> for TextOrNumber {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size, such as 64KiB, 1MiB, 10MB or a number of bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                Size::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                match bytes {
                    0 => Err(E::invalid_value(Unexpected::Unsigned(0), &self)),
                    bytes => Ok(Size(bytes)),
                }
            }
        }
        from.deserialize_any(TextOrNumber)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct One;
        impl Visitor<'_> for One {
            type Value = Version;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("1, the only version that this program reads")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Version, E> {
                match number {
                    1 => Ok(Version),
                    other => Err(E::invalid_value(Unexpected::Unsigned(other), &self)),
                }
            }
        }
        from.deserialize_any(One)
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<List<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(entry) = from.next_element()? {
                    ensure_room(list.len())?;
                    list.push(entry);
                }
                Ok(List(list))
            }
        }
        from.deserialize_seq(Entries(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Pairs<T>, A::Error> {
                let mut pairs: Vec<(String, T)> = Vec::new();
                while let Some(key) = from.next_key::<String>()? {
                    ensure_room(pairs.len())?;
                    if pairs.iter().any(|(earlier, _)| *earlier == key) {
                        return Err(de::Error::custom(format_args!("duplicate field `{key}`")));
                    }
                    pairs.push((key, from.next_value()?));
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Entries(PhantomData))
    }
}

fn ensure_room<E: de::Error>(entries: usize) -> Result<(), E> {
    if entries < ENTRIES_MAX {
        Ok(())
    } else {
        Err(E::custom(format_args!("more than {ENTRIES_MAX} entries")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_are_not_zero() {
        let ms = |text| Span::parse(text).map(|span| span.0.as_millis());
        assert_eq!(ms("500ms"), Some(500));
        assert_eq!(ms("60s"), Some(60_000));
        assert_eq!(ms("5m"), Some(300_000));
        assert_eq!(ms("1h"), Some(3_600_000));
        let bad = [
            "", "s", "60", "0s", "-5s", "+5s", "1.5h", "5 m", "1h30m", "5M",
        ];
        for bad in bad
            .into_iter()
            .chain(["99999999999999999999s", "18446744073709551615h"])
        {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_not_zero() {
        let bytes = |text: &str| serde_yaml::from_str::<Size>(text).ok().map(|size| size.0);
        assert_eq!(bytes("1"), Some(1));
        assert_eq!(bytes("100B"), Some(100));
        assert_eq!(bytes("64KiB"), Some(65_536));
        assert_eq!(bytes("1MiB"), Some(1_048_576));
        assert_eq!(bytes("10MB"), Some(10_000_000));
        for bad in [
            "",
            "0",
            "0MiB",
            "-1",
            "1.5",
            "1.5MiB",
            "1 MiB",
            "1mb",
            "1TiB",
            "20000000000GiB",
        ] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }

    #[test]
    fn lists_and_mappings_end_somewhere() {
        let list = |entries: usize| serde_yaml::from_str::<List<u8>>(&"- 1\n".repeat(entries));
        assert_eq!(list(ENTRIES_MAX).unwrap().0.len(), ENTRIES_MAX);
        assert!(list(ENTRIES_MAX + 1).is_err());
        let pairs = |entries: usize| {
            let text: String = (0..entries).map(|i| format!("k{i}: 1\n")).collect();
            serde_yaml::from_str::<Pairs<u8>>(&text)
        };
        assert_eq!(pairs(ENTRIES_MAX).unwrap().0.len(), ENTRIES_MAX);
        assert!(pairs(ENTRIES_MAX + 1).is_err());
    }
}
