//! Tools and arguments that there are not: answers by which a model can mend its call.

use rmcp::model::{JsonObject, Tool};
use serde_json::Value;

use crate::broker::near;

/// Mistakes that are told at once.
const MISTAKES_MAX: usize = 5;
/// Characters of a wrong name that are repeated: it can be as long as a message.
const SHOWN_MAX: usize = 100;

/// What is wrong with a call of a tool that does not exist.
pub(super) fn unknown_tool(name: &str, known: &[&str]) -> String {
    let meant = match near(name, known.iter().copied()).first() {
        Some(near) => format!("; did you mean {near}?"),
        None => String::new(),
    };
    format!(
        "there is no tool {}{meant}\nThe tools are {}.",
        shown(name),
        known.join(", ")
    )
}

/// What is wrong with a tool's arguments, if anything: names that it does not take, names that are missing, and values of other types.
pub(super) fn mistakes(tool: &Tool, arguments: &JsonObject) -> Option<String> {
    let nothing = JsonObject::new();
    let takes = tool
        .input_schema
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&nothing);
    let required = tool.input_schema.get("required").and_then(Value::as_array);
    let required: Vec<&str> = required
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let wrong = arguments
        .iter()
        .filter_map(|(name, value)| match takes.get(name) {
            None => Some(unknown(name, takes)),
            // It stands for one that is not given.
            Some(_) if value.is_null() && !required.contains(&name.as_str()) => None,
            Some(schema) => wrong_type(name, value, schema),
        });
    let missing = required
        .iter()
        .filter(|name| !arguments.contains_key(**name))
        .map(|name| format!("the argument {name} is missing"));
    let found: Vec<String> = wrong.chain(missing).take(MISTAKES_MAX).collect();
    if found.is_empty() {
        return None;
    }
    let taken: Vec<String> = takes
        .iter()
        .map(|(name, schema)| {
            let must = if required.contains(&name.as_str()) {
                ", required"
            } else {
                ""
            };
            format!("{name} ({}{must})", wanted(schema))
        })
        .collect();
    Some(format!(
        "{}\n{} takes {}.",
        found.join("\n"),
        tool.name,
        taken.join(", ")
    ))
}

fn shown(name: &str) -> String {
    match name.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}…", &name[..end]),
        None => format!("{name:?}"),
    }
}

fn unknown(name: &str, takes: &JsonObject) -> String {
    let meant = match near(name, takes.keys().map(String::as_str)).first() {
        Some(near) => format!("; did you mean {near}?"),
        None => String::new(),
    };
    format!("there is no argument {}{meant}", shown(name))
}

/// What is given is not repeated: it can be long, and whoever sent it knows it.
fn wrong_type(name: &str, value: &Value, schema: &Value) -> Option<String> {
    let fits = match type_in(schema) {
        "array" => value.as_array().is_some_and(|items| {
            let item = schema.get("items").map(type_in).unwrap_or_default();
            items.iter().all(|value| item == type_of(value))
        }),
        "integer" => value.is_u64(),
        wanted => wanted == type_of(value),
    };
    (!fits).then(|| {
        format!(
            "the argument {name} must be {}, and is {}",
            wanted(schema),
            an(type_of(value))
        )
    })
}

/// The type that a schema asks for.
fn type_in(schema: &Value) -> &str {
    schema["type"].as_str().unwrap_or_default()
}

fn wanted(schema: &Value) -> String {
    match (type_in(schema), schema.get("items")) {
        ("array", Some(item)) => format!("an array of which each is {}", wanted(item)),
        (name, _) => an(name).to_owned(),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn an(name: &str) -> &str {
    match name {
        "array" => "an array",
        "boolean" => "true or false",
        "integer" => "a whole number, not negative",
        "null" => "null",
        "number" => "a number",
        "object" => "an object",
        "string" => "a string",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool() -> Tool {
        let schema = json!({
            "properties": {
                "keys": { "type": "array", "items": { "type": "string" } },
                "env_prefix": { "type": "string" },
                "limit": { "type": "integer" },
            },
            "required": ["keys"],
        });
        let Value::Object(schema) = schema else {
            panic!("an object")
        };
        Tool::new("secret_run", "", schema)
    }

    fn found(arguments: Value) -> Option<String> {
        let Value::Object(arguments) = arguments else {
            panic!("an object")
        };
        let text = mistakes(&tool(), &arguments)?;
        Some(text.lines().next().unwrap_or_default().to_owned())
    }

    #[test]
    fn a_mistake_is_named_with_what_is_right() {
        assert_eq!(
            found(json!({ "keys": ["a"], "env_prefix": null, "limit": 3 })),
            None
        );
        for (arguments, text) in [
            (json!({}), "the argument keys is missing"),
            (
                json!({ "keys": null }),
                "the argument keys must be an array of which each is a string, and is null",
            ),
            (
                json!({ "keys": [], "env-prefix": "X_" }),
                "there is no argument \"env-prefix\"; did you mean env_prefix?",
            ),
            (
                json!({ "keys": [], "unmask": true }),
                "there is no argument \"unmask\"",
            ),
            (
                json!({ "keys": "a" }),
                "the argument keys must be an array of which each is a string, and is a string",
            ),
            (
                json!({ "keys": [1] }),
                "the argument keys must be an array of which each is a string, and is an array",
            ),
            (
                json!({ "keys": [], "env_prefix": 7 }),
                "the argument env_prefix must be a string, and is a number",
            ),
            (
                json!({ "keys": [], "limit": -1 }),
                "the argument limit must be a whole number, not negative, and is a number",
            ),
        ] {
            assert_eq!(found(arguments).as_deref(), Some(text));
        }
    }

    #[test]
    fn only_so_many_mistakes_are_told_at_once() {
        let Value::Object(many) = json!({ "a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1 }) else {
            panic!("an object")
        };
        let text = mistakes(&tool(), &many).expect("mistakes");
        assert_eq!(text.lines().count(), MISTAKES_MAX + 1, "{text}");
    }

    #[test]
    fn an_unknown_tool_is_answered_with_those_that_there_are() {
        let text = unknown_tool("secret_lst", &["secret_list", "secret_run"]);
        assert_eq!(
            text,
            "there is no tool \"secret_lst\"; did you mean secret_list?\nThe tools are secret_list, secret_run."
        );
    }
}
