//! From a question to a grant: by a person's answer about exactly this command, on disk before anything runs.
//!
//! ```text
//! Ask ─▶ Unanswered ─put─▶ Put (recorded) ─answered─▶ Approved (recorded) ─▶ all is decided anew ─▶ the same digest ─▶ Grant
//! ```
//!
//! Nothing is carried over from the question to the run but the digest of what was shown: whatever has changed since is asked about
//! again.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::asked::{Asked, Digest};
use super::{AgentDoor, RunError};
use crate::audit::{Action, Approval, Detail, Entry, Outcome, Recorded};
use crate::crypto::{self, CryptoError, Key};
use crate::name::SecretName;
use crate::policy::{Grant, Question};
use crate::text::hex;
use crate::time::Span;
use crate::vault::VaultError;

/// Questions that wait at the same time: more than a person could think about, and no more than are shown one below the other.
const WAITING_MAX: usize = 16;
/// Answers that are kept for a session. Behind them, each holds once.
const REMEMBERED_MAX: usize = 256;
/// What stands in front of the parts of an answer's code, so that it is one of nothing else.
const LABEL: &[u8] = b"secretctl answer v1";

/// What a person answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// This one time.
    #[serde(rename = "allow once")]
    Once,
    /// Each time that exactly this is asked for, while the server runs.
    #[serde(rename = "allow for this session")]
    Session,
    /// Not this time.
    #[serde(rename = "deny")]
    No,
    /// At no time that exactly this is asked for, while the server runs.
    #[serde(rename = "deny for this session")]
    Never,
}

impl Answer {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Once, Self::Session, Self::No, Self::Never];

    /// In words, which are those of protocols and of the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Once => "allow once",
            Self::Session => "allow for this session",
            Self::No => "deny",
            Self::Never => "deny for this session",
        }
    }

    fn allows(self) -> bool {
        matches!(self, Self::Once | Self::Session)
    }
}

/// How an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The agent's client asked its user.
    Client,
    /// With the master password, in a terminal.
    Terminal,
    /// It was given before, for the session.
    Memory,
}

impl By {
    fn as_str(self) -> &'static str {
        match self {
            Self::Client => "the client",
            Self::Terminal => "secretctl approve",
            Self::Memory => "an earlier answer",
        }
    }
}

/// Why a command that needs a person's approval does not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unapproved {
    /// They said no.
    #[error("a person said no")]
    Denied,
    /// They said no before.
    #[error("a person said no for as long as this server runs")]
    DeniedForSession,
    /// They did not say anything for this long.
    #[error("nobody answered within {}", Span(*.0))]
    TimedOut(Duration),
    /// The agent does not want to know any more.
    #[error("the request was cancelled before anybody answered")]
    Withdrawn,
    /// Something of it was not the same any more after the answer, twice.
    #[error("it changed while a person was asked")]
    Changed,
    /// There is no way to ask.
    #[error("nobody can be asked here")]
    NoWay,
    /// Too many wait already.
    #[error("{WAITING_MAX} other commands wait for an answer")]
    TooMany,
}

/// What the policy says of a command.
pub(super) enum Ruling {
    Allowed(Grant),
    Asks(Pending),
}

impl Ruling {
    /// What is granted, now or once a person says so: for all that does not run anything.
    pub(super) fn grant(&self) -> &Grant {
        match self {
            Self::Allowed(grant) => grant,
            Self::Asks(pending) => &pending.0.grant,
        }
    }
}

/// A grant that needs a person's yes. Only an [`Approved`] of the same digest lets it out.
pub(super) struct Pending(Question);

impl Pending {
    pub(super) fn new(question: Question) -> Self {
        Self(question)
    }

    /// What it would grant, and the question.
    pub(super) fn about(&self) -> (&Grant, &str) {
        (&self.0.grant, &self.0.text)
    }

    /// The grant, if it is for this that a person said yes.
    fn approved(self, digest: Digest, approved: Approved) -> Result<Grant, Self> {
        if *approved.0.get() == digest {
            Ok(self.0.grant)
        } else {
            Err(self)
        }
    }
}

/// A person's yes, which is on disk. It is used up by the one run that it is for.
pub struct Approved(Recorded<Digest>);

/// A command that waits for a person's answer, of which nobody has been told yet.
pub struct Unanswered {
    asked: Asked,
    question: Question,
    /// What records say of it.
    detail: Detail,
    keys: Vec<SecretName>,
}

