//! Schemas as most clients understand them.
//!
//! What may be missing has one type, without `null`: clients that know only a part of JSON Schema, such as those of Gemini, refuse a
//! list of types. `null` is taken all the same.

use rmcp::model::JsonObject;
use serde_json::{Value, json};

const NULL: &str = "null";

/// Rewrites a schema of an object, and all within it.
pub(super) fn simplify(schema: &mut JsonObject) {
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required = |name: &str| {
        let names = required.as_array().into_iter().flatten();
        names.into_iter().any(|required| required == name)
    };
    for (name, property) in inner(schema, "properties") {
        if let Value::Object(property) = property {
            if is_required(name) {
                split(property);
            } else {
                without_null(property);
            }
            simplify(property);
        }
    }
    for (_, definition) in inner(schema, "$defs") {
        if let Value::Object(definition) = definition {
            simplify(definition);
        }
    }
}

fn inner<'a>(
    schema: &'a mut JsonObject,
    key: &str,
) -> impl Iterator<Item = (&'a String, &'a mut Value)> {
    let inner = schema.get_mut(key).and_then(Value::as_object_mut);
    inner.into_iter().flat_map(|inner| inner.iter_mut())
}

/// Of a type or null, the type.
fn without_null(property: &mut JsonObject) {
    if let Some(one) = nullable(property) {
        property.insert("type".to_owned(), one);
    }
    let Some(Value::Array(branches)) = property.get_mut("anyOf") else {
        return;
    };
    branches.retain(|branch| branch["type"] != NULL);
    if let [Value::Object(only)] = branches.as_slice() {
        let only = only.clone();
        property.remove("anyOf");
        property.extend(only);
    }
}

/// A type or null, as two branches.
fn split(property: &mut JsonObject) {
    let Some(one) = nullable(property) else {
        return;
    };
    let description = property.remove("description");
    let mut branch = std::mem::take(property);
    branch.insert("type".to_owned(), one);
    property.insert("anyOf".to_owned(), json!([branch, { "type": NULL }]));
    if let Some(description) = description {
        property.insert("description".to_owned(), description);
    }
}

/// The type of something that may be null as well.
fn nullable(property: &JsonObject) -> Option<Value> {
    match property.get("type")?.as_array()?.as_slice() {
        [one, null] if *null == NULL => Some(one.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_missing_has_one_type_and_what_may_be_null_has_two_branches() {
        let mut schema = json!({
            "properties": {
                "optional": { "type": ["string", "null"], "description": "x" },
                "nullable": { "type": ["string", "null"], "description": "y" },
                "inner": { "anyOf": [{ "$ref": "#/$defs/Inner" }, { "type": "null" }] },
                "plain": { "type": "string" },
                "outer": { "properties": { "b": { "type": ["string", "null"] } } },
            },
            "required": ["nullable", "plain"],
            "$defs": { "Inner": { "properties": { "a": { "type": ["integer", "null"] } } } },
        });
        simplify(schema.as_object_mut().expect("an object"));
        let expected = json!({
            "properties": {
                "optional": { "type": "string", "description": "x" },
                "nullable": { "anyOf": [{ "type": "string" }, { "type": "null" }], "description": "y" },
                "inner": { "$ref": "#/$defs/Inner" },
                "plain": { "type": "string" },
                "outer": { "properties": { "b": { "type": "string" } } },
            },
            "required": ["nullable", "plain"],
            "$defs": { "Inner": { "properties": { "a": { "type": "integer" } } } },
        });
        assert_eq!(schema, expected);
    }
}
