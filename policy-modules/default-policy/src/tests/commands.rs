//! Which commands run.

use serde_json::json;

use super::{aliases, allow, deny, document, example, run, run_words};
use crate::decide::decide;
use crate::types::Decision;

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
        "add to allowed_commands[2].keys:\n- \"api/key\""
    );

    let limited = json!({ "command": "aws", "keys": ["aws/*"], "network": "none" });
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
    assert_eq!(denial.remedy, "add to allowed_commands:\n- \"awk x\"");
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
        assert_eq!(denial.remedy, "remove from denied_commands:\n- \"mawk\"");
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
    for line in ["git-push", "docker -c x compose"] {
        let d = document(
            json!({ "default_action": "allow", "denied_commands": ["git push", "docker compose"] }),
        );
        assert!(
            matches!(decide(&d, &run("a", line, &[])), Decision::Deny(_)),
            "{line}"
        );
    }
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
    for (script, what) in [
        ("set", "set"),
        ("set | sort", "set"),
        ("export", "export"),
        ("cd x; export -p", "export"),
        ("declare", "declare"),
        ("declare -px", "declare"),
    ] {
        let request = run_words("a", &["bash", "-c", script], &[]);
        deny(&d, &request, &format!("built-in: {what}"));
    }
    for script in ["set -e; make", "export A=1; make", "declare -i n=1"] {
        let request = run_words("a", &["bash", "-c", script], &[]);
        allow(&d, &request, "allowed_commands[2]: *");
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
fn a_rule_may_ask() {
    let d = example();
    let Decision::Ask(question) = decide(&d, &run("claude-1", "make release", &["api/key"])) else {
        panic!("no question")
    };
    assert_eq!(question.grant.rule, "allowed_commands[3]: make release");
    assert_eq!(question.grant.timeout_ms, 120_000);
    // What is refused is not asked.
    let hidden = run("claude-1", "make release", &["other"]);
    deny(&d, &hidden, "policies[0] claude: allowed_keys");
}

#[test]
fn a_remedy_is_one_for_the_whole_request() {
    let d = document(json!({
        "denied_commands": ["rm", "/usr/bin/rm"],
        "policies": [{ "name": "p", "agent_id": "*", "allowed_keys": ["a/*"], "denied_keys": ["a/x", "a/?", "b"],
            "capabilities": [] }],
    }));
    let denial = deny(
        &d,
        &run("a", "rm x", &["a/x", "c"]),
        "denied_commands[0]: rm",
    );
    let expected = [
        "remove from denied_commands:\n- \"rm\"",
        "remove from denied_commands:\n- \"/usr/bin/rm\"",
        "remove from policies[0].denied_keys:\n- \"a/x\"",
        "remove from policies[0].denied_keys:\n- \"a/?\"",
        "add to policies[0].allowed_keys:\n- \"c\"",
        "add to policies[0].capabilities:\n- env_inject",
        "add to allowed_commands:\n- \"rm x\"",
    ];
    assert_eq!(denial.remedy, expected.join("\n"));
    // What nothing can allow has no remedy, whatever else there is.
    assert_eq!(
        deny(&d, &run("a", "env", &["c"]), "built-in: env").remedy,
        ""
    );
}

#[test]
fn an_agent_cannot_have_itself_recommended_as_everybody() {
    let d = document(json!({ "default_action": "allow", "policies": [] }));
    for agent in ["*", "claude*", ""] {
        assert_eq!(
            deny(&d, &run(agent, "npm", &["k"]), "policies").remedy,
            "",
            "{agent}"
        );
    }
    // What a pattern found is not told.
    let denial = deny(
        &d,
        &super::found_by_pattern(run("a", "npm", &["k"])),
        "policies",
    );
    assert!(
        denial.remedy.contains("allowed_keys: []"),
        "{}",
        denial.remedy
    );
}

#[test]
fn texts_are_never_longer_than_the_host_takes() {
    let long = "x".repeat(10_000);
    let keys: Vec<String> = (0..100)
        .map(|i| format!("{i}{}", "k".repeat(250)))
        .collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for action in ["allow", "deny", "ask"] {
        for policies in [json!(null), json!([])] {
            let d = document(json!({ "default_action": action, "policies": policies }));
            let (reason, remedy) = match decide(&d, &run(&long, &format!("{long} {long}"), &keys)) {
                Decision::Allow(_) => continue,
                Decision::Ask(question) => (question.text, String::new()),
                Decision::Deny(denial) => (denial.reason, denial.remedy),
            };
            assert!(reason.len() <= 4096 && remedy.len() <= 4096, "{action}");
        }
    }
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
