//! What a record says.

use serde::{Deserialize, Serialize};

use super::{AuditError, DETAIL_MAX_BYTES, Epoch, Keys, chain};
use crate::crypto::{self, CryptoError, MacKey};
use crate::name::SecretName;

/// Length of a name's fingerprint, in bytes: enough to tell all names of a vault apart.
pub(super) const FINGERPRINT_BYTES: usize = 16;

/// An enum whose variants are words of the log.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word in the log.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

words! {
    /// What was done or asked for.
    Action {
        /// The vault was made.
        VaultInit = "vault.init",
        /// The vault was unlocked.
        VaultUnlock = "vault.unlock",
        /// The master password was changed.
        PasswordChange = "password.change",
        /// A secret was created or changed.
        SecretSet = "secret.set",
        /// A value was shown to a person.
        SecretGet = "secret.get",
        /// Names and metadata were listed.
        SecretList = "secret.list",
        /// Somebody asked whether a secret exists.
        SecretExists = "secret.exists",
        /// A masked value was shown to an agent.
        SecretGetMasked = "secret.get_masked",
        /// The fields of a secret were listed for an agent.
        SecretListFields = "secret.list_fields",
        /// An agent asked for the value of a plain field.
        SecretGetField = "secret.get_field",
        /// An agent asked how safely secrets are kept.
        SecurityScore = "security.score",
        /// A secret was deleted.
        SecretDelete = "secret.delete",
        /// A secret got another name.
        SecretRename = "secret.rename",
        /// Secrets were taken over from another program.
        SecretImport = "secret.import",
        /// Values were exported.
        SecretExport = "secret.export",
        /// A person is asked whether a command may run with secrets.
        SecretAsk = "secret.ask",
        /// It was answered, or nobody did.
        SecretApprove = "secret.approve",
        /// It was decided whether a command may run with secrets.
        SecretRun = "secret.run",
        /// A command that was allowed has ended.
        SecretRunOutcome = "secret.run.outcome",
        /// A person began to filter secrets out of a text.
        SecretFilter = "secret.filter",
        /// The end of that text was reached.
        SecretFilterOutcome = "secret.filter.outcome",
        /// The oldest records were removed.
        AuditPrune = "audit.prune",
        /// It was set how long records are kept.
        AuditRetention = "audit.retention",
        /// The compiled code of a policy module, in the cache, was changed by somebody.
        ModuleCache = "module.cache",
    }
}

words! {
    /// The door through which it came.
    Source {
        /// The command line.
        Cli = "cli",
        /// An agent.
        Mcp = "mcp",
        /// A window.
        Ui = "ui",
    }
}

words! {
    /// How it went.
    Outcome {
        /// It was allowed, or done.
        Success = "success",
        /// It was refused.
        Denied = "denied",
        /// It failed.
        Error = "error",
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
    /// Where the command ran; of an import, the name of the directory.
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
    /// What a person was asked, and the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
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
    /// The records that were removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,
    /// How long records are kept from now on, such as `90d` or `forever`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<String>,
}

/// Records that were removed from the start of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// The first of them.
    pub first: i64,
    /// The last of them.
    pub last: i64,
    /// The moment that all of them are older than: RFC 3339, UTC.
    pub before: String,
}

/// A question to a person, and its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Approval {
    /// The digest of exactly what was asked, in hexadecimal.
    pub sha256: String,
    /// The answer, such as `allow once`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// How it came, such as `the client`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
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
        epoch: &Epoch,
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
            &epoch.detail,
            &chain::detail_place(keys, &sequence, id.as_bytes()),
            &text,
        )?)
    }

    /// One fingerprint behind the other.
    pub(super) fn fingerprints(&self, keys: &Epoch) -> Result<Vec<u8>, CryptoError> {
        let names: Vec<Vec<u8>> = self.keys.iter().map(fingerprinted).collect();
        let codes = MacKey::new(&keys.fingerprint).mac_all(&names)?;
        Ok(codes
            .iter()
            .flat_map(|code| &code[..FINGERPRINT_BYTES])
            .copied()
            .collect())
    }
}

/// Stands for a name in the open columns. Keyed: a bare hash of a name can be guessed.
pub(super) fn fingerprint(
    keys: &Epoch,
    name: &SecretName,
) -> Result<[u8; FINGERPRINT_BYTES], CryptoError> {
    let [whole] = MacKey::new(&keys.fingerprint).mac_all(&[fingerprinted(name)])?[..] else {
        return Err(CryptoError::Locked);
    };
    let mut start = [0; FINGERPRINT_BYTES];
    start.copy_from_slice(&whole[..FINGERPRINT_BYTES]);
    Ok(start)
}

fn fingerprinted(name: &SecretName) -> Vec<u8> {
    crypto::framed(&[name.as_str().as_bytes()])
}