impl fmt::Debug for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unanswered").field(&self.asked).finish()
    }
}

/// A question that is recorded and may be shown.
pub struct Put {
    unanswered: Unanswered,
    posted: Posted,
    _slot: Slot,
}

impl Put {
    /// What a person reads.
    pub fn text(&self) -> String {
        self.unanswered.asked.to_string()
    }

    /// The same for a terminal elsewhere.
    pub fn posted(&self) -> &Posted {
        &self.posted
    }
}

/// A question as another process gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posted {
    asked: Asked,
    nonce: [u8; 32],
}

/// An answer as it comes back. Its code can be made only by who knows the master password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    nonce: [u8; 32],
    answer: Answer,
    code: Vec<u8>,
}

impl Posted {
    /// What a person reads. It is made from what their answer is for.
    ///
    /// # Errors
    /// For a command that is too long to be read: no server asks about one.
    pub fn text(&self) -> Result<String, RunError> {
        self.asked.require_readable()?;
        Ok(self.asked.to_string())
    }

    /// Tells questions apart.
    pub fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    pub(super) fn sign(&self, answer: Answer, key: &Key) -> Result<Signed, CryptoError> {
        let code = crypto::mac(key, &self.parts(answer, &self.asked.digest()))?;
        Ok(Signed {
            nonce: self.nonce,
            answer,
            code: code.to_vec(),
        })
    }

    fn parts<'a>(&'a self, answer: Answer, digest: &'a Digest) -> [&'a [u8]; 4] {
        [LABEL, digest, &self.nonce, answer.as_str().as_bytes()]
    }
}

impl Signed {
    /// The question it is for.
    pub fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }
}

/// What this process knows of its questions.
#[derive(Default)]
pub(super) struct Approvals {
    /// True for a yes.
    remembered: Mutex<HashMap<Digest, bool>>,
    waiting: Arc<AtomicUsize>,
}

/// One of the places of those who wait.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(waiting: &Arc<AtomicUsize>) -> Option<Self> {
        let slot = Self(Arc::clone(waiting));
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Approvals {
    fn remember(&self, digest: Digest, answer: Answer) {
        if !matches!(answer, Answer::Session | Answer::Never) {
            return;
        }
        let mut remembered = (self.remembered.lock()).unwrap_or_else(PoisonError::into_inner);
        if remembered.len() < REMEMBERED_MAX {
            remembered.insert(digest, answer.allows());
        }
    }

    fn recall(&self, digest: &Digest) -> Option<bool> {
        let remembered = (self.remembered.lock()).unwrap_or_else(PoisonError::into_inner);
        remembered.get(digest).copied()
    }
}

impl AgentDoor {
    /// The grant of what a person has approved, now or before; else their question. `detail` is what records say of it.
    pub(super) fn approved(
        &self,
        pending: Pending,
        asked: Asked,
        approved: Option<Approved>,
        detail: &mut Detail,
        keys: &[SecretName],
    ) -> Result<Grant, RunError> {
        let digest = asked.digest();
        let approval = |answer: Option<Answer>, by: Option<By>| Approval {
            sha256: hex(&digest),
            answer: answer.map(|answer| answer.as_str().to_owned()),
            by: by.map(|by| by.as_str().to_owned()),
        };
        detail.approval = Some(approval(None, None));
        let pending = match approved {
            None => pending,
            Some(approved) => match pending.approved(digest, approved) {
                Ok(grant) => return Ok(grant),
                Err(pending) => pending,
            },
        };
        let denied = |question, why| RunError::NotApproved { question, why };
        match self.approvals.recall(&digest) {
            Some(true) => {
                let answered = Detail {
                    approval: Some(approval(Some(Answer::Session), Some(By::Memory))),
                    ..detail.clone()
                };
                let entry = (self.broker).entry(
                    Action::SecretApprove,
                    Outcome::Success,
                    keys.to_vec(),
                    answered,
                );
                let approved = Approved(self.broker.record(entry, digest)?);
                (pending.approved(digest, approved))
                    .map_err(|pending| denied(pending.0, Unapproved::Changed))
            }
            Some(false) => Err(denied(pending.0, Unapproved::DeniedForSession)),
            None => Err(RunError::Unanswered(Box::new(Unanswered {
                asked,
                question: pending.0,
                detail: detail.clone(),
                keys: keys.to_vec(),
            }))),
        }
    }

