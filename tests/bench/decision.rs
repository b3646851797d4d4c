//! How long the built-in policy module takes for a decision, in a fresh instance that is configured for it: with a few rules, with 300
//! of them where the last one decides, and where none does. What a module of the policy file adds to that, and how long it takes to load
//! one: from the cache of compiled code, and without it.
//!
//! `cargo bench --bench decision`. Beside it, what an instance costs that is asked nothing but a document with no rules.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

#[expect(dead_code, reason = "no vault is needed here")]
mod support;

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secretctl::crypto::{self, Key};
use secretctl::policy::{self, Command, Moment, PinnedModule, Policy, Program, Purpose, Request};
use secretctl::wasm::{Cache, Host, Seal};
use support::{Result, median, time};

const ROUNDS: usize = 2001;
const STARTS: usize = 21;

fn main() -> Result<()> {
    let host = Host::new(None)?;
    let empty = "version: 1\n".to_owned();
    let few = rules(3);
    let many = rules(300);
    let asked = [
        ("no rules at all", &empty, "tool-0"),
        ("3 rules, the last one decides", &few, "tool-2"),
        ("300 rules, the last one decides", &many, "tool-299"),
        ("300 rules, none decides", &many, "tool-300"),
    ];
    let mut cases = Vec::new();
    for (name, text, program) in asked {
        cases.push((name, Policy::parse(text.as_bytes())?, request(program)?));
    }
    let mut samples = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for ((_, policy, request), samples) in cases.iter().zip(&mut samples) {
            samples.push(time(|| {
                let _ = black_box(host.policy()?.decide(policy.guest_document(), request)?);
                Ok(())
            })?);
        }
    }
    let dir = tempfile::tempdir()?;
    let office_hours = pinned(dir.path())?;
    let [module] = office_hours.modules() else {
        return Err("not one module".into());
    };
    let asked = request("tool-2")?;
    let mut added = Vec::new();
    for _ in 0..ROUNDS {
        added.push(time(|| {
            let module = host.custom().policy(dir.path(), module)?;
            let _ = black_box(module.decide(&asked)?);
            Ok(())
        })?);
    }
    println!("medians of {ROUNDS}");
    for ((name, ..), samples) in cases.iter().zip(samples) {
        println!("  {name:34} {}", us(median(samples)));
    }
    println!(
        "  {:34} {}",
        "office-hours, beside those",
        us(median(added))
    );
    println!("medians of {STARTS} starts");
    for (name, cache) in [("compiled", None), ("from the cache", Some(dir.path()))] {
        let loaded = loading(dir.path(), module, cache)?;
        println!("  {:34} {}", format!("office-hours, {name}"), us(loaded));
    }
    Ok(())
}

/// The example module in `dir`, and a policy file that pins it.
fn pinned(dir: &Path) -> Result<Policy> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("modules");
    let wasm = build_modules::build(root, &target, &build_modules::POLICY_EXAMPLE)?;
    std::fs::write(dir.join("office-hours.wasm"), &wasm)?;
    let text = format!(
        "version: 1\nmodules: [{{ path: office-hours.wasm, sha256: {}, config: {{ from: '00:00', to: '24:00', days: [mon, tue, wed, thu, fri, sat, sun] }} }}]\n",
        build_modules::sha256(&wasm)
    );
    Ok(Policy::parse(text.as_bytes())?)
}

/// How long a new process takes for the first use of a module, less that of the engine.
fn loading(dir: &Path, module: &PinnedModule, cache: Option<&Path>) -> Result<Duration> {
    let mut samples = Vec::new();
    // One more, which fills the cache.
    for _ in 0..=STARTS {
        let cache = cache.map(|dir| Arc::new(Cache::new(dir.join("cache"), Box::new(Sealed))));
        let host = Host::new(cache)?;
        samples.push(time(|| {
            black_box(host.custom().policy(dir, module)?);
            Ok(())
        })?);
    }
    samples.remove(0);
    Ok(median(samples))
}

/// As the vault authenticates entries.
struct Sealed;

impl Seal for Sealed {
    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        crypto::mac(&key(), parts).unwrap_or_default()
    }

    fn is_valid(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
        crypto::mac_is_valid(&key(), parts, mac) == Ok(true)
    }
}

fn key() -> Key {
    Key::from_slice(&[7; crypto::KEY_BYTES]).unwrap_or_else(|| unreachable!("32 bytes are a key"))
}

/// So many command rules, and two agents' rights.
fn rules(count: usize) -> String {
    let mut text = "version: 1\nallowed_commands:\n".to_owned();
    for number in 0..count {
        let _ = writeln!(
            text,
            "  - {{ command: tool-{number} run, keys: [\"api/*\"], network: none }}"
        );
    }
    text.push_str(
        "denied_commands: [rm, sudo]\npolicies:\n  - { name: other, agent_id: cursor, allowed_keys: [\"x/*\"], capabilities: [reference_only] }\n  - { name: claude, agent_id: \"claude-*\", allowed_keys: [\"api/*\"], denied_keys: [\"*/prod/*\"], capabilities: [env_inject] }\n",
    );
    text
}

fn request(program: &str) -> Result<Request> {
    let path = format!("/usr/bin/{program}");
    Ok(Request {
        purpose: Purpose::Inject,
        agent: "claude-code".to_owned(),
        keys: vec![policy::Key {
            name: "api/key".parse()?,
            named: true,
            tags: Vec::new(),
        }],
        command: Some(Command {
            program: Program {
                requested: program.to_owned(),
                path: Some(path.into()),
                aliases: vec![],
            },
            arguments: vec!["run".to_owned(), "--all".to_owned()],
            mentioned: Vec::new(),
        }),
        directory: None,
        timeout: None,
        time: Moment {
            unix_seconds: 1_767_225_600,
            utc_offset_minutes: 0,
        },
    })
}

fn us(duration: Duration) -> String {
    format!("{:8.1} µs", duration.as_secs_f64() * 1e6)
}
