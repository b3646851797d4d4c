//! The rungs of the jail: in namespaces of its own, with a view of the file system of its own; and
//! where the machine refuses that, among the user's other processes.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{CWD, FileType, chown, fchown, fstat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};

use crate::control::Control;
use crate::layers::{self, User};
use crate::outcome::{Cause, Stage, StartError};
use crate::plan::{Confinement, Jail};
use crate::prepare::{
    Newborn, Prepared, await_readiness, close_output, in_this_namespace, make_directory,
};
use crate::steps::identity::Identity;
use crate::steps::idmap::Mapper;
use crate::steps::namespaces::{self, Holder, Numbers, Strangers};
use crate::steps::reach::{Access, Place, Reach};
use crate::steps::view;
use crate::steps::{Gate, NOT_STARTED, Setting, become_program};
use crate::sys;
use crate::tree::{self, First, Inhabitants, Tree};
use crate::wire::{Birth, Expectation, Preparation, View};

/// A jail without what is only this run's: it has all that does not depend on the run, and waits.
pub(crate) struct Ahead {
    expectation: Expectation,
    identity: Option<Identity>,
    /// What the view has already.
    system: Reach,
    tree: Inhabitants,
    birth: UnixStream,
}

/// The highest rung that the machine lets us stand on. Root gives up being root, unless it has to
/// change what is root's and that cannot be mapped.
pub(crate) fn prepare(
    preparation: &Preparation,
    jail: &Jail,
    ahead: Option<Ahead>,
) -> Result<Prepared, StartError> {
    let expectation = Expectation {
        network: jail.network,
        faults: preparation.faults.clone(),
    };
    // If something has happened to that one, it is no reason to do with less.
    if let Some(ahead) = ahead.filter(|ahead| ahead.expectation == expectation)
        && let Ok(prepared) = ahead.finish(jail)
    {
        return Ok(prepared);
    }
    let identity = expectation.identity();
    let in_namespaces = |identity| Ahead::begin(expectation.clone(), identity)?.finish(jail);
    let mut tried = in_namespaces(identity);
    if identity.is_some() && tried.as_ref().is_err_and(is_refusal) {
        tried = in_namespaces(None);
    }
    match tried {
        Err(missing) if is_refusal(&missing) => {
            let identity = identity.filter(|_| jail.writable.is_empty());
            beside_others(preparation, jail, identity, &missing)
        }
        tried => tried,
    }
}

/// Whether the machine has not got something. That a process was killed says nothing of the machine.
fn is_refusal(error: &StartError) -> bool {
    error.cause != Cause::Died
}

fn who(identity: Option<Identity>) -> User {
    match identity {
        Some(_) => User::Other,
        None if geteuid().is_root() => User::Root,
        None => User::Own,
    }
}

/// Does something as the run's user.
fn as_user<T>(identity: Option<Identity>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match identity {
        Some(identity) => identity.assume(act),
        None => act(),
    }
}

impl Expectation {
    fn identity(&self) -> Option<Identity> {
        Identity::of_this_run().filter(|_| !self.faults.has("user"))
    }
}

impl Ahead {
    pub(crate) fn make(expectation: Expectation) -> Result<Self, StartError> {
        let identity = expectation.identity();
        Ahead::begin(expectation, identity)
    }

    fn begin(expectation: Expectation, identity: Option<Identity>) -> Result<Self, StartError> {
        let refused = |error: io::Error| StartError::os(Stage::Namespaces, error);
        if expectation.faults.has("namespaces") || expectation.faults.has("kill") {
            return Err(refused(io::Error::from_raw_os_error(libc::EPERM)));
        }
        let caller = Numbers::current();
        let holder = as_user(identity, Holder::start).map_err(refused)?;
        give_output_to(identity)?;
        let system = Reach::system();
        let trees = match identity {
            Some(_) => trees(system.places.iter(), |place| {
                view::clone_tree(CWD, &place.path)
            })?,
            None => Vec::new(),
        };
        let (ours, theirs) = UnixStream::pair().map_err(refused)?;
        let (helper, first) = UnixStream::pair().map_err(refused)?;
        // The new processes do not come back from there: what they are then is for good.
        let bear = || {
            let users = namespaces::users(&holder, identity, caller)?;
            match sys::fork()? {
                Some(midwife) => Ok((midwife, ours, helper)),
                None => {
                    drop((ours, helper));
                    let steps = FirstSteps {
                        expectation: &expectation,
                        identity,
                        birth: theirs,
                    };
                    steps.be_born(&users, &holder, Control::new(first), system.clone(), trees)
                }
            }
        };
        let (midwife, birth, helper) = as_user(identity, bear).map_err(refused)?;
        let first = match tree::adopt(midwife, holder) {
            Ok(first) => first,
            Err(error) => {
                drop(helper);
                return Err(last_word(birth).unwrap_or(refused(error)));
            }
        };
        let tree = Inhabitants::new(first, helper).map_err(refused)?;
        Ok(Ahead {
            expectation,
            identity,
            system,
            tree,
            birth,
        })
    }

