//! `secretctl audit prune` and `secretctl audit retention`

use super::super::args::{AuditPruneArgs, Retention};
use super::super::delete::confirm;
use super::super::failure::{Failure, codes};
use super::super::output;
use super::super::unlock::Access;
use crate::broker::{AuditError, Pruned, RunError};
use crate::time::{self, Point, Span};

const FOREVER: &str = "forever";

pub(super) fn run(access: &Access, args: &AuditPruneArgs) -> Result<u8, Failure> {
    let before = args.old.before();
    let point = before.ok_or_else(|| Failure::new("nothing says what is old"))?;
    let before_ns = point.start_ns(time::now_ns()).map_err(Failure::new)?;
    let door = access.door()?;
    let Some(pruned) = door.audit_prunable(before_ns)? else {
        output::done("No record is older.");
        return Ok(codes::DONE);
    };
    if args.dry_run {
        let would = format!("{} would be removed\n", range(&pruned));
        return output::result(would.as_bytes());
    }
    if !args.force && !confirm(&format!("Remove {} for good? [y/N] ", range(&pruned)))? {
        return Err(Failure::new("nothing was removed"));
    }
    match door.audit_prune(before_ns).map_err(refused)? {
        Some((pruned, is_wiped)) => {
            output::done(&format!("Removed {}.", range(&pruned)));
            if !is_wiped {
                output::warn_of_journal("what was removed");
            }
        }
        None => output::done("No record is older."),
    }
    Ok(codes::DONE)
}

pub(super) fn retention(access: &Access, kept: Option<Retention>) -> Result<u8, Failure> {
    let door = access.door()?;
    let Some(Retention(span)) = kept else {
        let kept = door.audit_retention()?;
        let kept = kept.map(|seconds| Span(std::time::Duration::from_secs(seconds)));
        return output::result(format!("{}\n", text(kept)).as_bytes());
    };
    let seconds = span.map(|Span(span)| span.as_secs());
    door.set_audit_retention(seconds, text(span))?;
    output::done(&format!("Records are kept: {}.", text(span)));
    if let Some(Span(span)) = span
        && let Ok(before_ns) = Point::Ago(span).start_ns(time::now_ns())
        && let Some(pruned) = door.audit_prunable(before_ns)?
    {
        output::done(&format!(
            "{} will be removed as the vault is used.",
            range(&pruned)
        ));
    }
    Ok(codes::DONE)
}

/// Whoever finds changed records wants to know which.
fn refused(error: RunError) -> Failure {
    match error {
        RunError::Audit(AuditError::NotPruned(_)) => Failure::new(error)
            .next("secretctl audit verify names all that is wrong")
            .with_code(codes::TAMPERED),
        other => other.into(),
    }
}

fn text(kept: Option<Span>) -> String {
    kept.map_or_else(|| FOREVER.to_owned(), |span| span.to_string())
}

pub(super) fn range(pruned: &Pruned) -> String {
    let Pruned {
        first,
        last,
        before,
    } = pruned;
    format!("records {first} to {last}, from before {before}")
}
