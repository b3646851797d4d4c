//! Adding a module to the text of a policy file, of which everything else stays as it is: comments, order, spelling.
//!
//! The text is changed by its lines, as a person would. What came out is compared with what was meant, value by value, so that a file
//! that is written in a way this does not foresee is never changed wrongly: then a person is given the lines to put there.

use serde_yaml::{Mapping, Value};

use super::error::Fault;
use super::find;
use super::pinned::{PinnedModule, config_of};
use super::rules::Policy;

/// The two lists of modules in a policy file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleList {
    /// Those that decide.
    Modules,
    /// Those that hide.
    Sanitizers,
}

impl ModuleList {
    /// The key of the file.
    pub fn key(self) -> &'static str {
        match self {
            ModuleList::Modules => "modules",
            ModuleList::Sanitizers => "sanitizers",
        }
    }

    /// The entries of a policy.
    pub fn of(self, policy: &Policy) -> &[PinnedModule] {
        match self {
            ModuleList::Modules => policy.modules(),
            ModuleList::Sanitizers => policy.sanitizers(),
        }
    }

    fn other(self) -> Self {
        match self {
            ModuleList::Modules => ModuleList::Sanitizers,
            ModuleList::Sanitizers => ModuleList::Modules,
        }
    }
}

/// A module to be named in a policy file.
#[derive(Clone, Debug)]
pub struct NewPin {
    /// Which list it goes to.
    pub list: ModuleList,
    /// Relative to the directory of the policy file.
    pub path: String,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// What it is configured with; none for nothing, or for what the file says already.
    pub config: Option<PinConfig>,
}

/// What a module is configured with, as a person gave it.
#[derive(Clone, Debug)]
pub struct PinConfig(Value);

impl PinConfig {
    /// Takes YAML, and so JSON too.
    ///
    /// # Errors
    /// When it is neither, says what JSON cannot, or is too large.
    pub fn parse(text: &str) -> Result<Self, String> {
        config_of(serde_yaml::Deserializer::from_str(text)).map_err(|error| error.to_string())?;
        let value = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        Ok(Self(value))
    }
}

/// A policy file that names the module.
#[derive(Debug)]
pub struct Pinned {
    /// All of it.
    pub text: String,
    /// The module's entry.
    pub entry: PinnedModule,
    /// Where in its list, from 0.
    pub number: usize,
    /// Whether its path was there already.
    pub was_there: bool,
}

/// Why a module was not added.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The file cannot be used as it is, or could not be with the module.
    #[error("the policy file {0}")]
    Fault(#[from] Fault),
    /// The path stands in the other list.
    #[error("the policy file has {path} among its {list} already")]
    OtherList {
        /// The path.
        path: String,
        /// The other list's key.
        list: &'static str,
    },
    /// The file says something else about its configuration.
    #[error("the policy file has another config for {path}")]
    OtherConfig {
        /// The path.
        path: String,
    },
    /// The file is written in a way that is not understood well enough to be changed.
    #[error("the policy file is written in a way that this program does not change by itself")]
    ByHand {
        /// The list's key.
        list: &'static str,
        /// The lines of the entry.
        entry: String,
    },
}

impl NewPin {
    /// Adds the module to `text`, at the end of its list; or if its path stands there, takes over the new digest.
    ///
    /// # Errors
    /// When that cannot be done, or the result could not be used.
    pub fn add_to(&self, text: &str) -> Result<Pinned, PinError> {
        let policy = Policy::parse(text.as_bytes())?;
        let number = |list: ModuleList| {
            let mut entries = list.of(&policy).iter();
            entries.position(|entry| entry.path() == self.path)
        };
        if number(self.list.other()).is_some() {
            return Err(PinError::OtherList {
                path: self.path.clone(),
                list: self.list.other().key(),
            });
        }
        let mut meant: Value = serde_yaml::from_str(text).map_err(|_| self.by_hand())?;
        let known = number(self.list);
        let new = match known {
            Some(number) => self.update(text, &mut meant, number)?,
            None => self.append(text, &mut meant),
        };
        let new =
            new.filter(|new| serde_yaml::from_str::<Value>(new).is_ok_and(|new| new == meant));
        let new = new.ok_or_else(|| self.by_hand())?;
        let number = known.unwrap_or_else(|| self.list.of(&policy).len());
        let entry = self
            .list
            .of(&Policy::parse(new.as_bytes())?)
            .get(number)
            .cloned();
        Ok(Pinned {
            entry: entry.ok_or_else(|| self.by_hand())?,
            text: new,
            number,
            was_there: known.is_some(),
        })
    }

