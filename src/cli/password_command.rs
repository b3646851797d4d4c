//! A program that prints the master password, such as a password manager.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::failure::{Failure, codes};
use super::password_source::first_line_of;
use crate::secret::SecretBytes;

/// How long a person may take to unlock a password manager.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Most that is read of its output, in bytes: some print a whole entry, whose first line is the password.
const OUTPUT_MAX_BYTES: usize = 64 * 1024;

/// What the program gave, and how it ended.
type Ended = io::Result<(SecretBytes, ExitStatus)>;

/// The first line that a command prints. It has the environment of this program without what is meant for this program, nothing to
/// read, and a process group of its own, which ends with the time limit.
pub(super) fn run(line: &OsStr) -> Result<SecretBytes, Failure> {
    run_within(line, TIME_LIMIT)
}

fn run_within(line: &OsStr, limit: Duration) -> Result<SecretBytes, Failure> {
    let locked = |fact: String| Failure::new(fact).with_code(codes::LOCKED);
    let words = line.to_str().and_then(|line| shell_words::split(line).ok());
    let mut words = words.unwrap_or_default().into_iter();
    let Some(program) = words.next() else {
        return Err(
            locked("the password command is not a command line".to_owned())
                .next("write a program and its arguments, quoted as in a shell; there is no shell"),
        );
    };
    let failed = |what: String| {
        locked(format!("the password command {program} {what}"))
            .next("run it by hand to see why: its first line is to be the master password")
    };
    let child = start(&program, words).map_err(|error| failed(format!("cannot run: {error}")))?;
    match wait(child, limit) {
        Ok(Some((_, status))) if !status.success() => Err(failed(format!("failed: {status}"))),
        Ok(Some((password, _))) if password.is_empty() => {
            Err(failed("printed no password".to_owned()))
        }
        Ok(Some((password, _))) => Ok(password),
        Ok(None) => Err(failed(format!("took longer than {limit:?}"))),
        Err(error) => Err(failed(format!("cannot be read: {error}"))),
    }
}

fn start(program: &str, arguments: impl Iterator<Item = String>) -> io::Result<Child> {
    let mut command = Command::new(program);
    let ours = |name: &OsString| name.as_encoded_bytes().starts_with(b"SECRETCTL_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// None if it was ended by the time limit.
fn wait(mut child: Child, limit: Duration) -> io::Result<Option<(SecretBytes, ExitStatus)>> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (sender, receiver) = mpsc::channel::<Ended>();
    thread::Builder::new().spawn(move || {
        // Nobody waits any more if it cannot be sent.
        let _ = sender.send(read(&mut child));
    })?;
    match receiver.recv_timeout(limit) {
        Ok(ended) => ended.map(Some),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("it was lost")),
        Err(RecvTimeoutError::Timeout) => {
            if let Some(group) = group {
                // It may have ended just now.
                let _ = kill_process_group(group, Signal::KILL);
            }
            Ok(None)
        }
    }
}

fn read(child: &mut Child) -> Ended {
    let line = match child.stdout.take() {
        Some(stdout) => first_line_of(stdout, OUTPUT_MAX_BYTES)?,
        None => SecretBytes::from_vec(Vec::new()),
    };
    Ok((line, child.wait()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_takes_too_long_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).expect("a pipe");
        // Both hold the pipe open for writing. It ends when neither is there any more.
        let script = format!(
            "exec 3<>{0} 4>{0} 3<&-; sleep 98765 & sleep 98765",
            pipe.display()
        );
        let keeper = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&pipe);
        let mut reader = std::fs::File::open(&pipe).expect("a reader");
        let line = shell_words::join(["sh", "-c", &script]);
        let error = run_within(OsStr::new(&line), Duration::from_millis(300));
        let error = error
            .err()
            .map(|failure| format!("{failure:?}"))
            .expect("a failure");
        assert!(
            error.contains("the password command sh took longer than 300ms"),
            "{error}"
        );
        drop(keeper);
        let mut rest = Vec::new();
        io::Read::read_to_end(&mut reader, &mut rest).expect("the end");
        assert!(rest.is_empty());
    }
}
