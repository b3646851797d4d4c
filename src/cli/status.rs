//! `secretctl status`

use serde_json::{Value, json};

use super::args::StatusArgs;
use super::failure::Failure;
use super::output;
use crate::broker::{Enforcement, Layer, enforceable};

pub(super) fn run(args: &StatusArgs) -> Result<u8, Failure> {
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
