//! The rungs of the jail: in namespaces of its own, with a view of the file system of its own; and
//! where the machine refuses that, among the user's other processes.
#![forbid(unsafe_code)]

use std::io;
use std::os::unix::net::UnixStream;

use rustix::fs::chown;
use rustix::process::geteuid;

use crate::control::Control;
use crate::layers::{self, User};
use crate::outcome::{Stage, StartError};
use crate::plan::Jail;
use crate::prepare::{
    Newborn, Prepared, await_readiness, close_output, in_this_namespace, make_directory,
};
use crate::steps::identity::Identity;
use crate::steps::idmap::Mapper;
use crate::steps::namespaces::{self, Numbers};
use crate::steps::reach::{Access, Place, Reach};
use crate::steps::view::{self, Tree as Mounts};
use crate::steps::{Gate, NOT_STARTED, Setting, become_program};
use crate::sys;
use crate::tree::{First, Inhabitants, Tree};
use crate::wire::{Birth, Preparation, View};

/// The highest rung that the machine lets us stand on. Root gives up being root, unless it has to
/// change what is root's and that cannot be mapped.
pub(crate) fn prepare(preparation: &Preparation, jail: &Jail) -> Result<Prepared, StartError> {
    let identity = Identity::of_this_run().filter(|_| !preparation.faults.has("user"));
    let mut tried = in_namespaces(preparation, jail, identity);
    if tried.is_err() && identity.is_some() {
        tried = in_namespaces(preparation, jail, None);
    }
    tried.or_else(|missing| {
        let identity = identity.filter(|_| jail.writable.is_empty());
        beside_others(preparation, jail, identity, &missing)
    })
}

fn who(identity: Option<Identity>) -> User {
    match identity {
        Some(_) => User::Other,
        None if geteuid().is_root() => User::Root,
        None => User::Own,
    }
}

fn in_namespaces(
    preparation: &Preparation,
    jail: &Jail,
    identity: Option<Identity>,
) -> Result<Prepared, StartError> {
    let refused = |error: io::Error| StartError::os(Stage::Namespaces, error);
    if preparation.faults.has("namespaces") || preparation.faults.has("kill") {
        return Err(refused(io::Error::from_raw_os_error(libc::EPERM)));
    }
    let reach = Reach::of(jail);
    let mounts = mounts(&reach, identity)?;
    let (ours, theirs) = UnixStream::pair().map_err(refused)?;
    let (helper, first) = UnixStream::pair().map_err(refused)?;
    let caller = Numbers::current();
    // The new process does not come back from there: what it is then is for good.
    let bear = move || match sys::clone(namespaces::wanted(jail.network))? {
        Some(pid) => Ok((pid, ours, helper)),
        None => {
            drop((ours, helper));
            let first = FirstSteps {
                preparation,
                identity,
                caller,
                helper: first,
                birth: theirs,
            };
            first.take(reach, mounts)
        }
    };
    let born = match identity {
        Some(identity) => identity.assume(bear),
        None => bear(),
    };
    let (pid, ours, helper) = born.map_err(refused)?;
    let tree = Inhabitants::new(pid, helper).map_err(refused)?;
    let mut newborn = await_readiness(Tree::Inhabitants(tree), ours)?;
    newborn.tree.find_leader();
    let enforcement = layers::jail(
        jail,
        &newborn.facts,
        None,
        newborn.tree.kill(),
        true,
        who(identity),
    );
    Ok(Prepared {
        identity,
        loader: newborn.facts.loader.clone(),
        ..newborn.with(enforcement)
    })
}

/// Copies of mounts that only root can reach, or make.
fn mounts(reach: &Reach, identity: Option<Identity>) -> Result<Vec<Mounts>, StartError> {
    let mut mapper = identity.map(Mapper::new);
    let copy = |place: &Place| {
        let Some(mapper) = &mut mapper else {
            return Ok(None);
        };
        let tree = match (place.named, place.access) {
            (true, Access::Write) => mapper.clone_tree(&place.path),
            // Not every file system can be mapped; then the modes of its files decide.
            (true, Access::Read) => mapper
                .clone_tree(&place.path)
                .or_else(|_| view::clone_tree(&place.path)),
            (false, _) => view::clone_tree(&place.path),
        };
        tree.map(Some)
            .map_err(|error| view::failed(&place.path, error))
    };
    reach.places.iter().map(copy).collect()
}

