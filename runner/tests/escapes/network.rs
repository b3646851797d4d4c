//! Cases 35 to 44: without network nobody is reached, and with it only what TCP and UDP reach.

use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::{fs, thread};

use secretctl_runner::Network;

use crate::support::{Scratch, marker, plan};
use crate::table::{Row, answer, attack, cases, jail, jailed, jailed_on, outside, runner_without};

cases![
    (
        35,
        "TCP to this machine and to others",
        ["system_calls", "namespaces", "network"],
        tcp_reaches_nobody
    ),
    (
        36,
        "UDP, ICMP, raw and packet sockets",
        ["system_calls", "namespaces", "network"],
        no_datagram_leaves
    ),
    (
        37,
        "MPTCP, SCTP, SMC",
        ["system_calls", "network"],
        no_other_protocol_goes_past_the_rules
    ),
    (
        38,
        "TCP fast open, by sendto and by connect",
        ["system_calls", "network"],
        fast_open_reaches_nobody
    ),
    (
        39,
        "listening without an address, binding any address",
        ["system_calls", "network"],
        nobody_can_listen
    ),
    (
        40,
        "vsock, netlink and other families that no namespace holds",
        ["system_calls", "network"],
        strange_families_are_denied
    ),
    (
        41,
        "Unix sockets of others: by path, abstract, by a leaked variable",
        ["system_calls", "namespaces", "landlock", "network"],
        sockets_of_others_are_out_of_reach
    ),
    (42, "io_uring", ["system_calls"], io_uring_is_denied),
    (
        43,
        "system calls of other kinds of program: 32 bits, x32",
        ["system_calls"],
        foreign_system_calls_end_the_program
    ),
    (
        44,
        "a connected socket that the caller did not close",
        ["descriptors"],
        a_callers_socket_does_not_arrive
    ),
];

/// What a jail without network must answer.
fn without_network(row: &mut Row, words: &[&str]) {
    let run = jailed(attack(words), &jail(Network::None));
    let enforcement = &run.report.enforcement;
    if row.is_stopped(&["network"], enforcement) {
        let expected = if enforcement.has("system_calls") {
            "EPERM"
        } else {
            "ENETUNREACH"
        };
        assert_eq!(answer(&run), expected, "{words:?}");
    }
}

fn tcp_reaches_nobody(row: &mut Row) {
    for own in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(own) else {
            row.note(format!("not applicable: this machine has no {own}"));
            continue;
        };
        let address = listener.local_addr().unwrap().to_string();
        let greeted = thread::spawn(move || {
            // One greeting from outside, one from the jail that may.
            for _ in 0..2 {
                let mut text = String::new();
                listener
                    .accept()
                    .unwrap()
                    .0
                    .read_to_string(&mut text)
                    .unwrap();
                assert_eq!(text, "hello");
            }
            listener.set_nonblocking(true).unwrap();
            listener
        });
        assert_eq!(outside(&["tcp", &address]), "ok");
        assert_eq!(
            answer(&jailed(attack(&["tcp", &address]), &jail(Network::Allow))),
            "ok"
        );
        let listener = greeted.join().unwrap();
        without_network(row, &["tcp", &address]);
        assert!(listener.accept().is_err(), "somebody came through");
    }
    // An address for examples, which nobody has.
    without_network(row, &["tcp", "192.0.2.1:80"]);
    without_network(row, &["tcp", "[2001:db8::1]:80"]);
}

fn no_datagram_leaves(row: &mut Row) {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_nonblocking(true).unwrap();
    let address = receiver.local_addr().unwrap().to_string();
    let heard = || receiver.recv(&mut [0; 8]).is_ok();
    without_network(row, &["udp", &address]);
    assert!(!heard());
    assert_eq!(
        answer(&jailed(attack(&["udp", &address]), &jail(Network::Allow))),
        "ok"
    );
    assert!(heard());
    without_network(row, &["udp", "192.0.2.1:53"]);
    // ICMP by datagrams, ICMP raw, TCP raw, every packet.
    let sockets = [
        ["2", "2", "1"],
        ["10", "2", "58"],
        ["2", "3", "1"],
        ["2", "3", "255"],
        ["17", "3", "768"],
        ["17", "2", "768"],
    ];
    with_neither(row, &sockets);
}

