//! Fields, bindings, pages and the score, as an agent gets them; and what it is told to do instead of what it may not.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use support::Sandbox;
use support::agent::Agent;
use support::fields::{run, with_database};

#[tokio::test]
async fn fields_are_listed_with_their_bindings_and_without_values() {
    let sandbox = with_database();
    let agent = Agent::without_project(&sandbox).await;
    let listed = agent.call("secret_list_fields", json!({ "key": "db/prod" }));
    let expected = json!({
        "key": "db/prod",
        "fields": [
            { "name": "host", "sensitive": false }, { "name": "port", "sensitive": false },
            { "name": "password", "sensitive": true }, { "name": "admin", "sensitive": true },
        ],
        "bindings": { "PGHOST": "host", "PGPORT": "port", "PGPASSWORD": "password" },
    });
    assert_eq!(listed.await.value(), expected);
    agent.stop().await;
}

#[tokio::test]
async fn a_plain_field_is_read_and_a_sensitive_one_never() {
    let sandbox = with_database();
    let url = "url=postgres://s3cret-Pass-word@db.example";
    run(
        &sandbox,
        &["set", "db/prod", "--field", url, "--plain", "url"],
        "",
    )
    .succeeded();
    let agent = Agent::without_project(&sandbox).await;
    let field = |key: &'static str, field: &'static str| {
        agent.call("secret_get_field", json!({ "key": key, "field": field }))
    };
    let expected = |field: &str, value: &str| json!({ "key": "db/prod", "field": field, "value": value, "sensitive": false });
    assert_eq!(
        field("db/prod", "host").await.value(),
        expected("host", "db.example")
    );
    // What is sensitive elsewhere in the secret is hidden here too.
    assert_eq!(
        field("db/prod", "url").await.value(),
        expected("url", "postgres://[REDACTED:db/prod]@db.example")
    );
    for (key, name, refusal) in [
        (
            "db/prod",
            "password",
            "field password of secret db/prod is sensitive: its value is never shown\nTo use it, run a command with it: secret_run or secret_run_with_bindings.",
        ),
        (
            "db/prod",
            "hots",
            "secret db/prod has no field hots\nDid you mean host?\nsecret_list_fields shows what there is; names are case-sensitive.",
        ),
        (
            "db/prdo",
            "host",
            "secret not found: db/prdo\nDid you mean db/prod?\nsecret_list shows what there is; names are case-sensitive.",
        ),
    ] {
        assert_eq!(field(key, name).await.refusal(), refusal);
    }
    agent.stop().await;
    let log = sandbox.secretctl(["audit", "export"]).answer().json();
    let records = log.as_array().expect("records").iter();
    let results: Vec<_> = records
        .filter(|record| record["action"] == "secret.get_field")
        .map(|record| record["result"].as_str().expect("a word"))
        .collect();
    assert_eq!(results, ["success", "success", "denied", "error", "error"]);
}

