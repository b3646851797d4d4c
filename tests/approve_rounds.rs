//! Approvals since version 2026-07-28 of the protocol, in which servers send no requests: the question is in the answer to the request, and
//! the client sends that again with what its user says.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::path::Path;
use std::process::Stdio;

use rmcp::ClientHandler;
use rmcp::model::{
    ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction,
    ErrorData, ProtocolVersion,
};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, RequestContext, RoleClient};
use rmcp::transport::TokioChildProcess;
use serde_json::{Value, json};

use support::agent::{Reply, introduction, params};
use support::approve::{POLICY, command, records, server, vault};
use support::process::wait_until;
use support::raw::Raw;
use support::{Invocation, Sandbox};

const RAN: &str = "deployed a with [REDACTED:TOKEN]\n";

/// A client without a handshake, whose user can be asked.
struct Client {
    raw: Raw,
    capabilities: Value,
}

impl Client {
    fn start(server: Invocation) -> Self {
        Self {
            raw: Raw::start(server),
            capabilities: json!({ "elicitation": {} }),
        }
    }

    /// Asks for a command, with what was said about it so far.
    fn run(&mut self, arguments: Value, said: Value) -> Value {
        let mut request = json!({
            "name": "secret_run",
            "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "claude-code", "version": "1" },
                "io.modelcontextprotocol/clientCapabilities": self.capabilities,
            },
        });
        for (name, value) in said.as_object().expect("an object") {
            request[name] = value.clone();
        }
        self.raw.request("tools/call", request);
        self.raw.next()["result"].clone()
    }

    /// Asks for a command that is to be asked about, and gives the question's state.
    fn asks(&mut self, arguments: Value, said: Value) -> String {
        let result = self.run(arguments, said);
        assert_eq!(result["resultType"], "input_required", "{result}");
        let state = result["requestState"].as_str().expect("a state");
        state.to_owned()
    }

    fn stop(self) {
        self.raw.stop();
    }
}

/// What a client sends along after its user has answered.
fn said(state: &str, answer: &str) -> Value {
    let content = json!({ "answer": answer });
    json!({
        "requestState": state,
        "inputResponses": { "answer": { "action": "accept", "content": content } },
    })
}

fn stdout(result: &Value) -> &str {
    let stdout = result["structuredContent"]["stdout"].as_str();
    stdout.unwrap_or_else(|| panic!("it did not run: {result}"))
}

fn refusal(result: &Value) -> &str {
    assert_eq!(result["isError"], true, "{result}");
    result["content"][0]["text"].as_str().expect("a text")
}

/// Actions, results, and how long ago answers were given.
fn log(sandbox: &Sandbox) -> Vec<Value> {
    let of = |record: &Value| json!([record["action"], record["result"], record["approval"]["by"]]);
    records(sandbox).iter().map(of).collect()
}

