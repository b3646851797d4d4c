//! `secretctl lock`

use super::failure::Failure;
use super::unlock::Access;
use super::{codes, output, session};

/// No record is written of it: that could fail or take time, and this must do neither.
pub(super) fn run(access: &Access) -> Result<u8, Failure> {
    match session::find(&access.locked()?) {
        Some(session) => {
            session.end()?;
            output::done("Locked.");
        }
        None => output::done("No session is open."),
    }
    Ok(codes::DONE)
}
