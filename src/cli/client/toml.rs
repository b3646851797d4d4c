//! TOML.

use serde_json::Value as Json;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::document::{Broken, Document, at};

pub(super) struct Toml {
    document: DocumentMut,
    /// Whether all lines end in CR and LF, of which the library writes the second alone.
    has_crlf: bool,
}

impl Toml {
    pub(super) fn parse(text: &str) -> Result<Self, Broken> {
        let document = text.parse().map_err(|error| syntax(text, &error))?;
        Ok(Self {
            document,
            has_crlf: text.contains('\n')
                && text.matches('\n').count() == text.matches("\r\n").count(),
        })
    }
}

/// Not the error's own text, which repeats the line.
fn syntax(text: &str, error: &toml_edit::TomlError) -> Broken {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    Broken::Syntax {
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
        fact: error.message().to_owned(),
    }
}

/// The table that has the last key of a path; none if it is not there and not to be made.
fn parent<'a>(
    item: &'a mut Item,
    path: &[&str],
    create: bool,
) -> Result<Option<&'a mut dyn TableLike>, Broken> {
    let is_inline = item.is_inline_table();
    let no_table = |key: &str| Broken::NoTable(key.to_owned());
    let [key, rest @ ..] = path else {
        return Ok(None);
    };
    let table = (item.as_table_like_mut()).ok_or_else(|| no_table(key))?;
    if rest.is_empty() {
        return Ok(Some(table));
    }
    if !create && !table.contains_key(key) {
        return Ok(None);
    }
    let next = table.entry(key).or_insert_with(|| new_table(is_inline));
    if !next.is_table_like() {
        return Err(no_table(key));
    }
    parent(next, rest, create)
}

/// Without a line of its own until it has values of its own.
fn new_table(is_inline: bool) -> Item {
    if is_inline {
        return toml_edit::value(InlineTable::new());
    }
    let mut table = Table::new();
    table.set_implicit(true);
    Item::Table(table)
}

impl Document for Toml {
    fn whole(&self) -> Json {
        of_table(self.document.as_table())
    }

    fn set(&mut self, path: &[&str], value: &Json) -> Result<(), Broken> {
        if at(&self.whole(), path) == Some(value) {
            return Ok(());
        }
        let parent = parent(self.document.as_item_mut(), path, true)?;
        if let Some((table, key)) = parent.zip(path.last()) {
            let mut new = input(value);
            let old = table.get(key).and_then(Item::as_value);
            if let Some(old) = old {
                // What stands around the old value, such as a comment behind it, stays.
                *new.decor_mut() = old.decor().clone();
            }
            table.insert(key, Item::Value(new));
        }
        Ok(())
    }

    fn remove(&mut self, path: &[&str]) -> Result<(), Broken> {
        let parent = parent(self.document.as_item_mut(), path, false)?;
        if let Some((table, key)) = parent.zip(path.last()) {
            table.remove(key);
        }
        Ok(())
    }

    fn text(&self) -> String {
        let text = self.document.to_string();
        match self.has_crlf {
            true => text.replace("\r\n", "\n").replace('\n', "\r\n"),
            false => text,
        }
    }
}

fn input(value: &Json) -> Value {
    match value {
        Json::Null => Value::from(""),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::from(number),
            None => Value::from(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::from(text),
        Json::Array(values) => Value::Array(values.iter().map(input).collect::<Array>()),
        Json::Object(members) => {
            let member = |(key, value): (&String, &Json)| (key.clone(), input(value));
            Value::InlineTable(members.iter().map(member).collect())
        }
    }
}

fn of_table(table: &dyn TableLike) -> Json {
    let member = |(key, item): (&str, &Item)| (key.to_owned(), of_item(item));
    table.iter().map(member).collect()
}

fn of_item(item: &Item) -> Json {
    match item {
        Item::None => Json::Null,
        Item::Value(value) => of_value(value),
        Item::Table(table) => of_table(table),
        Item::ArrayOfTables(tables) => tables.iter().map(|table| of_table(table)).collect(),
    }
}

fn of_value(value: &Value) -> Json {
    match value {
        Value::String(text) => Json::from(text.value().as_str()),
        Value::Integer(number) => Json::from(*number.value()),
        Value::Float(number) => Json::from(*number.value()),
        Value::Boolean(value) => Json::from(*value.value()),
        Value::Datetime(time) => Json::from(time.value().to_string()),
        Value::Array(values) => values.iter().map(of_value).collect(),
        Value::InlineTable(table) => of_table(table),
    }
}
