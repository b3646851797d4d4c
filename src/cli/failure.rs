//! Why a command failed, what to do next, and the exit code.

use std::fmt::{self, Display};
use std::io;

use super::output;
use crate::broker::{AuditError, PersonDoor, RunError};
use crate::name::{FieldName, SecretName};
use crate::vault::{FieldInfo, UnlockError, VaultError};

/// Exit codes. They are part of the documented interface.
pub(super) mod codes {
    /// Done.
    pub(in crate::cli) const DONE: u8 = 0;
    /// Something failed.
    pub(in crate::cli) const FAILED: u8 = 1;
    /// The command line was not understood.
    pub(in crate::cli) const USAGE: u8 = 2;
    /// The vault stays locked: the password is wrong, or there is none.
    pub(in crate::cli) const LOCKED: u8 = 3;
    /// There is no such secret.
    pub(in crate::cli) const NOT_FOUND: u8 = 4;
    /// The vault or the log was tampered with.
    pub(in crate::cli) const TAMPERED: u8 = 5;
    /// `run`: the command was ended by its time limit, as in timeout(1).
    pub(in crate::cli) const RUN_TIMED_OUT: u8 = 124;
    /// `run`: secretctl itself failed.
    pub(in crate::cli) const RUN_FAILED: u8 = 125;
    /// `run`: the command was found but could not be started, as in a shell.
    pub(in crate::cli) const RUN_CANNOT_START: u8 = 126;
    /// `run`: the command was not found, as in a shell.
    pub(in crate::cli) const RUN_NOT_FOUND: u8 = 127;
    /// `run`: added to the number of the signal that ended the command, as in a shell.
    pub(in crate::cli) const RUN_SIGNAL: u8 = 128;
}

/// A failure as it is shown: the fact, the next step, the exit code.
#[derive(Debug)]
pub(super) struct Failure {
    fact: String,
    next: Option<String>,
    code: u8,
}

impl Failure {
    pub(super) fn new(fact: impl Display) -> Self {
        Self {
            fact: fact.to_string(),
            next: None,
            code: codes::FAILED,
        }
    }

    pub(super) fn next(self, step: impl Into<String>) -> Self {
        Self {
            next: Some(step.into()),
            ..self
        }
    }

    pub(super) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    pub(super) fn code(&self) -> u8 {
        self.code
    }

    /// The fact, and the next step.
    pub(super) fn into_parts(self) -> (String, Option<String>) {
        (self.fact, self.next)
    }

    /// Of a session that has ended meanwhile.
    fn locked(self) -> Self {
        let next = "open another one with: secretctl unlock";
        self.next(next).with_code(codes::LOCKED)
    }

    pub(super) fn print(&self) {
        output::error(&self.fact);
        if let Some(next) = &self.next {
            output::note(next);
        }
    }

    /// A failure of the broker. A mistyped name is answered with the near one.
    pub(super) fn of(error: RunError, door: &PersonDoor) -> Self {
        let failure = Self::from(error);
        let Some(wanted) = failure.fact.strip_prefix("secret not found: ") else {
            return failure;
        };
        let names = door.names().unwrap_or_default();
        let names: Vec<&str> = names.iter().map(SecretName::as_str).collect();
        match nearest(wanted, &names).map(|name| format!("did you mean {name}?")) {
            Some(question) => failure.next(question),
            None => failure.next("secretctl list shows the names; they are case-sensitive"),
        }
    }

    /// Of a mistyped field: the near one, or all there are.
    pub(super) fn next_field(self, wanted: &FieldName, present: &[FieldInfo]) -> Self {
        let names: Vec<&str> = present.iter().map(|field| field.name.as_str()).collect();
        match nearest(wanted.as_str(), &names) {
            Some(name) => self.next(format!("did you mean {name}?")),
            None if names.is_empty() => self,
            None => self.next(format!("the fields are {}", names.join(", "))),
        }
    }
}

/// The name that was probably meant. Names are case-sensitive, and that is what people forget.
fn nearest<'a>(wanted: &str, names: &[&'a str]) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    let near = |name: &str| strsim::normalized_damerau_levenshtein(&wanted, &name.to_lowercase());
    let best = names.iter().max_by(|a, b| near(a).total_cmp(&near(b)))?;
    (near(best) >= NEAR).then_some(*best)
}

/// How similar a name has to be to be suggested; 1 is the same.
const NEAR: f64 = 0.6;

/// For who cannot be told in two lines of a terminal.
impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = self.next.iter().map(|next| format!("\n{next}"));
        write!(f, "{}{}", self.fact, next.collect::<String>())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(error)
    }
}

impl From<UnlockError> for Failure {
    fn from(error: UnlockError) -> Self {
        match error {
            UnlockError::WrongPassword | UnlockError::TooManyTries { .. } => {
                Self::new(error).with_code(codes::LOCKED)
            }
            UnlockError::Vault(error) => error.into(),
        }
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        let failure = Self::new(&error);
        if error.is_locked() {
            return failure.locked();
        }
        match error {
            VaultError::Missing { .. } => failure.next("create one with: secretctl init"),
            VaultError::Exists { .. } => failure.next("choose another place with --vault-dir"),
            VaultError::KeyChanged | VaultError::Replaced => failure.with_code(codes::LOCKED),
            VaultError::SamePassword => {
                failure.next("to change only its cost or the key, add --kdf or --rotate-key")
            }
            VaultError::OfGoTool => failure.next(
                "move it to another place, then: secretctl init; secretctl import --from secretctl-go PLACE",
            ),
            VaultError::Corrupted(_) | VaultError::Incomplete { .. } => {
                failure.with_code(codes::TAMPERED)
            }
            VaultError::Database(error) if is_damage(&error) => failure.with_code(codes::TAMPERED),
            _ => failure,
        }
    }
}

/// Whether it is the fault of what stands in the file. Our own statements and types are right for a database as we write it.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::{Error, ErrorCode};
    match error {
        Error::SqliteFailure(failure, _) => matches!(
            failure.code,
            ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::ConstraintViolation
                | ErrorCode::Unknown
        ),
        Error::SqlInputError { .. }
        | Error::InvalidColumnType(..)
        | Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..) => true,
        _ => false,
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let failure = Self::new(&error);
        if error.is_locked() {
            return failure.locked();
        }
        match error {
            RunError::SecretNotFound(_) => failure.with_code(codes::NOT_FOUND),
            RunError::Vault(error) => error.into(),
            RunError::Audit(
                AuditError::NoHead
                | AuditError::ForgedHead
                | AuditError::OtherEpoch
                | AuditError::OtherSet
                | AuditError::OtherCourse { .. },
            ) => failure.with_code(codes::TAMPERED),
            RunError::Audit(AuditError::Database(error)) if is_damage(&error) => {
                failure.with_code(codes::TAMPERED)
            }
            RunError::Anchor(error) => failure
                .next(format!(
                    "if you put back a backup yourself, remove {}",
                    error.path().display()
                ))
                .with_code(codes::TAMPERED),
            RunError::Policy(_) => {
                failure.next("--env needs the policy file; it must have mode 0600")
            }
            RunError::NotBound { key, fields } => {
                let field = fields.first().map_or("FIELD", FieldName::as_str);
                let bind = format!("secretctl set {key} --binding VARIABLE={field}");
                failure.next(format!("{bind} binds one"))
            }
            RunError::Variable { .. } | RunError::SameVariable { .. } => {
                failure.next("use --env-prefix, or fewer keys")
            }
            _ => failure,
        }
    }
}
