//! The log, seen from outside: what it says, and that no change of it goes unseen.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::thread;

use rusqlite::Connection;
use serde_json::{Value, json};
use support::agent::{Agent, params};
use support::{Invocation, Sandbox};

const POLICY: &str = "version: 1\nallowed_commands: [echo]\ndenied_commands: [rm]\n";

/// A vault that a person and an agent have used.
async fn used_vault() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.policy(POLICY);
    sandbox.set("API_KEY", "sk-abc123xyz");
    let agent = Agent::without_project(&sandbox).await;
    agent.call("secret_list", json!({})).await.value();
    assert_eq!(agent.run("API_KEY", "echo $API_KEY").await.output().0, 0);
    agent.run("API_KEY", "rm -rf /").await.refusal();
    agent.run("NONE", "echo x").await.refusal();
    agent.stop().await;
    sandbox
        .secretctl(["run", "-k", "API_KEY", "--", "sh", "-c", "exit 7"])
        .answer()
        .is(7, "", "");
    sandbox
}

fn export(sandbox: &Sandbox) -> Vec<Value> {
    let export = sandbox
        .secretctl(["audit", "export"])
        .answer()
        .succeeded()
        .json();
    export.as_array().expect("a list").clone()
}

/// Runs jq on what stands in the file, as the documentation pipes it.
fn jq(sandbox: &Sandbox, input: &[u8], query: &str) -> Vec<Value> {
    let jq = Invocation::new("jq", sandbox.home())
        .args(["-c", query])
        .stdin(input)
        .answer();
    assert_eq!(jq.code, 0, "{jq}");
    jq.text()
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[tokio::test]
async fn the_export_has_the_documented_fields() {
    let sandbox = used_vault().await;
    let records = export(&sandbox);
    let said: Vec<Value> = records
        .iter()
        .map(|record| {
            json!([
                record["source"],
                record["action"],
                record["keys"],
                record["command"],
                record["success"],
                record["result"]
            ])
        })
        .collect();
    let expected = [
        json!(["cli", "vault.init", [], null, true, "success"]),
        json!(["cli", "secret.set", ["API_KEY"], null, true, "success"]),
        json!(["mcp", "vault.unlock", [], null, true, "success"]),
        json!(["mcp", "secret.list", [], null, true, "success"]),
        json!([
            "mcp",
            "secret.run",
            ["API_KEY"],
            "echo $API_KEY",
            true,
            "success"
        ]),
        json!([
            "mcp",
            "secret.run.outcome",
            ["API_KEY"],
            "echo $API_KEY",
            true,
            "success"
        ]),
        json!([
            "mcp",
            "secret.run",
            ["API_KEY"],
            "rm -rf /",
            false,
            "denied"
        ]),
        json!(["mcp", "secret.run", ["NONE"], "echo x", false, "error"]),
        json!([
            "cli",
            "secret.run",
            ["API_KEY"],
            "sh -c exit 7",
            true,
            "success"
        ]),
        json!([
            "cli",
            "secret.run.outcome",
            ["API_KEY"],
            "sh -c exit 7",
            false,
            "error"
        ]),
    ];
    assert_eq!(said, expected);
    for (record, sequence) in records.iter().zip(1..) {
        assert_eq!(
            (&record["sequence"], &record["authentic"]),
            (&json!(sequence), &json!(true))
        );
        let timestamp = record["timestamp"].as_str().expect("text");
        assert!(
            timestamp.ends_with('Z') && timestamp.parse::<jiff::Timestamp>().is_ok(),
            "{timestamp}"
        );
    }
    let (allowed, outcome, denied) = (&records[4], &records[5], &records[6]);
    assert_eq!(
        (&allowed["agent"], &allowed["rule"]),
        (&json!("claude-code"), &json!("allowed_commands[0]: echo"))
    );
    assert_eq!(allowed["modules"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&outcome["decision"], &outcome["exit_code"]),
        (&allowed["id"], &json!(0))
    );
    assert_eq!(
        outcome["redactions"],
        json!([{ "key": "API_KEY", "form": "raw", "count": 1 }])
    );
    assert_eq!(denied["rule"], "denied_commands[0]: rm");
    assert_eq!(
        denied["reason"],
        "command not allowed: rm: it is denied (rm)"
    );
    assert_eq!(
        denied["remedy"],
        "remove from denied_commands:\n- \"rm\"\nadd to allowed_commands:\n- \"rm -rf /\""
    );
    assert_eq!(records[9]["exit_code"], 7);
}

#[tokio::test]
async fn the_documented_queries_work() {
    if !support::is_installed("jq") {
        return;
    }
    let sandbox = used_vault().await;
    let text = sandbox
        .secretctl(["audit", "export"])
        .answer()
        .succeeded()
        .stdout;
    let of_agents = jq(&sandbox, &text, ".[] | select(.source == \"mcp\")");
    assert_eq!(of_agents.len(), 6);
    assert!(of_agents.iter().all(|record| record["source"] == "mcp"));
    let failures = jq(
        &sandbox,
        &text,
        ".[] | select(.success == false) | .command",
    );
    assert_eq!(failures, ["rm -rf /", "echo x", "sh -c exit 7"]);
}

#[tokio::test]
async fn the_list_is_one_line_for_each_record() {
    let sandbox = used_vault().await;
    let list = |flags: &[&str]| {
        let list = sandbox
            .secretctl(["audit", "list"])
            .args(flags)
            .answer()
            .succeeded();
        assert_eq!(list.stderr, "");
        let lines = list.text().lines();
        // Without number and time, which stand first.
        let rest = |line: &str| line.splitn(3, "  ").nth(2).expect("more").to_owned();
        lines.map(rest).collect::<Vec<_>>()
    };
    let all = list(&[]);
    assert_eq!(all.len(), 10);
    assert_eq!(all[0], "cli  vault.init  success");
    assert_eq!(all[1], "cli  secret.set  success  API_KEY");
    assert_eq!(list(&["--limit", "2"]), all[8..]);
    let denied = "mcp  secret.run  denied  claude-code  API_KEY  rm -rf /  (command not allowed: rm: it is denied (rm))";
    assert_eq!(list(&["--denied"]), [denied]);
    let json = sandbox
        .secretctl(["audit", "list", "--denied", "--json"])
        .answer()
        .succeeded()
        .json();
    assert_eq!(json, json!([export(&sandbox)[6]]));
}

#[tokio::test]
async fn a_denied_run_is_shown_with_what_would_allow_it() {
    let sandbox = Sandbox::new();
    sandbox.set("API_KEY", "s3cr3t-value");
    sandbox.policy("version: 1\nallowed_commands: [echo]\n");
    let agent = Agent::without_project(&sandbox).await;
    let run = json!({ "keys": ["API_KEY"], "command": "touch x\u{1b}[2J", "cwd": "" });
    agent.call("secret_run", run).await.refusal();
    agent.stop().await;

    let list = sandbox.secretctl(["audit", "list", "--denied"]).answer();
    let number = list.text().split_once("  ").expect("a number").0.to_owned();
    let show = |id: &str| sandbox.secretctl(["audit", "show", id]).answer();
    let shown = show(&number).succeeded();
    let lines: Vec<&str> = shown.text().lines().collect();
    let record = export(&sandbox).last().expect("a record").clone();
    let id = record["id"].as_str().expect("an id");
    let expected = [
        format!("record        {number}"),
        format!("id            {id}"),
        format!(
            "time          {}",
            record["timestamp"].as_str().expect("a time")
        ),
        "source        mcp".to_owned(),
        "agent         claude-code".to_owned(),
        "action        secret.run".to_owned(),
        "result        denied".to_owned(),
        "command       touch x\\u{1b}[2J".to_owned(),
        "directory     ".to_owned(),
        "keys          API_KEY".to_owned(),
        "rule          default_action: deny".to_owned(),
        "reason        command not allowed: touch".to_owned(),
        "to allow it   add to allowed_commands:".to_owned(),
        "              - \"touch x\\u001b[2J\"".to_owned(),
    ];
    assert_eq!(lines, expected);
    assert_eq!(show(id).text(), shown.text());
    let json = sandbox.secretctl(["audit", "show", &number, "--json"]);
    assert_eq!(json.answer().succeeded().json(), record);
    show("9999").is(
        4,
        "",
        "error: there is no record 9999\n  secretctl audit list prints the numbers of the newest records\n",
    );
}

#[tokio::test]
async fn the_export_as_csv_is_inert_in_a_spreadsheet() {
    let sandbox = used_vault().await;
    let formula = "=HYPERLINK(\"http://example.com\",\"a\")";
    let agent = Agent::without_project(&sandbox).await;
    agent
        .call(
            "secret_run",
            json!({ "keys": ["API_KEY"], "command": formula, "args": ["x,\ny"] }),
        )
        .await
        .refusal();
    agent.stop().await;
    let csv = sandbox
        .secretctl(["audit", "export", "-f", "csv"])
        .answer()
        .succeeded();
    let mut reader = csv::Reader::from_reader(csv.text().as_bytes());
    let header: Vec<_> = reader
        .headers()
        .expect("a header")
        .iter()
        .map(str::to_owned)
        .collect();
    let expected = [
        "timestamp",
        "action",
        "source",
        "keys",
        "command",
        "success",
        "result",
        "agent",
        "rule",
        "reason",
        "exit_code",
        "sequence",
        "id",
        "authentic",
    ];
    assert_eq!(header, expected);
    let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().expect("CSV");
    assert_eq!(records.len(), 12);
    assert_eq!(&records[6][4], "rm -rf /");
    assert_eq!(
        (&records[6][1], &records[6][5], &records[6][6]),
        ("secret.run", "false", "denied")
    );
    assert_eq!(records[11][4], format!("'{formula} x,\ny"));
}

#[tokio::test]
async fn an_untouched_log_is_verified() {
    let sandbox = used_vault().await;
    let verified = "10 records verified\nChain integrity: OK\nNo gaps detected\n";
    sandbox
        .secretctl(["audit", "verify"])
        .answer()
        .is(0, verified, "");
    let json = sandbox
        .secretctl(["audit", "verify", "--json"])
        .answer()
        .succeeded()
        .json();
    assert_eq!(
        json,
        json!({ "valid": true, "records": 10, "pruned": 0, "problems": [] })
    );
}

// Commands of the person hold up a thread; the client goes on in another one.
#[tokio::test(flavor = "multi_thread")]
async fn person_and_agent_use_one_vault_at_the_same_time() {
    const ROUNDS: usize = 10;
    let sandbox = Sandbox::new();
    sandbox.policy(POLICY);
    sandbox.set("API_KEY", "sk-abc123xyz");
    let agent = Agent::without_project(&sandbox).await;
    let other = Agent::without_project(&sandbox).await;
    let mut runs = tokio::task::JoinSet::new();
    for agent in [&agent, &other] {
        let peer = agent.client.peer().clone();
        runs.spawn(async move {
            for _ in 0..ROUNDS * 3 {
                let run = json!({ "keys": ["API_KEY"], "command": "echo $API_KEY" });
                let answer = peer
                    .call_tool(params("secret_run", run))
                    .await
                    .expect("an answer");
                assert_ne!(answer.is_error, Some(true), "{answer:?}");
            }
        });
    }
    thread::scope(|scope| {
        for person in 0..2 {
            let sandbox = &sandbox;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    sandbox.set(&format!("KEY_{person}_{round}"), "value");
                    sandbox
                        .secretctl(["run", "-k", "API_KEY", "--", "true"])
                        .answer()
                        .is(0, "", "");
                }
            });
        }
    });
    runs.join_all().await;
    for agent in [agent, other] {
        agent.stop().await;
    }
    // init, set; an unlock of each server; two records of each run, one of each set.
    let records = 2 + 2 + 2 * ROUNDS * 3 * 2 + 2 * ROUNDS * 3;
    let json = sandbox
        .secretctl(["audit", "verify", "--json"])
        .answer()
        .succeeded()
        .json();
    assert_eq!(
        json,
        json!({ "valid": true, "records": records, "pruned": 0, "problems": [] })
    );
    let keys = sandbox.secretctl(["list"]).answer().succeeded();
    assert_eq!(keys.text().lines().count(), 1 + 2 * ROUNDS);
}

