//! The ways to start a program.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use secretctl_runner::{
    Cancel, Confinement, Home, Jail, Limits, Network, Outcome, Plan, Report, Runner, Stdin,
    Variable, WorkingDirectory,
};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A way to start the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By posix_spawn and nothing else.
    Bare,
    /// By bubblewrap, in the same namespaces.
    Bubblewrap(Network),
    /// In the jail, with no process of ours there.
    First(Network),
    /// In the jail, by a helper that was started ahead and does not know this jail.
    Cold(Network),
    /// In the jail, by a helper that was started ahead and has put it on.
    Warm(Network),
}

/// How long a start took, until the program had ended.
pub(crate) struct Sample {
    pub(crate) whole: Duration,
    /// The program's own part, where it is known.
    pub(crate) program: Option<Duration>,
}

pub(crate) struct Starter {
    program: PathBuf,
    bubblewrap: Option<PathBuf>,
    helper: Helper,
    /// Never starts anything ahead.
    first: Runner,
    /// Is ready for jails that are never asked for.
    cold: Runner,
    warm: Runner,
}

impl Starter {
    pub(crate) fn new() -> Result<Self> {
        let helper = Helper::find()?;
        Ok(Starter {
            program: first_of(&["/bin/true", "/usr/bin/true"]).ok_or("there is no `true` here")?,
            bubblewrap: first_of(&["/usr/bin/bwrap", "/usr/local/bin/bwrap"]),
            first: Runner::at(helper.path.clone()),
            cold: Runner::at(helper.path.clone()),
            warm: Runner::at(helper.path.clone()),
            helper,
        })
    }

    /// In the order in which they are tried.
    pub(crate) fn ways(&self) -> Vec<Way> {
        let jailed = [Way::Bubblewrap, Way::First, Way::Cold, Way::Warm]
            .into_iter()
            .flat_map(|way| [Network::Allow, Network::None].map(way));
        let usable = |way: &Way| self.bubblewrap.is_some() || !matches!(way, Way::Bubblewrap(_));
        [Way::Bare]
            .into_iter()
            .chain(jailed)
            .filter(usable)
            .collect()
    }

    /// Starts a helper ahead where this is the way; how long that took is the caller's cost, too.
    pub(crate) fn prepare(&self, way: Way) -> Result<Option<Duration>> {
        let start = Instant::now();
        match way {
            Way::Bare | Way::Bubblewrap(_) | Way::First(_) => return Ok(None),
            Way::Cold(network) => self.cold.warm_up(&another(network))?,
            Way::Warm(network) => self.warm.warm_up(&confinement(network))?,
        }
        Ok(Some(start.elapsed()))
    }

    pub(crate) fn start(&self, way: Way) -> Result<Sample> {
        match way {
            Way::Bare => spawn(Command::new(&self.program).env_clear()),
            Way::Bubblewrap(network) => {
                let bubblewrap = self.bubblewrap.as_deref().ok_or("there is no bubblewrap")?;
                spawn(bubblewrapped(bubblewrap, network).arg(&self.program))
            }
            Way::First(network) => self.run(&self.first, network),
            Way::Cold(network) => self.run(&self.cold, network),
            Way::Warm(network) => self.run(&self.warm, network),
        }
    }

    fn run(&self, runner: &Runner, network: Network) -> Result<Sample> {
        let plan = self.plan(network);
        let start = Instant::now();
        let report = execute(runner, plan)?;
        let whole = start.elapsed();
        Ok(Sample {
            whole,
            program: Some(report.duration),
        })
    }

    fn plan(&self, network: Network) -> Plan {
        Plan {
            program: self.program.clone(),
            expect: None,
            argv: vec![OsString::from("true")],
            environment: vec![Variable::new("PATH", b"/usr/bin:/bin".to_vec())],
            home: Home::Temporary,
            working_directory: WorkingDirectory::Temporary,
            limits: Limits::default(),
            require: Vec::new(),
            confinement: confinement(network),
        }
    }