    fn finish(mut self, jail: &Jail) -> Result<Prepared, StartError> {
        let identity = self.identity;
        let reach = self.system.with(jail);
        let trees = match identity {
            Some(identity) => {
                let mut mapper = Mapper::new(identity);
                trees(reach.beyond(&self.system), |place| match place.access {
                    Access::Write => mapper.clone_tree(&place.path),
                    // Not every file system can be mapped; then the modes of its files decide.
                    Access::Read => mapper
                        .clone_tree(&place.path)
                        .or_else(|_| view::clone_tree(CWD, &place.path)),
                })?
            }
            None => Vec::new(),
        };
        // One that is gone has said why.
        let _ = self.tree.finish(reach, trees);
        let mut newborn = await_readiness(Tree::Inhabitants(self.tree), self.birth)?;
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
}

/// Copies of mounts that only root can reach, or make.
fn trees<'a>(
    places: impl Iterator<Item = &'a Place>,
    mut copy: impl FnMut(&Place) -> io::Result<OwnedFd>,
) -> Result<Vec<OwnedFd>, StartError> {
    places
        .map(|place| copy(place).map_err(|error| view::failed(&place.path, error)))
        .collect()
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

/// The first process of the new namespaces, on its way.
struct FirstSteps<'a> {
    expectation: &'a Expectation,
    identity: Option<Identity>,
    birth: UnixStream,
}

impl FirstSteps<'_> {
    /// Never returns. In a process that goes into the user namespace and makes the first one of the
    /// others from there; that one becomes the helper's child when this one has ended.
    fn be_born(
        self,
        users: &OwnedFd,
        holder: &Holder,
        helper: Control<UnixStream>,
        system: Reach,
        trees: Vec<OwnedFd>,
    ) -> ! {
        let hide = !self.expectation.faults.has(layers::ENVIRONMENT);
        let born = namespaces::enter(users).and_then(|()| {
            let (ours, theirs) = UnixStream::pair()?;
            if sys::clone(namespaces::wanted(self.expectation.network))?.is_none() {
                return Ok(Some(Strangers(ours)));
            }
            if hide {
                // The first process needs this when it has done half of its work.
                Strangers::make(holder, theirs)?;
            }
            Ok(None)
        });
        match born {
            Ok(Some(strangers)) => self.take(helper, system, trees, hide.then_some(strangers)),
            Ok(None) => sys::exit_now(0),
            Err(error) => {
                let error = StartError::os(Stage::Namespaces, error);
                let _ = Control::new(self.birth).send(&Birth::Failed(error));
                sys::exit_now(NOT_STARTED)
            }
        }
    }

    /// Never returns. A failure goes to the helper, and everybody else ends with this process.
    fn take(
        self,
        mut helper: Control<UnixStream>,
        system: Reach,
        trees: Vec<OwnedFd>,
        strangers: Option<Strangers>,
    ) -> ! {
        // Unwinding would go on as a second helper.
        std::panic::set_hook(Box::new(|_| sys::exit_now(NOT_STARTED)));
        match self.build(&mut helper, system, trees, strangers) {
            Ok(first) => {
                drop(self.birth);
                first.rule(helper)
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
        helper: &mut Control<UnixStream>,
        system: Reach,
        trees: Vec<OwnedFd>,
        strangers: Option<Strangers>,
    ) -> Result<First, StartError> {
        let process = |error: io::Error| StartError::os(Stage::Process, error);
        namespaces::settle()?;
        let children = sys::child_signals().map_err(process)?;
        let (gate, theirs) = UnixStream::pair().map_err(process)?;
        let Some(leader) = sys::fork().map_err(process)? else {
            self.second(theirs)
        };
        drop(theirs);
        self.expectation
            .faults
            .strike("memory_directory", Stage::View)?;
        let view = view::begin(system, trees, strangers)?;
        let (reach, trees) = tree::await_reach(helper);
        let protection = view.finish(&reach, trees)?;
        let view = View {
            loader: protection.as_ref().map(|one| one.loader.clone()),
            hidden: protection
                .as_ref()
                .is_some_and(|one| one.strangers.is_some()),
            places: reach.places,
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

    fn second(&self, gate: UnixStream) -> ! {
        let confinement = Confinement::Jail(Jail {
            network: self.expectation.network,
            ..Jail::default()
        });
        let setting = Setting {
            view: Some(Gate(gate)),
            // The kernel never counts root's processes, whatever the namespace.
            counts_processes: who(self.identity) != User::Root
                && !self.expectation.faults.has("process_limit"),
            parent: None,
            ..Setting::base(confinement, &self.expectation.faults, Some(view::own()))
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
        reach: Reach::of(jail),
        identity,
        counts_processes: identity.is_some() && !preparation.faults.has("process_limit"),
        ..Setting::base(
            preparation.confinement.clone(),
            &preparation.faults,
            Some(directory.path().to_owned()),
        )
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
