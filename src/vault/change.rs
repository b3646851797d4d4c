//! How a change is applied to a secret.

use std::collections::BTreeMap;

use super::record::{
    Field, FieldInfo, Fields, InvalidSecret, Metadata, VALUE_FIELD, check, check_values, ensure,
};
use crate::name::{EnvName, FieldName, Tag};
use crate::secret::SecretBytes;

/// What to change on a secret; all else stays. The inner `None` of an option clears it.
#[derive(Default)]
pub struct Change {
    /// Values of fields, old or new. A new secret needs one. A new field is sensitive unless [`Change::sensitive`] says otherwise.
    pub values: Vec<(FieldName, SecretBytes)>,
    /// Whether the values of these fields must never be shown to an agent.
    pub sensitive: BTreeMap<FieldName, bool>,
    /// Fields to remove. What is bound to one has to be unbound or bound to another.
    pub removed: Vec<FieldName>,
    /// All tags.
    pub tags: Option<Vec<Tag>>,
    /// Free text.
    pub notes: Option<Option<String>>,
    /// Where the secret belongs to.
    pub url: Option<Option<String>>,
    /// When the secret stops being valid, in unix seconds.
    pub expires_at: Option<Option<i64>>,
    /// Variables to bind to a field, or to none any more.
    pub bindings: BTreeMap<EnvName, Option<FieldName>>,
}

impl Change {
    /// A new value for the one field of a simple secret.
    pub fn value(value: SecretBytes) -> Self {
        let name = VALUE_FIELD.parse::<FieldName>();
        Self {
            values: name.map(|name| (name, value)).into_iter().collect(),
            ..Self::default()
        }
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        let Self {
            values,
            sensitive,
            removed,
            tags,
            notes,
            url,
            expires_at,
            bindings,
        } = self;
        values.is_empty()
            && sensitive.is_empty()
            && removed.is_empty()
            && bindings.is_empty()
            && tags.is_none()
            && notes.is_none()
            && url.is_none()
            && expires_at.is_none()
    }

    /// Applies the change to `metadata` and gives the fields as they are then. `now` is in unix seconds.
    pub(super) fn apply(
        self,
        metadata: &mut Metadata,
        fields: Fields,
        now: i64,
    ) -> Result<Fields, InvalidSecret> {
        check_values(self.values.iter().map(|(name, value)| (name, value)))?;
        if let Some(Some(expiry)) = self.expires_at {
            ensure(expiry > now, || InvalidSecret::Expired)?;
        }
        let fields = changed_fields(fields, self.removed, self.values, &self.sensitive)?;
        metadata.fields = fields
            .iter()
            .map(|field| FieldInfo {
                name: field.name.clone(),
                sensitive: field.sensitive,
            })
            .collect();
        for (env, field) in self.bindings {
            match field {
                Some(field) => {
                    metadata.bindings.insert(env, field);
                }
                None if metadata.bindings.remove(&env).is_some() => {}
                None => return Err(InvalidSecret::NotBound(env)),
            }
        }
        assign(
            &mut metadata.tags,
            self.tags.as_deref().map(without_duplicates),
        );
        assign(&mut metadata.notes, self.notes);
        assign(&mut metadata.url, self.url);
        assign(&mut metadata.expires_at, self.expires_at);
        check(metadata)?;
        Ok(fields)
    }
}

/// Removes fields, then gives values to others, then flags.
fn changed_fields(
    Fields(mut fields): Fields,
    removed: Vec<FieldName>,
    values: Vec<(FieldName, SecretBytes)>,
    sensitive: &BTreeMap<FieldName, bool>,
) -> Result<Fields, InvalidSecret> {
    for name in removed {
        let at = fields.iter().position(|field| field.name == name);
        fields.remove(at.ok_or(InvalidSecret::NoSuchField(name))?);
    }
    for (name, value) in values {
        match fields.iter_mut().find(|field| field.name == name) {
            Some(field) => field.value = value,
            None => fields.push(Field {
                name,
                sensitive: true,
                value,
            }),
        }
    }
    for (name, sensitive) in sensitive {
        let field = fields.iter_mut().find(|field| field.name == *name);
        let field = field.ok_or_else(|| InvalidSecret::NoSuchField(name.clone()))?;
        field.sensitive = *sensitive;
    }
    Ok(Fields(fields))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::record::{
        BINDINGS_MAX, FIELDS_MAX, NOTES_MAX_BYTES, TAGS_MAX, URL_MAX_BYTES, VALUE_MAX_BYTES,
    };

    fn secret(bytes: &[u8]) -> SecretBytes {
        SecretBytes::from_vec(bytes.to_vec())
    }

    fn field(name: &str, value: &[u8]) -> (FieldName, SecretBytes) {
        (name.parse().expect("a field name"), secret(value))
    }

    /// Applies a change to a new secret at the time 1000.
    fn applied(change: Change) -> Result<Metadata, InvalidSecret> {
        let mut metadata = Metadata::default();
        let applied = change.apply(&mut metadata, Fields(Vec::new()), 1000);
        applied.map(|_| metadata)
    }

    fn with_value(change: Change) -> Change {
        Change {
            values: vec![field("value", b"v")],
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
            values: (0..count).map(|n| field(&format!("f{n}"), b"v")).collect(),
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
                    Some("value".parse().expect("a field name")),
                )
            };
            with_value(Change {
                bindings: (0..count).map(name).collect(),
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
        let bindings = BTreeMap::from([(env.clone(), Some(name.clone()))]);
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
            values: vec![field("host", b"a"), field("host", b"b")],
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
}
