//! The rules as a specification: who may do what, and which rule says so.

mod commands;

use serde_json::{Value, json};

use crate::decide::decide;
use crate::document::Document;
use crate::types::{
    Command, Decision, Denial, Grant, Key, Moment, Network, Program, Purpose, Request, Workdir,
};

const EXAMPLE: &str = include_str!("../document.example.json");

fn document(rules: Value) -> Document {
    let mut whole = json!({
        "default_action": "deny", "allowed_commands": [], "denied_commands": [], "policies": null,
        "workdir": "temporary", "timeout_default_ms": 300_000, "timeout_max_ms": 300_000, "output_bytes": 1000,
    });
    for (key, value) in rules.as_object().unwrap() {
        whole[key] = value.clone();
    }
    for rule in whole["allowed_commands"].as_array_mut().unwrap() {
        if let Some(command) = rule.as_str() {
            *rule = json!({ "command": command });
        }
    }
    Document::parse(&whole.to_string()).unwrap()
}

fn example() -> Document {
    Document::parse(EXAMPLE).unwrap()
}

/// A run of the words of `line`, found in /usr/bin unless it is a path, with the keys as they were named.
fn run(agent: &str, line: &str, keys: &[&str]) -> Request {
    run_words(agent, &line.split(' ').collect::<Vec<_>>(), keys)
}

fn run_words(agent: &str, words: &[&str], keys: &[&str]) -> Request {
    let (requested, arguments) = words.split_first().unwrap();
    let path = if let Some(rest) = requested.strip_prefix("./") {
        format!("/project/{rest}")
    } else if requested.contains('/') {
        (*requested).to_owned()
    } else {
        format!("/usr/bin/{requested}")
    };
    let program = Program {
        requested: (*requested).to_owned(),
        path: Some(path),
        aliases: vec![],
    };
    let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
    Request {
        command: Some(Command {
            program,
            arguments,
            mentioned: vec![],
        }),
        ..asks(agent, Purpose::Inject, keys)
    }
}

fn asks(agent: &str, purpose: Purpose, keys: &[&str]) -> Request {
    let key = |name: &&str| Key {
        name: (*name).to_owned(),
        named: true,
        tags: vec![],
    };
    Request {
        purpose,
        agent: agent.to_owned(),
        keys: keys.iter().map(key).collect(),
        command: None,
        directory: None,
        timeout_ms: None,
        time: Moment {
            unix_seconds: 0,
            utc_offset_minutes: 0,
        },
    }
}

fn found_by_pattern(mut request: Request) -> Request {
    request.keys.iter_mut().for_each(|key| key.named = false);
    request
}

fn aliases(mut request: Request, names: &[&str]) -> Request {
    let command = request.command.as_mut().unwrap();
    command.program.aliases = names.iter().map(|name| (*name).to_owned()).collect();
    request
}

#[test]
fn without_a_command_a_run_tells_which_keys_it_could_get() {
    let rules = json!([
        { "name": "runs", "agent_id": "runs", "allowed_keys": ["api/*"], "denied_keys": ["api/prod"], "capabilities": ["env_inject"] },
        { "name": "sees", "agent_id": "sees", "allowed_keys": ["api/*"], "denied_keys": [], "capabilities": ["reference_only"] },
    ]);
    let document = document(json!({ "policies": rules }));
    let keys = ["api/a", "api/prod", "db/a"];
    let usable = |agent, rule| {
        let request = found_by_pattern(asks(agent, Purpose::Inject, &keys));
        allow(&document, &request, rule).keys
    };
    assert_eq!(usable("runs", "policies[0] runs"), ["api/a"]);
    assert_eq!(usable("sees", "policies[1] sees"), [""; 0]);
    assert_eq!(usable("other", "policies"), [""; 0]);
}

#[track_caller]
fn allow(document: &Document, request: &Request, rule: &str) -> Grant {
    match decide(document, request) {
        Decision::Allow(grant) => {
            assert_eq!(grant.rule, rule);
            grant
        }
        other => panic!("not allowed: {other:?}"),
    }
}

#[track_caller]
fn deny(document: &Document, request: &Request, rule: &str) -> Denial {
    match decide(document, request) {
        Decision::Deny(denial) => {
            assert_eq!(denial.rule, rule, "{denial:?}");
            denial
        }
        other => panic!("not denied: {other:?}"),
    }
}

