//! Whether an agent can tell by the time of an answer that a key exists which its policy hides: the same question about one that does,
//! and about one that does not, in turns.
//!
//! `cargo bench --bench hidden`. Each round asks about all of them, and what counts is the median of the differences within a round. Beside
//! it stands the noise: the same for another name that does not exist either, and how far the median may be off by chance.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

#[expect(
    dead_code,
    reason = "the program itself is not started, and medians are of differences"
)]
mod support;

use std::hint::black_box;
use std::time::Duration;

use secretctl::broker::{AgentDoor, Cancel, Progress, RunRequest};
use secretctl::vault::LockedVault;
use support::{Place, Result, password, time};

const ROUNDS: usize = 2001;
const AGENT: &str = "agent";
const POLICY: &str = "version: 1
default_action: allow
policies:
- { name: a, agent_id: agent, allowed_keys: [\"api/*\"], denied_keys: [\"*/prod\"], capabilities: [env_inject, reference_only, masked_return] }
";
/// Hidden; not there; not there either. The policy says the same of all three, and they have the same letters.
const NAMES: [&str; 3] = ["team/nnmn", "team/nmnn", "team/mnnn"];

type Question = fn(&AgentDoor, &str) -> Result<()>;

const QUESTIONS: [(&str, Question); 5] = [
    ("secret_exists, by name", |door, key| {
        let _ = black_box(door.matching(AGENT, &key.parse()?)?);
        Ok(())
    }),
    ("secret_exists, by a pattern", |door, key| {
        let _ = black_box(door.matching(AGENT, &pattern(key).parse()?)?);
        Ok(())
    }),
    ("secret_get_masked", |door, key| {
        let _ = black_box(door.masked(AGENT, &key.parse()?));
        Ok(())
    }),
    ("secret_run, by name", |door, key| run(door, key)),
    ("secret_run, by a pattern", |door, key| {
        run(door, &pattern(key))
    }),
];

fn main() -> Result<()> {
    let place = Place::new()?;
    let names: Vec<String> = (0..50).map(|i| format!("api/key-{i}")).collect();
    place.add(&names)?;
    place.add(&[NAMES[0].to_owned()])?;
    support::policy(&place, POLICY)?;
    let vault = LockedVault::open(&place.vault())?.unlock(&password(), 0)?;
    let door = AgentDoor::new(vault, &place.path("project"), &place.outside());

    println!("medians of {ROUNDS} rounds: hidden, absent, hidden - absent, absent - absent");
    for (name, ask) in QUESTIONS {
        let mut rounds = Vec::with_capacity(ROUNDS);
        for round in 0..ROUNDS {
            let mut took = NAMES.map(|_| Duration::ZERO);
            // Each comes first, second and last equally often, and behind each of the others.
            for turn in 0..NAMES.len() {
                let which = (round + turn * (1 + round / NAMES.len() % 2)) % NAMES.len();
                took[which] = time(|| ask(&door, NAMES[which]))?;
            }
            rounds.push(took.map(|took| took.as_secs_f64() * 1e6));
        }
        let [hidden, _] = middle(rounds.iter().map(|round| round[0]));
        let [absent, _] = middle(rounds.iter().map(|round| round[1]));
        let [difference, off] = middle(rounds.iter().map(|round| round[0] - round[1]));
        let [noise, noise_off] = middle(rounds.iter().map(|round| round[2] - round[1]));
        println!(
            "  {name:28} {hidden:8.1} µs {absent:8.1} µs {difference:+7.2} ± {off:.2} µs {noise:+7.2} ± {noise_off:.2} µs"
        );
    }
    Ok(())
}

/// The median, and how far that of as many other samples may be from it, in 95 of 100 cases.
fn middle(samples: impl Iterator<Item = f64>) -> [f64; 2] {
    let mut samples: Vec<f64> = samples.collect();
    samples.sort_by(f64::total_cmp);
    let (middle, reach) = (samples.len() / 2, samples.len().isqrt());
    let at = |index: usize| samples.get(index).copied().unwrap_or_default();
    [
        at(middle),
        (at(middle + reach) - at(middle.saturating_sub(reach))) / 2.0,
    ]
}

/// Finds the key and nothing else.
fn pattern(key: &str) -> String {
    let (start, end) = key.split_at(key.len() - 1);
    format!("{start}[{end}]")
}

/// Refused, as no key is left to run with.
fn run(door: &AgentDoor, key: &str) -> Result<()> {
    let request = RunRequest {
        keys: vec![key.parse()?],
        command: "true".to_owned(),
        ..RunRequest::default()
    };
    let _ = black_box(door.run(AGENT, &request, None, &Cancel::new(), &Progress::default()));
    Ok(())
}
