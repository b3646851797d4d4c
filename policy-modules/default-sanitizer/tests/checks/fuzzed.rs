//! Cases that are made of the bytes of a fuzzer. Whatever the bytes are, they make a case.

use arbitrary::{Arbitrary, Result, Unstructured};

use super::encodings::{INNER, OUTER, Shown, shown_of_two};
use super::writers::{WAYS, Write};
use super::{encodings, exact, harness, loose};

/// Letters of secrets and texts. Among two of them a secret overlaps itself and others at nearly every place.
const LETTERS: [&[u8]; 4] = [
    b"ab",
    b"aaab%\\+=u604 \r\n&#x;1",
    b"%\\\"/+ u60\nAz\0=\xFF\x7F",
    b"aA0-_/+Qm5&;",
];

/// What stands in front of letters, between them and behind them.
const GAPS: [&[u8]; 3] = [
    b"ab \x08",
    b"ab1A \n,\x08\x1B[m(;\x9B\xC2\0",
    b"ijklmnopqrstuvwxyz ,.\n\x08\x1B[m",
];

const TOKEN: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const SIGNS: &[u8] = b" '\"&<>$^/+._-aZ9";

/// What no encoder would take for a part of what it writes.
const NEIGHBOURS: &[u8] = b" .,:;!?()\n";

/// Exact needles, and a text of them in any encodings and of other letters.
#[derive(Debug)]
pub(crate) struct Exact {
    secrets: Vec<Vec<u8>>,
    text: Vec<u8>,
    cuts: Vec<u16>,
}

impl Exact {
    pub(crate) fn check(&self) {
        exact::check(&self.secrets, &self.text, &self.cuts);
    }
}

impl<'a> Arbitrary<'a> for Exact {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let letters = u.choose(&LETTERS)?;
        let secrets = several(u, 1, 4, |u| word(u, letters, 1, 14))?;
        let piece = |u: &mut Unstructured<'a>| {
            let before = word(u, letters, 0, 12)?;
            let secret = u.choose(&secrets)?;
            let way = u.int_in_range(0..=exact::WAYS - 1)?;
            // Most escapes stand for ASCII alone.
            let choice: [u8; 4] = u.arbitrary()?;
            let written = exact::written(secret, way, &choice.map(|byte| byte & 0x7F));
            Ok([before, written].concat())
        };
        Ok(Self {
            text: several(u, 0, 6, piece)?.concat(),
            secrets,
            cuts: cuts(u)?,
        })
    }
}

/// A secret, written one or two times.
#[derive(Debug)]
pub(crate) struct Encoded {
    secret: Vec<u8>,
    written: Vec<u8>,
    /// Bytes of it that may stay visible at either side; nothing needs to be hidden of what nobody claims to see through.
    shown: Option<Shown>,
    before: Vec<u8>,
    behind: Vec<u8>,
    cuts: Vec<u16>,
}

impl Encoded {
    pub(crate) fn check(&self) {
        let start = || encodings::start(&self.secret);
        let (before, behind) = (&self.before[..], &self.behind[..]);
        match self.shown {
            Some(shown) => {
                encodings::check(
                    "fuzzed",
                    &self.secret,
                    &self.written,
                    shown,
                    before,
                    behind,
                    &self.cuts,
                );
            }
            None => {
                harness::find(start, &[before, &self.written, behind].concat(), &self.cuts);
            }
        }
    }
}

impl<'a> Arbitrary<'a> for Encoded {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        // It starts with a letter: numbers are hidden by their shape, and must not be told apart by how they are written.
        let secret = [
            word(u, &TOKEN[..52], 1, 1)?,
            word(u, TOKEN, 3, 3)?,
            word(u, SIGNS, 0, 12)?,
            word(u, TOKEN, 6, 20)?,
        ]
        .concat();
        let (written, shown) = write(u, &secret)?;
        Ok(Self {
            written,
            shown,
            before: word(u, NEIGHBOURS, 0, 6)?,
            behind: word(u, NEIGHBOURS, 0, 6)?,
            cuts: cuts(u)?,
            secret,
        })
    }
}

/// What programs write of a secret, and what of it may stay visible.
fn write(u: &mut Unstructured<'_>, secret: &[u8]) -> Result<(Vec<u8>, Option<Shown>)> {
    Ok(match u.int_in_range(0..=2)? {
        0 => {
            let (_, write, front, back) = u.choose(&WAYS)?;
            (write(secret), Some((*front, *back)))
        }
        1 => {
            let (write, front, back) = u.choose(&INNER)?;
            let outer: &Write = u.choose(&OUTER)?;
            let inner = write(secret);
            let written = outer(&inner);
            let shown = shown_of_two(&inner, &written, (*front, *back));
            (written, Some(shown))
        }
        _ => {
            let (inner, outer) = (u.choose(&WAYS)?.1, u.choose(&WAYS)?.1);
            (outer(&inner(secret)), None)
        }
    })
}

/// Loose needles, and a text of them with anything between their letters.
#[derive(Debug)]
pub(crate) struct Loose {
    needles: Vec<Vec<u8>>,
    text: Vec<u8>,
    cuts: Vec<u16>,
}

impl Loose {
    pub(crate) fn check(&self) {
        loose::check(&self.needles, &self.text, &self.cuts);
    }
}

impl<'a> Arbitrary<'a> for Loose {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let letters: &[u8] = u.choose(&[&b"ab"[..], b"ab1", b"abcdefgh12"])?;
        let between = u.choose(&GAPS)?;
        let needles = several(u, 1, 3, |u| word(u, letters, 8, 13))?;
        let piece = |u: &mut Unstructured<'a>| {
            let before = word(u, between, 0, 24)?;
            let gaps = several(u, 1, 4, |u| word(u, between, 0, 3))?;
            let wide = vec![*u.choose(between)?; *u.choose(&[0, 0, 0, 60, 61, 62, 63, 64, 65])?];
            let needle = loose::spread(u.choose(&needles)?, &gaps);
            let middle = u.int_in_range(0..=needle.len())?;
            Ok([&before, &needle[..middle], &wide, &needle[middle..]].concat())
        };
        Ok(Self {
            text: several(u, 0, 5, piece)?.concat(),
            needles,
            cuts: cuts(u)?,
        })
    }
}

fn several<'a, T>(
    u: &mut Unstructured<'a>,
    least: usize,
    most: usize,
    one: impl Fn(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = u.int_in_range(least..=most)?;
    (0..count).map(|_| one(u)).collect()
}

fn word(u: &mut Unstructured<'_>, letters: &[u8], least: usize, most: usize) -> Result<Vec<u8>> {
    several(u, least, most, |u| u.choose(letters).copied())
}

fn cuts(u: &mut Unstructured<'_>) -> Result<Vec<u16>> {
    several(u, 0, 7, |u| u.int_in_range(0..=0x3FF))
}
