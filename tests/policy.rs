//! `secretctl policy`: it says what the server does, and leaves no trace.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use build_modules::POLICY_EXAMPLE;
use serde_json::json;
use support::agent::{AGENT, Agent};
use support::modules::{self, built};
use support::{Answer, Invocation, SECRETCTL, Sandbox};

const POLICY: &str = r#"version: 1
allowed_commands:
- "true"
- ./x.sh
- { command: echo limited, keys: ["other/*"] }
- nice
- no-such-program
denied_commands: [cat, /usr/bin/id]
policies:
- name: ours
  agent_id: claude-*
  allowed_keys: ["**"]
  denied_keys: ["prod"]
  capabilities: [env_inject]
"#;

fn vault(policy: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    for key in ["KEY", "prod", "path", "a/one", "a/two"] {
        sandbox.set(key, "s3cr3t-value");
    }
    sandbox.policy(policy);
    sandbox
}

/// Without a password.
fn policy(sandbox: &Sandbox, args: &[&str]) -> Answer {
    let program = Invocation::new(SECRETCTL, sandbox.home());
    program.args(["policy"]).args(args).answer()
}

fn records(sandbox: &Sandbox) -> usize {
    let export = sandbox.secretctl(["audit", "export"]).answer().succeeded();
    export.json().as_array().expect("a list").len()
}

#[tokio::test]
async fn explain_says_what_the_server_says_and_records_nothing() {
    let sandbox = vault(POLICY);
    let project = sandbox.project(&[("x.sh", "#!/bin/sh\nexit 0\n"), ("sub/data", "")]);
    let agent = Agent::start(&sandbox, &project).await;
    // The server opens the vault, and records it, while the handshake is answered already.
    assert!(!agent.run("KEY", "true").await.is_error);
    let cases = [
        ("KEY", "true", true),
        ("KEY", "true with words", true),
        ("KEY", "./x.sh", true),
        ("KEY", "sub/../x.sh", true),
        ("KEY", "/usr/bin/true", false),
        ("KEY", "ls", false),
        ("KEY", "env", false),
        ("KEY", "nice env", false),
        ("KEY", "timeout 5 env", false),
        ("KEY", "timeout 5 cat x", false),
        ("KEY", "nice -n 5 sh -c 'cat x'", false),
        ("KEY", "id", false),
        ("KEY", "echo limited", false),
        ("KEY", "no-such-program", false),
        ("KEY", "./missing.sh", false),
        ("KEY", "true | true", false),
        ("KEY", "", false),
        ("prod", "true", false),
        ("no/such/key", "true", true),
        ("path", "true", false),
    ];
    for (key, line, is_allowed) in cases {
        let before = records(&sandbox);
        let args = ["explain", "--agent", AGENT, "--keys", key, "--json"];
        let project = project.to_str().expect("text");
        let explained = policy(
            &sandbox,
            &[&args[..], &["--project", project, "--", line]].concat(),
        );
        assert_eq!(records(&sandbox), before, "{line}: something was recorded");
        assert_eq!(
            explained.code,
            i32::from(!is_allowed),
            "{line}: {explained}"
        );
        let explained = explained.json();
        assert_eq!(explained["decision"] == "allow", is_allowed);

        let reply = agent.run(key, line).await;
        if key == "no/such/key" {
            // Whether a key exists is not known without the password.
            assert!(reply.refusal().starts_with("secret not found: no/such/key"));
            continue;
        }
        assert_eq!(!reply.is_error, is_allowed, "{line}: {}", reply.text);
        if key == "prod" {
            // What hides a key is for people.
            assert!(
                explained["rule"]
                    .as_str()
                    .expect("a rule")
                    .contains("denied_keys[0]")
            );
            assert!(reply.refusal().starts_with("secret not found: prod\n"));
        } else if !is_allowed {
            let refusal = reply.refusal();
            for said in ["reason", "rule", "remedy"] {
                let said = explained[said].as_str().unwrap_or_default();
                assert!(refusal.contains(said), "{line}: {said}: {refusal}");
            }
            assert!(refusal.starts_with(explained["reason"].as_str().expect("a reason")));
        }
    }
    agent.stop().await;
}