/// Sockets that neither setting gives: family, type and protocol of each. The control is the
/// kernel's answer to a process that has no capabilities either.
fn with_neither(row: &mut Row, sockets: &[[&str; 3]]) {
    let mut absent = Vec::new();
    for socket in sockets {
        let words = [&["socket"], &socket[..]].concat();
        let free = outside(&[&["unprivileged"], &words[..]].concat());
        for network in [Network::None, Network::Allow] {
            let run = jailed(attack(&words), &jail(network));
            if row.is_stopped(&["system_calls"], &run.report.enforcement) {
                assert_eq!(answer(&run), "EPERM", "{words:?} with {network:?}");
            }
        }
        if let Some(runner) = runner_without(&["system_calls"]) {
            let run = jailed_on(&runner, attack(&words), &jail(Network::Allow));
            assert_eq!(answer(&run), free, "{words:?} without a filter");
        }
        if free != "ok" {
            absent.push(format!("{} ({free})", socket.join("/")));
        }
    }
    row.note(format!("not to be had here anyway: {}", absent.join(" ")));
}

fn no_other_protocol_goes_past_the_rules(row: &mut Row) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    match outside(&["mptcp", &address]).as_str() {
        "ok" => {
            let run = jailed(attack(&["mptcp", &address]), &jail(Network::None));
            if row.is_stopped(&["network"], &run.report.enforcement) {
                assert_eq!(answer(&run), "EPERM");
            }
        }
        answer => row.note(format!("the kernel has no MPTCP ({answer})")),
    }
    // MPTCP, SCTP both ways, DCCP, UDP-Lite, SMC in its two ways.
    let sockets = [
        ["2", "1", "262"],
        ["10", "1", "262"],
        ["2", "1", "132"],
        ["2", "5", "132"],
        ["2", "6", "33"],
        ["2", "2", "136"],
        ["2", "1", "256"],
        ["43", "1", "0"],
    ];
    with_neither(row, &sockets);
}

fn fast_open_reaches_nobody(row: &mut Row) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for attempt in ["fast-open", "fast-open-connect"] {
        assert_eq!(outside(&[attempt, &address]), "ok");
        listener.accept().unwrap();
        without_network(row, &[attempt, &address]);
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody came through");
}

fn nobody_can_listen(row: &mut Row) {
    for attempt in ["listen", "bind"] {
        assert_eq!(outside(&[attempt]), "ok");
        assert_eq!(
            answer(&jailed(attack(&[attempt]), &jail(Network::Allow))),
            "ok"
        );
        let run = jailed(attack(&[attempt]), &jail(Network::None));
        if row.is_stopped(&["network"], &run.report.enforcement) {
            assert_eq!(answer(&run), "EPERM");
        }
    }
}

fn strange_families_are_denied(row: &mut Row) {
    // Vsock, netlink other than routes, ALG, Bluetooth, TIPC, CAN, key, XDP, RDS, QRTR, ATM, MCTP.
    let sockets = [
        ["40", "1", "0"],
        ["40", "2", "0"],
        ["16", "3", "2"],
        ["16", "3", "9"],
        ["16", "3", "15"],
        ["16", "3", "16"],
        ["38", "5", "0"],
        ["31", "3", "1"],
        ["30", "5", "0"],
        ["29", "3", "1"],
        ["15", "3", "2"],
        ["44", "3", "0"],
        ["21", "5", "0"],
        ["42", "2", "0"],
        ["8", "2", "0"],
        ["45", "2", "0"],
    ];
    with_neither(row, &sockets);
    let routes = ["socket", "16", "3", "0"];
    assert_eq!(
        answer(&jailed(attack(&routes), &jail(Network::Allow))),
        "ok"
    );
    without_network(row, &routes);
}

