//! The seccomp filter: system calls that no ordinary program needs and that reach around the other
//! layers.
//!
//! What is refused gets an error number, so that programs take another way; a call through a
//! foreign architecture's table, whose numbers mean something else, ends the process.
#![forbid(unsafe_code)]

mod program;

use std::collections::BTreeMap;
use std::io;

use libc::c_long;

use self::program::{Answer, Condition, Program, Rule, Test};
use crate::plan::Network;
use crate::sys;

/// Refused whatever their arguments: they look into other processes, change the view of the file
/// system, get new name spaces or reach parts of the kernel with a long history of holes.
const REFUSED: &[c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_perf_event_open,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// Refused for another process than the caller, where the run has no process namespace that puts
/// others out of reach; with the argument that names the process. The kernel itself asks for no
/// more than the same user.
const OTHERS_ONLY_OWN: &[(c_long, u8)] = &[
    (libc::SYS_prlimit64, 0),
    (libc::SYS_sched_setaffinity, 0),
    (libc::SYS_sched_setscheduler, 0),
    (libc::SYS_sched_setparam, 0),
    (libc::SYS_sched_setattr, 0),
    (libc::SYS_setpriority, 1),
    (libc::SYS_ioprio_set, 1),
    (libc::SYS_migrate_pages, 0),
    (libc::SYS_move_pages, 0),
];

/// The namespaces that `clone` could make (linux/sched.h).
const NEW_NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Calls that give a file a mode, and the argument with it. With a set-user-ID bit others could become
/// whoever owns the file outside: root, where the project is root's. As systemd's
/// `RestrictSUIDSGID=` does.
const MODES: &[(c_long, u8)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1),
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (FCHMODAT2, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
    (libc::SYS_mknodat, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, 1),
];

/// Calls that do so only if they make a file, with the argument that says so before the mode.
const OPENING: &[(c_long, u8)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1),
    (libc::SYS_openat, 2),
];

/// Flags of those that make a file: with a name, and without one. The second comes with another flag
/// (asm-generic/fcntl.h).
const MAKING: u32 = (libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY)).cast_unsigned();

/// Linux 6.6, of the same number on all architectures; not in libc for all of them.
const FCHMODAT2: c_long = 452;

/// Set-user-ID and set-group-ID.
const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;

/// Terminal requests that put input into it, or take it over. The third is not in libc
/// (asm-generic/ioctls.h).
const TERMINAL: [u32; 3] = [libc::TIOCSTI as u32, libc::TIOCSCTTY as u32, 0x541C];

/// The lower bits of a socket's type; above them are flags (linux/net.h).
const SOCKET_TYPE: u32 = 0xf;

/// The types beside stream and datagram: raw, reliable, sequenced, DCCP, and the old way to packet
/// sockets (linux/net.h).
const OTHER_TYPES: [u32; 5] = [3, 4, 5, 6, 10];

/// A compiled filter.
pub(crate) struct Filter(Program);

impl Filter {
    pub(crate) fn new(network: Network, own_processes: bool) -> io::Result<Self> {
        let program = program::compile(&answers(network, own_processes));
        program
            .map(Filter)
            .map_err(|_| io::ErrorKind::Unsupported.into())
    }

    /// For good, for this process and all that it starts.
    pub(crate) fn apply(&self) -> io::Result<()> {
        sys::filter_system_calls(&self.0)
    }
}

