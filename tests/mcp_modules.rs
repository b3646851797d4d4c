//! Policy modules of the policy file, built from their sources and asked by the real server for a real MCP client.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use build_modules::{HOSTILE, POLICY_EXAMPLE, sha256};
use hostile::PolicyDeed;
use serde_json::json;
use support::agent::{Agent, Reply};
use support::modules::{built, entry, last_records, vault};
use support::raw::Raw;
use support::{ENVIRONMENT_NOTE, Sandbox};

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
    let Some(module) = built(&HOSTILE) else {
        return;
    };
    let sandbox = vault();
    sandbox.set("other", "another-value");
    let agent = Agent::connect(sandbox.secretctl(["mcp-server", "--approval-wait", "0s"])).await;
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
    assert!(refusal.contains("nobody can be asked"), "{refusal}");
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

/// A server whose standard error is in a file.
async fn logging(sandbox: &Sandbox) -> (Agent, PathBuf) {
    let path = sandbox.home().join("server.log");
    let log = File::create(&path).expect("a file");
    (
        Agent::logging(sandbox.secretctl(["mcp-server"]), log).await,
        path,
    )
}

/// What the server said there, but for how it got the password.
fn said(log: &Path) -> String {
    let text = fs::read_to_string(log).expect("text");
    let rest = text.strip_prefix(ENVIRONMENT_NOTE);
    rest.expect("the note comes first").to_owned()
}

#[tokio::test]
async fn what_a_module_writes_is_in_the_servers_log_within_bounds() {
    let Some(module) = built(&HOSTILE) else {
        return;
    };
    let sandbox = vault();
    let (agent, log) = logging(&sandbox).await;
    let deed = PolicyDeed::WriteAMebibyte.word();
    use_modules(
        &sandbox,
        &entry(&sandbox, "x.wasm", &module, &format!("{deed:?}")),
    );
    assert_eq!(echo(&agent).await.output().1, "ran\n");
    agent.stop().await;
    let log = said(&log);
    let says = "secretctl: modules/x.wasm says: ";
    assert!(
        log.starts_with(&format!("{says}a\u{fffd}[2J line\n    a\u{fffd}[2J line\n")),
        "{log}"
    );
    // The first 4096 of lines of 11 bytes, in which each ESC has become a character of three, and the next line is indented by four.
    let expected = 4096 + 2 * 373 + 4 * 372;
    assert_eq!(log.len() - says.len() - "\n".len(), expected, "{log}");
}

#[test]
fn a_client_hears_that_a_module_wrote_something_and_not_what() {
    let Some(module) = built(&HOSTILE) else {
        return;
    };
    let sandbox = vault();
    let deed = PolicyDeed::WriteAMebibyte.word();
    use_modules(
        &sandbox,
        &entry(&sandbox, "x.wasm", &module, &format!("{deed:?}")),
    );
    let mut raw = Raw::connect(sandbox.secretctl(["mcp-server"]), json!({}));
    let run = json!({ "keys": ["KEY"], "command": "echo ran" });
    // Unasked, it hears of warnings and worse only.
    let id = raw.call("secret_run", run.clone(), json!({}));
    assert_eq!(raw.next()["id"], id);
    raw.request("logging/setLevel", json!({ "level": "info" }));
    assert_eq!(raw.next()["result"], json!({}));
    raw.call("secret_run", run.clone(), json!({}));
    let messages = [raw.next(), raw.next()];
    let said = messages
        .iter()
        .find(|message| message["method"].is_string());
    let expected = json!({
        "jsonrpc": "2.0", "method": "notifications/message",
        "params": {
            "level": "info", "logger": "secretctl",
            "data": "the module modules/x.wasm wrote to the server's standard error",
        },
    });
    assert_eq!(said, Some(&expected));
    raw.request("logging/setLevel", json!({ "level": "loud" }));
    assert_eq!(raw.next()["error"]["code"], -32602);
    raw.stop();
}

#[tokio::test]
async fn compiled_code_that_somebody_changed_is_not_used_and_it_is_said() {
    let Some(module) = built(&HOSTILE) else {
        return;
    };
    let sandbox = vault();
    use_modules(&sandbox, &entry(&sandbox, "x.wasm", &module, "null"));
    let works = async |said: &str| {
        let (agent, log) = logging(&sandbox).await;
        assert_eq!(echo(&agent).await.output().1, "ran\n");
        agent.stop().await;
        assert_eq!(self::said(&log), said);
    };
    works("").await;
    let cached = sandbox
        .vault()
        .join("cache")
        .join(format!("{}.cwasm", sha256(&module)));
    let good = fs::read(&cached).expect("an entry");
    // From now on it would say yes to everything, if it could.
    let mut changed = good.clone();
    let last = changed.last_mut().expect("not empty");
    *last ^= 1;
    fs::write(&cached, changed).expect("written");
    let fact = "the compiled code of the module modules/x.wasm in the cache was changed by somebody: it was not used, and compiled again";
    works(&format!("secretctl: {fact}\n")).await;
    assert_eq!(fs::read(&cached).expect("an entry"), good);
    let export = sandbox.secretctl(["audit", "export"]).answer().json();
    let records = export.as_array().expect("a list").iter();
    let noted: Vec<_> = (records.filter(|record| record["action"] == "module.cache")).collect();
    assert_eq!(noted.len(), 1);
    assert_eq!(
        (&noted[0]["result"], &noted[0]["reason"]),
        (&json!("error"), &json!(fact))
    );
    works("").await;

    // What another vault has compiled is nothing worth here.
    let other = vault();
    fs::create_dir(other.vault().join("cache")).expect("a directory");
    let theirs = other
        .vault()
        .join("cache")
        .join(format!("{}.cwasm", sha256(&module)));
    fs::write(theirs, good).expect("written");
    use_modules(&other, &entry(&other, "x.wasm", &module, "null"));
    let (agent, log) = logging(&other).await;
    assert_eq!(echo(&agent).await.output().1, "ran\n");
    agent.stop().await;
    assert_eq!(said(&log), format!("secretctl: {fact}\n"));
}

#[tokio::test]
async fn a_module_is_told_the_tags_of_the_keys_that_are_granted() {
    let Some(module) = built(&HOSTILE) else {
        return;
    };
    let sandbox = vault();
    for (key, tags) in [("blue", "a,b"), ("hidden", "c")] {
        let set = ["set", key, "--exact", "--tags", tags];
        let set = sandbox.secretctl(set).stdin("a-value-of-it");
        set.answer().succeeded();
    }
    let deed = PolicyDeed::TellTags.word();
    use_modules(
        &sandbox,
        &entry(&sandbox, "x.wasm", &module, &format!("{deed:?}")),
    );
    let rights = "policies: [{ name: x, agent_id: '*', allowed_keys: [KEY, blue], capabilities: [env_inject] }]\n";
    let policy = fs::read_to_string(sandbox.policy_file()).expect("a file");
    sandbox.policy(&(policy + rights));
    let agent = Agent::without_project(&sandbox).await;
    let refusal = agent.run("*", "echo ran").await.refusal();
    assert_eq!(refusal, "because\nRule: modules/x.wasm: KEY=,blue=a+b");
    agent.stop().await;
}
