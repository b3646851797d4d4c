//! What the new process does between its birth and the program it becomes.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::ffi::{CStr, CString, NulError, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, chdir, getrlimit, setrlimit, setsid, umask};
use rustix::stdio::dup2_stdin;

use crate::outcome::{Cause, Stage, StartError};
use crate::plan::{FileId, Home, Limits, Plan, WorkingDirectory};
use crate::sys::{self, Above2};
use crate::wire::Writer;

/// What a process that could not become the program exits with; nobody sees it.
const NOT_STARTED: i32 = 127;

/// All that is needed to become the program.
pub(crate) struct Birth<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) directory: Option<&'a Path>,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) helper: Pid,
}

/// Runs in the new process, never returns. Waits until the helper says go. A failure goes back the
/// same way; success closes it.
pub(crate) fn become_program(birth: &Birth<'_>, mut helper: UnixStream) -> ! {
    // Unwinding would go on as a second helper.
    std::panic::set_hook(Box::new(|_| sys::exit_now(NOT_STARTED)));
    if helper.read_exact(&mut [0]).is_err() {
        sys::exit_now(NOT_STARTED);
    }
    let Err(error) = confine_and_execute(birth);
    if let Ok(message) = Writer::message(&error) {
        let _ = helper.write_all(&message);
    }
    sys::exit_now(NOT_STARTED)
}

/// The steps, in the order that makes each of them possible and lets none undo an earlier one:
///
/// 1. All signals at their defaults, none blocked: a caller who ignores SIGTERM or SIGPIPE does not
///    pass that on.
/// 2. umask 077, unless the run keeps its caller's home: what a person builds has the person's modes.
/// 3. A session of our own: no terminal, no job control, a process group for the whole tree.
/// 4. A cgroup of our own. Not built yet.
/// 5. User, mount, process, IPC and network namespaces. Not built yet.
/// 6. The view of the file system in them. Not built yet.
/// 7. Resource limits. The number of processes waits for step 5: without a user namespace the
///    kernel counts all processes of the user, and none of root's.
/// 8. All capabilities given up, and the ways to get them back.
/// 9. No new privileges by executing anything. From here on we die with the helper; a change of
///    user or capabilities would undo that.
/// 10. Landlock, which needs step 9. Not built yet.
/// 11. Standard input, and every other descriptor closed when the program is executed.
/// 12. The seccomp filter, which forbids what earlier steps use. Not built yet.
/// 13. The working directory, the check that the program is the one that was judged, and the
///     program itself.
fn confine_and_execute(birth: &Birth<'_>) -> Result<Infallible, StartError> {
    sys::reset_signals();
    if birth.plan.home == Home::Temporary {
        umask(Mode::RWXG | Mode::RWXO);
    }
    setsid().map_err(|error| StartError::os(Stage::Session, error))?;
    limit(&birth.plan.limits).map_err(|error| StartError::os(Stage::Limits, error))?;
    give_up_privileges().map_err(|error| StartError::os(Stage::Privileges, error))?;
    die_with(birth.helper).map_err(|error| StartError::os(Stage::Process, error))?;
    set_stdin(birth.stdin.as_ref()).map_err(|error| StartError::os(Stage::Descriptors, error))?;
    sys::descriptors_above_2(Above2::CloseOnExec);
    enter(birth).map_err(|error| StartError::os(Stage::WorkingDirectory, error))?;
    execute(birth).map_err(|cause| StartError::new(Stage::Program, cause))
}

fn limit(limits: &Limits) -> rustix::io::Result<()> {
    lower(Resource::Core, 0)?;
    lower(Resource::Nofile, u64::from(limits.open_files))?;
    match limits.file_size_bytes {
        Some(bytes) => lower(Resource::Fsize, bytes),
        None => Ok(()),
    }
}

/// Soft and hard limit: a hard one above would be taken by programs that raise their own (node,
/// Java).
fn lower(resource: Resource, to: u64) -> rustix::io::Result<()> {
    let limit = Some(getrlimit(resource).maximum.unwrap_or(u64::MAX).min(to));
    setrlimit(
        resource,
        Rlimit {
            current: limit,
            maximum: limit,
        },
    )
}

#[cfg(target_os = "linux")]
fn give_up_privileges() -> io::Result<()> {
    use rustix::thread::{
        CapabilitiesSecureBits as Bits, CapabilitySet, CapabilitySets, capabilities,
        clear_ambient_capability_set, set_capabilities, set_capabilities_secure_bits,
        set_no_new_privs,
    };
    // Only with this capability may the bounding set be changed. Who lacks it cannot gain by it
    // either, once no new privileges can be had.
    if capabilities(None)?
        .effective
        .contains(CapabilitySet::SETPCAP)
    {
        for number in 0..64 {
            if !sys::drop_bounding_capability(number)? {
                break;
            }
        }
        set_capabilities_secure_bits(
            Bits::NO_ROOT
                | Bits::NO_ROOT_LOCKED
                | Bits::NO_SETUID_FIXUP
                | Bits::NO_SETUID_FIXUP_LOCKED
                | Bits::KEEP_CAPS_LOCKED
                | Bits::NO_CAP_AMBIENT_RAISE
                | Bits::NO_CAP_AMBIENT_RAISE_LOCKED,
        )?;
    }
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(set_no_new_privs(true)?)
}

