//! The helper program: where it is, whose it is, and the process made of it.
#![forbid(unsafe_code)]

use std::env;
use std::fs;
use std::io::{self, PipeReader, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, Signal, WaitOptions, getegid, geteuid, kill_process, waitpid};

use crate::control::Control;
use crate::outcome::{Cause, Stage, StartError};
use crate::plan::Plan;
use crate::wait::wait_for;
use crate::wire::{Command, Preparation, Request};

/// The helper program's file name.
const HELPER: &str = "secretctl-runner";

/// Bytes an output pipe holds, where the system allows: fewer switches between child and reader.
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 256 << 10;

/// How long a helper that was asked to end the run may take, beyond the plan's grace, before it is
/// killed: much longer than it ever needs on a busy machine.
pub(crate) const WAKE_MAX: Duration = Duration::from_secs(30);

/// In the directory of the running program, or one above for tests and examples of a cargo build.
pub(crate) fn beside_current_exe() -> Result<PathBuf, StartError> {
    let program = env::current_exe().map_err(helper_error)?;
    let mut places: Vec<&Path> = program.parent().into_iter().collect();
    if places
        .iter()
        .any(|place| place.ends_with("deps") || place.ends_with("examples"))
    {
        places.extend(program.parent().and_then(Path::parent));
    }
    let mut paths = places.into_iter().map(|place| place.join(HELPER));
    let helper = paths.find(|path| path.exists());
    let helper = helper.ok_or(StartError::new(Stage::Helper, Cause::NotFound))?;
    check_owner(&helper)?;
    Ok(helper)
}

/// The file must be ours or root's, and nobody else's to change. Write permission for our own group
/// is accepted: it is what umask 002 gives, and it holds for the running program as well.
fn check_owner(helper: &Path) -> Result<(), StartError> {
    let file = fs::metadata(helper).map_err(helper_error)?;
    let owned = file.uid() == 0 || file.uid() == geteuid().as_raw();
    let others_write = file.mode() & 0o002 != 0;
    let group_writes = file.mode() & 0o020 != 0 && file.gid() != getegid().as_raw();
    if file.is_file() && owned && !others_write && !group_writes {
        Ok(())
    } else {
        Err(StartError::new(Stage::Helper, Cause::NotTrusted))
    }
}

/// The helper process and the three descriptors that connect it with us.
pub(crate) struct Helper {
    process: Pid,
    pub(crate) control: Control<UnixStream>,
    pub(crate) stdout: Option<PipeReader>,
    pub(crate) stderr: Option<PipeReader>,
    /// How long the end of the run may take.
    grace: Duration,
    reaped: bool,
}

impl Helper {
    /// `first` is what it does at once. `make` gives the process its standard input, output and error.
    pub(crate) fn start(
        first: &Command,
        make: impl FnOnce(&[OwnedFd; 3]) -> io::Result<Pid>,
    ) -> Result<Self, StartError> {
        let (ours, theirs) = UnixStream::pair().map_err(helper_error)?;
        let (stdout, its_stdout) = pipe().map_err(helper_error)?;
        let (stderr, its_stderr) = pipe().map_err(helper_error)?;
        ours.set_nonblocking(true).map_err(helper_error)?;
        let mut control = Control::new(ours);
        let queued = control.queue(first);
        queued.map_err(|_| StartError::new(Stage::Plan, Cause::TooLarge))?;
        prepare_pipe(&stdout).map_err(helper_error)?;
        prepare_pipe(&stderr).map_err(helper_error)?;
        let its_own = [theirs.into(), its_stdout.into(), its_stderr.into()];
        let process = make(&its_own).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StartError::new(Stage::Helper, Cause::NotFound),
            _ => helper_error(error),
        })?;
        drop(its_own);
        let mut helper = Helper {
            process,
            control,
            stdout: Some(stdout),
            stderr: Some(stderr),
            grace: WAKE_MAX,
            reaped: false,
        };
        helper.control.flush(&mut None).map_err(helper_error)?;
        Ok(helper)
    }

    /// Lets one that was started before this was known prepare.
    pub(crate) fn prepare(&mut self, preparation: &Preparation) -> Result<(), StartError> {
        let queued = self.control.queue(&Command::Prepare(preparation.clone()));
        queued.map_err(|_| StartError::new(Stage::Plan, Cause::TooLarge))?;
        self.control.flush(&mut None).map_err(helper_error)
    }

    /// Puts the plan in line, for a helper that waits for it.
    pub(crate) fn give(&mut self, plan: Plan, stdin: bool) -> Result<(), StartError> {
        self.grace = plan.limits.grace.saturating_add(WAKE_MAX);
        let queued = self.control.queue(&Command::Start(Request { plan, stdin }));
        queued.map_err(|_| StartError::new(Stage::Plan, Cause::TooLarge))
    }

    /// Whether it is still there. One that is not has been waited for.
    pub(crate) fn is_alive(&mut self) -> bool {
        let has_ended = || !matches!(waitpid(Some(self.process), WaitOptions::NOHANG), Ok(None));
        self.reaped = self.reaped || has_ended();
        !self.reaped
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(self.process, signal);
    }

    fn reap(&mut self) {
        self.reaped = waitpid(Some(self.process), WaitOptions::empty()).is_ok();
    }
}

