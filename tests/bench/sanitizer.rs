//! Speed of the sanitizer: megabytes a second of the built-in module inside wasmtime, with all views, on four kinds of text with
//! 1, 10 and 100 secrets, with none of them in the text and with one every 4 KiB.
//!
//! `cargo bench --bench sanitizer [-- PART_OF_A_LINE'S_NAME]`. In the same run, in turns: `cat` of the text into a pipe, which
//! nothing that reads a pipe can beat; native aho-corasick over the raw values alone; and one replacement after the other.
//! Medians.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

#[expect(dead_code, reason = "no vault is needed here")]
mod support;

use std::fs;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secretctl::sanitize::{Channel, Finder};
use secretctl::secret::SecretBytes;
use secretctl::wasm::Host;
use support::{Result, median, time};

const TEXT_BYTES: usize = 16 << 20;
/// Distance of the secrets in the texts that have some.
const HIT_EVERY_BYTES: usize = 4096;
/// Bytes of a push: a pipe's capacity.
const CHUNK_BYTES: usize = 64 * 1024;
const ROUNDS: usize = 5;
const COUNTS: [usize; 3] = [1, 10, 100];
const START_ROUNDS: usize = 41;

fn main() -> Result<()> {
    // Cargo adds `--bench`.
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let host = Host::new(None)?;
    let directory = tempfile::tempdir()?;
    for count in COUNTS {
        let secrets = secrets(count);
        println!(
            "start with {count:3} secrets: {:.2} ms",
            start(&host, &secrets)?
        );
    }
    println!(
        "{:46} {:>8} {:>8} {:>8} {:>8}   MB/s",
        "", "module", "cat", "a-c raw", "replace"
    );
    for (kind, text) in texts()? {
        for count in COUNTS {
            let secrets = secrets(count);
            for hits in [false, true] {
                let with = if hits {
                    "a secret every 4 KiB"
                } else {
                    "no hits"
                };
                let name = format!("{kind}, {count:3} secrets, {with}");
                if wanted.as_ref().is_some_and(|part| !name.contains(part)) {
                    continue;
                }
                let text = if hits {
                    with_hits(&text, &secrets)
                } else {
                    text.clone()
                };
                let file = directory.path().join("text");
                fs::write(&file, &text)?;
                let [module, cat, raw, naive] = measure(&host, &secrets, &text, &file)?;
                println!("{name:46} {module:8.0} {cat:8.0} {raw:8.0} {naive:8.0}");
            }
        }
    }
    Ok(())
}

/// Milliseconds that a start takes.
fn start(host: &Host, secrets: &[(String, SecretBytes)]) -> Result<f64> {
    let mut samples = Vec::new();
    for _ in 0..START_ROUNDS {
        samples.push(time(|| {
            black_box(host.sanitizer()?.start(by_name(secrets))?);
            Ok(())
        })?);
    }
    Ok(median(samples).as_secs_f64() * 1e3)
}

/// Megabytes a second of the module, of `cat`, of aho-corasick, and of replacements.
fn measure(
    host: &Host,
    secrets: &[(String, SecretBytes)],
    text: &[u8],
    file: &Path,
) -> Result<[f64; 4]> {
    let raw = AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(secrets.iter().map(|(_, value)| value.expose()))?;
    let mut samples: [Vec<Duration>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let mut run = host.sanitizer()?.start(by_name(secrets))?;
        samples[0].push(time(|| {
            for chunk in text.chunks(CHUNK_BYTES) {
                black_box(run.push(Channel::Stdout, chunk)?);
            }
            Ok(())
        })?);
        samples[1].push(time(|| read_all(Command::new("cat").arg(file)))?);
        samples[2].push(time(|| {
            for chunk in text.chunks(CHUNK_BYTES) {
                black_box(raw.find_iter(chunk).count());
            }
            Ok(())
        })?);
        samples[3].push(time(|| {
            for chunk in text.chunks(CHUNK_BYTES) {
                black_box(replaced(chunk.to_vec(), secrets));
            }
            Ok(())
        })?);
    }
    Ok(samples.map(|samples| text.len() as f64 / 1e6 / median(samples).as_secs_f64()))
}

/// What tools do that know one secret after the other.
fn replaced(mut text: Vec<u8>, secrets: &[(String, SecretBytes)]) -> Vec<u8> {
    for (_, value) in secrets {
        let mut rest = 0;
        let mut without = Vec::with_capacity(text.len());
        for at in memchr::memmem::find_iter(&text, value.expose()) {
            without.extend_from_slice(&text[rest..at]);
            without.extend_from_slice(b"[REDACTED]");
            rest = at + value.len();
        }
        without.extend_from_slice(&text[rest..]);
        text = without;
    }
    text
}

