//! The rungs of the jail: in namespaces of its own, with a view of the file system of its own; and
//! where the machine refuses that, among the user's other processes.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{FileType, chown, fchown, fstat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};

use crate::control::Control;
use crate::layers::{self, User};
use crate::outcome::{Stage, StartError};
use crate::plan::{Jail, Network};
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
use crate::tree::{self, First, Inhabitants, Tree};
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
    give_output_to(identity)?;
    let reach = Reach::of(jail);
    let mounts = mounts(&reach, identity)?;
    let (ours, theirs) = UnixStream::pair().map_err(refused)?;
    let (helper, first) = UnixStream::pair().map_err(refused)?;
    let caller = Numbers::current();
    // The new processes do not come back from there: what they are then is for good.
    let bear = move || {
        let users = namespaces::users(identity, caller)?;
        match sys::fork()? {
            Some(midwife) => Ok((midwife, ours, helper)),
            None => {
                drop((ours, helper));
                let first = FirstSteps {
                    preparation,
                    identity,
                    helper: first,
                    birth: theirs,
                };
                first.be_born(&users, jail.network, reach, mounts)
            }
        }
    };
    let born = match identity {
        Some(identity) => identity.assume(bear),
        None => bear(),
    };
    let (midwife, ours, helper) = born.map_err(refused)?;
    let first = match tree::adopt(midwife) {
        Ok(first) => first,
        Err(error) => {
            drop(helper);
            return Err(last_word(ours).unwrap_or(refused(error)));
        }
    };
    let tree = Inhabitants::new(first, helper).map_err(refused)?;
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

/// What a process that could not go on has said.
fn last_word(birth: UnixStream) -> Option<StartError> {
    let mut birth = Control::new(birth);
    birth.fill().ok()?;
    match birth.next() {
        Ok(Some(Birth::Failed(error))) => Some(error),
        _ => None,
    }
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
    helper: UnixStream,
    birth: UnixStream,
}

impl FirstSteps<'_> {
    /// Never returns. In a process that goes into the user namespace and makes the first one of the
    /// others from there; that one becomes the helper's child when this one has ended.
    fn be_born(self, users: &OwnedFd, network: Network, reach: Reach, mounts: Vec<Mounts>) -> ! {
        let hide = !self.preparation.faults.has(layers::ENVIRONMENT);
        let entered = namespaces::enter(users).and_then(|()| {
            let strangers = hide.then(namespaces::strangers).transpose()?;
            Ok((sys::clone(namespaces::wanted(network))?, strangers))
        });
        match entered {
            Ok((Some(_), _)) => sys::exit_now(0),
            Ok((None, strangers)) => self.take(reach, mounts, strangers),
            Err(error) => {
                let error = StartError::os(Stage::Namespaces, error);
                let _ = Control::new(self.birth).send(&Birth::Failed(error));
                sys::exit_now(NOT_STARTED)
            }
        }
    }

    /// Never returns. A failure goes to the helper, and everybody else ends with this process.
    fn take(self, reach: Reach, mounts: Vec<Mounts>, strangers: Option<OwnedFd>) -> ! {
        // Unwinding would go on as a second helper.
        std::panic::set_hook(Box::new(|_| sys::exit_now(NOT_STARTED)));
        match self.build(reach, mounts, strangers) {
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
    fn build(
        &self,
        reach: Reach,
        mounts: Vec<Mounts>,
        strangers: Option<OwnedFd>,
    ) -> Result<First, StartError> {
        let process = |error: io::Error| StartError::os(Stage::Process, error);
        namespaces::settle()?;
        let children = sys::child_signals().map_err(process)?;
        let (gate, theirs) = UnixStream::pair().map_err(process)?;
        let Some(leader) = sys::fork().map_err(process)? else {
            self.second(reach, theirs)
        };
        drop(theirs);
        self.preparation
            .faults
            .strike("memory_directory", Stage::View)?;
        let protection = view::build(&reach, mounts, strangers)?;
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
            // The kernel never counts root's processes, whatever the namespace.
            counts_processes: who(self.identity) != User::Root
                && !self.preparation.faults.has("process_limit"),
            parent: None,
            ..Setting::base(self.preparation, Some(view::own()))
        };
        match self.birth.try_clone() {
            Ok(birth) => become_program(&setting, birth),
            Err(_) => sys::exit_now(NOT_STARTED),
        }
    }
}

/// The program may open its outputs anew, by names like /dev/stdout, and our pipes are root's. A file
/// or a device is not the run's, whoever put it there.
fn give_output_to(identity: Option<Identity>) -> Result<(), StartError> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let descriptors = |error: Errno| StartError::os(Stage::Descriptors, error);
    let (uid, gid) = identity.map_or((Uid::ROOT, Gid::ROOT), |one| (one.uid, one.gid));
    for output in [io::stdout().as_fd(), io::stderr().as_fd()] {
        let mode = fstat(output).map_err(descriptors)?.st_mode;
        if FileType::from_raw_mode(mode) == FileType::Fifo {
            fchown(output, Some(uid), Some(gid)).map_err(descriptors)?;
        }
    }
    Ok(())
}

/// Without namespaces: the run's directory can be seen by others, and belongs to the run's user.
fn beside_others(
    preparation: &Preparation,
    jail: &Jail,
    identity: Option<Identity>,
    missing: &StartError,
) -> Result<Prepared, StartError> {
    give_output_to(identity)?;
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
