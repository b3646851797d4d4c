//! Plans, runs and looks at the machine, as the tests need them.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secretctl_runner::{
    Cancel, Channel, Confinement, Home, Limits, Outcome, Plan, Report, Runner, StartError, Stdin,
    Variable, WorkingDirectory,
};

pub(crate) type Test = (&'static str, fn());

/// Lists functions as tests under their names.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[crate::support::Test] = &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];
    };
}
pub(crate) use tests;

pub(crate) struct Run {
    pub(crate) report: Report,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Run {
    pub(crate) fn outcome(&self) -> Outcome {
        self.report.outcome
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// One variable from the output of `env -0`.
    pub(crate) fn variable(&self, name: &str) -> String {
        let mut entries = self.stdout.split(|&byte| byte == 0);
        let value =
            entries.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
        String::from_utf8(value.unwrap().to_vec()).unwrap()
    }
}

pub(crate) const EXITED_0: Outcome = Outcome::Exited { code: 0 };

pub(crate) fn runner() -> Runner {
    Runner::at(std::env::current_exe().unwrap())
}

/// A program with arguments in a fresh directory, with PATH as its only variable.
pub(crate) fn plan(program: &str, arguments: &[&str]) -> Plan {
    Plan {
        program: PathBuf::from(program),
        expect: None,
        argv: [program]
            .iter()
            .chain(arguments)
            .map(OsString::from)
            .collect(),
        environment: vec![variable("PATH", "/usr/bin:/bin")],
        home: Home::Temporary,
        working_directory: WorkingDirectory::Temporary,
        limits: Limits {
            timeout: Duration::from_secs(60),
            grace: Duration::from_millis(300),
            ..Limits::default()
        },
        require: Vec::new(),
        confinement: Confinement::Base,
    }
}

pub(crate) fn sh(script: &str) -> Plan {
    plan("/bin/sh", &["-c", script])
}

pub(crate) fn variable(name: &str, value: &str) -> Variable {
    Variable::new(name, value.as_bytes().to_vec())
}

pub(crate) fn run(plan: Plan) -> Run {
    try_run(plan).unwrap()
}

pub(crate) fn try_run(plan: Plan) -> Result<Run, StartError> {
    run_with(plan, Stdin::Null, &Cancel::new(), |_, _| {})
}

/// Collects the output and shows it as it comes, too.
pub(crate) fn run_with(
    plan: Plan,
    stdin: Stdin<'_>,
    cancel: &Cancel,
    look: impl FnMut(Channel, &[u8]),
) -> Result<Run, StartError> {
    run_on(&runner(), plan, stdin, cancel, look)
}

/// The same on a runner that is not the usual one.
pub(crate) fn run_on(
    runner: &Runner,
    plan: Plan,
    stdin: Stdin<'_>,
    cancel: &Cancel,
    mut look: impl FnMut(Channel, &[u8]),
) -> Result<Run, StartError> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let report = runner.run(plan, stdin, cancel, &mut |channel, bytes| {
        match channel {
            Channel::Stdout => stdout.extend_from_slice(bytes),
            Channel::Stderr => stderr.extend_from_slice(bytes),
        }
        look(channel, bytes);
        ControlFlow::Continue(())
    })?;
    Ok(Run {
        report,
        stdout,
        stderr,
    })
}

/// A number that only one test of this machine has: it is given to `sleep`, so that the processes
/// of a test can be found in the list of all processes.
pub(crate) fn marker() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{}.{:04}",
        1_000_000 + std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Processes, not counting ended ones, that have the marker in their arguments.
pub(crate) fn alive(marker: &str) -> usize {
    marked(marker).len()
}

/// The numbers of the same processes.
pub(crate) fn marked(marker: &str) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| command_line(&entry.path()).is_some_and(|line| line.contains(marker)))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn command_line(process: &Path) -> Option<String> {
    process.file_name()?.to_str()?.parse::<u32>().ok()?;
    Some(String::from_utf8_lossy(&std::fs::read(process.join("cmdline")).ok()?).into_owned())
}

/// Waits for something that happens in another process, where nothing can be awaited.
pub(crate) fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if happened() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("never happened: {what}");
}

/// A directory of the test itself, removed at its end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("runner-test-{}", marker()));
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
