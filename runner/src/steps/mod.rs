//! What the new process does between its birth and the program it becomes: the jail, one layer
//! after the other.
#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
pub(crate) mod exec_only;
#[cfg(target_os = "linux")]
pub(crate) mod identity;
#[cfg(target_os = "linux")]
pub(crate) mod idmap;
#[cfg(target_os = "linux")]
mod landlock;
mod limits;
#[cfg(target_os = "linux")]
pub(crate) mod namespaces;
mod privileges;
mod program;
#[cfg(target_os = "linux")]
pub(crate) mod reach;
#[cfg(any(target_os = "macos", test))]
mod seatbelt;
#[cfg(target_os = "linux")]
mod system_calls;
#[cfg(target_os = "linux")]
pub(crate) mod view;

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
#[cfg(target_os = "linux")]
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::process::{Pid, setsid, umask};

use crate::control::Control;
use crate::outcome::{Cause, Stage, StartError};
use crate::plan::Confinement;
use crate::sys::{self, Above2};
#[cfg(target_os = "linux")]
use crate::wire::View;
use crate::wire::{Birth, Command, Facts, Request};

/// What a process that could not become the program exits with; nobody sees it.
pub(crate) const NOT_STARTED: i32 = 127;

/// What is known before there is a plan.
pub(crate) struct Setting {
    pub(crate) confinement: Confinement,
    /// The run's own directory as the program sees it.
    pub(crate) own: Option<PathBuf>,
    /// What it can reach, if nobody builds a view of that.
    #[cfg(target_os = "linux")]
    pub(crate) reach: reach::Reach,
    /// Whom to become, if that has not happened yet.
    #[cfg(target_os = "linux")]
    pub(crate) identity: Option<identity::Identity>,
    /// Set for a process in namespaces of its own.
    #[cfg(target_os = "linux")]
    pub(crate) view: Option<Gate>,
    /// The number of processes can be limited.
    pub(crate) counts_processes: bool,
    /// Who must be the parent, where the kernel does not end this process with the namespace.
    pub(crate) parent: Option<Pid>,
    pub(crate) faults: Faults,
}

/// Layers that are treated as if the machine did not have them: for tests of the fallbacks. `files` and
/// `network` are made of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults(pub(crate) Vec<String>);

impl Faults {
    /// Never in a release build.
    pub(crate) fn has(&self, layer: &str) -> bool {
        cfg!(debug_assertions) && self.0.iter().any(|name| name == layer)
    }

    /// For what every system has, so that its failure ends the start.
    pub(crate) fn strike(&self, layer: &str, stage: Stage) -> Result<(), StartError> {
        match self.has(layer) {
            true => Err(StartError::new(stage, Cause::Os(libc::EPERM))),
            false => Ok(()),
        }
    }
}

/// Runs in the new process, never returns. Prepares what it can, says so, and waits for the plan. A
/// failure goes back the same way; success closes it.
pub(crate) fn become_program(setting: &Setting, helper: UnixStream) -> ! {
    // Unwinding would go on as a second helper.
    std::panic::set_hook(Box::new(|_| sys::exit_now(NOT_STARTED)));
    let mut helper = Control::new(helper);
    let Err(error) = confine_and_execute(setting, &mut helper);
    let _ = helper.send(&Birth::Failed(error));
    sys::exit_now(NOT_STARTED)
}

/// The steps, in the order that makes each of them possible and lets none undo an earlier one. The
/// helper has gone before with what protects it: no core, nobody looks into it. All but the last
/// ones need no plan: a warm helper has them done ahead.
///
/// 1. Namespaces ([`namespaces`]): done by the parent, the first process in them, before it made
///    this one.
/// 2. All signals at their defaults, none blocked: a caller who ignores SIGTERM or SIGPIPE does not
///    pass that on.
/// 3. A session of our own: no terminal, no job control, a process group for the whole tree.
/// 4. The ways to get capabilities back are closed, then another user for what root started, then
///    all capabilities given up, and new privileges by executing anything ([`privileges`]).
/// 5. From here on we die with the helper; a change of user or capabilities would undo that.
/// 6. Every descriptor but three is closed when the program is executed.
/// 7. The filter ([`system_calls`]), which forbids what earlier steps use.
/// 8. Meanwhile the parent has built a view of the file system ([`view`]) with an unreadable dynamic
///    loader ([`exec_only`]), and made it our root.
/// 9. Landlock ([`landlock`]), whose rules name what is in that view.
/// 10. The plan arrives. umask 077, unless the run keeps its caller's home: what a person builds has
///     the person's modes.
/// 11. Resource limits ([`limits`]).
/// 12. Standard input, and the working directory.
/// 13. The file that was judged, and nothing else ([`program`]).
///
/// On macOS there is no step 1, and its own sandbox, entered in step 7, stands in for the layers
/// of 4.
fn confine_and_execute(
    setting: &Setting,
    helper: &mut Control<UnixStream>,
) -> Result<Infallible, StartError> {
    let faults = &setting.faults;
    sys::reset_signals();
    faults.strike("session", Stage::Session)?;
    setsid().map_err(|error| StartError::os(Stage::Session, error))?;
    faults.strike("capabilities", Stage::Privileges)?;
    faults.strike("no_new_privileges", Stage::Privileges)?;
    privileges::bound().map_err(|error| StartError::os(Stage::Privileges, error))?;
    #[cfg(target_os = "linux")]
    if let Some(identity) = &setting.identity {
        let become_it = identity.become_it();
        become_it.map_err(|error| StartError::os(Stage::User, error))?;
    }
    privileges::give_up().map_err(|error| StartError::os(Stage::Privileges, error))?;
    die_with(setting.parent).map_err(|error| StartError::os(Stage::Process, error))?;
    faults.strike("descriptors", Stage::Descriptors)?;
    sys::descriptors_above_2(Above2::CloseOnExec);
    let facts = confine(setting)?;

    let said = helper.send(&Birth::Ready(facts));
    let Ok((Request { plan, .. }, stdin)) = said.and_then(|()| receive(helper)) else {
        // The helper is gone, or has no use for us.
        sys::exit_now(NOT_STARTED)
    };
    if plan.has_own_home() {
        umask(Mode::RWXG | Mode::RWXO);
    }
    faults.strike("limits", Stage::Limits)?;
    faults.strike("core", Stage::Limits)?;
    limits::set(&plan.limits, setting.counts_processes)
        .map_err(|error| StartError::os(Stage::Limits, error))?;
    program::set_stdin(stdin).map_err(|error| StartError::os(Stage::Descriptors, error))?;
    let own = setting.own.as_deref();
    program::enter(&plan, own).map_err(|error| StartError::os(Stage::WorkingDirectory, error))?;
    program::execute(&plan, own).map_err(|cause| StartError::new(Stage::Program, cause))
}

