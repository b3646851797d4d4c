//! The seccomp filter: system calls that no ordinary program needs and that reach around the other
//! layers.
//!
//! What is refused gets an error number, so that programs take another way; a call through a
//! foreign architecture's table, whose numbers mean something else, ends the process.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter, sock_filter,
};

use crate::plan::Network;

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
const MAKING: [u64; 2] = [
    libc::O_CREAT as u64,
    (libc::O_TMPFILE & !libc::O_DIRECTORY) as u64,
];

/// Linux 6.6, of the same number on all architectures; not in libc for all of them.
const FCHMODAT2: c_long = 452;

/// Set-user-ID and set-group-ID.
const SET_ID: [u64; 2] = [libc::S_ISUID as u64, libc::S_ISGID as u64];

/// Terminal requests that put input into it, or take it over. The third is not in libc
/// (asm-generic/ioctls.h).
const TERMINAL: [u64; 3] = [libc::TIOCSTI, libc::TIOCSCTTY, 0x541C];

/// The lower bits of a socket's type; above them are flags (linux/net.h).
const SOCKET_TYPE: u64 = 0xf;

/// The types beside stream and datagram: raw, reliable, sequenced, DCCP, and the old way to packet
/// sockets (linux/net.h).
const OTHER_TYPES: [u64; 5] = [3, 4, 5, 6, 10];

/// Bit of the numbers of the x32 table, which shares the architecture number with the native one.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A compiled filter.
pub(crate) struct Filter {
    programs: Vec<BpfProgram>,
}

impl Filter {
    pub(crate) fn new(network: Network, own_processes: bool) -> Result<Self, Error> {
        let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
        let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let refused = rules(network, own_processes)?;
        // Their flags are in memory, where no filter can look; programs then take `clone`, `openat`.
        let unknown = [libc::SYS_clone3, libc::SYS_openat2];
        let unknown = unknown.into_iter().map(|call| (call, Vec::new())).collect();
        let unsupported = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        let mut programs = Vec::new();
        for (rules, action) in [(refused, denied), (unknown, unsupported)] {
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture)?;
            let mut program = x32_guard();
            program.extend(BpfProgram::try_from(filter)?);
            programs.push(program);
        }
        Ok(Filter { programs })
    }

    /// For good, for this process and all that it starts.
    pub(crate) fn apply(&self) -> Result<(), Error> {
        self.programs
            .iter()
            .try_for_each(|program| apply_filter(program))
    }
}

fn rules(network: Network, own_processes: bool) -> Result<Rules, Error> {
    let mut rules: Rules = REFUSED.iter().map(|&call| (call, Vec::new())).collect();
    if !own_processes {
        for &(call, argument) in OTHERS_ONLY_OWN {
            rules.insert(call, vec![rule(&[(argument, Op::Ne, 0)])?]);
        }
    }
    let clone = NEW_NAMESPACES.map(|flag| {
        let flag = u64::from(flag.unsigned_abs());
        rule(&[(0, Op::MaskedEq(flag), flag)])
    });
    rules.insert(
        libc::SYS_clone,
        clone.into_iter().collect::<Result<_, _>>()?,
    );
    let terminal = TERMINAL.map(|request| rule(&[(1, Op::Eq, request)]));
    rules.insert(
        libc::SYS_ioctl,
        terminal.into_iter().collect::<Result<_, _>>()?,
    );
    // Asking for the current one is allowed.
    let other = rule(&[(0, Op::Ne, 0), (0, Op::Ne, u64::from(u32::MAX))])?;
    rules.insert(libc::SYS_personality, vec![other]);
    let readable = rule(&[
        (0, Op::Eq, libc::PR_SET_DUMPABLE.unsigned_abs().into()),
        (1, Op::Ne, 0),
    ])?;
    rules.insert(libc::SYS_prctl, vec![readable]);
    for &(call, argument) in MODES {
        let bits = SET_ID.map(|bit| rule(&[(argument, Op::MaskedEq(bit), bit)]));
        rules.insert(call, bits.into_iter().collect::<Result<_, _>>()?);
    }
    for &(call, flags) in OPENING {
        let mut refused = Vec::new();
        for making in MAKING {
            for bit in SET_ID {
                refused.push(rule(&[
                    (flags, Op::MaskedEq(making), making),
                    (flags + 1, Op::MaskedEq(bit), bit),
                ])?);
            }
        }
        rules.insert(call, refused);
    }
    rules.insert(libc::SYS_socket, sockets(network)?);
    let unix = number(libc::AF_UNIX);
    rules.insert(libc::SYS_socketpair, vec![rule(&[(0, Op::Ne, unix)])?]);
    Ok(rules)
}

