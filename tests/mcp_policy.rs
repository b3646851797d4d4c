//! What an agent is refused, and what it is told: commands, keys, and policy files that cannot be used.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use serde_json::{Value, json};
use support::agent::Agent;
use support::{SECRETCTL, Sandbox};

fn vault(policy: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "s3cr3t-value");
    sandbox.policy(policy);
    sandbox
}

#[tokio::test]
async fn what_prints_the_environment_is_refused_under_every_name() {
    let sandbox = vault("version: 1\ndefault_action: allow\n");
    let agent = Agent::without_project(&sandbox).await;
    let lines = [
        "env",
        "printenv",
        "printenv KEY",
        "/usr/bin/env",
        "/usr/bin/printenv",
        "env echo hello",
        "sh -c env",
        "sh -c 'printenv KEY'",
        "sh -c 'echo x; env'",
        "sh -c set",
        "sh -c 'export -p'",
        "bash -c 'declare -p'",
        "bash -lc env",
        "timeout 5 env",
        "nice env",
        "nohup printenv",
        "xargs env",
        "setsid env",
        "sh -c 'sh -c env'",
        "cat /proc/self/environ",
        "cat /proc/1/environ",
        "sh -c 'cat /proc/$$/environ'",
        "head -c 100 /proc/self/task/1/environ",
    ];
    for line in lines {
        let refusal = agent.run("KEY", line).await.refusal();
        let facts = [
            "command not allowed: ",
            ": it could print the environment (",
            "\nRule: built-in: ",
        ];
        assert!(
            facts.iter().all(|fact| refusal.contains(fact)),
            "{line}: {refusal}"
        );
    }
    // The same program is not refused for what it does not do.
    assert_eq!(
        agent.run("KEY", "sh -c 'echo env'").await.output(),
        (0, "env\n".to_owned(), String::new())
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_denied_command_is_refused_even_if_all_else_is_allowed() {
    let sandbox =
        vault("version: 1\ndefault_action: allow\ndenied_commands: [rm, sudo, git push]\n");
    let project = sandbox.project(&[("keep.txt", "kept"), ("bin/rm", "")]);
    fs::set_permissions(project.join("bin/rm"), fs::Permissions::from_mode(0o755))
        .expect("own file");
    let agent = Agent::start(&sandbox, &project).await;
    let rm = |program: &str| {
        format!(
            "command not allowed: {program}: it is denied (rm)\nRule: denied_commands[0]: rm\n\
             A person can allow it: remove from denied_commands:\n- \"rm\""
        )
    };
    for line in ["rm keep.txt", "rm -rf ."] {
        assert_eq!(agent.run("KEY", line).await.refusal(), rm("rm"));
    }
    assert_eq!(
        agent.run("KEY", "/bin/rm keep.txt").await.refusal(),
        rm("/bin/rm")
    );
    assert_eq!(
        agent.run("KEY", "sh -c 'rm keep.txt'").await.refusal(),
        rm("sh")
    );
    assert_eq!(agent.run("KEY", "xargs rm").await.refusal(), rm("xargs"));
    assert_eq!(agent.run("KEY", "./bin/rm").await.refusal(), rm("./bin/rm"));
    assert!(
        agent
            .run("KEY", "git push origin")
            .await
            .refusal()
            .contains("Rule: denied_commands[2]: git push\n")
    );
    assert_eq!(fs::read(project.join("keep.txt")).expect("a file"), b"kept");
    agent.stop().await;
}

#[tokio::test]
async fn what_no_rule_names_is_refused_with_the_rule_that_would_allow_it() {
    let sandbox = vault(
        "version: 1\nallowed_commands:\n  - echo hello\n  - command: seq\n    keys: ['seq/*']\n",
    );
    let agent = Agent::without_project(&sandbox).await;
    let not_allowed = "command not allowed: id\nRule: default_action: deny\n\
                       A person can allow it: add to allowed_commands:\n- \"id\"\n\
                       Commands are allowed that begin with: echo hello; seq";
    assert_eq!(agent.run("KEY", "id").await.refusal(), not_allowed);
    assert!(
        agent
            .run("KEY", "echo bye")
            .await
            .refusal()
            .starts_with("command not allowed: echo\n")
    );
    assert!(
        agent
            .run("KEY", "/bin/echo hello")
            .await
            .refusal()
            .starts_with("command not allowed: /bin/echo\n")
    );
    let of_keys = agent.run("KEY", "seq 3").await.refusal();
    assert!(
        of_keys.starts_with("command not allowed: seq with key 'KEY'\n"),
        "{of_keys}"
    );
    assert_eq!(
        agent.run("KEY", "echo hello $KEY").await.output().1,
        "hello [REDACTED:KEY]\n"
    );
    let missing = agent.run("NONE", "echo hello").await.refusal();
    assert_eq!(
        missing,
        "secret not found: NONE\nsecret_list shows what there is; names are case-sensitive."
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_question_is_a_refusal_where_nobody_can_be_asked() {
    let sandbox = vault(
        "version: 1\ndefault_action: ask\nallowed_commands:\n- seq\n- { command: echo, approval: ask }\n",
    );
    let agent = Agent::connect(sandbox.secretctl(["mcp-server", "--approval-wait", "0s"])).await;
    for (line, rule, change) in [
        (
            "id",
            "default_action: ask",
            "add a rule for it to allowed_commands",
        ),
        (
            "echo hello",
            "allowed_commands[1]: echo",
            "remove from allowed_commands[1]:\napproval: ask",
        ),
    ] {
        let expected = format!(
            "this needs a person's approval, and nobody can be asked here\nRule: {rule}\nA person can run the command with \
             secretctl run.\nWithout being asked, a person can allow it in the policy file: {change}"
        );
        assert_eq!(agent.run("KEY", line).await.refusal(), expected);
    }
    assert_eq!(agent.run("KEY", "seq 1").await.output().1, "1\n");
    agent.stop().await;
    let list = sandbox.secretctl(["audit", "list", "--denied", "--json"]);
    let records = list.answer().succeeded().json();
    let said: Vec<_> = (records.as_array().expect("a list").iter())
        .map(|record| record["remedy"].clone())
        .collect();
    assert!(
        said.contains(&json!("remove from allowed_commands[1]:\napproval: ask")),
        "{said:?}"
    );
    assert_eq!(said.len(), 2);
}

/// For agents that call themselves as the client of these tests does, and for one more.
const POLICIES: &str = "version: 1
default_action: allow
policies:
  - name: claude
    agent_id: 'claude-*'
    allowed_keys: ['api/*']
    denied_keys: ['api/prod']
    capabilities: [env_inject, reference_only, masked_return]
  - name: reader
    agent_id: reader
    allowed_keys: ['**']
    capabilities: [reference_only]
";

#[tokio::test]
async fn a_hidden_key_is_answered_as_one_that_does_not_exist() {
    let sandbox = vault(POLICIES);
    sandbox.set("api/key", "s3cr3t-value");
    sandbox.set("api/prod", "s3cr3t-value");
    let agent = Agent::without_project(&sandbox).await;
    let seen = json!({ "keys": ["api/key"] });
    assert_eq!(agent.call("secret_list", json!({})).await.value(), seen);
    let matches = json!(["api/key"]);
    assert_eq!(
        agent
            .call("secret_exists", json!({ "key": "**" }))
            .await
            .value()["matches"],
        matches
    );

    // Each time: one that exists, and one that does not.
    for (hidden, missing) in [("KEY", "YEK"), ("api/prod", "api/none")] {
        let mut answers = Vec::new();
        for key in [hidden, missing] {
            let exists = agent
                .call("secret_exists", json!({ "key": key }))
                .await
                .value();
            let masked = agent
                .call("secret_get_masked", json!({ "key": key }))
                .await
                .refusal();
            let run = agent.run(key, "echo hello").await.refusal();
            assert!(
                masked.starts_with("secret not found: ") && run.starts_with("secret not found: "),
                "{masked} {run}"
            );
            answers.push((
                exists,
                masked.replace(key, "K"),
                if hidden == "KEY" {
                    run.replace(key, "K")
                } else {
                    String::new()
                },
            ));
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0].0, json!({ "exists": false, "matches": [] }));
    }
    let all = json!({ "keys": ["**"], "command": "sh", "args": ["-c", "echo $API_KEY ${KEY-unset} ${API_PROD-unset}"] });
    let output = agent.call("secret_run", all).await.output();
    assert_eq!(
        output,
        (
            0,
            "[REDACTED:api/key] unset unset\n".to_owned(),
            String::new()
        )
    );
    agent.stop().await;
}

#[tokio::test]
async fn every_look_at_a_secret_is_recorded_and_so_is_a_refused_one() {
    let sandbox = vault(
        "version: 1\npolicies:\n  - {name: all, agent_id: '*', allowed_keys: ['**'], capabilities: [reference_only]}\n",
    );
    let agent = Agent::without_project(&sandbox).await;
    agent.call("secret_list", json!({})).await.value();
    let key = || json!({ "key": "KEY" });
    agent.call("secret_exists", key()).await.value();
    agent.call("secret_list_fields", key()).await.value();
    agent.call("security_score", json!({})).await.value();
    for (tool, arguments) in [
        ("secret_get_masked", key()),
        (
            "secret_get_field",
            json!({ "key": "KEY", "field": "value" }),
        ),
    ] {
        let refusal = agent.call(tool, arguments).await.refusal();
        assert!(refusal.contains("masked_return"), "{refusal}");
    }
    agent.stop().await;

    let records = sandbox.secretctl(["audit", "export"]).answer().json();
    let seen: Vec<_> = (records.as_array().expect("a list").iter())
        .filter(|record| record["source"] == "mcp")
        .map(|record| {
            (
                record["action"].clone(),
                record["result"].clone(),
                record["keys"].clone(),
            )
        })
        .collect();
    let look = |action: &str, result: &str, keys| (json!(action), json!(result), keys);
    assert_eq!(
        seen,
        [
            look("vault.unlock", "success", json!([])),
            look("secret.list", "success", json!([])),
            look("secret.exists", "success", json!(["KEY"])),
            look("secret.list_fields", "success", json!(["KEY"])),
            look("security.score", "success", json!([])),
            look("secret.get_masked", "denied", json!(["KEY"])),
            look("secret.get_field", "denied", json!(["KEY"])),
        ]
    );
}

#[tokio::test]
async fn nobody_escapes_the_log_by_asking_at_length() {
    let sandbox = vault("version: 1\n");
    let agent = Agent::without_project(&sandbox).await;
    let long = "x".repeat(2_000_000);
    for (name, value) in [
        ("command", &*format!("rm {long}")),
        ("cwd", &long),
        ("env", &long),
    ] {
        let mut run = json!({ "keys": ["KEY"], "command": "true" });
        run[name] = json!(value);
        agent.call("secret_run", run).await.refusal();
    }
    agent.stop().await;
    let records = sandbox.secretctl(["audit", "export"]).answer().json();
    let runs = records.as_array().expect("a list").iter();
    let runs = runs.filter(|record| record["action"] == "secret.run");
    let commands: Vec<_> = runs
        .map(|record| record["command"].as_str().expect("text")[..4].to_owned())
        .collect();
    assert_eq!(commands, ["rm x", "true", "true"]);
}

#[tokio::test]
async fn an_agent_has_the_name_that_its_server_was_given() {
    let sandbox = vault(POLICIES);
    let named = async |name: &str| {
        let server = sandbox.secretctl(["mcp-server", "--agent-id", name]);
        Agent::connect(server).await
    };
    let reader = named("reader").await;
    assert_eq!(
        reader.call("secret_list", json!({})).await.value(),
        json!({ "keys": ["KEY"] })
    );
    for refusal in [
        reader
            .call("secret_get_masked", json!({ "key": "KEY" }))
            .await
            .refusal(),
        reader.run("KEY", "echo hello").await.refusal(),
    ] {
        assert!(refusal.starts_with("agent 'reader' may not "), "{refusal}");
    }
    reader.stop().await;
    let stranger = named("somebody else").await;
    assert_eq!(
        stranger.call("secret_list", json!({})).await.value(),
        json!({ "keys": [] })
    );
    let refusal = stranger.run("KEY", "echo hello").await.refusal();
    assert!(refusal.starts_with("secret not found: "), "{refusal}");
    stranger.stop().await;
}

/// What can be wrong with a policy file, how it comes about, and words that say so.
type Fault = (&'static str, fn(&Sandbox), &'static str);

fn faults() -> Vec<Fault> {
    const GOOD: &str = "version: 1\nallowed_commands: [echo]\n";
    vec![
        (
            "missing",
            |sandbox| fs::remove_file(sandbox.policy_file()).expect("there"),
            "does not exist",
        ),
        (
            "open to others",
            |sandbox| mode(sandbox, 0o644),
            "has mode 0644, not 0600",
        ),
        (
            "not writable",
            |sandbox| mode(sandbox, 0o400),
            "has mode 0400, not 0600",
        ),
        (
            "a link",
            |sandbox| {
                let target = sandbox.vault().join("elsewhere.yaml");
                fs::rename(sandbox.policy_file(), &target).expect("renamed");
                symlink(target, sandbox.policy_file()).expect("made");
            },
            "is a symbolic link",
        ),
        (
            "a directory",
            |sandbox| {
                fs::remove_file(sandbox.policy_file()).expect("there");
                fs::create_dir(sandbox.policy_file()).expect("made");
            },
            "is not a regular file",
        ),
        (
            "of another version",
            |sandbox| sandbox.policy("version: 2\n"),
            "line 1, column 1",
        ),
        (
            "misspelt",
            |sandbox| sandbox.policy(&format!("{GOOD}denied_comands: [rm]\n")),
            "is not understood at line 3, column 1\n",
        ),
        (
            "of a wrong type",
            |sandbox| sandbox.policy("version: 1\nallowed_commands: echo\n"),
            "is not understood at line 2, column 19\n",
        ),
        (
            "of a wrong word",
            |sandbox| sandbox.policy(&format!("{GOOD}default_action: yes please\n")),
            "is not understood at line 3, column 17\n",
        ),
        (
            "invalid",
            |sandbox| sandbox.policy(&format!("{GOOD}denied_commands: ['']\n")),
            "has an invalid entry\n",
        ),
        (
            "no YAML",
            |sandbox| sandbox.policy("version: 1\nallowed_commands: [echo\n"),
            "line ",
        ),
        (
            "a list",
            |sandbox| sandbox.policy("- version: 1\n"),
            "line 1",
        ),
    ]
}

fn mode(sandbox: &Sandbox, mode: u32) {
    fs::set_permissions(sandbox.policy_file(), fs::Permissions::from_mode(mode)).expect("own file");
}

#[tokio::test]
async fn a_faulty_policy_file_stops_everything_until_it_is_mended() {
    let sandbox = vault("version: 1\nallowed_commands: [echo]\n");
    let agent = Agent::without_project(&sandbox).await;
    let file = sandbox.policy_file().display().to_string();
    for (name, break_it, fact) in faults() {
        break_it(&sandbox);
        let reply = agent.run("KEY", "echo hello").await;
        assert!(reply.is_error, "{name}: {}", reply.text);
        let refusal = reply.refusal();
        let begin = format!("no command can be run, since the policy file {file} ");
        let end = "\nOnly a person can write the policy file, which must have mode 0600: secretctl policy check says what is wrong with it.";
        assert!(
            refusal.starts_with(&begin) && refusal.contains(fact) && refusal.ends_with(end),
            "{name}: {refusal}"
        );

        // Which keys it hides is not known, so that none is shown; without a file there is none that is hidden.
        let looks = [
            ("secret_list", json!({})),
            ("secret_exists", json!({ "key": "KEY" })),
            ("secret_get_masked", json!({ "key": "KEY" })),
        ];
        for (tool, arguments) in looks {
            let reply = agent.call(tool, arguments).await;
            assert_eq!(reply.is_error, name != "missing", "{name}: {}", reply.text);
            if reply.is_error {
                let other = refusal.replace("no command can be run", "no secret is shown");
                assert_eq!(reply.refusal(), other, "{name}");
            }
        }

        let _ = fs::remove_dir(sandbox.policy_file());
        sandbox.policy("version: 1\nallowed_commands: [echo]\n");
        assert_eq!(
            agent.run("KEY", "echo hello").await.output(),
            (0, "hello\n".to_owned(), String::new()),
            "{name}"
        );
    }
    // A rule that is taken away is gone at the next call.
    sandbox.policy("version: 1\nallowed_commands: [seq]\n");
    assert!(
        agent
            .run("KEY", "echo hello")
            .await
            .refusal()
            .starts_with("command not allowed: echo\n")
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_policy_file_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        support::skipped("only root can give a file to another user");
        return;
    }
    let sandbox = vault("version: 1\nallowed_commands: [echo]\n");
    let agent = Agent::without_project(&sandbox).await;
    chown(sandbox.policy_file(), Some(65534), None).expect("root may do that");
    let refusal = agent.run("KEY", "echo hello").await.refusal();
    assert!(
        refusal.contains("belongs to user 65534, not to user 0"),
        "{refusal}"
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_program_that_others_can_replace_is_refused() {
    let sandbox = vault("version: 1\ndefault_action: allow\n");
    let project = sandbox.project(&[("deploy.sh", "#!/bin/sh\necho deployed\n")]);
    let agent = Agent::start(&sandbox, &project).await;
    assert_eq!(
        agent.run("KEY", "./deploy.sh").await.output(),
        (0, "deployed\n".to_owned(), String::new())
    );
    fs::set_permissions(project.join("deploy.sh"), fs::Permissions::from_mode(0o757))
        .expect("own file");
    let refusal = agent.run("KEY", "./deploy.sh").await.refusal();
    assert!(
        refusal.contains("deploy.sh can be written by others"),
        "{refusal}"
    );
    let outside: Value = json!({ "keys": ["KEY"], "command": "./../outside.sh" });
    symlink(SECRETCTL, sandbox.home().join("outside.sh")).expect("made");
    let refusal = agent.call("secret_run", outside).await.refusal();
    assert!(refusal.starts_with("command not found: "), "{refusal}");
    agent.stop().await;
}
