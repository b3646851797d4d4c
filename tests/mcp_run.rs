//! `secret_run`, by a real MCP client: the scenarios of the documentation, with real programs and servers.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use rmcp::model::{CallToolRequest, ClientRequest};
use rmcp::service::PeerRequestOptions;
use serde_json::{Value, json};
use support::Sandbox;
use support::agent::{Agent, params};
use support::postgres::Postgres;
use support::process::{Mark, kill, wait_until};

/// The policy file as the documentation prints it.
const PRINTED_POLICY: &str = r#"# ~/.secretctl/mcp-policy.yaml
version: 1
default_action: deny

# Commands the AI can execute with secrets
allowed_commands:
  - npm
  - node
  - python
  - go
  - cargo
  - aws
  - gcloud
  - kubectl
  - curl
  - ./deploy.sh
  - ./test.sh

# Commands never allowed
denied_commands:
  - rm
  - sudo
  - chmod
  - chown

# Environment aliases
env_aliases:
  dev:
    - pattern: "db/*"
      target: "dev/db/*"
  prod:
    - pattern: "db/*"
      target: "prod/db/*"
  staging:
    - pattern: "db/*"
      target: "staging/db/*"
"#;

/// A project whose tests print what they were given.
const PACKAGE: &str = r#"{
  "name": "project",
  "version": "1.0.0",
  "scripts": {
    "test": "node -e \"console.log('Connected with key ' + process.env.API_KEY)\"",
    "test:integration": "node -e \"console.log(process.env.TEST_API_KEY, process.env.TEST_DATABASE_URL)\"",
    "test:db": "node -e \"console.log(process.env.DB_HOST, process.env.DB_PASSWORD)\""
  }
}"#;

fn allowing(commands: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.policy(&format!("version: 1\nallowed_commands: [{commands}]\n"));
    sandbox
}

/// The last line of what npm prints: before it stand the script's name and text.
fn last_line(text: &str) -> &str {
    text.trim_end().lines().last().unwrap_or_default()
}

#[tokio::test]
async fn tests_of_a_project_run_with_a_key_that_is_not_shown() {
    if !support::is_installed("npm") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.policy(PRINTED_POLICY);
    sandbox.set("API_KEY", "sk-abc123xyz");
    sandbox.set("TEST_API_KEY", "sk-test-0123456789");
    sandbox.set("TEST_DATABASE_URL", "postgres://app:pw@localhost/test");
    let project = sandbox.project(&[("package.json", PACKAGE)]);
    let agent = Agent::start(&sandbox, &project).await;

    let run = json!({ "keys": ["API_KEY"], "command": "npm test", "cwd": "." });
    let answer = agent.call("secret_run", run).await.value();
    assert_eq!(answer["exit_code"], 0, "{answer}");
    assert_eq!(
        last_line(answer["stdout"].as_str().expect("text")),
        "Connected with key [REDACTED:API_KEY]"
    );
    assert_eq!(
        answer["redactions"],
        json!([{ "key": "API_KEY", "form": "raw", "count": 1 }])
    );
    assert_eq!(
        (&answer["timed_out"], &answer["truncated"]),
        (&json!(false), &json!(false))
    );
    assert!(
        answer["duration_ms"].is_u64() && answer["enforcement"].is_object(),
        "{answer}"
    );

    let run = json!({
        "keys": ["TEST_API_KEY", "TEST_DATABASE_URL"], "command": "npm run test:integration", "cwd": project,
    });
    let (code, stdout, _) = agent.call("secret_run", run).await.output();
    assert_eq!(
        (code, last_line(&stdout)),
        (0, "[REDACTED:TEST_API_KEY] [REDACTED:TEST_DATABASE_URL]")
    );
    agent.stop().await;
}

