//! `dist/manifest.toml`: what each module was made of, and what came out.
//!
//! Its text follows from the tree, so checking it is comparing it with what would be written now.

use std::path::Path;

use crate::{Error, MODULES, TOOLCHAIN, digest, dist, read, write};

const FILE: &str = "manifest.toml";

/// Writes the manifest of the tree `root`, whose modules have just been built.
pub fn write_manifest(root: &Path) -> Result<(), Error> {
    write(&dist(root).join(FILE), text(root)?.as_bytes())
}

/// Checks that the modules in `dist` are those the manifest names, and the sources those they were built from.
/// Needs no toolchain.
pub fn check_manifest(root: &Path) -> Result<(), Error> {
    let is = read(&dist(root).join(FILE))?;
    let is = String::from_utf8_lossy(&is);
    let should = text(root)?;
    if is == should {
        return Ok(());
    }
    let is: Vec<_> = is.lines().collect();
    Err(Error::Manifest(
        should
            .lines()
            .filter(|line| !is.contains(line))
            .map(str::to_owned)
            .collect(),
    ))
}

fn text(root: &Path) -> Result<String, Error> {
    let mut text = format!(
        "# Written by `cargo run -p build-modules -- build`.\ntoolchain = \"{TOOLCHAIN}\"\n"
    );
    for module in &MODULES {
        let sources = digest::sources(root, module)?;
        let sha256 = digest::sha256(&read(&module.path(root))?);
        text += &format!(
            "\n[{}]\nsources = \"{sources}\"\nsha256 = \"{sha256}\"\n",
            module.name
        );
    }
    Ok(text)
}
