//! The `sanitizer` world: secrets go in once, chunks of output after them, and only ranges come out.

#![forbid(unsafe_code)]

use std::sync::Arc;

use wasmtime::Store;
use zeroize::{Zeroize, Zeroizing};

use self::exports::secretctl::guard::redaction as guest;
use super::config::Author;
use super::limits::{self, Guest, Limits, Ticker};
use super::notice::Notices;
use super::{Identity, Loaded, ModuleError, short};
use crate::sanitize::{Channel, Finder, Legend, Range, Verdict, Withheld};
use crate::secret::SecretBytes;

wasmtime::component::bindgen!({
    path: "policy-modules/wit",
    world: "sanitizer",
});

/// A call gets a chunk of 64 KiB, or all secrets: several thousand instructions for each byte, where they are counted.
const LIMITS: Limits = Limits {
    fuel: 5_000_000_000,
    deadline_epochs: 100,
    // Automata take a multiple of the secrets, which are at most a few MiB in practice.
    memory_bytes: 512 * 1024 * 1024,
};

/// Others' modules know no secret, so they need no automata for them.
const CUSTOM_LIMITS: Limits = Limits {
    memory_bytes: 128 * 1024 * 1024,
    ..LIMITS
};

/// Most pairs of subject and form of a custom module: what it hid stands, with all names, in one record.
const CUSTOM_NAMES_MAX: usize = 32;

/// Most ranges of a custom module's answer: more than bytes can have come since its last one.
const CUSTOM_RANGES_MAX: usize = 1_000_000;

/// The limits of a call with so many bytes. Tests leave one with many no time, or the last one, so that the module traps while a
/// command runs.
#[cfg_attr(
    not(debug_assertions),
    expect(unused_variables, reason = "no fault there")
)]
fn limits_of(bytes: usize) -> Limits {
    #[cfg(debug_assertions)]
    {
        let traps = match std::env::var("SECRETCTL_SANITIZER_TRAPS").as_deref() {
            Ok("push") => bytes >= 4096,
            Ok("finish") => bytes == 0,
            _ => false,
        };
        if traps {
            return Limits {
                deadline_epochs: 0,
                ..LIMITS
            };
        }
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
        let copies = (secrets.into_iter()).map(|(name, value)| guest::Secret {
            name: name.to_owned(),
            value: value.expose().to_vec(),
        });
        let copies: Zeroizing<Vec<guest::Secret>> = Zeroizing::new(copies.collect());
        let started = self.instantiate("null", &copies);
        drop(copies);
        let (instance, answer) = started?;
        // The module's own words could repeat a secret, so they are not passed on.
        let legend = answer.map_err(|_| Withheld::because("it refused to start"))?;
        Ok(instance.into_run(Legend::new(legend.subjects, legend.forms)?, None))
    }

    /// Starts an instance that knows no secret, only its configuration. What it writes to its standard streams goes to `notices`,
    /// under the name of `module`.
    pub(super) fn start_custom(
        &self,
        document: &str,
        module: &str,
        notices: Arc<Notices>,
    ) -> Result<SanitizerRun, ModuleError> {
        let (instance, answer) = self.instantiate(document, &[])?;
        let legend = answer.map_err(|text| {
            ModuleError::answer(format!("it refused its configuration: {}", short(&text)))
        })?;
        if legend.subjects.len().saturating_mul(legend.forms.len()) > CUSTOM_NAMES_MAX {
            return Err(ModuleError::answer(format!(
                "its legend has more than {CUSTOM_NAMES_MAX} pairs of subject and form"
            )));
        }
        let legend = Legend::new(legend.subjects, legend.forms)
            .map_err(|_| ModuleError::answer("its legend has an invalid name"))?;
        Ok(instance.into_run(legend, Some((module.to_owned(), notices))))
    }

    fn instantiate(
        &self,
        document: &str,
        secrets: &[guest::Secret],
    ) -> Result<(Instance, Result<guest::Legend, String>), ModuleError> {
        let limits = match self.loaded.place.author {
            Author::Ours => LIMITS,
            Author::Anybody => CUSTOM_LIMITS,
        };
        let mut store = limits::store(&self.loaded, limits);
        limits::arm(&mut store, limits)?;
        let _call = self.ticker.call();
        let trap = |error: wasmtime::Error| ModuleError::trap(&error);
        let exports = self.exports.instantiate(&mut store).map_err(trap)?;
        let answer = exports
            .secretctl_guard_redaction()
            .call_start(&mut store, document, secrets)
            .map_err(trap)?;
        let instance = Instance {
            store,
            exports,
            ticker: self.ticker.clone(),
        };
        Ok((instance, answer))
    }
}