fn read_all(command: &mut Command) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().ok_or("no pipe")?;
    let mut chunk = vec![0; CHUNK_BYTES];
    while stdout.read(&mut chunk)? > 0 {}
    child.wait()?;
    Ok(())
}

fn by_name(secrets: &[(String, SecretBytes)]) -> impl Iterator<Item = (&str, &SecretBytes)> {
    secrets.iter().map(|(name, value)| (name.as_str(), value))
}

/// This package's sources; a service's log; the program in base64, as MIME has it; the program itself. Each is repeated only where it
/// is shorter than what is measured.
fn texts() -> Result<[(&'static str, Vec<u8>); 4]> {
    let mut sources = Vec::new();
    collect(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        &mut sources,
    )?;
    collect(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/runner")),
        &mut sources,
    )?;
    let program = fs::read(env!("CARGO_BIN_EXE_secretctl"))?;
    let middle = &program[program.len() / 3..];
    let lines = middle.chunks(57).take(TEXT_BYTES / 77 + 1);
    let encoded = lines
        .map(|line| STANDARD.encode(line) + "\n")
        .collect::<String>();
    let texts = [
        ("source code", sources),
        ("JSON log", log()),
        ("base64", encoded.into_bytes()),
        ("binary", middle.to_vec()),
    ];
    Ok(texts.map(|(kind, text)| (kind, text.into_iter().cycle().take(TEXT_BYTES).collect())))
}

fn collect(directory: &Path, text: &mut Vec<u8>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, text)?;
        } else {
            text.extend(fs::read(path)?);
        }
    }
    Ok(())
}

/// Lines as web services write them: times, addresses, identifiers, paths with escapes.
fn log() -> Vec<u8> {
    let mut next = numbers(7);
    let mut lines = String::new();
    while lines.len() < TEXT_BYTES {
        let [second, trace, user, item, took] = std::array::from_fn(|_| next());
        let (minute, second) = (second / 60_000 % 60, second % 60_000);
        let verb = ["GET", "POST", "PUT", "DELETE"][(item % 4) as usize];
        let level = ["info", "info", "info", "warn", "error"][(took % 5) as usize];
        let agent = [
            "Mozilla/5.0 (X11; Linux x86_64)",
            "curl/8.14.1",
            "okhttp/5.1.0",
        ][(user % 3) as usize];
        let line = format!(
            r#"{{"time":"2026-01-02T03:{minute:02}:{:02}.{:03}Z","level":"{level}","trace":"{trace:016x}{item:016x}","message":"{verb} \"/api/v1/items?id=%2F{}&page={}\" took {} ms\n","user":{{"id":{},"agent":"{agent}","ip":"10.{}.{}.{}"}}}}"#,
            second / 1000,
            second % 1000,
            item % 100_000,
            item % 17,
            took % 900,
            user % 100_000,
            user % 256,
            user / 256 % 256,
            took % 256,
        );
        lines.push_str(&line);
        lines.push('\n');
    }
    lines.into_bytes()
}

/// Every 4 KiB one of the secrets, in one of four forms.
fn with_hits(text: &[u8], secrets: &[(String, SecretBytes)]) -> Vec<u8> {
    let mut text = text.to_vec();
    for (number, hit) in text.chunks_exact_mut(HIT_EVERY_BYTES).enumerate() {
        let value = secrets[number % secrets.len()].1.expose();
        let written = match number / secrets.len() % 4 {
            0 => value.to_vec(),
            1 => STANDARD.encode(value).into_bytes(),
            2 => value
                .iter()
                .flat_map(|byte| format!("{byte:02x}").into_bytes())
                .collect(),
            _ => value.iter().rev().copied().collect(),
        };
        hit[..written.len()].copy_from_slice(&written);
    }
    text
}

/// Tokens of 32 characters.
fn secrets(count: usize) -> Vec<(String, SecretBytes)> {
    const CHARACTERS: &[u8; 64] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut next = numbers(1);
    let mut character = || CHARACTERS[(next() >> 58) as usize];
    let secret = |number| {
        let value = (0..32).map(|_| character()).collect();
        (format!("KEY_{number}"), SecretBytes::from_vec(value))
    };
    (0..count).map(secret).collect()
}

/// Random numbers of a linear congruential generator (Knuth's MMIX).
fn numbers(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state ^ state >> 33
    }
}
