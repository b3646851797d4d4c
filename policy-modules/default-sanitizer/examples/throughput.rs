//! Prints how many megabytes of ordinary output a second the engine searches, for 1, 10 and 100 secrets:
//! `cargo run --release -p default-sanitizer --example throughput`.

use std::time::Instant;

use default_sanitizer::{Channel, Sanitizer, Secret};

const TEXT_BYTES: usize = 16 << 20;
const CHUNK_BYTES: usize = 64 << 10;

#[expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark's report"
)]
fn main() {
    let base64: String = (0..4000)
        .map(|_| "TG9yZW0gaXBzdW0gZG9sb3Igc2l0IGFtZXQsIGNvbnNlY3RldHVyIGFkaXBpc2Np\n")
        .collect();
    let samples = [
        ("source code", include_str!("../src/escapes.rs").to_owned()),
        ("json log", r#"{"time":"2026-01-02T03:04:05.678Z","level":"info","message":"GET \"/api/v1/items?id=%2F7\" took 12 ms\n","user":{"id":4711}}"#.to_owned() + "\n"),
        ("base64", base64),
    ];
    for count in [1, 10, 100] {
        let values: Vec<_> = (0..count).map(secret).collect();
        let secrets: Vec<_> = values
            .iter()
            .map(|value| Secret {
                name: "name",
                value,
            })
            .collect();
        for (name, sample) in &samples {
            let text = sample.repeat(TEXT_BYTES / sample.len());
            let begin = Instant::now();
            let mut sanitizer = Sanitizer::start(&secrets).expect("secrets");
            let start = begin.elapsed().as_secs_f64() * 1e3;
            let begin = Instant::now();
            let mut found = 0;
            for chunk in text.as_bytes().chunks(CHUNK_BYTES) {
                found += sanitizer.push(Channel::Stdout, chunk).hide.len();
            }
            let rate = text.len() as f64 / 1e6 / begin.elapsed().as_secs_f64();
            println!(
                "{count:4} secrets, start {start:5.2} ms, {name:12} {rate:7.0} MB/s, {found} found"
            );
        }
    }
}

/// 32 characters that look like a token.
fn secret(seed: u64) -> Vec<u8> {
    let mut state = seed + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[(state >> 58) as usize]
    };
    (0..32).map(|_| next()).collect()
}