    /// What was measured, and what of the jail this machine does not have.
    pub(crate) fn describe(&self) -> Result<String> {
        let user = rustix::process::geteuid().as_raw();
        let mut text = format!(
            "`{}`, started by uid {user}.\n{}\n",
            self.program.display(),
            self.helper.describe()
        );
        text += &match &self.bubblewrap {
            Some(path) => {
                let version = Command::new(path).arg("--version").output()?.stdout;
                format!(
                    "Compared with {}.\n",
                    String::from_utf8_lossy(&version).trim()
                )
            }
            None => "Bubblewrap is not installed, so nothing is compared with it.\n".to_owned(),
        };
        for network in [Network::Allow, Network::None] {
            let report = execute(&self.first, self.plan(network))?;
            let missing: Vec<_> = report.enforcement.missing().collect();
            let missing = missing.iter().map(|layer| layer.name.as_str());
            let names = missing.collect::<Vec<_>>().join(", ");
            let names = if names.is_empty() { "nothing" } else { &names };
            text += &format!("Not enforced, network {}: {names}.\n", word(network));
        }
        Ok(text)
    }
}

/// The program that our starts go through.
struct Helper {
    path: PathBuf,
    installed: bool,
}

impl Helper {
    /// The small program that users have, if it was built from these sources; else this one, which
    /// does the same but takes a little longer to load.
    fn find() -> Result<Self> {
        let this = std::env::current_exe()?;
        let built = this
            .ancestors()
            .nth(2)
            .map(|dir| dir.join("secretctl-runner"));
        let current = |path: &PathBuf| {
            let built = fs::metadata(path).and_then(|file| file.modified());
            built.is_ok_and(|built| newest_source().is_ok_and(|source| source < built))
        };
        Ok(match built.filter(current) {
            Some(path) => Helper {
                path,
                installed: true,
            },
            None => Helper {
                path: this,
                installed: false,
            },
        })
    }

    fn describe(&self) -> String {
        if self.installed {
            return format!("Helper program: {}.", self.path.display());
        }
        let build = "cargo build --release --bin secretctl-runner";
        format!("Helper program: the benchmark itself, for want of a current one (`{build}`).")
    }
}

fn newest_source() -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))? {
        newest = newest.max(entry?.metadata()?.modified()?);
    }
    Ok(newest)
}

fn first_of(paths: &[&str]) -> Option<PathBuf> {
    paths.iter().map(PathBuf::from).find(|path| path.exists())
}

fn confinement(network: Network) -> Confinement {
    Confinement::Jail(Jail {
        network,
        ..Jail::default()
    })
}

/// A jail that is not that of any start.
fn another(network: Network) -> Confinement {
    Confinement::Jail(Jail {
        network,
        readable: vec!["/proc/version".into()],
        ..Jail::default()
    })
}

pub(crate) fn word(network: Network) -> &'static str {
    match network {
        Network::Allow => "allow",
        Network::None => "none",
    }
}

/// The namespaces, the read-only system and the private directories of our jail. The rest of it
/// (Landlock, system calls, limits, the hidden environment) bubblewrap does not have.
fn bubblewrapped(bubblewrap: &Path, network: Network) -> Command {
    let mut command = Command::new(bubblewrap);
    command.env_clear().args([
        "--unshare-user",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
    ]);
    if network == Network::None {
        command.arg("--unshare-net");
    }
    for system in ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/opt"] {
        command.args(["--ro-bind-try", system, system]);
    }
    command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
    command.args(["--die-with-parent", "--new-session", "--"]);
    command
}

fn spawn(command: &mut Command) -> Result<Sample> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status()?;
    let whole = start.elapsed();
    if !status.success() {
        return Err(format!("{} failed: {status}", command.get_program().display()).into());
    }
    Ok(Sample {
        whole,
        program: None,
    })
}

fn execute(runner: &Runner, plan: Plan) -> Result<Report> {
    let report = runner.run(plan, Stdin::Null, &Cancel::new(), &mut |_, _| {
        ControlFlow::Continue(())
    })?;
    match report.outcome {
        Outcome::Exited { code: 0 } => Ok(report),
        outcome => Err(format!("a run in the jail ended otherwise: {outcome:?}").into()),
    }
}