#[test]
fn the_facts_are_told() {
    let sandbox = vault(POLICY);
    let project = sandbox.project(&[("x.sh", "#!/bin/sh\n"), ("sub/data", "")]);
    let project = project.to_str().expect("text");
    let explain = |args: &[&str]| {
        let all = [
            &["explain", "--agent", AGENT, "--project", project, "--json"],
            args,
        ]
        .concat();
        policy(&sandbox, &all).json()
    };
    let found = explain(&["--keys", "KEY,a/one", "--cwd", "sub", "--", "../x.sh"]);
    let facts = &found["facts"];
    assert_eq!(facts["command"]["program"], "./x.sh");
    let script = fs::canonicalize(project).expect("it exists").join("x.sh");
    assert_eq!(facts["command"]["path"], json!(script));
    assert_eq!(facts["directory"], "sub");
    assert_eq!(facts["keys"], json!(["KEY", "a/one"]));
    assert_eq!(
        (&found["rule"], &found["line"]),
        (&json!("allowed_commands[1]: ./x.sh"), &json!(4))
    );
    assert_eq!(found["limits"]["timeout_ms"], 300_000);
    let denied = explain(&["--keys", "prod", "--", "true"]);
    assert_eq!(denied["line"], 13);

    // Arguments are words of their own, however they look.
    let words = explain(&["--keys", "KEY", "--", "true", "a | b"]);
    assert_eq!(words["facts"]["command"]["arguments"], json!(["a | b"]));
    assert_eq!(words["decision"], "allow");
}

#[test]
fn a_pattern_takes_the_password() {
    let sandbox = vault(POLICY);
    let args = [
        "explain", "--agent", AGENT, "--keys", "a/*", "--json", "--", "true",
    ];
    assert_eq!(policy(&sandbox, &args).code, 3);
    let open = |keys: &'static str| {
        let args = [
            "policy", "explain", "--agent", AGENT, "--keys", keys, "--json", "--", "true",
        ];
        sandbox.secretctl(args).answer()
    };
    let found = open("a/*").succeeded().json();
    assert_eq!(found["limits"]["keys"], json!(["a/one", "a/two"]));
    assert_eq!(open("b/*").json()["reason"], "secret not found: b/*");
    // What a pattern finds is not more than the agent may know.
    assert_eq!(open("pro*").json()["reason"], "secret not found: pro*");
}

#[test]
fn with_the_password_at_hand_the_vault_is_looked_into() {
    let sandbox = vault("allowed_commands: [\"true\"]\n");
    sandbox.set("short", "abc");
    sandbox.set("one", "12345678");
    let explain = |keys: &str| {
        let args = ["explain", "--agent", AGENT, "--keys", keys, "--", "true"];
        let closed = policy(&sandbox, &args).succeeded();
        assert!(
            closed.text().contains("not checked  that the keys exist"),
            "{closed}"
        );
        sandbox.secretctl(["policy"]).args(args).answer()
    };
    let good = explain("KEY,one").succeeded();
    assert!(good.text().starts_with("allowed\n") && !good.text().contains("not checked"));
    let short = explain("KEY,short");
    let fact = "denied: the value of secret short is too short to be hidden in output";
    assert!(short.code == 1 && short.text().starts_with(fact), "{short}");
    let missing = explain("KEY,missing");
    assert!(
        missing.code == 1
            && missing
                .text()
                .starts_with("denied: secret not found: missing\n")
    );
    let locked = sandbox.secretctl(["policy", "explain", "--agent", AGENT, "--keys", "KEY"]);
    let locked = locked
        .env("SECRETCTL_PASSWORD", "another one")
        .args(["--", "true"]);
    assert_eq!(locked.answer().code, 3);
}

#[test]
fn a_layer_that_is_required_and_missing_is_told() {
    let sandbox = vault("allowed_commands: [\"true\"]\nrunner: { require: [landlock] }\n");
    let explain = [
        "policy", "explain", "--agent", AGENT, "--keys", "KEY", "--", "true",
    ];
    let explain = || Invocation::new(SECRETCTL, sandbox.home()).args(explain);
    explain().answer().succeeded();
    let lacking = explain()
        .env("SECRETCTL_RUNNER_WITHOUT", "landlock")
        .answer();
    let fact = "the required layer 'landlock' does not hold here";
    assert!(
        lacking.code == 1 && lacking.text().contains(fact),
        "{lacking}"
    );
}

