//! Cases 53 to 59: what is executed, with what, and until when.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use secretctl_runner::{
    Cancel, Cause, Confinement, FileId, Jail, Network, Outcome, Plan, Stage, StartError, Stdin,
};

use crate::lifetime::first_line;
use crate::scenario;
use crate::support::{
    EXITED_0, Run, Scratch, alive, eventually, marker, plan, run_on, runner, sh, variable,
};
use crate::table::{Row, cases, jail, jailed, jailed_sh};

cases![
    (
        53,
        "arguments and variables at the kernel's limits",
        [],
        the_kernels_limits_are_named
    ),
    (
        54,
        "programs that are none",
        [],
        each_wrong_program_has_its_own_error
    ),
    (
        54,
        "programs with headers that lie",
        [],
        a_broken_header_is_an_error_like_any_other
    ),
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

fn try_jailed(mut plan: Plan, jail: &Jail) -> Result<Run, StartError> {
    plan.confinement = Confinement::Jail(jail.clone());
    run_on(&runner(), plan, Stdin::Null, &Cancel::new(), |_, _| {})
}

/// Why a plan with a secret does not start; the secret is not in the message.
fn refused(mut plan: Plan, jail: &Jail) -> StartError {
    plan.environment.push(variable("TOKEN", "canary"));
    match try_jailed(plan, jail) {
        Ok(run) => panic!("started: {:?} {}", run.report, run.text()),
        Err(error) => {
            assert!(
                !error.to_string().contains("canary") && !format!("{error:?}").contains("canary")
            );
            error
        }
    }
}

fn error(stage: Stage, cause: Cause) -> StartError {
    StartError { stage, cause }
}

fn the_kernels_limits_are_named(row: &mut Row) {
    let jail = jail(Network::None);
    let argument = "x".repeat(100_000);
    assert_eq!(
        refused(plan("/bin/true", &[argument.as_str(); 31]), &jail),
        error(Stage::Program, Cause::TooLong)
    );
    let with = |length: usize| {
        let mut plan = sh("echo ${#SECRET}");
        plan.environment
            .push(variable("SECRET", &"s".repeat(length)));
        plan
    };
    let longest = 131_071 - "SECRET=".len();
    assert_eq!(jailed(with(longest), &jail).text(), format!("{longest}\n"));
    let cause = Cause::VariableTooLong("SECRET".into());
    assert_eq!(refused(with(longest + 1), &jail), error(Stage::Plan, cause));
    row.note("named without the value");
}

fn each_wrong_program_has_its_own_error(row: &mut Row) {
    let scratch = Scratch::new();
    let mut jail = jail(Network::None);
    jail.readable.push(scratch.0.clone());
    let file = |name: &str, text: &str, mode| scratch.file(name, text, mode).display().to_string();
    for (program, stage, cause) in [
        ("true".to_owned(), Stage::Program, Cause::RelativePath),
        ("/nonexistent".to_owned(), Stage::Program, Cause::NotFound),
        (
            "/bin/sh/program".to_owned(),
            Stage::Program,
            Cause::NotFound,
        ),
        ("/usr".to_owned(), Stage::Program, Cause::NotExecutable),
        (
            file("data", "#!/bin/sh\n", 0o644),
            Stage::Program,
            Cause::NotExecutable,
        ),
        (
            file("lost", "#!/nonexistent/interpreter\n", 0o755),
            Stage::Program,
            Cause::NoInterpreter,
        ),
        (
            file("bare", "echo ran\n", 0o755),
            Stage::Program,
            Cause::UnknownFormat,
        ),
        (
            file("empty", "", 0o755),
            Stage::Program,
            Cause::UnknownFormat,
        ),
        ("/bin/true\0".to_owned(), Stage::Plan, Cause::ContainsNul),
    ] {
        assert_eq!(
            refused(plan(&program, &[]), &jail),
            error(stage, cause),
            "{program}"
        );
    }
    let mut nameless = sh("exit 0");
    nameless.argv.clear();
    assert_eq!(
        refused(nameless, &jail),
        error(Stage::Plan, Cause::NoArguments)
    );
    // What the plan does not open is not found, whatever it is.
    let outside = Scratch::new();
    fs::copy("/bin/true", outside.0.join("true")).unwrap();
    let hidden = plan(outside.0.join("true").to_str().unwrap(), &[]);
    match try_jailed(hidden, &jail) {
        Err(refusal) => assert_eq!(refusal, error(Stage::Program, Cause::NotFound)),
        Ok(run) => assert!(!run.report.enforcement.has("files")),
    }
    row.note("distinct errors, no secret in any");
}

/// An ELF header (64 bits, little endian) with one program header for the interpreter.
fn elf(
    interpreter_at: u64,
    length: u64,
    headers_at: u64,
    headers: u16,
    header_size: u16,
) -> Vec<u8> {
    let machine: u16 = if cfg!(target_arch = "x86_64") {
        62
    } else {
        183
    };
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend([3, 0]);
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(headers_at.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    for field in [64, header_size, headers, 0, 0, 0] {
        bytes.extend(field.to_le_bytes());
    }
    // PT_INTERP, readable.
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(4_u32.to_le_bytes());
    for field in [interpreter_at, 0, 0, length, length, 1] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(b"/nonexistent/ld.so\0");
    bytes
}

fn a_broken_header_is_an_error_like_any_other(row: &mut Row) {
    let scratch = Scratch::new();
    let mut jail = jail(Network::None);
    jail.readable.push(scratch.0.clone());
    let whole = elf(120, 19, 64, 1, 56);
    let lost = scratch.file("lost", &whole, 0o755);
    assert_eq!(
        refused(plan(lost.to_str().unwrap(), &[]), &jail),
        error(Stage::Program, Cause::NoInterpreter)
    );
    let programs = [
        ("magic", b"\x7fELF".to_vec()),
        ("half", whole[..40].to_vec()),
        ("header", whole[..64].to_vec()),
        ("unfinished", whole[..130].to_vec()),
        ("far", elf(u64::MAX - 3, 19, 64, 1, 56)),
        ("huge", elf(120, u64::MAX, 64, 1, 56)),
        ("none", elf(120, 0, 64, 1, 56)),
        ("endless", elf(120, 18, 64, 1, 56)),
        ("many", elf(120, 19, 64, u16::MAX, 56)),
        ("small", elf(120, 19, 64, 1, 1)),
        ("elsewhere", elf(120, 19, u64::MAX, 1, 56)),
    ];
    for (name, bytes) in programs {
        let path = scratch.file(name, bytes, 0o755);
        let refusal = refused(plan(path.to_str().unwrap(), &[]), &jail);
        assert_eq!(refusal.stage, Stage::Program, "{name}: {refusal:?}");
        // The kernel's own word on the file, as for any other program.
        let known = matches!(
            refusal.cause,
            Cause::UnknownFormat
                | Cause::NoInterpreter
                | Cause::Os(libc::EIO | libc::EINVAL | libc::ELIBBAD)
        );
        assert!(known, "{name}: {refusal:?}");
    }
    row.note("the kernel's answer, whatever the header says");
}

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
    let replaced = Err(error(Stage::Program, Cause::Replaced));
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
    plan.working_directory = secretctl_runner::WorkingDirectory::At(project.0.clone());
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
