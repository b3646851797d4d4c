//! The helper program: one thread that starts one child, watches it and ends it.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::process::{Resource, Rlimit, Signal, getpid, setrlimit};

use crate::child::{Birth, become_program};
use crate::control::Control;
use crate::directory::Directory;
use crate::layers::enforcement;
use crate::outcome::{Cause, Stage, StartError};
use crate::plan::Limits;
use crate::sys::{self, Above2};
use crate::tree::{Ended, Tree};
use crate::wait::wait_for;
use crate::wire::{Command, End, Event, Messages, Reason, Request};

/// What the helper exits with when it was not started by a [`Runner`](crate::Runner), or that one
/// is gone.
const NO_CALLER: u8 = 125;

/// How often orphans that have ended are waited for during a run: they take up a process number
/// each.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// The whole helper program. Descriptor 0 is the socket to the caller, 1 and 2 become the child's.
pub fn main() -> ExitCode {
    sys::descriptors_above_2(Above2::Close);
    std::panic::set_hook(Box::new(|_| {}));
    harden();
    let mut control = Control::new(io::stdin());
    match receive(&mut control) {
        Ok((request, stdin)) => {
            run(&mut Caller { control }, request, stdin);
            ExitCode::SUCCESS
        }
        Err(_) => {
            let _ = writeln!(
                io::stderr(),
                "this program is started by secretctl and does nothing by itself"
            );
            ExitCode::from(NO_CALLER)
        }
    }
}

/// Before a secret arrives: no core, no other process looks into this one, no signal ends it before
/// its tree. None of this may fail the run, since most of it does not concern the child.
fn harden() {
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    );
    for signal in [
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::TERM,
        Signal::TSTP,
        Signal::USR1,
        Signal::USR2,
    ] {
        sys::ignore_signal(signal);
    }
    #[cfg(target_os = "linux")]
    {
        // Also holds in the child, where it matters: core handlers that are programs do not heed
        // the limit. It comes before the next call, which gives the file to root.
        let _ = std::fs::write("/proc/self/coredump_filter", "0");
        let _ =
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
        let _ = rustix::process::set_child_subreaper(Some(getpid()));
    }
}