/// Changes a copy of the vault's database; gives what `audit verify` then says.
#[track_caller]
fn tampered(
    sandbox: &Sandbox,
    change: impl FnOnce(&Connection) -> rusqlite::Result<usize>,
) -> String {
    let copy = Sandbox::empty();
    copy_dir(&sandbox.vault(), &copy.vault());
    let database = Connection::open(copy.database()).expect("a database");
    assert_eq!(change(&database), Ok(1));
    database.close().expect("closed");
    let verify = copy.secretctl(["audit", "verify"]).answer();
    assert_eq!((verify.code, &*verify.stdout), (5, &b""[..]), "{verify}");
    let problems = verify
        .stderr
        .strip_prefix("error: the vault was tampered with:\n");
    problems.unwrap_or_else(|| panic!("{verify}")).to_owned()
}

/// Changes one byte of a record's sealed part.
fn flip_a_byte(database: &Connection, sequence: i64) -> rusqlite::Result<usize> {
    let detail = "SELECT detail FROM audit_log WHERE sequence = ?1";
    let mut detail: Vec<u8> = database.query_row(detail, [sequence], |row| row.get(0))?;
    detail[20] ^= 1;
    database.execute(
        "UPDATE audit_log SET detail = ?1 WHERE sequence = ?2",
        (detail, sequence),
    )
}

