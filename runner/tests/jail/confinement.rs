//! What the program finds around itself.

use std::fs::File;
use std::os::fd::AsFd;

use secretctl_runner::{Home, Outcome, WorkingDirectory};

use crate::support::{EXITED_0, plan, run, sh, tests, variable};

tests![
    the_environment_is_the_planned_one_and_nothing_else,
    there_are_three_descriptors,
    there_is_no_terminal,
    the_session_is_its_own,
    privileges_and_signals_are_given_up,
    cores_are_off,
    resource_limits_hold,
    the_umask_keeps_files_private,
    a_run_in_the_callers_home_has_the_callers_umask,
    the_helper_shows_no_secret,
    the_report_says_what_holds_and_what_is_missing,
];

fn status_field(status: &str, name: &str) -> String {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}"))
        .trim()
        .to_owned()
}

fn the_environment_is_the_planned_one_and_nothing_else() {
    let mut plan = plan("/usr/bin/env", &["-0"]);
    plan.environment = vec![
        variable("SECRET", "two\nlines = one"),
        variable("BYTES", ""),
        variable("HOME", "/root"),
    ];
    plan.environment[1].value = vec![0xff, b'='].into();
    let run = run(plan);
    let home = run.variable("HOME");
    let own = format!("HOME={home}\0TMPDIR={home}\0");
    let planned = b"SECRET=two\nlines = one\0BYTES=\xff=\0".as_slice();
    assert_eq!(run.stdout, [planned, own.as_bytes()].concat());
    assert!(home.starts_with('/') && home != "/root");
}

fn there_are_three_descriptors() {
    // An inheritable one in the caller must not arrive.
    let file = File::open("/etc/passwd").unwrap();
    let inheritable = rustix::io::dup(file.as_fd()).unwrap();
    let run = run(plan("/bin/ls", &["/proc/self/fd"]));
    // The fourth is the directory that ls reads.
    assert_eq!(run.text(), "0\n1\n2\n3\n");
    drop(inheritable);
}

fn there_is_no_terminal() {
    let run = run(sh(
        "for fd in 0 1 2; do test -t $fd && echo $fd; done; : </dev/tty",
    ));
    assert_ne!(run.outcome(), EXITED_0);
    assert_eq!(run.text(), "");
}

fn the_session_is_its_own() {
    // Fields 1, 5, 6 and 7 of proc_pid_stat(5): process, group, session, terminal.
    let run = run(sh(
        "read pid name state parent group session terminal rest </proc/$$/stat; echo $pid $group $session $terminal",
    ));
    let fields: Vec<&str> = run.text().split_whitespace().collect();
    assert_eq!(fields, [fields[0], fields[0], fields[0], "0"]);
}

fn privileges_and_signals_are_given_up() {
    let run = run(plan("/bin/cat", &["/proc/self/status"]));
    let status = run.text();
    let mut none = vec!["CapInh", "CapPrm", "CapEff", "CapAmb", "SigIgn", "SigBlk"];
    if rustix::process::geteuid().is_root() {
        // Others have no right to change it, and nothing to gain by it.
        none.push("CapBnd");
    }
    for field in none {
        assert_eq!(status_field(status, field), "0000000000000000", "{field}");
    }
    assert_eq!(status_field(status, "NoNewPrivs"), "1");
}

fn cores_are_off() {
    let run = run(sh("ulimit -Sc; ulimit -Hc; cat /proc/self/coredump_filter"));
    assert_eq!(run.text(), "0\n0\n00000000\n");
}

fn resource_limits_hold() {
    let mut limited = sh("ulimit -Sn; ulimit -Hn; exec head -c 2000000 /dev/zero >large");
    limited.limits.open_files = 99;
    limited.limits.file_size_bytes = Some(1_000_000);
    let run = run(limited);
    assert_eq!(run.text(), "99\n99\n");
    // SIGXFSZ
    assert_eq!(run.outcome(), Outcome::Signaled { signal: 25 });
}

fn the_umask_keeps_files_private() {
    let run = run(sh(
        "umask; >file; mkdir directory; stat -c %a file directory",
    ));
    assert_eq!(run.text(), "0077\n600\n700\n");
}

fn a_run_in_the_callers_home_has_the_callers_umask() {
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    let mut plan = sh("umask");
    plan.home = Home::Unchanged;
    let run = run(plan);
    rustix::process::umask(before);
    assert_eq!(run.text(), "0027\n");
}

fn the_helper_shows_no_secret() {
    let mut plan = sh(
        "tr '\\0' ' ' </proc/$PPID/cmdline; cat /proc/$PPID/environ /proc/$PPID/task/*/environ /proc/$PPID/maps 2>/dev/null",
    );
    plan.environment.push(variable("SECRET", "canary"));
    let helper = std::env::current_exe().unwrap();
    assert_eq!(run(plan).text(), format!("{} ", helper.display()));
}

fn the_report_says_what_holds_and_what_is_missing() {
    let mut plan = sh("exit 0");
    plan.home = secretctl_runner::Home::Unchanged;
    plan.working_directory = WorkingDirectory::At("/".into());
    let enforcement = run(plan).report.enforcement;
    let names = |enforced| {
        let layers = enforcement
            .layers
            .iter()
            .filter(|layer| layer.enforced == enforced);
        layers.map(|layer| layer.name.as_str()).collect::<Vec<_>>()
    };
    let held = [
        "session",
        "descriptors",
        "limits",
        "core",
        "capabilities",
        "no_new_privileges",
        "kill",
    ];
    assert_eq!(names(true), held);
    let mut missing = vec![
        "process_limit",
        "namespaces",
        "files",
        "landlock",
        "network",
        "system_calls",
        "environment",
    ];
    if rustix::process::geteuid().is_root() {
        missing.insert(0, "user");
    }
    assert_eq!(names(false), missing);
    assert!(
        enforcement.has("kill") && !enforcement.has("network") && !enforcement.has("unheard of")
    );
    assert_eq!(enforcement.missing().count(), missing.len());
}
