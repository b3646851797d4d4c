//! JSON, with comments.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstRootNode};
use serde_json::Value;

use super::document::{Broken, Document, at};

pub(super) struct Json(CstRootNode);

impl Json {
    pub(super) fn parse(text: &str) -> Result<Self, Broken> {
        let options = ParseOptions {
            allow_comments: true,
            allow_trailing_commas: true,
            allow_loose_object_property_names: false,
            allow_missing_commas: false,
            allow_single_quoted_strings: false,
            allow_hexadecimal_numbers: false,
            allow_unary_plus_numbers: false,
            allow_bare_decimal_point_numbers: false,
            allow_non_finite_numbers: false,
            allow_extended_string_escapes: false,
        };
        let root = CstRootNode::parse(text, &options).map_err(|error| Broken::Syntax {
            line: error.line_display(),
            column: error.column_display(),
            fact: error.kind().to_string(),
        })?;
        Ok(Self(root))
    }

    /// The object that has the last key of a path, and that key; none if it is not there and not to be made.
    fn parent(&self, path: &[&str], create: bool) -> Result<Option<CstObject>, Broken> {
        let no_table = |key: &str| Broken::NoTable(key.to_owned());
        let mut object = (self.0.object_value_or_create()).ok_or_else(|| no_table("the file"))?;
        for (depth, key) in path.iter().enumerate() {
            once(&object, key)?;
            if depth + 1 == path.len() {
                break;
            }
            if !create && object.get(key).is_none() {
                return Ok(None);
            }
            object = (object.object_value_or_create(key)).ok_or_else(|| no_table(key))?;
        }
        Ok(Some(object))
    }
}

/// Of two equal names, clients do not agree on which one counts.
fn once(object: &CstObject, key: &str) -> Result<(), Broken> {
    let properties = object.properties();
    let named = |name: Option<String>| name.as_deref() == Some(key);
    match properties
        .iter()
        .filter(|property| named(property.decoded_name()))
        .count()
    {
        0 | 1 => Ok(()),
        _ => Err(Broken::Twice(key.to_owned())),
    }
}

impl Document for Json {
    fn whole(&self) -> Value {
        self.0.to_serde_value().unwrap_or_default()
    }

    fn set(&mut self, path: &[&str], value: &Value) -> Result<(), Broken> {
        if at(&self.whole(), path) == Some(value) {
            return Ok(());
        }
        let Some((object, key)) = self.parent(path, true)?.zip(path.last()) else {
            return Ok(());
        };
        match object.get(key) {
            Some(property) => property.set_value(input(value)),
            None => {
                object.append(key, input(value));
            }
        }
        Ok(())
    }

    fn remove(&mut self, path: &[&str]) -> Result<(), Broken> {
        if at(&self.whole(), path).is_none() {
            return Ok(());
        }
        let parent = self.parent(path, false)?.zip(path.last());
        if let Some(property) = parent.and_then(|(object, key)| object.get(key)) {
            property.remove();
        }
        Ok(())
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(values) => CstInputValue::Array(values.iter().map(input).collect()),
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| (key.clone(), input(value));
            CstInputValue::Object(members.iter().map(member).collect())
        }
    }
}
