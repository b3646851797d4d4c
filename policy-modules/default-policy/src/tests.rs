//! The rules as a specification: who may do what, and which rule says so.

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
            *rule = json!({ "command": command, "keys": null, "network": "allow", "timeout_ms": null, "expand": true });
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
        command: Some(Command { program, arguments }),
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
fn a_rule_holds_for_its_keys_only() {
    let d = example();
    let denial = deny(
        &d,
        &run("claude-1", "aws s3 ls", &["aws/id", "api/key"]),
        "allowed_commands[2]: aws s3",
    );
    assert_eq!(
        denial.remedy,
        "add \"api/key\" to keys of allowed_commands[2]"
    );

    let limited = json!({ "command": "aws", "keys": ["aws/*"], "network": "none", "timeout_ms": null, "expand": true });
    let d = document(json!({ "default_action": "allow", "allowed_commands": [limited.clone()] }));
    deny(&d, &run("a", "aws", &["db/x"]), "allowed_commands[0]: aws");
    let d = document(json!({ "allowed_commands": [limited, "aws s3"] }));
    allow(
        &d,
        &run("a", "aws s3", &["db/x"]),
        "allowed_commands[1]: aws s3",
    );
    deny(
        &d,
        &run("a", "aws ec2", &["db/x"]),
        "allowed_commands[0]: aws",
    );
}

#[test]
fn the_words_of_a_rule_begin_the_command_line() {
    let d = document(
        json!({ "allowed_commands": ["npm test", "./deploy.sh", "/opt/tool", "scripts/x.sh"] }),
    );
    for line in [
        "npm test",
        "npm test -- a",
        "./deploy.sh",
        ".//./deploy.sh a",
        "/opt/tool b",
        "./scripts/x.sh",
    ] {
        assert!(
            matches!(decide(&d, &run("a", line, &[])), Decision::Allow(_)),
            "{line}"
        );
    }
    for line in [
        "npm",
        "npm run test",
        "npm testing",
        "/usr/bin/npm test",
        "./npm test",
        "deploy.sh",
        "../deploy.sh",
    ]
    .into_iter()
    .chain([
        "./x/../deploy.sh",
        "/project/deploy.sh",
        "tool",
        "/opt/../opt/tool",
        "NPM test",
        "npm  test",
    ]) {
        deny(&d, &run("a", line, &[]), "default_action: deny");
    }
    let d = document(json!({ "allowed_commands": ["*"], "denied_commands": ["rm"] }));
    allow(
        &d,
        &run("a", "anything at all", &[]),
        "allowed_commands[0]: *",
    );
    deny(&d, &run("a", "rm x", &[]), "denied_commands[0]: rm");
    deny(&d, &run("a", "env", &[]), "built-in: env");
}

#[test]
fn an_allow_must_name_what_was_asked_for() {
    let d = document(json!({ "allowed_commands": ["mawk"] }));
    let request = aliases(run("a", "awk x", &[]), &["/usr/bin/mawk"]);
    let denial = deny(&d, &request, "default_action: deny");
    assert_eq!(denial.reason, "command not allowed: awk");
    assert_eq!(denial.remedy, "add \"awk\" to allowed_commands");
}

#[test]
fn a_deny_on_any_name_denies() {
    let d = document(
        json!({ "default_action": "allow", "denied_commands": ["mawk", "/usr/bin/git", "curl -k", "x/y.sh"] }),
    );
    for request in [
        run("a", "mawk", &[]),
        run("a", "/opt/mawk x", &[]),
        aliases(
            run("a", "awk x", &[]),
            &["/etc/alternatives/awk", "/usr/bin/mawk"],
        ),
        run("a", "sh -c mawk", &[]),
        run("a", "timeout 5 xargs mawk", &[]),
    ] {
        let denial = deny(&d, &request, "denied_commands[0]: mawk");
        assert_eq!(denial.remedy, "remove \"mawk\" from denied_commands");
    }
    for request in [
        run("a", "git", &[]),
        run("a", "/usr/bin//git", &[]),
        aliases(run("a", "/opt/vcs", &[]), &["/usr/bin/git"]),
        run_words("a", &["sh", "-c", "git push"], &[]),
    ] {
        deny(&d, &request, "denied_commands[1]: /usr/bin/git");
    }
    deny(
        &d,
        &run("a", "curl -k x", &[]),
        "denied_commands[2]: curl -k",
    );
    deny(
        &d,
        &run("a", "nice curl -k x", &[]),
        "denied_commands[2]: curl -k",
    );
    deny(&d, &run("a", "./x/y.sh", &[]), "denied_commands[3]: x/y.sh");
    deny(
        &d,
        &run("a", "/project/x/y.sh", &[]),
        "denied_commands[3]: x/y.sh",
    );
    for line in ["curl x -k", "/opt/git", "y.sh", "npm mawk", "mawkish"] {
        allow(&d, &run("a", line, &[]), "default_action: allow");
    }
}

