//! The agent's handle: names, masks and sanitized output. It has no way to a value.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secretctl_runner::{Cancel, Confinement, Enforcement, Stdin};

use super::agent_fields::hide_own;
use super::approve::{Approvals, Approved};
use super::decide::{label, limit, refusal};
use super::desk::Desk;
use super::project::Project;
use super::run::{Ended, Output};
use super::{Broker, Caution, Notice, Outside, RunError};
use crate::audit::{Action, Detail, Outcome, Source};
use crate::name::{EnvName, KeyPattern, SecretName, Tag};
use crate::policy::Purpose;
use crate::sanitize::{Capped, Channel, Redaction, Sanitized};
use crate::time;
use crate::vault::{Entry, Fields, Vault};

/// Shortest value whose last characters are shown in a mask, in bytes.
const MASK_TAIL_FROM_BYTES: usize = 9;
/// Characters of a value that its mask shows.
const MASK_TAIL_CHARACTERS: usize = 4;
/// What stands for the rest, whatever its length.
const MASK: &str = "********";

/// Where agents come in.
pub struct AgentDoor {
    pub(super) broker: Broker,
    /// The project that it was opened for.
    pub(super) project: Arc<Project>,
    /// The project of the roots that were asked for last, with them.
    pub(super) of_roots: Mutex<Option<(Vec<PathBuf>, Arc<Project>)>>,
    /// That of the last command.
    pub(super) last_jail: Mutex<Option<Confinement>>,
    pub(super) approvals: Approvals,
    /// Where questions wait for a terminal.
    pub(super) desk: Option<Desk>,
}

/// Which secrets are listed.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Only those with this tag.
    pub tag: Option<Tag>,
    /// Only those that expire within this time, or have expired.
    pub expiring_within: Option<Duration>,
    /// Only those whose names begin like this.
    pub prefix: Option<String>,
}

/// What an agent may know of a secret beside its masked value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub key: SecretName,
    /// Its fields: names, and whether their values may never be shown.
    pub fields: Vec<(String, bool)>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Text beside it.
    pub notes: Option<String>,
    /// Where it is used.
    pub url: Option<String>,
    /// Unix seconds.
    pub expires_at: Option<i64>,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub updated_at: i64,
}

impl From<Entry> for Listed {
    fn from(entry: Entry) -> Self {
        let Entry {
            name,
            metadata,
            created_at,
            updated_at,
        } = entry;
        let fields = metadata
            .fields
            .into_iter()
            .map(|field| (field.name.into(), field.sensitive));
        Self {
            key: name,
            fields: fields.collect(),
            tags: metadata.tags.into_iter().map(String::from).collect(),
            notes: metadata.notes,
            url: metadata.url,
            expires_at: metadata.expires_at,
            created_at,
            updated_at,
        }
    }
}

/// A secret with its value masked: fixed in length, so that it does not tell the value's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked {
    /// The mask, with the last four characters of a value that has at least 9 bytes.
    pub value: String,
    /// All else.
    pub listed: Listed,
}

/// A command that an agent asks for.
#[derive(Clone, Debug, Default)]
pub struct RunRequest {
    /// Keys and patterns.
    pub keys: Vec<KeyPattern>,
    /// The program, or a whole command line.
    pub command: String,
    /// The program's arguments; none for a whole command line.
    pub arguments: Vec<String>,
    /// Whether a secret that binds no variable is refused, also if it has only one field.
    pub bound: bool,
    /// The environment whose aliases apply.
    pub env: Option<String>,
    /// In front of the names of variables.
    pub env_prefix: Option<EnvName>,
    /// Directories of which the first that can be the project is it; without them it is the one that the door was opened for.
    pub roots: Option<Vec<PathBuf>>,
    /// The directory to run in, below the project's root.
    pub cwd: Option<String>,
    /// The time limit.
    pub timeout: Option<Duration>,
}

/// How far a command has come, for those who wait for it.
#[derive(Debug, Default)]
pub struct Progress(AtomicU64);

