//! Whether an agent can tell by the time of an answer that a key exists which its policy hides: the same question about one that does,
//! and about one that does not, in turns.
//!
//! `cargo bench --bench hidden`. Beside the difference of the two medians stands the noise: that of the same question about another name
//! that does not exist either. A difference within the noise tells nothing.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

#[expect(dead_code, reason = "the program itself is not started")]
mod support;

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use secretctl::broker::{AgentDoor, Cancel, RunRequest};
use secretctl::vault::LockedVault;
use support::{Place, Result, median, password, time};

const ROUNDS: usize = 2001;
const AGENT: &str = "agent";
const POLICY: &str = "version: 1
default_action: allow
policies:
- { name: a, agent_id: agent, allowed_keys: [\"api/*\"], denied_keys: [\"*/prod\"], capabilities: [env_inject, reference_only, masked_return] }
";
/// Hidden; not there; not there either. The policy says the same of all three.
const NAMES: [&str; 3] = ["team/one", "team/two", "team/six"];

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
    let policy = place.vault().join("mcp-policy.yaml");
    fs::write(&policy, POLICY)?;
    fs::set_permissions(policy, fs::Permissions::from_mode(0o600))?;
    let vault = LockedVault::open(&place.vault())?.unlock(&password())?;
    let door = AgentDoor::new(vault, &place.path("project"), None);

    println!("medians of {ROUNDS}; hidden, absent, their difference, and that of two absent ones");
    for (name, ask) in QUESTIONS {
        let mut samples = NAMES.map(|_| Vec::with_capacity(ROUNDS));
        for round in 0..ROUNDS * NAMES.len() {
            // Each comes first, second and last equally often.
            for turn in 0..NAMES.len() {
                let which = (round + turn * (1 + round / NAMES.len() % 2)) % NAMES.len();
                if samples[which].len() < ROUNDS {
                    samples[which].push(time(|| ask(&door, NAMES[which]))?);
                }
            }
        }
        let [hidden, absent, other] = samples.map(|samples| us(median(samples)));
        println!(
            "  {name:30} {hidden:8.1} µs {absent:8.1} µs {:+6.2} µs {:+6.2} µs",
            hidden - absent,
            other - absent
        );
    }
    Ok(())
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
    let _ = black_box(door.run(AGENT, &request, &Cancel::new()));
    Ok(())
}

fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
