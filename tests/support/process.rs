//! Other processes: which run, what they use, and waiting for what they do.

#[cfg(target_os = "linux")]
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for something that should happen at once: generous, since the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `look` finds something, and fails when it does not for too long.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
        thread::sleep(PAUSE);
    }
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process id"), signal).expect("it runs");
}

/// An argument that no other process has. A test starts a program with it to find that program again, whatever ids the
/// program sees itself. It comes in two halves, so that the processes which only pass it on do not have it.
pub(crate) struct Mark {
    pub(crate) halves: [String; 2],
}

impl Mark {
    /// A number of seconds that sleep(1) takes.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            halves: [
                "98765.".to_owned(),
                format!("{}{count:03}", std::process::id()),
            ],
        }
    }

    /// The processes that have this argument.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mark = self.halves.concat();
        let has_it = |(_, arguments): &(u32, Vec<String>)| arguments.contains(&mark);
        arguments_of_all()
            .into_iter()
            .filter(has_it)
            .map(|(pid, _)| pid)
            .collect()
    }

    #[track_caller]
    pub(crate) fn wait_for_start(&self) {
        wait_until("the marked process to start", || {
            !self.processes().is_empty()
        });
    }

    /// Fails if one of them still runs.
    #[track_caller]
    pub(crate) fn is_gone(&self) {
        assert!(
            self.processes().is_empty(),
            "{:?} survived",
            self.processes()
        );
    }

    #[track_caller]
    pub(crate) fn wait_for_end(&self) {
        wait_until("the marked process to end", || self.processes().is_empty());
    }
}

/// Every process of the system with its arguments.
#[cfg(target_os = "linux")]
fn arguments_of_all() -> Vec<(u32, Vec<String>)> {
    let arguments = |pid: u32| {
        let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = text.split(|&byte| byte == 0);
        (
            pid,
            words
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect(),
        )
    };
    all().into_iter().map(arguments).collect()
}

#[cfg(not(target_os = "linux"))]
fn arguments_of_all() -> Vec<(u32, Vec<String>)> {
    let ps = std::process::Command::new("ps")
        .args(["-axo", "pid=,args="])
        .output();
    let text = String::from_utf8_lossy(&ps.expect("ps runs").stdout).into_owned();
    let line = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some((words.next()?.parse().ok()?, words.collect()))
    };
    text.lines().filter_map(line).collect()
}

/// Every process of the system, by its id.
#[cfg(target_os = "linux")]
pub(crate) fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("procfs").flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.collect()
}

/// Resident memory of a process at this moment, in KiB.
#[cfg(target_os = "linux")]
pub(crate) fn resident_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The processes that a process has started, and theirs.
#[cfg(target_os = "linux")]
pub(crate) fn descendants(ancestor: u32) -> Vec<u32> {
    let children = |pid: u32| {
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        let threads = threads.into_iter().flatten().flatten();
        let text = |thread: fs::DirEntry| {
            fs::read_to_string(thread.path().join("children")).unwrap_or_default()
        };
        let texts: String = threads.map(|thread| text(thread) + " ").collect();
        texts
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect::<Vec<u32>>()
    };
    let mut found = children(ancestor);
    let mut known = 0;
    while let Some(&pid) = found.get(known) {
        found.extend(children(pid));
        known += 1;
    }
    found
}

/// The process that listens at a socket.
#[cfg(target_os = "linux")]
pub(crate) fn keeper_of(socket: &std::path::Path) -> u32 {
    let stream = std::os::unix::net::UnixStream::connect(socket).expect("a listener");
    let peer = rustix::net::sockopt::socket_peercred(&stream).expect("its process");
    peer.pid.as_raw_nonzero().get().cast_unsigned()
}
