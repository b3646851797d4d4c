//! A search through all that another process has in memory. For root, on Linux.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use memchr::memmem::Finder;

/// Bytes read at once.
const BLOCK_BYTES: u64 = 1 << 20;
/// Bytes shown on either side of what is found.
const CONTEXT_BYTES: usize = 48;

/// A place where something was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// What: the name it was given, and which form of it.
    pub(crate) what: String,
    /// In which mapping, and at what address.
    place: String,
    around: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}: {}", self.what, self.place, self.around)
    }
}

/// What is searched for: every aligned piece of some texts. A run of `2 * piece - 1` bytes has such a piece in it.
pub(crate) struct Wanted {
    pieces: Vec<(String, Vec<u8>)>,
}

impl Wanted {
    pub(crate) fn new() -> Self {
        Self { pieces: Vec::new() }
    }

    /// Adds the bytes of a secret: as they are, in both cases of hex, and in base64 wherever they begin.
    pub(crate) fn secret(self, name: &str, secret: &[u8], piece: usize) -> Self {
        let base64 = |skipped: usize| {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD_NO_PAD.encode(&secret[skipped..])
        };
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut wanted = self.bytes(name, secret, piece);
        for (form, text) in [
            ("hex", hex.clone()),
            ("upper-case hex", hex.to_uppercase()),
            ("base64", base64(0)),
            ("base64 behind two bytes", base64(1)),
            ("base64 behind one byte", base64(2)),
        ] {
            wanted = wanted.bytes(&format!("{name} in {form}"), text.as_bytes(), 2 * piece);
        }
        wanted
    }

    /// Adds bytes as they are.
    pub(crate) fn bytes(mut self, name: &str, bytes: &[u8], piece: usize) -> Self {
        let pieces = bytes.chunks_exact(piece).enumerate();
        self.pieces
            .extend(pieces.map(|(index, bytes)| (format!("{name} [{index}]"), bytes.to_owned())));
        self
    }

    /// Looks into everything that the process can read itself. One that has ended has nothing.
    pub(crate) fn search(&self, pid: u32) -> Vec<Found> {
        let finders = self.finders();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let memory = match File::open(format!("/proc/{pid}/mem")) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => panic!("{error}"),
            Err(_) => return Vec::new(),
            Ok(memory) => memory,
        };
        let mut found = Vec::new();
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (Some(range), Some(modes)) = (words.next(), words.next()) else {
                continue;
            };
            let name = words.nth(3).unwrap_or("nameless memory");
            if !modes.starts_with('r') || name.starts_with("[v") {
                continue;
            }
            let address = |text: &str| u64::from_str_radix(text, 16).expect("an address");
            let (start, end) = range.split_once('-').expect("two addresses");
            let (start, end) = (address(start), address(end));
            let mut at = start;
            while at < end {
                // With an overlap, so that nothing is missed at an edge.
                let length = (end - at).min(BLOCK_BYTES + 256);
                let mut block = vec![0; usize::try_from(length).expect("a length")];
                if memory.read_exact_at(&mut block, at).is_ok() {
                    let place = |offset| format!("{name} ({modes}), {:#x}", at + offset as u64);
                    found.extend(found_in(&finders, &block, &place));
                }
                at += BLOCK_BYTES;
            }
        }
        found
    }

    /// Looks into bytes that are at hand.
    pub(crate) fn search_bytes(&self, name: &str, bytes: &[u8]) -> Vec<Found> {
        let place = |offset| format!("{name}, {offset:#x}");
        found_in(&self.finders(), bytes, &place).collect()
    }

    fn finders(&self) -> Vec<(&str, Finder<'_>)> {
        let pieces = self.pieces.iter();
        pieces
            .map(|(what, piece)| (what.as_str(), Finder::new(piece)))
            .collect()
    }
}

fn found_in<'a>(
    finders: &'a [(&str, Finder<'_>)],
    bytes: &'a [u8],
    place: &'a impl Fn(usize) -> String,
) -> impl Iterator<Item = Found> + 'a {
    finders.iter().flat_map(move |(what, finder)| {
        finder.find_iter(bytes).map(move |offset| Found {
            what: (*what).to_owned(),
            place: place(offset),
            around: around(bytes, offset),
        })
    })
}

fn around(block: &[u8], offset: usize) -> String {
    let start = offset.saturating_sub(CONTEXT_BYTES);
    let end = (offset + 2 * CONTEXT_BYTES).min(block.len());
    block[start..end].escape_ascii().to_string()
}
