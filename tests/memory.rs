//! What is left in the server's memory when a run with a secret has ended, however it ended: nothing of the secret, and
//! nothing of the keys that the vault's own are derived from.
//!
//! For root on Linux: nobody else may look into the server.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "tests")]

#[path = "support/memory.rs"]
mod memory;
mod support;

use std::fs;

use memory::Wanted;
use rmcp::model::{CallToolRequest, ClientRequest, ServerResult};
use rmcp::service::{PeerRequestOptions, RequestHandle, RoleClient};
use rustix::process::Signal;
use secretctl::crypto::{self, Key, SALT_BYTES};
use secretctl::secret::{KeyMemory, SecretBytes, key_memory};
use secretctl::vault::KDF_FLOOR;
use serde_json::{Value, json};
use support::agent::{Agent, Reply, params};
use support::process::{self, Mark, wait_until};
use support::{PASSWORD, Sandbox};
use ulid::Ulid;

/// Bytes of a secret that are searched for at once: less than a register holds.
const PIECE_BYTES: usize = 8;
/// Writes the secret in several forms and over both streams, whole and cut, between much else, and not to the end of a line.
const SCRIPT: &str = "echo $CANARY; echo $LONG; echo $CANARY >&2; printf %s $CANARY | base64 -w 0; printf %s $CANARY | od -An -tx1 | tr -d ' \\n'; \
    seq 1 30000; printf 'x%.0s' $(seq 1 5000); printf '<%s' $CANARY; printf %s $CANARY >&2";

/// A vault with a secret that no file of these tests holds, and what is searched for.
struct Scene {
    sandbox: Sandbox,
    wanted: Wanted,
}

impl Scene {
    /// None where nobody may look into the server.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            support::skipped("only root may look into the server");
            return None;
        }
        let sandbox = Sandbox::new();
        sandbox.policy("version: 1\nallowed_commands: [sh, ./broken.sh]\n");
        sandbox.project(&[("broken.sh", "\u{1}")]);
        // The second half of such an id is random.
        let random = || Ulid::generate().to_string()[10..].to_owned();
        let secret: String = (0..4).map(|_| random()).collect();
        sandbox.set("CANARY", secret.as_str());
        // As long as a variable can be: no buffer is made for it from the start.
        sandbox.set("LONG", format!("{}{secret}", "x".repeat(100_000)));
        let wanted = Wanted::new().secret("the secret", secret.as_bytes(), PIECE_BYTES);
        Some(Self { sandbox, wanted })
    }

    async fn server(&self, variables: &[(&str, &str)]) -> Agent {
        let mut server = self.sandbox.secretctl(["mcp-server"]);
        for (name, value) in variables {
            server = server.env(name, value);
        }
        Agent::connect(server.dir(&self.sandbox.home().join("project"))).await
    }

    /// The record is written when all of the run is gone but the thread that it was on.
    fn wait_for_record(&self, word: &str) {
        wait_until("the record of the end", || {
            let list = self.sandbox.secretctl(["audit", "list", "--json"]);
            list.answer().text().contains(word)
        });
    }

    /// Looks into the server and into the helpers that it has started. That of the last run ends in a moment.
    #[track_caller]
    fn is_clean(&self, server: u32) {
        let found = self.wanted.search(server);
        let places: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert!(places.is_empty(), "{}", places.join("\n"));
        for helper in process::descendants(server) {
            wait_until("a helper to be clean or gone", || {
                self.wanted.search(helper).is_empty()
            });
        }
    }
}