fn answers(network: Network, own_processes: bool) -> BTreeMap<u32, Answer> {
    let always = |&call: &c_long| (call, Answer::Refused(libc::EPERM));
    let mut answers: Vec<(c_long, Answer)> = REFUSED.iter().map(always).collect();
    let mut refuse_if = |call, rules| answers.push((call, Answer::RefusedIf(libc::EPERM, rules)));
    if !own_processes {
        for &(call, argument) in OTHERS_ONLY_OWN {
            refuse_if(call, vec![vec![not_among(argument, &[0])]]);
        }
    }
    refuse_if(
        libc::SYS_clone,
        vec![vec![any_of(0, bits(&NEW_NAMESPACES))]],
    );
    refuse_if(libc::SYS_ioctl, vec![vec![among(1, &TERMINAL)]]);
    // Asking for the current one is allowed.
    let other = not_among(0, &[0, u32::MAX]);
    refuse_if(libc::SYS_personality, vec![vec![other]]);
    let readable = vec![
        among(0, &[number(libc::PR_SET_DUMPABLE)]),
        not_among(1, &[0]),
    ];
    refuse_if(libc::SYS_prctl, vec![readable]);
    for &(call, mode) in MODES {
        refuse_if(call, vec![vec![any_of(mode, SET_ID)]]);
    }
    for &(call, flags) in OPENING {
        refuse_if(
            call,
            vec![vec![any_of(flags, MAKING), any_of(flags + 1, SET_ID)]],
        );
    }
    if network == Network::Allow {
        refuse_if(libc::SYS_socket, sockets());
    } else {
        answers.push((libc::SYS_socket, Answer::Refused(libc::EPERM)));
    }
    let unix = not_among(0, &[number(libc::AF_UNIX)]);
    answers.push((
        libc::SYS_socketpair,
        Answer::RefusedIf(libc::EPERM, vec![vec![unix]]),
    ));
    // Their flags are in memory, where no filter can look; programs then take `clone`, `openat`.
    for call in [libc::SYS_clone3, libc::SYS_openat2] {
        answers.push((call, Answer::Refused(libc::ENOSYS)));
    }
    let numbered = |(call, answer)| Some((u32::try_from(call).ok()?, answer));
    answers.into_iter().filter_map(numbered).collect()
}

/// Which sockets are refused where there is a network.
fn sockets() -> Vec<Rule> {
    let [unix, ip4, ip6, netlink] = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ]
    .map(number);
    let [routing, tcp, udp] =
        [libc::NETLINK_ROUTE, libc::IPPROTO_TCP, libc::IPPROTO_UDP].map(number);
    let other_type = Condition {
        argument: 1,
        test: Test::Among(SOCKET_TYPE, OTHER_TYPES.to_vec()),
    };
    vec![
        // vsock, packet, crypto and dozens of rarely looked at families.
        vec![not_among(0, &[unix, ip4, ip6, netlink])],
        // Of netlink only routing, by which the C library lists the machine's addresses.
        vec![among(0, &[netlink]), not_among(2, &[routing])],
        vec![among(0, &[ip4, ip6]), other_type],
        // MPTCP, SCTP, SMC, ICMP and others, to which rules about TCP and UDP do not apply.
        vec![among(0, &[ip4, ip6]), not_among(2, &[0, tcp, udp])],
    ]
}

fn among(argument: u8, values: &[u32]) -> Condition {
    let test = Test::Among(u32::MAX, values.to_vec());
    Condition { argument, test }
}

fn not_among(argument: u8, values: &[u32]) -> Condition {
    let test = Test::NotAmong(values.to_vec());
    Condition { argument, test }
}

fn any_of(argument: u8, bits: u32) -> Condition {
    let test = Test::AnyOf(bits);
    Condition { argument, test }
}

fn bits(flags: &[i32]) -> u32 {
    flags.iter().fold(0, |all, flag| all | number(*flag))
}

