//! A policy module that does what a module must not do. Its configuration says what. Without one, it allows everything.

#[cfg(target_family = "wasm")]
mod component;
