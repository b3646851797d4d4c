//! What a secret consists of, its limits, and how a change is applied to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::{EnvName, FieldName, SecretName, Tag};
use crate::secret::SecretBytes;

/// The field of a secret that has only one.
pub const VALUE_FIELD: &str = "value";
/// Longest value of one field, in bytes: fits any key file, and can be searched for in output.
pub const VALUE_MAX_BYTES: usize = 1024 * 1024;
/// Longest notes, in bytes: a page of text.
pub const NOTES_MAX_BYTES: usize = 10 * 1024;
/// Longest URL, in bytes: what browsers and servers agree on.
pub const URL_MAX_BYTES: usize = 2048;
/// Most tags on one secret: they fit one line of a list.
pub const TAGS_MAX: usize = 10;
/// Most fields of one secret.
pub const FIELDS_MAX: usize = 100;
/// Most bindings of one secret: no more than it can have fields.
pub const BINDINGS_MAX: usize = 100;

/// The rule that a secret breaks. What was given is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// A new secret was given no value.
    #[error("a new secret needs a value")]
    NoValue,
    /// A value is empty.
    #[error("the value of field '{0}' is empty")]
    EmptyValue(FieldName),
    /// A value is too long.
    #[error("the value of field '{0}' has more than {VALUE_MAX_BYTES} bytes")]
    ValueTooLong(FieldName),
    /// A field is given twice.
    #[error("field '{0}' is given twice")]
    FieldTwice(FieldName),
    /// Too many fields.
    #[error("a secret has at most {FIELDS_MAX} fields")]
    TooManyFields,
    /// Too many tags.
    #[error("a secret has at most {TAGS_MAX} tags")]
    TooManyTags,
    /// Too many bindings.
    #[error("a secret has at most {BINDINGS_MAX} bindings")]
    TooManyBindings,
    /// A binding names a field that the secret does not have.
    #[error("{env} is bound to field '{field}', which the secret does not have")]
    UnknownField {
        /// The environment variable.
        env: EnvName,
        /// The field that is missing.
        field: FieldName,
    },
    /// The notes are too long.
    #[error("notes have at most {NOTES_MAX_BYTES} bytes")]
    NotesTooLong,
    /// The URL is too long.
    #[error("a URL has at most {URL_MAX_BYTES} bytes")]
    UrlTooLong,
    /// The URL is not one.
    #[error("a URL starts with http:// or https:// and has a host")]
    UrlMalformed,
    /// The secret would be expired from the start.
    #[error("the time of expiry is not in the future")]
    Expired,
}

/// What is known about a secret beside its values. Sealed in the vault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Labels, without duplicates, in the order given.
    pub tags: Vec<Tag>,
    /// Free text.
    pub notes: Option<String>,
    /// Where the secret belongs to.
    pub url: Option<String>,
    /// When the secret stops being valid, in unix seconds.
    pub expires_at: Option<i64>,
    /// The fields, in the order of their values.
    pub fields: Vec<FieldInfo>,
    /// Which environment variable gets which field.
    pub bindings: BTreeMap<EnvName, FieldName>,
}

/// A field without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldInfo {
    /// Unique within the secret.
    pub name: FieldName,
    /// Whether the value must never be shown to an agent.
    pub sensitive: bool,
}

/// A secret without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Unique within the vault.
    pub name: SecretName,
    /// What is known about it.
    pub metadata: Metadata,
    /// In unix seconds.
    pub created_at: i64,
    /// In unix seconds.
    pub updated_at: i64,
}

impl Entry {
    /// Whether the secret is no longer valid at `now`, in unix seconds.
    pub fn is_expired(&self, now: i64) -> bool {
        self.metadata.expires_at.is_some_and(|expiry| expiry <= now)
    }
}

/// A field with its value.
pub struct Field {
    /// Unique within the secret.
    pub name: FieldName,
    /// Whether the value must never be shown to an agent.
    pub sensitive: bool,
    /// The value: any bytes, at least one.
    pub value: SecretBytes,
}

/// The fields of a secret with their values, in the order of its [`Metadata::fields`].
pub struct Fields(pub(super) Vec<Field>);