#[test]
fn what_cannot_be_used_on_this_machine_is_found_as_well() {
    let sandbox = vault("");
    let digest = "0".repeat(64);
    sandbox.policy(&format!(
        "paths: {{ read: [~/.secretctl] }}\nsanitizers:\n- path: modules/x.wasm\n  sha256: '{digest}'\n\
         - path: modules/y.wasm\n  sha256: '{digest}'\n"
    ));
    fs::create_dir(sandbox.vault().join("modules")).expect("writable");
    let module = sandbox.vault().join("modules/y.wasm");
    fs::write(&module, "no module").expect("writable");
    fs::set_permissions(&module, Permissions::from_mode(0o600)).expect("own file");
    let facts = [
        "  line 1, column 17: paths.read[0]: ",
        " is of the vault, or holds its password\n",
        "  line 3, column 3: ",
        "sanitizers[0]: the module modules/x.wasm does not exist\n",
        "  line 5, column 3: ",
        "sanitizers[1]: the module modules/y.wasm is not the file that was pinned",
    ];
    let answer = policy(&sandbox, &["check"]);
    assert_eq!(answer.code, 1, "{answer}");
    for fact in facts {
        assert!(answer.stderr.contains(fact), "{fact}: {answer}");
    }
    // Elsewhere, only what a file says is checked.
    let draft = sandbox.home().join("draft.yaml");
    fs::copy(sandbox.policy_file(), &draft).expect("copied");
    fs::set_permissions(&draft, Permissions::from_mode(0o644)).expect("own file");
    let answer = policy(&sandbox, &["check", "draft.yaml"]);
    let valid =
        "draft.yaml is valid: 0 command rules, no policies, so every agent may use all keys\n";
    answer.is(0, valid, "");
}

#[test]
fn the_vaults_own_file_is_checked_like_the_server_does() {
    let sandbox = vault(POLICY);
    let file = sandbox.policy_file();
    let path = file.to_str().expect("text");
    let refused = |fact: &str| {
        for args in [
            &["check"][..],
            &["check", path],
            &["check", ".secretctl/mcp-policy.yaml"],
        ] {
            let answer = policy(&sandbox, args);
            assert_eq!((answer.code, &*answer.stdout), (1, &b""[..]), "{answer}");
            assert!(answer.stderr.contains(fact), "{args:?}: {answer}");
        }
        let answer = policy(&sandbox, &["explain", "--agent", AGENT, "--", "true"]);
        assert_eq!(answer.code, 1, "{answer}");
        assert!(answer.stderr.contains(fact), "{answer}");
    };
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("own file");
    refused("has mode 0644, not 0600");
    let elsewhere = sandbox.home().join("elsewhere.yaml");
    fs::rename(&file, &elsewhere).expect("moved");
    refused("does not exist");
    fs::set_permissions(&elsewhere, Permissions::from_mode(0o600)).expect("own file");
    symlink(&elsewhere, &file).expect("a link");
    refused("is a symbolic link");
}

#[test]
fn a_file_to_begin_with_is_private_and_replaces_nothing() {
    let sandbox = Sandbox::empty();
    let init = || {
        let script = "umask 0; exec \"$0\" policy init";
        Invocation::new("sh", sandbox.home())
            .args(["-c", script, SECRETCTL])
            .answer()
    };
    let answer = init();
    assert_eq!(answer.code, 1);
    assert!(
        answer.stderr.contains("create one with: secretctl init"),
        "{answer}"
    );

    sandbox.secretctl(["init"]).answer().succeeded();
    let file = sandbox.policy_file();
    symlink(sandbox.home().join("elsewhere"), &file).expect("a link that leads nowhere");
    assert_eq!(init().code, 1);
    assert!(!sandbox.home().join("elsewhere").exists());
    fs::remove_file(&file).expect("removed");

    init().succeeded();
    let mode = fs::metadata(&file).expect("written").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    policy(&sandbox, &["check"]).succeeded();
    fs::write(&file, "version: 1\n").expect("own file");
    assert_eq!(init().code, 1);
    assert_eq!(fs::read_to_string(&file).expect("kept"), "version: 1\n");
}

