//! What a file of WebAssembly says of itself, found without compiling it; and a component made of a compiler's core module.

#![forbid(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::custom::ModuleFault;
use super::{ModuleError, file, sha256, short};

/// What WebAssembly begins with.
const MAGIC: &[u8] = b"\0asm";

/// What a module can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// It decides on requests.
    Policy,
    /// It finds what must not be seen in output.
    Sanitizer,
}

impl World {
    const ALL: [World; 2] = [World::Policy, World::Sanitizer];

    /// The interface that a module of this world exports.
    fn interface(self) -> &'static str {
        match self {
            World::Policy => "secretctl:guard/decisions@0.1.0",
            World::Sanitizer => "secretctl:guard/redaction@0.1.0",
        }
    }

    fn wit(self) -> &'static str {
        match self {
            World::Policy => include_str!("../../policy-modules/wit/policy.wit"),
            World::Sanitizer => include_str!("../../policy-modules/wit/sanitizer.wit"),
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            World::Policy => "policy",
            World::Sanitizer => "sanitizer",
        })
    }
}

/// A component, and what it says of itself. That it says so does not mean that it can be used.
#[derive(Clone, Debug)]
pub struct Outline {
    /// What it exports; none for a component that is of neither world.
    pub world: Option<World>,
    /// The names of what it wants from the host.
    pub imports: Vec<String>,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// Its size.
    pub bytes: usize,
}

impl Outline {
    /// Looks at a component.
    ///
    /// # Errors
    /// When it is none.
    pub fn of(component: &[u8]) -> Result<Self, ModuleError> {
        let names = names(component)?;
        if names.encoding != Encoding::Component {
            return Err(ModuleError::answer("it is a core module, no component"));
        }
        let exports = |world: &World| names.exports.iter().any(|name| name == world.interface());
        Ok(Self {
            world: World::ALL.into_iter().find(exports),
            imports: names.imports.iter().map(|name| short(name)).collect(),
            sha256: sha256(component),
            bytes: component.len(),
        })
    }
}

/// All bytes of a file, which may be anybody's and be reached by a link: what is trusted is decided by who names it.
///
/// # Errors
/// When it cannot be read, is no regular file or larger than a module may be.
pub fn read(path: &Path) -> Result<Vec<u8>, ModuleFault> {
    // Without NONBLOCK, opening a named pipe would wait for somebody to write to it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened =
        open(path, flags, Mode::empty()).map_err(|errno| file::unreadable(errno.into()))?;
    let opened = File::from(opened);
    if !opened.metadata().map_err(file::unreadable)?.is_file() {
        return Err(ModuleFault::NotRegular);
    }
    let mut bytes = Vec::new();
    (opened.take(file::FILE_MAX_BYTES + 1))
        .read_to_end(&mut bytes)
        .map_err(file::unreadable)?;
    if bytes.len() as u64 > file::FILE_MAX_BYTES {
        return Err(ModuleFault::TooLarge);
    }
    Ok(bytes)
}

/// A component: the one that is given, or one made of a core module. A core module without a description of its types, as compilers
/// that know nothing of components write it, is taken to be of the world whose functions it exports.
///
/// # Errors
/// When the bytes are neither, or the core module does not fit the world it is meant for.
pub fn component(bytes: Vec<u8>) -> Result<Vec<u8>, ModuleError> {
    let names = names(&bytes)?;
    if names.encoding == Encoding::Component {
        return Ok(bytes);
    }
    let mut core = bytes;
    if !names.is_described {
        describe(&mut core, &names)?;
    }
    ComponentEncoder::default()
        .validate(true)
        .module(&core)
        .and_then(|encoder| encoder.encode())
        .map_err(chain)
}

/// Adds the description of the world whose functions a core module exports.
fn describe(core: &mut Vec<u8>, names: &Names) -> Result<(), ModuleError> {
    let exports = |world: &World| {
        let mut functions = names.exports.iter();
        functions.any(|name| name.split('#').next() == Some(world.interface()))
    };
    let Some(world) = World::ALL.into_iter().find(exports) else {
        return Err(ModuleError::answer(format!(
            "it exports functions of neither {} nor {}",
            World::Policy.interface(),
            World::Sanitizer.interface()
        )));
    };
    let mut resolve = Resolve::default();
    let package = resolve
        .push_source("guard.wit", world.wit())
        .map_err(chain)?;
    let id = (resolve.select_world(&[package], Some(&world.to_string()))).map_err(chain)?;
    embed_component_metadata(core, &resolve, id, StringEncoding::UTF8).map_err(chain)
}

/// The outermost names of a file.
struct Names {
    encoding: Encoding,
    imports: Vec<String>,
    exports: Vec<String>,
    /// Whether a core module carries a description of its types.
    is_described: bool,
}

fn names(bytes: &[u8]) -> Result<Names, ModuleError> {
    if !bytes.starts_with(MAGIC) {
        return Err(ModuleError::answer("it is not WebAssembly"));
    }
    let mut names = Names {
        encoding: Encoding::Module,
        imports: Vec::new(),
        exports: Vec::new(),
        is_described: false,
    };
    // How deep in the components and modules inside.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(chain)?;
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            Payload::Version { encoding, .. } => names.encoding = encoding,
            Payload::CustomSection(section) => {
                names.is_described |= section.name().starts_with("component-type");
            }
            Payload::ExportSection(section) => {
                for export in section {
                    names.exports.push(export.map_err(chain)?.name.to_owned());
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    names
                        .imports
                        .push(import.map_err(chain)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    names
                        .exports
                        .push(export.map_err(chain)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

/// `{:#}` prints the whole chain of causes.
fn chain(error: impl fmt::Display) -> ModuleError {
    ModuleError::answer(short(&format!("{error:#}")))
}
