//! The trait of sanitizer modules, and how one is exported.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{Channel, Legend, Secret, Verdict};

/// Finds what must not be seen in the output of a command. There is one instance for each command. The host rewrites the output: a
/// sanitizer answers ranges, so it can hide too much, and neither show nor change anything.
///
/// Output is cut anywhere, and what is hidden must not depend on where. What could still become part of a range is held back by
/// not [settling](Verdict::settled) it.
pub trait Sanitizer: Sized + Send {
    /// Takes the `config` of the module's entry in the policy file, as JSON; `null` where there is none. `secrets` is empty: only the
    /// built-in module gets any.
    ///
    /// # Errors
    /// What is wrong with the configuration. No command runs then, and the person reads it.
    fn start(document: &str, secrets: Vec<Secret>) -> Result<Self, String>;

    /// What the numbers in ranges stand for.
    fn legend(&self) -> Legend;

    /// Takes the next bytes of a channel.
    fn push(&mut self, channel: Channel, chunk: &[u8]) -> Verdict;

    /// Called once for each channel, when it has ended: everything must be settled now.
    fn finish(&mut self, channel: Channel) -> Verdict;
}

/// Makes a library a sanitizer module that finds what a type does which implements [`Sanitizer`]. A library has one of them.
#[macro_export]
macro_rules! export_sanitizer {
    ($sanitizer:ty) => {
        const _: () = {
            static STATE: $crate::state::State<$sanitizer> = $crate::state::State::new();

            #[allow(dead_code, reason = "exported from WebAssembly alone")]
            struct Module;

            impl $crate::bindings::sanitizer::exports::secretctl::guard::redaction::Guest
                for Module
            {
                fn start(
                    document: $crate::state::String,
                    secrets: $crate::state::Vec<$crate::Secret>,
                ) -> Result<$crate::Legend, $crate::state::String> {
                    STATE.start(&document, secrets)
                }

                fn push(
                    channel: $crate::Channel,
                    chunk: $crate::state::Vec<u8>,
                ) -> $crate::Verdict {
                    STATE.push(channel, &chunk)
                }

                fn finish(channel: $crate::Channel) -> $crate::Verdict {
                    STATE.finish(channel)
                }
            }

            #[cfg(target_family = "wasm")]
            $crate::bindings::sanitizer::export_world_sanitizer!(
                Module with_types_in $crate::bindings::sanitizer
            );
        };
    };
}
