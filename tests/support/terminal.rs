//! A real terminal, made by script(1).

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::process::{wait_for, wait_until};
use super::{Invocation, SECRETCTL, Sandbox};

/// A shell script that runs in a terminal of its own. `$S` is the program.
pub(crate) struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
    device: String,
    seen: usize,
}

impl Terminal {
    pub(crate) fn start(sandbox: &Sandbox, script: &str) -> Self {
        let script = format!("tty; echo; {script}");
        let record = Invocation::new("script", sandbox.home())
            .env("S", SECRETCTL)
            .env("SHELL", "/bin/sh");
        let record = if cfg!(target_os = "linux") {
            record.args(["-qec", &script, "/dev/null"])
        } else {
            record.args(["-q", "/dev/null", "/bin/sh", "-c", &script])
        };
        let mut child = record.spawn();
        let keyboard = child.stdin.take().expect("a pipe");
        let mut output = child.stdout.take().expect("a pipe");
        let screen = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&screen);
        let reader = thread::spawn(move || {
            let mut chunk = [0; 1024];
            while let Ok(length @ 1..) = output.read(&mut chunk) {
                let text = String::from_utf8_lossy(&chunk[..length]).replace('\r', "");
                written.lock().expect("no panic").push_str(&text);
            }
        });
        let first_line = || {
            screen
                .lock()
                .expect("no panic")
                .split_once("\n\n")
                .map(|(line, _)| line.to_owned())
        };
        let device = wait_for("the terminal's name", first_line);
        let seen = device.len() + 2;
        Self {
            child,
            keyboard,
            screen,
            reader,
            device,
            seen,
        }
    }

    /// Waits until this text follows what was seen on the screen.
    #[track_caller]
    pub(crate) fn shows(&mut self, text: &str) {
        let screen = Arc::clone(&self.screen);
        let seen = self.seen;
        let news = || screen.lock().expect("no panic")[seen..].to_owned();
        wait_until(
            &format!("{text:?} on the screen, which shows {:?}", news()),
            || news().len() >= text.len(),
        );
        assert_eq!(&news()[..text.len()], text);
        self.seen += text.len();
    }

    /// Waits for this text, whatever stands in front of it.
    #[track_caller]
    pub(crate) fn shows_up_to(&mut self, text: &str) {
        let (screen, seen) = (Arc::clone(&self.screen), self.seen);
        self.seen += wait_for(&format!("{text:?} on the screen"), || {
            let screen = screen.lock().expect("no panic");
            screen[seen..].find(text).map(|at| at + text.len())
        });
    }

    /// Ends what goes on for ever.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Types a line where it is echoed.
    pub(crate) fn types(&mut self, line: &str) {
        writeln!(self.keyboard, "{line}").expect("a terminal");
        self.shows(&format!("{line}\n"));
    }

    /// Types a line once the terminal no longer echoes.
    pub(crate) fn types_hidden(&mut self, line: &str) {
        let flag = if cfg!(target_os = "linux") {
            "-F"
        } else {
            "-f"
        };
        wait_until("a terminal that does not echo", || {
            let stty = Command::new("stty")
                .args([flag, &self.device, "-a"])
                .output();
            let modes = String::from_utf8_lossy(&stty.expect("stty runs").stdout).into_owned();
            modes.split_whitespace().any(|mode| mode == "-echo")
        });
        writeln!(self.keyboard, "{line}").expect("a terminal");
    }

    /// Waits for the end: the exit code, with nothing more on the screen.
    #[track_caller]
    pub(crate) fn ends(mut self, code: i32) {
        let status = self.child.wait().expect("it ends");
        self.reader.join().expect("no panic");
        assert_eq!(&self.screen.lock().expect("no panic")[self.seen..], "");
        assert_eq!(status.code(), Some(code));
    }
}