#[test]
fn the_first_seed() {
    let allowed = [
        "npm",
        "node",
        "python",
        "go",
        "cargo",
        "aws",
        "gcloud",
        "kubectl",
        "curl",
        "./deploy.sh",
        "./test.sh",
    ];
    let d = document(
        json!({ "allowed_commands": allowed, "denied_commands": ["rm", "sudo", "chmod", "chown"] }),
    );
    let keys = ["API_KEY"];
    allow(&d, &run("a", "npm test", &keys), "allowed_commands[0]: npm");
    allow(
        &d,
        &run("a", "npm run test:integration", &keys),
        "allowed_commands[0]: npm",
    );
    allow(
        &d,
        &run("a", "aws s3 sync ./dist s3://my-bucket", &keys),
        "allowed_commands[5]: aws",
    );
    allow(
        &d,
        &run("a", "./deploy.sh", &keys),
        "allowed_commands[9]: ./deploy.sh",
    );
    deny(&d, &run("a", "psql", &keys), "default_action: deny");
    deny(&d, &run("a", "rm -rf x", &keys), "denied_commands[0]: rm");
    deny(
        &d,
        &run("a", "sudo npm test", &keys),
        "denied_commands[1]: sudo",
    );
    deny(&d, &run("a", "env", &keys), "built-in: env");
}

#[test]
fn the_fourth_seed() {
    let d = document(json!({
        "default_action": "allow",
        "policies": [
            {
                "name": "claude-desktop", "agent_id": "claude-desktop-*", "allowed_keys": ["api/*", "config/dev/*"],
                "denied_keys": ["*/prod/*"], "capabilities": ["env_inject", "reference_only", "masked_return"],
            },
            {
                "name": "untrusted-agent", "agent_id": "*", "allowed_keys": [], "denied_keys": [],
                "capabilities": ["reference_only"],
            },
        ],
    }));
    let claude = "claude-desktop-1";
    allow(
        &d,
        &run(claude, "npm test", &["api/key", "config/dev/x"]),
        "default_action: allow",
    );
    let denied = "policies[0] claude-desktop: denied_keys[0] */prod/*";
    deny(&d, &run(claude, "npm test", &["config/prod/x"]), denied);
    deny(
        &d,
        &run(claude, "npm test", &["team/prod/db/password"]),
        denied,
    );
    deny(
        &d,
        &run(claude, "npm test", &["api/key", "other"]),
        "policies[0] claude-desktop: allowed_keys",
    );
    deny(
        &d,
        &run("codex", "npm test", &["api/key"]),
        "policies[1] untrusted-agent: allowed_keys",
    );
    deny(
        &d,
        &run("codex", "npm test", &[]),
        "policies[1] untrusted-agent: capabilities",
    );
    deny(
        &d,
        &asks("codex", Purpose::Masked, &["api/key"]),
        "policies[1] untrusted-agent: capabilities",
    );
    let grant = allow(
        &d,
        &asks("codex", Purpose::Reference, &["api/key"]),
        "policies[1] untrusted-agent",
    );
    assert_eq!(grant.keys, Vec::<String>::new());
}

#[test]
fn a_grant_carries_the_limits_of_its_rule() {
    let d = example();
    let mut request = run("claude-1", "aws s3 ls", &["aws/id", "aws/key"]);
    let grant = allow(&d, &request, "allowed_commands[2]: aws s3");
    assert_eq!(grant.keys, ["aws/id", "aws/key"]);
    assert_eq!(
        (grant.timeout_ms, grant.output_bytes, grant.expand_arguments),
        (60_000, 65_536, false)
    );
    assert_eq!(
        (grant.network, grant.workdir),
        (Network::None, Workdir::Temporary)
    );
    request.timeout_ms = Some(5_000);
    assert_eq!(
        allow(&d, &request, "allowed_commands[2]: aws s3").timeout_ms,
        5_000
    );
    request.timeout_ms = Some(u64::MAX);
    assert_eq!(
        allow(&d, &request, "allowed_commands[2]: aws s3").timeout_ms,
        60_000
    );

    let mut request = run("claude-1", "npm test", &["api/key"]);
    let grant = allow(&d, &request, "allowed_commands[0]: npm test");
    assert_eq!(
        (grant.timeout_ms, grant.network, grant.expand_arguments),
        (120_000, Network::Allow, true)
    );
    request.timeout_ms = Some(u64::MAX);
    assert_eq!(
        allow(&d, &request, "allowed_commands[0]: npm test").timeout_ms,
        120_000
    );

    let project = allow(
        &d,
        &run("claude-1", "./deploy.sh", &["api/key"]),
        "allowed_commands[1]: ./deploy.sh",
    );
    assert_eq!(project.workdir, Workdir::Project);
}

