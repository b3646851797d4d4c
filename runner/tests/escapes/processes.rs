//! Cases 17 to 21, and 24: a run does not reach its caller, its helper, strangers or keys.

use std::process::{Child, Command, Stdio};

use secretctl_runner::Network;

use crate::support::{EXITED_0, marker};
use crate::table::{
    Row, answer, attack, cases, jail, jailed, jailed_sh, myself, outside, without_capabilities,
};

cases![
    (
        17,
        "environments of the parent, of process 1 and of the caller",
        ["namespaces", "landlock", "user"],
        foreign_environments_are_out_of_reach
    ),
    (
        18,
        "command lines, memory maps, descriptors and roots of others",
        ["namespaces", "landlock"],
        foreign_processes_show_nothing
    ),
    (
        19,
        "ptrace, process_vm_readv, pidfd_getfd on parent and stranger",
        ["system_calls", "namespaces", "landlock", "user"],
        foreign_processes_cannot_be_traced
    ),
    (
        20,
        "signals to the parent, to a stranger, to everybody",
        ["namespaces", "landlock", "user"],
        signals_stay_in_the_run
    ),
    (
        21,
        "limits, priority, processors of the parent and of a stranger",
        ["namespaces", "system_calls", "user"],
        foreign_processes_cannot_be_throttled
    ),
    (
        24,
        "the keyring of the session",
        ["system_calls"],
        keyrings_are_out_of_reach
    ),
];

/// A process that is none of the run's, and may be attacked.
struct Stranger(Child);

impl Stranger {
    fn start() -> Self {
        let sleep = Command::new("sleep")
            .arg(marker())
            .stdin(Stdio::null())
            .spawn();
        Stranger(sleep.unwrap())
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn foreign_environments_are_out_of_reach(row: &mut Row) {
    let caller = std::process::id();
    let answers = [
        ("namespaces", "ENOENT"),
        ("landlock", "EACCES"),
        ("user", "EACCES"),
    ];
    for path in [
        format!("/proc/{caller}/environ"),
        format!("/proc/{caller}/task/{caller}/environ"),
    ] {
        let words = ["read", &path];
        assert_eq!(outside(&words), "ok");
        let otherwise = without_capabilities("EACCES");
        row.attempt(&words, &jail(Network::None), &answers, otherwise);
    }
    // The parent is the first process of the run.
    let run = jailed_sh(
        "for pid in 1 $PPID; do cat /proc/$pid/environ /proc/$pid/task/*/environ; done; echo end",
    );
    assert_eq!(run.text(), "end\n");
}

fn foreign_processes_show_nothing(row: &mut Row) {
    let caller = std::process::id();
    for name in ["cmdline", "maps", "auxv", "mem", "fd", "root", "cwd", "exe"] {
        let path = format!("/proc/{caller}/{name}");
        let answers = [("namespaces", "ENOENT")];
        row.attempt(&["stat", &path], &jail(Network::None), &answers, "ok");
    }
    let run = jailed_sh(
        "for pid in 1 $PPID; do for name in maps auxv mem; do cat /proc/$pid/$name; done; ls /proc/$pid/fd/ /proc/$pid/root/; done; echo end",
    );
    assert_eq!(run.text(), "end\n");
    let run = jailed(attack(&["processes"]), &jail(Network::None));
    if row.is_stopped(&["namespaces"], &run.report.enforcement) {
        let own = myself().display().to_string();
        let expected = format!("{own}\n{own} attempt processes\nok\n");
        assert_eq!(run.text(), expected);
    }
}

fn foreign_processes_cannot_be_traced(row: &mut Row) {
    let stranger = Stranger::start();
    let jail = jail(Network::None);
    let [filter, others, domain, user] = [
        ("system_calls", "EPERM"),
        ("namespaces", "ESRCH"),
        ("landlock", "EPERM"),
        ("user", "EPERM"),
    ];
    let otherwise = without_capabilities("EPERM");
    for attempt in ["seize", "attach", "read-memory"] {
        assert_eq!(outside(&[attempt, &stranger.pid()]), "ok", "{attempt}");
        let words = [attempt, &stranger.pid()];
        row.attempt(&words, &jail, &[filter, others, domain, user], otherwise);
    }
    // It begins with a descriptor for the process, which the filter does not stop.
    let words = ["take-descriptor", &stranger.pid()];
    assert_eq!(outside(&words), "ok");
    row.attempt(&words, &jail, &[others, filter, domain, user], otherwise);
    for attempt in ["seize", "attach", "read-memory", "take-descriptor"] {
        // The first process does not even show itself to its own user.
        row.attempt(&[attempt, "1"], &jail, &[filter], "EPERM");
    }
}

fn signals_stay_in_the_run(row: &mut Row) {
    let mut stranger = Stranger::start();
    let jail = jail(Network::None);
    let words = ["signal", &stranger.pid(), "0"];
    assert_eq!(outside(&words), "ok");
    let answers = [
        ("namespaces", "ESRCH"),
        ("landlock", "EPERM"),
        ("user", "EPERM"),
    ];
    row.attempt(&words, &jail, &answers, "ok");
    for signal in ["19", "9"] {
        let run = jailed(attack(&["signal", &stranger.pid(), signal]), &jail);
        assert_ne!(answer(&run), "ok");
    }
    // Process 1 has no handlers, so that signals from within do nothing to it, and it is the one
    // that waits for all others.
    let run = jailed_sh(
        "trap '' TERM; kill -STOP 1; kill -KILL 1; kill -KILL $PPID; sleep 1000 & kill -TERM -1; kill -KILL -1; echo still; wait",
    );
    if run.report.enforcement.has("namespaces") {
        assert_eq!((run.outcome(), run.text()), (EXITED_0, "still\n"));
    }
    assert!(stranger.is_alive());
}

fn foreign_processes_cannot_be_throttled(row: &mut Row) {
    let stranger = Stranger::start();
    let answers = [
        ("namespaces", "ESRCH"),
        ("system_calls", "EPERM"),
        ("user", "EPERM"),
    ];
    for attempt in ["limit", "priority", "affinity", "io-priority"] {
        let words = [attempt, &stranger.pid()];
        let otherwise = match attempt {
            "limit" => "ok",
            _ => without_capabilities("EPERM"),
        };
        row.attempt(&words, &jail(Network::None), &answers, otherwise);
        assert_eq!(outside(&words), "ok", "{attempt}");
    }
    row.note("the first process of the run is the run's own: who harms it ends the run");
}

fn keyrings_are_out_of_reach(row: &mut Row) {
    match outside(&["keyring"]).as_str() {
        "ok" => row.attempt(
            &["keyring"],
            &jail(Network::None),
            &[("system_calls", "EPERM")],
            "ok",
        ),
        answer => row.note(format!(
            "not applicable: the kernel has no keyrings ({answer})"
        )),
    }
}
