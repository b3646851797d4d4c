//! The calling side: starts the helper program, hands it the plan, passes on the output.
//!
//! One loop over poll(2) in the caller's thread. The helper keeps the time limit and kills; this
//! side only steps in when the helper does not answer any more.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::buffer::Buffer;
use crate::cancel::{Cancel, Listener};
use crate::helper::{self, Helper, WAKE_MAX, helper_error};
use crate::layers;
#[cfg(target_os = "linux")]
use crate::origin::Origin;
use crate::outcome::{Cause, Channel, Enforcement, Outcome, Report, Sink, Stage, StartError};
use crate::plan::{Confinement, Home, Limits, Network, Plan, WorkingDirectory};
use crate::steps::Faults;
use crate::wait::wait_for;
use crate::waiting::{Ready, Waiting};
use crate::wire::{Command, End, Event, Expectation, Preparation, Reason, Status};

/// How long the helper may be late before it is woken, which does no harm to one that is merely
/// slow.
const LATE_MAX: Duration = Duration::from_secs(5);

/// How long the helper may take to remove the temporary directory: a million files and more.
const TIDY_MAX: Duration = Duration::from_secs(60);

/// How long an output pipe may stay open and silent after the last process has ended.
const SILENCE_MAX: Duration = Duration::from_millis(500);

/// Runs plans, each in a helper process of its own. Cheap to make and to share.
///
/// On Linux a core dump of the calling process holds no memory from the first run on, since helper
/// and child inherit that.
#[derive(Clone)]
pub struct Runner {
    helper: PathBuf,
    faults: Faults,
    waiting: Arc<Mutex<Waiting>>,
    /// Makes the helpers, once some are started ahead.
    #[cfg(target_os = "linux")]
    origin: Arc<Mutex<Option<Origin>>>,
    /// Helpers whose runs are over and who are about to end.
    dismissed: Arc<Mutex<Vec<Helper>>>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("helper", &self.helper)
            .finish_non_exhaustive()
    }
}

/// What the child reads.
#[derive(Clone, Copy, Debug)]
pub enum Stdin<'a> {
    /// Nothing: it is at its end at once.
    Null,
    /// This descriptor.
    Inherit(BorrowedFd<'a>),
}

impl Runner {
    /// The helper program that was installed with the running program: in the same directory, or
    /// one above for tests and examples of a cargo build.
    ///
    /// # Errors
    ///
    /// [`Stage::Helper`] with [`Cause::NotFound`], or [`Cause::NotTrusted`] if somebody else could
    /// have written it.
    pub fn beside_current_exe() -> Result<Self, StartError> {
        let runner = helper::beside_current_exe().map(Runner::at)?;
        #[cfg(debug_assertions)]
        if let Ok(layers) = std::env::var("SECRETCTL_RUNNER_WITHOUT") {
            return Ok(runner.without(&layers.split(',').collect::<Vec<_>>()));
        }
        Ok(runner)
    }

    /// The helper program at this path, which the caller vouches for.
    pub fn at(helper: PathBuf) -> Self {
        Runner {
            helper,
            faults: Faults::default(),
            waiting: Arc::default(),
            #[cfg(target_os = "linux")]
            origin: Arc::default(),
            dismissed: Arc::default(),
        }
    }

    /// Starts a helper ahead and lets it shut itself in as far as that is possible without a plan,
    /// so that the next run with this confinement pays for little more than the execution; and
    /// another one for any jail with the same network, so that one that is not expected does not pay
    /// for its start. They wait without doing anything, are used for one run at most, and end with
    /// this process. There is one of each at a time; nothing happens if they are there already. From
    /// then on one more process is there, of which the helpers are made, until the last handle of this
    /// runner is dropped.
    ///
    /// # Errors
    ///
    /// When a helper cannot be started. A layer that it cannot put on is no error here.
    pub fn warm_up(&self, confinement: &Confinement) -> Result<(), StartError> {
        self.originate();
        self.keep_ready(self.preparation(confinement, true))?;
        match confinement {
            Confinement::Jail(jail) => self.keep_spare(jail.network),
            Confinement::Base => Ok(()),
        }
    }

    /// Starts a helper for one run that will be asked for in a moment: in a jail with this network, or else with its caller's home and
    /// in a directory that is there. It prepares meanwhile. A run of another kind gets one of its own.
    ///
    /// # Errors
    ///
    /// As [`Runner::warm_up`].
    pub fn expect(&self, jail: Option<Network>) -> Result<(), StartError> {
        match jail {
            Some(network) => self.keep_spare(network),
            None => self.keep_ready(self.preparation(&Confinement::Base, false)),
        }
    }