impl Drop for Helper {
    /// On the ways out that are not the end of the run (the receiver of the output panicked): the
    /// end of the socket makes the helper end the run, and it is waited for.
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        let _ = shutdown(self.control.socket(), Shutdown::Write);
        self.stdout = None;
        self.stderr = None;
        let give_up = Instant::now().checked_add(self.grace);
        while self.control.is_open() && give_up.is_none_or(|moment| Instant::now() < moment) {
            let _ = wait_for([Some((self.control.socket(), PollFlags::IN))], give_up);
            if self.control.fill().is_err() {
                break;
            }
        }
        // For one that is ending already this changes nothing.
        self.signal(Signal::KILL);
        self.reap();
    }
}

/// By posix_spawn, whose cost does not depend on our memory: nothing here may ask for more than it can
/// do. From a copy that closes the new process to others from its first moment on, where there can be
/// one.
pub(crate) fn spawn(path: &Path, [stdin, stdout, stderr]: &[OwnedFd; 3]) -> io::Result<Pid> {
    let start = |program: &Path| {
        let process = Program::new(program)
            .arg0(path)
            .env_clear()
            .process_group(0)
            .stdin(Stdio::from(stdin.try_clone()?))
            .stdout(Stdio::from(stdout.try_clone()?))
            .stderr(Stdio::from(stderr.try_clone()?))
            .spawn()?;
        Ok(Pid::from_child(&process))
    };
    #[cfg(target_os = "linux")]
    if let Ok(process) = closed_copy(path).and_then(|copy| start(&copy)) {
        return Ok(process);
    }
    start(path)
}

/// A copy of the program in memory that can be executed and not read. A process made of it cannot be
/// traced by others of the same user, who otherwise could take its socket before it shuts itself off.
/// It is made once for each program, so that a server goes on with the helper of its own version.
#[cfg(target_os = "linux")]
fn closed_copy(path: &Path) -> io::Result<PathBuf> {
    use std::collections::HashMap;
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::sync::{Mutex, PoisonError};

    use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create, open};
    use rustix::io::Errno;

    static COPIES: Mutex<Option<HashMap<PathBuf, OwnedFd>>> = Mutex::new(None);

    // Helper and child inherit it, and could not set it: their files in /proc belong to root. Core
    // handlers that are programs do not heed the limit. The caller holds plans as well.
    let _ = fs::write("/proc/self/coredump_filter", "0");
    let mut copies = COPIES.lock().unwrap_or_else(PoisonError::into_inner);
    let copies = copies.get_or_insert_default();
    if !copies.contains_key(path) {
        let name = c"secretctl-runner";
        let memory = match memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::EXEC) {
            // Before Linux 6.3 that is not asked for.
            Err(Errno::INVAL) => memfd_create(name, MemfdFlags::CLOEXEC)?,
            made => made?,
        };
        let mut memory = File::from(memory);
        io::copy(&mut File::open(path)?, &mut memory)?;
        fchmod(&memory, Mode::from_raw_mode(0o111))?;
        // One that is open for writing cannot be executed.
        let name = format!("/proc/self/fd/{}", memory.as_raw_fd());
        let copy = open(name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        copies.insert(path.to_owned(), copy);
    }
    match copies.get(path) {
        Some(copy) => Ok(format!("/proc/self/fd/{}", copy.as_raw_fd()).into()),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

fn prepare_pipe(pipe: impl AsFd) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    // Refused when the user has many large pipes already; the default size works as well.
    let _ = rustix::pipe::fcntl_setpipe_size(&pipe, PIPE_BYTES);
    Ok(fcntl_setfl(&pipe, fcntl_getfl(&pipe)? | OFlags::NONBLOCK)?)
}

/// Where the temporary directory may be made: in memory if possible. The helper checks what they
/// are.
pub(crate) fn bases() -> Vec<PathBuf> {
    let named = |name| env::var_os(name).map(PathBuf::from);
    [
        named("XDG_RUNTIME_DIR"),
        Some("/dev/shm".into()),
        named("TMPDIR"),
        Some("/tmp".into()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn helper_error(error: io::Error) -> StartError {
    StartError::os(Stage::Helper, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_a_file_that_nobody_else_can_change_is_trusted() {
        let path = env::temp_dir().join(format!("helper-owner-{}", std::process::id()));
        fs::write(&path, "").unwrap();
        let trusted = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            check_owner(&path)
        };
        let refusal = Err(StartError::new(Stage::Helper, Cause::NotTrusted));
        assert_eq!(trusted(0o755), Ok(()));
        assert_eq!(trusted(0o757), refusal);
        assert_eq!(trusted(0o722), refusal);
        // The group is our own.
        assert_eq!(trusted(0o775), Ok(()));
        fs::remove_file(&path).unwrap();
        assert_eq!(check_owner(&env::temp_dir()), refusal);
    }
}
