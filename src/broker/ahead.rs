//! The helper of a person's command, started while the vault is still being opened.

use std::thread::{self, JoinHandle};

use secretctl_runner::{Network, Runner};

use super::PersonDoor;

/// A helper on its way, for the one command of this process. It learns nothing of the command yet.
pub struct Ahead(Option<JoinHandle<Option<Runner>>>);

impl Ahead {
    /// Starts it beside whatever this thread does: for a command in a jail with this network, or in none.
    pub fn start(jail: Option<Network>) -> Self {
        let start = move || {
            let runner = Runner::beside_current_exe().ok()?;
            runner.expect(jail).ok()?;
            Some(runner)
        };
        let thread = thread::Builder::new().name("ahead".to_owned());
        Self(thread.spawn(start).ok())
    }
}

impl PersonDoor {
    /// Has the next command use it. Nothing depends on that: without it the command gets a helper of its own, and says what is wrong if
    /// that cannot be.
    pub fn take(&self, ahead: Ahead) {
        let runner = ahead.0.and_then(|thread| thread.join().ok());
        if let Some(runner) = runner.flatten() {
            let _ = self.broker.runner.set(runner);
        }
    }
}
