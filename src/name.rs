//! Names, parsed once and valid ever after.
//!
//! A value of one of these types has passed its rules, so no later code checks them again. Names are not secret by
//! themselves, but the vault seals them and the agent door shows only those that the policy allows.

#![forbid(unsafe_code)]

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

/// Longest name of a secret, in bytes: fits a marker and a line of a table.
pub const SECRET_NAME_MAX_BYTES: usize = 256;
/// Longest name of a field, tag or environment variable, in bytes.
pub const WORD_MAX_BYTES: usize = 64;
/// Longest name of an environment variable, in bytes: a whole secret name behind a prefix.
pub const ENV_NAME_MAX_BYTES: usize = SECRET_NAME_MAX_BYTES + WORD_MAX_BYTES;
/// Longest key pattern, in bytes.
pub const PATTERN_MAX_BYTES: usize = 512;

/// A text that is not a valid name. The text itself is not repeated: it may be a secret typed in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {rule}")]
pub struct InvalidName {
    what: &'static str,
    rule: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                $check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

name_type! {
    /// The name of a secret, such as `aws/access_key`: 1 to 256 bytes of `A-Z a-z 0-9 . _ / -`.
    SecretName, check_secret_name
}
name_type! {
    /// The name of a field of a secret, such as `password`: `[a-z][a-z0-9_]*`, at most 64 bytes.
    FieldName, check_field_name
}
name_type! {
    /// A label on a secret: 1 to 64 bytes of `A-Z a-z 0-9 _ -`.
    Tag, check_tag
}
name_type! {
    /// The name of an environment variable: `[A-Za-z_][A-Za-z0-9_]*`, at most 320 bytes.
    EnvName, check_env_name
}

fn ensure(holds: bool, what: &'static str, rule: &'static str) -> Result<(), InvalidName> {
    if holds {
        Ok(())
    } else {
        Err(InvalidName { what, rule })
    }
}

fn check_secret_name(text: &str) -> Result<(), InvalidName> {
    const WHAT: &str = "the name of a secret";
    ensure(
        !text.is_empty() && text.len() <= SECRET_NAME_MAX_BYTES,
        WHAT,
        "has 1 to 256 characters",
    )?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._/-".contains(&b);
    ensure(
        text.bytes().all(allowed),
        WHAT,
        "consists of the characters A-Z a-z 0-9 . _ / -",
    )?;
    ensure(
        !text.starts_with(['.', '-']),
        WHAT,
        "does not start with '.' or '-'",
    )?;
    ensure(!text.contains(".."), WHAT, "does not contain '..'")?;
    let folders_named = text.split('/').all(|part| !part.is_empty());
    ensure(
        folders_named,
        WHAT,
        "does not start or end with '/', nor contain '//'",
    )?;
    let reserved = text.starts_with("_internal/") || text.starts_with("_system/");
    ensure(
        !reserved,
        WHAT,
        "does not start with '_internal/' or '_system/'",
    )
}

fn check_field_name(text: &str) -> Result<(), InvalidName> {
    const WHAT: &str = "the name of a field";
    ensure(
        text.len() <= WORD_MAX_BYTES,
        WHAT,
        "has at most 64 characters",
    )?;
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    let rest = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    ensure(
        first && rest,
        WHAT,
        "starts with a-z and consists of the characters a-z 0-9 _",
    )
}

fn check_tag(text: &str) -> Result<(), InvalidName> {
    const WHAT: &str = "a tag";
    ensure(
        !text.is_empty() && text.len() <= WORD_MAX_BYTES,
        WHAT,
        "has 1 to 64 characters",
    )?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    ensure(
        text.bytes().all(allowed),
        WHAT,
        "consists of the characters A-Z a-z 0-9 _ -",
    )
}

fn check_env_name(text: &str) -> Result<(), InvalidName> {
    const WHAT: &str = "the name of an environment variable";
    ensure(
        text.len() <= ENV_NAME_MAX_BYTES,
        WHAT,
        "has at most 320 characters",
    )?;
    let first = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    ensure(
        first && rest,
        WHAT,
        "starts with a letter or '_' and consists of the characters A-Z a-z 0-9 _",
    )
}

/// Which secrets are meant: one exact name, or a pattern with `*`, `?` (neither crosses a `/`), `**` and `[a-z0-9_]`.
#[derive(Clone, Debug)]
pub struct KeyPattern {
    text: String,
    matcher: Option<GlobMatcher>,
}

impl KeyPattern {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The one name that is meant, if this is not a pattern.
    pub fn exact(&self) -> Option<SecretName> {
        if self.matcher.is_some() {
            None
        } else {
            self.text.parse().ok()
        }
    }

