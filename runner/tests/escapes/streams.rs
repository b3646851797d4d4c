//! Cases 45 to 52: the terminal, the three descriptors, and any amount of any bytes through them.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use secretctl_runner::{Cancel, Channel, Confinement, Network, Outcome, Stdin};

use crate::scenario;
use crate::support::{EXITED_0, plan, run_on, runner, sh};
use crate::table::{Row, answer, attack, cases, jail, jailed, jailed_sh, myself};

cases![
    (
        45,
        "the terminal: /dev/tty, pushing input, taking it over",
        ["session", "system_calls", "files"],
        the_terminal_is_out_of_reach
    ),
    (
        46,
        "a gigabyte on each output",
        [],
        floods_are_counted_and_not_kept
    ),
    (
        47,
        "bytes that are no text, a line of 100 MB",
        [],
        any_bytes_pass_unchanged
    ),
    (48, "a million writes of one byte", [], single_bytes_pass),
    (
        49,
        "closing the output early, writing to a closed pipe",
        [],
        a_closed_pipe_ends_the_writer
    ),
    (
        50,
        "reading standard input, prompting on the terminal",
        ["session"],
        standard_input_is_at_its_end
    ),
    (
        51,
        "descriptors beside the three",
        ["descriptors"],
        there_are_three_descriptors
    ),
    (
        52,
        "the secret in other forms",
        [],
        the_sanitizer_has_tests_of_its_own
    ),
];

/// Both ends of a fresh terminal; the child's end as the caller would have it.
fn terminal() -> (OwnedFd, OwnedFd, String) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    (ours, theirs, name)
}

fn the_terminal_is_out_of_reach(row: &mut Row) {
    let (_ours, theirs, name) = terminal();
    // The program that leads a session of its own may take a terminal that is free, and then push
    // input into it.
    let free = std::process::Command::new(myself())
        .args(["attempt", "take-terminal"])
        .stdin(theirs.try_clone().unwrap())
        .output()
        .unwrap();
    assert_eq!(free.stdout, b"ok\n");
    let on_the_terminal = |words: &[&str]| {
        let mut plan = attack(words);
        plan.confinement = Confinement::Jail(jail(Network::None));
        let stdin = Stdin::Inherit(theirs.as_fd());
        run_on(&runner(), plan, stdin, &Cancel::new(), |_, _| {}).unwrap()
    };
    for attempt in ["push-input", "console", "take-terminal"] {
        let run = on_the_terminal(&[attempt]);
        if row.is_stopped(&["system_calls"], &run.report.enforcement) {
            assert_eq!(answer(&run), "EPERM", "{attempt}");
        }
    }
    let run = on_the_terminal(&["write", "/dev/tty"]);
    assert!(row.is_stopped(&["session"], &run.report.enforcement));
    assert!(["ENXIO", "ENOENT"].contains(&answer(&run).as_str()));
    for path in [
        name.as_str(),
        "/dev/ptmx",
        "/dev/pts/ptmx",
        "/dev/console",
        "/dev/tty0",
    ] {
        let run = on_the_terminal(&["write", path]);
        if row.is_stopped(&["files"], &run.report.enforcement) {
            assert_eq!(answer(&run), "ENOENT", "{path}");
        }
    }
}

/// In a process of its own, whose memory is its own.
pub(crate) fn flood() {
    let mut plan = sh("head -c 1G /dev/zero & head -c 1G /dev/zero >&2 & wait");
    plan.confinement = Confinement::Jail(jail(Network::None));
    let mut counts = [0_u64; 2];
    let report = runner().run(plan, Stdin::Null, &Cancel::new(), &mut |channel, bytes| {
        counts[usize::from(channel == Channel::Stderr)] += bytes.len() as u64;
        ControlFlow::Continue(())
    });
    assert_eq!(report.unwrap().outcome, EXITED_0);
    assert_eq!(counts, [1 << 30; 2]);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    assert!(peak < 64 << 10, "{peak} kB");
}

fn floods_are_counted_and_not_kept(row: &mut Row) {
    assert!(scenario::start(&["flood"]).wait().unwrap().success());
    row.note("all counted, the caller under 64 MB; secrets at any boundary: tests/run.rs");
}

fn any_bytes_pass_unchanged(row: &mut Row) {
    let script = r"printf '\377\376\000\000\303\050\355\240\200\033]0;title\007\033[2J\r\n\000'; head -c 100000000 /dev/zero | tr '\000' x";
    let run = jailed_sh(script);
    let strange = b"\xff\xfe\0\0\xc3(\xed\xa0\x80\x1b]0;title\x07\x1b[2J\r\n\0";
    assert!(run.stdout.starts_with(strange));
    let line = &run.stdout[strange.len()..];
    assert!(line.len() == 100_000_000 && line.iter().all(|&byte| byte == b'x'));
    row.note("unchanged; redaction: tests/run.rs");
}

fn single_bytes_pass(row: &mut Row) {
    let run = jailed(
        plan(
            "/bin/dd",
            &["if=/dev/zero", "bs=1", "count=1000000", "status=none"],
        ),
        &jail(Network::None),
    );
    assert_eq!((run.outcome(), run.stdout.len()), (EXITED_0, 1_000_000));
    row.note("all arrive");
}

fn a_closed_pipe_ends_the_writer(row: &mut Row) {
    let run = jailed_sh("exec 1>&-; echo still >&2; exec 2>&-; exit 3");
    assert_eq!(
        (run.outcome(), run.stderr.as_slice()),
        (Outcome::Exited { code: 3 }, &b"still\n"[..])
    );
    let run = jailed_sh("(yes; echo $? >&2) | head -n 1");
    assert_eq!((run.text(), run.stderr.as_slice()), ("y\n", &b"141\n"[..]));
    row.note("SIGPIPE as usual, nothing hangs");
}

fn standard_input_is_at_its_end(row: &mut Row) {
    let run = jailed(
        plan(
            "/bin/bash",
            &[
                "-c",
                "cat; read -t 60 line; echo $?; : </dev/tty || echo no terminal",
            ],
        ),
        &jail(Network::None),
    );
    assert!(row.is_stopped(&["session"], &run.report.enforcement));
    assert_eq!(run.text(), "1\nno terminal\n");
}

fn there_are_three_descriptors(row: &mut Row) {
    let file = std::fs::File::open("/etc/passwd").unwrap();
    let inheritable = rustix::io::dup(&file).unwrap();
    assert!(rustix::io::fcntl_getfd(&inheritable).unwrap().is_empty());
    let run = jailed_sh("ls -l /proc/self/fd");
    assert!(row.is_stopped(&["descriptors"], &run.report.enforcement));
    let targets: Vec<_> = run
        .text()
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        .collect();
    assert_eq!(targets.len(), 4, "{targets:?}");
    let [stdin, stdout, stderr, listing] = targets[..] else {
        unreachable!("four")
    };
    assert!(
        stdin.1 == "/dev/null" && stdout.1.starts_with("pipe:") && stderr.1.starts_with("pipe:")
    );
    assert!(listing.1.starts_with("/proc/"));
}

fn the_sanitizer_has_tests_of_its_own(row: &mut Row) {
    row.note("not the runner's: tests/run.rs, a_secret_is_hidden_in_every_form");
}
