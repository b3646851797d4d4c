//! What modules say beside their answers, and what happened to their compiled code.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::text::is_unseen;

/// Most that are kept until somebody asks for them.
const KEPT_MAX: usize = 64;

/// Something that a person should hear of. Its text has no characters that are not seen, but line breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A module wrote to its standard output or error.
    Said {
        /// Its path, as the policy file has it.
        module: String,
        /// What it wrote.
        text: String,
    },
    /// The compiled code of a module was not what this program had made. It was not loaded; the module was compiled again.
    Forged {
        /// Its path, as the policy file has it.
        module: String,
    },
    /// The compiled code of a module could not be kept, so that the next start compiles it again.
    NotKept {
        /// Its path, as the policy file has it.
        module: String,
        /// What went wrong.
        fact: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // No line of its text begins where one of ours could.
            Self::Said { module, text } => {
                write!(f, "{module} says: {}", text.replace('\n', "\n    "))
            }
            Self::Forged { module } => write!(
                f,
                "the compiled code of the module {module} in the cache was changed by somebody: it was not used, and compiled again"
            ),
            Self::NotKept { module, fact } => write!(
                f,
                "the compiled code of the module {module} cannot be kept: {fact}"
            ),
        }
    }
}

/// Notices that nobody has asked for yet.
#[derive(Default)]
pub(super) struct Notices(Mutex<Vec<Notice>>);

impl Notices {
    pub(super) fn add(&self, notice: Notice) {
        let mut notices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if notices.len() < KEPT_MAX {
            notices.push(notice);
        }
    }

    /// What a module wrote, if it wrote anything.
    pub(super) fn said(&self, module: &str, written: &str) {
        let plain = |c: char| match c {
            '\n' => '\n',
            c if is_unseen(c) => '\u{fffd}',
            c => c,
        };
        let text: String = written.trim_end().chars().map(plain).collect();
        if !text.is_empty() {
            self.add(Notice::Said {
                module: module.to_owned(),
                text,
            });
        }
    }

    pub(super) fn take(&self) -> Vec<Notice> {
        let mut notices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut notices)
    }
}
