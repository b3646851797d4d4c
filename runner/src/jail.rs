//! The helper program: one thread that starts one child, watches it and ends it.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::process::{Resource, Rlimit, Signal, setrlimit};

use crate::control::Control;
use crate::directory::Directory;
use crate::outcome::{Cause, Enforcement, Stage, StartError};
use crate::plan::Limits;
use crate::prepare::{self, Ahead, Prepared};
use crate::steps;
#[cfg(target_os = "linux")]
use crate::steps::identity::Identity;
use crate::sys::{self, Above2};
use crate::tree::{Ended, Tree};
use crate::wait::wait_for;
use crate::wire::{Birth, Command, End, Event, Preparation, Reason, Request};

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
        Ok((preparation, ahead)) => {
            run(&mut Caller { control }, &preparation, ahead);
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
        // It may have been started as a descriptor's number.
        let _ = rustix::thread::set_name(c"secretctl-runner");
        let _ =
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    }
    adopt_orphans();
}

/// What loses its parent becomes our child. A new process does not inherit that.
fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// What is to be prepared. Nothing of the plan that may follow is read along with it, so no process
/// that is made until that is read has a copy of a secret.
fn receive(control: &mut Control<io::Stdin>) -> io::Result<(Preparation, Option<Ahead>)> {
    let mut ahead = None;
    loop {
        match control.next() {
            #[cfg(target_os = "linux")]
            Ok(Some(Command::Multiply)) => {
                crate::origin::multiply(control)?;
                adopt_orphans();
            }
            // Where it cannot be had, preparing says why.
            Ok(Some(Command::Expect(jail))) => ahead = Ahead::make(jail).ok(),
            Ok(Some(Command::Prepare(preparation))) => return Ok((preparation, ahead)),
            Ok(None) if control.is_open() => control.fill_message()?,
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

fn run(caller: &mut Caller, preparation: &Preparation, ahead: Option<Ahead>) {
    let mut directory = None;
    let mut tree = None;
    match prepare::prepare(preparation, ahead) {
        Ok(mut prepared) => {
            directory = prepared.directory.take();
            tree = serve(caller, prepared, preparation);
        }
        Err(error) => caller.tell(&Event::Failed(error)),
    }
    let left_behind = directory.and_then(Directory::remove);
    caller.tell(&Event::Cleaned { left_behind });
    // The first process of a namespace that is empty already may take a moment.
    drop(tree);
}

/// Waits for the plan, and carries it out.
fn serve(caller: &mut Caller, prepared: Prepared, preparation: &Preparation) -> Option<Tree> {
    // If that fails, the end of the output is seen a moment later.
    let _ = prepare::close_output();
    // A caller who has no use for the prepared run just goes.
    let (request, stdin) = steps::receive(&mut caller.control).ok()?;
    match start(caller, prepared, request, stdin, preparation) {
        Ok(run) => Some(run.watch(caller)),
        Err(error) => {
            caller.tell(&Event::Failed(error));
            None
        }
    }
}

/// A child on its way, or already the program.
struct Run {
    tree: Tree,
    limits: Limits,
    since: Instant,
    /// Ends without a message when the program is executed; before that an error may come.
    birth: Option<Control<UnixStream>>,
    failure: Option<StartError>,
    /// Whether others can read the environment, once the program is executed.
    hidden: Option<bool>,
    /// Whether that is to be looked at.
    #[cfg(target_os = "linux")]
    look: bool,
    #[cfg(target_os = "linux")]
    identity: Option<Identity>,
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
    prepared: Prepared,
    #[cfg_attr(not(target_os = "linux"), expect(unused_mut, reason = "for Linux"))]
    mut request: Request,
    stdin: Option<OwnedFd>,
    preparation: &Preparation,
) -> Result<Run, StartError> {
    request.plan.check()?;
    #[cfg_attr(not(target_os = "linux"), expect(unused_mut, reason = "for Linux"))]
    let Prepared {
        mut tree,
        mut birth,
        mut enforcement,
        #[cfg(target_os = "linux")]
        identity,
        #[cfg(target_os = "linux")]
        loader,
        ..
    } = prepared;
    #[cfg(target_os = "linux")]
    if let Some(loader) = &loader
        && !tree.protect(&mut request.plan, loader)?
    {
        enforcement.replace(crate::layers::environment(false));
    }
    require(&request, &enforcement, preparation)?;
    #[cfg(target_os = "linux")]
    let look = enforcement.has(crate::layers::ENVIRONMENT);
    caller.tell(&Event::Started {
        leader: tree.leader().as_raw_pid(),
        enforcement,
    });
    let since = Instant::now();
    let limits = request.plan.limits;
    let queued = birth.queue(&Command::Start(request));
    queued.map_err(|_| StartError::new(Stage::Plan, Cause::TooLarge))?;
    birth
        .flush(&mut stdin.as_ref().map(AsFd::as_fd))
        .map_err(|error| StartError::os(Stage::Process, error))?;
    Ok(Run {
        tree,
        limits,
        since,
        birth: Some(birth),
        failure: None,
        hidden: None,
        #[cfg(target_os = "linux")]
        look,
        #[cfg(target_os = "linux")]
        identity,
        patience: since.checked_add(limits.timeout),
        ending: None,
    })
}

/// A run without a layer that its plan requires is not started; nor is one that was prepared for
/// another plan.
fn require(
    request: &Request,
    enforcement: &Enforcement,
    preparation: &Preparation,
) -> Result<(), StartError> {
    let plan = &request.plan;
    if plan.confinement != preparation.confinement
        || plan.wants_directory() != preparation.directory
    {
        return Err(StartError::new(Stage::Helper, Cause::Malformed));
    }
    match plan.require.iter().find(|layer| !enforcement.has(layer)) {
        Some(layer) => {
            let cause = Cause::LayerMissing(layer.clone());
            Err(StartError::new(Stage::Confinement, cause))
        }
        None => Ok(()),
    }
}

impl Run {
    /// Until the leader ends or is made to; then nothing of the tree is left, and the caller knows
    /// how it went.
    fn watch(mut self, caller: &mut Caller) -> Tree {
        // What came along with the plan is not announced by the socket any more.
        self.heed(caller, true);
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
        if !survivors {
            while self.birth.is_some() {
                self.hear_birth();
            }
        }
        caller.tell(&match self.failure {
            None => Event::Ended(End {
                reason,
                status,
                duration,
                leaked,
                survivors,
                environment_hidden: self.hidden,
            }),
            Some(error) => Event::Failed(error),
        });
        self.tree
    }

    fn wait(&self, caller: &Caller) -> Ready {
        let reap = Instant::now() + REAP_EVERY;
        let until = self.patience.map_or(reap, |patience| patience.min(reap));
        let watched = [
            Some(self.tree.leader_ended()),
            self.birth.as_ref().map(Control::socket),
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

    /// The new process's last word, or the end of its socket when it has become the program.
    fn hear_birth(&mut self) {
        let Some(birth) = &mut self.birth else { return };
        let understood = birth.fill();
        match birth.next() {
            Ok(Some(Birth::Failed(error))) => self.failure = Some(error),
            Ok(None) if understood.is_ok() && birth.is_open() => {}
            Ok(None) => {
                self.birth = None;
                #[cfg(target_os = "linux")]
                if self.look && self.failure.is_none() {
                    self.hidden = self.tree.hides_environment(self.identity);
                }
            }
            Ok(Some(Birth::Ready(_))) | Err(_) => {
                self.failure = Some(StartError::new(Stage::Process, Cause::Malformed));
                self.birth = None;
            }
        }
    }

    /// Does what the caller asks for. One who is gone, or does not make sense, asks for the end.
    fn obey(&mut self, caller: &mut Caller) {
        let understood = caller.control.fill().is_ok();
        self.heed(caller, understood);
    }

    /// Takes what has arrived already.
    fn heed(&mut self, caller: &mut Caller, understood: bool) {
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
