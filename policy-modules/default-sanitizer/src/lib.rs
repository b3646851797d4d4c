//! The built-in sanitizer: finds every secret it was given in the output of a command, whole and in the encodings that
//! programs write by themselves, and answers with the ranges to hide.
//!
//! `engine` drives one set of views for each channel; a view decodes the stream and searches the secrets themselves in
//! what it decoded (`escapes`, `digits`), so that mixed case and mixed escaping need no needles of their own. Most of the text
//! they never see, since a `scout` tells where nothing can start. Time is linear in the stream; memory is linear in the secrets.
//!
//! The module imports nothing. This file only joins the engine to the component's exports.

mod automaton;
mod compact;
mod decode;
mod digits;
mod engine;
mod escapes;
mod grams;
mod loose;
mod needles;
mod parts;
mod scout;
mod shape;
mod terminal;

pub use engine::{Channel, FORMS, HOLD_BYTES, Range, Sanitizer, Secret, StartError, Verdict};
pub use loose::letters;
pub use needles::{ENCODED_MIN_BYTES, LOOSE_MIN_BYTES, Needle, Needles};
pub use shape::Numbers;

#[cfg(target_family = "wasm")]
mod component;