fn copy_dir(from: &Path, to: &Path) {
    DirBuilder::new().mode(0o700).create(to).expect("made");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

#[tokio::test]
async fn every_change_of_the_log_is_named() {
    let sandbox = used_vault().await;
    let names = |problems: &str, sequence: i64| {
        let mut words = problems.split(|c: char| !c.is_alphanumeric());
        assert!(
            words.any(|word| word == sequence.to_string()),
            "{sequence}: {problems}"
        );
    };
    for sequence in [1, 5, 10] {
        names(
            &tampered(&sandbox, |database| flip_a_byte(database, sequence)),
            sequence,
        );
        let delete = |database: &Connection| {
            database.execute("DELETE FROM audit_log WHERE sequence = ?1", [sequence])
        };
        names(&tampered(&sandbox, delete), sequence);
    }
    for change in [
        "result = 'success'",
        "time_ns = time_ns + 1",
        "hash = zeroblob(32)",
        "source = 'cli'",
    ] {
        let statement = format!("UPDATE audit_log SET {change} WHERE sequence = 7");
        names(
            &tampered(&sandbox, |database| database.execute(&statement, [])),
            7,
        );
    }
    sandbox.secretctl(["audit", "verify"]).answer().succeeded();
}

#[tokio::test]
async fn the_file_alone_tells_no_name_and_no_command() {
    let sandbox = used_vault().await;
    let files = ["vault.db", "vault.meta", "vault.salt"]
        .map(|name| fs::read(sandbox.vault().join(name)).expect("a file"));
    let all = files.concat();
    for text in ["API_KEY", "sk-abc123xyz", "echo", "claude-code", "rm -rf"] {
        assert!(
            !all.windows(text.len()).any(|part| part == text.as_bytes()),
            "{text}"
        );
    }
}
