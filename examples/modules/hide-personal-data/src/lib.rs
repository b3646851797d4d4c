//! A sanitizer module: hides e-mail addresses and card numbers.
//!
//! At most 320 bytes are held back: the longest address and what follows it.

mod card;
mod email;

use scan::{Range, Scanner, Shapes};
use secretctl_guard::export_sanitizer;

use card::Card;
use email::Email;

/// Most bytes that are held back.
pub const HELD_MAX_BYTES: usize = 320;

export_sanitizer!(Shapes<Stream>);

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

impl scan::Stream for Stream {
    const SUBJECTS: &[&str] = &["email", "card-number"];

    fn push(&mut self, chunk: &[u8], ended: bool) -> (Vec<Range>, u64) {
        let mut hide = Vec::new();
        let email = self.email.push(chunk, ended, &mut hide);
        let card = self.card.push(chunk, ended, &mut hide);
        hide.sort_unstable();
        (hide, email.min(card))
    }
}
