//! Digests of what a module is made of.
//!
//! Of `Cargo.lock` and the workspace's `Cargo.toml` only those parts count that a module depends on, so that work on the
//! rest of the tree does not make `dist` look stale.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Error, Module, read};

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Digest of the sources of `module`: its package without tests, the packages of the tree it uses, the interface, the
/// versions of all else, and the workspace's settings.
pub(crate) fn sources(root: &Path, module: &Module) -> Result<String, Error> {
    let lock = text(&root.join("Cargo.lock"))?;
    let lock = Lock::parse(&lock);
    let packages = lock.closure(module.name)?;
    let mut files = files(&root.join("policy-modules/wit"))?;
    for package in packages.iter().filter(|package| !package.published) {
        let folder = root.join("policy-modules").join(package.name);
        files.push(folder.join("Cargo.toml"));
        files.extend(self::files(&folder.join("src"))?);
    }
    files.sort();

    let mut digest = Sha256::new();
    let mut add = |name: &str, bytes: &[u8]| {
        // Lengths in front, so that no bytes can move between name, contents and the next file.
        for part in [name.as_bytes(), bytes] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
    };
    for file in files {
        let name = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .to_string_lossy()
            .into_owned();
        add(&name, &read(&file)?);
    }
    for package in &packages {
        add("Cargo.lock", package.entry.as_bytes());
    }
    add(
        "Cargo.toml",
        workspace_settings(&text(&root.join("Cargo.toml"))?).as_bytes(),
    );
    add("opt-level", module.opt_level.as_bytes());
    Ok(digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// The sections of the workspace's `Cargo.toml` that its packages inherit from.
fn workspace_settings(toml: &str) -> String {
    let mut inherited = false;
    let lines = toml.lines().filter(|line| {
        if line.starts_with('[') {
            inherited = matches!(*line, "[workspace.package]" | "[workspace.dependencies]");
        }
        inherited && !line.is_empty()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The packages of a `Cargo.lock`, by name.
struct Lock<'a>(BTreeMap<&'a str, Vec<Package<'a>>>);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    /// Whether it comes from a registry, not from this tree.
    published: bool,
    /// `name` or `name version`.
    dependencies: Vec<&'a str>,
    /// The whole entry.
    entry: &'a str,
}

impl<'a> Lock<'a> {
    fn parse(lock: &'a str) -> Self {
        let mut packages = BTreeMap::<_, Vec<_>>::new();
        for entry in lock.split("[[package]]").skip(1) {
            let package = Package::parse(entry);
            packages.entry(package.name).or_default().push(package);
        }
        Self(packages)
    }

    /// The package `name` and all that it depends on.
    fn closure(&self, name: &str) -> Result<BTreeSet<Package<'a>>, Error> {
        let mut all = BTreeSet::new();
        let mut open = vec![self.find(name)?];
        while let Some(package) = open.pop() {
            if all.insert(package.clone()) {
                for dependency in &package.dependencies {
                    open.push(self.find(dependency)?);
                }
            }
        }
        Ok(all)
    }

    fn find(&self, dependency: &str) -> Result<&Package<'a>, Error> {
        let mut words = dependency.split(' ');
        let versions = words.next().and_then(|name| self.0.get(name));
        let version = words.next();
        versions
            .and_then(|all| {
                all.iter()
                    .find(|one| version.is_none_or(|version| version == one.version))
            })
            .ok_or_else(|| Error::NotLocked(dependency.to_owned()))
    }
}

impl<'a> Package<'a> {
    fn parse(entry: &'a str) -> Self {
        let value = |key: &str| {
            let line = entry
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            line.map(|value| value.trim_matches('"'))
        };
        let dependencies = entry
            .split_once("dependencies = [")
            .map_or("", |(_, list)| list);
        Self {
            name: value("name").unwrap_or_default(),
            version: value("version").unwrap_or_default(),
            published: value("source").is_some(),
            dependencies: dependencies
                .lines()
                .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","))
                .collect(),
            entry: entry.trim(),
        }
    }
}

/// All files below `folder`.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let error = |error| Error::Io(folder.to_owned(), error);
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        let path = entry.map_err(error)?.path();
        if path.is_dir() {
            all.extend(files(&path)?);
        } else {
            all.push(path);
        }
    }
    Ok(all)
}

fn text(path: &Path) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&read(path)?).into_owned())
}