/// Which sockets are refused; none listed means all.
fn sockets(network: Network) -> Result<Vec<SeccompRule>, Error> {
    let [unix, ip4, ip6, netlink] = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ]
    .map(number);
    if network == Network::None {
        return Ok(Vec::new());
    }
    let mut refused = vec![
        // vsock, packet, crypto and dozens of rarely looked at families.
        rule(&[
            (0, Op::Ne, unix),
            (0, Op::Ne, ip4),
            (0, Op::Ne, ip6),
            (0, Op::Ne, netlink),
        ])?,
        // Of netlink only routing, by which the C library lists the machine's addresses.
        rule(&[
            (0, Op::Eq, netlink),
            (2, Op::Ne, number(libc::NETLINK_ROUTE)),
        ])?,
    ];
    for family in [ip4, ip6] {
        for kind in OTHER_TYPES {
            refused.push(rule(&[
                (0, Op::Eq, family),
                (1, Op::MaskedEq(SOCKET_TYPE), kind),
            ])?);
        }
        // MPTCP, SCTP, SMC, ICMP and others, to which rules about TCP and UDP do not apply.
        refused.push(rule(&[
            (0, Op::Eq, family),
            (2, Op::Ne, 0),
            (2, Op::Ne, number(libc::IPPROTO_TCP)),
            (2, Op::Ne, number(libc::IPPROTO_UDP)),
        ])?);
    }
    Ok(refused)
}

fn number(constant: i32) -> u64 {
    constant.unsigned_abs().into()
}

/// All of the conditions: argument, comparison, value. The kernel looks at the lower 32 bits of
/// these arguments only, so the filter does the same.
fn rule(conditions: &[(u8, Op, u64)]) -> Result<SeccompRule, Error> {
    let conditions = conditions.iter().map(|(argument, comparison, value)| {
        SeccompCondition::new(*argument, Length::Dword, comparison.clone(), *value)
    });
    Ok(SeccompRule::new(conditions.collect::<Result<_, _>>()?)?)
}

/// Ends the process at a number of the x32 table. Goes in front of a program: all its jumps are
/// relative.
#[cfg(target_arch = "x86_64")]
fn x32_guard() -> Vec<sock_filter> {
    let instruction = |code: u32, jf: u8, k: u32| sock_filter {
        code: code.try_into().unwrap_or(0),
        jt: 0,
        jf,
        k,
    };
    vec![
        // The call's number is the first field of struct seccomp_data (linux/seccomp.h).
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, X32),
        instruction(
            libc::BPF_RET | libc::BPF_K,
            0,
            libc::SECCOMP_RET_KILL_PROCESS,
        ),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn x32_guard() -> Vec<sock_filter> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    use libc::{SYS_clone3, SYS_openat2};

    const KILLED: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
    const DENIED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();

    /// What a filter says to a call: of all its programs the strictest, which has the lowest number
    /// but for KILL_PROCESS, the highest bit.
    fn ask(filter: &Filter, architecture: u32, call: u32, arguments: [u64; 6]) -> u32 {
        let programs = filter.programs.iter();
        let answers = programs.map(|program| run(program, architecture, call, arguments));
        answers.min_by_key(|answer| answer.cast_signed()).unwrap()
    }

    /// What a program says to a call: an interpreter of what classic BPF it uses (linux/filter.h),
    /// on a struct seccomp_data.
    fn run(program: &[sock_filter], architecture: u32, call: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [call, architecture, 0, 0].map(u32::to_ne_bytes).concat();
        data.extend(arguments.map(u64::to_ne_bytes).concat());
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let one = &program[at];
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
                0x25 => at += jump(accumulator > one.k),
                0x35 => at += jump(accumulator >= one.k),
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
                let rules = rules(network, own).unwrap();
                let filter = Filter::new(network, own).unwrap();
                let mut programs = filter.programs.iter();
                assert!(programs.all(|program| program.len() < INSTRUCTIONS_MAX));
                for call in 0..700 {
                    let expected = match rules.get(&i64::from(call)) {
                        _ if [SYS_clone3, SYS_openat2].contains(&call.into()) => UNKNOWN,
                        Some(always) if always.is_empty() => DENIED,
                        Some(_) => continue,
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
            #[cfg(target_arch = "x86_64")]
            assert_eq!(ask(&filter, native(), X32 | call, [0; 6]), KILLED);
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
            let request = i64::try_from(request).unwrap();
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
