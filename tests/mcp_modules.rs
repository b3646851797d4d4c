//! Policy modules of the policy file, built from their sources and asked by the real server for a real MCP client.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;

use build_modules::{HOSTILE_POLICY, POLICY_EXAMPLE};
use serde_json::json;
use support::Sandbox;
use support::agent::{Agent, Reply};
use support::modules::{IMPORTING, built, entry, last_records, place, vault};

const REMEDY: &str = "\nA person can put back the file that the policy file names, put there the sha256 of a file that is to be \
                      trusted from now on, or take the entry out.";

fn use_modules(sandbox: &Sandbox, entries: &str) {
    sandbox.policy(&format!(
        "version: 1\nallowed_commands: [echo, {{ command: cat, timeout: 5s }}]\nmodules:\n{entries}"
    ));
}

async fn echo(agent: &Agent) -> Reply {
    agent.run("KEY", "echo ran").await
}

#[tokio::test]
async fn office_hours_decide_behind_the_rules_of_the_file() {
    let Some(module) = built(&POLICY_EXAMPLE) else {
        return;
    };
    let sandbox = vault();
    let agent = Agent::without_project(&sandbox).await;
    let hours = |from: &str, to: &str| {
        let days = "[mon, tue, wed, thu, fri, sat, sun]";
        let config = format!("{{ from: '{from}', to: '{to}', days: {days} }}");
        entry(&sandbox, "office-hours.wasm", &module, &config)
    };
    let open = hours("00:00", "24:00");
    use_modules(&sandbox, &open);
    assert_eq!(echo(&agent).await.output().1, "ran\n");
    let outcome = last_records(&sandbox, 2);
    for record in &outcome {
        let modules = record["modules"].as_array().expect("a list");
        assert_eq!(modules.len(), 3, "{record}");
        assert_eq!(modules[1]["name"], "modules/office-hours.wasm");
        assert!(open.contains(modules[1]["sha256"].as_str().expect("a digest")));
    }
    assert_eq!(
        outcome[0]["rule"],
        "allowed_commands[0]: echo; modules/office-hours.wasm: hours"
    );

    // It can say no to what the file allows, and not yes to what it does not.
    let rm = agent.run("KEY", "rm x").await.refusal();
    assert!(!rm.contains("office-hours"), "{rm}");
    use_modules(&sandbox, &hours("00:00", "00:00"));
    assert_eq!(
        echo(&agent).await.refusal(),
        "commands run only 00:00 to 00:00, mon tue wed thu fri sat sun\nRule: modules/office-hours.wasm: hours\n\
         A person can allow it: change `from`, `to` or `days` of this module"
    );
    let record = last_records(&sandbox, 1).remove(0);
    assert_eq!(record["result"], "denied");
    assert_eq!(record["rule"], "modules/office-hours.wasm: hours");
    // Listing is no command.
    let listed = agent.call("secret_list", json!({})).await.value();
    assert_eq!(listed["keys"], json!(["KEY"]));

    use_modules(&sandbox, &hours("nine", "18:00"));
    let refusal = echo(&agent).await.refusal();
    assert_eq!(
        refusal,
        format!(
            "no command can be run: the module modules/office-hours.wasm gave no usable answer: it refused from: nine is no time of the form \
             HH:MM{REMEDY}"
        )
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_module_can_only_tighten() {
    let Some(module) = built(&HOSTILE_POLICY) else {
        return;
    };
    let sandbox = vault();
    sandbox.set("other", "another-value");
    let agent = Agent::without_project(&sandbox).await;
    let does = |deed: &str| {
        let entry = entry(&sandbox, "x.wasm", &module, &format!("{deed:?}"));
        use_modules(&sandbox, &entry);
    };
    // Its yes to everything does not reach beyond the file: five seconds are the limit of `cat`.
    does("");
    let run = json!({ "keys": ["KEY"], "command": "cat", "timeout": "1h" });
    assert_eq!(
        agent.call("secret_run", run).await.structure()["exit_code"],
        0
    );
    let refusal = agent.run("KEY", "rm x").await.refusal();
    assert!(refusal.contains("rm"), "{refusal}");

    does("deny");
    let refusal = echo(&agent).await.refusal();
    assert_eq!(refusal, "because\nRule: modules/x.wasm: a\u{fffd}[2J rule");
    does("ask");
    let refusal = echo(&agent).await.refusal();
    assert!(refusal.contains("approval: really?"), "{refusal}");
    does("grant no key");
    let refusal = echo(&agent).await.refusal();
    assert!(
        refusal.starts_with("the module modules/x.wasm does not grant KEY\n"),
        "{refusal}"
    );
    let none = agent.call("secret_list", json!({})).await.value();
    assert_eq!(none["keys"], json!([]));
    does("grant a second");
    let run = json!({ "keys": ["KEY"], "command": "cat /dev/zero", "timeout": "4s" });
    assert_eq!(
        agent.call("secret_run", run).await.structure()["timed_out"],
        true
    );

    // It is told of no key that the file hides.
    does("tell keys");
    let rights = "policies: [{ name: x, agent_id: '*', allowed_keys: [KEY], capabilities: [env_inject, reference_only] }]\n";
    let policy = fs::read_to_string(sandbox.policy_file()).expect("a file");
    sandbox.policy(&(policy + rights));
    let refusal = agent.run("*", "echo ran").await.refusal();
    assert_eq!(refusal, "because\nRule: modules/x.wasm: KEY");
    agent.stop().await;
}

#[tokio::test]
async fn a_module_that_fails_is_a_no_with_its_name() {
    let Some(module) = built(&HOSTILE_POLICY) else {
        return;
    };
    let sandbox = vault();
    let agent = Agent::without_project(&sandbox).await;
    for (deed, fact) in [
        ("trap at start", "it trapped: "),
        ("trap", "it trapped: "),
        ("loop", "it used up its fuel"),
        ("recurse", "it used up its stack"),
        ("fill the memory", ": "),
        (
            "answer at length",
            "it answered a text of more than 4096 bytes",
        ),
        (
            "grant another key",
            "it granted a key that was not asked for",
        ),
        ("refuse", "it refused x\u{fffd}[2J: no\nthanks"),
    ] {
        let bad = entry(&sandbox, "bad.wasm", &module, &format!("{deed:?}"));
        use_modules(&sandbox, &bad);
        let refusal = echo(&agent).await.refusal();
        let named = "no command can be run: the module modules/bad.wasm gave no usable answer: ";
        assert!(
            refusal.starts_with(named) && refusal.contains(fact) && refusal.ends_with(REMEDY),
            "{deed}: {refusal}"
        );
        let record = last_records(&sandbox, 1).remove(0);
        assert_eq!(
            (&record["action"], &record["result"]),
            (&json!("secret.run"), &json!("denied"))
        );
        assert_eq!(
            refusal,
            format!("{}{REMEDY}", record["reason"].as_str().expect("a reason"))
        );
    }
    agent.stop().await;
}

#[tokio::test]
async fn what_was_not_pinned_or_is_no_policy_module_is_refused() {
    let Some(module) = built(&HOSTILE_POLICY) else {
        return;
    };
    let sandbox = vault();
    let agent = Agent::without_project(&sandbox).await;
    let sanitizer = include_bytes!("../policy-modules/dist/default-sanitizer.wasm");
    for (bytes, fact) in [
        (
            IMPORTING,
            "imports clock, and a module may import nothing\n",
        ),
        (b"no module".as_slice(), "is not a policy module: "),
        (sanitizer.as_slice(), "is not a policy module: "),
    ] {
        use_modules(&sandbox, &entry(&sandbox, "x.wasm", bytes, "null"));
        let refusal = echo(&agent).await.refusal();
        let named = format!("no command can be run: the module modules/x.wasm {fact}");
        assert!(
            refusal.starts_with(&named) && refusal.ends_with(REMEDY),
            "{refusal}"
        );
    }
    use_modules(&sandbox, &entry(&sandbox, "x.wasm", &module, "null"));
    assert_eq!(echo(&agent).await.output().1, "ran\n");
    fs::write(
        place(&sandbox, "x.wasm"),
        [&module, b"\0".as_slice()].concat(),
    )
    .expect("written");
    let fact = "no command can be run: the module modules/x.wasm is not the file that was pinned: its sha256 is another one";
    assert_eq!(echo(&agent).await.refusal(), format!("{fact}{REMEDY}"));
    fs::remove_file(place(&sandbox, "x.wasm")).expect("removed");
    let refusal = echo(&agent).await.refusal();
    assert!(
        refusal.contains("the module modules/x.wasm does not exist"),
        "{refusal}"
    );
    agent.stop().await;
}