    fn keep_ready(&self, preparation: Preparation) -> Result<(), StartError> {
        let is_ready = self
            .waiting()
            .ready
            .as_mut()
            .is_some_and(|ready| ready.is_for(&preparation) && ready.helper.is_alive());
        if !is_ready {
            let ready = Ready::begin(preparation, |preparation| self.unprepared(preparation))?;
            let cold = self.waiting().ready.replace(ready);
            drop(cold);
        }
        Ok(())
    }

    fn keep_spare(&self, network: Network) -> Result<(), StartError> {
        let has_spare = self
            .waiting()
            .spare
            .as_mut()
            .is_some_and(|(other, helper)| *other == network && helper.is_alive());
        if !has_spare {
            let expectation = Expectation {
                network,
                faults: self.faults.clone(),
            };
            let spare = self.start(&Command::Expect(expectation))?;
            let other = self.waiting().spare.replace((network, spare));
            drop(other);
        }
        Ok(())
    }

    /// What this machine can enforce: found out by a run that does nothing.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn probe(&self, confinement: &Confinement) -> Result<Enforcement, StartError> {
        let plan = Plan {
            program: "/bin/sleep".into(),
            expect: None,
            // Long enough for a look at it.
            argv: vec!["sleep".into(), "0.1".into()],
            environment: Vec::new(),
            home: Home::Temporary,
            working_directory: WorkingDirectory::Temporary,
            limits: Limits::default(),
            require: Vec::new(),
            confinement: confinement.clone(),
        };
        let mut sink = |_, _: &[u8]| ControlFlow::Continue(());
        let report = self.run(plan, Stdin::Null, &Cancel::new(), &mut sink)?;
        Ok(report.enforcement)
    }

    /// For tests of the fallbacks: treats these layers as if the machine did not have them.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn without(mut self, layers: &[&str]) -> Self {
        self.faults = Faults(layers.iter().map(|&layer| layer.to_owned()).collect());
        self.waiting = Arc::default();
        self
    }

    fn preparation(&self, confinement: &Confinement, directory: bool) -> Preparation {
        Preparation {
            confinement: confinement.clone(),
            directory,
            bases: helper::bases(),
            faults: self.faults.clone(),
        }
    }

    /// One that was started ahead for just this, if there is one.
    fn helper(&self, preparation: &Preparation) -> Result<Helper, StartError> {
        let mut waiting = self.waiting();
        let ready = waiting.ready.take_if(|ready| ready.is_for(preparation));
        drop(waiting);
        if let Some(Ready { mut helper, .. }) = ready
            && helper.is_alive()
        {
            return Ok(helper);
        }
        self.unprepared(preparation)
    }

    /// One that begins to prepare: the spare one, or a new one.
    fn unprepared(&self, preparation: &Preparation) -> Result<Helper, StartError> {
        let expects = |network| matches!(&preparation.confinement, Confinement::Jail(jail) if jail.network == network);
        let spare = self
            .waiting()
            .spare
            .take_if(|(network, _)| expects(*network));
        if let Some((_, mut helper)) = spare
            && helper.is_alive()
        {
            helper.prepare(preparation)?;
            return Ok(helper);
        }
        self.start(&Command::Prepare(preparation.clone()))
    }

    #[cfg(target_os = "linux")]
    fn start(&self, first: &Command) -> Result<Helper, StartError> {
        Helper::start(first, |descriptors| {
            let mut origin = self.origin();
            let born = origin.as_mut().map(|origin| origin.bear(descriptors));
            if let Some(Ok(helper)) = born {
                return Ok(helper);
            }
            // The next one is made when helpers are started ahead again.
            drop(origin.take());
            drop(origin);
            helper::spawn(&self.helper, descriptors)
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn start(&self, first: &Command) -> Result<Helper, StartError> {
        Helper::start(first, |descriptors| {
            helper::spawn(&self.helper, descriptors)
        })
    }

    /// Without an origin each helper is started by itself.
    fn originate(&self) {
        #[cfg(target_os = "linux")]
        {
            let mut origin = self.origin();
            if origin.is_none() {
                *origin = Origin::start(&self.helper).ok();
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn origin(&self) -> MutexGuard<'_, Option<Origin>> {
        self.origin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for those helpers that have ended, and not for this one, which is about to. The last
    /// are waited for when the last handle of this runner is dropped.
    fn dismiss(&self, helper: Helper) {
        let dismissed = self.dismissed.lock();
        let mut dismissed = dismissed.unwrap_or_else(PoisonError::into_inner);
        dismissed.retain_mut(Helper::is_alive);
        dismissed.push(helper);
    }

    /// A panic elsewhere leaves nothing half done here.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the plan to its end and returns when no process of it is left but our own (the helper, and
    /// the first one of the namespaces), which end in a moment. Output goes to `sink` as it comes, in order within each channel, in pieces of at most 64 KiB; nothing that was
    /// written is lost.
    ///
    /// Blocks the calling thread; `cancel` ends it from others.
    ///
    /// # Errors
    ///
    /// When the program was not started; everything that happens after that is a [`Report`].
    pub fn run(
        &self,
        plan: Plan,
        stdin: Stdin<'_>,
        cancel: &Cancel,
        sink: &mut Sink<'_>,
    ) -> Result<Report, StartError> {
        plan.check()?;
        if cancel.is_cancelled() {
            return Ok(Report::not_started(Outcome::Cancelled));
        }
        let preparation = self.preparation(&plan.confinement, plan.wants_directory());
        let mut helper = self.helper(&preparation)?;
        let mut run = Run::new(&plan.limits, stdin, cancel.listen().map_err(helper_error)?);
        helper.give(plan, run.stdin.is_some())?;
        while !run.is_over(&helper) {
            run.turn(&mut helper, sink)?;
        }
        self.dismiss(helper);
        run.report()
    }
}

/// What is known about the run so far.
struct Run<'a> {
    listener: Listener,
    /// To be sent with the plan.
    stdin: Option<BorrowedFd<'a>>,
    buffer: Buffer,
    grace: Duration,
    /// When the helper should long have answered; none if the plan has no limit.
    overdue: Option<Instant>,
    /// The helper did not answer in time and was woken.
    woken: bool,
    stopped: bool,
    cancelled: bool,
    started: Option<(i32, Enforcement)>,
    failed: Option<StartError>,
    ended: Option<End>,
    left_behind: Option<PathBuf>,
    /// The helper has nothing more to do.
    cleaned: bool,
    /// Since when nothing was heard, once the helper is gone.
    silent_since: Option<Instant>,
    pipe_held: bool,
}

impl<'a> Run<'a> {
    fn new(limits: &Limits, stdin: Stdin<'a>, listener: Listener) -> Self {
        let patience = limits
            .timeout
            .saturating_add(limits.grace)
            .saturating_add(LATE_MAX);
        Run {
            listener,
            stdin: match stdin {
                Stdin::Null => None,
                Stdin::Inherit(descriptor) => Some(descriptor),
            },
            buffer: Buffer::new(),
            grace: limits.grace,
            overdue: Instant::now().checked_add(patience),
            woken: false,
            stopped: false,
            cancelled: false,
            started: None,
            failed: None,
            ended: None,
            left_behind: None,
            cleaned: false,
            silent_since: None,
            pipe_held: false,
        }
    }

    fn is_over(&self, helper: &Helper) -> bool {
        let drained = helper.stdout.is_none() && helper.stderr.is_none();
        (self.cleaned || !helper.control.is_open()) && (drained || self.pipe_held)
    }

    /// Waits until there is something to do, and does it.
    fn turn(&mut self, helper: &mut Helper, sink: &mut Sink<'_>) -> Result<(), StartError> {
        let [stdout, stderr, control, listener] = self.wait(helper).map_err(helper_error)?;
        if stdout {
            self.pass_on(Channel::Stdout, helper, sink)
                .map_err(helper_error)?;
        }
        if stderr {
            self.pass_on(Channel::Stderr, helper, sink)
                .map_err(helper_error)?;
        }
        if listener {
            self.listen(helper).map_err(helper_error)?;
        }
        if control {
            self.hear(helper)?;
        }
        helper
            .control
            .flush(&mut self.stdin)
            .map_err(helper_error)?;
        self.keep_time(helper, stdout || stderr);
        Ok(())
    }

    fn wait(&self, helper: &Helper) -> io::Result<[bool; 4]> {
        let control = &helper.control;
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, control.has_leaving());
        let watched = [
            helper
                .stdout
                .as_ref()
                .map(|pipe| (pipe.as_fd(), PollFlags::IN)),
            helper
                .stderr
                .as_ref()
                .map(|pipe| (pipe.as_fd(), PollFlags::IN)),
            control.is_open().then(|| (control.socket(), wanted)),
            (!self.cancelled).then(|| (self.listener.reader.as_fd(), PollFlags::IN)),
        ];
        let until = match self.silent_since {
            Some(since) => Some(since + SILENCE_MAX),
            None => self.overdue,
        };
        wait_for(watched, until)
    }

    /// Reads a channel once. After a stop the rest is read and dropped, so that nobody waits for
    /// us.
    fn pass_on(
        &mut self,
        channel: Channel,
        helper: &mut Helper,
        sink: &mut Sink<'_>,
    ) -> io::Result<()> {
        let bytes = match channel {
            Channel::Stdout => self.buffer.read_once(&mut helper.stdout)?,
            Channel::Stderr => self.buffer.read_once(&mut helper.stderr)?,
        };
        if !bytes.is_empty() && !self.stopped && sink(channel, bytes).is_break() {
            self.stopped = true;
            self.ask_to_end(helper);
        }
        Ok(())
    }

    /// Passes on signals, and the cancel.
    fn listen(&mut self, helper: &mut Helper) -> io::Result<()> {
        let mut numbers = [0; 16];
        let count = self.listener.reader.read(&mut numbers)?;
        for &number in &numbers[..count] {
            // A message of a few bytes is never too long.
            let _ = helper.control.queue(&Command::Signal(number.into()));
        }
        if count == 0 {
            self.cancelled = true;
            self.ask_to_end(helper);
        }
        Ok(())
    }

    fn ask_to_end(&mut self, helper: &mut Helper) {
        let _ = helper.control.queue(&Command::Cancel);
        let patience = Instant::now().checked_add(self.grace.saturating_add(LATE_MAX));
        self.overdue = [self.overdue, patience].into_iter().flatten().min();
    }

    /// Takes in what the helper says.
    fn hear(&mut self, helper: &mut Helper) -> Result<(), StartError> {
        helper.control.fill().map_err(helper_error)?;
        let malformed = |_| StartError::new(Stage::Helper, Cause::Malformed);
        while let Some(event) = helper.control.next().map_err(malformed)? {
            match event {
                Event::Started {
                    leader,
                    enforcement,
                } => self.started = Some((leader, enforcement)),
                Event::Failed(error) => self.failed = Some(error),
                Event::Ended(end) => {
                    if let (Some((_, enforcement)), Some(hidden)) =
                        (&mut self.started, end.environment_hidden)
                    {
                        enforcement.replace(layers::environment(hidden));
                    }
                    self.ended = Some(end);
                }
                Event::Cleaned { left_behind } => {
                    self.left_behind = left_behind;
                    self.cleaned = true;
                }
            }
            if self.ended.is_some() || self.failed.is_some() {
                // From here on it only tidies up.
                self.overdue = Some(Instant::now() + TIDY_MAX);
            }
        }
        Ok(())
    }

    /// Steps in where the helper should have.
    fn keep_time(&mut self, helper: &mut Helper, heard: bool) {
        let now = Instant::now();
        if self.cleaned || !helper.control.is_open() {
            if self.silent_since.is_none() && self.ended.is_none() {
                self.kill_leader();
            }
            match self.silent_since {
                Some(since) if !heard => self.pipe_held = now >= since + SILENCE_MAX,
                _ => self.silent_since = Some(now),
            }
        } else if self.overdue.is_some_and(|overdue| now >= overdue) {
            if self.woken {
                self.kill_leader();
                helper.signal(Signal::KILL);
                self.overdue = None;
            } else {
                // The program may have stopped it, being of the same user.
                helper.signal(Signal::CONT);
                self.woken = true;
                self.overdue = Some(now + WAKE_MAX);
            }
        }
    }

    /// Without a helper that could do it better.
    fn kill_leader(&self) {
        if let Some(leader) = self
            .started
            .as_ref()
            .and_then(|(leader, _)| Pid::from_raw(*leader))
        {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }

    fn report(self) -> Result<Report, StartError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let Some((_, enforcement)) = self.started else {
            if self.cancelled {
                return Ok(Report::not_started(Outcome::Cancelled));
            }
            return Err(StartError::new(Stage::Helper, Cause::Died));
        };
        let outcome = match &self.ended {
            _ if self.stopped => Outcome::Stopped,
            Some(End {
                reason: Reason::Deadline,
                ..
            }) => Outcome::TimedOut,
            Some(End {
                reason: Reason::Cancel,
                ..
            }) => Outcome::Cancelled,
            Some(End {
                status: Status::Exited(code),
                ..
            }) => Outcome::Exited { code: *code },
            Some(End {
                status: Status::Signaled(signal),
                ..
            }) => Outcome::Signaled { signal: *signal },
            Some(End {
                status: Status::Unknown,
                ..
            }) => Outcome::Lost,
            None if self.cancelled => Outcome::Cancelled,
            None if self.woken => Outcome::TimedOut,
            None => Outcome::Lost,
        };
        let end = self.ended.as_ref();
        Ok(Report {
            outcome,
            duration: end.map_or(Duration::ZERO, |end| end.duration),
            enforcement,
            leaked: end.is_some_and(|end| end.leaked),
            survivors: self.pipe_held || end.is_none_or(|end| end.survivors),
            left_behind: self.left_behind,
        })
    }
}
