//! The agent door, seen by a real MCP client: what there is, and what an agent learns of a secret without using it.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use rmcp::ServiceError;
use rmcp::model::ErrorCode;
use serde::Deserialize;
use serde_json::{Value, json};
use support::agent::{Agent, params};
use support::{Invocation, PASSWORD, SECRETCTL, Sandbox};

/// The secrets of these tests, with tags.
const SECRETS: [(&str, &str, &[&str]); 4] = [
    (
        "API_KEY",
        "sk-proj-abc123xyz789",
        &["--tags", "api,prod", "--notes", "OpenAI API key"],
    ),
    (
        "DATABASE_URL",
        "postgres://app:pw@localhost/db",
        &["--tags", "prod", "--url", "https://db.example.com"],
    ),
    ("aws/access_key", "AKIA0123456789", &["--expires", "10d"]),
    ("aws/pin", "12345678", &[]),
];

fn vault() -> Sandbox {
    let sandbox = Sandbox::new();
    for (key, value, flags) in SECRETS {
        sandbox
            .secretctl(["set", key])
            .args(flags)
            .stdin(value)
            .answer()
            .succeeded();
    }
    sandbox
}

/// A client's configuration file, as the documentation prints it.
const CLIENT_CONFIGURATION: &str = r#"{
  "mcpServers": {
    "secretctl": {
      "command": "/path/to/secretctl",
      "args": ["mcp-server"],
      "env": {
        "SECRETCTL_PASSWORD": "your-master-password"
      }
    }
  }
}"#;

#[derive(Deserialize)]
struct Server {
    command: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
}