#[tokio::test]
async fn an_environment_chooses_the_secrets_and_keeps_the_variables() {
    if !support::is_installed("npm") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.policy(PRINTED_POLICY);
    for area in ["dev", "staging", "prod"] {
        sandbox.set(&format!("{area}/db/host"), format!("host-of-{area}"));
        sandbox.set(
            &format!("{area}/db/password"),
            format!("password-of-{area}"),
        );
    }
    let project = sandbox.project(&[("package.json", PACKAGE)]);
    let agent = Agent::start(&sandbox, &project).await;
    for area in ["staging", "prod"] {
        let run =
            json!({ "keys": ["db/*"], "command": "npm run test:db", "env": area, "cwd": "." });
        let (code, stdout, _) = agent.call("secret_run", run).await.output();
        let expected = format!("[REDACTED:{area}/db/host] [REDACTED:{area}/db/password]");
        assert_eq!((code, last_line(&stdout)), (0, &*expected));
    }
    for (arguments, fact) in [
        (
            json!({ "keys": ["db/*"], "command": "npm test", "env": "none" }),
            "none",
        ),
        (
            json!({ "keys": ["db/*"], "command": "npm test" }),
            "secret not found: db/*",
        ),
    ] {
        let refusal = agent.call("secret_run", arguments).await.refusal();
        assert!(refusal.contains(fact), "{refusal}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_pattern_injects_every_key_it_means() {
    let sandbox = allowing("./deploy.sh");
    sandbox.set("aws/access_key", "AKIA0123456789");
    sandbox.set("aws/secret_key", "wJalrXUtnFEMI/K7MDENG");
    sandbox.set("other", "not to be injected");
    let script = "#!/bin/sh\necho \"$1 $AWS_ACCESS_KEY $AWS_SECRET_KEY ${OTHER-unset}\"; echo warning >&2; pwd\n";
    let project = sandbox.project(&[("deploy.sh", script)]);
    let agent = Agent::start(&sandbox, &project).await;
    let exists = agent
        .call("secret_exists", json!({ "key": "aws/*" }))
        .await
        .value();
    assert_eq!(exists["exists"], true);
    let run = json!({ "keys": ["aws/*"], "command": "./deploy.sh 's3://my bucket'" });
    let place = project.canonicalize().expect("exists");
    let stdout = format!(
        "s3://my bucket [REDACTED:aws/access_key] [REDACTED:aws/secret_key] unset\n{}\n",
        place.display()
    );
    assert_eq!(
        agent.call("secret_run", run).await.output(),
        (0, stdout, "warning\n".to_owned())
    );

    let run =
        json!({ "keys": ["aws/*"], "command": "./deploy.sh", "args": ["x"], "env_prefix": "CI_" });
    let (code, stdout, _) = agent.call("secret_run", run).await.output();
    assert_eq!((code, stdout.lines().next()), (0, Some("x   unset")));
    agent.stop().await;
}

#[tokio::test]
async fn a_database_is_asked_with_an_address_that_is_not_shown() {
    let sandbox = allowing("psql");
    let Some(database) = Postgres::start("pa55-of-the-database") else {
        return support::missing("no PostgreSQL server (initdb, postgres) is installed");
    };
    assert!(
        database
            .query("CREATE TABLE users (name text); INSERT INTO users VALUES ('a'), ('b'), ('c')")
    );
    sandbox.set("DATABASE_URL", database.url());
    let agent = Agent::without_project(&sandbox).await;
    let count = agent
        .run(
            "DATABASE_URL",
            "psql $DATABASE_URL -c 'SELECT COUNT(*) FROM users'",
        )
        .await;
    let table = " count \n-------\n     3\n(1 row)\n\n".to_owned();
    assert_eq!(count.output(), (0, table, String::new()));
    let echo = agent
        .run(
            "DATABASE_URL",
            "psql $DATABASE_URL -Atc \"SELECT '$DATABASE_URL'\"",
        )
        .await;
    assert_eq!(
        echo.output(),
        (0, "[REDACTED:DATABASE_URL]\n".to_owned(), String::new())
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_service_sees_the_token_and_the_agent_does_not() {
    if !support::is_installed("curl") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.policy(PRINTED_POLICY);
    sandbox.set("GITHUB_TOKEN", "ghp_0123456789abcdefABCDEF");
    let (address, service) = echo_one_authorization();
    let agent = Agent::without_project(&sandbox).await;
    let curl =
        format!("curl -sS -H 'Authorization: Bearer $GITHUB_TOKEN' http://{address}/user/repos");
    let answer = agent.run("GITHUB_TOKEN", &curl).await.output();
    assert_eq!(
        answer,
        (
            0,
            "you sent Bearer [REDACTED:GITHUB_TOKEN]".to_owned(),
            String::new()
        )
    );
    assert_eq!(
        service.join().expect("no panic"),
        "Bearer ghp_0123456789abcdefABCDEF"
    );
    agent.stop().await;
}

/// An HTTP service that answers one request with its own `Authorization`, and returns that.
fn echo_one_authorization() -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let service = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let mut stream = BufReader::new(stream);
        let mut authorization = String::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).expect("a request");
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                    authorization = value.to_owned()
                }
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        let body = format!("you sent {authorization}");
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        write!(stream.get_mut(), "{head}{body}").expect("a client");
        authorization
    });
    (address, service)
}

