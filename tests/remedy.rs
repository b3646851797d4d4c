//! What the log says would have allowed a refused request: it is put into the policy file, and the same request is made again.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use serde_json::json;
use serde_yaml::Value;
use support::Sandbox;
use support::agent::Agent;

const POLICIES: &str = "policies:\n- name: ours\n  agent_id: claude-*\n";

/// A policy, and a request that it refuses: keys and a command line.
const REFUSED: [(&str, &[&str], &str); 14] = [
    ("", &["api/key"], "true"),
    ("allowed_commands:\n", &["api/key"], "echo a b"),
    ("allowed_commands: [seq]", &["api/key"], "echo 'a b' c"),
    (
        "allowed_commands: [echo b]",
        &["api/key"],
        "/bin/echo \"it's\"",
    ),
    (
        "allowed_commands: [{ command: echo, keys: ['db/*'] }]",
        &["api/key", "other"],
        "echo a",
    ),
    (
        "allowed_commands: [{ command: echo, approval: ask }]",
        &["api/key"],
        "echo a",
    ),
    (
        "default_action: allow\ndenied_commands: [seq, echo, /bin/echo, 'true']",
        &["api/key"],
        "/bin/echo a",
    ),
    (
        "default_action: allow\ndenied_commands: [seq, echo]",
        &["api/key"],
        "timeout 5 sh -c 'seq 1; echo a'",
    ),
    ("denied_commands: [echo]", &["api/key"], "echo a"),
    (
        "default_action: allow\n<policies>  allowed_keys: [db/*]\n  capabilities: [env_inject]",
        &["api/key", "other"],
        "echo a",
    ),
    (
        "default_action: allow\n<policies>  allowed_keys: ['**']\n  denied_keys: [x, 'api/*', api, db]\n  capabilities: [env_inject]",
        &["api/key"],
        "echo a",
    ),
    (
        "default_action: allow\n<policies>  allowed_keys: ['**']\n  capabilities: []",
        &["api/key"],
        "echo a",
    ),
    (
        "denied_commands: [echo]\n<policies>  allowed_keys: []\n  denied_keys: ['**']\n  capabilities: [reference_only]",
        &["api/key"],
        "echo a",
    ),
    (
        "policies: [{ name: x, agent_id: y, allowed_keys: [], capabilities: [] }]",
        &["api/key", "other"],
        "echo a",
    ),
];

/// Refused for good: nothing in the file is to blame, or nothing can be said without saying too much.
const WITHOUT: [(&str, &str); 6] = [
    ("default_action: allow", "env"),
    ("default_action: allow\ndenied_commands: [sh]", "sh -c env"),
    ("default_action: allow", "cat /proc/self/environ"),
    ("", "'*'"),
    ("", "'a b'"),
    ("default_action: allow", "/no/such/program"),
];

fn vault() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.set("api/key", "s3cr3t-value");
    sandbox.set("other", "0th3r-value");
    sandbox
}

async fn is_refused(
    sandbox: &Sandbox,
    agent: &Agent,
    policy: &str,
    keys: &[&str],
    command: &str,
) -> bool {
    sandbox.policy(policy);
    let run = json!({ "keys": keys, "command": command });
    agent.call("secret_run", run).await.is_error
}

/// The remedy in the last record, as `audit show` prints it.
fn remedy(sandbox: &Sandbox) -> Option<String> {
    let list = sandbox
        .secretctl(["audit", "list", "--denied", "--json"])
        .answer();
    let records = list.succeeded().json();
    let records = records.as_array().expect("a list");
    let record = (records
        .iter()
        .max_by_key(|record| record["sequence"].as_u64()))
    .expect("a record");
    let remedy = record["remedy"].as_str().map(str::to_owned);
    let show = sandbox.secretctl(["audit", "show", record["id"].as_str().expect("an id")]);
    let shown = show.answer().succeeded().text().to_owned();
    for line in remedy.iter().flat_map(|remedy| remedy.lines()) {
        assert!(shown.contains(&format!("{line}\n")), "{line}: {shown}");
    }
    remedy
}