    fn by_hand(&self) -> PinError {
        PinError::ByHand {
            list: self.list.key(),
            entry: self.lines("  "),
        }
    }

    /// The entry as a block of lines.
    fn lines(&self, indent: &str) -> String {
        let (path, sha256) = (&self.path, &self.sha256);
        // A digest can look like a number.
        let mut lines = format!("{indent}- path: {path}\n{indent}  sha256: \"{sha256}\"\n");
        let Some(PinConfig(config)) = &self.config else {
            return lines;
        };
        // A mapping is what a person will want to change later, and comment.
        let block = config.as_mapping().filter(|entries| !entries.is_empty());
        if let Some(Ok(text)) = block.map(serde_yaml::to_string) {
            lines.push_str(&format!("{indent}  config:\n"));
            for line in text.lines() {
                lines.push_str(&format!("{indent}    {line}\n"));
            }
        } else {
            let json = serde_json::to_string(config).unwrap_or_default();
            lines.push_str(&format!("{indent}  config: {json}\n"));
        }
        lines
    }

    /// The entry as a value.
    fn value(&self) -> Value {
        let mut entry = Mapping::new();
        entry.insert("path".into(), self.path.clone().into());
        entry.insert("sha256".into(), self.sha256.clone().into());
        if let Some(PinConfig(config)) = &self.config {
            entry.insert("config".into(), config.clone());
        }
        Value::Mapping(entry)
    }

    /// Puts the new digest in place of that of entry `number`.
    fn update(
        &self,
        text: &str,
        meant: &mut Value,
        number: usize,
    ) -> Result<Option<String>, PinError> {
        let list = self.list.key();
        let Some(entry) = meant.get_mut(list).and_then(|list| list.get_mut(number)) else {
            return Ok(None);
        };
        let config = entry.get("config").unwrap_or(&Value::Null);
        if self.config.as_ref().is_some_and(|new| new.0 != *config) {
            return Err(PinError::OtherConfig {
                path: self.path.clone(),
            });
        }
        let Some(digest) = entry.get_mut("sha256") else {
            return Ok(None);
        };
        let before = digest.as_str().unwrap_or_default().to_owned();
        *digest = self.sha256.clone().into();
        let place = find::entry(text, &format!("{list}[{number}].sha256"));
        let at = place.and_then(|(line, column)| offset(text, line, column));
        Ok(at.and_then(|at| {
            let (head, tail) = text.split_at_checked(at)?;
            Some(format!("{head}{}", tail.replacen(&before, &self.sha256, 1)))
        }))
    }

    /// Puts the entry behind the last one of its list, or behind everything and a list with it.
    fn append(&self, text: &str, meant: &mut Value) -> Option<String> {
        if meant.is_null() {
            *meant = Value::Mapping(Mapping::new());
        }
        let list = meant.as_mapping_mut()?.entry(self.list.key().into());
        let list = list.or_insert(Value::Null);
        if list.is_null() {
            *list = Value::Sequence(Vec::new());
        }
        list.as_sequence_mut()?.push(self.value());

        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        let is_key = |line: &&str| {
            let rest = line.strip_prefix(self.list.key());
            rest.is_some_and(|rest| rest.trim_start().starts_with(':'))
        };
        let (at, mut block) = match lines.iter().position(is_key) {
            Some(key) => {
                let (end, indent) = end_of_list(&lines, key);
                (end, self.lines(indent))
            }
            None => {
                let between = if lines.is_empty() { "" } else { "\n" };
                let list = format!("{between}{}:\n{}", self.list.key(), self.lines("  "));
                (lines.len(), list)
            }
        };
        let before = at.checked_sub(1).and_then(|last| lines.get(last));
        if before.is_some_and(|line| !line.ends_with('\n')) {
            block.insert(0, '\n');
        }
        if text.contains("\r\n") {
            block = block.replace('\n', "\r\n");
        }
        lines.insert(at, &block);
        Some(lines.concat())
    }
}

