//! Other processes: whether they live, what can be read of them, and waiting for what they do.

use std::time::{Duration, Instant};
use std::{fs, thread};

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

/// Whether a process runs. One that has ended and was not waited for does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let output = std::process::Command::new("ps")
        .args(["-o", "stat=", "-p", &pid.to_string()])
        .output();
    let state = output.expect("ps runs").stdout;
    !state.is_empty() && !state.starts_with(b"Z")
}

/// Sends a signal, by its name, such as `INT`.
pub(crate) fn signal(pid: u32, name: &str) {
    let mut kill = std::process::Command::new("kill");
    let status = kill.args(["-s", name, &pid.to_string()]).status();
    assert!(status.expect("kill runs").success());
}

/// Every process of the system, by its id.
#[cfg(target_os = "linux")]
pub(crate) fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("procfs").flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.collect()
}

/// Largest resident memory that a process has had so far, in KiB.
#[cfg(target_os = "linux")]
pub(crate) fn peak_resident_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