#[tokio::test]
async fn the_printed_client_configuration_starts_the_server() {
    let sandbox = vault();
    let text = CLIENT_CONFIGURATION
        .replace("/path/to/secretctl", SECRETCTL)
        .replace("your-master-password", PASSWORD);
    let mut file: Value = serde_json::from_str(&text).expect("JSON");
    let server: Server =
        serde_json::from_value(file["mcpServers"]["secretctl"].take()).expect("a server");
    let mut invocation = Invocation::new(server.command, sandbox.home()).args(server.args);
    for (name, value) in &server.env {
        invocation = invocation.env(name, value);
    }
    let agent = Agent::connect(invocation).await;
    let info = agent.client.peer_info().expect("it introduced itself");
    let itself = info.server_info.as_ref().expect("its name");
    assert_eq!(
        (&*itself.name, &*itself.version),
        ("secretctl", env!("CARGO_PKG_VERSION"))
    );
    let listed = agent.call("secret_list", json!({})).await.value();
    assert_eq!(
        listed,
        json!({ "keys": ["API_KEY", "DATABASE_URL", "aws/access_key", "aws/pin"] })
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_server_that_cannot_unlock_says_so_and_ends() {
    let sandbox = vault();
    let server = || sandbox.secretctl(["mcp-server"]);
    server()
        .env("SECRETCTL_PASSWORD", "another password")
        .answer()
        .is(3, "", "error: wrong master password\n");
    let missing = server().env("SECRETCTL_VAULT_DIR", "/nonexistent").answer();
    missing.is(
        1,
        "",
        "error: there is no vault in /nonexistent\n  create one with: secretctl init\n",
    );
}

#[tokio::test]
async fn every_tool_is_described() {
    let sandbox = vault();
    let agent = Agent::without_project(&sandbox).await;
    let mut tools = serde_json::to_value(agent.tools().await).expect("JSON");
    let tools = tools.as_array_mut().expect("a list");
    tools.sort_by_key(|tool| tool["name"].to_string());
    let described: Vec<_> = tools
        .iter()
        .map(|tool| {
            let hints = &tool["annotations"];
            (
                tool["name"].as_str().expect("a name"),
                hints["title"].as_str().expect("a title"),
                hints["readOnlyHint"] == true,
            )
        })
        .collect();
    let expected = [
        ("secret_exists", "Check a secret", true),
        ("secret_get_field", "Read a plain field", true),
        ("secret_get_masked", "Describe a secret", true),
        ("secret_list", "List secrets", true),
        ("secret_list_fields", "List fields", true),
        ("secret_run", "Run with secrets", false),
        (
            "secret_run_with_bindings",
            "Run with a secret's bindings",
            false,
        ),
        ("security_score", "Rate the safety of secrets", true),
    ];
    assert_eq!(described, expected);
    let inputs: [(&[&str], &[&str]); 8] = [
        (&["key"], &["key"]),
        (&["field", "key"], &["key", "field"]),
        (&["key"], &["key"]),
        (
            &[
                "cursor",
                "expiring_within",
                "include_metadata",
                "limit",
                "prefix",
                "tag",
            ],
            &[],
        ),
        (&["key"], &["key"]),
        (
            &[
                "args",
                "command",
                "cwd",
                "env",
                "env_prefix",
                "keys",
                "timeout",
            ],
            &["keys", "command"],
        ),
        (
            &["args", "command", "cwd", "key", "timeout"],
            &["key", "command"],
        ),
        (&["include_keys"], &[]),
    ];
    for (tool, (properties, required)) in tools.iter().zip(inputs) {
        let input = &tool["inputSchema"];
        let mut names: Vec<_> = input["properties"]
            .as_object()
            .expect("properties")
            .keys()
            .collect();
        names.sort();
        assert_eq!(names, properties, "{tool}");
        let wanted = if required.is_empty() {
            Value::Null
        } else {
            json!(required)
        };
        assert_eq!(input["required"], wanted, "{tool}");
        assert_eq!(input["additionalProperties"], false, "{tool}");
        assert_eq!(tool["outputSchema"]["type"], "object", "{tool}");
        let hints = &tool["annotations"];
        assert_eq!(hints["title"], tool["title"], "{tool}");
        let changes = hints["readOnlyHint"] == false;
        for (hint, wanted) in [
            ("destructiveHint", changes),
            ("idempotentHint", !changes),
            ("openWorldHint", changes),
        ] {
            assert_eq!(hints[hint], wanted, "{hint} of {tool}");
        }
        assert!(
            !tool["description"]
                .as_str()
                .expect("a description")
                .is_empty()
        );
    }
    agent.stop().await;
}

#[tokio::test]
async fn the_list_can_be_narrowed_and_has_metadata_on_demand() {
    let sandbox = vault();
    let agent = Agent::without_project(&sandbox).await;
    for (arguments, keys) in [
        (json!({ "tag": "prod" }), json!(["API_KEY", "DATABASE_URL"])),
        (
            json!({ "prefix": "aws/" }),
            json!(["aws/access_key", "aws/pin"]),
        ),
        (
            json!({ "expiring_within": "30d" }),
            json!(["aws/access_key"]),
        ),
        (json!({ "expiring_within": "1d" }), json!([])),
        (json!({ "tag": "none" }), json!([])),
    ] {
        assert_eq!(
            agent.call("secret_list", arguments).await.value(),
            json!({ "keys": keys })
        );
    }
    let mut listed = agent
        .call(
            "secret_list",
            json!({ "tag": "api", "include_metadata": true }),
        )
        .await
        .value();
    let secret = listed["secrets"][0].as_object_mut().expect("a secret");
    for time in ["created_at", "updated_at"] {
        let time = secret.remove(time).expect("a time");
        time.as_str()
            .expect("text")
            .parse::<jiff::Timestamp>()
            .expect("RFC 3339");
    }
    let expected = json!({
        "keys": ["API_KEY"],
        "secrets": [{
            "key": "API_KEY", "field_count": 1, "tags": ["api", "prod"], "has_notes": true, "has_url": false,
            "expires_at": null,
        }],
    });
    assert_eq!(listed, expected);
    let refusal = agent
        .call("secret_list", json!({ "expiring_within": "soon" }))
        .await
        .refusal();
    assert!(refusal.starts_with("expiring_within: "), "{refusal}");
    agent.stop().await;
}

#[tokio::test]
async fn existence_is_told_of_names_and_patterns() {
    let sandbox = vault();
    let agent = Agent::without_project(&sandbox).await;
    let both = json!({ "exists": true, "matches": ["aws/access_key", "aws/pin"] });
    assert_eq!(
        agent
            .call("secret_exists", json!({ "key": "aws/*" }))
            .await
            .value(),
        both
    );
    let nothing = json!({ "exists": false, "matches": [] });
    for key in ["aws/access", "api_key", "gcp/*", "*/*/*"] {
        assert_eq!(
            agent
                .call("secret_exists", json!({ "key": key }))
                .await
                .value(),
            nothing,
            "{key}"
        );
    }
    let one = agent
        .call("secret_exists", json!({ "key": "aws/access_key" }))
        .await
        .value();
    assert_eq!(
        (&one["exists"], &one["matches"]),
        (&json!(true), &json!(["aws/access_key"]))
    );
    assert_eq!(one["metadata"]["key"], "aws/access_key");
    let refusal = agent
        .call("secret_exists", json!({ "key": "not a key" }))
        .await
        .refusal();
    assert!(
        refusal.starts_with("key: the name of a secret "),
        "{refusal}"
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_masked_value_shows_at_most_its_last_four_characters() {
    let sandbox = vault();
    let agent = Agent::without_project(&sandbox).await;
    let fields = json!([{ "name": "value", "sensitive": true }]);
    let api_key = json!({
        "key": "API_KEY", "masked_value": "********z789", "fields": fields, "tags": ["api", "prod"],
        "notes": "OpenAI API key", "url": null, "expires_at": null,
    });
    assert_eq!(
        agent
            .call("secret_get_masked", json!({ "key": "API_KEY" }))
            .await
            .value(),
        api_key
    );
    let pin = json!({
        "key": "aws/pin", "masked_value": "********", "fields": fields, "tags": [], "notes": null, "url": null,
        "expires_at": null,
    });
    assert_eq!(
        agent
            .call("secret_get_masked", json!({ "key": "aws/pin" }))
            .await
            .value(),
        pin
    );
    let url = agent
        .call("secret_get_masked", json!({ "key": "DATABASE_URL" }))
        .await
        .value();
    assert_eq!(url["url"], "https://db.example.com");

    let missing = agent
        .call("secret_get_masked", json!({ "key": "API_KYE" }))
        .await
        .refusal();
    assert_eq!(
        missing,
        "secret not found: API_KYE\nDid you mean API_KEY?\nsecret_list shows what there is; names are case-sensitive."
    );
    agent.stop().await;
}

#[tokio::test]
async fn what_a_person_changes_is_seen_at_once() {
    let sandbox = vault();
    let agent = Agent::without_project(&sandbox).await;
    let exists = json!({ "key": "NEW" });
    assert_eq!(
        agent.call("secret_exists", exists.clone()).await.value()["exists"],
        false
    );
    sandbox.set("NEW", "a new value");
    assert_eq!(
        agent.call("secret_exists", exists.clone()).await.value()["exists"],
        true
    );
    sandbox
        .secretctl(["delete", "NEW", "--force"])
        .answer()
        .succeeded();
    assert_eq!(
        agent.call("secret_exists", exists).await.value()["exists"],
        false
    );
    agent.stop().await;
}

#[tokio::test]
async fn unknown_tools_and_arguments_are_errors() {
    let sandbox = vault();
    let agent = Agent::without_project(&sandbox).await;
    for (tool, arguments, mistake) in [
        (
            "secret_list",
            json!({ "show_values": true }),
            "there is no argument \"show_values\"",
        ),
        (
            "secret_list",
            json!({ "prefx": "a" }),
            "there is no argument \"prefx\"; did you mean prefix?",
        ),
        ("secret_exists", json!({}), "the argument key is missing"),
        (
            "secret_exists",
            json!({ "key": 7 }),
            "the argument key must be a string, and is a number",
        ),
        (
            "secret_run",
            json!({ "keys": "API_KEY", "command": "true" }),
            "the argument keys must be an array of which each is a string, and is a string",
        ),
        (
            "secret_run",
            json!({ "keys": ["API_KEY"], "command": "true", "sanitize": false }),
            "there is no argument \"sanitize\"",
        ),
    ] {
        let refusal = agent.call(tool, arguments).await.refusal();
        let (first, rest) = refusal.split_once('\n').expect("two lines");
        assert_eq!(first, mistake);
        assert!(rest.starts_with(&format!("{tool} takes ")), "{rest}");
    }
    for (tool, near) in [
        ("secret_get", "secret_list"),
        ("secret_lst", "secret_list"),
        ("delete", ""),
    ] {
        let answer = agent
            .client
            .peer()
            .call_tool(params(tool, json!({ "key": "API_KEY" })))
            .await;
        let Err(ServiceError::McpError(error)) = answer else {
            panic!("{tool}: {answer:?}")
        };
        assert_eq!(error.code, ErrorCode::INVALID_PARAMS, "{tool}: {error}");
        assert!(error.message.contains(near), "{error}");
        assert_eq!(
            error.message.contains("did you mean"),
            !near.is_empty(),
            "{error}"
        );
        assert!(error.message.ends_with("security_score."), "{error}");
    }
    // The server goes on.
    assert_eq!(
        agent
            .call("secret_exists", json!({ "key": "API_KEY" }))
            .await
            .value()["exists"],
        true
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_server_belongs_to_the_directory_it_is_started_in() {
    let sandbox = vault();
    sandbox.policy("version: 1\nallowed_commands: [pwd]\nworkdir: project\n");
    let project = sandbox.project(&[("src/main.c", "")]);
    let agent = Agent::start(&sandbox, &project).await;
    let pwd = |cwd: Value| json!({ "keys": ["API_KEY"], "command": "pwd", "cwd": cwd });
    let line = |path: &Path| format!("{}\n", path.canonicalize().expect("exists").display());
    assert_eq!(
        agent.run("API_KEY", "pwd").await.output(),
        (0, line(&project), String::new())
    );
    let below = agent.call("secret_run", pwd(json!("src"))).await.output();
    assert_eq!(below, (0, line(&project.join("src")), String::new()));
    for outside in ["..", "/", "/etc", "src/../..", "none", "src/main.c"] {
        let refusal = agent
            .call("secret_run", pwd(json!(outside)))
            .await
            .refusal();
        assert!(
            refusal.starts_with("the directory cannot be used: "),
            "{outside}: {refusal}"
        );
    }
    agent.stop().await;

    // The home directory itself is no project.
    let agent = Agent::start(&sandbox, sandbox.home()).await;
    let refusal = agent.run("API_KEY", "pwd").await.refusal();
    assert!(
        refusal.starts_with("the directory cannot be used: the server has no project"),
        "{refusal}"
    );
    agent.stop().await;
}
