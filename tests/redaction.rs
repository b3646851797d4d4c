//! What is hidden beside output: short values, the words of a command in the log, notes; and what must not be, since it
//! would confirm a guess.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::Sandbox;
use support::agent::Agent;

const SECRET: &str = "Xk7vq2Rt9pLw";
const WRONG: &str = "Jm3bz8Wc5dNs";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.policy("version: 1\nallowed_commands: [sh, echo]\n");
    sandbox.set("KEY", SECRET);
    sandbox
}

/// All records, oldest first.
fn log(sandbox: &Sandbox) -> Vec<Value> {
    let export = sandbox.secretctl(["audit", "export"]).answer().succeeded();
    export.json().as_array().expect("a list").clone()
}

fn of_action<'a>(log: &'a [Value], action: &str) -> Vec<&'a Value> {
    log.iter()
        .filter(|record| record["action"] == action)
        .collect()
}

#[test]
fn a_person_is_warned_of_a_short_value() {
    let sandbox = Sandbox::new();
    let set = |key: &str, value: &str| sandbox.secretctl(["set", key]).stdin(value).answer();
    let unusable =
        "warning: PIN has fewer than 4 bytes: agents cannot use it, since it cannot be hidden\n";
    set("PIN", "123\n").is(0, "", &format!("Stored PIN.\n{unusable}"));
    let guessable =
        "warning: PIN has fewer than 8 bytes: it can be guessed, and found in output by chance\n";
    set("PIN", "1234").is(0, "", &format!("Updated PIN.\n{guessable}"));
    set("PIN", "1234567").is(0, "", &format!("Updated PIN.\n{guessable}"));
    set("PIN", "12345678").is(0, "", "Updated PIN.\n");
    // Metadata alone says nothing of the value.
    let notes = sandbox.secretctl(["set", "PIN", "--notes", "a note"]);
    notes.answer().is(0, "", "Updated PIN.\n");
    // An empty value is refused, and no warning says more.
    set("NONE", "").is(1, "", "error: the value of field 'value' is empty\n");
}

#[test]
fn a_short_value_is_hidden_for_a_person_wherever_it_stands() {
    let sandbox = Sandbox::new();
    sandbox.set("PIN", "x7z");
    sandbox.set("FOUR", "k4ey");
    let warning = "warning: PIN has fewer than 4 bytes: they are hidden wherever they stand, which tells what they are\n";
    let run = |args: &[&str]| {
        sandbox
            .secretctl(["run", "-k", "PIN", "-k", "FOUR"])
            .args(args)
            .answer()
    };
    run(&["--", "sh", "-c", "echo $PIN ax7zb $FOUR"]).is(
        0,
        "[REDACTED:PIN] a[REDACTED:PIN]b [REDACTED:FOUR]\n",
        warning,
    );
    run(&["--", "sh", "-c", "exit 3"]).is(3, "", warning);
    // Nothing is hidden, so there is nothing to be said.
    run(&["--no-sanitize", "--", "sh", "-c", "echo $PIN"]).is(0, "x7z\n", "");
    let filter = sandbox.secretctl(["filter", "-k", "PIN", "-k", "FOUR"]);
    filter
        .stdin("ax7zb")
        .answer()
        .is(0, "a[REDACTED:PIN]b", warning);
}

#[tokio::test]
async fn a_short_value_is_refused_for_agents_and_nothing_more_is_told() {
    let sandbox = sandbox();
    let agent = Agent::without_project(&sandbox).await;
    let mut said = Vec::new();
    for value in ["1", "12", "123", "\u{e4}"] {
        sandbox.set("PIN", value);
        let masked = agent
            .call("secret_get_masked", json!({ "key": "PIN" }))
            .await;
        assert_eq!(masked.value()["masked_value"], "********");
        for command in ["echo x", "echo $PIN", "echo 123", "sh -c 'exit 1'"] {
            said.push(agent.run("PIN", command).await.refusal());
        }
        let keys = json!({ "keys": ["KEY", "P*"], "command": "echo x" });
        said.push(agent.call("secret_run", keys).await.refusal());
    }
    said.dedup();
    assert_eq!(
        said,
        [
            "the value of secret PIN is too short to be hidden in output: it has fewer than 4 bytes\n\
          A person can store a longer value, or run the command with secretctl run."
        ]
    );
    // The policy's no comes first.
    let refusal = agent.run("PIN", "rm x").await.refusal();
    assert!(refusal.starts_with("command not allowed"), "{refusal}");
    agent.stop().await;

    let log = log(&sandbox);
    assert!(of_action(&log, "secret.run.outcome").is_empty());
    for record in of_action(&log, "secret.run") {
        assert_eq!(
            (&record["result"], &record["success"]),
            (&json!("denied"), &json!(false)),
            "{record}"
        );
    }
    let denied = sandbox.secretctl(["audit", "list", "--denied"]).answer();
    assert!(denied.text().contains("fewer than 4 bytes"), "{denied}");
}

