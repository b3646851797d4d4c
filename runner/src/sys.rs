//! All the `unsafe` of this crate: system calls which rustix does not have, as functions that are
//! safe in the single-threaded helper.
#![allow(unsafe_code, reason = "the one file of this crate that may")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::ptr;

use rustix::process::{Pid, Resource, Signal, getrlimit};

#[cfg(target_os = "linux")]
pub(crate) use linux::*;

/// Highest signal number there is on the platforms we know.
const SIGNAL_MAX: c_int = 64;

/// Descriptors looked at, at most, where the kernel has no close_range: more cannot be open on
/// usual systems.
const DESCRIPTORS_MAX: u64 = 1 << 16;

/// Makes a second process; `None` is said to the new one, which must not return from what it does
/// next.
///
/// The helper has one thread, so that the new process may go on as ordinary Rust.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: fork itself has no precondition. What restricts the new process, locks held by other
    // threads, cannot happen: this crate starts no thread, and `jail::main` is all that the helper
    // program runs.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Ends this process at once, without destructors and exit handlers, which belong to the process it
/// was forked from.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no precondition.
    unsafe { libc::_exit(code) }
}

/// All signals do what they do by default, and none is blocked.
pub(crate) fn reset_signals() {
    for number in 1..=SIGNAL_MAX {
        default_disposition(number);
    }
    // SAFETY: sigset_t is a plain bit set, for which zero is a value; sigemptyset makes it the
    // empty one.
    let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `none` lives during both calls; the old set is not asked for.
    unsafe {
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
    }
}

/// Past the C library, which keeps two signals to itself, and would pass them on ignored if the
/// caller had them so. The numbers that cannot be set (KILL, STOP) are refused by an error, which
/// changes nothing.
#[cfg(target_os = "linux")]
fn default_disposition(number: c_int) {
    /// Bytes of the kernel's signal set, which must be told.
    const SET_BYTES: usize = SIGNAL_MAX as usize / 8;
    /// At least as large as the kernel's struct on any architecture, whose fields are all zero:
    /// SIG_DFL, no flags, nothing blocked.
    const DEFAULT: [u64; 8] = [0; 8];
    // SAFETY: the kernel reads a struct no larger than DEFAULT; the old disposition is not asked
    // for.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            DEFAULT.as_ptr(),
            ptr::null_mut::<u64>(),
            SET_BYTES,
        )
    };
}

#[cfg(not(target_os = "linux"))]
fn default_disposition(number: c_int) {
    // SAFETY: SIG_DFL is a valid disposition; numbers that cannot be set are refused by an error.
    unsafe { libc::signal(number, libc::SIG_DFL) };
}

/// This process does not react to the signal any more.
pub(crate) fn ignore_signal(signal: Signal) {
    // SAFETY: SIG_IGN is a valid disposition and runs no code of ours.
    unsafe { libc::signal(signal.as_raw(), libc::SIG_IGN) };
}

/// What becomes of the descriptors above 2.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Above2 {
    /// Closed at once. Only for the first moments of the program, when no value owns one of them.
    Close,
    /// Closed when another program is executed.
    CloseOnExec,
}

/// Treats all descriptors above 2.
pub(crate) fn descriptors_above_2(what: Above2) {
    #[cfg(target_os = "linux")]
    {
        let flags = if what == Above2::CloseOnExec {
            libc::CLOSE_RANGE_CLOEXEC
        } else {
            0
        };
        // SAFETY: the call takes three integers. Marking is harmless to owners; closing is only
        // asked for before there are owners, see `Above2::Close`.
        if unsafe { libc::syscall(libc::SYS_close_range, 3, c_int::MAX, flags) } == 0 {
            return;
        }
    }
    let highest = getrlimit(Resource::Nofile)
        .maximum
        .unwrap_or(u64::MAX)
        .min(DESCRIPTORS_MAX);
    for number in 3..c_int::try_from(highest).unwrap_or(c_int::MAX) {
        // SAFETY: as above; numbers that are not open are refused by an error.
        unsafe {
            match what {
                Above2::Close => libc::close(number),
                Above2::CloseOnExec => libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC),
            }
        };
    }
}