impl Progress {
    /// Bytes of output so far, sanitized.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// What an agent gets to know of a command that has ended.
#[derive(Clone, Debug)]
pub struct RunAnswer {
    /// How it ended.
    pub ended: Ended,
    /// What it wrote, sanitized.
    pub stdout: String,
    /// What it wrote to its error stream, sanitized.
    pub stderr: String,
    /// How long it ran.
    pub duration: Duration,
    /// What was hidden.
    pub redactions: Vec<Redaction>,
    /// Bytes of output that were left out for its length.
    pub omitted: u64,
    /// What confined it, and what did not.
    pub enforcement: Enforcement,
}

impl AgentDoor {
    /// Opens the door. Commands may run below `project`, if that is a directory of its own. They see nothing of `outside`.
    pub fn new(vault: Vault, project: &Path, outside: &Outside) -> Self {
        let desk = Desk::new(outside, vault.id());
        let broker = Broker::new(vault, outside, Source::Mcp);
        Self {
            project: Arc::new(Project::new(project, &broker.judge.kept)),
            of_roots: Mutex::default(),
            desk,
            broker,
            last_jail: Mutex::default(),
            approvals: Approvals::default(),
        }
    }

    /// Records that the vault is open to agents from now on, if it is the one that was there last. Gives what a person should know.
    pub fn opened(&self) -> Result<Vec<Caution>, RunError> {
        let cautions = self.broker.enter()?;
        let entry = self.broker.entry(
            Action::VaultUnlock,
            Outcome::Success,
            Vec::new(),
            Detail::default(),
        );
        self.broker.note(entry)?;
        Ok(cautions)
    }

    /// Whether it still leads into the vault.
    pub fn is_open(&self) -> bool {
        self.broker.vault().is_open()
    }

    /// What the policy file's modules had to say beside their answers since this was asked last, for a person to read.
    ///
    /// # Errors
    /// When what has to be recorded of it cannot be.
    pub fn take_notices(&self) -> Result<Vec<Notice>, RunError> {
        self.broker.take_notices()
    }

    /// The secrets that the agent may know of.
    pub fn list(&self, agent: &str, listing: &Listing) -> Result<Vec<Listed>, RunError> {
        let entries = self.broker.vault().entries()?;
        let wanted = |entry: &Entry| {
            let Listing {
                tag,
                expiring_within,
                prefix,
            } = listing;
            tag.as_ref()
                .is_none_or(|tag| entry.metadata.tags.contains(tag))
                && prefix
                    .as_ref()
                    .is_none_or(|prefix| entry.name.as_str().starts_with(prefix.as_str()))
                && expiring_within.is_none_or(|within| expires_within(entry, within))
        };
        // All are asked about before some are chosen: how many of the hidden ones would fit makes no difference in time.
        let visible = self.visible(agent, entries).map(|mut visible| {
            visible.retain(wanted);
            visible
        });
        let visible = self.recorded(agent, Action::SecretList, Vec::new(), visible)?;
        Ok(visible.into_iter().map(Listed::from).collect())
    }

    /// The secrets that a key or pattern means, as far as the agent may know of them.
    pub fn matching(&self, agent: &str, pattern: &KeyPattern) -> Result<Vec<Listed>, RunError> {
        let exact = pattern.exact();
        let visible = match &exact {
            Some(name) => {
                let one = self.visible_one(agent, Purpose::Reference, name);
                one.map(Vec::from_iter)
            }
            None => {
                let visible = self.visible(agent, self.broker.vault().entries()?);
                visible.map(|mut visible| {
                    visible.retain(|entry| pattern.matches(&entry.name));
                    visible
                })
            }
        };
        let keys = exact.into_iter().collect();
        let visible = self.recorded(agent, Action::SecretExists, keys, visible)?;
        Ok(visible.into_iter().map(Listed::from).collect())
    }

    /// A secret with its value masked.
    pub fn masked(&self, agent: &str, name: &SecretName) -> Result<Masked, RunError> {
        let not_found = || RunError::SecretNotFound(name.to_string());
        let entry = (self.visible_one(agent, Purpose::Masked, name))
            .and_then(|visible| visible.ok_or_else(not_found));
        let entry = self.recorded(agent, Action::SecretGetMasked, vec![name.clone()], entry)?;
        let fields = self.broker.vault().reveal(name)?.ok_or_else(not_found)?;
        let value = fields
            .iter()
            .next()
            .map_or_else(|| MASK.to_owned(), |field| mask(field.value.expose()));
        let mut listed = Listed::from(entry);
        self.hide_beside(&mut listed, &fields)?;
        Ok(Masked { value, listed })
    }

