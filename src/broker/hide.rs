//! The same hiding for what is not output: the words of a command in the log, and the texts beside a secret.
//!
//! What an agent is told of its own words is not changed: a marker in their place would confirm a guess. Nobody learns from
//! the log whether one was right but the owner.

use super::plan::Injection;
use super::{Broker, RunError};
use crate::audit::Detail;
use crate::sanitize::{Channel, Sanitized};
use crate::secret::SecretBytes;

/// Stands between two texts. None holds it: the kernel takes no word with it.
const BETWEEN: char = '\0';
/// Takes its place in a request that is refused for it.
const IN_PLACE: &str = "\u{fffd}";

/// The values with the names of their secrets.
pub(super) fn named(injections: &[Injection]) -> Vec<(&str, &SecretBytes)> {
    let named = injections.iter().map(|one| (one.key.as_str(), &one.value));
    named.collect()
}

impl Broker {
    /// Hides values, each with the name of its secret, and the master password, in what a record says of a command. Words over
    /// which a value was spread become one.
    pub(super) fn hide_in_detail(
        &self,
        values: &[(&str, &SecretBytes)],
        detail: &mut Detail,
    ) -> Result<(), RunError> {
        if !detail.argv.is_empty() {
            detail.argv = self.hide(values, &detail.argv)?;
        }
        let Detail {
            environment,
            directory,
            reason,
            remedy,
            ..
        } = detail;
        let mut texts: Vec<&mut String> = [environment, directory, reason, remedy]
            .into_iter()
            .flatten()
            .collect();
        self.hide_in(values, &mut texts)
    }

    /// Hides them in texts of which each stays one.
    pub(super) fn hide_in(
        &self,
        values: &[(&str, &SecretBytes)],
        texts: &mut [&mut String],
    ) -> Result<(), RunError> {
        if texts.is_empty() {
            return Ok(());
        }
        let hidden = self.hide(values, texts)?;
        if hidden.len() == texts.len() {
            for (text, hidden) in texts.iter_mut().zip(hidden) {
                **text = hidden;
            }
            return Ok(());
        }
        // Taken together they held a value that none holds alone.
        for text in texts {
            **text = self.hide(values, &[text.as_str()])?.concat();
        }
        Ok(())
    }

    fn hide(
        &self,
        values: &[(&str, &SecretBytes)],
        texts: &[impl AsRef<str>],
    ) -> Result<Vec<String>, RunError> {
        let texts = texts
            .iter()
            .map(|text| text.as_ref().replace(BETWEEN, IN_PLACE));
        let text = texts
            .collect::<Vec<_>>()
            .join(BETWEEN.encode_utf8(&mut [0; 4]));
        let mut sanitizer = self.sanitizer(values.iter().copied())?;
        let shown = [
            sanitizer.push(Channel::Stdout, text.as_bytes())?,
            sanitizer.finish(Channel::Stdout)?,
        ];
        let shown = shown.each_ref().map(Sanitized::as_bytes).concat();
        let shown = String::from_utf8_lossy(&shown);
        Ok(shown.split(BETWEEN).map(str::to_owned).collect())
    }
}