/// Steps 7 to 9; says which of them this machine has.
#[cfg(target_os = "linux")]
fn confine(setting: &Setting) -> Result<Facts, StartError> {
    let Confinement::Jail(jail) = &setting.confinement else {
        return Ok(Facts::default());
    };
    let mut facts = Facts {
        process_limit: setting.counts_processes,
        ..Facts::default()
    };
    if sys::has_system_call_filters() && !setting.faults.has("system_calls") {
        let filter = system_calls::Filter::new(jail.network, setting.view.is_some());
        let applied = filter.and_then(|filter| filter.apply());
        applied.map_err(|error| StartError::os(Stage::SystemCalls, error))?;
        facts.system_calls = true;
    }
    let (places, own) = match &setting.view {
        Some(gate) => {
            let view = gate.await_it();
            facts.loader = view.loader;
            facts.hidden = view.hidden;
            (view.places, reach::OWN.map(Path::new).to_vec())
        }
        None => {
            let own = setting.own.iter().map(PathBuf::as_path);
            (setting.reach.places.clone(), own.collect())
        }
    };
    let version = sys::landlock_version();
    if version > 0 && !setting.faults.has("landlock") {
        let rules = landlock::rules(&places, &own, jail.network);
        let applied = rules.and_then(|rules| rules.restrict_self());
        applied.map_err(|_| StartError::os(Stage::Landlock, io::Error::last_os_error()))?;
        facts.landlock = version;
    }
    Ok(facts)
}

/// Seatbelt in the place of the layers of Linux.
#[cfg(target_os = "macos")]
fn confine(setting: &Setting) -> Result<Facts, StartError> {
    let mut facts = Facts::default();
    if let (Confinement::Jail(jail), Some(own)) = (&setting.confinement, &setting.own)
        && !setting.faults.has("files")
        && let Ok(profile) = seatbelt::profile(jail, own)
        && seatbelt::holds(&profile).unwrap_or(false)
    {
        sys::enter_sandbox(&profile).map_err(|error| StartError::os(Stage::Sandbox, error))?;
        facts.sandbox = true;
    }
    Ok(facts)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn confine(_setting: &Setting) -> Result<Facts, StartError> {
    Ok(Facts::default())
}

/// Where the first process says that the view of the file system is built.
#[cfg(target_os = "linux")]
pub(crate) struct Gate(pub(crate) UnixStream);

#[cfg(target_os = "linux")]
impl Gate {
    /// Whoever would say it is gone if it never comes.
    fn await_it(&self) -> View {
        let mut control = Control::new(&self.0);
        loop {
            match control.next() {
                Ok(Some(view)) => return view,
                Ok(None) if control.is_open() && control.fill().is_ok() => {}
                _ => sys::exit_now(NOT_STARTED),
            }
        }
    }
}

/// The plan, and the child's standard input if it came along.
pub(crate) fn receive<S: std::os::fd::AsFd>(
    control: &mut Control<S>,
) -> io::Result<(Request, Option<OwnedFd>)> {
    let mut stdin = None;
    loop {
        match control.next() {
            Ok(Some(Command::Start(request))) if request.stdin == stdin.is_some() => {
                return Ok((request, stdin));
            }
            Ok(None) if control.is_open() => stdin = control.fill()?.or(stdin),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The helper's only thread is our parent, so the signal comes exactly when the helper dies.
#[cfg(target_os = "linux")]
fn die_with(parent: Option<Pid>) -> rustix::io::Result<()> {
    let Some(parent) = parent else { return Ok(()) };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        sys::exit_now(NOT_STARTED);
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn die_with(_parent: Option<Pid>) -> rustix::io::Result<()> {
    Ok(())
}