impl Fields {
    /// All fields.
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.0.iter()
    }

    /// The value of the field of that name.
    pub fn get(&self, name: &str) -> Option<&SecretBytes> {
        self.0
            .iter()
            .find(|field| field.name.as_str() == name)
            .map(|field| &field.value)
    }
}

impl IntoIterator for Fields {
    type Item = Field;
    type IntoIter = std::vec::IntoIter<Field>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a Field;
    type IntoIter = std::slice::Iter<'a, Field>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What to change on a secret; all else stays. The inner `None` of an option clears it.
#[derive(Default)]
pub struct Change {
    /// Fields to add or to give a new value and flag. A new secret needs one.
    pub fields: Vec<Field>,
    /// All tags.
    pub tags: Option<Vec<Tag>>,
    /// Free text.
    pub notes: Option<Option<String>>,
    /// Where the secret belongs to.
    pub url: Option<Option<String>>,
    /// When the secret stops being valid, in unix seconds.
    pub expires_at: Option<Option<i64>>,
    /// All bindings.
    pub bindings: Option<BTreeMap<EnvName, FieldName>>,
}

impl Change {
    /// A new value for the one field of a simple secret.
    pub fn value(value: SecretBytes) -> Self {
        let name = VALUE_FIELD.parse::<FieldName>();
        let field = name.map(|name| Field {
            name,
            sensitive: true,
            value,
        });
        Self {
            fields: field.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Applies everything but the values to `metadata`, and checks the result. `now` is in unix seconds.
    pub(super) fn apply_to(&self, metadata: &mut Metadata, now: i64) -> Result<(), InvalidSecret> {
        self.check_fields()?;
        if let Some(Some(expiry)) = self.expires_at {
            ensure(expiry > now, || InvalidSecret::Expired)?;
        }
        for Field {
            name, sensitive, ..
        } in &self.fields
        {
            match metadata.fields.iter_mut().find(|field| field.name == *name) {
                Some(field) => field.sensitive = *sensitive,
                None => metadata.fields.push(FieldInfo {
                    name: name.clone(),
                    sensitive: *sensitive,
                }),
            }
        }
        assign(
            &mut metadata.tags,
            self.tags.as_deref().map(without_duplicates),
        );
        assign(&mut metadata.notes, self.notes.clone());
        assign(&mut metadata.url, self.url.clone());
        assign(&mut metadata.expires_at, self.expires_at);
        assign(&mut metadata.bindings, self.bindings.clone());
        check(metadata)
    }

    fn check_fields(&self) -> Result<(), InvalidSecret> {
        for (index, Field { name, value, .. }) in self.fields.iter().enumerate() {
            ensure(!value.is_empty(), || {
                InvalidSecret::EmptyValue(name.clone())
            })?;
            ensure(value.len() <= VALUE_MAX_BYTES, || {
                InvalidSecret::ValueTooLong(name.clone())
            })?;
            let is_new = self
                .fields
                .iter()
                .take(index)
                .all(|field| field.name != *name);
            ensure(is_new, || InvalidSecret::FieldTwice(name.clone()))?;
        }
        Ok(())
    }
}

fn check(metadata: &Metadata) -> Result<(), InvalidSecret> {
    let Metadata {
        tags,
        notes,
        url,
        expires_at: _,
        fields,
        bindings,
    } = metadata;
    ensure(!fields.is_empty(), || InvalidSecret::NoValue)?;
    ensure(fields.len() <= FIELDS_MAX, || InvalidSecret::TooManyFields)?;
    ensure(tags.len() <= TAGS_MAX, || InvalidSecret::TooManyTags)?;
    ensure(bindings.len() <= BINDINGS_MAX, || {
        InvalidSecret::TooManyBindings
    })?;
    let notes_length = notes.as_ref().map_or(0, String::len);
    ensure(notes_length <= NOTES_MAX_BYTES, || {
        InvalidSecret::NotesTooLong
    })?;
    if let Some(url) = url {
        ensure(url.len() <= URL_MAX_BYTES, || InvalidSecret::UrlTooLong)?;
        ensure(is_web_url(url), || InvalidSecret::UrlMalformed)?;
    }
    for (env, field) in bindings {
        let is_known = fields.iter().any(|known| known.name == *field);
        ensure(is_known, || InvalidSecret::UnknownField {
            env: env.clone(),
            field: field.clone(),
        })?;
    }
    Ok(())
}

/// RFC 3986 in so far as it matters here: a web scheme, then an authority with a host.
fn is_web_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else {
        return false;
    };
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let is_clean = !url.contains(|c: char| c.is_whitespace() || c.is_control());
    is_web && is_clean && !host.is_empty() && !host.starts_with(':')
}

fn without_duplicates(tags: &[Tag]) -> Vec<Tag> {
    let is_first =
        |index: usize, tag: &Tag| tags.iter().position(|other| other == tag) == Some(index);
    tags.iter()
        .enumerate()
        .filter(|(index, tag)| is_first(*index, tag))
        .map(|(_, tag)| tag.clone())
        .collect()
}

fn assign<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}

fn ensure(holds: bool, broken: impl FnOnce() -> InvalidSecret) -> Result<(), InvalidSecret> {
    if holds { Ok(()) } else { Err(broken()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret(bytes: &[u8]) -> SecretBytes {
        SecretBytes::from_vec(bytes.to_vec())
    }

    fn field(name: &str, value: &[u8]) -> Field {
        Field {
            name: name.parse().expect("a field name"),
            sensitive: true,
            value: secret(value),
        }
    }

    /// Applies a change to a new secret at the time 1000.
    fn applied(change: Change) -> Result<Metadata, InvalidSecret> {
        let mut metadata = Metadata::default();
        change.apply_to(&mut metadata, 1000).map(|()| metadata)
    }

    fn with_value(change: Change) -> Change {
        Change {
            fields: vec![field("value", b"v")],
            ..change
        }
    }

    #[test]
    fn each_limit_holds_at_its_edge() {
        let tags = |count: usize| {
            (0..count)
                .map(|n| format!("t{n}").parse().expect("a tag"))
                .collect()
        };
        let with_tags = |count| {
            with_value(Change {
                tags: Some(tags(count)),
                ..Change::default()
            })
        };
        assert!(applied(with_tags(TAGS_MAX)).is_ok());
        assert_eq!(
            applied(with_tags(TAGS_MAX + 1)),
            Err(InvalidSecret::TooManyTags)
        );

        let with_notes = |length| {
            with_value(Change {
                notes: Some(Some("n".repeat(length))),
                ..Change::default()
            })
        };
        assert!(applied(with_notes(NOTES_MAX_BYTES)).is_ok());
        assert_eq!(
            applied(with_notes(NOTES_MAX_BYTES + 1)),
            Err(InvalidSecret::NotesTooLong)
        );

        assert!(applied(Change::value(secret(&vec![0; VALUE_MAX_BYTES]))).is_ok());
        let value: FieldName = VALUE_FIELD.parse().expect("a field name");
        let too_long = Change::value(secret(&vec![0; VALUE_MAX_BYTES + 1]));
        assert_eq!(
            applied(too_long),
            Err(InvalidSecret::ValueTooLong(value.clone()))
        );
        assert_eq!(
            applied(Change::value(secret(b""))),
            Err(InvalidSecret::EmptyValue(value))
        );

        let with_fields = |count: usize| Change {
            fields: (0..count).map(|n| field(&format!("f{n}"), b"v")).collect(),
            ..Change::default()
        };
        assert!(applied(with_fields(FIELDS_MAX)).is_ok());
        assert_eq!(
            applied(with_fields(FIELDS_MAX + 1)),
            Err(InvalidSecret::TooManyFields)
        );
        assert_eq!(applied(Change::default()), Err(InvalidSecret::NoValue));

        let bindings = |count: usize| {
            let name = |n| {
                (
                    format!("E{n}").parse().expect("a name"),
                    "value".parse().expect("a field name"),
                )
            };
            with_value(Change {
                bindings: Some((0..count).map(name).collect()),
                ..Change::default()
            })
        };
        assert!(applied(bindings(BINDINGS_MAX)).is_ok());
        assert_eq!(
            applied(bindings(BINDINGS_MAX + 1)),
            Err(InvalidSecret::TooManyBindings)
        );

        let expiring = |at| {
            with_value(Change {
                expires_at: Some(Some(at)),
                ..Change::default()
            })
        };
        assert_eq!(
            applied(expiring(1001)).map(|metadata| metadata.expires_at),
            Ok(Some(1001))
        );
        assert_eq!(applied(expiring(1000)), Err(InvalidSecret::Expired));
    }

    #[test]
    fn urls_are_of_the_web_and_have_a_host() {
        let with_url = |url: &str| {
            with_value(Change {
                url: Some(Some(url.to_owned())),
                ..Change::default()
            })
        };
        for good in [
            "https://example.com",
            "HTTP://user@[::1]:80/a?b#c",
            "http://h",
        ] {
            assert!(applied(with_url(good)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "example.com",
            "ftp://h",
            "https://",
            "https:///path",
            "https://u@",
            "http://:80",
            "http://a b",
        ] {
            assert_eq!(
                applied(with_url(bad)),
                Err(InvalidSecret::UrlMalformed),
                "{bad}"
            );
        }
        let longest = format!("http://{}", "h".repeat(URL_MAX_BYTES - 7));
        assert!(applied(with_url(&longest)).is_ok());
        assert_eq!(
            applied(with_url(&format!("{longest}h"))),
            Err(InvalidSecret::UrlTooLong)
        );
    }

    #[test]
    fn a_binding_needs_its_field_and_a_field_comes_once() {
        let (env, name): (EnvName, FieldName) = (
            "PGHOST".parse().expect("a name"),
            "host".parse().expect("a name"),
        );
        let bindings = Some(BTreeMap::from([(env.clone(), name.clone())]));
        let unbound = with_value(Change {
            bindings,
            ..Change::default()
        });
        assert_eq!(
            applied(unbound),
            Err(InvalidSecret::UnknownField {
                env,
                field: name.clone()
            })
        );
        let twice = Change {
            fields: vec![field("host", b"a"), field("host", b"b")],
            ..Change::default()
        };
        assert_eq!(applied(twice), Err(InvalidSecret::FieldTwice(name)));
    }

    #[test]
    fn duplicate_tags_count_once() {
        let tags: Vec<Tag> = ["b", "a", "b"]
            .map(|tag| tag.parse().expect("a tag"))
            .into();
        let metadata = applied(with_value(Change {
            tags: Some(tags.clone()),
            ..Change::default()
        }));
        assert_eq!(
            metadata.map(|metadata| metadata.tags),
            Ok(tags[..2].to_vec())
        );
    }

    #[test]
    fn a_secret_expires_at_its_time() {
        let metadata = Metadata {
            expires_at: Some(10),
            ..Metadata::default()
        };
        let entry = Entry {
            name: "A".parse().expect("a name"),
            metadata,
            created_at: 0,
            updated_at: 0,
        };
        assert_eq!(
            [9, 10, 11].map(|now| entry.is_expired(now)),
            [false, true, true]
        );
    }

    proptest! {
        #[test]
        fn metadata_survives_its_stored_form(
            tags in prop::collection::vec("[A-Za-z0-9_-]{1,64}", 0..5),
            notes: Option<String>, url: Option<String>, expires_at: Option<i64>, sensitive: bool,
        ) {
            let metadata = Metadata {
                tags: tags.iter().map(|tag| tag.parse().expect("a tag")).collect(),
                notes, url, expires_at,
                fields: vec![FieldInfo { name: "password".parse().expect("a field name"), sensitive }],
                bindings: BTreeMap::from([("P".parse().expect("a name"), "password".parse().expect("a name"))]),
            };
            let stored = serde_json::to_vec(&metadata).expect("stored");
            prop_assert_eq!(serde_json::from_slice::<Metadata>(&stored).expect("read back"), metadata);
        }
    }
}
