//! What the blobs hold, once they are opened: JSON, as Go writes it.
//!
//! The JSON library's own errors are not repeated: they show what they found, which may be a value.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::{Foreign, Lost};
use crate::name::{EnvName, FieldName, Tag};
use crate::secret::SecretBytes;
use crate::vault::record::{Field, FieldInfo, Fields, Metadata, VALUE_FIELD};

/// A field as it is stored there.
#[derive(Deserialize)]
struct GoField {
    #[serde(default = "empty", deserialize_with = "secret")]
    value: SecretBytes,
    /// What does not say is not shown to anybody.
    #[serde(default = "yes")]
    sensitive: bool,
    aliases: Option<Vec<String>>,
    kind: Option<String>,
    hint: Option<String>,
    #[serde(rename = "inputType")]
    input_type: Option<String>,
}

fn empty() -> SecretBytes {
    SecretBytes::from_vec(Vec::new())
}

fn yes() -> bool {
    true
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretBytes, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    Ok(SecretBytes::from_vec(text.into_bytes()))
}

#[derive(Default, Deserialize)]
struct GoMetadata {
    notes: Option<String>,
    url: Option<String>,
}

/// The opened parts of one secret.
pub(super) struct Plain<'a> {
    /// The only value, in vaults of the first version.
    pub(super) value: Option<SecretBytes>,
    pub(super) fields: Option<&'a [u8]>,
    pub(super) bindings: Option<&'a [u8]>,
    pub(super) metadata: Option<&'a [u8]>,
    pub(super) tags: Option<&'a [u8]>,
}

impl Plain<'_> {
    /// Puts the parts together. What there is no place for is counted in `foreign`.
    pub(super) fn read(self, foreign: &mut Foreign) -> Result<(Metadata, Fields), String> {
        let mut aliases = BTreeMap::new();
        let mut fields = Vec::new();
        match map::<GoField>(self.fields, "fields")? {
            // The value is there once more for older versions of the tool.
            stored if !stored.is_empty() => {
                for (name, field) in stored {
                    let name: FieldName = name.parse().map_err(|error| format!("{error}"))?;
                    fields.extend(taken_over(name, field, &mut aliases, foreign));
                }
            }
            _ => {
                let value = self.value.filter(|value| !value.is_empty());
                fields.extend(value.and_then(the_value));
            }
        }
        let fields: Fields = fields.into_iter().collect();
        let GoMetadata { notes, url } =
            json::<GoMetadata>(self.metadata, "notes and URL")?.unwrap_or_default();
        let tags = json::<Vec<String>>(self.tags, "tags")?.unwrap_or_default();
        let mut metadata = Metadata {
            notes: notes.filter(|notes| !notes.is_empty()),
            url: url.filter(|url| !url.is_empty()),
            fields: fields.iter().map(info).collect(),
            ..Metadata::default()
        };
        for tag in tags {
            let tag: Tag = tag.parse().map_err(|error| format!("{error}"))?;
            if !metadata.tags.contains(&tag) {
                metadata.tags.push(tag);
            }
        }
        for (variable, field) in map::<String>(self.bindings, "bindings")? {
            match (
                variable.parse::<EnvName>(),
                meant(&field, &fields, &aliases),
            ) {
                (Ok(variable), Some(field)) => {
                    metadata.bindings.insert(variable, field);
                }
                (Err(_), _) => foreign.lose(Lost::BadVariable),
                (_, None) => foreign.lose(Lost::LooseBinding),
            }
        }
        Ok((metadata, fields))
    }
}

fn info(field: &Field) -> FieldInfo {
    FieldInfo {
        name: field.name.clone(),
        sensitive: field.sensitive,
    }
}

fn the_value(value: SecretBytes) -> Option<Field> {
    Some(Field {
        name: VALUE_FIELD.parse().ok()?,
        sensitive: true,
        value,
    })
}

/// The field as it is kept here; none for an empty one.
fn taken_over(
    name: FieldName,
    field: GoField,
    aliases: &mut BTreeMap<String, FieldName>,
    foreign: &mut Foreign,
) -> Option<Field> {
    for alias in field.aliases.unwrap_or_default() {
        foreign.lose(Lost::Alias);
        aliases.insert(alias.to_ascii_lowercase(), name.clone());
    }
    let texts = [
        (field.kind, Lost::Kind),
        (field.hint, Lost::Hint),
        (field.input_type, Lost::InputType),
    ];
    for (text, what) in texts {
        if text.is_some_and(|text| !text.is_empty()) {
            foreign.lose(what);
        }
    }
    if field.value.is_empty() {
        foreign.lose(Lost::EmptyField);
        return None;
    }
    Some(Field {
        name,
        sensitive: field.sensitive,
        value: field.value,
    })
}

/// The field that a binding names: in any case, or by an alias.
fn meant(text: &str, fields: &Fields, aliases: &BTreeMap<String, FieldName>) -> Option<FieldName> {
    let text = text.to_ascii_lowercase();
    let exists = |name: &FieldName| fields.get(name.as_str()).is_some();
    let name = text.parse().ok().filter(exists);
    name.or_else(|| aliases.get(&text).cloned().filter(exists))
}

fn map<T: for<'de> Deserialize<'de>>(
    bytes: Option<&[u8]>,
    what: &str,
) -> Result<BTreeMap<String, T>, String> {
    Ok(json(bytes, what)?.unwrap_or_default())
}

/// Nothing and `null` are the same.
fn json<T: for<'de> Deserialize<'de>>(
    bytes: Option<&[u8]>,
    what: &str,
) -> Result<Option<T>, String> {
    match bytes.filter(|bytes| !bytes.is_empty()) {
        None => Ok(None),
        Some(bytes) => {
            serde_json::from_slice(bytes).map_err(|_| format!("its {what} cannot be read"))
        }
    }
}