#[test]
fn what_prints_the_environment_is_blocked_in_every_disguise() {
    let d = document(json!({ "default_action": "allow", "allowed_commands": ["env", "sh", "*"] }));
    for (line, what) in [
        ("env", "env"),
        ("printenv FOO", "printenv"),
        ("set", "set"),
        ("export -p", "export"),
        ("declare -x", "declare"),
        ("/usr/bin/env", "env"),
        ("/usr/bin/../bin/env", "env"),
        ("sh -c env", "env"),
        ("busybox env", "env"),
        ("busybox sh -c env", "env"),
        ("xargs -n1 env", "env"),
        ("timeout 5 printenv", "printenv"),
        ("nice -n 5 env", "env"),
        ("nohup setsid stdbuf -o0 env", "env"),
        ("find . -exec env ;", "env"),
        ("FOO=1 env", "env"),
        ("cat /proc/self/environ", "/proc/*/environ"),
        ("cat /proc/1/task/1/environ", "/proc/*/environ"),
        ("dd if=/proc/self/environ", "/proc/*/environ"),
        ("tar -C /proc/self -c environ", "/proc/*/environ"),
    ] {
        let denial = deny(&d, &run("a", line, &[]), &format!("built-in: {what}"));
        assert_eq!(denial.remedy, "", "{line}");
    }
    for script in [
        "x; env",
        "a && printenv FOO",
        "echo $(env)",
        "echo \"`env`\"",
        "FOO=1 env",
        "{ env; }",
        "'env'",
        "! env",
    ] {
        for shell in [
            "sh -c",
            "bash -lc",
            "/bin/dash -ec",
            "timeout 9 zsh -c",
            "sudo bash -c",
        ] {
            let words: Vec<&str> = shell.split(' ').chain([script]).collect();
            let Decision::Deny(denial) = decide(&d, &run_words("a", &words, &[])) else {
                panic!("{words:?}")
            };
            assert!(
                ["built-in: env", "built-in: printenv"].contains(&denial.rule.as_str()),
                "{denial:?}"
            );
        }
    }
    deny(
        &d,
        &aliases(run("a", "mytool", &[]), &["/usr/bin/env"]),
        "built-in: env",
    );
    deny(
        &d,
        &aliases(run_words("a", &["mysh", "-c", "env"], &[]), &["/bin/bash"]),
        "built-in: env",
    );
    for line in [
        "grep env README",
        "npm run env",
        "./environ",
        "cat /proc/cpuinfo",
        "envsubst",
        "find . -name env",
    ] {
        assert!(
            matches!(decide(&d, &run("a", line, &[])), Decision::Allow(_)),
            "{line}"
        );
    }
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
            "add an entry with agent_id \"y\" to policies"
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
        "add env_inject to capabilities of policies[0]"
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
fn ask_asks_for_what_no_rule_names() {
    let d = document(
        json!({ "default_action": "ask", "allowed_commands": ["npm"], "denied_commands": ["rm"] }),
    );
    let Decision::Ask(question) = decide(&d, &run("a\u{1b}", "make all\n", &["k"])) else {
        panic!("no question")
    };
    assert_eq!(
        question.text,
        "Allow agent 'a\\u{1b}' to run `make all\\n` with the secrets k?"
    );
    assert_eq!(
        (question.grant.rule.as_str(), question.grant.keys),
        ("default_action: ask", vec!["k".to_owned()])
    );
    allow(&d, &run("a", "npm", &["k"]), "allowed_commands[0]: npm");
    deny(&d, &run("a", "rm", &["k"]), "denied_commands[0]: rm");
}

#[test]
fn a_program_that_was_not_found_does_not_run() {
    let missing = |line: &str| {
        let mut request = run("a", line, &[]);
        request.command.as_mut().unwrap().program.path = None;
        request
    };
    for action in ["allow", "ask"] {
        let d = document(json!({ "default_action": action }));
        let denial = deny(&d, &missing("npm test"), "program");
        assert_eq!(
            denial.reason,
            "program not found: npm is in none of the trusted directories"
        );
        assert_eq!(denial.remedy, "add the directory of npm to trusted_dirs");
        assert_eq!(deny(&d, &missing("./x.sh"), "program").remedy, "");
        deny(&d, &missing("set"), "built-in: set");
    }
}

#[test]
fn a_run_without_a_command_is_refused() {
    let d = document(json!({ "default_action": "allow" }));
    deny(&d, &asks("a", Purpose::Inject, &["k"]), "request");
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
