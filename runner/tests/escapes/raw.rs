//! System calls that no library offers as safe functions, made with arguments that are harmless
//! whatever the kernel answers.
#![allow(
    unsafe_code,
    reason = "the attacks that only a bare system call can make"
)]

use std::ffi::{c_int, c_long};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libc::{self as c, CLONE_FS, CLONE_NEWUSER};

/// An address that nothing can be read from or written to.
const NOWHERE: c_long = 1;

/// A descriptor that cannot be open.
const CLOSED: c_long = -1;

/// Number and arguments of one call.
type Call = (&'static str, c_long, [c_long; 5]);

/// Calls that the jail forbids. With these arguments each fails, or changes nothing but this
/// process: pointers point nowhere, descriptors are closed, process numbers and commands do not
/// exist.
pub(crate) const FORBIDDEN: &[Call] = &[
    ("ptrace", c::SYS_ptrace, [9999, 0, 0, 0, 0]),
    ("process_vm_readv", c::SYS_process_vm_readv, [0; 5]),
    ("process_vm_writev", c::SYS_process_vm_writev, [0; 5]),
    ("pidfd_getfd", c::SYS_pidfd_getfd, [CLOSED, 0, 0, 0, 0]),
    ("kcmp", c::SYS_kcmp, [0, 0, 99, 0, 0]),
    (
        "perf_event_open",
        c::SYS_perf_event_open,
        [NOWHERE, 0, 0, CLOSED, 0],
    ),
    ("bpf", c::SYS_bpf, [9999, NOWHERE, 0, 0, 0]),
    ("userfaultfd", c::SYS_userfaultfd, [1 << 30, 0, 0, 0, 0]),
    (
        "io_uring_setup",
        c::SYS_io_uring_setup,
        [1, NOWHERE, 0, 0, 0],
    ),
    (
        "io_uring_enter",
        c::SYS_io_uring_enter,
        [CLOSED, 0, 0, 0, 0],
    ),
    (
        "io_uring_register",
        c::SYS_io_uring_register,
        [CLOSED, 0, 0, 0, 0],
    ),
    ("add_key", c::SYS_add_key, [NOWHERE, 0, 0, 0, 0]),
    ("request_key", c::SYS_request_key, [NOWHERE, 0, 0, 0, 0]),
    ("keyctl", c::SYS_keyctl, [9999, 0, 0, 0, 0]),
    ("mount", c::SYS_mount, [NOWHERE, NOWHERE, NOWHERE, 0, 0]),
    ("umount2", c::SYS_umount2, [NOWHERE, 0, 0, 0, 0]),
    ("pivot_root", c::SYS_pivot_root, [NOWHERE, NOWHERE, 0, 0, 0]),
    ("chroot", c::SYS_chroot, [NOWHERE, 0, 0, 0, 0]),
    ("fsopen", c::SYS_fsopen, [NOWHERE, 0, 0, 0, 0]),
    ("fsconfig", c::SYS_fsconfig, [CLOSED, 0, 0, 0, 0]),
    ("fsmount", c::SYS_fsmount, [CLOSED, 0, 0, 0, 0]),
    ("fspick", c::SYS_fspick, [CLOSED, NOWHERE, 0, 0, 0]),
    ("open_tree", c::SYS_open_tree, [CLOSED, NOWHERE, 0, 0, 0]),
    (
        "move_mount",
        c::SYS_move_mount,
        [CLOSED, NOWHERE, CLOSED, NOWHERE, 0],
    ),
    (
        "mount_setattr",
        c::SYS_mount_setattr,
        [CLOSED, NOWHERE, 0, NOWHERE, 32],
    ),
    ("unshare", c::SYS_unshare, [0; 5]),
    ("setns", c::SYS_setns, [CLOSED, 0, 0, 0, 0]),
    // The two flags exclude each other.
    (
        "clone",
        c::SYS_clone,
        [(CLONE_NEWUSER | CLONE_FS) as c_long, 0, 0, 0, 0],
    ),
    ("clone3", c::SYS_clone3, [NOWHERE, 0, 0, 0, 0]),
    (
        "open_by_handle_at",
        c::SYS_open_by_handle_at,
        [CLOSED, NOWHERE, 0, 0, 0],
    ),
    ("kexec_load", c::SYS_kexec_load, [0, 9999, NOWHERE, 0, 0]),
    (
        "kexec_file_load",
        c::SYS_kexec_file_load,
        [CLOSED, CLOSED, 0, NOWHERE, 0],
    ),
    (
        "init_module",
        c::SYS_init_module,
        [NOWHERE, 1, NOWHERE, 0, 0],
    ),
    (
        "finit_module",
        c::SYS_finit_module,
        [CLOSED, NOWHERE, 0, 0, 0],
    ),
    ("delete_module", c::SYS_delete_module, [NOWHERE, 0, 0, 0, 0]),
    ("reboot", c::SYS_reboot, [0; 5]),
    ("swapon", c::SYS_swapon, [NOWHERE, 0, 0, 0, 0]),
    ("swapoff", c::SYS_swapoff, [NOWHERE, 0, 0, 0, 0]),
    ("acct", c::SYS_acct, [NOWHERE, 0, 0, 0, 0]),
    (
        "quotactl",
        c::SYS_quotactl,
        [CLOSED, NOWHERE, 0, NOWHERE, 0],
    ),
    (
        "personality",
        c::SYS_personality,
        [c::ADDR_NO_RANDOMIZE as c_long, 0, 0, 0, 0],
    ),
    (
        "prctl",
        c::SYS_prctl,
        [c::PR_SET_DUMPABLE as c_long, 1, 0, 0, 0],
    ),
    #[cfg(target_arch = "x86_64")]
    ("iopl", c::SYS_iopl, [9999, 0, 0, 0, 0]),
    #[cfg(target_arch = "x86_64")]
    ("ioperm", c::SYS_ioperm, [0, 0, 1, 0, 0]),
];

fn answer(result: c_long) -> io::Result<c_long> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// One of the forbidden calls.
pub(crate) fn forbidden(name: &str) -> io::Result<()> {
    let call = FORBIDDEN.iter().find(|(known, ..)| *known == name);
    let &(_, number, [a, b, c, d, e]) = call.unwrap();
    // SAFETY: see FORBIDDEN: with these arguments no memory is read or written.
    answer(unsafe { libc::syscall(number, a, b, c, d, e, 0) }).map(drop)
}

/// Becomes the tracer of a process, which it does not notice.
pub(crate) fn seize(pid: i32) -> io::Result<()> {
    // SAFETY: the request takes no memory of ours.
    answer(unsafe { c::syscall(c::SYS_ptrace, c::PTRACE_SEIZE, pid, 0, 0) }).map(drop)
}

/// Becomes the tracer of a process, which is stopped by it.
pub(crate) fn attach(pid: i32) -> io::Result<()> {
    // SAFETY: the request takes no memory of ours.
    answer(unsafe { c::syscall(c::SYS_ptrace, c::PTRACE_ATTACH, pid, 0, 0) }).map(drop)
}

/// Whether the memory of another process may be read, asked by reading where nothing is.
pub(crate) fn read_memory(pid: i32) -> io::Result<()> {
    let mut byte = 0_u8;
    let ours = c::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let theirs = c::iovec {
        iov_base: NOWHERE as *mut _,
        iov_len: 1,
    };
    // SAFETY: at most one byte is written, to `byte`, which lives during the call.
    let read = unsafe { c::process_vm_readv(pid, &raw const ours, 1, &raw const theirs, 1, 0) };
    match answer(read as c_long) {
        Err(error) if error.raw_os_error() != Some(c::EFAULT) => Err(error),
        _ => Ok(()),
    }
}

/// Gives a process the I/O priority that it has anyway.
pub(crate) fn set_io_priority(pid: i32) -> io::Result<()> {
    /// `IOPRIO_WHO_PROCESS`
    const PROCESS: c_int = 1;
    // SAFETY: the call takes three integers.
    answer(unsafe { c::syscall(c::SYS_ioprio_set, PROCESS, pid, 0) }).map(drop)
}

/// The session keyring's number, made if there is none.
pub(crate) fn session_keyring() -> io::Result<()> {
    /// `KEYCTL_GET_KEYRING_ID` and `KEY_SPEC_SESSION_KEYRING`
    const CALL: [c_long; 3] = [0, -3, 1];
    // SAFETY: the call takes three integers.
    answer(unsafe { c::syscall(c::SYS_keyctl, CALL[0], CALL[1], CALL[2]) }).map(drop)
}

/// A request to a terminal that reads one byte.
pub(crate) fn terminal_request(fd: impl AsFd, request: c::Ioctl) -> io::Result<()> {
    let byte = b'x';
    // SAFETY: the requests that are made here read one byte, which lives during the call.
    answer(unsafe { c::ioctl(fd.as_fd().as_raw_fd(), request, &raw const byte) }.into()).map(drop)
}

/// An option of a socket that is a number.
pub(crate) fn set_option(fd: impl AsFd, level: c_int, option: c_int) -> io::Result<()> {
    let one: c_int = 1;
    let size = size_of::<c_int>() as c::socklen_t;
    // SAFETY: the kernel reads `size` bytes at `one`, which lives during the call.
    let result = unsafe {
        c::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const one).cast(),
            size,
        )
    };
    answer(result.into()).map(drop)
}

/// socket(AF_INET, SOCK_STREAM, 0) as a 32-bit program calls it.
#[cfg(target_arch = "x86_64")]
pub(crate) fn socket_of_32_bits() -> io::Result<()> {
    let result: i32;
    // SAFETY: the kernel reads the registers and writes only eax; the compiler keeps rbx for
    // itself, so that it is put back. r8 to r11 are not kept on this way into the kernel.
    unsafe {
        std::arch::asm!(
            "xchg {family:r}, rbx",
            "int 0x80",
            "xchg {family:r}, rbx",
            family = inout(reg) 2_u64 => _,
            inout("eax") 359 => result,
            in("ecx") 1,
            in("edx") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    Ok(())
}

/// getpid with the mark of the x32 calls.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_of_x32() -> io::Result<()> {
    // SAFETY: the call takes no argument.
    answer(unsafe { c::syscall(0x4000_0000 | c::SYS_getpid) }).map(drop)
}
