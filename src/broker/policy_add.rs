//! Adding a module to the policy file: tried before anything changes, and then put beside the file and pinned in it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::RunError;
use super::policy_door::PolicyDoor;
use crate::policy::{
    ModuleList, NewPin, PinConfig, PinError, PinnedModule, Place, PolicyError, PolicySource, Staged,
};
use crate::wasm::{self, ModuleError, ModuleFault, Outline, UnusableModule, World};

/// Where modules are put, beside the policy file.
const DIR: &str = "modules";
/// Longest name of a module, in bytes.
const NAME_MAX_BYTES: usize = 100;

/// A module to be added.
#[derive(Clone, Debug)]
pub struct NewModule {
    /// A component, or a core module that one can be made of.
    pub file: PathBuf,
    /// What it is to be called; without it, as the file.
    pub name: Option<String>,
    /// What it is to be configured with, as YAML or JSON.
    pub config: Option<String>,
}

/// A module that was added.
#[derive(Debug)]
pub struct Added {
    /// Its path in the policy file.
    pub path: String,
    /// Of which world it is, and what else it says of itself.
    pub world: World,
    /// The same.
    pub outline: Outline,
    /// Where its entry stands.
    pub place: Option<Place>,
    /// Whether that took the place of another one with the same path.
    pub was_there: bool,
}

/// Why a module was not added. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The file cannot be read.
    #[error("{} {fault}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: ModuleFault,
    },
    /// The file is no component, and none can be made of it.
    #[error("{} cannot be made a module: {error}", path.display())]
    Component {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: ModuleError,
    },
    /// The file is a component that neither decides nor hides.
    #[error("{} is of neither world: it exports neither decisions nor redaction of secretctl:guard@0.1.0", .0.display())]
    World(PathBuf),
    /// The name is not one.
    #[error("'{}' is no name for a module: it takes 1 to 100 letters, digits, '-', '_' and '.', and does not begin with '.'", .0.escape_debug())]
    Name(String),
    /// The configuration is not one.
    #[error("the config cannot be used: {0}")]
    Config(String),
    /// The module was tried, and cannot be used.
    #[error("{} {fault}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: ModuleFault,
    },
    /// The policy file cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The module cannot be named in the policy file.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// Somebody else has changed the policy file meanwhile.
    #[error("{} was changed meanwhile", .0.display())]
    Changed(PathBuf),
    /// The directory of modules is elsewhere.
    #[error("{} lies, by a symbolic link, outside of the policy file's directory", .0.display())]
    LeadsOut(PathBuf),
    /// A file cannot be written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The module could not be tried.
    #[error(transparent)]
    Run(RunError),
}

impl PolicyDoor {
    /// Makes a component of a file, tries it with its configuration as a request would, puts it beside the policy file and pins it
    /// there. If it has been added before it takes the place of what was there.
    pub fn add(&self, new: &NewModule) -> Result<Added, AddError> {
        let component = component(&new.file)?;
        let unfit = |error| AddError::Component {
            path: new.file.clone(),
            error,
        };
        let outline = Outline::of(&component).map_err(unfit)?;
        let world = outline
            .world
            .ok_or_else(|| AddError::World(new.file.clone()))?;
        let config = new.config.as_deref().map(PinConfig::parse).transpose();
        let pin = NewPin {
            list: match world {
                World::Policy => ModuleList::Modules,
                World::Sanitizer => ModuleList::Sanitizers,
            },
            path: format!("{DIR}/{}.wasm", name(new)?),
            sha256: outline.sha256.clone(),
            config: config.map_err(AddError::Config)?,
        };

        let source = PolicySource::new(self.path());
        let text = source.text()?;
        let pinned = pin.add_to(&text)?;
        let dir = self.path().parent().unwrap_or(Path::new("."));
        // Two of this program, one behind the other.
        let _locked = locked(dir)?;
        let place = dir.join(&pin.path);
        let module = Staged::write(&place, &component).map_err(io_error(&place))?;
        self.try_staged(&pin, &pinned.entry, &module, &new.file)?;
        let file = Staged::write(self.path(), pinned.text.as_bytes());
        let file = file.map_err(io_error(self.path()))?;
        if source.text()? != text {
            return Err(AddError::Changed(self.path().to_owned()));
        }
        publish(module, &place, file)?;
        let entry = format!("{}[{}]", pin.list.key(), pinned.number);
        // Read anew, so that the place is that in the new file.
        let _policy = self.judge.policy()?;
        Ok(Added {
            place: self.judge.place(&entry),
            path: pin.path,
            world,
            outline,
            was_there: pinned.was_there,
        })
    }