#[test]
fn a_table_is_tested_without_any_vault() {
    let sandbox = Sandbox::empty();
    let write = |name: &str, text: &str| fs::write(sandbox.home().join(name), text);
    write("policy.yaml", POLICY).expect("written");
    let project = sandbox.project(&[("x.sh", "#!/bin/sh\n")]);
    let case = "- { agent: claude-code, keys: [KEY], ";
    let test = |cases: &str| {
        write("table.yaml", cases).expect("written");
        let args = ["test", "table.yaml", "--policy", "policy.yaml", "--project"];
        policy(
            &sandbox,
            &[&args[..], &[project.to_str().expect("text")]].concat(),
        )
    };
    let good = format!(
        "{case}command: ./x.sh, expect: allow, because: './x.sh' }}\n\
         {case}command: nice env, expect: deny, because: 'built-in: env' }}\n"
    );
    test(&good).is(0, "2 requests, all decided as expected\n", "");
    let answer = test(&format!("{good}{case}command: ls, expect: allow }}\n"));
    let why = "default_action: deny: command not allowed: ls";
    let line = format!("table.yaml:3: claude-code: ls: expected allow, got deny ({why})\n");
    answer.is(
        1,
        format!("{line}3 requests, 1 not decided as expected\n"),
        "",
    );
    // A pattern would find nothing here, and a table without requests says nothing.
    let pattern = test("- { agent: a, command: x, keys: [a/*], expect: deny }\n");
    assert!(pattern.stderr.contains("line 1, column 34: "), "{pattern}");
    for nothing in ["", "[]\n", "# nothing\n"] {
        test(nothing).is(1, "", "error: the table table.yaml has no requests\n");
    }
    assert!(!sandbox.vault().exists());
}

#[test]
fn a_table_with_programs_says_the_same_on_every_machine() {
    let sandbox = Sandbox::empty();
    let test = |programs: &str, requests: &str| {
        let table = format!("{programs}requests:\n{requests}");
        fs::write(sandbox.home().join("table.yaml"), table).expect("written");
        let rules =
            "allowed_commands: [no-such-program, ls, /opt/no/such]\ndenied_commands: [dir]\n";
        fs::write(sandbox.home().join("policy.yaml"), rules).expect("written");
        policy(&sandbox, &["test", "table.yaml", "--policy", "policy.yaml"])
    };
    let case = |command: &str, expect: &str| {
        format!("- {{ agent: a, keys: [k], command: {command}, expect: {expect} }}\n")
    };
    let all = [
        case("no-such-program x", "allow"),
        case("/opt/no/such", "allow"),
        case("ls", "deny"),
    ];
    let programs = "programs: [no-such-program, /opt/no/such]\n";
    test(programs, &all.concat()).succeeded();
    // Without that list, this machine's programs count.
    let here = test("", &all.concat());
    assert!(
        here.code == 1 && here.text().contains("3 not decided as expected"),
        "{here}"
    );
    let wrong = test(programs, &case("ls", "allow"));
    assert!(
        wrong
            .text()
            .starts_with("table.yaml:3: a: ls: expected allow, got deny"),
        "{wrong}"
    );
}

#[test]
fn what_an_agent_or_a_file_is_called_cannot_act_on_a_terminal() {
    let sandbox = vault(POLICY);
    let agent = "x\u{1b}[2J\nallowed";
    let answer = policy(
        &sandbox,
        &["explain", "--agent", agent, "--", "true", "\u{1b}]0;x\n"],
    );
    assert_eq!(answer.code, 1);
    assert!(
        !answer.text().contains('\u{1b}') && !answer.text().contains("\nallowed"),
        "{answer}"
    );
    let table = "- { agent: \"\\e[2J\", command: \"a\\nb\", expect: allow, because: \"\\e\" }\n";
    fs::write(sandbox.home().join("t.yaml"), table).expect("written");
    let answer = policy(&sandbox, &["test", "t.yaml"]);
    assert!(!answer.text().contains('\u{1b}'), "{answer}");
    assert_eq!(answer.text().lines().count(), 2, "{answer}");
}

