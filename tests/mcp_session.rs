//! The protocol around the tools: versions, roots, progress, the queue, and what the server says by itself.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::Sandbox;
use support::process::wait_until;
use support::raw::Raw;

fn vault() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "a-long-value");
    sandbox.policy("version: 1\nallowed_commands: [pwd, cat]\n");
    sandbox
}

fn directory(sandbox: &Sandbox, name: &str) -> PathBuf {
    let dir = sandbox.home().join(name);
    fs::create_dir_all(&dir).expect("a directory");
    dir.canonicalize().expect("it exists")
}

fn run(command: &str) -> Value {
    json!({ "keys": ["KEY"], "command": command, "cwd": "." })
}

#[test]
fn a_version_that_nobody_knows_is_answered_with_one_that_is_known() {
    let sandbox = vault();
    for (asked, given) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
        ("2999-01-01", "2025-11-25"),
    ] {
        let mut raw = Raw::start(sandbox.secretctl(["mcp-server"]));
        let hello = raw.initialize(asked, json!({}));
        assert_eq!(hello["result"]["protocolVersion"], given, "{hello}");
        let text = hello["result"]["instructions"].as_str().expect("a text");
        assert!(text.contains("secret_run"), "{text}");
        raw.stop();
    }
}

/// What a request says of who asks, in the newest version.
fn meta(name: &str) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": name, "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// The newest version has no handshake: each request says who asks, and that counts for the policy.
#[test]
fn a_client_without_a_handshake_is_known_by_each_request() {
    let sandbox = vault();
    let rights = "policies: [{ name: x, agent_id: known, allowed_keys: ['**'], capabilities: [reference_only] }]\n";
    sandbox.policy(&format!("version: 1\n{rights}"));
    let mut raw = Raw::start(sandbox.secretctl(["mcp-server"]));
    raw.request("server/discover", json!({ "_meta": meta("known") }));
    let found = raw.next();
    assert!(found["result"]["supportedVersions"].is_array(), "{found}");
    for (name, keys) in [
        ("other", json!([])),
        ("known", json!(["KEY"])),
        ("other", json!([])),
    ] {
        raw.call("secret_list", json!({}), meta(name));
        let answer = raw.next();
        assert_eq!(
            answer["result"]["structuredContent"]["keys"], keys,
            "{answer}"
        );
    }
    raw.stop();
}

/// Answers the server's question for the roots, which comes before the answer to a run.
fn answer_roots(raw: &mut Raw, roots: &[&Path]) {
    let asked = raw.next();
    assert_eq!(asked["method"], "roots/list", "{asked}");
    let root = |path: &&Path| json!({ "uri": format!("file://{}", path.display()) });
    let roots: Vec<Value> = roots.iter().map(root).collect();
    raw.send_line(&json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "roots": roots } }));
}

#[test]
fn the_project_is_the_first_root_that_can_be_one() {
    let sandbox = vault();
    let [start, first, second] = ["start", "first", "second"].map(|name| directory(&sandbox, name));
    let server = || sandbox.secretctl(["mcp-server"]).dir(&start);
    let pwd = |raw: &mut Raw| raw.call("secret_run", run("pwd"), json!({}));
    let stdout = |answer: &Value| answer["result"]["structuredContent"]["stdout"].clone();
    let line = |dir: &Path| json!(format!("{}\n", dir.display()));
    let text = |answer: &Value| {
        answer["result"]["content"][0]["text"]
            .as_str()
            .expect("a text")
            .to_owned()
    };
    let roots = json!({ "roots": { "listChanged": true } });

    let mut raw = Raw::connect(server(), roots.clone());
    pwd(&mut raw);
    answer_roots(
        &mut raw,
        &[
            Path::new("/"),
            sandbox.home(),
            &sandbox.vault(),
            &first,
            &second,
        ],
    );
    assert_eq!(stdout(&raw.next()), line(&first));
    // It asks once, until the roots change.
    pwd(&mut raw);
    assert_eq!(stdout(&raw.next()), line(&first));
    // The model cannot name another place, be it a root.
    let outside = json!({ "keys": ["KEY"], "command": "pwd", "cwd": second });
    raw.call("secret_run", outside, json!({}));
    let refusal = text(&raw.next());
    assert_eq!(
        refusal,
        "the directory cannot be used: it is not a directory in the project\n\
         Give a directory in the project that the server was started for, or none."
    );
    raw.notify("notifications/roots/list_changed", json!({}));
    pwd(&mut raw);
    answer_roots(&mut raw, &[&second]);
    assert_eq!(stdout(&raw.next()), line(&second));
    // What changes while the client is asked is asked for again.
    raw.notify("notifications/roots/list_changed", json!({}));
    pwd(&mut raw);
    let asked = raw.next();
    raw.notify("notifications/roots/list_changed", json!({}));
    raw.send_line(&json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "roots": [] } }));
    assert_eq!(stdout(&raw.next()), line(&start));
    pwd(&mut raw);
    answer_roots(&mut raw, &[&second]);
    assert_eq!(stdout(&raw.next()), line(&second));
    // Of roots that are no projects, none is used, and neither is the start directory.
    raw.notify("notifications/roots/list_changed", json!({}));
    pwd(&mut raw);
    answer_roots(
        &mut raw,
        &[sandbox.home(), &sandbox.vault(), Path::new("/")],
    );
    let refusal = text(&raw.next());
    let expected = format!(
        "the directory cannot be used: the server has no project: {} holds the whole home directory\n\
         Give a directory in the project that the server was started for, or none.",
        sandbox.home().display()
    );
    assert_eq!(refusal, expected);
    // Only so many of them are looked at.
    raw.notify("notifications/roots/list_changed", json!({}));
    pwd(&mut raw);
    let mut many = vec![Path::new("/"); 100];
    many.push(&first);
    answer_roots(&mut raw, &many);
    let refusal = text(&raw.next());
    assert!(refusal.contains("/ is the whole file system"), "{refusal}");
    raw.stop();

    // Without roots it is the start directory, and so it is when the client has none.
    let mut raw = Raw::connect(server(), json!({}));
    pwd(&mut raw);
    assert_eq!(stdout(&raw.next()), line(&start));
    raw.stop();
    let mut raw = Raw::connect(server(), roots.clone());
    pwd(&mut raw);
    answer_roots(&mut raw, &[]);
    assert_eq!(stdout(&raw.next()), line(&start));
    raw.stop();

    // A person's word stands above the client's.
    let fixed = sandbox.secretctl(["mcp-server", "--project", "first"]);
    let mut raw = Raw::connect(fixed, roots);
    pwd(&mut raw);
    assert_eq!(stdout(&raw.next()), line(&first));
    raw.stop();
}