    /// Records that a person is asked; then they may be.
    ///
    /// # Errors
    /// When too many wait already, and when it cannot be recorded.
    pub fn put(&self, unanswered: Unanswered) -> Result<Put, RunError> {
        let Some(slot) = Slot::take(&self.approvals.waiting) else {
            return Err(self.unapproved(unanswered, Unapproved::TooMany));
        };
        let posted = Posted {
            asked: unanswered.asked.clone(),
            nonce: crypto::random().map_err(VaultError::from)?,
        };
        let Unanswered { keys, detail, .. } = &unanswered;
        let entry = (self.broker).entry(
            Action::SecretAsk,
            Outcome::Success,
            keys.clone(),
            detail.clone(),
        );
        self.broker.note(entry)?;
        Ok(Put {
            unanswered,
            posted,
            _slot: slot,
        })
    }

    /// Records the answer, or that there was none. A yes is good for one run of exactly what was asked.
    ///
    /// # Errors
    /// What the agent is told of a no.
    pub fn answered(
        &self,
        put: Put,
        answer: Result<(Answer, By), Unapproved>,
    ) -> Result<Approved, RunError> {
        let Put { unanswered, .. } = put;
        let (answer, by) = match answer {
            Ok(answered) => answered,
            Err(why) => return Err(self.unapproved(unanswered, why)),
        };
        let digest = unanswered.asked.digest();
        let why = match answer {
            Answer::Never => Unapproved::DeniedForSession,
            _ => Unapproved::Denied,
        };
        let (refusal, mut entry) = self.refusal(unanswered, why);
        if let Some(approval) = &mut entry.detail.approval {
            approval.answer = Some(answer.as_str().to_owned());
            approval.by = Some(by.as_str().to_owned());
        }
        if answer.allows() {
            entry.outcome = Outcome::Success;
            (entry.detail.reason, entry.detail.remedy) = (None, None);
        }
        let recorded = self.broker.record(entry, digest)?;
        self.approvals.remember(digest, answer);
        if answer.allows() {
            Ok(Approved(recorded))
        } else {
            Err(refusal)
        }
    }

    /// Records why there is no answer, and gives what the agent is told.
    pub fn unapproved(&self, unanswered: Unanswered, why: Unapproved) -> RunError {
        let (refusal, entry) = self.refusal(unanswered, why);
        match self.broker.note(entry) {
            Ok(()) => refusal,
            Err(error) => error,
        }
    }

    fn refusal(&self, unanswered: Unanswered, why: Unapproved) -> (RunError, Entry) {
        let Unanswered {
            question,
            detail,
            keys,
            ..
        } = unanswered;
        let remedy = question.remedy();
        let refusal = RunError::NotApproved { question, why };
        let detail = Detail {
            reason: Some(refusal.to_string()),
            remedy,
            ..detail
        };
        let entry = (self.broker).entry(Action::SecretApprove, Outcome::Denied, keys, detail);
        (refusal, entry)
    }

    /// The answer to a question, if whoever gave it knows the master password.
    ///
    /// # Errors
    /// When the key is in a session that is over.
    pub fn verified(&self, posted: &Posted, signed: &Signed) -> Result<Option<Answer>, RunError> {
        let vault = self.broker.vault();
        let digest = posted.asked.digest();
        let parts = posted.parts(signed.answer, &digest);
        let is_valid = crypto::mac_is_valid(vault.approval_key(), &parts, &signed.code);
        Ok((is_valid.map_err(VaultError::from)?).then_some(signed.answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answers_word_is_the_same_everywhere() {
        for answer in Answer::ALL {
            let json = serde_json::to_value(answer).expect("JSON");
            assert_eq!(json, answer.as_str());
        }
    }

    #[test]
    fn places_are_given_back() {
        let approvals = Approvals::default();
        let slots: Vec<_> = (0..WAITING_MAX)
            .map(|_| Slot::take(&approvals.waiting).expect("free"))
            .collect();
        assert!(Slot::take(&approvals.waiting).is_none());
        drop(slots);
        assert!(Slot::take(&approvals.waiting).is_some());
        assert_eq!(approvals.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn only_so_many_answers_are_remembered() {
        let approvals = Approvals::default();
        for number in 0..=REMEMBERED_MAX {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_be_bytes());
            approvals.remember(digest, Answer::Session);
            let expected = (number < REMEMBERED_MAX).then_some(true);
            assert_eq!(approvals.recall(&digest), expected);
        }
        approvals.remember([1; 32], Answer::Once);
        assert_eq!(approvals.recall(&[1; 32]), None);
    }
}