#[tokio::test]
async fn modules_take_part_as_they_do_for_the_server() {
    let Some(module) = built(&POLICY_EXAMPLE) else {
        return;
    };
    let sandbox = modules::vault();
    let agent = Agent::without_project(&sandbox).await;
    let explain = ["policy", "explain", "--agent", AGENT, "--keys", "KEY"];
    let explain = || {
        sandbox
            .secretctl(explain)
            .args(["--json", "--", "echo", "ran"])
            .answer()
    };
    let use_hours = |hours: &str| {
        let days = "days: [mon, tue, wed, thu, fri, sat, sun]";
        let config = format!("{{ {hours}, {days} }}");
        let entry = modules::entry(&sandbox, "office-hours.wasm", &module, &config);
        sandbox.policy(&format!("allowed_commands: [echo]\nmodules:\n{entry}"));
    };
    use_hours("from: '00:00', to: '24:00'");
    assert_eq!(
        explain().succeeded().json()["rule"],
        "allowed_commands[0]: echo; modules/office-hours.wasm: hours"
    );
    policy(&sandbox, &["check"]).succeeded();
    // They see tags, which are in the vault.
    assert_eq!(
        policy(&sandbox, &["explain", "--agent", AGENT, "--", "echo"]).code,
        3
    );

    use_hours("from: '00:00', to: '00:00'");
    let denied = explain();
    assert_eq!(denied.code, 1, "{denied}");
    let denied = denied.json();
    assert_eq!(
        (&denied["rule"], &denied["line"]),
        (&json!("modules/office-hours.wasm: hours"), &json!(3))
    );
    let refusal = agent.run("KEY", "echo ran").await.refusal();
    for said in ["reason", "rule", "remedy"] {
        assert!(
            refusal.contains(denied[said].as_str().expect("text")),
            "{said}: {refusal}"
        );
    }
    let case =
        "- { agent: claude-code, command: echo, keys: [KEY], expect: deny, because: hours }\n";
    fs::write(sandbox.home().join("table.yaml"), case).expect("written");
    policy(&sandbox, &["test", "table.yaml"]).succeeded();
    // Whenever the table is tested.
    use_hours("from: '09:00', to: '17:30'");
    let at = |time: &str, expect: &str| {
        format!(
            "- {{ agent: a, command: echo, keys: [KEY], at: 2026-11-22T{time}, expect: {expect} }}\n"
        )
    };
    let cases = [
        at("09:00:00+01:00", "allow"),
        at("08:59:59+01:00", "deny"),
        at("17:29:59-08:00", "allow"),
        at("17:30:00Z", "deny"),
    ];
    fs::write(sandbox.home().join("times.yaml"), cases.concat()).expect("written");
    policy(&sandbox, &["test", "times.yaml"]).succeeded();
    for bad in ["10:00", "10:00:00", "25:00:00Z"] {
        fs::write(sandbox.home().join("times.yaml"), at(bad, "allow")).expect("written");
        let answer = policy(&sandbox, &["test", "times.yaml"]);
        assert!(
            answer.code == 1 && answer.stderr.contains("a moment with its offset"),
            "{answer}"
        );
    }

    use_hours("from: '00:00', to: '00:00'");
    // A copy elsewhere finds no module there, and without it nothing is decided.
    let draft = sandbox.home().join("draft.yaml");
    fs::copy(sandbox.policy_file(), draft).expect("copied");
    let lost = policy(&sandbox, &["test", "table.yaml", "--policy", "draft.yaml"]);
    let fact = "the module modules/office-hours.wasm does not exist";
    assert!(lost.code == 1 && lost.stderr.contains(fact), "{lost}");

    use_hours("from: nine, to: '18:00'");
    let answer = policy(&sandbox, &["check"]);
    let fact =
        "line 3, column 5: modules[0]: the module modules/office-hours.wasm gave no usable answer";
    assert!(answer.code == 1 && answer.stderr.contains(fact), "{answer}");
    agent.stop().await;
}