fn sockets_of_others_are_out_of_reach(row: &mut Row) {
    let scratch = Scratch::new();
    let path = scratch.0.join("agent.sock").to_str().unwrap().to_owned();
    let datagrams = scratch.0.join("log.sock").to_str().unwrap().to_owned();
    let name = format!("agent-{}", marker());
    let other_name = format!("log-{name}");
    let _listeners = (
        UnixListener::bind(&path).unwrap(),
        UnixDatagram::bind(&datagrams).unwrap(),
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
        UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&other_name).unwrap()).unwrap(),
    );
    for socket in [&path, &datagrams] {
        fs::set_permissions(socket, fs::Permissions::from_mode(0o777)).unwrap();
    }
    for words in [["unix", &path], ["unix-datagram", &datagrams]] {
        assert_eq!(outside(&words), "ok");
        let run = jailed(attack(&words), &jail(Network::Allow));
        if row.is_stopped(&["namespaces"], &run.report.enforcement) {
            assert_eq!(answer(&run), "ENOENT");
        }
        // Newer versions of Landlock would stop it, too.
        if let Some(runner) = runner_without(&["namespaces", "landlock"]) {
            let run = jailed_on(&runner, attack(&words), &jail(Network::Allow));
            assert_eq!(answer(&run), "ok");
            assert!(!run.report.enforcement.has("network"));
        }
        without_network(row, &words);
    }
    for words in [["abstract", &name], ["abstract-datagram", &other_name]] {
        assert_eq!(outside(&words), "ok");
        row.attempt(
            &words,
            &jail(Network::Allow),
            &[("landlock", "EPERM")],
            "ok",
        );
        without_network(row, &words);
    }
    // What this process has in its environment does not arrive.
    let run = jailed(plan("/usr/bin/env", &["-0"]), &jail(Network::Allow));
    let names: Vec<_> = run
        .text()
        .split('\0')
        .filter_map(|entry| Some(entry.split_once('=')?.0))
        .collect();
    assert_eq!(names, ["PATH", "HOME", "TMPDIR"]);
}

fn io_uring_is_denied(row: &mut Row) {
    for call in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
        let free = outside(&["call", call]);
        if free == "ENOSYS" {
            row.note(format!("the kernel has no {call}"));
        }
        row.attempt(
            &["call", call],
            &jail(Network::None),
            &[("system_calls", "EPERM")],
            &free,
        );
    }
}

#[cfg(target_arch = "x86_64")]
fn foreign_system_calls_end_the_program(row: &mut Row) {
    for (attempt, kind) in [("socket-of-32-bits", "32 bits"), ("call-of-x32", "x32")] {
        let free = outside(&[attempt]);
        if free == "ok" {
            let answers = [("system_calls", "SIGSYS")];
            row.attempt(&[attempt], &jail(Network::None), &answers, "ok");
        } else {
            // Where the kernel knows none, it is as well ended.
            let run = jailed(attack(&[attempt]), &jail(Network::None));
            let answer = answer(&run);
            row.note(format!(
                "{kind}: not applicable, the kernel answers {free:?}; in the jail {answer}"
            ));
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn foreign_system_calls_end_the_program(row: &mut Row) {
    row.note("not applicable: this processor has no calls of other kinds");
}

fn a_callers_socket_does_not_arrive(row: &mut Row) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // A copy that is inherited, since it was not made for the programs of Rust.
    let inheritable = rustix::io::dup(&connected).unwrap();
    assert!(rustix::io::fcntl_getfd(&inheritable).unwrap().is_empty());
    let run = jailed(plan("/bin/ls", &["/proc/self/fd"]), &jail(Network::None));
    assert!(row.is_stopped(&["descriptors"], &run.report.enforcement));
    // The fourth is the directory that ls reads.
    assert_eq!(run.text(), "0\n1\n2\n3\n");
}
