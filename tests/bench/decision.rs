//! How long the built-in policy module takes for a decision, in a fresh instance that is configured for it: with a few rules, with 300
//! of them where the last one decides, and where none does.
//!
//! `cargo bench --bench decision`. Beside it, what an instance costs that is asked nothing but a document with no rules.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

#[expect(dead_code, reason = "no vault is needed here")]
mod support;

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use secretctl::policy::{Command, Key, Moment, Policy, Program, Purpose, Request};
use secretctl::wasm::Host;
use support::{Result, median, time};

const ROUNDS: usize = 2001;

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
                let _ = black_box(host.policy().decide(policy.guest_document(), request)?);
                Ok(())
            })?);
        }
    }
    println!("medians of {ROUNDS}");
    for ((name, ..), samples) in cases.iter().zip(samples) {
        println!("  {name:34} {}", us(median(samples)));
    }
    Ok(())
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
        keys: vec![Key {
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
