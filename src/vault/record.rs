//! What a secret consists of, and its limits.

use std::collections::{BTreeMap, BTreeSet};

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
    /// A secret would have no value at all.
    #[error("a secret needs a value")]
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
    /// A field is to be changed or removed that the secret does not have.
    #[error("the secret has no field '{0}'")]
    NoSuchField(FieldName),
    /// A variable is to be unbound that is not bound.
    #[error("{0} is not bound to a field")]
    NotBound(EnvName),
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

impl FromIterator<Field> for Fields {
    fn from_iter<T: IntoIterator<Item = Field>>(fields: T) -> Self {
        Self(fields.into_iter().collect())
    }
}

impl Fields {
    /// All fields.
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.0.iter()
    }

    /// The values that must never be shown to an agent.
    pub fn sensitive(&self) -> impl Iterator<Item = &SecretBytes> {
        let sensitive = self.iter().filter(|field| field.sensitive);
        sensitive.map(|field| &field.value)
    }

    /// The value of the only field.
    pub fn only(&self) -> Option<&SecretBytes> {
        match self.0.as_slice() {
            [field] => Some(&field.value),
            _ => None,
        }
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

/// Whether all that is known about a secret keeps the limits.
pub(super) fn check(metadata: &Metadata) -> Result<(), InvalidSecret> {
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

/// Whether values keep the limits.
pub(super) fn check_values<'a>(
    values: impl IntoIterator<Item = (&'a FieldName, &'a SecretBytes)>,
) -> Result<(), InvalidSecret> {
    let mut seen = BTreeSet::new();
    for (name, value) in values {
        ensure(!value.is_empty(), || {
            InvalidSecret::EmptyValue(name.clone())
        })?;
        ensure(value.len() <= VALUE_MAX_BYTES, || {
            InvalidSecret::ValueTooLong(name.clone())
        })?;
        ensure(seen.insert(name), || {
            InvalidSecret::FieldTwice(name.clone())
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

pub(super) fn ensure(
    holds: bool,
    broken: impl FnOnce() -> InvalidSecret,
) -> Result<(), InvalidSecret> {
    if holds { Ok(()) } else { Err(broken()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
