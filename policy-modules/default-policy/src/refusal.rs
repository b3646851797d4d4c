//! Why a request is refused: all reasons, since a person who wants to allow it has to see to all of them.

use crate::remedy;
use crate::types::Denial;

/// One reason.
pub(crate) struct Refusal {
    rule: String,
    reason: String,
    /// The changes of the policy file that would lift it; none if nothing can.
    changes: Option<Vec<String>>,
    /// The entry of `denied_commands`, if that is the reason.
    pub(crate) entry: Option<usize>,
}

impl Refusal {
    pub(crate) fn new(
        rule: impl Into<String>,
        reason: String,
        changes: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            changes: Some(changes.into_iter().collect()),
            ..Self::for_good(rule, reason)
        }
    }

    /// A reason that no change lifts.
    pub(crate) fn for_good(rule: impl Into<String>, reason: String) -> Self {
        Self {
            rule: rule.into(),
            reason,
            changes: None,
            entry: None,
        }
    }
}

/// The denial for the first of `refusals`, with the remedy for all of them; none if there is no refusal.
pub(crate) fn denial(refusals: Vec<Refusal>) -> Option<Denial> {
    let changes: Option<Vec<_>> = refusals.iter().map(|one| one.changes.clone()).collect();
    let first = refusals.into_iter().next()?;
    Some(Denial {
        rule: first.rule,
        reason: first.reason,
        remedy: remedy::join(&changes.unwrap_or_default().concat()),
    })
}