/// A pipe in the project, by which a command waits for the test.
fn pipe(project: &Path) -> PathBuf {
    let pipe = project.join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    pipe
}

#[test]
fn a_client_that_wants_to_know_hears_how_far_a_command_is() {
    let sandbox = vault();
    let project = directory(&sandbox, "project");
    let pipe = pipe(&project);
    let mut raw = Raw::connect(sandbox.secretctl(["mcp-server"]).dir(&project), json!({}));
    let id = raw.call(
        "secret_run",
        run("cat pipe"),
        json!({ "progressToken": "token" }),
    );
    let mut before = 0.0;
    for _ in 0..2 {
        let report = raw.next();
        assert_eq!(report["method"], "notifications/progress", "{report}");
        assert_eq!(report["params"]["progressToken"], "token");
        let text = report["params"]["message"].as_str().expect("a text");
        assert!(text.ends_with(" s, 0 bytes of output"), "{text}");
        let now = report["params"]["progress"].as_f64().expect("a number");
        assert!(now > before, "{report}");
        before = now;
    }
    fs::write(pipe, "a-long-value").expect("the command reads");
    let mut answer = raw.next();
    while answer["method"] == "notifications/progress" {
        answer = raw.next();
    }
    assert_eq!(answer["id"], id, "{answer}");
    assert_eq!(
        answer["result"]["structuredContent"]["stdout"],
        "[REDACTED:KEY]"
    );
    raw.is_quiet();
    raw.stop();
}

#[test]
fn a_client_without_a_handshake_cancels_as_others_do() {
    let sandbox = vault();
    let project = directory(&sandbox, "project");
    let pipe = pipe(&project);
    let mut raw = Raw::start(sandbox.secretctl(["mcp-server"]).dir(&project));
    let id = raw.call("secret_run", run("cat pipe"), meta("raw"));
    // Opened when the command reads.
    let mut pipe = OpenOptions::new().write(true).open(pipe).expect("a reader");
    raw.notify("notifications/cancelled", json!({ "requestId": id }));
    wait_until("the end of the command", || pipe.write_all(b"x").is_err());
    raw.stop();
}

#[test]
fn more_commands_than_can_run_wait_and_more_than_can_wait_are_refused() {
    let sandbox = vault();
    let project = directory(&sandbox, "project");
    pipe(&project);
    let mut raw = Raw::connect(sandbox.secretctl(["mcp-server"]).dir(&project), json!({}));
    let ids: Vec<i64> = (0..8 + 64 + 1)
        .map(|_| raw.call("secret_run", run("cat pipe"), json!({})))
        .collect();
    let refused = raw.next();
    let text = refused["result"]["content"][0]["text"]
        .as_str()
        .expect("a text");
    assert!(
        text.starts_with("8 commands are running and 64 wait already\n"),
        "{text}"
    );
    // Other tools do not wait for them.
    raw.call("secret_exists", json!({ "key": "KEY" }), json!({}));
    assert_eq!(raw.next()["result"]["structuredContent"]["exists"], true);
    for id in &ids {
        raw.notify("notifications/cancelled", json!({ "requestId": id }));
    }
    // An answer to one of them may still be on its way, and would be taken for another one's.
    raw.send_line(&json!({ "jsonrpc": "2.0", "id": ids[0], "method": "ping" }));
    let again = raw.next();
    assert_eq!(
        (&again["id"], &again["error"]["message"]),
        (&json!(ids[0]), &json!("this id is that of another request"))
    );
    raw.is_quiet();
    // Their places are free, and nobody is answered who has cancelled.
    let id = raw.call("secret_run", run("pwd"), json!({}));
    assert_eq!(raw.next()["id"], id);
    raw.stop();
}