fn number(constant: i32) -> u32 {
    constant.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    use libc::{SYS_clone3, SYS_openat2};

    const KILLED: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
    const DENIED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();

    /// What a filter says to a call: an interpreter of what classic BPF it uses (linux/filter.h),
    /// on a struct seccomp_data.
    fn ask(filter: &Filter, architecture: u32, call: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [call, architecture, 0, 0].map(u32::to_ne_bytes).concat();
        data.extend(arguments.map(u64::to_ne_bytes).concat());
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let one = &filter.0[at];
            at += 1;
            let jump = |holds| usize::from(if holds { one.jt } else { one.jf });
            match u32::from(one.code) {
                0x20 => {
                    let from = one.k as usize;
                    accumulator = u32::from_ne_bytes(data[from..from + 4].try_into().unwrap());
                }
                0x54 => accumulator &= one.k,
                0x05 => at += one.k as usize,
                0x15 => at += jump(accumulator == one.k),
                0x35 => at += jump(accumulator >= one.k),
                0x45 => at += jump(accumulator & one.k != 0),
                0x06 => return one.k,
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    fn native() -> u32 {
        match std::env::consts::ARCH {
            "x86_64" => 0xC000_003E,
            "aarch64" => 0xC000_00B7,
            other => panic!("no number for {other}"),
        }
    }

    fn judge(network: Network, own: bool, call: c_long, arguments: &[i64]) -> u32 {
        let filter = Filter::new(network, own).unwrap();
        let mut all = [0; 6];
        for (place, value) in all.iter_mut().zip(arguments) {
            *place = u64::from_ne_bytes(value.to_ne_bytes());
        }
        ask(&filter, native(), u32::try_from(call).unwrap(), all)
    }

    #[test]
    fn every_call_gets_the_answer_of_its_own_rules() {
        /// `BPF_MAXINSNS` of linux/bpf_common.h.
        const INSTRUCTIONS_MAX: usize = 4096;
        for network in [Network::Allow, Network::None] {
            for own in [true, false] {
                let answers = answers(network, own);
                let filter = Filter::new(network, own).unwrap();
                assert!(filter.0.len() < INSTRUCTIONS_MAX);
                for call in 0..700 {
                    let expected = match answers.get(&call) {
                        _ if [SYS_clone3, SYS_openat2].contains(&call.into()) => UNKNOWN,
                        Some(Answer::Refused(_)) => DENIED,
                        Some(Answer::RefusedIf(..)) => continue,
                        None => ALLOWED,
                    };
                    assert_eq!(ask(&filter, native(), call, [0; 6]), expected, "{call}");
                }
            }
        }
    }

    #[test]
    fn a_foreign_architecture_ends_the_process() {
        let filter = Filter::new(Network::Allow, true).unwrap();
        // i386, and the x32 table, whose numbers are the native ones with a bit set.
        for call in [1, 20, 359] {
            assert_eq!(ask(&filter, 0x4000_0003, call, [0; 6]), KILLED);
            if let Some(bit) = program::X32 {
                assert_eq!(ask(&filter, native(), bit | call, [0; 6]), KILLED);
            }
        }
    }

    #[test]
    fn arguments_decide_where_they_should() {
        use libc::*;
        let allow = |call, arguments: &[i64]| judge(Network::Allow, true, call, arguments);
        let none = |call, arguments: &[i64]| judge(Network::None, true, call, arguments);
        let socket =
            |family: c_int, kind: c_int, protocol: c_int| [family, kind, protocol].map(i64::from);
        let flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
        for (family, kind, protocol, expected) in [
            (AF_INET, SOCK_STREAM, 0, ALLOWED),
            (AF_INET6, SOCK_DGRAM | flags, IPPROTO_UDP, ALLOWED),
            (AF_UNIX, SOCK_SEQPACKET | flags, 0, ALLOWED),
            (AF_NETLINK, SOCK_RAW | flags, NETLINK_ROUTE, ALLOWED),
            (AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG, DENIED),
            (AF_INET, SOCK_RAW, IPPROTO_ICMP, DENIED),
            (AF_INET6, SOCK_RAW | flags, IPPROTO_ICMPV6, DENIED),
            (AF_INET, 10, 0, DENIED),
            (AF_INET, SOCK_STREAM, IPPROTO_MPTCP, DENIED),
            (AF_INET6, SOCK_SEQPACKET, IPPROTO_SCTP, DENIED),
            (AF_PACKET, SOCK_DGRAM, 0, DENIED),
            (AF_VSOCK, SOCK_STREAM, 0, DENIED),
            (AF_ALG, SOCK_SEQPACKET, 0, DENIED),
        ] {
            let arguments = socket(family, kind, protocol);
            assert_eq!(allow(SYS_socket, &arguments), expected, "{arguments:?}");
            assert_eq!(none(SYS_socket, &arguments), DENIED, "{arguments:?}");
        }
        // The kernel does not look at the upper half of these arguments either.
        let wide = [i64::from(AF_VSOCK) | 1 << 32, 1, 0];
        assert_eq!(allow(SYS_socket, &wide), DENIED);
        assert_eq!(
            none(SYS_socketpair, &socket(AF_UNIX, SOCK_STREAM, 0)),
            ALLOWED
        );
        assert_eq!(
            none(SYS_socketpair, &socket(AF_INET, SOCK_STREAM, 0)),
            DENIED
        );

        assert_eq!(allow(SYS_clone, &[i64::from(SIGCHLD)]), ALLOWED);
        let thread = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_FILES;
        assert_eq!(allow(SYS_clone, &[i64::from(thread)]), ALLOWED);
        assert_eq!(
            allow(SYS_clone, &[i64::from(CLONE_NEWUSER | SIGCHLD)]),
            DENIED
        );
        assert_eq!(
            allow(SYS_clone, &[i64::from(CLONE_NEWNET | thread)]),
            DENIED
        );

        assert_eq!(allow(SYS_ioctl, &[0, 0x5401]), ALLOWED);
        for request in TERMINAL {
            let request = i64::from(request);
            assert_eq!(allow(SYS_ioctl, &[0, request]), DENIED);
            assert_eq!(allow(SYS_ioctl, &[0, request | 1 << 40]), DENIED);
        }
        for (persona, expected) in [(0, ALLOWED), (0xffff_ffff, ALLOWED), (0x004_0000, DENIED)] {
            assert_eq!(allow(SYS_personality, &[persona]), expected);
        }
        for &(call, argument) in MODES {
            for (mode, expected) in [(0o755, ALLOWED), (0o4755, DENIED), (0o2000, DENIED)] {
                let mut arguments = [0; 6];
                arguments[usize::from(argument)] = mode;
                assert_eq!(allow(call, &arguments), expected, "{call} {mode:o}");
            }
        }
        for &(call, flags) in OPENING {
            for (how, mode, expected) in [
                (O_RDONLY, 0o4755, ALLOWED),
                (O_CREAT | O_WRONLY, 0o755, ALLOWED),
                (O_CREAT | O_WRONLY, 0o4755, DENIED),
                (O_TMPFILE | O_RDWR, 0o2755, DENIED),
                (O_TMPFILE | O_RDWR, 0o600, ALLOWED),
            ] {
                let mut arguments = [0; 6];
                arguments[usize::from(flags)] = i64::from(how);
                arguments[usize::from(flags) + 1] = mode;
                assert_eq!(allow(call, &arguments), expected, "{how:o} {mode:o}");
            }
        }
        let dumpable = i64::from(PR_SET_DUMPABLE);
        assert_eq!(allow(SYS_prctl, &[dumpable, 0]), ALLOWED);
        assert_eq!(allow(SYS_prctl, &[dumpable, 1]), DENIED);
        assert_eq!(allow(SYS_prctl, &[i64::from(PR_SET_NAME), 1]), ALLOWED);

        for &(call, argument) in OTHERS_ONLY_OWN {
            let mut other = [0; 6];
            other[usize::from(argument)] = 42;
            assert_eq!(judge(Network::Allow, true, call, &other), ALLOWED);
            assert_eq!(judge(Network::Allow, false, call, &other), DENIED);
            assert_eq!(judge(Network::Allow, false, call, &[0; 6]), ALLOWED);
        }
    }
}