/// The first process of the new namespaces, on its way.
struct FirstSteps<'a> {
    preparation: &'a Preparation,
    identity: Option<Identity>,
    caller: Numbers,
    helper: UnixStream,
    birth: UnixStream,
}

impl FirstSteps<'_> {
    /// Never returns. A failure goes to the helper, and everybody else ends with this process.
    fn take(self, reach: Reach, mounts: Vec<Mounts>) -> ! {
        // Unwinding would go on as a second helper.
        std::panic::set_hook(Box::new(|_| sys::exit_now(NOT_STARTED)));
        match self.build(reach, mounts) {
            Ok(first) => {
                drop(self.birth);
                first.rule(self.helper)
            }
            Err(error) => {
                let _ = Control::new(self.birth).send(&Birth::Failed(error));
                sys::exit_now(NOT_STARTED)
            }
        }
    }

    /// The process that becomes the program prepares itself while the view is built.
    fn build(&self, reach: Reach, mounts: Vec<Mounts>) -> Result<First, StartError> {
        let process = |error: io::Error| StartError::os(Stage::Process, error);
        namespaces::settle(self.identity, self.caller)?;
        let children = sys::child_signals().map_err(process)?;
        let (gate, theirs) = UnixStream::pair().map_err(process)?;
        let Some(leader) = sys::fork().map_err(process)? else {
            self.second(reach, theirs)
        };
        drop(theirs);
        self.preparation
            .faults
            .strike("memory_directory", Stage::View)?;
        let hide = !self.preparation.faults.has(layers::ENVIRONMENT);
        let protection = view::build(&reach, mounts, hide)?;
        let view = View {
            loader: protection.as_ref().map(|one| one.loader.clone()),
            hidden: protection
                .as_ref()
                .is_some_and(|one| one.strangers.is_some()),
        };
        Control::new(gate).send(&view).map_err(process)?;
        close_output().map_err(process)?;
        Ok(First {
            leader,
            children,
            protection,
            space: view::own(),
        })
    }

    fn second(&self, reach: Reach, gate: UnixStream) -> ! {
        let setting = Setting {
            reach: Some(reach),
            view: Some(Gate(gate)),
            counts_processes: !self.preparation.faults.has("process_limit"),
            parent: None,
            ..Setting::base(self.preparation, Some(view::own()))
        };
        match self.birth.try_clone() {
            Ok(birth) => become_program(&setting, birth),
            Err(_) => sys::exit_now(NOT_STARTED),
        }
    }
}

/// Without namespaces: the run's directory can be seen by others, and belongs to the run's user.
fn beside_others(
    preparation: &Preparation,
    jail: &Jail,
    identity: Option<Identity>,
    missing: &StartError,
) -> Result<Prepared, StartError> {
    let directory = make_directory(preparation)?;
    if let Some(identity) = identity {
        chown(directory.path(), Some(identity.uid), Some(identity.gid))
            .map_err(|error| StartError::os(Stage::Directory, error))?;
    }
    let newborn: Newborn = in_this_namespace(Setting {
        reach: Some(Reach::of(jail)),
        identity,
        counts_processes: identity.is_some() && !preparation.faults.has("process_limit"),
        ..Setting::base(preparation, Some(directory.path().to_owned()))
    })?;
    let in_memory = directory.is_in_memory();
    let who = who(identity);
    let enforcement = layers::jail(
        jail,
        &newborn.facts,
        Some(missing),
        newborn.tree.kill(),
        in_memory,
        who,
    );
    Ok(Prepared {
        directory: Some(directory),
        ..newborn.with(enforcement)
    })
}