    /// Asks the module once, or starts it, from where it is staged.
    fn try_staged(
        &self,
        pin: &NewPin,
        entry: &PinnedModule,
        module: &Staged,
        file: &Path,
    ) -> Result<(), AddError> {
        let name = module.path().file_name().unwrap_or_default();
        let entry = entry.at(&format!("{DIR}/{}", name.to_string_lossy()));
        let tried = match pin.list {
            ModuleList::Modules => self.judge.try_policy(&entry),
            ModuleList::Sanitizers => self.judge.try_sanitizer(&entry),
        };
        tried.map_err(|error| match error {
            RunError::Module(UnusableModule { fault, .. }) => AddError::Unusable {
                path: file.to_owned(),
                fault,
            },
            other => AddError::Run(other),
        })
    }
}

fn component(file: &Path) -> Result<Vec<u8>, AddError> {
    let bytes = wasm::read(file).map_err(|fault| AddError::File {
        path: file.to_owned(),
        fault,
    })?;
    wasm::component(bytes).map_err(|error| AddError::Component {
        path: file.to_owned(),
        error,
    })
}

/// What the module is called: a part of a path, and plain text in YAML.
fn name(new: &NewModule) -> Result<String, AddError> {
    let of_file = || new.file.file_stem().unwrap_or_default().to_string_lossy();
    let name = new.name.clone().unwrap_or_else(|| of_file().into_owned());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = (1..=NAME_MAX_BYTES).contains(&name.len()) && !name.starts_with('.');
    match is_name && name.chars().all(is_plain) {
        true => Ok(name),
        false => Err(AddError::Name(name)),
    }
}

/// The directory of modules, made if need be, and held until the file is closed.
fn locked(dir: &Path) -> Result<File, AddError> {
    let modules = dir.join(DIR);
    let failed = io_error(&modules);
    match DirBuilder::new().mode(0o700).create(&modules) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let whole = |path: &Path| fs::canonicalize(path).map_err(io_error(path));
    if !whole(&modules)?.starts_with(whole(dir)?) {
        return Err(AddError::LeadsOut(modules));
    }
    let file = File::open(&modules).map_err(&failed)?;
    flock(&file, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
    Ok(file)
}

/// Puts the module and the policy file in their places. If the file cannot be put there, the module that was there comes back.
fn publish(module: Staged, place: &Path, file: Staged) -> Result<(), AddError> {
    let before = match wasm::read(place) {
        Ok(bytes) => Some(bytes),
        Err(ModuleFault::Missing) => None,
        Err(fault) => {
            return Err(AddError::File {
                path: place.to_owned(),
                fault,
            });
        }
    };
    let failed = io_error(place);
    module.publish().map_err(&failed)?;
    let Err(error) = file.publish() else {
        return Ok(());
    };
    let back = match before {
        Some(bytes) => Staged::write(place, &bytes).and_then(Staged::publish),
        None => fs::remove_file(place),
    };
    back.map_err(&failed)?;
    Err(failed(error))
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> AddError + use<> {
    let path = path.to_owned();
    move |error| AddError::Io {
        path: path.clone(),
        error,
    }
}
