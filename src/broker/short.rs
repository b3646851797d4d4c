//! Values that are too short to be hidden well.

use crate::secret::SecretBytes;

/// Shortest value that is injected for an agent, in bytes: hiding a shorter one would destroy the output and confirm guesses.
pub(super) const AGENT_MIN_BYTES: usize = 4;
/// Shortest value that is no reason for a warning, in bytes: shorter ones can be tried out, and stand in output by chance.
const SAFE_MIN_BYTES: usize = 8;

/// What is wrong with a short value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// It has fewer than 4 bytes: agents cannot use it, and hiding it tells what it is.
    Unusable,
    /// It has fewer than 8 bytes: it is hidden, and so is much else, and it can be guessed.
    Guessable,
}

/// Whether a value is too short for its own good.
pub fn shortness(value: &SecretBytes) -> Option<Short> {
    match value.len() {
        length if length < AGENT_MIN_BYTES => Some(Short::Unusable),
        length if length < SAFE_MIN_BYTES => Some(Short::Guessable),
        _ => None,
    }
}