/// Takes one capability from the bounding set: false when the kernel knows no capability of this
/// number.
#[cfg(target_os = "linux")]
pub(crate) fn drop_bounding_capability(number: u8) -> io::Result<bool> {
    // SAFETY: this prctl takes an integer and touches no memory.
    if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        error => Err(error),
    }
}

/// Becomes another program; returns only if that failed. With a descriptor it is this very file
/// that is executed (Linux), otherwise the one that stands at `path`.
pub(crate) fn execute(
    file: Option<BorrowedFd<'_>>,
    path: &CStr,
    argv: &[CString],
    environment: &[CString],
) -> io::Error {
    let argv = null_terminated(argv);
    let environment = null_terminated(environment);
    #[cfg(target_os = "linux")]
    if let Some(file) = file {
        // SAFETY: `file` is open, the path is a C string, both lists end in a null pointer, and all
        // pointers in them are C strings borrowed until this function returns.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                file.as_raw_fd(),
                c"".as_ptr(),
                argv.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
        return io::Error::last_os_error();
    }
    #[cfg(not(target_os = "linux"))]
    let _ = file;
    // SAFETY: the path is a C string, both lists end in a null pointer, and all pointers in them
    // are C strings borrowed until this function returns.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

fn null_terminated(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

#[cfg(target_os = "macos")]
unsafe extern "C" {
    fn sandbox_init(profile: *const c_char, flags: u64, error: *mut *mut c_char) -> c_int;
    fn sandbox_free_error(error: *mut c_char);
}

/// Puts the profile on this process and all it will start, for good. Refused when the profile is
/// not understood, or when this process is in a sandbox already.
#[cfg(target_os = "macos")]
pub(crate) fn enter_sandbox(profile: &CStr) -> io::Result<()> {
    let mut message = ptr::null_mut();
    // SAFETY: `profile` is a C string; flags of 0 say that it is the text of a profile; `message`
    // is a place for one pointer. The call keeps none of them.
    if unsafe { sandbox_init(profile.as_ptr(), 0, &mut message) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if !message.is_null() {
        // SAFETY: the failed call made this string for its caller, and it is not used again.
        unsafe { sandbox_free_error(message) };
    }
    Err(error)
}

/// A descriptor that becomes readable when the child process ends.
#[cfg(not(target_os = "linux"))]
pub(crate) fn watch_exit(pid: Pid) -> rustix::io::Result<std::os::fd::OwnedFd> {
    use rustix::event::kqueue::{
        Event, EventFilter, EventFlags, ProcessEvents, kevent_timespec, kqueue,
    };

    let queue = kqueue()?;
    let filter = EventFilter::Proc {
        pid,
        flags: ProcessEvents::EXIT,
    };
    let event = Event::new(filter, EventFlags::ADD, ptr::null_mut());
    let mut none: [Event; 0] = [];
    // SAFETY: the filter names a process and no descriptor, so no descriptor has to outlive the
    // queue.
    unsafe { kevent_timespec(&queue, &[event], &mut none, None)? };
    Ok(queue)
}

/// A descriptor that becomes readable when the child process ends.
#[cfg(target_os = "linux")]
pub(crate) fn watch_exit(pid: Pid) -> rustix::io::Result<std::os::fd::OwnedFd> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
}

/// What only Linux has.
#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
    use std::ptr;

    use libc::{c_int, c_long, c_uint};
    use rustix::process::Pid;

    /// Like [`fork`](super::fork), the new process in namespaces of its own (`CLONE_NEW*`).
    pub(crate) fn clone(namespaces: c_int) -> io::Result<Option<Pid>> {
        let flags = c_long::from(namespaces | libc::SIGCHLD);
        // SAFETY: without a stack and without shared memory this is a fork, see there. The C library
        // does not learn of it, which matters to programs with threads only.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        match c_int::try_from(pid) {
            Ok(pid) if pid >= 0 => Ok(Pid::from_raw(pid)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Goes into a new user namespace within the one in which this process is.
    pub(crate) fn new_user_namespace() -> io::Result<()> {
        // SAFETY: the call takes an integer, and with this flag touches neither memory nor descriptors.
        match unsafe { libc::unshare(libc::CLONE_NEWUSER) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// What a mount allows. Set-user-ID files never have an effect.
    #[derive(Clone, Copy)]
    pub(crate) struct MountAttributes {
        pub(crate) read_only: bool,
        pub(crate) devices: bool,
    }

    /// Restricts a mount that is not attached yet, and all below it (Linux 5.12).
    pub(crate) fn set_mount_attributes(
        tree: BorrowedFd<'_>,
        attributes: MountAttributes,
    ) -> io::Result<()> {
        let mut set = libc::MOUNT_ATTR_NOSUID;
        if attributes.read_only {
            set |= libc::MOUNT_ATTR_RDONLY;
        }
        if !attributes.devices {
            set |= libc::MOUNT_ATTR_NODEV;
        }
        mount_setattr(tree, set, None)
    }

    /// Maps users and groups of a mount that is not attached yet by those of a user namespace.
    pub(crate) fn map_mount(tree: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> io::Result<()> {
        mount_setattr(tree, libc::MOUNT_ATTR_IDMAP, Some(namespace))
    }

    fn mount_setattr(
        tree: BorrowedFd<'_>,
        set: u64,
        namespace: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let attributes = libc::mount_attr {
            attr_set: set,
            attr_clr: 0,
            propagation: 0,
            userns_fd: namespace.map_or(0, |fd| fd.as_raw_fd().unsigned_abs().into()),
        };
        // SAFETY: the descriptors are open, the path is a C string, and the kernel reads a struct of
        // the size that it is told.
        let done = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                tree.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
                &raw const attributes,
                size_of::<libc::mount_attr>(),
            )
        };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Puts a filter on this process and all that it starts, for good.
    pub(crate) fn filter_system_calls(program: &[libc::sock_filter]) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
            // The kernel only reads it.
            filter: program.as_ptr().cast_mut(),
        };
        // SAFETY: the kernel reads the struct and as many instructions as it says there are, which live
        // until the call returns.
        let done = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const program,
            )
        };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// A descriptor that becomes readable when a child has ended, instead of a signal.
    pub(crate) fn child_signals() -> io::Result<OwnedFd> {
        // SAFETY: sigset_t is a plain bit set, for which zero is a value; it lives during the calls,
        // which fill it, block what is in it, and make a new descriptor that nobody else owns.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGCHLD);
            libc::sigprocmask(libc::SIG_BLOCK, &set, ptr::null_mut());
            match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(OwnedFd::from_raw_fd(fd)),
            }
        }
    }

    /// Takes what made such a descriptor readable. Signals of the same kind count as one.
    pub(crate) fn take_signal(signals: &OwnedFd) {
        let mut taken = [0; size_of::<libc::signalfd_siginfo>()];
        // One signal at most is waiting; if it is not there any more, somebody looks once too often.
        let _ = rustix::io::read(signals, &mut taken);
    }

    /// For the first process of a process namespace: kills every other process in it, and says
    /// whether there was any.
    pub(crate) fn kill_everybody_else() -> bool {
        // SAFETY: a signal to all that this process may signal, which in a process namespace of its
        // own is all that it can see; it touches no memory.
        unsafe { libc::getpid() == 1 && libc::kill(-1, libc::SIGKILL) == 0 }
    }

    /// The kernel's version of Landlock; 0 where it has none or it is switched off.
    pub(crate) fn landlock_version() -> u32 {
        /// `LANDLOCK_CREATE_RULESET_VERSION` of linux/landlock.h.
        const VERSION: c_uint = 1;
        let none = ptr::null::<u8>();
        // SAFETY: with this flag the kernel takes no pointer.
        let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, VERSION) };
        u32::try_from(version).unwrap_or(0)
    }

    /// Whether the kernel has filters of system calls that can end a process (Linux 4.14).
    pub(crate) fn has_system_call_filters() -> bool {
        let action = libc::SECCOMP_RET_KILL_PROCESS;
        // SAFETY: the kernel reads one integer.
        let available = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_GET_ACTION_AVAIL,
                0,
                &raw const action,
            )
        };
        available == 0
    }
}
