//! Attempts on other processes and on the kernel.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Resource, Rlimit, Signal, kill_process, pidfd_getfd,
    pidfd_open, prlimit, setpriority_process, setsid, test_kill_process,
};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::raw;

pub(crate) fn attempt(words: &[&str]) -> Option<io::Result<()>> {
    Some(match *words {
        ["seize", pid] => raw::seize(number(pid)),
        ["attach", pid] => raw::attach(number(pid)),
        ["read-memory", pid] => raw::read_memory(number(pid)),
        ["take-descriptor", pid] => take_descriptor(process(pid)),
        ["signal", pid, "0"] => test_kill_process(process(pid)).map_err(Into::into),
        ["signal", pid, signal] => kill(process(pid), signal),
        ["limit", pid] => limit(process(pid)),
        // The lowest one, which is never a raise.
        ["priority", pid] => setpriority_process(Some(process(pid)), 19).map_err(Into::into),
        ["affinity", pid] => affinity(process(pid)),
        ["io-priority", pid] => raw::set_io_priority(number(pid)),
        ["keyring"] => raw::session_keyring(),
        ["call", name] => raw::forbidden(name),
        ["push-input"] => raw::terminal_request(io::stdin(), libc::TIOCSTI),
        ["console"] => raw::terminal_request(io::stdin(), libc::TIOCLINUX as libc::Ioctl),
        ["take-terminal"] => take_terminal(),
        ["chain", depth] => chain(number(depth)),
        ["processes"] => processes(),
        ["effective-user"] => effective_user(),
        _ => return None,
    })
}

fn number(text: &str) -> i32 {
    text.parse().unwrap()
}

fn process(text: &str) -> Pid {
    Pid::from_raw(number(text)).unwrap()
}

fn kill(pid: Pid, signal: &str) -> io::Result<()> {
    Ok(kill_process(
        pid,
        Signal::from_named_raw(number(signal)).unwrap(),
    )?)
}

fn take_descriptor(pid: Pid) -> io::Result<()> {
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    pidfd_getfd(process, 0, PidfdGetfdFlags::empty())?;
    Ok(())
}

/// No core file, which anybody may want.
fn limit(pid: Pid) -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    prlimit(Some(pid), Resource::Core, none)?;
    Ok(())
}

fn affinity(pid: Pid) -> io::Result<()> {
    let mut first = CpuSet::new();
    first.set(0);
    Ok(sched_setaffinity(Some(pid), &first)?)
}

/// A session may have the terminal that stands at standard input.
fn take_terminal() -> io::Result<()> {
    // Fails for the leader of a session, which is as good.
    let _ = setsid();
    Ok(rustix::process::ioctl_tiocsctty(io::stdin().as_fd())?)
}

/// A process that starts one that starts one: how far it came is printed by the last one.
fn chain(left: i32) -> io::Result<()> {
    if left == 0 {
        return Ok(());
    }
    let next = (left - 1).to_string();
    let myself = std::env::current_exe()?;
    match Command::new(myself)
        .args(["attempt", "chain", &next])
        .status()
    {
        // The last one has answered, and this line too; the caller reads the first.
        Ok(_) => Ok(()),
        Err(error) => {
            println!("left {left}");
            Err(error)
        }
    }
}

/// The command lines of all processes that can be seen.
fn processes() -> io::Result<()> {
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.parse::<u32>().is_ok())
        {
            let line = fs::read(entry.path().join("cmdline"))?;
            println!(
                "{}",
                String::from_utf8_lossy(&line).replace('\0', " ").trim_end()
            );
        }
    }
    Ok(())
}

fn effective_user() -> io::Result<()> {
    println!("{}", rustix::process::geteuid().as_raw());
    Ok(())
}
