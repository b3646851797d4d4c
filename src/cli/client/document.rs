//! A configuration file as a document that is changed in single places, so that all else in it stays as it was written.

use serde_json::Value;

use super::{json, toml};

/// The form of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// With comments and trailing commas, which some clients allow.
    Json,
    Toml,
}

/// Why a file cannot be changed. It says where, and nothing of what stands there.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("line {line}, column {column}: {fact}")]
    Syntax {
        line: usize,
        column: usize,
        fact: String,
    },
    #[error("`{0}` is not a table of names and values")]
    NoTable(String),
    #[error("`{0}` stands in it twice")]
    Twice(String),
}

/// A file that was read.
pub(super) trait Document {
    /// All that it says.
    fn whole(&self) -> Value;

    /// Sets a value; the tables on the way to it are made.
    fn set(&mut self, path: &[&str], value: &Value) -> Result<(), Broken>;

    /// Removes a value, if it is there.
    fn remove(&mut self, path: &[&str]) -> Result<(), Broken>;

    /// The file as it is to be written.
    fn text(&self) -> String;
}

impl Format {
    pub(super) fn parse(self, text: &str) -> Result<Box<dyn Document>, Broken> {
        Ok(match self {
            Self::Json => Box::new(json::Json::parse(text)?),
            Self::Toml => Box::new(toml::Toml::parse(text)?),
        })
    }

    /// A file with nothing in it.
    pub(super) fn empty(self) -> &'static str {
        match self {
            Self::Json => "{}\n",
            Self::Toml => "",
        }
    }
}

/// The value at a place.
pub(super) fn at<'a>(whole: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(whole, |value, key| value.get(key))
}