    /// Whether `name` is meant.
    pub fn matches(&self, name: &SecretName) -> bool {
        match &self.matcher {
            Some(matcher) => matcher.is_match(name.as_str()),
            None => self.text == name.as_str(),
        }
    }
}

impl FromStr for KeyPattern {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        const WHAT: &str = "a key pattern";
        ensure(
            text.len() <= PATTERN_MAX_BYTES,
            WHAT,
            "has at most 512 characters",
        )?;
        if !text.contains(['*', '?', '[']) {
            check_secret_name(text)?;
            return Ok(Self {
                text: text.to_owned(),
                matcher: None,
            });
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._/-*?[]".contains(&b);
        ensure(
            text.bytes().all(allowed),
            WHAT,
            "consists of the characters of names and * ? [ ]",
        )?;
        ensure(
            text.split('[').skip(1).all(is_class),
            WHAT,
            "has letters, digits, '_' and ranges of them between '[' and ']'",
        )?;
        // Of `a**/**` and the like, readings differ from one matcher to the next.
        ensure(
            (text.split('/')).all(|part| part == "**" || !part.contains("**")),
            WHAT,
            "has '**' only as a whole part, between '/' and '/'",
        )?;
        ensure(
            text.split('/').all(|part| !part.is_empty()),
            WHAT,
            "has no '/' at an end, and no two in a row",
        )?;
        let malformed = InvalidName {
            what: WHAT,
            rule: "has a '[' without its ']', or an empty or backward range",
        };
        let glob = GlobBuilder::new(text)
            .literal_separator(true)
            .build()
            .map_err(|_| malformed)?;
        Ok(Self {
            text: text.to_owned(),
            matcher: Some(glob.compile_matcher()),
        })
    }
}

/// Whether what follows a `[` is a class that cannot match a `/`: nothing in it sorts before the digits but the `-` of a range.
fn is_class(rest: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let Some((class, _)) = rest.split_once(']') else {
        return false;
    };
    class.bytes().next().is_some_and(word) && class.bytes().all(|b| word(b) || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> KeyPattern {
        text.parse().expect("a valid pattern")
    }

    #[test]
    fn secret_names_follow_their_rules() {
        for good in ["A", "aws/access_key", "db-1.prod", "a/b/c", "_x", "0"] {
            assert!(good.parse::<SecretName>().is_ok(), "{good}");
        }
        let long = "a".repeat(SECRET_NAME_MAX_BYTES + 1);
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            ".a",
            "-a",
            "a..b",
            "a b",
            "ä",
            "a\0",
            "_internal/x",
            "_system/y",
            &long,
        ] {
            assert!(bad.parse::<SecretName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_does_not_repeat_the_text() {
        let error = "my secret value!"
            .parse::<SecretName>()
            .expect_err("not a name");
        assert!(!error.to_string().contains("secret value"));
    }

    #[test]
    fn patterns_stay_within_a_folder() {
        let name = |text: &str| text.parse::<SecretName>().expect("a valid name");
        assert!(pattern("aws/*").matches(&name("aws/key")));
        assert!(!pattern("aws/*").matches(&name("aws/prod/key")));
        assert!(pattern("aws/**").matches(&name("aws/prod/key")));
        assert!(pattern("*").matches(&name("KEY")));
        assert!(!pattern("*").matches(&name("a/b")));
        assert!(pattern("k[0-9]").matches(&name("k7")));
        assert!(!pattern("KEY").matches(&name("key")));
        for bad in [
            "a[", "a{b,c}*", "a[!b]", "a[^b]", "a[.-9]b", "a[--9]b", "a[/]b", "a[]*", "a[z-a]",
            "a**", "**a", "a***", "***", "a/b**/c", "/*", "*/", "a//*",
        ] {
            assert!(bad.parse::<KeyPattern>().is_err(), "{bad}");
        }
    }
}
