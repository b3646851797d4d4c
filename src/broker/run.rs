//! The second half of every run, whoever asked for it: values, plan, child, output, and the record of how it ended.

use std::ops::ControlFlow;
use std::time::Duration;

use secretctl_runner::{self as runner, Cancel, Enforcement, Outcome, Stdin, Stop};

use super::hide;
use super::plan::{self, Injection, Start};
use super::selection::{Selected, Variables};
use super::short::{Short, shortness};
use super::{Broker, RunError};
use crate::audit::{self, Action, Detail, Recorded};
use crate::name::SecretName;
use crate::policy::Grant;
use crate::sanitize::{Channel, Redaction, Sanitized, Sanitizer, Withheld};
use crate::secret::SecretBytes;
use crate::wasm::{CustomSanitizer, SanitizerRun};

/// The name that markers show where the master password stood.
const PASSWORD_MARKER: &str = "master-password";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// By the time limit.
    TimedOut,
    /// Because whoever asked for it cancelled it, or did not want more output.
    Cancelled,
}

/// A command that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub ended: Ended,
    /// How long it ran.
    pub duration: Duration,
    /// What was hidden in its output.
    pub redactions: Vec<Redaction>,
    /// What confined it, and what did not.
    pub enforcement: Enforcement,
    /// Secrets with a value of fewer than 4 bytes, which was hidden wherever the same bytes stand.
    pub short: Vec<SecretName>,
}

/// A run that policy, or a person, has allowed.
pub(super) struct Job {
    pub(super) start: Start,
    pub(super) selected: Vec<Selected>,
    /// Those of each selected secret.
    pub(super) variables: Vec<Variables>,
    /// All values of all of them.
    pub(super) values: Vec<Injection>,
    /// The built-in one, which knows them.
    pub(super) sanitizer: Sanitizer<SanitizerRun>,
    /// They work behind that one.
    pub(super) sanitizers: Vec<CustomSanitizer>,
    /// What the records say of it.
    pub(super) detail: Detail,
}

/// Where output goes. `Break` ends the command.
pub(super) enum Output<'a> {
    Sanitized(&'a mut dyn FnMut(Channel, &Sanitized) -> ControlFlow<Stop>),
    /// Only a person can choose this.
    Raw(&'a mut dyn FnMut(Channel, &[u8]) -> ControlFlow<Stop>),
}

impl Broker {
    /// Runs what was recorded as allowed, and records how it ended.
    pub(super) fn execute(
        &self,
        grant: &Recorded<Grant>,
        job: Job,
        stdin: Stdin,
        cancel: &Cancel,
        output: Output<'_>,
    ) -> Result<Finished, RunError> {
        let mut detail = Detail {
            decision: Some(grant.id().id.clone()),
            ..job.detail.clone()
        };
        let keys = job.selected.iter().map(|one| one.name.clone()).collect();
        let (selected, variables) = (job.selected.clone(), job.variables.clone());
        let finished = self.run_child(grant, job, stdin, cancel, output);
        let result = describe(&finished, &mut detail);
        if let Some(reason) = &mut detail.reason {
            let hidden = (self.reveal(&selected, &variables, 0))
                .and_then(|values| self.hide_in(&hide::named(&values), &mut [reason]));
            // How it ended is recorded all the same.
            if let Err(error) = hidden {
                *reason = format!("not recorded: {error}");
            }
        }
        self.note(self.entry(Action::SecretRunOutcome, result, keys, detail))?;
        finished
    }

    fn run_child(
        &self,
        grant: &Recorded<Grant>,
        job: Job,
        stdin: Stdin,
        cancel: &Cancel,
        output: Output<'_>,
    ) -> Result<Finished, RunError> {
        let injections = job.values;
        let mut short = Vec::new();
        let show = match output {
            Output::Raw(show) => Show::Raw(show),
            Output::Sanitized(show) => {
                let is_short = |one: &&Injection| {
                    one.sensitive && shortness(&one.value) == Some(Short::Unusable)
                };
                short.extend(
                    injections
                        .iter()
                        .filter(is_short)
                        .map(|one| one.key.clone()),
                );
                short.dedup();
                let mut sanitizer = job.sanitizer;
                for custom in &job.sanitizers {
                    sanitizer = sanitizer.then(&*custom.identity().name, custom.start()?);
                }
                Show::Sanitized(Box::new((sanitizer, Sanitized::default())), show)
            }
        };
        let plan = plan::build(grant, job.start, &injections);
        drop(injections);
        let mut relay = Relay {
            show,
            failure: None,
        };
        let program = plan.program.clone();
        let report = (self.runner()?)
            .run(plan, stdin, cancel, &mut |channel, chunk| {
                relay.push(channel, chunk)
            })
            .map_err(|error| RunError::Start { program, error })?;
        let redactions = relay.finish()?;
        let ended = match report.outcome {
            Outcome::Exited { code } => Ended::Exited(code),
            Outcome::Signaled { signal } => Ended::Signaled(signal),
            Outcome::TimedOut => Ended::TimedOut,
            Outcome::Stopped | Outcome::Cancelled => Ended::Cancelled,
            Outcome::Lost => return Err(RunError::HelperLost),
        };
        Ok(Finished {
            ended,
            duration: report.duration,
            redactions,
            enforcement: report.enforcement,
            short,
        })
    }

    /// All values of all selected secrets, with the variables they go into.
    pub(super) fn reveal(
        &self,
        selected: &[Selected],
        variables: &[Variables],
        value_min_bytes: usize,
    ) -> Result<Vec<Injection>, RunError> {
        let vault = self.vault();
        let mut injections = Vec::new();
        for (Selected { name, asked, .. }, variables) in selected.iter().zip(variables) {
            let not_found = || RunError::SecretNotFound(asked.clone());
            let fields = vault.reveal(name)?.ok_or_else(not_found)?;
            // Somebody may have changed the secret since its variables were looked up.
            if variables
                .iter()
                .any(|(_, field)| fields.get(field.as_str()).is_none())
            {
                return Err(not_found());
            }
            for field in fields {
                if field.sensitive && field.value.len() < value_min_bytes {
                    return Err(RunError::TooShort(name.clone()));
                }
                let gets_it = variables.iter().filter(|(_, bound)| *bound == field.name);
                injections.push(Injection {
                    variables: gets_it.map(|(variable, _)| variable.clone()).collect(),
                    key: name.clone(),
                    value: field.value,
                    sensitive: field.sensitive,
                });
            }
        }
        Ok(injections)
    }

    /// A sanitizer that knows these values, each with the name of its secret, and the master password.
    pub(super) fn sanitizer<'a>(
        &self,
        values: impl Iterator<Item = (&'a str, &'a SecretBytes)>,
    ) -> Result<Sanitizer<SanitizerRun>, RunError> {
        let password = self.vault().password().map(SecretBytes::duplicate);
        let mut secrets: Vec<(&str, &SecretBytes)> = Vec::new();
        for (name, value) in values {
            secrets.push((name, value));
        }
        secrets.extend(password.iter().map(|password| (PASSWORD_MARKER, password)));
        Ok(Sanitizer::new(self.built_in_sanitizer()?.start(secrets)?))
    }
}

