//! `secretctl status`

use serde_json::{Value, json};

use super::args::StatusArgs;
use super::failure::{Failure, codes};
use super::unlock::Access;
use super::{output, session};
use crate::broker::{Enforcement, Layer, enforceable};
use crate::keeper::Client;
use crate::secret::{KeyMemory, key_memory};
use crate::time;
use crate::vault::KdfParams;

pub(super) fn run(access: &Access, args: &StatusArgs) -> Result<u8, Failure> {
    if args.sandbox {
        sandbox(args)
    } else {
        vault(access, args)
    }
}

fn vault(access: &Access, args: &StatusArgs) -> Result<u8, Failure> {
    let session = session::find(&access.locked()?);
    let session = session.as_ref().map(Client::facts);
    let status = access.inspecting_door()?.status()?;
    let code = match status.problems.is_empty() {
        true => codes::DONE,
        false => codes::TAMPERED,
    };
    let dir = access.dir()?;
    let (keys, keys_word) = match key_memory() {
        KeyMemory::Secret => ("in memory that no other process can read", "secret"),
        KeyMemory::Locked => ("in memory that is never written to disk", "locked"),
        KeyMemory::Ordinary => (
            "in ordinary memory: the system refuses to lock it",
            "ordinary",
        ),
    };
    let created = time::rfc3339(status.created_at);
    let KdfParams {
        memory_kib,
        passes,
        lanes,
    } = status.kdf;
    if args.json {
        output::json(&json!({
            "vault_dir": dir.to_string_lossy(),
            "vault_id": status.id,
            "created_at": created,
            "kdf": { "algorithm": "argon2id", "memory_kib": memory_kib, "passes": passes, "lanes": lanes },
            "secrets": status.secrets,
            "records": status.records,
            "epoch": status.epoch,
            "anchor": status.anchor,
            "key_memory": keys_word,
            "session": session.map(|session| json!({
                "until": session::until(session),
                "left_seconds": session.left.as_secs(),
                "idle_seconds": session.idle.as_secs(),
            })),
            "valid": status.problems.is_empty(),
            "problems": status.problems,
        }))?;
        return Ok(code);
    }
    let number = |number: Option<u64>| number.map_or("unknown".to_owned(), |n| n.to_string());
    let lines = [
        ("vault", dir.display().to_string()),
        ("id", status.id),
        ("created", created),
        (
            "password",
            format!(
                "Argon2id, {} MiB, {}, {}",
                memory_kib / 1024,
                counted(passes, "pass", "passes"),
                counted(lanes, "lane", "lanes")
            ),
        ),
        ("secrets", status.secrets.to_string()),
        ("records", number(status.records)),
        ("epoch", number(status.epoch)),
        (
            "anchor",
            status
                .anchor
                .unwrap_or_else(|| "as it should be".to_owned()),
        ),
        ("keys", keys.to_owned()),
        (
            "session",
            session.map_or_else(|| "none".to_owned(), session::limits),
        ),
    ];
    let line = |(name, text): (&str, String)| format!("{name:9} {}\n", output::printable(&text));
    output::result(lines.map(line).concat().as_bytes())?;
    if !status.problems.is_empty() {
        let fact = format!(
            "the vault was tampered with:\n  {}",
            status.problems.join("\n  ")
        );
        return Err(Failure::new(fact).with_code(code));
    }
    Ok(code)
}

fn counted(number: u32, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

fn sandbox(args: &StatusArgs) -> Result<u8, Failure> {
    let found = enforceable().map_err(|error| {
        Failure::new(error).next("secretctl-runner belongs beside secretctl; install both again")
    })?;
    let (with, without) = (&found.with_network, &found.without_network);
    if args.json {
        return output::json(&json!({
            "sandbox": { "network_allow": layers(with), "network_none": layers(without) },
        }));
    }
    let width = with.layers.iter().chain(&without.layers);
    let width = width
        .map(|layer| layer.name.len())
        .max()
        .unwrap_or_default();
    let line = |layer: &Layer| {
        let held = if layer.enforced { "yes" } else { "no" };
        format!("{:width$}  {held:3}  {}\n", layer.name, layer.detail)
    };
    let lines = |layers: &[&Layer]| layers.iter().copied().map(line).collect::<String>();
    let differing = without.layers.iter();
    let differing: Vec<_> = differing
        .filter(|layer| !with.layers.contains(layer))
        .collect();
    let mut text = lines(&with.layers.iter().collect::<Vec<_>>());
    if !differing.is_empty() {
        text.push_str("\nwithout a network:\n");
        text.push_str(&lines(&differing));
    }
    output::result(text.as_bytes())
}

fn layers(enforcement: &Enforcement) -> Vec<Value> {
    let layer = |layer: &Layer| json!({ "name": layer.name, "enforced": layer.enforced, "detail": layer.detail });
    enforcement.layers.iter().map(layer).collect()
}