/// A module's memory and what can be called in it.
struct Instance {
    store: Store<Guest>,
    exports: Sanitizer,
    ticker: Arc<Ticker>,
}

impl Instance {
    fn into_run(self, legend: Legend, aloud: Option<(String, Arc<Notices>)>) -> SanitizerRun {
        SanitizerRun {
            instance: self,
            legend,
            aloud,
        }
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
    instance: Instance,
    legend: Legend,
    /// Its name, and where what it writes goes.
    aloud: Option<(String, Arc<Notices>)>,
}

impl SanitizerRun {
    fn call(
        &mut self,
        bytes: usize,
        work: impl FnOnce(&guest::Guest, &mut Store<Guest>) -> wasmtime::Result<guest::Verdict>,
    ) -> Result<Verdict, Withheld> {
        let Instance {
            store,
            exports,
            ticker,
        } = &mut self.instance;
        limits::arm(store, limits_of(bytes))?;
        let call = ticker.call();
        let answer = work(exports.secretctl_guard_redaction(), store);
        drop(call);
        if let Some((name, notices)) = &self.aloud {
            notices.said(name, &store.data().take_log());
        }
        let verdict = answer.map_err(|error| ModuleError::trap(&error))?;
        if self.aloud.is_some() && verdict.hide.len() > CUSTOM_RANGES_MAX {
            let fact = format!("it answered more than {CUSTOM_RANGES_MAX} ranges");
            return Err(ModuleError::answer(fact).into());
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;
    use crate::wasm::Host;

    /// Pieces of a text: letters and what stands between them, or the secret as it is or spaced.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let any = prop::collection::vec(any::<u8>(), 0..40);
        let words = prop::collection::vec(select(&b"abcXYZ019 _-,\n\x08\x1B[m\0"[..]), 0..80);
        let blank = (0..6000_usize).prop_map(|count| vec![b' '; count]);
        let secret = select(vec![
            "tok3nA9zB8yC7x",
            "t o k 3 n A 9 z B 8 y C 7 x",
            "dG9rM25BOXpCOHlDN3g",
        ]);
        let secret = secret.prop_map(|text| text.as_bytes().to_vec());
        let piece = prop_oneof![4 => any, 4 => words, 1 => blank, 4 => secret];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    fn expected(verdict: default_sanitizer::Verdict) -> Verdict {
        let range = |range: default_sanitizer::Range| Range {
            start: range.start,
            end: range.end,
            subject: range.subject,
            form: range.form,
        };
        Verdict {
            hide: verdict.hide.into_iter().map(range).collect(),
            settled: verdict.settled,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        /// The module has vector instructions of its own, and the sources are tested natively.
        #[test]
        fn the_module_finds_what_its_sources_find(texts in prop::collection::vec(pieces(), 1..4), cuts in prop::collection::vec(any::<Index>(), 0..4)) {
            thread_local! {
                static HOST: Host = Host::new(None).expect("the built-in modules load");
            }
            let value = SecretBytes::from_vec(b"tok3nA9zB8yC7x".to_vec());
            HOST.with(|host| {
                for text in &texts {
                    let mut module = host.sanitizer().expect("it loads").start([("KEY", &value)]).expect("it starts");
                    let mut native = default_sanitizer::Sanitizer::start(&[default_sanitizer::Secret {
                        name: "KEY",
                        value: b"tok3nA9zB8yC7x",
                    }])
                    .expect("it starts");
                    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
                    ends.extend([0, text.len()]);
                    ends.sort_unstable();
                    for ends in ends.windows(2) {
                        let chunk = &text[ends[0]..ends[1]];
                        let found = module.push(Channel::Stdout, chunk).expect("an answer");
                        let known = native.push(default_sanitizer::Channel::Stdout, chunk);
                        prop_assert_eq!(found, expected(known));
                    }
                    let found = module.finish(Channel::Stdout).expect("an answer");
                    prop_assert_eq!(found, expected(native.finish(default_sanitizer::Channel::Stdout)));
                }
                Ok(())
            })?;
        }
    }
}
