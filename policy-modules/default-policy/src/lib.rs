//! The built-in policy module: applies the rules of the policy file to a request.
//!
//! This file only connects the component's exports to `decide`, which reads as the order of the rules.
//! Nothing is imported from the host: the answer depends on the document and the request alone.

mod carriers;
mod code;
mod command;
mod decide;
mod document;
mod keys;
mod nested;
mod refusal;
mod remedy;
mod shell;

use std::sync::OnceLock;

use document::Document;

// The generated code is not ours to document.
#[allow(missing_docs, unreachable_pub, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "policy" });
}

use bindings::exports::secretctl::guard::decisions as types;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
mod tests;

static DOCUMENT: OnceLock<Document> = OnceLock::new();

struct Module;

impl types::Guest for Module {
    fn configure(document: String) -> Vec<types::Problem> {
        match Document::parse(&document) {
            Ok(document) => {
                DOCUMENT.get_or_init(|| document);
                Vec::new()
            }
            Err(message) => vec![types::Problem {
                path: String::new(),
                message,
            }],
        }
    }

    fn decide(request: types::Request) -> types::Decision {
        match DOCUMENT.get() {
            Some(document) => decide::decide(document, &request),
            None => decide::unconfigured(),
        }
    }
}

#[cfg(target_arch = "wasm32")]
bindings::export!(Module with_types_in bindings);
