//! Two agents with different rights on one vault: to each, a key that its policy hides is a key that does not exist.
//!
//! Every tool is asked twice in the same words, once with a hidden key and once with one that the vault does not hold. The answers have
//! to be equal byte by byte, but for the name.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::Sandbox;
use support::agent::Agent;

const POLICY: &str = "version: 1
default_action: allow
denied_commands: [rm]
env_aliases:
  staging: [{ pattern: 'on/*', target: 'team/*' }, { pattern: 'api/*', target: 'api/prod/*' }]
policies:
- name: some
  agent_id: some
  allowed_keys: [api/**, TEAM_QQONE, TEAM_QQTWO]
  denied_keys: ['*/prod/*']
  capabilities: [env_inject, reference_only, masked_return]
- name: runs
  agent_id: runs
  allowed_keys: [api/key]
  capabilities: [env_inject]
- name: all
  agent_id: all
  allowed_keys: ['**']
  capabilities: [env_inject, reference_only, masked_return]
";

/// Hidden, and not in the vault. The policy says the same of both names.
const PAIRS: [(&str, &str); 3] = [
    ("team/qqone", "team/qqtwo"),
    ("api/prod/zzone", "api/prod/zztwo"),
    ("rrone", "rrtwo"),
];
/// What stands for the name, for a pattern, for the last part of the name, and for the value.
const KEY: &str = "<key>";
const PATTERN: &str = "<pattern>";
const LAST: &str = "<last>";
const VALUE: &str = "<value>";

fn calls() -> Vec<(&'static str, Value)> {
    let run = |keys: Value, command: &str| json!({ "keys": keys, "command": command });
    let with = |mut call: Value, name: &str, value: &str| {
        call[name] = json!(value);
        call
    };
    let both = json!(["api/key", PATTERN]);
    let mut calls = vec![
        ("secret_list", json!({})),
        ("secret_list", json!({ "prefix": KEY })),
        (
            "secret_list",
            json!({ "tag": LAST, "include_metadata": true }),
        ),
        (
            "secret_list",
            json!({ "expiring_within": "1d", "prefix": KEY, "include_metadata": true }),
        ),
        ("secret_exists", json!({ "key": KEY })),
        ("secret_exists", json!({ "key": PATTERN })),
        ("secret_exists", json!({ "key": "**" })),
        ("secret_get_masked", json!({ "key": KEY })),
        ("secret_get_masked", json!({ "key": PATTERN })),
        ("secret_list_fields", json!({ "key": KEY })),
        ("secret_get_field", json!({ "key": KEY, "field": "value" })),
        ("secret_get_field", json!({ "key": KEY, "field": "none" })),
        (
            "secret_run_with_bindings",
            json!({ "key": KEY, "command": "echo hello" }),
        ),
        ("security_score", json!({ "include_keys": true })),
        ("secret_list", json!({ "cursor": KEY, "limit": 1 })),
    ];
    for command in [
        "echo hello",
        "echo '<key>'",
        "echo '<value>'",
        "false",
        "env",
        "rm x",
        "no-such-program",
        "./no-such.sh",
        "echo | cat",
        "sleep 30",
        "printf x$TEAM_QQONE$TEAM_QQTWO$RRONE$RRTWO",
    ] {
        for keys in [
            json!([KEY]),
            json!([PATTERN]),
            json!(["api/key", KEY]),
            both.clone(),
            json!(["TEAM_QQONE", "TEAM_QQTWO", KEY]),
            json!(["TEAM_QQONE", "TEAM_QQTWO", PATTERN]),
            json!(["**"]),
        ] {
            // The keys of a pattern decide nothing about how long a command runs.
            let call = run(keys, command);
            let call = if command == "sleep 30" {
                with(call, "timeout", "20ms")
            } else {
                call
            };
            calls.push(("secret_run", call));
        }
    }
    for (name, value) in [
        ("env", "staging"),
        ("env", "none"),
        ("env_prefix", "PAT"),
        ("env_prefix", "LD_"),
        ("env_prefix", "X_"),
        ("cwd", "missing"),
        ("timeout", "soon"),
        ("timeout", "20s"),
    ] {
        for keys in [
            json!([KEY]),
            both.clone(),
            json!(["on/<last>"]),
            json!(["api/*"]),
        ] {
            calls.push(("secret_run", with(run(keys, "echo hello"), name, value)));
        }
    }
    calls
}

fn put(call: &Value, key: &str) -> Value {
    let text = call.to_string().replace(KEY, key);
    let text = text
        .replace(PATTERN, &pattern(key))
        .replace(LAST, last(key));
    text.replace(VALUE, &value(key)).parse().expect("JSON")
}

/// A pattern that finds the key and nothing else.
fn pattern(key: &str) -> String {
    let (start, end) = key.split_at(key.len() - 1);
    format!("{start}[{end}]")
}

/// The part of its name in which a key differs from its counterpart; also its tag.
fn last(key: &str) -> &str {
    key.rsplit('/').next().expect("a part")
}

fn value(key: &str) -> String {
    format!("the-value-of-{key}")
}

/// All that an agent gets to see, without the name that it used and the time that it took.
async fn answer(agent: &Agent, tool: &'static str, call: &Value, key: &str) -> String {
    let reply = agent.call(tool, put(call, key)).await;
    let mut structured = reply.structured.clone().unwrap_or_default();
    let mut text = reply.text;
    if let Some(took) = structured.get_mut("duration_ms").map(Value::take) {
        text = text.replace(&format!("\"duration_ms\":{took}"), "");
    }
    let lines: Vec<_> = text.lines().map(|line| near(line, key)).collect();
    let all = format!("{} {} {structured}", reply.is_error, lines.join("\n"));
    all.replace(&pattern(key), PATTERN).replace(last(key), LAST)
}

/// The agent's own keys that are near a name depend on the name: those near one of a pair mirror those near the other.
fn near(line: &str, key: &str) -> String {
    if line.starts_with("Did you mean ") && key.ends_with("two") {
        let swapped = line.replace("QQONE", "QQ_").replace("QQTWO", "QQONE");
        return swapped.replace("QQ_", "QQTWO");
    }
    line.to_owned()
}

fn vault() -> Sandbox {
    let sandbox = Sandbox::new();
    for key in ["api/key", "api/a-b", "api/a_b", "TEAM_QQONE", "TEAM_QQTWO"] {
        sandbox.set(key, format!("{}-Zq81xkVw", key.len() * 1_234_567));
    }
    for (hidden, _) in PAIRS {
        let set = [
            "set",
            hidden,
            "--exact",
            "--tags",
            last(hidden),
            "--notes",
            "x",
            "--url",
            "https://x",
        ];
        sandbox
            .secretctl(set)
            .stdin(value(hidden))
            .answer()
            .succeeded();
    }
    sandbox.policy(POLICY);
    sandbox
}

async fn agent(sandbox: &Sandbox, name: &str) -> Agent {
    let project = sandbox.project(&[("x", "")]);
    let server = sandbox.secretctl(["mcp-server", "--agent-id", name]);
    Agent::connect(server.dir(&project)).await
}

async fn difference(sandbox: &Sandbox, name: &str) -> Vec<String> {
    let agent = agent(sandbox, name).await;
    let mut different = Vec::new();
    for (hidden, missing) in PAIRS {
        for (tool, call) in calls() {
            let of_hidden = answer(&agent, tool, &call, hidden).await;
            let of_missing = answer(&agent, tool, &call, missing).await;
            if of_hidden != of_missing {
                different.push(format!(
                    "{tool} {call} {hidden}:\n{of_hidden}\n{of_missing}"
                ));
            }
        }
    }
    agent.stop().await;
    different
}

/// What the policy file names is a guess that nobody confirms: not an entry of `denied_keys`, and not the target of an alias.
#[tokio::test]
async fn a_key_that_the_file_names_is_answered_as_one_that_it_does_not() {
    let sandbox = vault();
    for key in ["api/qqone", "other/target"] {
        sandbox.set(key, value(key));
    }
    let denied = "denied_keys: ['*/prod/*', api/qqone";
    let policy = POLICY.replace("denied_keys: ['*/prod/*'", denied);
    let alias = "staging: [{ pattern: 'some/qqone', target: 'other/target' }, ";
    sandbox.policy(&policy.replace("staging: [", alias));
    let agent = agent(&sandbox, "some").await;
    for tool in ["secret_exists", "secret_get_masked", "secret_run"] {
        let mut call = json!({ "key": KEY });
        if tool == "secret_run" {
            call = json!({ "keys": [KEY], "command": "echo hello" });
        }
        let named = answer(&agent, tool, &call, "api/qqone").await;
        let other = answer(&agent, tool, &call, "api/qqtwo").await;
        assert_eq!(named, other, "{tool}");
    }
    let call = json!({ "keys": [KEY], "command": "echo hello", "env": "staging" });
    let of_alias = answer(&agent, "secret_run", &call, "some/qqone").await;
    assert_eq!(
        of_alias,
        answer(&agent, "secret_run", &call, "some/qqtwo").await
    );
    assert!(!of_alias.contains("target"), "{of_alias}");
    // Nor does a refusal for the command, whose remedy for people is one for the key as well.
    let call = json!({ "keys": ["some/qqone"], "command": "rm x", "env": "staging" });
    let refusal = agent.call("secret_run", call).await.refusal();
    assert_eq!(
        refusal,
        "command not allowed: rm: it is denied (rm)\nRule: denied_commands[0]: rm"
    );
    // The log has it all.
    let export = sandbox
        .secretctl(["audit", "export"])
        .answer()
        .json()
        .to_string();
    assert!(
        export.contains("no key 'other/target' is available"),
        "{export}"
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_hidden_key_is_answered_byte_by_byte_as_one_that_does_not_exist() {
    let sandbox = vault();
    for name in ["some", "runs", "nobody"] {
        assert_eq!(
            difference(&sandbox, name).await,
            Vec::<String>::new(),
            "{name}"
        );
    }
    // The same questions tell the other agent, who may know, a lot.
    assert!(difference(&sandbox, "all").await.len() > 50);
}

#[tokio::test]
async fn what_is_stored_with_a_hidden_key_makes_no_difference() {
    let sandbox = vault();
    for (hidden, _) in PAIRS {
        // Too short to be injected, and soon over.
        let set = ["set", hidden, "--exact", "--expires", "1h"];
        sandbox.secretctl(set).stdin("xy").answer().succeeded();
    }
    assert_eq!(difference(&sandbox, "some").await, Vec::<String>::new());
    // Several fields that no variable gets.
    for (hidden, _) in PAIRS {
        let set = ["set", hidden, "--field", "second"];
        let second = sandbox.secretctl(set).stdin("another-value");
        second.answer().succeeded();
    }
    assert_eq!(difference(&sandbox, "some").await, Vec::<String>::new());
}

#[tokio::test]
async fn two_agents_see_what_is_theirs_at_the_same_time() {
    let sandbox = vault();
    let (some, all) = (agent(&sandbox, "some").await, agent(&sandbox, "all").await);
    let keys = |value: Value| value["keys"].as_array().map(Vec::len);
    for _ in 0..3 {
        assert_eq!(
            keys(some.call("secret_list", json!({})).await.value()),
            Some(5)
        );
        assert_eq!(
            keys(all.call("secret_list", json!({})).await.value()),
            Some(8)
        );
    }
    let echo = "printf %s ${RRONE-unset}";
    let run = json!({ "keys": ["**"], "command": "sh", "args": ["-c", echo], "env_prefix": "" });
    // Two of these would have one variable, and say so only to whom both are open.
    for agent in [&some, &all] {
        let refusal = agent.call("secret_run", run.clone()).await.refusal();
        assert!(refusal.contains("api/a-b and api/a_b"), "{refusal}");
    }
    let other = json!({ "keys": ["rrone", "team/*"], "command": "sh", "args": ["-c", echo] });
    assert!(some.call("secret_run", other.clone()).await.is_error);
    assert_eq!(
        all.call("secret_run", other).await.output().1,
        "[REDACTED:rrone]"
    );
    // A right that is taken away is gone at the next request.
    sandbox.policy(&POLICY.replace("['**']", "[api/key]"));
    assert_eq!(
        keys(all.call("secret_list", json!({})).await.value()),
        Some(1)
    );
    assert!(all.run("rrone", "echo hello").await.is_error);
    some.stop().await;
    all.stop().await;
}