#[test]
fn a_hidden_key_looks_the_same_whether_it_exists_or_not() {
    let d = example();
    let denial = deny(
        &d,
        &run("claude-1", "npm test", &["no/such"]),
        "policies[0] claude: allowed_keys",
    );
    assert_eq!(
        denial.reason,
        "secret not found: no key 'no/such' is available to agent 'claude-1'"
    );
    let mut existing = run("claude-1", "npm test", &["no/such"]);
    existing.keys[0].tags = vec!["prod".to_owned()];
    assert_eq!(
        format!("{:?}", decide(&d, &existing)),
        format!("{:?}", Decision::Deny(denial))
    );
}

#[test]
fn what_a_pattern_found_is_left_out_when_hidden() {
    let d = example();
    let keys = ["api/key", "db/prod/x", "db/dev/x", "other"];
    let visible = ["api/key", "db/dev/x"];
    let request = found_by_pattern(run("claude-1", "npm test", &keys));
    assert_eq!(
        allow(&d, &request, "allowed_commands[0]: npm test").keys,
        visible
    );
    for purpose in [Purpose::Reference, Purpose::Masked] {
        assert_eq!(
            allow(&d, &asks("claude-1", purpose, &keys), "policies[0] claude").keys,
            visible
        );
    }
    let hidden_only = found_by_pattern(run("claude-1", "npm test", &["other"]));
    assert_eq!(
        allow(&d, &hidden_only, "allowed_commands[0]: npm test").keys,
        Vec::<String>::new()
    );
}

#[test]
fn with_policies_an_agent_that_matches_none_gets_nothing() {
    for policies in [
        json!([]),
        json!([{ "name": "x", "agent_id": "x", "allowed_keys": ["**"], "denied_keys": [],
        "capabilities": ["env_inject", "reference_only", "masked_return"] }]),
    ] {
        let d = document(json!({ "default_action": "allow", "policies": policies }));
        let denial = deny(&d, &run("y", "npm", &["a"]), "policies");
        assert_eq!(
            denial.remedy,
            "add to policies:\n- { name: \"y\", agent_id: \"y\", allowed_keys: [\"a\"], capabilities: [env_inject] }"
        );
        deny(&d, &run("y", "npm", &[]), "policies");
        deny(&d, &found_by_pattern(run("y", "npm", &["a"])), "policies");
        for purpose in [Purpose::Reference, Purpose::Masked] {
            assert_eq!(
                allow(&d, &asks("y", purpose, &["a"]), "policies").keys,
                Vec::<String>::new()
            );
        }
    }
    let d = document(json!({}));
    for purpose in [Purpose::Reference, Purpose::Masked] {
        assert_eq!(
            allow(&d, &asks("y", purpose, &["a"]), "no policies").keys,
            ["a"]
        );
    }
}

#[test]
fn each_capability_is_needed_for_its_purpose() {
    let d = |capabilities: Value| {
        document(
            json!({ "default_action": "allow", "policies": [{ "name": "p", "agent_id": "*",
            "allowed_keys": ["**"], "denied_keys": [], "capabilities": capabilities }] }),
        )
    };
    let inject = d(json!(["env_inject"]));
    allow(&inject, &run("a", "npm", &["k"]), "default_action: allow");
    deny(
        &inject,
        &asks("a", Purpose::Masked, &["k"]),
        "policies[0] p: capabilities",
    );
    assert!(
        allow(
            &inject,
            &asks("a", Purpose::Reference, &["k"]),
            "policies[0] p"
        )
        .keys
        .is_empty()
    );

    let masked = d(json!(["masked_return"]));
    let denial = deny(
        &masked,
        &run("a", "npm", &["k"]),
        "policies[0] p: capabilities",
    );
    assert_eq!(
        denial.remedy,
        "add to policies[0].capabilities:\n- env_inject"
    );
    assert_eq!(
        allow(
            &masked,
            &asks("a", Purpose::Masked, &["k"]),
            "policies[0] p"
        )
        .keys,
        ["k"]
    );

    let reference = d(json!(["reference_only"]));
    assert_eq!(
        allow(
            &reference,
            &asks("a", Purpose::Reference, &["k"]),
            "policies[0] p"
        )
        .keys,
        ["k"]
    );
}

#[test]
fn a_document_that_is_not_understood_is_reported() {
    assert!(Document::parse(EXAMPLE).is_ok());
    for bad in [
        "",
        "null",
        "{}",
        &EXAMPLE.replacen("\"npm test\"", "1", 1),
        &EXAMPLE.replacen("workdir", "other", 1),
    ] {
        assert!(Document::parse(bad).is_err(), "{bad}");
    }
}