#[tokio::test]
async fn a_mask_does_not_confirm_a_guess_of_a_short_value() {
    let sandbox = Sandbox::new();
    let agent = Agent::without_project(&sandbox).await;
    for value in ["1", "hunter", "hunter2", "hunter22"] {
        sandbox.set("KEY", value);
        let shown = agent
            .call("secret_get_masked", json!({ "key": "KEY" }))
            .await;
        assert_eq!(shown.value()["masked_value"], "********", "{value}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn what_an_agent_says_comes_back_the_same_whether_it_guessed_or_not() {
    let sandbox = sandbox();
    let agent = Agent::without_project(&sandbox).await;
    let say = async |guess: &str| {
        let mut answers = Vec::new();
        for command in [
            guess.to_owned(),
            format!("/usr/bin/{guess}"),
            format!("./{guess}"),
            format!("rm {guess}"),
            format!("env {guess}"),
            format!("sh -c 'rm {guess}' | {guess}"),
            format!("sh -c \"printenv {guess}\""),
        ] {
            answers.push(agent.run("KEY", &command).await.refusal());
        }
        for more in [
            json!({ "cwd": guess }),
            json!({ "env": guess }),
            json!({ "timeout": guess }),
            json!({ "keys": [guess] }),
            json!({ "keys": ["KEY", guess] }),
        ] {
            let mut run = json!({ "keys": ["KEY"], "command": "echo x" });
            let fields = run.as_object_mut().expect("an object");
            fields.extend(more.as_object().expect("an object").clone());
            answers.push(agent.call("secret_run", run).await.refusal());
        }
        for tool in ["secret_get_masked", "secret_exists"] {
            let reply = agent.call(tool, json!({ "key": guess })).await;
            answers.push(reply.text);
        }
        answers
    };
    let (right, wrong) = (say(SECRET).await, say(WRONG).await);
    for (right, wrong) in right.iter().zip(&wrong) {
        assert!(!right.contains("REDACTED"), "{right}");
        assert_eq!(&right.replace(SECRET, WRONG), wrong);
    }
    agent.stop().await;
}

#[tokio::test]
async fn the_log_of_a_run_says_what_was_hidden_and_not_what_it_is() {
    let sandbox = sandbox();
    let agent = Agent::without_project(&sandbox).await;
    let script = "echo $KEY; echo $0; printf %s $KEY | base64; echo $KEY >&2";
    let arguments = json!(["-c", script, SECRET, "x", support::PASSWORD]);
    let run = json!({ "keys": ["KEY"], "command": "sh", "args": arguments });
    let answer = agent.call("secret_run", run).await.value();
    let redactions = json!([
        { "key": "KEY", "form": "base64", "count": 1 },
        { "key": "KEY", "form": "raw", "count": 3 },
    ]);
    assert_eq!(answer["redactions"], redactions);
    agent.stop().await;

    let all = log(&sandbox);
    let (decision, outcome) = (
        of_action(&all, "secret.run")[0],
        of_action(&all, "secret.run.outcome")[0],
    );
    assert_eq!(outcome["redactions"], redactions);
    for record in [decision, outcome] {
        let text = record.to_string();
        for word in [SECRET, support::PASSWORD] {
            assert!(!text.contains(word), "{record}");
        }
        let argv = record["argv"].as_array().expect("words");
        assert_eq!(
            argv[..4],
            [
                json!("sh"),
                json!("-c"),
                json!(script),
                json!("[REDACTED:KEY]")
            ],
            "{record}"
        );
    }
}

#[test]
fn the_log_of_a_person_says_what_was_hidden_and_not_what_it_is() {
    let sandbox = sandbox();
    let run = |args: &[&str]| sandbox.secretctl(["run", "-k", "KEY"]).args(args).answer();
    run(&["--", "echo", SECRET, SECRET]).is(0, "[REDACTED:KEY] [REDACTED:KEY]\n", "");
    run(&["--no-sanitize", "--", "echo", SECRET]).succeeded();
    // A person is told his own words.
    let program = format!("/usr/bin/{SECRET}");
    run(&["--", &program]).is(127, "", &format!("error: command not found: {program}\n"));
    let broken = sandbox.project(&[("broken.sh", "\u{1}")]).join("broken.sh");
    let named = broken.with_file_name(format!("{SECRET}.sh"));
    std::fs::rename(broken, &named).expect("renamed");
    let answer = run(&["--", named.to_str().expect("text")]);
    assert_eq!(answer.code, 126, "{answer}");
    let filter = sandbox.secretctl(["filter", "-k", "KEY"]);
    let text = format!("{SECRET} and {SECRET}");
    filter.stdin(text).answer().succeeded();

    let all = log(&sandbox);
    for record in &all {
        assert!(!record.to_string().contains(SECRET), "{record}");
    }
    let twice = json!([{ "key": "KEY", "form": "raw", "count": 2 }]);
    let outcomes = of_action(&all, "secret.run.outcome");
    assert_eq!(outcomes[0]["redactions"], twice);
    assert!(
        outcomes[2]["reason"]
            .as_str()
            .expect("a reason")
            .contains("[REDACTED:KEY].sh"),
        "{}",
        outcomes[2]
    );
    let (begun, ended) = (
        of_action(&all, "secret.filter")[0],
        of_action(&all, "secret.filter.outcome")[0],
    );
    assert_eq!(
        (&ended["redactions"], &ended["decision"]),
        (&twice, &begun["id"])
    );
    assert_eq!(ended["keys"], json!(["KEY"]));
}

#[tokio::test]
async fn notes_and_url_of_a_secret_do_not_show_it() {
    let sandbox = sandbox();
    let describe = |key: &str, value: &str| {
        let notes = format!("the old one was {WRONG}, this is {value}");
        let url = format!("https://user:{value}@db.example.com");
        let set = sandbox.secretctl(["set", key, "--notes", &notes, "--url", &url]);
        set.stdin(value).answer().succeeded();
    };
    describe("KEY", SECRET);
    describe("PIN", "7");
    let agent = Agent::without_project(&sandbox).await;
    let masked = agent
        .call("secret_get_masked", json!({ "key": "KEY" }))
        .await
        .value();
    assert_eq!(
        masked["notes"],
        format!("the old one was {WRONG}, this is [REDACTED:KEY]")
    );
    assert_eq!(masked["url"], "https://user:[REDACTED:KEY]@db.example.com");
    let masked = agent
        .call("secret_get_masked", json!({ "key": "PIN" }))
        .await
        .value();
    assert_eq!(
        (&masked["notes"], &masked["url"]),
        (&json!("********"), &json!("********"))
    );
    agent.stop().await;
}

#[tokio::test]
async fn nobody_escapes_the_log_by_asking_at_length() {
    let sandbox = sandbox();
    let agent = Agent::without_project(&sandbox).await;
    let long = format!("rm {} end", support::PASSWORD.repeat(200_000));
    agent.run("KEY", &long).await.refusal();
    let words = vec!["\u{1}"; 500_000];
    let run = json!({ "keys": ["KEY"], "command": "rm", "args": words });
    agent.call("secret_run", run).await.refusal();
    agent.stop().await;

    let all = log(&sandbox);
    let [passwords, words] = of_action(&all, "secret.run")[..] else {
        panic!("{} records", all.len())
    };
    let argv = |record: &Value| record["argv"].as_array().expect("words").clone();
    let first = argv(passwords)[0].as_str().expect("text").to_owned();
    assert!(first.starts_with("rm [REDACTED:master-password][REDACTED:"));
    assert!(!first.contains(support::PASSWORD) && first.len() > 100_000);
    assert_eq!(argv(words)[..2], [json!("rm"), json!("\u{1}")]);
}

/// Only a debug build can be made to trap.
#[cfg(debug_assertions)]
#[tokio::test]
async fn words_that_cannot_be_searched_are_not_recorded_and_nothing_runs() {
    let sandbox = sandbox();
    let server = sandbox.secretctl(["mcp-server"]);
    let server = server.env("SECRETCTL_SANITIZER_TRAPS", "push");
    let agent = Agent::connect(server).await;
    let long = format!("{}{SECRET}", "word ".repeat(1000));
    for program in ["echo", "rm"] {
        let run = json!({ "keys": ["KEY"], "command": program, "args": [long] });
        agent.call("secret_run", run).await.refusal();
    }
    agent.stop().await;

    let all = log(&sandbox);
    assert!(of_action(&all, "secret.run.outcome").is_empty());
    let [ours, theirs] = of_action(&all, "secret.run")[..] else {
        panic!("{all:?}")
    };
    assert_eq!(
        (&ours["result"], &theirs["result"]),
        (&json!("error"), &json!("denied"))
    );
    for record in [ours, theirs] {
        assert!(!record.to_string().contains("word word"), "{record}");
        assert_eq!(record["agent"], "claude-code");
        let reason = record["reason"].as_str().expect("a reason");
        assert!(
            reason.starts_with("the words are not recorded: "),
            "{record}"
        );
    }
}
