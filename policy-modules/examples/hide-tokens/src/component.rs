//! The exports of the world `sanitizer`. A call that comes out of order traps, which the host takes as a failure.

use std::sync::{Mutex, PoisonError};

use crate::{SUBJECTS, Stream};

mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "sanitizer",
    });
}

use bindings::exports::secretctl::guard::redaction::{
    Channel, Guest, Legend, Range, Secret, Verdict,
};

/// The streams of the two channels.
static STREAMS: Mutex<Option<[Stream; 2]>> = Mutex::new(None);

struct Component;

bindings::export!(Component with_types_in bindings);

impl Guest for Component {
    fn start(document: String, _: Vec<Secret>) -> Result<Legend, String> {
        if document != "null" {
            return Err("this module has nothing to configure".to_owned());
        }
        *STREAMS.lock().unwrap_or_else(PoisonError::into_inner) = Some(Default::default());
        Ok(Legend {
            subjects: SUBJECTS.map(str::to_owned).into(),
            forms: vec!["shape".to_owned()],
        })
    }

    fn push(channel: Channel, chunk: Vec<u8>) -> Verdict {
        verdict(channel, &chunk, false)
    }

    fn finish(channel: Channel) -> Verdict {
        verdict(channel, &[], true)
    }
}

fn verdict(channel: Channel, chunk: &[u8], ended: bool) -> Verdict {
    let mut streams = STREAMS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some([stdout, stderr]) = streams.as_mut() else {
        std::process::abort()
    };
    let stream = match channel {
        Channel::Stdout => stdout,
        Channel::Stderr => stderr,
    };
    let (hide, settled) = stream.push(chunk, ended);
    let range = |range: scan::Range| Range {
        start: range.start,
        end: range.end,
        subject: range.subject,
        form: 0,
    };
    Verdict {
        hide: hide.into_iter().map(range).collect(),
        settled,
    }
}
