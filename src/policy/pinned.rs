//! Modules that the policy file names. A module is pinned by its digest: no other code than that is run.

use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::{Map, Number, Value};

/// Largest `config`, in bytes of text and values. YAML lets a small file repeat a long text by reference.
const CONFIG_MAX_BYTES: usize = 64 * 1024;
/// Longest path, in bytes: it stands in messages and in each record of a run.
const PATH_MAX_BYTES: usize = 512;
/// Digits of a digest.
const SHA256_DIGITS: usize = 64;

/// An entry of a list of modules.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with `path`, `sha256` and `config` of a module"
)]
pub struct PinnedModule {
    #[serde(deserialize_with = "path")]
    path: String,
    #[serde(deserialize_with = "sha256")]
    sha256: String,
    #[serde(default, deserialize_with = "config_of")]
    config: Value,
}

impl PinnedModule {
    /// Where its file is: absolute, or relative to the directory of the policy file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// SHA-256 of the file, in lower-case hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The same module in another place, with the same digest and configuration.
    pub fn at(&self, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..self.clone()
        }
    }

    /// What the module is configured with, as JSON.
    pub fn document(&self) -> String {
        self.config.to_string()
    }
}

fn path<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let expected =
        "a path relative to the policy file's directory, without '..', or an absolute one";
    text(from, expected, |path| {
        let is_above = path.split('/').any(|part| part == "..");
        let is_name = !path.is_empty() && path.len() <= PATH_MAX_BYTES;
        is_name && !is_above && !path.starts_with('~') && !path.contains(char::is_control)
    })
}

fn sha256<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let is_digest = |text: &str| {
        text.len() == SHA256_DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit())
    };
    text(from, "a SHA-256 of 64 hexadecimal digits", is_digest)
        .map(|digest| digest.to_ascii_lowercase())
}

/// The configuration of an entry: any value that JSON has, if it is not too large.
pub(super) fn config_of<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
    let room = Cell::new(CONFIG_MAX_BYTES);
    Json(&room).deserialize(from)
}

/// A text of which `is_valid` holds. A digest of digits alone is a number where nobody put quotes around it.
fn text<'de, D: Deserializer<'de>>(
    from: D,
    expected: &'static str,
    is_valid: impl Fn(&str) -> bool,
) -> Result<String, D::Error> {
    struct Text<V>(&'static str, V);
    impl<V: Fn(&str) -> bool> Visitor<'_> for Text<V> {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            if (self.1)(text) {
                Ok(text.to_owned())
            } else {
                Err(E::invalid_value(Unexpected::Str(text), &self))
            }
        }
    }
    from.deserialize_any(Text(expected, is_valid))
}

/// Any value as JSON, with the bytes that it may still take.
#[derive(Clone, Copy)]
struct Json<'a>(&'a Cell<usize>);

impl Json<'_> {
    /// Counts what a value takes, at least a byte.
    fn take<E: de::Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.0.get().checked_sub(bytes.max(1));
        self.0.set(
            left.ok_or_else(|| E::custom(format_args!("more than {CONFIG_MAX_BYTES} bytes")))?,
        );
        Ok(())
    }

    fn number<E: de::Error>(self, number: impl Into<Number>) -> Result<Value, E> {
        self.take(size_of::<u64>())?;
        Ok(Value::Number(number.into()))
    }
}

