//! Deeds of a sanitizer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::SanitizerDeed;
use crate::component::Component;
use crate::component::bindings::exports::secretctl::guard::redaction::{
    Channel, Guest, Legend, Range, Secret, Verdict,
};

/// Bytes of one try to fill the memory.
const MEBIBYTE: usize = 1024 * 1024;

/// What to do, and how much of each channel was pushed.
struct State {
    deed: Option<SanitizerDeed>,
    ends: [u64; 2],
}

static STATE: Mutex<State> = Mutex::new(State {
    deed: None,
    ends: [0; 2],
});

impl Guest for Component {
    fn start(document: String, secrets: Vec<Secret>) -> Result<Legend, String> {
        let legend = |count: usize, subject: &str| Legend {
            subjects: vec![subject.to_owned(); count],
            forms: vec!["raw".to_owned(); count],
        };
        let deed = SanitizerDeed::of(&document);
        state().deed = deed;
        Ok(match deed {
            Some(SanitizerDeed::Refuse) => return Err("no\u{1b}[2J thanks".to_owned()),
            Some(SanitizerDeed::TrapAtStart) => std::process::abort(),
            Some(SanitizerDeed::ForgeAMarker) => legend(1, "x] [REDACTED:y"),
            Some(SanitizerDeed::NameTooMuch) => legend(1000, "x"),
            // What it was given is seen in the names.
            Some(SanitizerDeed::TellSecrets) => legend(1, &format!("{}-secrets", secrets.len())),
            _ => legend(1, "x"),
        })
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
        use SanitizerDeed as Deed;
        let (hide, settled) = match state.deed {
            Some(Deed::Trap) => std::process::abort(),
            Some(Deed::Loop) => loop {
                std::hint::spin_loop();
            },
            Some(Deed::FillTheMemory) => {
                let mut all = Vec::new();
                loop {
                    all.push(vec![1_u8; MEBIBYTE]);
                }
            }
            Some(Deed::HideTheFuture) => (vec![range(before, end + 1, 0)], before),
            Some(Deed::HideNothingAtAll) => (vec![range(before, before, 0)], end),
            Some(Deed::SettleTheFuture) => (vec![], end + 1),
            Some(Deed::SettleNothing) => (vec![], 0),
            Some(Deed::NameNobody) => (vec![range(before, end, 7)], end),
            Some(Deed::HideAll | Deed::TellSecrets) => (vec![range(before, end, 0)], end),
            Some(Deed::HideS) => {
                let places = (before..).zip(&chunk).filter(|(_, byte)| **byte == b's');
                (places.map(|(at, _)| range(at, at + 1, 0)).collect(), end)
            }
            Some(Deed::AnswerAtLength) => (vec![range(before, end, 0); 2_000_000], end),
            _ => (vec![], end),
        };
        Verdict { hide, settled }
    }

    fn finish(channel: Channel) -> Verdict {
        let state = state();
        let end = state.ends[channel as usize];
        let past = Range {
            start: 0,
            end,
            subject: 0,
            form: 0,
        };
        let (hide, settled) = match state.deed {
            Some(SanitizerDeed::TrapAtTheEnd) => std::process::abort(),
            Some(SanitizerDeed::SettleNothing) => (vec![], 0),
            Some(SanitizerDeed::HideThePast) if end > 0 => (vec![past], end),
            _ => (vec![], end),
        };
        Verdict { hide, settled }
    }
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}