/// The changes in a remedy: whether something is added, where, and what.
fn changes(remedy: &str) -> Vec<(bool, String, Value)> {
    let lines: Vec<&str> = remedy.lines().collect();
    let change = |lines: &[&str]| {
        let [head, body] = lines else {
            panic!("{lines:?}")
        };
        let head = head.strip_suffix(':').expect("a place");
        let body = serde_yaml::from_str(body).expect("YAML");
        match (
            head.strip_prefix("add to "),
            head.strip_prefix("remove from "),
        ) {
            (Some(place), _) => (true, place.to_owned(), body),
            (_, Some(place)) => (false, place.to_owned(), body),
            _ => panic!("{head}"),
        }
    };
    lines.chunks(2).map(change).collect()
}

fn apply(policy: &str, changes: &[(bool, String, Value)]) -> String {
    let mut file: Value = serde_yaml::from_str(policy).expect("YAML");
    for (adds, place, what) in changes {
        let mut at = &mut file;
        for part in place.replace('[', ".").replace(']', "").split('.') {
            at = match part.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[part],
            };
        }
        match (what, adds) {
            (Value::Sequence(entries), true) => {
                if at.is_null() {
                    *at = Value::Sequence(Vec::new());
                }
                at.as_sequence_mut()
                    .expect("a list")
                    .extend(entries.iter().cloned());
            }
            (Value::Sequence(entries), false) => {
                let list = at.as_sequence_mut().expect("a list");
                let before = list.len();
                list.retain(|entry| !entries.contains(entry));
                assert_eq!(list.len() + entries.len(), before, "{place}");
            }
            (Value::Mapping(keys), false) => {
                for (key, value) in keys {
                    let removed = at.as_mapping_mut().expect("a mapping").remove(key);
                    assert_eq!(removed.as_ref(), Some(value));
                }
            }
            other => panic!("{other:?}"),
        }
    }
    serde_yaml::to_string(&file).expect("YAML")
}

#[tokio::test]
async fn a_remedy_put_into_the_file_allows_the_request_and_nothing_less_does() {
    let sandbox = vault();
    let agent = Agent::connect(sandbox.secretctl(["mcp-server", "--approval-wait", "0s"])).await;
    for (policy, keys, command) in REFUSED {
        let policy = format!("version: 1\n{}\n", policy.replace("<policies>", POLICIES));
        assert!(
            is_refused(&sandbox, &agent, &policy, keys, command).await,
            "{policy}{command}"
        );
        let remedy = remedy(&sandbox).expect("a remedy");
        let changes = changes(&remedy);
        let changed = apply(&policy, &changes);
        assert!(
            !is_refused(&sandbox, &agent, &changed, keys, command).await,
            "{command}: {remedy}\n{changed}"
        );
        for left_out in 0..changes.len() {
            let mut fewer = changes.clone();
            let one = fewer.remove(left_out);
            let changed = apply(&policy, &fewer);
            assert!(
                is_refused(&sandbox, &agent, &changed, keys, command).await,
                "{command}: without {one:?}"
            );
        }
        // And it allows nothing else.
        let all = policy.contains("default_action: allow");
        assert!(
            all || is_refused(&sandbox, &agent, &changed, keys, "id").await,
            "{remedy}"
        );
    }
    agent.stop().await;
}

#[tokio::test]
async fn what_no_change_should_allow_has_no_remedy() {
    let sandbox = vault();
    let agent = Agent::connect(sandbox.secretctl(["mcp-server", "--approval-wait", "0s"])).await;
    for (policy, command) in WITHOUT {
        let policy = format!("version: 1\n{policy}\n");
        assert!(
            is_refused(&sandbox, &agent, &policy, &["api/key"], command).await,
            "{command}"
        );
        assert_eq!(remedy(&sandbox), None, "{command}");
    }
    agent.stop().await;
}