#[cfg(not(target_os = "linux"))]
fn give_up_privileges() -> io::Result<()> {
    Ok(())
}

/// The helper's only thread is our parent, so the signal comes exactly when the helper dies.
#[cfg(target_os = "linux")]
fn die_with(helper: Pid) -> rustix::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if rustix::process::getppid() != Some(helper) {
        sys::exit_now(NOT_STARTED);
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn die_with(_helper: Pid) -> rustix::io::Result<()> {
    Ok(())
}

fn set_stdin(stdin: Option<&OwnedFd>) -> io::Result<()> {
    match stdin {
        Some(stdin) => dup2_stdin(stdin)?,
        None => dup2_stdin(File::open("/dev/null")?)?,
    }
    Ok(())
}

fn enter(birth: &Birth<'_>) -> rustix::io::Result<()> {
    match (&birth.plan.working_directory, birth.directory) {
        (WorkingDirectory::At(path), _) => chdir(path),
        (WorkingDirectory::Temporary, Some(path)) => chdir(path),
        (WorkingDirectory::Temporary, None) => Err(Errno::NOENT),
    }
}

fn execute(birth: &Birth<'_>) -> Result<Infallible, Cause> {
    let plan = birth.plan;
    let nul = |_: NulError| Cause::ContainsNul;
    let path = CString::new(plan.program.as_os_str().as_bytes()).map_err(nul)?;
    let argv: Vec<_> = plan
        .argv
        .iter()
        .map(|text| CString::new(text.as_bytes()))
        .collect::<Result<_, _>>()
        .map_err(nul)?;
    let environment = environment(birth).map_err(nul)?;

    // What the file is must be known before it is executed: afterwards "not found" may also mean
    // its interpreter.
    let (found, file) = look_at(&path).map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR => Cause::NotFound,
        error => Cause::Os(error.raw_os_error()),
    })?;
    if plan.expect.is_some_and(|expected| expected != found) {
        return Err(Cause::Replaced);
    }
    // The file that was judged is executed itself, whatever becomes of its name meanwhile.
    let judged = plan.expect.and(file);
    let mut error = sys::execute(judged.as_ref().map(AsFd::as_fd), &path, &argv, &environment);
    // A script's interpreter has to open the script by its name (it cannot by a descriptor that is
    // closed by then), so for scripts a moment between check and use remains.
    if judged.is_some() && Errno::from_io_error(&error) == Some(Errno::NOENT) {
        error = sys::execute(None, &path, &argv, &environment);
    }
    Err(match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR) => Cause::NoInterpreter,
        Some(Errno::ACCESS | Errno::ISDIR) => Cause::NotExecutable,
        Some(Errno::NOEXEC) => Cause::UnknownFormat,
        Some(Errno::TOOBIG) => Cause::TooLong,
        _ => Cause::Os(error.raw_os_error().unwrap_or(0)),
    })
}

/// Which file it is, with a hold on it where it can be executed by that.
#[cfg(target_os = "linux")]
fn look_at(path: &CStr) -> rustix::io::Result<(FileId, Option<OwnedFd>)> {
    use rustix::fs::{OFlags, fstat, open};
    let file = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let found = fstat(&file)?;
    let id = FileId {
        dev: found.st_dev,
        ino: found.st_ino,
    };
    Ok((id, Some(file)))
}

#[cfg(not(target_os = "linux"))]
fn look_at(path: &CStr) -> rustix::io::Result<(FileId, Option<OwnedFd>)> {
    let found = rustix::fs::stat(path)?;
    let id = FileId {
        dev: found.st_dev as u64,
        ino: found.st_ino,
    };
    Ok((id, None))
}

/// The strings of the environment. They need no wiping: this process's memory ends with the
/// execution or its failure.
fn environment(birth: &Birth<'_>) -> Result<Vec<CString>, NulError> {
    let own = match (birth.plan.home, birth.directory) {
        (Home::Temporary, Some(path)) => vec![("HOME", path), ("TMPDIR", path)],
        _ => Vec::new(),
    };
    let replaced = |name: &OsStr| own.iter().any(|(own, _)| name == *own);
    let planned = birth
        .plan
        .environment
        .iter()
        .filter(|variable| !replaced(&variable.name));
    let planned =
        planned.map(|variable| [variable.name.as_bytes(), b"=", &variable.value].concat());
    let own = own
        .iter()
        .map(|(name, path)| [name.as_bytes(), b"=", path.as_os_str().as_bytes()].concat());
    planned.chain(own).map(CString::new).collect()
}
