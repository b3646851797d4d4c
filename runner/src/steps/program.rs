//! The program itself: standard input, working directory, environment, and the file that was
//! judged.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::ffi::{CStr, CString, NulError, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::chdir;
use rustix::stdio::dup2_stdin;

use crate::outcome::Cause;
use crate::plan::{FileId, Plan, WorkingDirectory};
use crate::sys;

pub(crate) fn set_stdin(stdin: Option<OwnedFd>) -> io::Result<()> {
    match stdin {
        Some(stdin) => dup2_stdin(stdin)?,
        None => dup2_stdin(File::open("/dev/null")?)?,
    }
    Ok(())
}

/// `own` is the run's directory as the program sees it, if it has one.
pub(crate) fn enter(plan: &Plan, own: Option<&Path>) -> rustix::io::Result<()> {
    match (&plan.working_directory, own) {
        (WorkingDirectory::At(path), _) => chdir(path),
        (WorkingDirectory::Temporary, Some(path)) => chdir(path),
        (WorkingDirectory::Temporary, None) => Err(Errno::NOENT),
    }
}

/// Becomes the program; returns only if that failed.
pub(crate) fn execute(plan: &Plan, own: Option<&Path>) -> Result<Infallible, Cause> {
    let path = c_string(plan.program.as_os_str())?;
    let argv = plan.argv.iter().map(|text| c_string(text));
    let argv: Vec<_> = argv.collect::<Result<_, _>>()?;
    let environment = environment(plan, own).map_err(|_| Cause::ContainsNul)?;
    // What the file is must be known before it is executed: afterwards "not found" may also mean
    // its interpreter.
    let (found, file) = look_at(&path)?;
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

fn c_string(text: &OsStr) -> Result<CString, Cause> {
    CString::new(text.as_bytes()).map_err(|_| Cause::ContainsNul)
}

/// Which file it is, with a hold on it where it can be executed by that.
fn look_at(path: &CStr) -> Result<(FileId, Option<OwnedFd>), Cause> {
    open_path(path).map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR => Cause::NotFound,
        error => Cause::Os(error.raw_os_error()),
    })
}

#[cfg(target_os = "linux")]
fn open_path(path: &CStr) -> rustix::io::Result<(FileId, Option<OwnedFd>)> {
    use rustix::fs::{OFlags, fstat, open};
    let file = open(
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let found = fstat(&file)?;
    let id = FileId {
        dev: found.st_dev,
        ino: found.st_ino,
    };
    Ok((id, Some(file)))
}

#[cfg(not(target_os = "linux"))]
fn open_path(path: &CStr) -> rustix::io::Result<(FileId, Option<OwnedFd>)> {
    let found = rustix::fs::stat(path)?;
    let id = FileId {
        dev: found.st_dev as u64,
        ino: found.st_ino,
    };
    Ok((id, None))
}

/// The strings of the environment. They need no wiping: this process's memory ends with the
/// execution or its failure.
fn environment(plan: &Plan, own: Option<&Path>) -> Result<Vec<CString>, NulError> {
    let own = match own {
        Some(path) if plan.has_own_home() => vec![("HOME", path), ("TMPDIR", path)],
        _ => Vec::new(),
    };
    let replaced = |name: &OsStr| own.iter().any(|(own, _)| name == *own);
    let planned = plan
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
