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
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::process::{Pid, setsid, umask};

use crate::control::Control;
use crate::outcome::{Stage, StartError};
use crate::plan::Confinement;
use crate::sys::{self, Above2};
use crate::wire::{Birth, Command, Facts, Request};

/// What a process that could not become the program exits with; nobody sees it.
pub(crate) const NOT_STARTED: i32 = 127;

/// What is known before there is a plan.
pub(crate) struct Setting {
    pub(crate) confinement: Confinement,
    /// The run's own directory as the program sees it.
    pub(crate) own: Option<PathBuf>,
    /// What it can reach; none without a jail.
    #[cfg(target_os = "linux")]
    pub(crate) reach: Option<reach::Reach>,
    /// Whom to become, if that has not happened yet.
    #[cfg(target_os = "linux")]
    pub(crate) identity: Option<identity::Identity>,
    /// In namespaces of its own.
    #[cfg(target_os = "linux")]
    pub(crate) namespaces: bool,
    /// The number of processes can be limited.
    pub(crate) counts_processes: bool,
    /// How programs are kept from being read; none if they are not.
    #[cfg(target_os = "linux")]
    pub(crate) protection: Option<exec_only::Protection>,
    /// Who must be the parent, where the kernel does not end this process with the namespace.
    pub(crate) parent: Option<Pid>,
    pub(crate) faults: Faults,
}

/// Layers that are treated as if the machine did not have them: for tests of the fallbacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults(pub(crate) Vec<String>);