#[tokio::test]
async fn there_is_no_shell_between_agent_and_program() {
    let sandbox = allowing("echo, cat");
    sandbox.set("KEY", "s3cr3t-value");
    let agent = Agent::without_project(&sandbox).await;
    for line in [
        "echo a | cat",
        "echo a > file",
        "echo a; cat",
        "echo $(cat)",
        "echo `cat`",
        "echo a & cat",
        "echo 'a",
    ] {
        let refusal = agent.run("KEY", line).await.refusal();
        assert!(
            refusal.starts_with("the command cannot be run: "),
            "{line}: {refusal}"
        );
    }
    let literal = agent
        .run("KEY", "echo '|' \"a;b\" \\& '$HOME' '$(cat)' ${KEY}")
        .await
        .output();
    assert_eq!(
        literal,
        (
            0,
            "| a;b & $HOME $(cat) [REDACTED:KEY]\n".to_owned(),
            String::new()
        )
    );
    let program = json!({ "keys": ["KEY"], "command": "echo", "args": ["a | b > c", "<$KEY>"] });
    let answer = agent.call("secret_run", program).await.output();
    assert_eq!(
        answer,
        (0, "a | b > c <[REDACTED:KEY]>\n".to_owned(), String::new())
    );
    // Nothing waits for what nobody will type.
    assert_eq!(
        agent.run("KEY", "cat").await.output(),
        (0, String::new(), String::new())
    );
    agent.stop().await;
}

#[tokio::test]
async fn exit_codes_arrive_and_an_error_of_the_command_is_no_refusal() {
    let sandbox = allowing("sh");
    sandbox.set("KEY", "s3cr3t-value");
    let agent = Agent::without_project(&sandbox).await;
    for (script, code) in [("exit 7", 7), ("kill -9 $$", 137)] {
        let run = json!({ "keys": ["KEY"], "command": "sh", "args": ["-c", script] });
        assert_eq!(
            agent.call("secret_run", run).await.output(),
            (code, String::new(), String::new())
        );
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_time_limit_ends_the_tree_and_is_an_error() {
    let sandbox = allowing("sh");
    sandbox.set("KEY", "s3cr3t-value");
    let agent = Agent::without_project(&sandbox).await;
    let mark = Mark::new();
    let [first, second] = &mark.halves;
    let script = "printf \"so far $KEY\"; sleep \"$1$2\" & sleep \"$1$2\"";
    let run = json!({ "keys": ["KEY"], "command": "sh", "args": ["-c", script, "sh", first, second], "timeout": "2s" });
    let reply = agent.call("secret_run", run).await;
    assert!(reply.is_error);
    let mut answer = reply.structure();
    let taken = answer["duration_ms"].take().as_u64().expect("a number");
    assert!(taken >= 2000, "{taken}");
    answer["enforcement"].take();
    let expected = json!({
        "exit_code": 124, "stdout": "so far [REDACTED:KEY]", "stderr": "", "duration_ms": null, "sanitized": true,
        "redactions": [{ "key": "KEY", "form": "raw", "count": 1 }], "timed_out": true, "truncated": false,
        "enforcement": null,
    });
    assert_eq!(answer, expected);
    mark.is_gone();
    agent.stop().await;
}

/// The arguments of a run that does not end by itself.
fn endless(mark: &Mark) -> Value {
    let [first, second] = &mark.halves;
    let script = "sleep \"$1$2\" & sleep \"$1$2\"";
    json!({ "keys": ["KEY"], "command": "sh", "args": ["-c", script, "sh", first, second] })
}

// Waiting for a process holds up a thread; the client goes on in another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_request_ends_its_command() {
    let sandbox = allowing("sh");
    sandbox.set("KEY", "s3cr3t-value");
    let agent = Agent::without_project(&sandbox).await;
    let mark = Mark::new();
    let request =
        ClientRequest::CallToolRequest(CallToolRequest::new(params("secret_run", endless(&mark))));
    let options = PeerRequestOptions::no_options();
    let handle = agent
        .client
        .peer()
        .send_cancellable_request(request, options)
        .await
        .expect("sent");
    mark.wait_for_start();
    handle
        .cancel(Some("the person changed their mind".to_owned()))
        .await
        .expect("sent");
    mark.wait_for_end();
    // The server goes on.
    let run = json!({ "keys": ["KEY"], "command": "sh", "args": ["-c", "echo on"] });
    assert_eq!(
        agent.call("secret_run", run).await.output(),
        (0, "on\n".to_owned(), String::new())
    );
    agent.stop().await;
}

// Waiting for a process holds up a thread; the client goes on in another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_ends_with_its_client_or_server() {
    let sandbox = allowing("sh");
    sandbox.set("KEY", "s3cr3t-value");
    for is_killed in [false, true] {
        let agent = Agent::without_project(&sandbox).await;
        let mark = Mark::new();
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params(
            "secret_run",
            endless(&mark),
        )));
        let options = PeerRequestOptions::no_options();
        let _handle = agent
            .client
            .peer()
            .send_cancellable_request(request, options)
            .await
            .expect("sent");
        mark.wait_for_start();
        let pid = agent.pid;
        if is_killed {
            kill(pid, rustix::process::Signal::KILL);
        } else {
            agent.stop().await;
        }
        mark.wait_for_end();
    }
    sandbox.secretctl(["audit", "verify"]).answer().succeeded();
}

