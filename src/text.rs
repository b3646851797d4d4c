//! Texts that somebody else chose, an agent or the author of a module; and what several modules write.

use std::io::{self, Write};

/// Writes a line to standard error, at once: others may write there too, and parts of two lines would mix.
pub fn say(line: &str) {
    // Where standard error is closed, there is nobody to tell.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a character does something to the text around it, or hides in it, instead of being read: control characters, line breaks
/// among them; those that turn the direction of writing; those without width, by which a text for an agent stands unseen in one for a
/// person. The joiners that some scripts and emoji need are none of them.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_seen_and_what_acts_is_not() {
        assert!(!"größer 你好 مرحبا می‌خواهم 👩‍💻 a-b c".contains(is_unseen));
        for c in "\0\n\r\u{1b}\u{7f}\u{9b}\u{200b}\u{200f}\u{2028}\u{202e}\u{2066}\u{2069}\u{feff}\u{e0041}".chars() {
            assert!(is_unseen(c), "{c:?}");
        }
    }
}
