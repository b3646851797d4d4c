//! The `sanitizer` world: secrets go in once, chunks of output after them, and only ranges come out.

#![forbid(unsafe_code)]

use std::sync::Arc;

use wasmtime::Store;
use zeroize::{Zeroize, Zeroizing};

use self::exports::secretctl::guard::redaction as guest;
use super::limits::{self, Guest, Limits, Ticker};
use super::{Identity, Loaded, ModuleError};
use crate::sanitize::{Channel, Finder, Legend, Range, Verdict, Withheld};
use crate::secret::SecretBytes;

wasmtime::component::bindgen!({
    path: "policy-modules/wit",
    world: "sanitizer",
});

/// A call gets a chunk of 64 KiB, or all secrets: several thousand instructions for each byte.
const LIMITS: Limits = Limits {
    fuel: 5_000_000_000,
    deadline_epochs: 500,
    // Automata take a multiple of the secrets, which are at most a few MiB in practice.
    memory_bytes: 512 * 1024 * 1024,
};

/// The limits of a call with so many bytes. Tests make those of a large one narrow, so that the module traps while a command
/// runs.
#[cfg_attr(
    not(debug_assertions),
    expect(unused_variables, reason = "no fault there")
)]
fn limits_of(bytes: usize) -> Limits {
    #[cfg(debug_assertions)]
    if let Ok(Ok(fuel)) = std::env::var("SECRETCTL_SANITIZER_FUEL").map(|fuel| fuel.parse())
        && bytes >= 4096
    {
        return Limits { fuel, ..LIMITS };
    }
    LIMITS
}

/// A sanitizer module, ready to be started for a command.
pub struct SanitizerModule {
    loaded: Loaded,
    exports: SanitizerPre<Guest>,
    ticker: Arc<Ticker>,
}

impl SanitizerModule {
    pub(super) fn new(loaded: Loaded, ticker: Arc<Ticker>) -> Result<Self, ModuleError> {
        let exports = SanitizerPre::new(loaded.instance.clone()).map_err(ModuleError::host)?;
        Ok(Self {
            loaded,
            exports,
            ticker,
        })
    }

    /// What this module is, for audit records.
    pub fn identity(&self) -> &Identity {
        &self.loaded.identity
    }

    /// Starts an instance that knows `secrets`, each with the name its markers show.
    ///
    /// The instance's memory goes back to the system with the run, also when a call trapped: the pages are this process's no
    /// longer, and are zeroed before any other process gets them.
    pub fn start<'a>(
        &self,
        secrets: impl IntoIterator<Item = (&'a str, &'a SecretBytes)>,
    ) -> Result<SanitizerRun, Withheld> {
        let mut store = limits::store(&self.loaded.engine, LIMITS);
        limits::arm(&mut store, LIMITS)?;
        let call = self.ticker.call();
        let instance = self
            .exports
            .instantiate(&mut store)
            .map_err(|error| ModuleError::trap(&error))?;
        let copies = (secrets.into_iter()).map(|(name, value)| guest::Secret {
            name: name.to_owned(),
            value: value.expose().to_vec(),
        });
        let copies: Zeroizing<Vec<guest::Secret>> = Zeroizing::new(copies.collect());
        let started = instance
            .secretctl_guard_redaction()
            .call_start(&mut store, "null", &copies);
        drop(copies);
        drop(call);
        let legend = match started.map_err(|error| ModuleError::trap(&error))? {
            Ok(legend) => Legend::new(legend.subjects, legend.forms)?,
            // The module's own words could repeat a secret, so they are not passed on.
            Err(_) => return Err(Withheld::because("it refused to start")),
        };
        Ok(SanitizerRun {
            store,
            instance,
            legend,
            ticker: self.ticker.clone(),
        })
    }
}

/// Wiped on the way out, whichever that is.
impl Zeroize for guest::Secret {
    fn zeroize(&mut self) {
        self.value.zeroize();
    }
}

impl From<ModuleError> for Withheld {
    fn from(error: ModuleError) -> Self {
        Self::because(error.to_string())
    }
}

/// A sanitizer at work on the output of one command.
pub struct SanitizerRun {
    store: Store<Guest>,
    instance: Sanitizer,
    legend: Legend,
    ticker: Arc<Ticker>,
}

impl SanitizerRun {
    fn call(
        &mut self,
        bytes: usize,
        work: impl FnOnce(&guest::Guest, &mut Store<Guest>) -> wasmtime::Result<guest::Verdict>,
    ) -> Result<Verdict, Withheld> {
        limits::arm(&mut self.store, limits_of(bytes))?;
        let call = self.ticker.call();
        let answer = work(self.instance.secretctl_guard_redaction(), &mut self.store);
        drop(call);
        let verdict = answer.map_err(|error| ModuleError::trap(&error))?;
        let range = |range: guest::Range| Range {
            start: range.start,
            end: range.end,
            subject: range.subject,
            form: range.form,
        };
        Ok(Verdict {
            hide: verdict.hide.into_iter().map(range).collect(),
            settled: verdict.settled,
        })
    }
}

impl Finder for SanitizerRun {
    fn legend(&self) -> &Legend {
        &self.legend
    }

    fn push(&mut self, channel: Channel, chunk: &[u8]) -> Result<Verdict, Withheld> {
        self.call(chunk.len(), |guest, store| {
            guest.call_push(store, channel.into(), chunk)
        })
    }

    fn finish(&mut self, channel: Channel) -> Result<Verdict, Withheld> {
        self.call(0, |guest, store| guest.call_finish(store, channel.into()))
    }
}

impl From<Channel> for guest::Channel {
    fn from(channel: Channel) -> Self {
        match channel {
            Channel::Stdout => Self::Stdout,
            Channel::Stderr => Self::Stderr,
        }
    }
}