#[tokio::test]
async fn many_runs_at_once_all_get_their_own_answer() {
    let sandbox = allowing("echo");
    sandbox.set("KEY", "s3cr3t-value");
    let agent = Agent::without_project(&sandbox).await;
    let mut runs = tokio::task::JoinSet::new();
    let peer = agent.client.peer();
    for n in 0..20 {
        let peer = peer.clone();
        let arguments = json!({ "keys": ["KEY"], "command": format!("echo {n} $KEY") });
        runs.spawn(async move { (n, peer.call_tool(params("secret_run", arguments)).await) });
    }
    for (n, result) in runs.join_all().await {
        let answer = support::agent::Reply::from(result.expect("an answer")).output();
        assert_eq!(answer, (0, format!("{n} [REDACTED:KEY]\n"), String::new()));
    }
    agent.stop().await;
}

#[tokio::test]
async fn of_overlong_output_head_and_tail_are_kept() {
    let sandbox = Sandbox::new();
    sandbox
        .policy("version: 1\nallowed_commands: [seq, printf]\nlimits: { output_bytes: 64KiB }\n");
    sandbox.set("KEY", "s3cr3t-value");
    let agent = Agent::without_project(&sandbox).await;
    let answer = agent.run("KEY", "seq 1 200000").await.value();
    let text = answer["stdout"].as_str().expect("text");
    assert_eq!(
        (&answer["exit_code"], &answer["truncated"]),
        (&json!(0), &json!(true))
    );
    assert!(
        text.starts_with("1\n2\n3\n") && text.ends_with("199999\n200000\n"),
        "{} bytes",
        text.len()
    );
    assert!(
        (60_000..70_000).contains(&text.len()),
        "{} bytes",
        text.len()
    );
    let bytes = agent.run("KEY", "printf 'a\\377b\\000c'").await.output();
    assert_eq!(bytes, (0, "a\u{fffd}b\0c".to_owned(), String::new()));
    agent.stop().await;
}

#[tokio::test]
async fn what_cannot_be_hidden_or_is_over_is_not_used() {
    let sandbox = allowing("echo");
    sandbox.set("PIN", "123");
    sandbox.set("FOUR", "k4ey");
    sandbox
        .secretctl(["set", "OLD", "--expires", "4s"])
        .stdin("s3cr3t-value")
        .answer()
        .succeeded();
    sandbox.set("LD_PRELOAD", "s3cr3t-value");
    sandbox.set("a/b", "first-value");
    sandbox.set("a-b", "second-value");
    let agent = Agent::without_project(&sandbox).await;
    let refused = async |keys: Value| {
        agent
            .call("secret_run", json!({ "keys": keys, "command": "echo x" }))
            .await
            .refusal()
    };
    let short = "the value of secret PIN is too short to be hidden in output: it has fewer than 4 bytes\n\
                 A person can store a longer value, or run the command with secretctl run.";
    assert_eq!(refused(json!(["PIN"])).await, short);
    wait_until("the secret to expire", || {
        sandbox.secretctl(["get", "OLD"]).answer().stderr == "warning: OLD has expired\n"
    });
    let old = "secret OLD has expired\nA person can store a new value, or a new date with secretctl set --expires.";
    assert_eq!(refused(json!(["OLD"])).await, old);
    let reserved = "secret LD_PRELOAD would become the variable LD_PRELOAD, which programs take instructions from\n\
                    Use env_prefix, or other keys.";
    assert_eq!(refused(json!(["LD_PRELOAD"])).await, reserved);
    let both =
        "secrets a/b and a-b would both become the variable A_B\nUse env_prefix, or other keys.";
    assert_eq!(refused(json!(["a/b", "a-b"])).await, both);
    let none = "keys: give 1 to 100 names or patterns of secrets";
    assert_eq!(refused(json!([])).await, none);
    assert_eq!(
        agent.run("FOUR", "echo $FOUR").await.output(),
        (0, "[REDACTED:FOUR]\n".to_owned(), String::new())
    );
    agent.stop().await;
}
