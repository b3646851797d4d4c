//! The same hiding for what is not output: the words of a command in the log, and the texts beside a secret.
//!
//! What an agent is told of its own words is not changed: a marker in their place would confirm a guess. Nobody learns from
//! the log whether one was right but the owner.

use super::plan::Injection;
use super::{Broker, RunError};
use crate::audit::Detail;
use crate::sanitize::{Channel, Sanitized, Sanitizer};
use crate::secret::SecretBytes;
use crate::wasm::SanitizerRun;

/// Stands between two texts. None holds it: the kernel takes no word with it.
const BETWEEN: &str = "\0";
/// Takes its place in a request that is refused for it.
const IN_PLACE: &str = "\u{fffd}";

/// The values that are hidden, with the names of their secrets.
pub(super) fn named(injections: &[Injection]) -> Vec<(&str, &SecretBytes)> {
    let hidden = injections.iter().filter(|one| one.sensitive);
    hidden.map(|one| (one.key.as_str(), &one.value)).collect()
}

impl Broker {
    /// Hides values, each with the name of its secret, and the master password, in what a record says of a command. Words over
    /// which a value was spread become one. Gives the sanitizer that did it, for the command's output.
    pub(super) fn hide_in_detail(
        &self,
        values: &[(&str, &SecretBytes)],
        detail: &mut Detail,
    ) -> Result<Sanitizer<SanitizerRun>, RunError> {
        let Detail {
            argv,
            environment,
            directory,
            reason,
            remedy,
            ..
        } = detail;
        let texts = [environment, directory, reason, remedy];
        let mut texts: Vec<&mut String> = texts.into_iter().flatten().collect();
        let mut hider = self.hider(values)?;
        if !argv.is_empty() {
            *argv = hider.hide(Channel::Stdout, argv)?;
        }
        if !texts.is_empty() {
            self.replace(values, &mut hider, &mut texts)?;
        }
        Ok(hider.0.anew())
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
        self.replace(values, &mut self.hider(values)?, texts)
    }

    fn replace(
        &self,
        values: &[(&str, &SecretBytes)],
        hider: &mut Hider,
        texts: &mut [&mut String],
    ) -> Result<(), RunError> {
        let hidden = hider.hide(Channel::Stderr, texts)?;
        if hidden.len() == texts.len() {
            for (text, hidden) in texts.iter_mut().zip(hidden) {
                **text = hidden;
            }
            return Ok(());
        }
        // Together they held a value that none holds alone.
        for text in texts {
            let alone = [text.as_str()];
            **text = self.hider(values)?.hide(Channel::Stdout, &alone)?.concat();
        }
        Ok(())
    }

    fn hider(&self, values: &[(&str, &SecretBytes)]) -> Result<Hider, RunError> {
        Ok(Hider(self.sanitizer(values.iter().copied())?))
    }
}

/// A sanitizer for one list of texts on each channel: starting one costs more than all else here.
struct Hider(Sanitizer<SanitizerRun>);

impl Hider {
    fn hide(
        &mut self,
        channel: Channel,
        texts: &[impl AsRef<str>],
    ) -> Result<Vec<String>, RunError> {
        let texts = texts.iter();
        let texts: Vec<String> = texts
            .map(|text| text.as_ref().replace(BETWEEN, IN_PLACE))
            .collect();
        let shown = [
            self.0.push(channel, texts.join(BETWEEN).as_bytes())?,
            self.0.finish(channel)?,
        ];
        let shown = shown.each_ref().map(Sanitized::as_bytes).concat();
        let shown = String::from_utf8_lossy(&shown);
        Ok(shown.split(BETWEEN).map(str::to_owned).collect())
    }
}