fn run(arguments: &[&str]) -> Value {
    json!({ "keys": ["CANARY", "LONG"], "command": "sh", "args": arguments })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ended_by_itself_leaves_nothing() {
    let Some(scene) = Scene::new() else { return };
    let agent = scene.server(&[]).await;
    for _ in 0..3 {
        let answer = agent.call("secret_run", run(&["-c", SCRIPT])).await;
        let (code, stdout, _) = answer.output();
        assert_eq!(code, 0);
        assert!(stdout.starts_with("[REDACTED:CANARY]\n"), "{stdout}");
        scene.is_clean(agent.pid);
    }
    // In the argument list, in between other text; then a mask, and a program that does not start.
    let echo = "sh -c 'echo $0' \"1 $CANARY 2 ${CANARY} 3 $CANARY\"";
    let (_, stdout, _) = agent.run("CANARY", echo).await.output();
    let marker = "[REDACTED:CANARY]";
    assert_eq!(stdout, format!("1 {marker} 2 {marker} 3 {marker}\n"));
    scene.is_clean(agent.pid);
    let key = json!({ "key": "CANARY" });
    agent.call("secret_get_masked", key).await.value();
    let broken = agent.run("CANARY", "./broken.sh $CANARY").await.refusal();
    assert!(broken.contains("broken.sh"), "{broken}");
    scene.is_clean(agent.pid);
    agent.stop().await;
}

/// Only a debug build can be made to trap.
#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_sanitizer_trapped_leaves_nothing() {
    let Some(scene) = Scene::new() else { return };
    // In the first call with much output, and when it has seen all.
    for call in ["push", "finish"] {
        let agent = scene.server(&[("SECRETCTL_SANITIZER_TRAPS", call)]).await;
        let answer = agent.call("secret_run", run(&["-c", SCRIPT])).await;
        assert_eq!(
            answer.refusal(),
            "the output is withheld, since the sanitizer gave no usable answer: it ran past its deadline"
        );
        scene.wait_for_record("secret.run.outcome");
        scene.is_clean(agent.pid);
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_ended_leaves_nothing() {
    let Some(scene) = Scene::new() else { return };
    let agent = scene.server(&[]).await;
    // A part of the secret stands in the output last, so that it is still held back.
    let script = format!("{SCRIPT}; printf '<%.6s' $CANARY; sleep \"$0$1\"");
    let mark = Mark::new();
    let [first, second] = &mark.halves;
    let arguments = run(&["-c", &script, first, second]);
    let mut timed = arguments.clone();
    timed["timeout"] = json!("2s");
    let answer = agent.call("secret_run", timed).await;
    assert_eq!(answer.structure()["timed_out"], true);
    scene.is_clean(agent.pid);

    let handle = send(&agent, &arguments).await;
    mark.wait_for_start();
    // What is looked for is there while the command runs: the search finds it.
    assert!(!scene.wanted.search(agent.pid).is_empty());
    handle.cancel(None).await.expect("sent");
    mark.wait_for_end();
    scene.wait_for_record("cancelled");
    agent.run("CANARY", "sh -c true").await.output();
    scene.is_clean(agent.pid);

    let handle = send(&agent, &arguments).await;
    mark.wait_for_start();
    let marked = mark.processes();
    let runs_it = |helper: &u32| {
        let started = process::descendants(*helper);
        marked.iter().any(|pid| started.contains(pid))
    };
    let helper = process::descendants(agent.pid).into_iter().find(runs_it);
    process::kill(helper.expect("a helper"), Signal::KILL);
    let answer = handle.await_response().await.expect("an answer");
    let ServerResult::CallToolResult(answer) = answer else {
        panic!("{answer:?}")
    };
    let refusal = Reply::from(answer).refusal();
    assert!(refusal.contains("the helper program died"), "{refusal}");
    scene.is_clean(agent.pid);
    agent.stop().await;
}

/// Asks for a run without waiting for its end.
async fn send(agent: &Agent, arguments: &Value) -> RequestHandle<RoleClient> {
    let request = CallToolRequest::new(params("secret_run", arguments.clone()));
    let request = ClientRequest::CallToolRequest(request);
    let options = PeerRequestOptions::no_options();
    let sent = agent
        .client
        .peer()
        .send_cancellable_request(request, options);
    sent.await.expect("sent")
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_password_nor_what_it_gives_stays() {
    let Some(scene) = Scene::new() else { return };
    let agent = scene.server(&[]).await;
    agent
        .call("secret_run", run(&["-c", SCRIPT]))
        .await
        .output();
    let Keys {
        master,
        wrapping,
        data,
        purposes,
    } = keys(&scene.sandbox);
    let keys = Wanted::new()
        .secret(
            "the master key",
            master.expose().expect("here"),
            PIECE_BYTES,
        )
        .secret(
            "the wrapping key",
            wrapping.expose().expect("here"),
            PIECE_BYTES,
        )
        .secret("the data key", data.expose().expect("here"), PIECE_BYTES);
    let places = |wanted: &Wanted| -> Vec<String> {
        let found = wanted.search(agent.pid);
        found.iter().map(ToString::to_string).collect()
    };
    assert_eq!(places(&keys), [""; 0]);
    // What the server keeps is on pages that root cannot read either, where the kernel has such; else it is there once, to
    // be used: each piece of it. The first word of the password is a usual one.
    let password = &PASSWORD.as_bytes()[PIECE_BYTES..];
    let mut kept = Wanted::new().bytes("the password", password, PIECE_BYTES);
    let mut pieces = password.len() / PIECE_BYTES;
    for (label, key) in &purposes {
        kept = kept.bytes(label, key.expose().expect("here"), PIECE_BYTES);
        pieces += key.expose().expect("here").len() / PIECE_BYTES;
    }
    let found = places(&kept);
    match key_memory() {
        KeyMemory::Secret => assert_eq!(found, [""; 0]),
        KeyMemory::Locked | KeyMemory::Ordinary => {
            assert!(found.len() >= pieces, "{}", found.join("\n"));
        }
    }
    // Nor in a core that a debugger writes, which heeds what the process asked to be left out.
    if let Some(core) = core_of(agent.pid) {
        let secrets = kept.bytes("the data key", data.expose().expect("here"), PIECE_BYTES);
        let found = secrets.search_bytes("the core", &core);
        let names: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(names, [""; 0]);
    }
    agent.stop().await;
}

/// What gdb's `gcore` writes of a process, where it is installed.
fn core_of(pid: u32) -> Option<Vec<u8>> {
    let directory = tempfile::tempdir().expect("a directory");
    let prefix = directory.path().join("core");
    let output = std::process::Command::new("gcore")
        .arg("-o")
        .args([&prefix, std::path::Path::new(&pid.to_string())])
        .output();
    let Ok(output) = output else {
        support::skipped("gcore is not installed");
        return None;
    };
    assert!(output.status.success(), "{output:?}");
    Some(fs::read(prefix.with_extension(pid.to_string())).expect("a core"))
}

struct Keys {
    master: Key,
    wrapping: Key,
    data: Key,
    /// Some of those that the vault is worked with.
    purposes: Vec<(&'static str, Key)>,
}

/// The keys of a vault by the formulas of its format.
fn keys(sandbox: &Sandbox) -> Keys {
    let read = |name: &str| fs::read(sandbox.vault().join(name)).expect("a file of the vault");
    let meta: Value = serde_json::from_slice(&read("vault.meta")).expect("JSON");
    let id = meta["vault_id"].as_str().expect("an id");
    let id = Ulid::from_string(id).expect("an id").to_bytes();
    let database = rusqlite::Connection::open(sandbox.database()).expect("a database");
    let row = |name: &str| -> Vec<u8> {
        let query = "SELECT value FROM metadata WHERE name = ?1";
        let row = database.query_row(query, [name], |row| row.get(0));
        row.expect("a row of the vault")
    };
    let (salt, hashing, generation) = (read("vault.salt"), row("password"), row("generation"));
    let password = SecretBytes::from_vec(PASSWORD.into());
    let both_salts = [salt.as_slice(), &hashing[..SALT_BYTES]].concat();
    let master = crypto::password_key(&password, &both_salts, KDF_FLOOR).expect("a key");
    let wrapping = crypto::derive(&master, &id, "dek-v1").expect("a key");
    let created_at: jiff::Timestamp = (meta["created_at"].as_str())
        .and_then(|text| text.parse().ok())
        .expect("a time");
    let version = u32::try_from(meta["version"].as_u64().expect("a number")).expect("small");
    let parts: [&[u8]; 10] = [
        b"secretctl vault",
        &version.to_be_bytes(),
        &id,
        b"metadata",
        b"dek",
        b"value",
        &created_at.as_second().to_be_bytes(),
        &salt,
        &hashing,
        &generation,
    ];
    let data = crypto::open(&wrapping, &parts, &row("dek")).expect("authentic");
    let data = Key::from_secret(&data).expect("a key");
    let labels = ["record-v1", "name-index-v1", "audit-detail-v1", "cache-v1"];
    let purposes = labels.map(|label| (label, crypto::derive(&data, &id, label).expect("a key")));
    Keys {
        master,
        wrapping,
        data,
        purposes: purposes.into(),
    }
}
