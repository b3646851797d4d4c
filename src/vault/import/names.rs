//! Names of folders and secrets, made to fit our rules.

use crate::name::{InvalidName, SecretName};

/// Stands for what a name may not have.
const FILLER: char = '_';

/// The name of a secret within folders: a run of characters that no name has becomes one `_`.
pub(super) fn secret_name(folders: &[&str], key: &str) -> Result<SecretName, InvalidName> {
    let folders = folders.iter().map(|folder| fitted(folder));
    let parts = folders.chain(key.split('/').map(fitted));
    let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
    let whole = parts.join("/");
    let is_reserved = ["_internal/", "_system/"]
        .iter()
        .any(|reserved| whole.starts_with(reserved));
    if whole.is_empty() || whole.starts_with(['.', '-']) || is_reserved {
        format!("{FILLER}{whole}").parse()
    } else {
        whole.parse()
    }
}

/// The same name with a number behind it, for one that is taken.
pub(super) fn numbered(name: &SecretName, number: usize) -> Result<SecretName, InvalidName> {
    format!("{name}_{number}").parse()
}

fn fitted(part: &str) -> String {
    let mut fitted = String::with_capacity(part.len());
    let mut in_run = false;
    for character in part.chars() {
        let is_allowed = character.is_ascii_alphanumeric() || "._-".contains(character);
        match (is_allowed, in_run) {
            (true, _) => fitted.push(character),
            (false, true) => {}
            (false, false) => fitted.push(FILLER),
        }
        in_run = !is_allowed;
    }
    while fitted.contains("..") {
        fitted = fitted.replace("..", "_");
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_keep_what_they_can() {
        let cases: [(&[&str], &str, &str); 10] = [
            (&[], "API_KEY", "API_KEY"),
            (&["Work", "AWS"], "prod/key.1", "Work/AWS/prod/key.1"),
            (&["My Folder  (old)"], "k", "My_Folder_old_/k"),
            (&["Büro/x"], "k", "B_ro_x/k"),
            (&["..", ".hidden"], "k", "_/.hidden/k"),
            (&[".hidden"], "k", "_.hidden/k"),
            (&["-x"], "k", "_-x/k"),
            (&["_internal"], "k", "__internal/k"),
            (&["日本"], "k", "_/k"),
            (&[], "a//b", "a/b"),
        ];
        for (folders, key, expected) in cases {
            let name = secret_name(folders, key).expect("a name");
            assert_eq!(name.as_str(), expected);
        }
        assert!(secret_name(&[&"f".repeat(128), &"g".repeat(128)], "k").is_err());
    }

    proptest! {
        #[test]
        fn every_name_fits_unless_it_is_too_long(folders in prop::collection::vec(any::<String>(), 0..4), key: String) {
            let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
            if let Err(error) = secret_name(&folders, &key) {
                prop_assert!(error.to_string().contains("256"), "{error}");
            }
        }
    }
}
