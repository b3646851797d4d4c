//! The exports of the world `sanitizer`.

use std::sync::{Mutex, MutexGuard, PoisonError};

mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "sanitizer",
    });
}

use bindings::exports::secretctl::guard::redaction::{
    Channel, Guest, Legend, Range, Secret, Verdict,
};

/// Bytes of one try to fill the memory.
const MEBIBYTE: usize = 1024 * 1024;

/// What to do, and how much of each channel was pushed.
struct State {
    deed: String,
    ends: [u64; 2],
}

static STATE: Mutex<State> = Mutex::new(State {
    deed: String::new(),
    ends: [0; 2],
});

struct Component;

bindings::export!(Component with_types_in bindings);

impl Guest for Component {
    fn start(document: String, secrets: Vec<Secret>) -> Result<Legend, String> {
        let names = |count: usize, name: &str| vec![name.to_owned(); count];
        let deed = document.trim_matches('"');
        let (subjects, forms) = match deed {
            "refuse" => return Err("no\u{1b}[2J thanks".to_owned()),
            "trap at start" => std::process::abort(),
            "forge a marker" => (names(1, "x] [REDACTED:y"), names(1, "raw")),
            "name too much" => (names(1000, "x"), names(1000, "raw")),
            // What it was given is seen in the names.
            "tell secrets" => (
                names(1, &format!("{}-secrets", secrets.len())),
                names(1, "raw"),
            ),
            _ => (names(1, "x"), names(1, "raw")),
        };
        state().deed = deed.to_owned();
        Ok(Legend { subjects, forms })
    }

    fn push(channel: Channel, chunk: Vec<u8>) -> Verdict {
        let mut state = state();
        let before = state.ends[channel as usize];
        let end = before + chunk.len() as u64;
        state.ends[channel as usize] = end;
        let range = |start, end, subject| Range {
            start,
            end,
            subject,
            form: 0,
        };
        let (hide, settled) = match state.deed.as_str() {
            "trap" => std::process::abort(),
            "loop" => loop {
                std::hint::spin_loop();
            },
            "fill the memory" => {
                let mut all = Vec::new();
                loop {
                    all.push(vec![1_u8; MEBIBYTE]);
                }
            }
            "hide the future" => (vec![range(before, end + 1, 0)], before),
            "hide nothing at all" => (vec![range(before, before, 0)], end),
            "settle the future" => (vec![], end + 1),
            "settle nothing" => (vec![], 0),
            "name nobody" => (vec![range(before, end, 7)], end),
            "hide all" | "tell secrets" => (vec![range(before, end, 0)], end),
            "hide 's'" => {
                let places = (before..).zip(&chunk).filter(|(_, byte)| **byte == b's');
                (places.map(|(at, _)| range(at, at + 1, 0)).collect(), end)
            }
            _ => (vec![], end),
        };
        Verdict { hide, settled }
    }

    fn finish(channel: Channel) -> Verdict {
        let state = state();
        let settled = match state.deed.as_str() {
            "trap at the end" => std::process::abort(),
            "settle nothing" => 0,
            _ => state.ends[channel as usize],
        };
        Verdict {
            hide: vec![],
            settled,
        }
    }
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}
