//! A sanitizer of streams that are searched for shapes, both channels in the same way.

use secretctl_guard::{Channel, Legend, Sanitizer, Secret, Verdict};

use crate::Range;

/// The search in one stream.
pub trait Stream: Default + Send {
    /// What markers show, by number.
    const SUBJECTS: &[&str];

    /// Takes the next bytes, or the end. Gives what is to be hidden, and the offset up to which all is decided.
    fn push(&mut self, chunk: &[u8], ended: bool) -> (Vec<Range>, u64);
}

/// A module that searches both channels.
#[derive(Default)]
pub struct Shapes<S>([S; 2]);

impl<S: Stream> Shapes<S> {
    fn search(&mut self, channel: Channel, chunk: &[u8], ended: bool) -> Verdict {
        let (hide, settled) = self.0[channel as usize].push(chunk, ended);
        let range = |range: Range| secretctl_guard::Range {
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
}

impl<S: Stream> Sanitizer for Shapes<S> {
    fn start(document: &str, _: Vec<Secret>) -> Result<Self, String> {
        match document {
            "null" => Ok(Self([S::default(), S::default()])),
            _ => Err("this module has nothing to configure".to_owned()),
        }
    }

    fn legend(&self) -> Legend {
        Legend {
            subjects: S::SUBJECTS.iter().copied().map(String::from).collect(),
            forms: vec!["shape".to_owned()],
        }
    }

    fn push(&mut self, channel: Channel, chunk: &[u8]) -> Verdict {
        self.search(channel, chunk, false)
    }

    fn finish(&mut self, channel: Channel) -> Verdict {
        self.search(channel, &[], true)
    }
}
