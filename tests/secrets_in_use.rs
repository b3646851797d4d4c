//! Secrets in folders and with several fields, as they are listed, renamed, exported, and used by commands.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use serde_json::json;
use support::Sandbox;
use support::agent::Agent;
use support::fields::{run, whole, with_database};

#[test]
fn a_list_keeps_to_folders() {
    let sandbox = Sandbox::new();
    for key in ["aws/a/key", "aws/b", "aws", "awsome", "db/z"] {
        sandbox.set(key, "a long value");
    }
    run(&sandbox, &["set", "aws/b", "--tags", "old"], "").succeeded();
    let list = |args: &[&str], expected: &str| {
        run(&sandbox, &[&["list"], args].concat(), "").is(0, expected, "");
    };
    list(&["--prefix", "aws"], "aws\naws/a/key\naws/b\n");
    list(&["--prefix", "aws/"], "aws\naws/a/key\naws/b\n");
    list(&["--prefix", "aws/a"], "aws/a/key\n");
    list(&["--prefix", "aws", "--tag", "old"], "aws/b\n");
    list(
        &["--tree"],
        "aws\n├── a/\n│   └── key\n└── b\nawsome\ndb/\n└── z\n",
    );
    list(
        &["--tree", "--prefix", "aws/a"],
        "aws/\n└── a/\n    └── key\n",
    );
    list(&["--tree", "--tag", "old"], "aws/\n└── b\n");
    let json = run(&sandbox, &["list", "--prefix", "db", "--json"], "").json();
    assert_eq!(
        (json.as_array().map(Vec::len), &json[0]["key"]),
        (Some(1), &json!("db/z"))
    );
    run(&sandbox, &["list", "--prefix", "aw"], "").is(0, "", "No secrets found.\n");
}

#[test]
fn a_renamed_secret_is_the_same_under_its_new_name() {
    let sandbox = with_database();
    sandbox.set("OTHER", "a long value");
    let created = |key: &str| {
        let json = run(&sandbox, &["get", key, "--json"], "").json();
        json["created_at"].clone()
    };
    let (before, since) = (whole(&sandbox, "db/prod"), created("db/prod"));
    let rename = |old: &str, new: &str| run(&sandbox, &["rename", old, new], "");
    rename("db/prod", "OTHER").is(1, "", "error: there is a secret OTHER already\n");
    let missing = "error: secret not found: db/prdo\n  did you mean db/prod?\n";
    rename("db/prdo", "x").is(4, "", missing);
    rename("db/prod", "db/main").is(0, "", "Renamed db/prod to db/main.\n");
    let mut after = whole(&sandbox, "db/main");
    after["key"] = json!("db/prod");
    assert_eq!((after, created("db/main")), (before, since));
    run(&sandbox, &["list"], "").is(0, "OTHER\ndb/main\n", "");
    let log = run(&sandbox, &["audit", "export"], "").json();
    let records = log.as_array().expect("records").iter();
    let renamed: Vec<_> = records
        .filter(|record| record["action"] == "secret.rename")
        .collect();
    assert_eq!(renamed.len(), 1);
    assert_eq!(renamed[0]["keys"], json!(["db/prod", "db/main"]));
    run(&sandbox, &["audit", "verify"], "").succeeded();
}

#[test]
fn a_run_gets_what_is_bound_and_hides_all_that_is_sensitive() {
    let sandbox = with_database();
    let run_with = |flags: &[&str], script: &str| {
        let args = [&["run"], flags, &["--", "sh", "-c", script]].concat();
        run(&sandbox, &args, "")
    };
    let script = "echo $PGHOST $PGPORT $PGPASSWORD; env | grep -ci admin; echo admin-Secret-7";
    let hidden = "db.example 5432 [REDACTED:db/prod]\n0\n[REDACTED:db/prod]\n";
    run_with(&["-k", "db/prod"], script).is(0, hidden, "");
    run_with(
        &["-k", "db/prod", "--env-prefix", "X_"],
        "echo $X_PGHOST$PGHOST",
    )
    .is(0, "db.example\n", "");

    run(
        &sandbox,
        &[
            "set", "two", "--field", "a=1", "--field", "b=2", "--plain", "a,b",
        ],
        "",
    )
    .succeeded();
    let unbound = "error: secret two has the fields a, b, and none is bound to a variable\n  secretctl set two --binding VARIABLE=a binds one\n";
    run_with(&["-k", "two"], "echo never").is(125, "", unbound);
    run(&sandbox, &["set", "two", "--binding", "PGHOST=a"], "").succeeded();
    let both = "error: secrets db/prod and two would both become the variable PGHOST\n  use --env-prefix, or fewer keys\n";
    run_with(&["-k", "db/prod", "-k", "two"], "echo never").is(125, "", both);
    // One field needs no binding, whatever its name.
    run(
        &sandbox,
        &["set", "one", "--field", "token"],
        "token-Value-123",
    )
    .succeeded();
    run_with(&["-k", "one"], "test -n \"$ONE\" && echo $ONE").is(0, "[REDACTED:one]\n", "");
}

#[test]
fn an_export_uses_bindings_or_names_the_fields() {
    let sandbox = with_database();
    run(
        &sandbox,
        &[
            "set", "api/x", "--field", "id=it's", "--field", "key=k", "--plain", "id,key",
        ],
        "",
    )
    .succeeded();
    let env = "API_X_ID='it'\\''s'\nAPI_X_KEY='k'\nPGHOST='db.example'\nPGPASSWORD='s3cret-Pass-word'\nPGPORT='5432'\n";
    run(&sandbox, &["export"], "").is(0, env, "");
    let json = run(&sandbox, &["export", "-f", "json", "-k", "api/*"], "").json();
    assert_eq!(json, json!({ "api/x": { "id": "it's", "key": "k" } }));
    run(
        &sandbox,
        &[
            "set",
            "other",
            "--field",
            "v=1",
            "--field",
            "w=1",
            "--plain",
            "v,w",
            "--binding",
            "PGHOST=v",
        ],
        "",
    )
    .succeeded();
    run(&sandbox, &["export"], "").is(1, "", "error: db/prod and other would both become PGHOST\n");
}

#[tokio::test]
async fn an_agents_command_gets_what_is_bound() {
    let sandbox = with_database();
    sandbox.policy("version: 1\nallowed_commands: [echo, printf]\n");
    run(
        &sandbox,
        &[
            "set", "two", "--field", "a=1", "--field", "b=2", "--plain", "a,b",
        ],
        "",
    )
    .succeeded();
    let agent = Agent::without_project(&sandbox).await;
    let command = "echo $PGHOST $PGPORT $PGPASSWORD admin-Secret-7";
    let (code, stdout, _) = agent.run("db/prod", command).await.output();
    let hidden = "db.example 5432 [REDACTED:db/prod] [REDACTED:db/prod]\n";
    assert_eq!((code, &*stdout), (0, hidden));
    let refused = agent.run("two", "echo $A").await.refusal();
    let text = "secret two has the fields a, b, and none is bound to a variable\nA person can bind its fields: secretctl set KEY --binding VARIABLE=FIELD.";
    assert_eq!(refused, text);
    run(
        &sandbox,
        &[
            "set",
            "pin",
            "--field",
            "a=host",
            "--field",
            "pin=12",
            "--plain",
            "a",
            "--binding",
            "A=a",
        ],
        "",
    )
    .succeeded();
    let short = agent.run("pin", "echo $A").await.refusal();
    assert!(short.contains("too short to be hidden"), "{short}");
    agent.stop().await;
}
