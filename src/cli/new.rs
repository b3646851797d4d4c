//! `secretctl policy new`

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::failure::{Failure, codes};
use super::output;
use super::templates::Language;

/// Longest name of a project, in bytes.
const NAME_MAX_BYTES: usize = 64;

pub(super) fn run(language: Language, dir: &Path) -> Result<u8, Failure> {
    let name = name(dir)?;
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| Failure::new(format!("{path}: {error}"))
    };
    fs::create_dir_all(dir).map_err(failed(dir))?;
    if fs::read_dir(dir).map_err(failed(dir))?.next().is_some() {
        return Err(
            Failure::new(format!("{} is not empty", dir.display())).next("name a new directory")
        );
    }
    let mut steps = String::new();
    for (path, text) in language.template().files(&name) {
        let path = dir.join(path);
        write(&path, &text).map_err(failed(&path))?;
        if path.ends_with("README.md") {
            steps = commands(&text);
        }
    }
    output::done(&format!(
        "Wrote {}, a module that works. Next:",
        dir.display()
    ));
    let dir = shell_words::quote(&dir.to_string_lossy()).into_owned();
    let explain = "secretctl policy explain --agent NAME --keys KEY -- COMMAND";
    output::result(output::printable(&format!("cd {dir}\n{steps}{explain}\n")).as_bytes())?;
    Ok(codes::DONE)
}

/// The last part of the path: a name for a package in every language.
fn name(dir: &Path) -> Result<String, Failure> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-');
    if begins && name.len() <= NAME_MAX_BYTES && name.chars().all(is_plain) {
        return Ok(name.into_owned());
    }
    let fact = format!("'{}' is no name for a module", name.escape_debug());
    Err(Failure::new(fact).next("it takes small letters, digits and '-', and begins with a letter"))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// The commands of a README: its block of shell.
fn commands(readme: &str) -> String {
    let lines = readme.lines().skip_while(|line| *line != "```sh").skip(1);
    let lines = lines.take_while(|line| *line != "```");
    lines.map(|line| format!("{line}\n")).collect()
}
