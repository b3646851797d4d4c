//! A server that is asked to end by a signal: by a client that does not close its side first, or from a terminal.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::Sandbox;
use support::approve::{command, records, server, vault};
use support::process::{Mark, kill};
use support::raw::Raw;

fn outcomes(sandbox: &Sandbox) -> Vec<Value> {
    let export = sandbox.secretctl(["audit", "export", "--format", "json"]);
    let all = export.answer().succeeded().json();
    let all = all.as_array().expect("a list").clone();
    let is_meant = |record: &Value| record["action"] == "secret.run.outcome";
    let of = |record: Value| json!([record["result"], record["ended"]]);
    all.into_iter().filter(is_meant).map(of).collect()
}

#[test]
fn a_signal_ends_commands_and_that_is_recorded() {
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "s3cr3t-value");
    sandbox.policy("version: 1\nallowed_commands: [sleep]\n");
    let signals = [Signal::HUP, Signal::INT, Signal::TERM];
    for signal in signals {
        let mut raw = Raw::connect(sandbox.secretctl(["mcp-server"]), json!({}));
        let mark = Mark::new();
        let run = json!({ "keys": ["KEY"], "command": "sleep", "args": [mark.halves.concat()] });
        raw.call("secret_run", run, json!({}));
        mark.wait_for_start();
        kill(raw.pid(), signal);
        raw.ends();
        mark.is_gone();
    }
    let cancelled = json!(["error", "cancelled"]);
    assert_eq!(outcomes(&sandbox), signals.map(|_| cancelled.clone()));
    sandbox.secretctl(["audit", "verify"]).answer().succeeded();
}

#[test]
fn a_signal_takes_a_question_back_and_that_is_recorded() {
    let (sandbox, project) = vault();
    let asks_by_request = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": { "elicitation": {} },
        "clientInfo": { "name": "raw", "version": "1" },
    });
    let in_answer = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "raw", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} },
    });
    for (hello, meta) in [(Some(asks_by_request), json!({})), (None, in_answer)] {
        let before = records(&sandbox).len();
        let mut raw = Raw::start(server(&sandbox, &project, "1h"));
        if let Some(hello) = hello {
            raw.request("initialize", hello);
            raw.next();
            raw.notify("notifications/initialized", json!({}));
        }
        raw.call("secret_run", command("./deploy.sh a"), meta);
        raw.next();
        kill(raw.pid(), Signal::TERM);
        raw.ends();
        let all = records(&sandbox).split_off(before);
        let of = |record: &Value| json!([record["action"], record["result"]]);
        assert_eq!(
            all.iter().map(of).collect::<Vec<_>>(),
            [
                json!(["secret.ask", "success"]),
                json!(["secret.approve", "denied"])
            ]
        );
        let reason = all[1]["reason"].as_str().expect("a text");
        assert!(
            reason.contains("cancelled before anybody answered"),
            "{reason}"
        );
    }
}

/// A program that is asked for the password, and takes its time, holds nobody up for longer than commands are.
#[test]
fn a_signal_ends_a_server_that_is_still_opening_its_vault() {
    let sandbox = Sandbox::new();
    let mark = Mark::new();
    let asks = format!("sleep {}", mark.halves.concat());
    let server = sandbox.secretctl(["mcp-server", "--password-command", &asks]);
    let raw = Raw::connect(server, json!({}));
    mark.wait_for_start();
    kill(raw.pid(), Signal::TERM);
    raw.ends();
    // The program is left to itself: it may be in the middle of asking somebody.
    for pid in mark.processes() {
        kill(pid, Signal::KILL);
    }
}
