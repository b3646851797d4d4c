//! Custom sanitizers, built from their sources and used by a real MCP client through the real server.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use build_modules::{EXAMPLES, HOSTILE};
use serde_json::json;
use support::Sandbox;
use support::agent::{Agent, Reply};
use support::modules::{built, entry, last_records, place, vault};

const REMEDY: &str = "\nA person can put back the file that the policy file names, put there the sha256 of a file that is to be \
                      trusted from now on, or take the entry out.";

fn use_sanitizers(sandbox: &Sandbox, entries: &str) {
    sandbox.policy(&format!(
        "version: 1\ndefault_action: allow\nsanitizers:\n{entries}"
    ));
}

/// What `echo` shows of its arguments.
async fn echo(agent: &Agent, text: &str) -> Reply {
    let run = json!({ "keys": ["KEY"], "command": "echo", "args": [text] });
    agent.call("secret_run", run).await
}

#[tokio::test]
async fn personal_data_and_tokens_are_hidden_behind_the_secrets() {
    let mut modules = Vec::new();
    for module in &EXAMPLES {
        let Some(built) = built(module) else { return };
        modules.push((format!("{}.wasm", module.name), built));
    }
    let sandbox = vault();
    sandbox.set("login", "eve@secret.example");
    let entries: Vec<String> = (modules.iter())
        .map(|(name, module)| entry(&sandbox, name, module, "null"))
        .collect();
    use_sanitizers(&sandbox, &entries.concat());
    let agent = Agent::without_project(&sandbox).await;
    let text =
        "$KEY bob@example.com $LOGIN 4111 1111 1111 1111 //app:pa55@db?token=x password=$KEY";
    let run = json!({ "keys": ["KEY", "login"], "command": "echo", "args": [text] });
    let answer = agent.call("secret_run", run).await.value();
    let records = last_records(&sandbox, 2);
    assert_eq!(
        answer["stdout"],
        "[REDACTED:KEY] [REDACTED:email] [REDACTED:login] [REDACTED:card-number] \
         //app:[REDACTED:url-password]@db?token=[REDACTED:query-value] password=[REDACTED:KEY]\n"
    );
    let shape = |key: &str| json!({ "key": key, "form": "shape", "count": 1 });
    let redactions = json!([
        { "key": "KEY", "form": "raw", "count": 2 },
        shape("card-number"),
        shape("email"),
        { "key": "login", "form": "raw", "count": 1 },
        shape("query-value"),
        shape("url-password"),
    ]);
    assert_eq!(answer["redactions"], redactions);
    let run = "sh -c 'echo eve@example.com; echo bob@example.org >&2'";
    let hidden = "[REDACTED:email]\n".to_owned();
    assert_eq!(
        agent.run("KEY", run).await.output(),
        (0, hidden.clone(), hidden)
    );
    agent.stop().await;

    // Both records of the run name every module that worked.
    let policy = fs::read_to_string(sandbox.policy_file()).expect("a file");
    for record in &records {
        let named = record["modules"].as_array().expect("a list");
        assert_eq!(named.len(), 4, "{record}");
        for module in &named[2..] {
            let digest = module["sha256"].as_str().expect("a digest");
            assert!(policy.contains(digest), "{module}");
        }
        assert_eq!(named[2]["name"], "modules/hide-personal-data.wasm");
    }
    assert_eq!(records[1]["redactions"], redactions);

    // A person sees what a person runs.
    let run = ["run", "-k", "KEY", "--", "sh", "-c", "echo $KEY a@b.de"];
    let shown = sandbox.secretctl(run).answer().succeeded();
    assert_eq!(shown.text(), "[REDACTED:KEY] a@b.de\n");
}

#[tokio::test]
async fn a_module_gets_its_configuration_and_no_secret() {
    let Some(module) = built(&HOSTILE) else {
        return;
    };
    let sandbox = vault();
    let agent = Agent::without_project(&sandbox).await;
    // It hides each "s" that it sees: markers stay whole, so it changes none, and of the secret it sees nothing.
    let entry_of = |config: &str| entry(&sandbox, "x.wasm", &module, config);
    use_sanitizers(&sandbox, &entry_of("\"hide 's'\""));
    let (_, stdout, _) = echo(&agent, "$KEY is").await.output();
    assert_eq!(stdout, "[REDACTED:KEY] i[REDACTED:x]\n");
    use_sanitizers(&sandbox, &entry_of("tell secrets"));
    let (_, stdout, _) = echo(&agent, "$KEY").await.output();
    assert_eq!(stdout, "[REDACTED:0-secrets]");
    // Two entries of one file are two modules at work.
    let both = [entry_of("\"hide 's'\""), entry_of("null")].concat();
    use_sanitizers(&sandbox, &both);
    let (_, stdout, _) = echo(&agent, "is").await.output();
    assert_eq!(stdout, "i[REDACTED:x]\n");
    agent.stop().await;
}

#[tokio::test]
async fn a_file_that_is_not_what_was_pinned_is_refused_by_name() {
    let Some(module) = built(&HOSTILE) else {
        return;
    };
    let sandbox = vault();
    let project = sandbox.project(&[("touch.sh", "#!/bin/sh\ntouch ran\n")]);
    let agent = Agent::start(&sandbox, &project).await;
    let pinned = entry(&sandbox, "x.wasm", &module, "null");
    use_sanitizers(&sandbox, &pinned);
    assert_eq!(echo(&agent, "a").await.output().1, "a\n");

    // Also when its former code is still at hand.
    let other = [&module, b"\0".as_slice()].concat();
    fs::write(place(&sandbox, "x.wasm"), &other).expect("written");
    let refusal = agent.run("KEY", "./touch.sh").await.refusal();
    let fact = format!(
        "no command can be run: the module modules/x.wasm is not the file that was pinned: its sha256 is another one{REMEDY}"
    );
    assert_eq!(refusal, fact);
    assert!(!project.join("ran").exists(), "nothing ran");
    let record = last_records(&sandbox, 1).remove(0);
    assert_eq!(record["action"], "secret.run");
    let reason = record["reason"].as_str().expect("a reason");
    assert!(fact.starts_with(reason), "{reason}");

    fs::write(place(&sandbox, "x.wasm"), &module).expect("written");
    assert_eq!(echo(&agent, "b").await.output().1, "b\n");
    for (change, fact) in [
        (0o646, "has mode 0646, with which others can write to it"),
        (0o660, "has mode 0660, with which others can write to it"),
    ] {
        let mode = fs::Permissions::from_mode(change);
        fs::set_permissions(place(&sandbox, "x.wasm"), mode).expect("an own file");
        let refusal = echo(&agent, "c").await.refusal();
        assert!(refusal.contains(fact), "{refusal}");
    }
    fs::remove_file(place(&sandbox, "x.wasm")).expect("removed");
    let refusal = echo(&agent, "d").await.refusal();
    assert!(
        refusal.contains("the module modules/x.wasm does not exist"),
        "{refusal}"
    );
    fs::write(sandbox.home().join("elsewhere.wasm"), &module).expect("written");
    symlink(
        sandbox.home().join("elsewhere.wasm"),
        place(&sandbox, "x.wasm"),
    )
    .expect("a link");
    let refusal = echo(&agent, "e").await.refusal();
    assert!(
        refusal.contains("the module modules/x.wasm is a symbolic link"),
        "{refusal}"
    );

    // A person's own commands do not need it.
    let run = ["run", "-k", "KEY", "--", "sh", "-c", "echo $KEY"];
    sandbox
        .secretctl(run)
        .answer()
        .is(0, "[REDACTED:KEY]\n", "");
    agent.stop().await;
}
