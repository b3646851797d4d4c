//! The exports of the world `sanitizer`. A call that comes out of order traps, which the host takes as a failure.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine;

mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "sanitizer",
    });
}

use bindings::exports::secretctl::guard::redaction::{
    Channel, Guest, Legend, Range, Secret, Verdict,
};

static SANITIZER: Mutex<Option<engine::Sanitizer>> = Mutex::new(None);

struct Component;

bindings::export!(Component with_types_in bindings);

impl Guest for Component {
    fn start(document: String, secrets: Vec<Secret>) -> Result<Legend, String> {
        if document.trim() != "null" {
            return Err("the built-in sanitizer takes no configuration".to_owned());
        }
        let subjects = secrets.iter().map(|s| s.name.clone()).collect();
        let secrets: Vec<_> = secrets
            .iter()
            .map(|secret| engine::Secret {
                name: &secret.name,
                value: &secret.value,
            })
            .collect();
        let sanitizer = engine::Sanitizer::start(&secrets).map_err(|error| error.to_string())?;
        *lock() = Some(sanitizer);
        Ok(Legend {
            subjects,
            forms: engine::FORMS.map(str::to_owned).into(),
        })
    }

    fn push(channel: Channel, chunk: Vec<u8>) -> Verdict {
        with_sanitizer(|sanitizer| sanitizer.push(native(channel), &chunk))
    }

    fn finish(channel: Channel) -> Verdict {
        with_sanitizer(|sanitizer| sanitizer.finish(native(channel)))
    }
}

fn lock() -> MutexGuard<'static, Option<engine::Sanitizer>> {
    SANITIZER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_sanitizer(call: impl FnOnce(&mut engine::Sanitizer) -> engine::Verdict) -> Verdict {
    let mut sanitizer = lock();
    let Some(sanitizer) = sanitizer.as_mut() else {
        std::process::abort()
    };
    let verdict = call(sanitizer);
    Verdict {
        hide: verdict.hide.into_iter().map(range).collect(),
        settled: verdict.settled,
    }
}

fn native(channel: Channel) -> engine::Channel {
    match channel {
        Channel::Stdout => engine::Channel::Stdout,
        Channel::Stderr => engine::Channel::Stderr,
    }
}

fn range(range: engine::Range) -> Range {
    let engine::Range {
        start,
        end,
        subject,
        form,
    } = range;
    Range {
        start,
        end,
        subject,
        form,
    }
}
