//! Numbers of payment cards.

#![forbid(unsafe_code)]

use scan::{Found, Shape, distance, length};

/// Digits of a card's number (ISO/IEC 7812).
const DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
/// Shortest group of digits between spaces or dashes: with shorter ones, columns of small numbers would be cards.
const GROUP_MIN_DIGITS: usize = 3;

/// 13 to 19 digits with a right check digit, in one piece or in groups, with no digit before and behind them and not the decimals
/// of a number.
pub(crate) struct Card;

impl Shape for Card {
    fn at(&self, before: &[u8], rest: &[u8], ended: bool) -> Found {
        let skipped = distance(rest, |byte| byte.is_ascii_digit());
        if skipped > 0 {
            return Found::Nothing(skipped);
        }
        let is_inside = matches!(before, [.., b'0'..=b'9'] | [b'0'..=b'9', b'.']);
        if is_inside {
            return Found::Nothing(1);
        }
        longest(rest, ended)
    }
}

/// The longest number that begins here. In the way of the search stand only whole groups.
fn longest(rest: &[u8], ended: bool) -> Found {
    let (mut end, mut digits) = (0, Vec::new());
    let mut found = Found::Nothing(1);
    loop {
        let longest = *DIGITS.end() + 1 - digits.len();
        let group = length(&rest[end..rest.len().min(end + longest)], |byte| {
            byte.is_ascii_digit()
        });
        if digits.len() + group > *DIGITS.end() {
            return found;
        }
        if end + group == rest.len() && !ended {
            return Found::Undecided;
        }
        if group < GROUP_MIN_DIGITS {
            return found;
        }
        digits.extend_from_slice(&rest[end..end + group]);
        end += group;
        if DIGITS.contains(&digits.len()) && is_valid(&digits) {
            found = Found::Bytes {
                start: 0,
                end,
                // What stands in front of a number can make a shorter one of its beginning.
                next: 1,
                subject: 1,
            };
        }
        match rest.get(end) {
            Some(b' ' | b'-') => end += 1,
            _ => return found,
        }
    }
}

/// Whether the last digit is the check digit of the others (Luhn).
fn is_valid(digits: &[u8]) -> bool {
    let weighted = digits.iter().rev().enumerate().map(|(index, digit)| {
        let value = u32::from(digit - b'0') * (1 + index as u32 % 2);
        value / 10 + value % 10
    });
    weighted.sum::<u32>() % 10 == 0
}