#[tokio::test]
async fn a_plain_field_is_not_read_beside_what_cannot_be_hidden_in_it() {
    let sandbox = Sandbox::new();
    let store = |pin: &str| {
        fs::write(sandbox.home().join("pin"), pin).expect("written");
        let url = format!("url=https://me:{pin}@example.com");
        let args = [
            "set",
            "card",
            "--field",
            &url,
            "--field",
            "text=some",
            "--plain",
            "url,text",
        ];
        let args = [&args[..], &["--field-file", "pin=pin"]].concat();
        run(&sandbox, &args, "").succeeded();
    };
    store("7345");
    let agent = Agent::without_project(&sandbox).await;
    let field = |field: &'static str| {
        agent.call("secret_get_field", json!({ "key": "card", "field": field }))
    };
    let url = field("url").await.value();
    assert_eq!(url["value"], "https://me:[REDACTED:card]@example.com");
    store("734");
    for name in ["url", "text"] {
        assert_eq!(
            field(name).await.refusal(),
            "the value of secret card is too short to be hidden in output: it has fewer than 4 bytes\n\
             A person can store a longer value, or run the command with secretctl run."
        );
    }
    fs::write(sandbox.home().join("bytes"), b"\xff\xfe").expect("written");
    let bytes = [
        "set",
        "bytes",
        "--field-file",
        "some=bytes",
        "--plain",
        "some",
    ];
    run(&sandbox, &bytes, "").succeeded();
    let arguments = json!({ "key": "bytes", "field": "some" });
    let refusal = agent.call("secret_get_field", arguments).await.refusal();
    assert_eq!(
        refusal,
        "the value of field some of secret bytes is not text"
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_run_with_bindings_needs_them() {
    let sandbox = with_database();
    sandbox.set("single", "a-single-value");
    sandbox.policy("version: 1\nallowed_commands: [echo]\n");
    let agent = Agent::without_project(&sandbox).await;
    let bound = |key: &'static str| {
        let run = json!({ "key": key, "command": "echo $PGHOST:$PGPORT $PGPASSWORD $SINGLE" });
        agent.call("secret_run_with_bindings", run)
    };
    let shown = "db.example:5432 [REDACTED:db/prod] $SINGLE\n".to_owned();
    assert_eq!(bound("db/prod").await.output(), (0, shown, String::new()));
    let refusal = bound("single").await.refusal();
    assert!(
        refusal
            .starts_with("secret single has the fields value, and none is bound to a variable\n"),
        "{refusal}"
    );
    let prefixed = json!({ "keys": ["db/prod"], "command": "echo", "env_prefix": "LD_" });
    let refusal = agent.call("secret_run", prefixed).await.refusal();
    let expected = "the variable LD_PGHOST cannot be bound: programs take instructions from it\n\
        Use another env_prefix; without one, a person can bind another variable: secretctl set KEY --unbind VARIABLE --binding OTHER=FIELD.";
    assert_eq!(refusal, expected);
    let refusal = bound("db/*").await.refusal();
    assert!(
        refusal.starts_with("key: the name of a secret "),
        "{refusal}"
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let sandbox = Sandbox::new();
    let keys: Vec<String> = (0..7).map(|number| format!("key/{number}")).collect();
    for key in &keys {
        sandbox.set(key, "a long value");
    }
    let agent = Agent::without_project(&sandbox).await;
    let page = |cursor: Value| agent.call("secret_list", json!({ "limit": 3, "cursor": cursor }));
    let mut cursor = Value::Null;
    for expected in [&keys[..3], &keys[3..6], &keys[6..]] {
        let listed = page(cursor).await.value();
        assert_eq!(
            (&listed["keys"], &listed["total"]),
            (&json!(expected), &json!(7))
        );
        cursor = listed.get("next_cursor").cloned().unwrap_or_default();
        // What comes and goes in between moves no page.
        let first = keys.first().expect("a key");
        run(&sandbox, &["delete", first, "--force"], "");
        sandbox.set(first, "another value");
    }
    assert_eq!(cursor, Value::Null);
    // A page has one secret at least.
    let least = agent
        .call("secret_list", json!({ "limit": 0 }))
        .await
        .value();
    let first = json!({ "keys": [keys[0]], "total": 7, "next_cursor": keys[0] });
    assert_eq!(least, first);
    let whole = agent.call("secret_list", json!({})).await.value();
    assert_eq!(whole, json!({ "keys": keys }));
    let refusal = page(json!("no name")).await.refusal();
    assert!(
        refusal.starts_with("cursor: the name of a secret "),
        "{refusal}"
    );
    agent.stop().await;
}

#[tokio::test]
async fn the_score_says_what_to_better_and_nothing_of_values() {
    let sandbox = Sandbox::new();
    let set = ["set", "soon", "--exact", "--expires", "10d"];
    sandbox.secretctl(set).stdin("xy").answer().succeeded();
    sandbox.set("hidden", "x");
    let rights = "policies: [{ name: x, agent_id: '*', allowed_keys: ['**'], denied_keys: [hidden], capabilities: [reference_only] }]\n";
    let policy = format!("version: 1\ndefault_action: allow\n{rights}");
    sandbox.policy(&policy);
    fs::set_permissions(sandbox.database(), fs::Permissions::from_mode(0o640))
        .expect("an own file");
    let agent = Agent::without_project(&sandbox).await;
    let rated = agent
        .call("security_score", json!({ "include_keys": true }))
        .await
        .value();
    let components = rated["components"].as_object().expect("components");
    let names: Vec<_> = components.keys().collect();
    assert_eq!(names, ["age", "confinement", "expiry", "files", "policy"]);
    assert_eq!(
        (
            &components["age"],
            &components["expiry"],
            &components["policy"]
        ),
        (&json!(100), &json!(70), &json!(40))
    );
    assert_eq!(components["files"], 0);
    let total: u64 = components.values().filter_map(Value::as_u64).sum();
    assert_eq!(rated["score"], total / 5);
    let issues = rated["issues"].as_array().expect("issues");
    // The worst comes first.
    assert_eq!(issues[0]["component"], "files");
    let soon = issues.iter().find(|issue| issue["component"] == "expiry");
    let expected = json!({
        "component": "expiry", "description": "1 of 1 secrets expire within 30 days", "weight": 30, "keys": ["soon"],
    });
    assert_eq!(soon, Some(&expected));
    let suggestions = rated["suggestions"].as_array().expect("suggestions");
    assert_eq!(suggestions.len(), issues.len());
    assert!(!rated.to_string().contains("hidden"), "{rated}");

    // A longer value makes no difference, and without being asked for no name is given.
    let set = ["set", "soon", "--exact", "--expires", "10d"];
    let long = "a value that is much longer, but no better in other ways";
    sandbox.secretctl(set).stdin(long).answer().succeeded();
    let again = agent.call("security_score", json!({})).await.value();
    assert_eq!(again["score"], rated["score"]);
    assert!(!again.to_string().contains("soon\""), "{again}");
    agent.stop().await;
}

#[tokio::test]
async fn a_mistake_is_answered_with_what_is_there() {
    let sandbox = Sandbox::new();
    sandbox.set("API_KEY", "a-long-value");
    let rules: Vec<String> = (0..12).map(|number| format!("tool{number} x")).collect();
    sandbox.policy(&format!(
        "version: 1\nallowed_commands: [{}, npm test, seq, sleep, slep]\ndenied_commands: [sleep 7]\nlimits: {{ output_bytes: 1KiB }}\n",
        rules.join(", ")
    ));
    let agent = Agent::without_project(&sandbox).await;
    let refused = agent.run("API_KEY", "npm run evil").await.refusal();
    let allowed = "\nCommands are allowed that begin with: npm test; tool0 x; tool1 x; tool2 x; tool3 x; tool4 x; tool5 x; tool6 x; tool7 x; tool8 x; and 6 more";
    assert!(refused.ends_with(allowed), "{refused}");
    // Of a program that is there, no other is meant.
    let allowed = allowed.replace("npm test; ", "sleep; ");
    for command in ["/bin/sleep 1", "sleep 7"] {
        let refused = agent.run("API_KEY", command).await.refusal();
        assert!(refused.ends_with(&allowed), "{refused}");
        assert!(!refused.contains("Did you mean"), "{refused}");
    }
    let refused = agent.run("API_KEY", "cat x").await.refusal();
    assert!(!refused.contains("Did you mean"), "{refused}");
    // Be it that no rule allows it, or that the one that does names what is not there.
    for (command, meant) in [("sqe 1", "seq"), ("slep 1", "sleep")] {
        let missing = agent.run("API_KEY", command).await.refusal();
        let meant = format!("\nDid you mean {meant}");
        assert!(missing.contains(&meant), "{missing}");
    }
    let missing = agent.run("API_KEY", "./missing.sh").await.refusal();
    let next = "\nPrograms are looked up in the system's directories and in trusted_dirs of the policy file; one in the project is written \
        with its path, such as ./deploy.sh.";
    assert_eq!(missing, format!("command not found: ./missing.sh{next}"));
    let other = agent.run("API_KYE", "seq 3").await.refusal();
    assert!(other.contains("\nDid you mean API_KEY?\n"), "{other}");
    for keys in [vec![], vec!["API_KEY"; 101]] {
        let run = json!({ "keys": keys, "command": "seq 3" });
        let refusal = agent.call("secret_run", run).await.refusal();
        assert_eq!(refusal, "keys: give 1 to 100 names or patterns of secrets");
    }
    let most = json!({ "keys": vec!["API_KEY"; 100], "command": "seq 1", "env_prefix": "" });
    assert_eq!(agent.call("secret_run", most).await.output().1, "1\n");
    let cut = agent.run("API_KEY", "seq 1000").await.value();
    let hint = cut["hint"].as_str().expect("a hint");
    // 3893 bytes are written, and 1024 are kept.
    assert!(hint.starts_with("2869 bytes were left out"), "{hint}");
    assert_eq!(cut["truncated"], true);
    agent.stop().await;
}
