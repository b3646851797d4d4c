//! Why the broker refused or failed. The text states the fact; each door adds what to do next.

use std::path::PathBuf;

use secretctl_runner::StartError;

use super::approve::{Unanswered, Unapproved};
use super::enter::AnchorError;
use crate::audit::AuditError;
use crate::crypto::CryptoError;
use crate::name::{EnvName, FieldName, InvalidName, SecretName};
use crate::policy::{AliasError, Denial, Fault, PolicyError, Question};
use crate::sanitize::Withheld;
use crate::vault::{ImportError, VaultError};
use crate::wasm::{ModuleError, UnusableModule};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The command line cannot be taken as a command.
    #[error("the command cannot be run: {0}")]
    Command(String),
    /// A program must not be run, whatever the policy says.
    #[error("{}: {fact}", path.display())]
    Program {
        /// The program.
        path: PathBuf,
        /// What is wrong with it.
        fact: String,
    },
    /// No such program where programs are looked up.
    #[error("command not found: {0}")]
    ProgramNotFound(String),
    /// The directory asked for is not one in which a command may run.
    #[error("the directory cannot be used: {0}")]
    Directory(String),
    /// A person asks for something to be opened to a command that cannot be.
    #[error("{} cannot be opened to a command: it {fact}", path.display())]
    Opening {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        fact: String,
    },
    /// A table of requests cannot be used.
    #[error("the table {} {fault}", path.display())]
    Table {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A pattern of keys is asked about without a vault.
    #[error("what a pattern finds is known only with the vault open")]
    NamesUnknown,
    /// There is no usable policy, and without one nothing runs.
    #[error("no command can be run, since the {0}")]
    Policy(#[from] PolicyError),
    /// There is a policy file that cannot be used, so nobody knows which secrets it hides.
    #[error("no secret is shown, since the {0}")]
    Hiding(#[source] PolicyError),
    /// The policy module gave no usable answer, which is a denial.
    #[error("no command can be run, since the policy module gave no usable answer: {0}")]
    PolicyModule(ModuleError),
    /// A module of the policy file cannot be used, and without it nothing runs.
    #[error("no command can be run: {0}")]
    Module(#[from] UnusableModule),
    /// The policy said no.
    #[error("{}", .0.reason)]
    Denied(Denial),
    /// The policy said no to a key that it hides. What it says of that is for people.
    #[error("{}", denial.reason)]
    HiddenKey {
        /// The key, as it was asked for.
        asked: String,
        /// What the policy said: it may name what an alias stands for, and the entry that hides it.
        denial: Denial,
    },
    /// The policy wants a person to be asked.
    #[error("this needs a person's approval: {}", .0.text)]
    NeedsApproval(Question),
    /// The policy wants a person to be asked, who has not been asked yet.
    #[error("this needs a person's approval")]
    Unanswered(Box<Unanswered>),
    /// The policy wants a person's yes, and there is none.
    #[error("this needs a person's approval, and {why}")]
    NotApproved {
        /// What the policy asked.
        question: Question,
        /// Why there is none.
        why: Unapproved,
    },
    /// No such secret, or none that this agent may know of: the text is the same.
    #[error("secret not found: {0}")]
    SecretNotFound(String),
    /// A secret whose time is over.
    #[error("secret {0} has expired")]
    Expired(SecretName),
    /// A value too short to be hidden without destroying the output.
    #[error(
        "the value of secret {0} is too short to be hidden in output: it has fewer than 4 bytes"
    )]
    TooShort(SecretName),
    /// A key's variable has a name that cannot be injected.
    #[error("secret {key} would become the variable {variable}, which {rule}")]
    Variable {
        /// The key, as it was asked for.
        key: String,
        /// The variable made from it.
        variable: String,
        /// What is wrong with it.
        rule: &'static str,
    },
    /// A secret with several fields does not say which variables they go into.
    #[error(
        "secret {key} has the fields {}, and none is bound to a variable",
        list(fields)
    )]
    NotBound {
        /// The key, as it was asked for.
        key: String,
        /// Its fields.
        fields: Vec<FieldName>,
    },
    /// A secret has no such field.
    #[error("secret {key} has no field {field}")]
    NoSuchField {
        /// The secret.
        key: SecretName,
        /// The field that was asked for.
        field: FieldName,
        /// Its fields.
        fields: Vec<FieldName>,
    },
    /// An agent asks for the value of a sensitive field.
    #[error("field {field} of secret {key} is sensitive: its value is never shown")]
    SensitiveField {
        /// The secret.
        key: SecretName,
        /// The field.
        field: FieldName,
    },
    /// A value is not text.
    #[error("the value of field {field} of secret {key} is not text")]
    NotText {
        /// The secret.
        key: SecretName,
        /// The field.
        field: FieldName,
    },
    /// A binding sets a variable that no secret may set.
    #[error("the variable {0} cannot be bound: programs take instructions from it")]
    Reserved(EnvName),
    /// A secret is to get the name of another one.
    #[error("there is a secret {0} already")]
    NameTaken(SecretName),
    /// Secrets are to be imported under names that are taken.
    #[error("there are secrets of these names already: {}", list(.0))]
    Conflicts(Vec<SecretName>),
    /// Another program's vault cannot be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Two keys give one variable.
    #[error("secrets {first} and {second} would both become the variable {variable}")]
    SameVariable {
        /// One key.
        first: String,
        /// The other one.
        second: String,
        /// The variable of both.
        variable: EnvName,
    },
    /// A key or pattern is not one.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// An environment's aliases cannot be applied.
    #[error(transparent)]
    Alias(#[from] AliasError),
    /// The helper program cannot be used.
    #[error(transparent)]
    Helper(#[from] StartError),
    /// The program did not start.
    #[error("{}: {error}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Where it failed, and why.
        error: StartError,
    },
    /// The helper program died, so nobody knows how the command ended.
    #[error("the helper program died while the command ran; the output is withheld")]
    HelperLost,
    /// The output cannot be shown.
    #[error(transparent)]
    Withheld(#[from] Withheld),
    /// The Wasm host cannot be used.
    #[error("the Wasm host cannot be used: {0}")]
    Host(ModuleError),
    /// The log cannot be written or read, so nothing is done.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The vault is not the one that was there last.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The vault cannot be read or written.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

fn list(names: &[impl ToString]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

impl RunError {
    /// Whether the vault's keys were elsewhere, and are gone.
    pub fn is_locked(&self) -> bool {
        match self {
            Self::Vault(error) => error.is_locked(),
            Self::Audit(AuditError::Crypto(error)) => *error == CryptoError::Locked,
            _ => false,
        }
    }

    /// The fact as an agent may read it: nothing of what the policy file says of keys, which it may hide from the reader.
    pub fn for_agent(&self) -> String {
        match self {
            Self::Policy(error) => {
                format!(
                    "no command can be run, since the {}",
                    error.without_contents()
                )
            }
            Self::Hiding(error) => {
                format!("no secret is shown, since the {}", error.without_contents())
            }
            Self::HiddenKey { asked, .. } => Self::SecretNotFound(asked.clone()).to_string(),
            other => other.to_string(),
        }
    }

    /// What would allow a denied run, as an agent may read it: nothing where it is about keys, which are named there as the file has them.
    pub fn remedy_for_agent(denial: &Denial) -> &str {
        let is_of_keys = ["allowed_keys", "denied_keys"]
            .iter()
            .any(|list| denial.remedy.contains(list));
        if is_of_keys { "" } else { &denial.remedy }
    }
}