#[test]
fn the_question_is_in_the_answer() {
    let (sandbox, project) = vault();
    sandbox.policy(&format!(
        "{POLICY}env_aliases:\n  staging:\n    - {{ pattern: '*', target: 'staging/*' }}\n"
    ));
    let mut client = Client::start(server(&sandbox, &project, "1h"));
    let arguments = json!({
        "keys": ["TOKEN"], "command": "./deploy.sh", "env": "staging", "timeout": "90s",
        "args": ["to prod", "\u{1b}[2J\n  command      true", "\u{202e}tset", "p\u{430}y"],
    });
    let mut result = client.run(arguments.clone(), json!({}));
    let state = result["requestState"].as_str().expect("a state").to_owned();
    assert!(state.len() == 64 && state.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let message = &mut result["inputRequests"]["answer"]["params"]["message"];
    let shown = message.as_str().expect("a text");
    let shown = shown.replace(project.to_str().expect("text"), "PROJECT");
    assert_eq!(shown, include_str!("approve/shown.txt"));
    *message = Value::Null;
    let answers = [
        "allow once",
        "allow for this session",
        "deny",
        "deny for this session",
    ];
    assert_eq!(
        result,
        json!({
            "resultType": "input_required",
            "requestState": state,
            "inputRequests": { "answer": { "method": "elicitation/create", "params": {
                "mode": "form",
                "message": null,
                "requestedSchema": {
                    "type": "object",
                    "properties": { "answer": { "type": "string", "enum": answers } },
                    "required": ["answer"],
                },
            } } },
        })
    );
    assert_eq!(log(&sandbox), [json!(["secret.ask", "success", null])]);
    let result = client.run(arguments, said(&state, "allow once"));
    assert_eq!(
        stdout(&result),
        "deployed to prod with [REDACTED:staging/TOKEN]\n"
    );
    client.stop();
    assert_eq!(
        log(&sandbox),
        [
            json!(["secret.ask", "success", null]),
            json!(["secret.approve", "success", "the client"]),
            json!(["secret.run", "success", null]),
        ]
    );
}

#[test]
fn an_answer_is_good_for_its_question_once() {
    let (sandbox, project) = vault();
    let mut client = Client::start(server(&sandbox, &project, "1h"));
    let a = || command("./deploy.sh a");
    let first = client.asks(a(), json!({}));
    let yes = said(&first, "allow once");
    assert_eq!(stdout(&client.run(a(), yes.clone())), RAN);
    // Used up, made up, and not there.
    client.asks(a(), yes);
    client.asks(a(), said(&"0".repeat(64), "allow once"));
    client.asks(
        a(),
        json!({ "inputResponses": said("", "allow once")["inputResponses"] }),
    );
    // One question's yes is no other's: what was asked for is another command.
    let state = client.asks(a(), json!({}));
    let state = client.asks(command("./deploy.sh b"), said(&state, "allow once"));
    let changed = client.run(command("./deploy.sh c"), said(&state, "allow once"));
    let text = refusal(&changed);
    assert!(
        text.contains("it changed while a person was asked"),
        "{text}"
    );
    // For the session.
    let state = client.asks(a(), json!({}));
    let session = said(&state, "allow for this session");
    assert_eq!(stdout(&client.run(a(), session)), RAN);
    assert_eq!(stdout(&client.run(a(), json!({}))), RAN);
    client.stop();
}

#[test]
fn what_is_no_answer_is_a_no() {
    let (sandbox, project) = vault();
    let mut client = Client::start(server(&sandbox, &project, "1h"));
    for responses in [
        json!({}),
        json!({ "answer": {} }),
        json!({ "answer": "allow once" }),
        json!({ "answer": { "action": "accept" } }),
        json!({ "answer": { "action": "decline", "content": { "answer": "allow once" } } }),
        json!({ "answer": { "action": "accept", "content": { "answer": "deny" } } }),
        json!({ "other": { "action": "accept", "content": { "answer": "allow once" } } }),
    ] {
        let state = client.asks(command("./deploy.sh a"), json!({}));
        let said = json!({ "requestState": state, "inputResponses": responses });
        let result = client.run(command("./deploy.sh a"), said);
        let text = refusal(&result);
        assert!(text.contains("a person said no\n"), "{responses}: {text}");
    }
    let state = client.asks(command("./deploy.sh a"), json!({}));
    let result = client.run(
        command("./deploy.sh a"),
        said(&state, "deny for this session"),
    );
    assert!(refusal(&result).contains("for as long as this server runs"));
    client.stop();
}

#[test]
fn a_question_that_is_never_answered_is_recorded_as_such() {
    let (sandbox, project) = vault();
    let mut client = Client::start(server(&sandbox, &project, "50ms"));
    let state = client.asks(command("./deploy.sh a"), json!({}));
    let expected = [
        json!(["secret.ask", "success", null]),
        json!(["secret.approve", "denied", null]),
    ];
    wait_until("its end is recorded", || log(&sandbox) == expected);
    let reason = &records(&sandbox)[1]["reason"];
    let reason = reason.as_str().expect("a text");
    assert!(reason.contains("nobody answered within 50ms"), "{reason}");
    // An answer that comes too late is for nothing: it is asked anew.
    client.asks(command("./deploy.sh a"), said(&state, "allow once"));
    client.stop();
}

#[test]
fn only_so_many_questions_wait() {
    let (sandbox, project) = vault();
    let mut client = Client::start(server(&sandbox, &project, "1h"));
    for number in 0..16 {
        client.asks(command(&format!("./deploy.sh {number}")), json!({}));
    }
    let result = client.run(command("./deploy.sh 16"), json!({}));
    let text = refusal(&result);
    assert!(
        text.contains("16 other commands wait for an answer"),
        "{text}"
    );
    client.stop();
}

#[test]
fn only_a_client_that_can_ask_is_asked() {
    let (sandbox, project) = vault();
    let mut client = Client::start(server(&sandbox, &project, "50ms"));
    // Nor one that shows pages, and no forms.
    for capabilities in [json!({}), json!({ "elicitation": { "url": {} } })] {
        client.capabilities = capabilities;
        let result = client.run(command("./deploy.sh a"), json!({}));
        let text = refusal(&result);
        assert!(
            text.contains("A person can answer with secretctl approve while it waits."),
            "{text}"
        );
    }
    client.stop();

    let mut client = Client::start(server(&sandbox, &project, "0s"));
    let result = client.run(command("./deploy.sh a"), json!({}));
    let text = refusal(&result);
    assert!(text.contains("nobody can be asked here"), "{text}");
    client.stop();
}

/// A person who says the same to all questions.
struct Person(&'static str);

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        introduction(ClientCapabilities::builder().enable_elicitation().build())
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let content = json!({ "answer": self.0 });
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(content))
    }
}

/// Runs a command by a client of the newest version that asks this person.
async fn asked(sandbox: &Sandbox, project: &Path, answer: &'static str) -> Reply {
    let server = server(sandbox, project, "1h").into_command();
    let server = tokio::process::Command::from(server);
    let started = TokioChildProcess::builder(server).stderr(Stdio::inherit());
    let (transport, _) = started.spawn().expect("the server starts");
    let lifecycle = ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    };
    let client = Person(answer).serve_with_lifecycle(transport, lifecycle);
    let mut client = client.await.expect("a server");
    let call = params("secret_run", command("./deploy.sh a"));
    let reply = Reply::from(client.call_tool(call).await.expect("an answer"));
    client.close().await.expect("the server ends");
    reply
}

#[tokio::test]
async fn a_client_library_asks_its_user() {
    let (sandbox, project) = vault();
    let reply = asked(&sandbox, &project, "allow once").await;
    assert_eq!(reply.output().1, RAN);
    let refusal = asked(&sandbox, &project, "deny").await.refusal();
    assert!(refusal.contains("a person said no\n"), "{refusal}");
}
