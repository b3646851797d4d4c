//! What a record says.

use serde::{Deserialize, Serialize};

use super::{AuditError, DETAIL_MAX_BYTES, Keys, chain};
use crate::crypto;
use crate::name::SecretName;

/// Length of a name's fingerprint, in bytes: enough to tell all names of a vault apart.
const FINGERPRINT_BYTES: usize = 16;

/// What was done or asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The vault was made.
    VaultInit,
    /// The vault was unlocked.
    VaultUnlock,
    /// A secret was created or changed.
    SecretSet,
    /// A value was shown to a person.
    SecretGet,
    /// Names and metadata were listed.
    SecretList,
    /// Somebody asked whether a secret exists.
    SecretExists,
    /// A masked value was shown to an agent.
    SecretGetMasked,
    /// A secret was deleted.
    SecretDelete,
    /// A secret got another name.
    SecretRename,
    /// Values were exported.
    SecretExport,
    /// It was decided whether a command may run with secrets.
    SecretRun,
    /// A command that was allowed has ended.
    SecretRunOutcome,
    /// A person began to filter secrets out of a text.
    SecretFilter,
    /// The end of that text was reached.
    SecretFilterOutcome,
    /// The log was exported.
    AuditExport,
    /// The compiled code of a policy module, in the cache, was changed by somebody.
    ModuleCache,
}

impl Action {
    /// The word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VaultInit => "vault.init",
            Self::VaultUnlock => "vault.unlock",
            Self::SecretSet => "secret.set",
            Self::SecretGet => "secret.get",
            Self::SecretList => "secret.list",
            Self::SecretExists => "secret.exists",
            Self::SecretGetMasked => "secret.get_masked",
            Self::SecretDelete => "secret.delete",
            Self::SecretRename => "secret.rename",
            Self::SecretExport => "secret.export",
            Self::SecretRun => "secret.run",
            Self::SecretRunOutcome => "secret.run.outcome",
            Self::SecretFilter => "secret.filter",
            Self::SecretFilterOutcome => "secret.filter.outcome",
            Self::AuditExport => "audit.export",
            Self::ModuleCache => "module.cache",
        }
    }
}

/// The door through which it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Cli,
    /// An agent.
    Mcp,
    /// A window.
    Ui,
}

impl Source {
    /// The word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Mcp => "mcp",
            Self::Ui => "ui",
        }
    }
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was allowed, or done.
    Success,
    /// It was refused.
    Denied,
    /// It failed.
    Error,
}

impl Outcome {
    /// The word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
            Self::Error => "error",
        }
    }
}

/// A record before it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What was done or asked for.
    pub action: Action,
    /// The door through which it came.
    pub source: Source,
    /// How it went.
    pub outcome: Outcome,
    /// The secrets it was about. In the open columns they are fingerprints.
    pub keys: Vec<SecretName>,
    /// All else. Sealed.
    pub detail: Detail,
}

/// The sealed part of a record. What does not apply is empty; what an older version wrote and this one does not know
/// is skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detail {
    /// The command and its arguments, as they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    /// The agent's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The policy's name for the set of secrets, such as `staging`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Where the command ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why it was refused or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The smallest change of the policy that would allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The modules that decided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<Module>,
    /// The record of the decision that this is the outcome of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// How the command ended, such as `exited` or `timed out`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// The command's exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How long it ran, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// What the runner enforced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enforced: Vec<String>,
    /// What the runner could not enforce.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_enforced: Vec<String>,
    /// What was hidden in the output.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redactions: Vec<Redaction>,
}

/// A module that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// The digest of its code, in hexadecimal.
    pub sha256: String,
}

/// How often one secret was hidden in one form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redaction {
    /// The secret.
    pub key: String,
    /// The form in which it appeared, such as `base64`.
    pub form: String,
    /// How often.
    pub count: u64,
}

/// What the sealed blob of a record holds.
#[derive(Serialize, Deserialize)]
pub(super) struct Sealed<K, D> {
    pub(super) keys: K,
    pub(super) detail: D,
}

impl Entry {
    pub(super) fn seal_detail(
        &self,
        keys: &Keys,
        sequence: i64,
        id: &str,
    ) -> Result<Vec<u8>, AuditError> {
        let sealed = Sealed {
            keys: &self.keys,
            detail: &self.detail,
        };
        let text = serde_json::to_vec(&sealed).map_err(|_| AuditError::DetailTooLong)?;
        if text.len() > DETAIL_MAX_BYTES {
            return Err(AuditError::DetailTooLong);
        }
        let sequence = sequence.to_be_bytes();
        Ok(crypto::seal(
            &keys.detail,
            &chain::detail_place(keys, &sequence, id.as_bytes()),
            &text,
        )?)
    }

    /// One fingerprint behind the other. Keyed: a bare hash of a name can be guessed.
    pub(super) fn fingerprints(&self, keys: &Keys) -> Vec<u8> {
        let fingerprint =
            |name: &SecretName| crypto::mac(&keys.fingerprint, &[name.as_str().as_bytes()]);
        self.keys
            .iter()
            .flat_map(|name| fingerprint(name).into_iter().take(FINGERPRINT_BYTES))
            .collect()
    }
}
