//! The one way by which anybody uses a secret.
//!
//! ```text
//! Request ─policy─▶ Decision::Allow(Grant) ─audit─▶ Recorded<Grant> ─vault─▶ Plan ─runner─▶ output ─sanitizer─▶ Sanitized
//!               ├─▶ Deny: recorded as well
//!               └─▶ Ask ─▶ a person's answer, recorded ─▶ all of it again
//! ```
//!
//! The types make a skipped step a compile error: a [`Plan`](secretctl_runner::Plan) is built from a `Recorded<Grant>` only, a grant
//! is recorded only by being written to disk, and an agent is answered with [`Sanitized`] bytes only. An
//! error in policy denies, an error in the sanitizer withholds the output, an error in the log stops the run.
//!
//! Two handles lead here: [`AgentDoor`], which has no way to a value, and [`PersonDoor`]. A third one, [`PolicyDoor`], leads only as far as
//! the decision.

#![forbid(unsafe_code)]

mod advice;
mod agent;
mod agent_fields;
mod ahead;
mod approve;
mod asked;
mod code_cache;
mod decide;
mod desk;
mod enter;
mod error;
mod filter;
mod hide;
mod import;
mod jail;
mod judge;
mod keep;
mod keyring;
mod log;
mod names;
mod near;
mod password;
mod person;
mod plan;
mod policy_add;
mod policy_door;
mod policy_list;
mod policy_table;
mod program;
mod project;
mod reach;
mod run;
mod score;
mod selection;
mod short;
mod status;
mod words;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use secretctl_runner::Runner;

pub use self::advice::Advice;
pub use self::agent::{AgentDoor, Listed, Listing, Masked, Progress, RunAnswer, RunRequest};
pub use self::agent_fields::FieldList;
pub use self::ahead::Ahead;
pub use self::approve::{Answer, Approved, By, Posted, Put, Signed, Unanswered, Unapproved};
pub use self::desk::{Desk, Said};
pub use self::enter::{AnchorError, Caution, Outside};
pub use self::error::RunError;
pub use self::filter::Filtering;
pub use self::import::{Imported, OnConflict};
pub use self::jail::{Enforceable, PersonJail, enforceable};
pub use self::near::near;
pub use self::person::{PersonDoor, PersonRun, Shown};
pub use self::policy_add::{AddError, Added, NewModule};
pub use self::policy_door::{Explained, PolicyDoor};
pub use self::policy_list::{ListedModule, ModuleOrigin};
pub use self::policy_table::{Mismatch, Tested};
pub use self::run::{Ended, Finished};
pub use self::score::{Component, Issue, Score};
pub use self::selection::variable;
pub use self::short::{Short, shortness};
pub use self::status::{Status, Verified};
pub use crate::audit::{
    Actions as AuditActions, AuditError, Detail as AuditDetail, Filter as AuditFilter, Followed,
    Follower, HeadMark, Marked, Module as AuditModule, Outcome as AuditOutcome, Pruned,
    Record as AuditRecord, Redaction as AuditRedaction, Source as AuditSource,
};
pub use crate::policy::{Expectation, PinError, Place};
pub use crate::sanitize::{Channel, Redaction, Sanitized};
pub use crate::socket::Named as SocketName;
pub use crate::wasm::{ModuleFault, Notice, Outline, World};
pub use secretctl_runner::{Cancel, Cause, Enforcement, Layer, Network, Stdin, Stop};

use self::judge::Judge;
use crate::audit::{self, Action, Commit, Detail, Log, Recorded, Source};
use crate::name::SecretName;
use crate::policy::{Policy, PolicyError};
use crate::vault::{AuditEpoch, AuditKeys, Transaction, Vault};
use crate::wasm::SanitizerModule;

/// The policy file's name in the vault's directory.
pub const POLICY_FILE: &str = "mcp-policy.yaml";

/// The unlocked vault with everything that a use of it involves. Shared by all requests of a process.
struct Broker {
    judge: Judge,
    vault: Mutex<Vault>,
    log: Log,
    source: Source,
    runner: OnceLock<Runner>,
}

impl Broker {
    fn new(vault: Vault, outside: &Outside, source: Source) -> Self {
        let log = Log::new(audit_keys(vault.audit_keys()));
        Self {
            judge: Judge::new(&vault, outside),
            log: log.with_anchor(Self::anchor(outside, vault.id())),
            vault: Mutex::new(vault),
            source,
            runner: OnceLock::new(),
        }
    }

    /// The vault, for the length of one call. A panic in another thread leaves no change half done: they are transactions.
    fn vault(&self) -> MutexGuard<'_, Vault> {
        self.vault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The policy as its file states it now.
    fn policy(&self) -> Result<Arc<Policy>, PolicyError> {
        self.judge.policy()
    }

    /// The built-in module that hides.
    fn built_in_sanitizer(&self) -> Result<&SanitizerModule, RunError> {
        let host = self.judge.host()?;
        host.sanitizer().map_err(RunError::Host)
    }

    /// The helper program, looked up when it is first needed.
    fn runner(&self) -> Result<&Runner, RunError> {
        if let Some(runner) = self.runner.get() {
            return Ok(runner);
        }
        let runner = Runner::beside_current_exe()?;
        Ok(self.runner.get_or_init(|| runner))
    }

    /// Writes a record, durably.
    fn note(&self, entry: audit::Entry) -> Result<(), RunError> {
        self.record(entry, ()).map(Recorded::into_inner)
    }

    /// Writes a record, durably, and gives `subject` back as recorded.
    fn record<T>(&self, entry: audit::Entry, subject: T) -> Result<Recorded<T>, RunError> {
        let vault = self.vault();
        let transaction = vault.begin()?;
        Ok(self.log.record(transaction, &entry, subject)?)
    }

    /// What modules had to say since this was asked last. That somebody changed their compiled code is recorded.
    fn take_notices(&self) -> Result<Vec<Notice>, RunError> {
        let notices = self.judge.take_notices();
        for notice in &notices {
            if let Notice::Forged { .. } = notice {
                let detail = Detail {
                    reason: Some(notice.to_string()),
                    ..Detail::default()
                };
                let outcome = audit::Outcome::Error;
                self.note(self.entry(Action::ModuleCache, outcome, Vec::new(), detail))?;
            }
        }
        Ok(notices)
    }

    /// A record of this door about `keys`.
    fn entry(
        &self,
        action: Action,
        outcome: audit::Outcome,
        keys: Vec<SecretName>,
        detail: Detail,
    ) -> audit::Entry {
        audit::Entry {
            action,
            source: self.source,
            outcome,
            keys,
            detail,
        }
    }
}

impl Commit for Transaction<'_> {
    fn connection(&self) -> &rusqlite::Connection {
        Transaction::connection(self)
    }

    fn epochs(&self) -> Result<Vec<audit::Epoch>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Transaction::audit_epochs(self).map(epochs)?)
    }

    fn set_before(&self) -> &[u8] {
        Transaction::set_before(self)
    }

    fn commit(self) -> Result<(), rusqlite::Error> {
        Transaction::commit(self)
    }
}

fn audit_keys(keys: AuditKeys) -> audit::Keys {
    let epochs = audit::Epochs::new(epochs(keys.epochs));
    audit::Keys::new(keys.vault_id, epochs, keys.head, keys.anchor)
}

fn epochs(epochs: Vec<AuditEpoch>) -> Vec<audit::Epoch> {
    let epoch = |keys: AuditEpoch| audit::Epoch {
        chain: keys.chain,
        detail: keys.detail,
        fingerprint: keys.fingerprint,
    };
    epochs.into_iter().map(epoch).collect()
}
