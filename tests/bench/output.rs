//! Throughput of sanitizing: 100 MiB through `secretctl run -- cat` beside plain `cat`, both into a pipe that is read to its end.
//!
//! `cargo bench --bench output`. The two are measured in turns, so that the machine's moods meet both. What a run costs whatever its output
//! (unlocking, above all) is measured with `true` and taken off.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

mod support;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{Place, Result, SECRET, median, ms, time};

const TEXT_BYTES: usize = 100 << 20;
/// Distance of the secrets in the text that has some.
const HIT_EVERY_BYTES: usize = 4096;
const ROUNDS: usize = 7;
/// Bytes read at once: a pipe's capacity.
const CHUNK_BYTES: usize = 64 * 1024;

fn main() -> Result<()> {
    let place = Place::new()?;
    let source = source_text()?;
    let texts = [
        ("source text", source.clone()),
        ("the same, a secret every 4 KiB", with_hits(&source)),
    ];
    for (name, text) in &texts {
        let file = place.path("text");
        fs::write(&file, text)?;
        measure(&place, name, &file)?;
    }
    Ok(())
}

fn measure(place: &Place, name: &str, file: &Path) -> Result<()> {
    let file = file.to_str().ok_or("a path that is not UTF-8")?;
    let (mut plain, mut nothing, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain.push(time(|| read_all(Command::new("cat").arg(file)))?);
        nothing.push(time(|| {
            read_all(&mut place.secretctl(&["run", "-k", "API_KEY", "--", "true"]))
        })?);
        whole.push(time(|| {
            read_all(&mut place.secretctl(&["run", "-k", "API_KEY", "--", "cat", file]))
        })?);
    }
    let (plain, nothing, whole) = (median(plain), median(nothing), median(whole));
    let sanitized = whole.saturating_sub(nothing);
    println!("{name}: {} MiB, medians of {ROUNDS}", TEXT_BYTES >> 20);
    println!(
        "  cat                       {}  {}",
        ms(plain),
        speed(plain)
    );
    println!("  secretctl run -- true     {}", ms(nothing));
    println!("  secretctl run -- cat      {}", ms(whole));
    println!(
        "    less that of true       {}  {}",
        ms(sanitized),
        speed(sanitized)
    );
    println!(
        "    compared with cat       {:9.2} times",
        sanitized.as_secs_f64() / plain.as_secs_f64()
    );
    Ok(())
}

fn read_all(command: &mut Command) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().ok_or("no pipe")?;
    let mut chunk = vec![0; CHUNK_BYTES];
    while stdout.read(&mut chunk)? > 0 {}
    if child.wait()?.success() {
        Ok(())
    } else {
        Err("the command failed".into())
    }
}

/// This package's own sources, over and over.
fn source_text() -> Result<Vec<u8>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/broker"))? {
        sources.extend(fs::read(entry?.path())?);
    }
    Ok(sources.into_iter().cycle().take(TEXT_BYTES).collect())
}

fn with_hits(source: &[u8]) -> Vec<u8> {
    let mut text = source.to_vec();
    for hit in text.chunks_exact_mut(HIT_EVERY_BYTES) {
        hit[..SECRET.len()].copy_from_slice(SECRET.as_bytes());
    }
    text
}

fn speed(duration: Duration) -> String {
    format!(
        "{:6.0} MB/s",
        TEXT_BYTES as f64 / 1e6 / duration.as_secs_f64()
    )
}
