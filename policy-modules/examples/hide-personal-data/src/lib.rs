//! An example of a sanitizer module: hides e-mail addresses and card numbers.
//!
//! At most 320 bytes are held back: the longest address and what follows it.

mod card;
mod email;

#[cfg(target_family = "wasm")]
mod component;

use scan::{Range, Scanner};

use card::Card;
use email::Email;

/// What markers show, by number.
pub const SUBJECTS: [&str; 2] = ["email", "card-number"];
/// Most bytes that are held back.
pub const HELD_MAX_BYTES: usize = 320;

/// The search in one stream.
pub struct Stream {
    email: Scanner<Email>,
    card: Scanner<Card>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            email: Scanner::new(Email),
            card: Scanner::new(Card),
        }
    }
}

impl Stream {
    /// Takes the next bytes, or the end. Gives what is to be hidden, and the offset up to which all is decided.
    pub fn push(&mut self, chunk: &[u8], ended: bool) -> (Vec<Range>, u64) {
        let mut hide = Vec::new();
        let email = self.email.push(chunk, ended, &mut hide);
        let card = self.card.push(chunk, ended, &mut hide);
        hide.sort_unstable();
        (hide, email.min(card))
    }
}
