//! Cases 55 to 59: what is executed, with what, and until when.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use secretctl_runner::{Cause, FileId, Network, Outcome, Stage, StartError, WorkingDirectory};

use crate::lifetime::first_line;
use crate::scenario;
use crate::support::{EXITED_0, Scratch, alive, eventually, marker, plan, sh, variable};
use crate::table::{Row, cases, jail, jailed, jailed_sh, try_jailed};

cases![
    (
        55,
        "another program in the place of the one that was judged",
        [],
        the_judged_program_runs_and_no_other
    ),
    (
        56,
        "a crash with a secret in memory",
        ["core"],
        a_crash_leaves_no_core
    ),
    (
        57,
        "set-user-ID programs of the system",
        ["no_new_privileges", "capabilities"],
        no_privilege_is_held_or_gained
    ),
    (
        58,
        "variables of the caller that programs obey",
        [],
        the_callers_environment_does_not_arrive
    ),
    (
        59,
        "a caller that is stopped when the time is over",
        [],
        the_time_limit_needs_no_caller
    ),
];

/// Ends a thread also when the test has failed.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn the_judged_program_runs_and_no_other(row: &mut Row) {
    let scratch = Scratch::new();
    let (good, evil, name) = (
        scratch.0.join("good"),
        scratch.0.join("evil"),
        scratch.0.join("name"),
    );
    fs::copy("/bin/true", &good).unwrap();
    fs::copy("/bin/false", &evil).unwrap();
    symlink(&good, &name).unwrap();
    let judged = FileId::from(&fs::metadata(&name).unwrap());
    let mut jail = jail(Network::None);
    jail.readable.push(scratch.0.clone());
    let point_to = |target: &Path| {
        let next = scratch.0.join("next");
        symlink(target, &next).unwrap();
        fs::rename(next, &name).unwrap();
    };
    let start = || {
        let mut plan = plan(name.to_str().unwrap(), &[]);
        plan.expect = Some(judged);
        try_jailed(plan, &jail).map(|run| run.outcome())
    };
    let replaced = Err(StartError {
        stage: Stage::Program,
        cause: Cause::Replaced,
    });
    assert_eq!(start(), Ok(EXITED_0));
    point_to(&evil);
    assert_eq!(start(), replaced);
    let over = AtomicBool::new(false);
    let (mut ran, mut refused) = (0, 0);
    thread::scope(|scope| {
        let _ends = Ends(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                point_to(&good);
                point_to(&evil);
            }
        });
        for _ in 0..200 {
            match start() {
                Ok(outcome) => {
                    assert_eq!(outcome, EXITED_0);
                    ran += 1;
                }
                error => {
                    assert_eq!(error, replaced);
                    refused += 1;
                }
            }
        }
    });
    row.note(format!(
        "swapped all the time: the judged one ran {ran} times, {refused} refusals"
    ));
}

fn a_crash_leaves_no_core(row: &mut Row) {
    let project = Scratch::new();
    let mut jail = jail(Network::None);
    jail.writable.push(project.0.clone());
    let mut plan = sh(
        "ulimit -Sc; ulimit -Hc; cat /proc/self/coredump_filter; ulimit -c unlimited 2>/dev/null; ulimit -c; kill -SEGV $$",
    );
    plan.working_directory = WorkingDirectory::At(project.0.clone());
    plan.environment.push(variable("TOKEN", "canary"));
    let run = jailed(plan, &jail);
    assert!(row.is_stopped(&["core"], &run.report.enforcement));
    assert_eq!(
        (run.outcome(), run.text()),
        (Outcome::Signaled { signal: 11 }, "0\n0\n00000000\n0\n")
    );
    assert_eq!(fs::read_dir(&project.0).unwrap().count(), 0);
}

fn no_privilege_is_held_or_gained(row: &mut Row) {
    let run = jailed(
        plan("/bin/cat", &["/proc/self/status"]),
        &jail(Network::None),
    );
    let enforcement = &run.report.enforcement;
    let field = |name: &str| {
        let line = run
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap().trim().to_owned()
    };
    if row.is_stopped(&["no_new_privileges"], enforcement) {
        assert_eq!(field("NoNewPrivs"), "1");
    }
    if row.is_stopped(&["capabilities"], enforcement) {
        for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(name), "0000000000000000", "{name}");
        }
    }
    if enforcement.has("system_calls") {
        assert_eq!(field("Seccomp"), "2");
    }
    if enforcement.has("user") || !rustix::process::geteuid().is_root() {
        let ids: Vec<_> = field("Uid").split_whitespace().map(str::to_owned).collect();
        assert!(ids.iter().all(|id| id != "0" && *id == ids[0]), "{ids:?}");
    }
    // Programs that root owns and everybody may start as root.
    let run = jailed_sh(
        "for p in su passwd mount sudo pkexec; do p=$(command -v $p) && test -u $p && echo $p; done",
    );
    for program in run.text().lines() {
        let run = jailed_sh(&format!(
            "{program} -c id root; {program} root; {program} -S root; exit 0"
        ));
        assert!(!run.text().contains("uid=0"), "{program}: {}", run.text());
    }
    row.note(format!(
        "without effect: {}",
        run.text().split_whitespace().collect::<Vec<_>>().join(" ")
    ));
}

fn the_callers_environment_does_not_arrive(row: &mut Row) {
    let names = [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "LD_DEBUG",
        "GLIBC_TUNABLES",
        "DYLD_INSERT_LIBRARIES",
        "BASH_FUNC_ls%%",
        "BASH_ENV",
        "ENV",
        "NODE_OPTIONS",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PERL5LIB",
        "PERL5OPT",
        "RUBYOPT",
        "GIT_SSH_COMMAND",
        "GIT_DIR",
        "SSH_AUTH_SOCK",
        "http_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "IFS",
        "MALLOC_PERTURB_",
    ];
    let mut command = scenario::command(&["environment"]);
    for name in names {
        command.env(name, "/nonexistent/of-the-caller");
    }
    let output = command.output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        output.stdout,
        b"PATH=/usr/bin:/bin\0HOME=/tmp\0TMPDIR=/tmp\0"
    );
    row.note("the planned variables only; names that may not be injected: tests/run.rs");
}

fn the_time_limit_needs_no_caller(row: &mut Row) {
    let marker = marker();
    let script = format!("trap '' TERM; setsid sleep {marker} & echo ready; sleep {marker}");
    let mut caller = scenario::start(&["hold", &script, "400"]);
    assert_eq!(first_line(&mut caller), "ready\n");
    let pid = Pid::from_child(&caller);
    kill_process(pid, Signal::STOP).unwrap();
    // The caller carries the marker as well.
    eventually("the run is over", || alive(&marker) == 1);
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(first_line(&mut caller), "TimedOut\n");
    assert!(caller.wait().unwrap().success());
    row.note(
        "the helper keeps the time; a jump of the system's clock is not tried on a shared machine",
    );
}