/// The first message, and the child's standard input if it came along.
fn receive(control: &mut Control<io::Stdin>) -> io::Result<(Request, Option<OwnedFd>)> {
    let mut stdin = None;
    loop {
        stdin = control.fill()?.or(stdin);
        match control.next() {
            Ok(Some(Command::Start(request))) if request.stdin == stdin.is_some() => {
                return Ok((request, stdin));
            }
            Ok(None) if control.is_open() => {}
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The socket, as long as somebody is at its other end.
struct Caller {
    control: Control<io::Stdin>,
}

impl Caller {
    /// A caller who is gone is noticed elsewhere.
    fn tell(&mut self, event: &Event) {
        if self.control.queue(event).is_ok() {
            let _ = self.control.flush(&mut None);
        }
    }
}

fn run(caller: &mut Caller, request: Request, stdin: Option<OwnedFd>) {
    let directory = match prepare(&request) {
        Ok(directory) => directory,
        Err(error) => return caller.tell(&Event::Failed(error)),
    };
    match start(caller, request, directory.as_ref(), stdin) {
        Ok(run) => run.watch(caller),
        Err(error) => caller.tell(&Event::Failed(error)),
    }
    let left_behind = directory.and_then(Directory::remove);
    caller.tell(&Event::Cleaned { left_behind });
}

fn prepare(request: &Request) -> Result<Option<Directory>, StartError> {
    request.plan.check()?;
    if !request.plan.wants_directory() {
        return Ok(None);
    }
    match Directory::create(&request.bases) {
        Ok(directory) => Ok(Some(directory)),
        Err(error) => Err(StartError::os(Stage::Directory, error)),
    }
}

/// A child on its way, or already the program.
struct Run {
    tree: Tree,
    limits: Limits,
    since: Instant,
    /// Ends without a byte when the program is executed; before that an error may come.
    birth: Option<UnixStream>,
    failure: Vec<u8>,
    /// When patience ends: with the program, or with its end once somebody asked for that.
    patience: Option<Instant>,
    ending: Option<Reason>,
}

/// The request ends here, and with it the plan is wiped.
///
/// The program is let go only when the caller knows its process: if the helper died, that one could
/// still end it.
fn start(
    caller: &mut Caller,
    request: Request,
    directory: Option<&Directory>,
    stdin: Option<OwnedFd>,
) -> Result<Run, StartError> {
    let process = |error: io::Error| StartError::os(Stage::Process, error);
    let enforcement = enforcement(directory.map(Directory::is_in_memory));
    if let Some(layer) = request
        .plan
        .require
        .iter()
        .find(|layer| !enforcement.has(layer))
    {
        return Err(StartError::new(
            Stage::Confinement,
            Cause::LayerMissing(layer.clone()),
        ));
    }
    let (mut birth, theirs) = UnixStream::pair().map_err(process)?;
    let helper = getpid();
    let leader = match sys::fork().map_err(process)? {
        Some(leader) => leader,
        None => {
            let directory = directory.map(Directory::path);
            become_program(
                &Birth {
                    plan: &request.plan,
                    directory,
                    stdin,
                    helper,
                },
                theirs,
            )
        }
    };
    drop(theirs);
    let tree = Tree::new(leader).map_err(|error| process(error.into()))?;
    caller.tell(&Event::Started {
        leader: leader.as_raw_pid(),
        enforcement,
    });
    let since = Instant::now();
    birth.write_all(&[0]).map_err(process)?;
    let limits = request.plan.limits;
    Ok(Run {
        tree,
        limits,
        since,
        birth: Some(birth),
        failure: Vec::new(),
        patience: since.checked_add(limits.timeout),
        ending: None,
    })
}

impl Run {
    /// Until the leader ends or is made to; then nothing of the tree is left, and the caller knows
    /// how it went.
    fn watch(mut self, caller: &mut Caller) {
        loop {
            let ready = self.wait(caller);
            if !(ready.leader || ready.birth || ready.caller) {
                self.tree.reap_orphans();
            }
            if ready.birth {
                self.hear_birth();
            }
            if ready.caller {
                self.obey(caller);
            }
            if ready.leader || self.is_patience_over() {
                break;
            }
        }
        let duration = self.since.elapsed();
        let reason = self.ending.unwrap_or(Reason::Leader);
        let Ended {
            status,
            leaked,
            survivors,
        } = self.tree.end();
        if let Some(birth) = &mut self.birth
            && !survivors
        {
            let _ = birth.read_to_end(&mut self.failure);
        }
        caller.tell(&if self.failure.is_empty() {
            Event::Ended(End {
                reason,
                status,
                duration,
                leaked,
                survivors,
            })
        } else {
            Event::Failed(failure(&self.failure))
        });
    }

    fn wait(&self, caller: &Caller) -> Ready {
        let reap = Instant::now() + REAP_EVERY;
        let until = self.patience.map_or(reap, |patience| patience.min(reap));
        let watched = [
            Some(self.tree.leader_ended()),
            self.birth.as_ref().map(AsFd::as_fd),
            caller.control.is_open().then(|| caller.control.socket()),
        ];
        // An error of poll itself cannot be waited out: go on as if all were over.
        let ready = wait_for(
            watched.map(|fd| fd.map(|fd| (fd, PollFlags::IN))),
            Some(until),
        );
        let [leader, birth, caller] = ready.unwrap_or([true, false, false]);
        Ready {
            leader,
            birth,
            caller,
        }
    }

    fn hear_birth(&mut self) {
        let Some(birth) = &mut self.birth else { return };
        let mut bytes = [0; 256];
        match birth.read(&mut bytes) {
            Ok(0) => self.birth = None,
            Ok(count) => self.failure.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.birth = None,
        }
    }

    /// Does what the caller asks for. One who is gone, or does not make sense, asks for the end.
    fn obey(&mut self, caller: &mut Caller) {
        let understood = caller.control.fill().is_ok();
        loop {
            match caller.control.next() {
                Ok(Some(Command::Signal(number))) => {
                    if let Some(signal) = Signal::from_named_raw(number) {
                        self.tree.signal(signal);
                    }
                }
                Ok(None) if understood && caller.control.is_open() => return,
                _ => return self.begin_to_end(Reason::Cancel),
            }
        }
    }

    fn begin_to_end(&mut self, reason: Reason) {
        if self.ending.is_none() {
            self.tree.ask_to_end();
            self.ending = Some(reason);
            self.patience = Instant::now().checked_add(self.limits.grace);
        }
    }

    /// At the time limit asks for the end; true when that was not heeded in time either.
    fn is_patience_over(&mut self) -> bool {
        let over = self
            .patience
            .is_some_and(|patience| Instant::now() >= patience);
        let asked = self.ending.is_some();
        if over && !asked {
            self.begin_to_end(Reason::Deadline);
        }
        over && asked
    }
}

struct Ready {
    leader: bool,
    birth: bool,
    caller: bool,
}

fn failure(bytes: &[u8]) -> StartError {
    let mut messages = Messages::default();
    messages.push(bytes);
    match messages.next() {
        Ok(Some(error)) => error,
        _ => StartError::new(Stage::Process, Cause::Malformed),
    }
}
