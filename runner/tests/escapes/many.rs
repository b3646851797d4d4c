//! Cases 13 and 15: many runs, one after the other and at once, some cancelled at random moments.
//! Afterwards the machine is as it was.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use secretctl_runner::{Cancel, Confinement, Network, Outcome, Stdin};

use crate::lifetime::DAEMONS;
use crate::scenario;
use crate::support::{EXITED_0, Scratch, alive, marker, run_on, runner, sh};
use crate::table::{Row, cases, jail};

cases![
    (
        13,
        "500 runs in a row, some cancelled",
        [],
        nothing_is_left_of_runs_in_a_row
    ),
    (
        15,
        "50 runs at once, some cancelled",
        [],
        nothing_is_left_of_runs_at_once
    ),
];

fn nothing_is_left_of_runs_in_a_row(row: &mut Row) {
    nothing_is_left(row, &["in-a-row", "500"]);
}

fn nothing_is_left_of_runs_at_once(row: &mut Row) {
    nothing_is_left(row, &["at-once", "50"]);
}

/// The runs happen in a process of their own, which inherits all orphans, and their directories in
/// one of their own.
fn nothing_is_left(row: &mut Row, words: &[&str]) {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = std::env::var("SEED").unwrap_or_else(|_| clock.as_nanos().to_string());
    let base = in_memory();
    let words = [words, &[&seed]].concat();
    let mut command = scenario::command(&words);
    command.env("XDG_RUNTIME_DIR", &base.0);
    let before = cgroups_and_mounts();
    let output = command.output().unwrap();
    assert!(output.status.success(), "SEED={seed}");
    assert_eq!(cgroups_and_mounts(), before, "SEED={seed}");
    let left: Vec<_> = fs::read_dir(&base.0).unwrap().flatten().collect();
    assert!(left.is_empty(), "SEED={seed}: {left:?}");
    let counts = String::from_utf8(output.stdout).unwrap();
    row.note(format!("{}; SEED={seed}", counts.trim_end()));
}

/// A directory that runs take before all others.
fn in_memory() -> Scratch {
    let memory = Path::new("/dev/shm");
    if !memory.is_dir() {
        return Scratch::new();
    }
    let path = memory.join(format!("runner-test-{}", marker()));
    fs::create_dir(&path).unwrap();
    Scratch(path)
}

fn cgroups_and_mounts() -> (BTreeSet<PathBuf>, String) {
    let mut found = BTreeSet::new();
    let mut waiting = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
                found.insert(entry.path());
            }
        }
    }
    (found, fs::read_to_string("/proc/self/mounts").unwrap())
}

/// Random numbers from a seed, the same on every machine (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// One run with daemons, cancelled after a while if at all.
fn one(cancel_after: Option<Duration>, marker: &str) -> Outcome {
    let mut plan = sh(&format!("{DAEMONS}; echo data >file; echo ready").replace('@', marker));
    plan.confinement = Confinement::Jail(jail(Network::None));
    plan.limits.grace = Duration::from_millis(20);
    if cancel_after.is_some() {
        plan.argv[2].push("; sleep 1000");
    }
    let cancel = Cancel::new();
    let run = thread::scope(|scope| {
        let canceller = cancel.clone();
        if let Some(moment) = cancel_after {
            // A random moment is what is wanted: there is no event to wait for.
            scope.spawn(move || {
                thread::sleep(moment);
                canceller.cancel();
            });
        }
        run_on(&runner(), plan, Stdin::Null, &cancel, |_, _| {}).unwrap()
    });
    assert!(
        !run.report.survivors && run.report.left_behind.is_none(),
        "{:?}",
        run.report
    );
    let expected = if cancel_after.is_some() {
        Outcome::Cancelled
    } else {
        EXITED_0
    };
    assert_eq!(run.outcome(), expected);
    run.outcome()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Orphans come to this process, so that none can hide.
fn check(marker: &str, descriptors_before: usize) {
    let me = std::process::id();
    let children = fs::read_to_string(format!("/proc/self/task/{me}/children")).unwrap();
    assert_eq!(children, "");
    assert_eq!(alive(marker), 0);
    assert_eq!(descriptors(), descriptors_before);
}

pub(crate) fn in_a_row(runs: u64, seed: u64) {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let mut random = Random(seed);
    let marker = marker();
    // The first run makes the copy of the helper, which stays.
    one(None, &marker);
    let before = descriptors();
    let mut cancelled = 0;
    for _ in 0..runs {
        let moment = (random.below(5) == 0).then(|| Duration::from_micros(random.below(20_000)));
        cancelled += u32::from(one(moment, &marker) == Outcome::Cancelled);
    }
    check(&marker, before);
    println!("{runs} runs, {cancelled} cancelled, nothing left");
}

pub(crate) fn at_once(runs: u64, seed: u64) {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let mut random = Random(seed);
    let marker = marker();
    // The first run makes the copy of the helper, which stays.
    one(None, &marker);
    let before = descriptors();
    let cancelled: u32 = thread::scope(|scope| {
        let moments = (0..runs)
            .map(|_| (random.below(2) == 0).then(|| Duration::from_micros(random.below(300_000))));
        let threads: Vec<_> = moments
            .map(|moment| {
                scope.spawn({
                    let marker = &marker;
                    move || one(moment, marker)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| u32::from(thread.join().unwrap() == Outcome::Cancelled))
            .sum()
    });
    check(&marker, before);
    println!("{runs} runs, {cancelled} cancelled, nothing left");
}