/// Takes output from the runner and shows it, until something goes wrong.
struct Relay<'a> {
    show: Show<'a>,
    failure: Option<Withheld>,
}

enum Show<'a> {
    Sanitized(
        Box<(Sanitizer<SanitizerRun>, Sanitized)>,
        &'a mut dyn FnMut(Channel, &Sanitized) -> ControlFlow<Stop>,
    ),
    Raw(&'a mut dyn FnMut(Channel, &[u8]) -> ControlFlow<Stop>),
}

impl Relay<'_> {
    fn push(&mut self, channel: runner::Channel, chunk: &[u8]) -> ControlFlow<Stop> {
        let channel = match channel {
            runner::Channel::Stdout => Channel::Stdout,
            runner::Channel::Stderr => Channel::Stderr,
        };
        match &mut self.show {
            Show::Raw(show) => show(channel, chunk),
            Show::Sanitized(search, show) => {
                match search.0.push_into(channel, chunk, &mut search.1) {
                    Ok(()) => show(channel, &search.1),
                    Err(withheld) => {
                        self.failure = Some(withheld);
                        ControlFlow::Break(Stop)
                    }
                }
            }
        }
    }

    /// Shows what was still held back.
    fn finish(self) -> Result<Vec<Redaction>, RunError> {
        if let Some(withheld) = self.failure {
            return Err(withheld.into());
        }
        let Show::Sanitized(search, show) = self.show else {
            return Ok(Vec::new());
        };
        let (mut sanitizer, _) = *search;
        for channel in [Channel::Stdout, Channel::Stderr] {
            let rest = sanitizer.finish(channel)?;
            // The command is over: nobody is left to be stopped.
            let _ = show(channel, &rest);
        }
        Ok(sanitizer.redactions())
    }
}

fn describe(finished: &Result<Finished, RunError>, detail: &mut Detail) -> audit::Outcome {
    match finished {
        Ok(Finished {
            ended,
            duration,
            redactions,
            enforcement,
            short: _,
        }) => {
            detail.duration_ms = Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
            detail.redactions = redactions.iter().map(logged).collect();
            detail.enforced = layers(enforcement, true);
            detail.not_enforced = layers(enforcement, false);
            let (exit_code, how) = match ended {
                Ended::Exited(code) => (Some(*code), "exited".to_owned()),
                Ended::Signaled(signal) => (None, format!("ended by signal {signal}")),
                Ended::TimedOut => (None, "timed out".to_owned()),
                Ended::Cancelled => (None, "cancelled".to_owned()),
            };
            detail.exit_code = exit_code;
            detail.ended = Some(how);
            if exit_code == Some(0) {
                audit::Outcome::Success
            } else {
                audit::Outcome::Error
            }
        }
        Err(error) => {
            detail.reason = Some(error.to_string());
            audit::Outcome::Error
        }
    }
}

pub(super) fn logged(redaction: &Redaction) -> audit::Redaction {
    let Redaction { key, form, count } = redaction.clone();
    audit::Redaction { key, form, count }
}

fn layers(enforcement: &Enforcement, enforced: bool) -> Vec<String> {
    let layers = enforcement
        .layers
        .iter()
        .filter(|layer| layer.enforced == enforced);
    layers.map(|layer| layer.name.clone()).collect()
}