impl Faults {
    /// Never in a release build.
    pub(crate) fn has(&self, layer: &str) -> bool {
        cfg!(debug_assertions) && self.0.iter().any(|name| name == layer)
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
/// 1. Namespaces ([`namespaces`]) and, in them, a view of the file system ([`view`]) with an
///    unreadable dynamic loader ([`exec_only`]). Done by the parent, the first process of them; what
///    comes next is done by its child.
/// 2. All signals at their defaults, none blocked: a caller who ignores SIGTERM or SIGPIPE does not
///    pass that on.
/// 3. A session of our own: no terminal, no job control, a process group for the whole tree.
/// 4. The rules of [`landlock`] and the filter of [`system_calls`] are made.
/// 5. The ways to get capabilities back are closed, then another user for what root started, then
///    all capabilities given up ([`privileges`]).
/// 6. No new privileges by executing anything. From here on we die with the helper; a change of
///    user or capabilities would undo that.
/// 7. Landlock, which needs step 6.
/// 8. Every descriptor but three is closed when the program is executed.
/// 9. The filter, which forbids what earlier steps use.
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
    sys::reset_signals();
    setsid().map_err(|error| StartError::os(Stage::Session, error))?;
    let (mut layers, facts) = Layers::make(setting);
    privileges::bound().map_err(|error| StartError::os(Stage::Privileges, error))?;
    #[cfg(target_os = "linux")]
    if let Some(identity) = &setting.identity {
        let become_it = identity.become_it();
        become_it.map_err(|error| StartError::os(Stage::User, error))?;
    }
    privileges::give_up().map_err(|error| StartError::os(Stage::Privileges, error))?;
    die_with(setting.parent).map_err(|error| StartError::os(Stage::Process, error))?;
    layers.restrict_files()?;
    sys::descriptors_above_2(Above2::CloseOnExec);
    layers.filter_system_calls()?;

    let said = helper.send(&Birth::Ready(facts));
    let Ok((Request { plan, .. }, stdin)) = said.and_then(|()| receive(helper)) else {
        // The helper is gone, or has no use for us.
        sys::exit_now(NOT_STARTED)
    };
    if plan.has_own_home() {
        umask(Mode::RWXG | Mode::RWXO);
    }
    limits::set(&plan.limits, setting.counts_processes)
        .map_err(|error| StartError::os(Stage::Limits, error))?;
    program::set_stdin(stdin).map_err(|error| StartError::os(Stage::Descriptors, error))?;
    let own = setting.own.as_deref();
    program::enter(&plan, own).map_err(|error| StartError::os(Stage::WorkingDirectory, error))?;
    program::execute(&plan, own).map_err(|cause| StartError::new(Stage::Program, cause))
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

/// What is made first and put on later.
struct Layers {
    #[cfg(target_os = "linux")]
    landlock: Option<::landlock::RulesetCreated>,
    #[cfg(target_os = "linux")]
    filter: Option<system_calls::Filter>,
    /// The profile that this process puts on itself.
    #[cfg(target_os = "macos")]
    sandbox: Option<std::ffi::CString>,
}

#[cfg(target_os = "linux")]
impl Layers {
    /// Also says what could be made.
    fn make(setting: &Setting) -> (Self, Facts) {
        let Confinement::Jail(jail) = &setting.confinement else {
            let none = Layers {
                landlock: None,
                filter: None,
            };
            return (none, Facts::default());
        };
        let protection = setting.protection.as_ref();
        let mut facts = Facts {
            hidden: protection.is_some_and(|protection| protection.strangers.is_some()),
            loader: protection.map(|protection| protection.loader.clone()),
            ..Facts::default()
        };
        let version = sys::landlock_version();
        let mut rules = None;
        if let Some(reach) = &setting.reach
            && version > 0
            && !setting.faults.has("landlock")
        {
            let own: Vec<_> = if setting.namespaces {
                reach::OWN.iter().map(std::path::Path::new).collect()
            } else {
                setting.own.iter().map(PathBuf::as_path).collect()
            };
            rules = landlock::rules(reach, &own, jail.network).ok();
            facts.landlock = rules.as_ref().map_or(0, |_| version);
        }
        let mut filter = None;
        if sys::has_system_call_filters() && !setting.faults.has("system_calls") {
            filter = system_calls::Filter::new(jail.network, setting.namespaces).ok();
            facts.system_calls = filter.is_some();
        }
        let layers = Layers {
            landlock: rules,
            filter,
        };
        (layers, facts)
    }

    fn restrict_files(&mut self) -> Result<(), StartError> {
        let failed = |_| StartError::os(Stage::Landlock, io::Error::last_os_error());
        match self.landlock.take() {
            Some(rules) => rules.restrict_self().map(drop).map_err(failed),
            None => Ok(()),
        }
    }

    fn filter_system_calls(&self) -> Result<(), StartError> {
        let failed = |_| StartError::os(Stage::SystemCalls, io::Error::last_os_error());
        self.filter
            .as_ref()
            .map_or(Ok(()), |filter| filter.apply().map_err(failed))
    }
}

#[cfg(target_os = "macos")]
impl Layers {
    /// Also says what could be made.
    fn make(setting: &Setting) -> (Self, Facts) {
        let mut sandbox = None;
        if let (Confinement::Jail(jail), Some(own)) = (&setting.confinement, &setting.own)
            && !setting.faults.has("files")
        {
            let profile = seatbelt::profile(jail, own).ok();
            sandbox = profile.filter(|profile| seatbelt::holds(profile).unwrap_or(false));
        }
        let facts = Facts {
            sandbox: sandbox.is_some(),
            ..Facts::default()
        };
        (Layers { sandbox }, facts)
    }

    fn restrict_files(&mut self) -> Result<(), StartError> {
        let failed = |error| StartError::os(Stage::Sandbox, error);
        match self.sandbox.take() {
            Some(profile) => sys::enter_sandbox(&profile).map_err(failed),
            None => Ok(()),
        }
    }

    fn filter_system_calls(&self) -> Result<(), StartError> {
        Ok(())
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
impl Layers {
    fn make(_setting: &Setting) -> (Self, Facts) {
        (Layers {}, Facts::default())
    }

    fn restrict_files(&mut self) -> Result<(), StartError> {
        Ok(())
    }

    fn filter_system_calls(&self) -> Result<(), StartError> {
        Ok(())
    }
}
