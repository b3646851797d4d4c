//! Loose needles against the oracle.

use default_sanitizer::{Needle, Needles, Sanitizer};

use super::harness::{find, hidden, united};
use super::oracle;

/// Searches just these needles.
pub(crate) fn start(needles: &[Vec<u8>]) -> Sanitizer {
    let needle = |(subject, bytes): (u32, &Vec<u8>)| Needle {
        subject,
        form: 6,
        bytes: bytes.clone().into(),
        raw: true,
        decoded: false,
    };
    Sanitizer::search(&Needles {
        loose: (0..).zip(needles).map(needle).collect(),
        ..Needles::default()
    })
}

pub(crate) fn check(needles: &[Vec<u8>], text: &[u8], cuts: &[u16]) {
    let found = find(|| start(needles), text, cuts);
    let occurrences = united(oracle::loose_occurrences(needles, text));
    assert_eq!(hidden(&found), hidden(&occurrences));
}

/// `needle` with something behind each of its letters.
pub(crate) fn spread(needle: &[u8], gaps: &[Vec<u8>]) -> Vec<u8> {
    let mut text = Vec::new();
    for (letter, gap) in needle.iter().zip(gaps.iter().cycle()) {
        text.push(*letter);
        text.extend(gap);
    }
    text
}
