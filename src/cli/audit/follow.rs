//! The log as it grows.

use std::io::Write;
use std::time::Duration;

use super::super::failure::{Failure, codes};
use super::super::output;
use super::export;
use crate::broker::{AuditError, AuditFilter, Followed, Follower, PersonDoor, RunError};

/// How often the database is asked whether somebody wrote: what a person takes as at once.
const INTERVAL: Duration = Duration::from_millis(200);

/// Prints the newest records, then each that comes, until the reader goes away.
pub(super) fn run(door: &PersonDoor, filter: &AuditFilter, as_json: bool) -> Result<u8, Failure> {
    let mut follower = Follower::default();
    output::stream(|out| {
        loop {
            let polled = door.audit_follow(&mut follower, filter, |followed| {
                print(out, &followed, as_json).map_err(Ended::Shown)
            });
            polled.map_err(Ended::into_failure)?;
            out.flush()?;
            if output::is_closed_within(INTERVAL)? {
                return Ok(());
            }
        }
    })
}

fn print(out: &mut dyn Write, followed: &Followed, as_json: bool) -> Result<(), Failure> {
    match followed {
        Followed::Record(record) if as_json => export::json_line(record, out),
        Followed::Record(record) => Ok(out.write_all(super::line(record).as_bytes())?),
        Followed::Pruned { first, last } => {
            output::warn(&format!(
                "records {first} to {last} were pruned before they could be shown"
            ));
            Ok(())
        }
    }
}

/// What ended the following.
enum Ended {
    Shown(Failure),
    Read(RunError),
}

impl From<RunError> for Ended {
    fn from(error: RunError) -> Self {
        Self::Read(error)
    }
}

impl Ended {
    fn into_failure(self) -> Failure {
        let error = match self {
            Self::Shown(failure) => return failure,
            Self::Read(error) => error,
        };
        let failure = Failure::new(&error);
        match error {
            RunError::Audit(AuditError::SetBack { .. }) => failure.with_code(codes::TAMPERED),
            RunError::Audit(AuditError::NewKey | AuditError::ForgedHead) => {
                failure.next("if the master password was changed, start this command again")
            }
            other => other.into(),
        }
    }
}
