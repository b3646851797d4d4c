//! The file that a policy begins with.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// It allows nothing, and says in comments what could be allowed.
const STARTER: &str = include_str!("starter.yaml");
/// The mode that a policy file must have.
const MODE: u32 = 0o600;

/// Writes the file that a policy begins with, unless there is anything at `path` already.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], or that of writing; then no part of a file is left.
pub fn create_starter(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(MODE).open(path)?;
    let written = file
        .write_all(STARTER.as_bytes())
        // Whatever the umask takes away.
        .and_then(|()| file.set_permissions(Permissions::from_mode(MODE)))
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // The error to be told is the first one.
        let _ = fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Policy;
    use super::*;

    fn guest(text: &str) -> Value {
        let policy = Policy::parse(text.as_bytes()).unwrap();
        policy.guest_document().parse().unwrap()
    }

    /// Examples are comments without a space behind the `#`, or with more than one; prose has one.
    fn with_examples() -> String {
        let line = |line: &'static str| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') || rest.starts_with("  ") => rest,
            _ => line,
        };
        STARTER
            .lines()
            .map(|text| line(text).to_owned() + "\n")
            .collect()
    }

    #[test]
    fn it_allows_nothing() {
        let guest = guest(STARTER);
        assert_eq!(guest["default_action"], "deny");
        assert_eq!(guest["allowed_commands"], json!([]));
        assert_eq!(guest["policies"], json!([]));
    }

    #[test]
    fn its_examples_are_valid() {
        let guest = guest(&with_examples());
        assert_eq!(guest["allowed_commands"].as_array().unwrap().len(), 3);
        assert_eq!(guest["policies"][0]["agent_id"], "claude-*");
        let capabilities = json!(["env_inject", "reference_only"]);
        assert_eq!(guest["policies"][0]["capabilities"], capabilities);
        let policy = Policy::parse(with_examples().as_bytes()).unwrap();
        assert!(policy.alias("staging", &"db/x".parse().unwrap()).is_ok());
        assert_eq!(policy.required_layers(), ["files", "environment"]);
    }
}