    /// Hides a secret's values in notes and URL. Beside a value that is too short to be hidden, these are not shown at all.
    fn hide_beside(&self, listed: &mut Listed, fields: &Fields) -> Result<(), RunError> {
        let Listed {
            key, notes, url, ..
        } = listed;
        let mut texts: Vec<&mut String> = notes.iter_mut().chain(url).collect();
        if !hide_own(&self.broker, key, fields, &mut texts)? {
            texts.into_iter().for_each(|text| *text = MASK.to_owned());
        }
        Ok(())
    }

    /// Runs a command with secrets in its environment and hides them in its output.
    ///
    /// # Errors
    /// [`RunError::Unanswered`] where a person has to be asked first, whose yes is then `approved`. All is decided anew with it.
    pub fn run(
        &self,
        agent: &str,
        request: &RunRequest,
        approved: Option<Approved>,
        cancel: &Cancel,
        progress: &Progress,
    ) -> Result<RunAnswer, RunError> {
        let (grant, job) = match self.decide(agent, request, approved) {
            Ok(allowed) => allowed,
            // Recorded with its question and its answer.
            Err(error @ RunError::Unanswered(_)) => return Err(error),
            Err(error) => {
                self.record_refusal(agent, request, &error)?;
                return Err(error);
            }
        };
        let mut last_jail = (self.last_jail.lock()).unwrap_or_else(PoisonError::into_inner);
        *last_jail = Some(job.start.confinement.clone());
        drop(last_jail);
        let output_bytes = usize::try_from(grant.get().output_bytes).unwrap_or(usize::MAX);
        let (mut stdout, mut stderr) = (Capped::new(output_bytes), Capped::new(output_bytes));
        let mut show = |channel, output: &Sanitized| {
            progress.add(output.as_bytes().len());
            match channel {
                Channel::Stdout => stdout.push(output),
                Channel::Stderr => stderr.push(output),
            }
            ControlFlow::Continue(())
        };
        let finished = self.broker.execute(
            &grant,
            job,
            Stdin::Null,
            cancel,
            Output::Sanitized(&mut show),
        )?;
        Ok(RunAnswer {
            ended: finished.ended,
            omitted: stdout.omitted() + stderr.omitted(),
            stdout: stdout.into_text(),
            stderr: stderr.into_text(),
            duration: finished.duration,
            redactions: finished.redactions,
            enforcement: finished.enforcement,
        })
    }

    /// Records a look at secrets, or that it was refused, before anything is answered.
    pub(super) fn recorded<T>(
        &self,
        agent: &str,
        action: Action,
        keys: Vec<SecretName>,
        found: Result<T, RunError>,
    ) -> Result<T, RunError> {
        let mut detail = Detail {
            agent: Some(label(agent)),
            ..Detail::default()
        };
        let outcome = match &found {
            Ok(_) => Outcome::Success,
            Err(error) => refusal(error, &mut detail),
        };
        limit(&mut detail, 1);
        self.broker
            .note(self.broker.entry(action, outcome, keys, detail))?;
        found
    }
}

fn expires_within(entry: &Entry, within: Duration) -> bool {
    let limit = time::now().saturating_add(i64::try_from(within.as_secs()).unwrap_or(i64::MAX));
    entry.metadata.expires_at.is_some_and(|at| at <= limit)
}

/// The mask of a value. Only printable ASCII is shown of it: anything else could be more than it looks.
fn mask(value: &[u8]) -> String {
    let tail = &value[value.len().saturating_sub(MASK_TAIL_CHARACTERS)..];
    if value.len() < MASK_TAIL_FROM_BYTES || !tail.iter().all(u8::is_ascii_graphic) {
        return MASK.to_owned();
    }
    format!("{MASK}{}", String::from_utf8_lossy(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_does_not_tell_the_length() {
        assert_eq!(mask(b"sk-proj-abc123xyz789"), "********z789");
        assert_eq!(mask(b"123456789"), "********6789");
        for short in [b"".as_slice(), b"1234", b"12345678"] {
            assert_eq!(mask(short), "********");
        }
        assert_eq!(mask(b"line one\nx\n"), "********");
        assert_eq!(mask("größer als".as_bytes()), "********");
        assert_eq!(mask("a value ending in ü".as_bytes()), "********");
    }
}
