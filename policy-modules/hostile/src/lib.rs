//! A sanitizer module that does what a module must not do. Its configuration says what, and when the output begins, it does it.
//! Without one, it hides nothing.

#[cfg(target_family = "wasm")]
mod component;
