//! The neighbour: another process of the same user on the machine, without privileges, that wants
//! the secrets of a run.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::attack::name;
use crate::intruder::intrude;
use crate::raw;
use crate::table::myself;

/// What a neighbour can get of a process: its environment twice, its memory, its view of the file
/// system, its namespace, and its control.
pub(crate) type Looks = [String; 6];

/// The answers where the environment of a process is hidden.
pub(crate) fn denied() -> Looks {
    ["EACCES", "EACCES", "EACCES", "EACCES", "EACCES", "EPERM"].map(str::to_owned)
}

pub(crate) fn main(words: &[String]) -> ExitCode {
    give_up_capabilities();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match *words {
        ["process", pid] => {
            for answer in look(pid.parse().unwrap()) {
                println!("{answer}");
            }
        }
        ["everything", ref canaries @ ..] => look_at_everything(canaries),
        ["intrude", how, caller, canary] => intrude(how, caller, canary),
        ["wait"] => {
            println!("waiting");
            let _ = io::stdin().read(&mut [0]);
        }
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// Root's neighbour is root without its privileges: with them, it sees all.
pub(crate) fn give_up_capabilities() {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, sets).unwrap();
}

fn look(pid: i32) -> Looks {
    let said =
        |result: io::Result<()>| result.map_or_else(|error| name(&error), |()| "ok".to_owned());
    let read = |path: String| File::open(path).and_then(|mut file| file.read(&mut [0]).map(drop));
    [
        said(read(format!("/proc/{pid}/environ"))),
        said(read(format!("/proc/{pid}/task/{pid}/environ"))),
        said(File::open(format!("/proc/{pid}/mem")).map(drop)),
        said(fs::read_dir(format!("/proc/{pid}/root/")).map(drop)),
        said(File::open(format!("/proc/{pid}/ns/user")).map(drop)),
        said(raw::seize(pid)),
    ]
}

/// Reads every environment of the machine over and over, until standard input ends, and says once
/// of each canary that it was seen.
fn look_at_everything(canaries: &[&str]) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::stdin().read(&mut [0]);
            over.store(true, Ordering::Relaxed);
        });
        let mut seen = BTreeSet::new();
        while !over.load(Ordering::Relaxed) {
            for entry in fs::read_dir("/proc").unwrap().flatten() {
                let Ok(environment) = fs::read(entry.path().join("environ")) else {
                    continue;
                };
                let environment = String::from_utf8_lossy(&environment).into_owned();
                for canary in canaries {
                    if environment.contains(canary) && seen.insert(*canary) {
                        println!("{canary}");
                    }
                }
            }
        }
    });
}

/// Starts a neighbour that runs as this user.
pub(crate) fn start(user: u32, words: &[&str]) -> Child {
    let mut command = Command::new(myself());
    command
        .arg("observe")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    as_user(&mut command, user);
    command.spawn().unwrap()
}

/// Only root may become somebody else.
pub(crate) fn as_user(command: &mut Command, user: u32) {
    if rustix::process::geteuid().as_raw() != user {
        command.uid(user).gid(user);
    }
}

/// What a neighbour of that user gets of the process.
pub(crate) fn looks_at(user: u32, pid: i32) -> Looks {
    let neighbour = start(user, &["process", &pid.to_string()]);
    let output = neighbour.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.try_into().unwrap()
}

/// What a neighbour gets of an ordinary process of the same user.
pub(crate) fn looks_at_an_ordinary_process(user: u32) -> Looks {
    let mut ordinary = start(user, &["wait"]);
    crate::lifetime::first_line(&mut ordinary);
    let looks = looks_at(user, ordinary.id().try_into().unwrap());
    drop(ordinary.stdin.take());
    ordinary.wait().unwrap();
    looks
}

/// The user a process runs as, seen from outside.
pub(crate) fn user_of(pid: i32) -> u32 {
    field(pid, "Uid")
}

pub(crate) fn parent_of(pid: i32) -> i32 {
    field(pid, "PPid").try_into().unwrap()
}

/// The first number of a line of /proc/PID/status.
fn field(pid: i32, name: &str) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}