/// The number of the line behind the list whose key is on line `key`, and what its entries are indented with.
fn end_of_list<'a>(lines: &[&'a str], key: usize) -> (usize, &'a str) {
    let (mut end, mut indent) = (key + 1, None);
    for (number, line) in lines.iter().enumerate().skip(key + 1) {
        let text = line.trim_start_matches(' ');
        if text.trim_end().is_empty() || text.starts_with('#') {
            continue;
        }
        let spaces = line.strip_suffix(text).unwrap_or_default();
        if spaces.is_empty() && !text.starts_with('-') {
            break;
        }
        indent.get_or_insert(spaces);
        end = number + 1;
    }
    (end, indent.unwrap_or("  "))
}

/// The byte at a line and column, both from 1; columns count characters.
fn offset(text: &str, line: usize, column: usize) -> Option<usize> {
    let before = text.split_inclusive('\n').take(line.checked_sub(1)?);
    let before: usize = before.map(str::len).sum();
    let mut characters = text.get(before..)?.char_indices();
    let (within, _) = characters.nth(column.checked_sub(1)?)?;
    Some(before + within)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "11111111111111111111111111111111111111111111111111111111111111aa";
    const NEW: &str = "22222222222222222222222222222222222222222222222222222222222222ee";

    fn pin(config: Option<&str>) -> NewPin {
        NewPin {
            list: ModuleList::Modules,
            path: "modules/x.wasm".to_owned(),
            sha256: NEW.to_owned(),
            config: config.map(|text| PinConfig::parse(text).unwrap()),
        }
    }

    /// The lines that came in and those that went, each with its sign.
    fn difference(before: &str, after: &str) -> Vec<String> {
        let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
        let same = before
            .iter()
            .zip(&after)
            .take_while(|(a, b)| a == b)
            .count();
        let (old, new) = (&before[same..], &after[same..]);
        let tail = old
            .iter()
            .rev()
            .zip(new.iter().rev())
            .take_while(|(a, b)| a == b)
            .count();
        let gone = old[..old.len() - tail]
            .iter()
            .map(|line| format!("-{line}"));
        let come = new[..new.len() - tail]
            .iter()
            .map(|line| format!("+{line}"));
        gone.chain(come).collect()
    }

    fn entry(indent: &str) -> [String; 2] {
        [
            format!("+{indent}- path: modules/x.wasm"),
            format!("+{indent}  sha256: \"{NEW}\""),
        ]
    }

    #[test]
    fn an_entry_goes_to_the_end_of_its_list_and_nothing_else_changes() {
        let digest = format!("sha256: \"{OLD}\"");
        for (text, indent) in [
            (
                format!("modules:\n- path: a\n  {digest}\n# of the next\nversion: 1\n"),
                "",
            ),
            (
                format!("# ü\nmodules:   # mine\n    - path: a\n      {digest}\n"),
                "    ",
            ),
            (
                format!("modules:\n  - {{ path: a, {digest} }}\n\n# end\n"),
                "  ",
            ),
            (
                format!(
                    "modules:\n  - path: a\n    {digest}\n    config:\n      a: |\n       x\n\n       y\nworkdir: project\n"
                ),
                "  ",
            ),
            (
                "modules:\n#- path: a\n\n# of the next\nversion: 1\n".to_owned(),
                "  ",
            ),
        ] {
            let pinned = pin(None).add_to(&text).unwrap();
            assert_eq!(difference(&text, &pinned.text), entry(indent), "{text}");
            assert_eq!(pinned.entry.sha256(), NEW);
            assert!(!pinned.was_there);
        }
        let crlf = "version: 1\r\nmodules:\r\nworkdir: project\r\n";
        let added = pin(None).add_to(crlf).unwrap().text;
        assert_eq!(added.matches('\n').count(), added.matches("\r\n").count());
    }

    #[test]
    fn a_list_is_begun_where_there_is_none() {
        let list = format!("modules:\n  - path: modules/x.wasm\n    sha256: \"{NEW}\"\n");
        let added = |text: &str| pin(None).add_to(text).unwrap().text;
        assert_eq!(added(""), list);
        assert_eq!(added("version: 1"), format!("version: 1\n\n{list}"));
        assert_eq!(added("# nothing\n"), format!("# nothing\n\n{list}"));
    }

    #[test]
    fn a_config_is_written_as_it_was_given() {
        let lines = |config: &str| {
            let added = pin(Some(config)).add_to("modules:\n").unwrap().text;
            difference("modules:\n", &added)[2..].join("\n")
        };
        assert_eq!(lines("[a, 'b: c']"), r#"+    config: ["a","b: c"]"#);
        assert_eq!(lines("\"a\\nb\""), r#"+    config: "a\nb""#);
        assert_eq!(lines("{}"), "+    config: {}");
        let hours = lines("{ \"from\": \"09:00\", days: [mon], note: \"a\\n# b\\n\" }");
        let expected = "+    config:\n+      from: 09:00\n+      days:\n+      - mon\n+      note: |\n+        a\n+        # b";
        assert_eq!(hours, expected);
        for bad in ["{ a: ", "!tag x", ".nan", "{ a: 1, a: 2 }"] {
            assert!(PinConfig::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_module_that_is_there_gets_its_new_digest() {
        for text in [
            format!("modules:\n- sha256: {OLD} # {OLD}\n  path: modules/x.wasm\n"),
            format!(
                "modules: [{{ path: y, sha256: \"{OLD}\" }}, {{ path: modules/x.wasm, sha256: '{OLD}', config: [{OLD}] }}]\n"
            ),
        ] {
            let pinned = pin(None).add_to(&text).unwrap();
            let at = text
                .find("modules/x.wasm")
                .unwrap()
                .min(text.find("- sha").unwrap_or(usize::MAX));
            let (head, tail) = text.split_at(at);
            assert_eq!(pinned.text, format!("{head}{}", tail.replacen(OLD, NEW, 1)));
            assert!(pinned.was_there);
        }
        let text = format!(
            "modules:\n- path: modules/x.wasm\n  sha256: \"{OLD}\"\n  config: {{ a: 1 }}\n"
        );
        assert!(pin(Some("{ a: 1 }")).add_to(&text).is_ok());
        let other = pin(Some("{ a: 2 }")).add_to(&text);
        assert!(matches!(other, Err(PinError::OtherConfig { .. })));
        let other = pin(None).add_to(&text.replace("modules:", "sanitizers:"));
        assert!(matches!(
            other,
            Err(PinError::OtherList {
                list: "sanitizers",
                ..
            })
        ));
    }

    #[test]
    fn a_file_that_is_written_otherwise_is_left_to_a_person() {
        let digest = format!("sha256: \"{OLD}\"");
        for text in [
            format!("modules: [{{ path: a, {digest} }}]\n"),
            "modules: []\n".to_owned(),
            "{ version: 1 }\n".to_owned(),
            "  version: 1\n".to_owned(),
            "version: 1\n...\n".to_owned(),
            format!("\"modules\":\n- path: a\n  {digest}\n"),
            format!("modules:\n- path: a\n  {digest}\n  config: |\n   x\n   # y\n"),
            "sanitizers: &a\nmodules: *a\n".to_owned(),
        ] {
            match pin(None).add_to(&text) {
                Err(PinError::ByHand { list, entry }) => {
                    assert_eq!(list, "modules");
                    assert!(entry.starts_with("  - path: modules/x.wasm\n"), "{entry}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        let bad = pin(None).add_to("modules: 1\n");
        assert!(matches!(bad, Err(PinError::Fault(_))));
    }

    #[test]
    fn no_list_gets_too_long() {
        let line = |number: usize| format!("- path: m{number}\n  sha256: \"{OLD}\"\n");
        let text = format!("modules:\n{}", (0..8).map(line).collect::<String>());
        let full = pin(None).add_to(&text).unwrap_err().to_string();
        assert!(full.contains("has more than 8 entries"), "{full}");
    }
}