impl<'de> DeserializeSeed<'de> for Json<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Json<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.take(1).map(|()| Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        self.take(1).map(|()| Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        self.number(value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        self.number(value)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        match Number::from_f64(value) {
            Some(number) => self.number(number),
            None => Err(E::invalid_value(Unexpected::Float(value), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        self.take(text.len())?;
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        self.take(1)?;
        let mut list = Vec::new();
        while let Some(value) = from.next_element_seed(self)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        self.take(1)?;
        let mut map = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            self.take(key.len())?;
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!("duplicate field `{key}`")));
            }
            let value = from.next_value_seed(self)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Fault, Policy};
    use super::*;

    const DIGEST: &str = "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08";

    fn with_config(config: &str) -> Result<String, (usize, usize, String)> {
        let text = format!(
            "sanitizers:\n- path: modules/x.wasm\n  sha256: {DIGEST}\n  config: {config}\n"
        );
        match Policy::parse(text.as_bytes()) {
            Ok(policy) => Ok(policy.sanitizers()[0].document()),
            Err(Fault::Syntax {
                line,
                column,
                message,
                ..
            }) => Err((line, column, message)),
            Err(other) => panic!("{other}"),
        }
    }

    #[track_caller]
    fn refused(text: &str, line: usize, column: usize, fact: &str) {
        match Policy::parse(text.as_bytes()) {
            Err(Fault::Syntax {
                line: found_line,
                column: found_column,
                message,
                ..
            }) => {
                assert_eq!((found_line, found_column), (line, column), "{message}");
                assert!(message.contains(fact), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn entries_are_read_in_order() {
        let text = format!(
            "sanitizers:\n- {{ path: modules/x.wasm, sha256: {DIGEST} }}\n\
             - {{ path: /srv/y.wasm, sha256: '{}', config: {{ a: [1, 2.5, yes, null] }} }}\n",
            "0".repeat(64)
        );
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let [x, y] = policy.sanitizers() else {
            panic!("two")
        };
        assert_eq!((x.path(), &*x.document()), ("modules/x.wasm", "null"));
        assert_eq!(x.sha256(), DIGEST.to_ascii_lowercase());
        assert_eq!(
            (y.path(), &*y.document()),
            ("/srv/y.wasm", r#"{"a":[1,2.5,"yes",null]}"#)
        );
        let without = Policy::parse(b"version: 1\nsanitizers:\n").unwrap();
        assert!(without.sanitizers().is_empty());
    }

    #[test]
    fn errors_name_the_place() {
        let entry = |path: &str, rest: &str| format!("sanitizers:\n- path: {path}\n{rest}");
        let sha256 = format!("  sha256: {DIGEST}\n");
        for path in ["../x.wasm", "a/../../x", "''", "~/x.wasm", "\"a\\nb\""] {
            refused(&entry(path, &sha256), 2, 9, "relative to the policy file's");
        }
        refused(&entry("1", &sha256), 2, 9, "integer `1`");
        refused(&entry("x", ""), 2, 3, "missing field `sha256`");
        let bad = ["abc", &DIGEST[1..], &format!("{DIGEST}0"), "'g0'", "1234"];
        for digest in bad {
            let rest = format!("  sha256: {digest}\n");
            refused(&entry("x", &rest), 3, 11, "64 hexadecimal digits");
        }
        let unknown = entry("x", &format!("{sha256}  fuel: 1\n"));
        refused(&unknown, 4, 3, "unknown field `fuel`");
        refused("sanitizers: x\n", 1, 13, "a list");
        refused("sanitizers: [x]\n", 1, 14, "a mapping with `path`");
    }

    #[test]
    fn a_config_is_json_whatever_it_says() {
        assert_eq!(with_config("null").unwrap(), "null");
        assert_eq!(with_config("text").unwrap(), r#""text""#);
        assert_eq!(with_config("[-1, {b: {}}]").unwrap(), r#"[-1,{"b":{}}]"#);
        for bad in [".nan", ".inf", "!tag x", "{ a: 1, a: 2 }"] {
            let (line, ..) = with_config(bad).unwrap_err();
            assert_eq!(line, 4, "{bad}");
        }
        assert!(with_config(&"x".repeat(CONFIG_MAX_BYTES)).is_ok());
        let (.., message) = with_config(&"x".repeat(CONFIG_MAX_BYTES + 1)).unwrap_err();
        assert!(message.contains("more than 65536 bytes"), "{message}");
    }

    #[test]
    fn a_config_cannot_grow_by_references() {
        let long = "x".repeat(CONFIG_MAX_BYTES / 100);
        let config = format!("[&a {long}{}]", ", *a".repeat(100));
        let (.., message) = with_config(&config).unwrap_err();
        assert!(message.contains("more than 65536 bytes"), "{message}");
    }
}
