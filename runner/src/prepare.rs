//! The helper's part before there is a plan: the run's directory, and a new process that is shut in
//! as far as the machine lets it.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::process::getpid;
use rustix::stdio::{dup2_stderr, dup2_stdout};

use crate::control::Control;
use crate::directory::Directory;
#[cfg(target_os = "linux")]
use crate::jailed;
use crate::layers;
use crate::outcome::{Cause, Enforcement, Stage, StartError};
use crate::plan::Confinement;
#[cfg(target_os = "linux")]
use crate::steps::identity::Identity;
use crate::steps::{Faults, Setting, become_program};
use crate::sys;
use crate::tree::{Children, Tree};
use crate::wait::wait_for;
#[cfg(not(target_os = "linux"))]
use crate::wire::Expectation;
use crate::wire::{Birth, Facts, Preparation};

#[cfg(target_os = "linux")]
pub(crate) use crate::jailed::Ahead;

/// Elsewhere nothing can be made before more is known.
#[cfg(not(target_os = "linux"))]
pub(crate) struct Ahead;

#[cfg(not(target_os = "linux"))]
impl Ahead {
    pub(crate) fn make(_expectation: Expectation) -> Result<Self, StartError> {
        Ok(Ahead)
    }
}

/// How long the new process may take to shut itself in: it waits for nobody, but the machine may be
/// busy.
const PREPARE_MAX: Duration = Duration::from_secs(20);

/// A process that waits for its plan.
pub(crate) struct Prepared {
    pub(crate) tree: Tree,
    pub(crate) birth: Control<UnixStream>,
    pub(crate) enforcement: Enforcement,
    /// A directory of the run's own that others can see, if it has one.
    pub(crate) directory: Option<Directory>,
    /// Whom it runs as outside, if not as the helper's user.
    #[cfg(target_os = "linux")]
    pub(crate) identity: Option<Identity>,
    /// The dynamic loader that is unreadable, if it is.
    #[cfg(target_os = "linux")]
    pub(crate) loader: Option<PathBuf>,
}

/// Starts the new process with every layer that can be had, and without those that cannot.
pub(crate) fn prepare(
    preparation: &Preparation,
    #[cfg_attr(
        not(target_os = "linux"),
        expect(unused_variables, reason = "for Linux")
    )]
    ahead: Option<Ahead>,
) -> Result<Prepared, StartError> {
    #[cfg(target_os = "linux")]
    if let Confinement::Jail(jail) = &preparation.confinement {
        return jailed::prepare(preparation, jail, ahead);
    }
    let mut directory = None;
    if preparation.directory || matches!(preparation.confinement, Confinement::Jail(_)) {
        directory = Some(make_directory(preparation)?);
    }
    let in_memory = directory.as_ref().map(Directory::is_in_memory);
    let own = directory.as_ref().map(|one| one.path().to_owned());
    let newborn = in_this_namespace(Setting::base(
        preparation.confinement.clone(),
        &preparation.faults,
        own,
    ))?;
    let enforcement = match &preparation.confinement {
        #[cfg(target_os = "macos")]
        Confinement::Jail(jail) if newborn.facts.sandbox => {
            layers::sandbox(jail.network, newborn.tree.kill(), in_memory)
        }
        _ => layers::base(newborn.tree.kill(), in_memory),
    };
    let mut prepared = newborn.with(enforcement);
    prepared.directory = directory;
    Ok(prepared)
}

/// The output is the child's alone, so that its end is seen when the child's processes have ended.
pub(crate) fn close_output() -> io::Result<()> {
    let nothing = File::options().write(true).open("/dev/null")?;
    dup2_stdout(&nothing)?;
    Ok(dup2_stderr(&nothing)?)
}

/// In the first base that will do.
pub(crate) fn make_directory(preparation: &Preparation) -> Result<Directory, StartError> {
    let in_memory = !preparation.faults.has("memory_directory");
    let made = Directory::create(&preparation.bases, in_memory);
    made.map_err(|error| StartError::os(Stage::Directory, error))
}

/// The process with what it said.
pub(crate) struct Newborn {
    pub(crate) tree: Tree,
    pub(crate) birth: Control<UnixStream>,
    pub(crate) facts: Facts,
}

impl Newborn {
    pub(crate) fn with(self, enforcement: Enforcement) -> Prepared {
        Prepared {
            tree: self.tree,
            birth: self.birth,
            enforcement,
            directory: None,
            #[cfg(target_os = "linux")]
            identity: None,
            #[cfg(target_os = "linux")]
            loader: None,
        }
    }
}

impl Setting {
    pub(crate) fn base(confinement: Confinement, faults: &Faults, own: Option<PathBuf>) -> Self {
        Setting {
            confinement,
            own,
            #[cfg(target_os = "linux")]
            reach: crate::steps::reach::Reach::default(),
            #[cfg(target_os = "linux")]
            identity: None,
            #[cfg(target_os = "linux")]
            view: None,
            counts_processes: false,
            parent: Some(getpid()),
            faults: faults.clone(),
        }
    }
}

/// A new process that is our child and sees what we see.
pub(crate) fn in_this_namespace(setting: Setting) -> Result<Newborn, StartError> {
    let process = |error: io::Error| StartError::os(Stage::Process, error);
    let (ours, theirs) = UnixStream::pair().map_err(process)?;
    let leader = match sys::fork().map_err(process)? {
        Some(leader) => leader,
        None => {
            drop(ours);
            become_program(&setting, theirs)
        }
    };
    drop(theirs);
    let may_list = !setting.faults.has("kill");
    let tree = Children::new(leader, may_list).map_err(|error| process(error.into()))?;
    await_readiness(Tree::Children(tree), ours)
}

/// Waits until the new process says that it waits, or why it will not.
pub(crate) fn await_readiness(tree: Tree, birth: UnixStream) -> Result<Newborn, StartError> {
    let died = || StartError::new(Stage::Process, Cause::Died);
    let mut birth = Control::new(birth);
    let give_up = Instant::now() + PREPARE_MAX;
    loop {
        match birth.next() {
            Ok(Some(Birth::Ready(facts))) => return Ok(Newborn { tree, birth, facts }),
            Ok(Some(Birth::Failed(error))) => return Err(error),
            Ok(None) if birth.is_open() && Instant::now() < give_up => {}
            _ => return Err(died()),
        }
        let watched = [Some((birth.socket(), PollFlags::IN))];
        if let Ok([true]) = wait_for(watched, Some(give_up)) {
            birth.fill().map_err(|_| died())?;
        }
    }
}
