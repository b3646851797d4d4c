//! Commands that a person has to approve: what is shown, what an answer is good for, and that nobody else can give one.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rmcp::ClientHandler;
use rmcp::model::{
    self, ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction,
    ErrorData,
};
use rmcp::service::{RequestContext, RoleClient};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use support::Sandbox;
use support::agent::{Agent, Reply, introduction, params};
use support::approve::{POLICY, command, records, server, spawn_run, vault};
use support::process::wait_until;

/// How long a question waits that is never answered.
const SHORT: &str = "50ms";
/// A client whose user is the test.
struct Client {
    questions: mpsc::UnboundedSender<Question>,
}

/// What the user is asked.
struct Question {
    message: String,
    schema: Value,
    reply: oneshot::Sender<ElicitResult>,
    /// Told when the server takes the question back.
    withdrawn: oneshot::Receiver<()>,
}

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let asks = ClientCapabilities::builder().enable_elicitation().build();
        introduction(asks)
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let ElicitRequestParams::FormElicitationParams {
            message,
            requested_schema,
            ..
        } = request
        else {
            panic!("not a form")
        };
        let (reply, answer) = oneshot::channel();
        let (gone, withdrawn) = oneshot::channel();
        let question = Question {
            message,
            schema: serde_json::to_value(requested_schema).expect("JSON"),
            reply,
            withdrawn,
        };
        self.questions.send(question).expect("a user");
        tokio::select! {
            answer = answer => Ok(answer.expect("an answer")),
            () = context.ct.cancelled() => {
                let _ = gone.send(());
                std::future::pending().await
            }
        }
    }
}

impl Question {
    fn answer(self, answer: &str) {
        self.content(json!({ "answer": answer }));
    }

    fn content(self, content: Value) {
        let result = ElicitResult::new(ElicitationAction::Accept).with_content(content);
        self.reply.send(result).expect("somebody waits");
    }
}

/// An agent whose client asks its user.
async fn asking(
    sandbox: &Sandbox,
    project: &Path,
    wait: &str,
) -> (Agent<Client>, mpsc::UnboundedReceiver<Question>) {
    let (questions, asked) = mpsc::unbounded_channel();
    let server = server(sandbox, project, wait);
    let agent = Agent::with(Client { questions }, server, Stdio::inherit()).await;
    (agent, asked)
}

/// Runs a command and answers its one question.
async fn answered(
    agent: &Agent<Client>,
    asked: &mut mpsc::UnboundedReceiver<Question>,
    line: &str,
    answer: &str,
) -> Reply {
    let run = spawn_run(agent.client.peer(), command(line));
    asked.recv().await.expect("a question").answer(answer);
    run.await.expect("no panic")
}

#[tokio::test]
async fn a_person_is_shown_all_that_a_yes_covers() {
    let (sandbox, project) = vault();
    sandbox.policy(&format!(
        "{POLICY}env_aliases:\n  staging:\n    - {{ pattern: '*', target: 'staging/*' }}\n"
    ));
    let (agent, mut asked) = asking(&sandbox, &project, "1h").await;
    let arguments = json!({
        "keys": ["TOKEN"], "command": "./deploy.sh", "env": "staging", "timeout": "90s",
        "args": ["to prod", "\u{1b}[2J\n  command      true", "\u{202e}tset", "p\u{430}y"],
    });
    let run = spawn_run(agent.client.peer(), arguments);
    let question = asked.recv().await.expect("a question");
    let shown = question
        .message
        .replace(project.to_str().expect("text"), "PROJECT");
    assert_eq!(shown, include_str!("approve/shown.txt"));
    assert_eq!(
        question.schema,
        json!({
            "type": "object",
            "properties": { "answer": { "type": "string", "enum": [
                "allow once", "allow for this session", "deny", "deny for this session",
            ] } },
            "required": ["answer"],
        })
    );
    question.answer("allow once");
    let (code, stdout, _) = run.await.expect("no panic").output();
    assert_eq!(
        (code, &*stdout),
        (0, "deployed to prod with [REDACTED:staging/TOKEN]\n")
    );
    agent.stop().await;
}

#[tokio::test]
async fn an_answer_is_good_for_what_it_says() {
    let (sandbox, project) = vault();
    let (agent, mut asked) = asking(&sandbox, &project, "1h").await;
    let ran = "deployed a with [REDACTED:TOKEN]\n";
    for _ in 0..2 {
        let reply = answered(&agent, &mut asked, "./deploy.sh a", "allow once").await;
        assert_eq!(reply.output().1, ran);
    }
    let reply = answered(&agent, &mut asked, "./deploy.sh a", "deny").await;
    let no = "\nRule: allowed_commands[0]: ./deploy.sh\nWithout being asked, a person can allow it in the policy file: \
        remove from allowed_commands[0]:\napproval: ask";
    assert_eq!(
        reply.refusal(),
        format!("this needs a person's approval, and a person said no{no}")
    );
    let session = "allow for this session";
    answered(&agent, &mut asked, "./deploy.sh a", session)
        .await
        .output();
    assert_eq!(agent.run("TOKEN", "./deploy.sh a").await.output().1, ran);
    // Of nothing else: other words, another directory, another time limit, more keys.
    for other in [
        command("./deploy.sh b"),
        json!({ "keys": ["TOKEN"], "command": "./deploy.sh a", "timeout": "7s" }),
        json!({ "keys": ["TOKEN"], "command": "./deploy.sh a", "env_prefix": "X_" }),
        json!({ "keys": ["TOKEN", "staging/TOKEN"], "command": "./deploy.sh a" }),
        json!({ "keys": ["TOKEN"], "command": "./deploy.sh", "args": ["a", ""] }),
    ] {
        let run = spawn_run(agent.client.peer(), other);
        asked.recv().await.expect("a question").answer("deny");
        run.await.expect("no panic").refusal();
    }
    let never = answered(&agent, &mut asked, "./deploy.sh c", "deny for this session").await;
    let for_good =
        "this needs a person's approval, and a person said no for as long as this server runs";
    assert_eq!(never.refusal(), format!("{for_good}{no}"));
    let again = agent.run("TOKEN", "./deploy.sh c").await;
    assert_eq!(again.refusal(), format!("{for_good}{no}"));
    agent.stop().await;

    // The next server knows nothing of it.
    let (agent, mut asked) = asking(&sandbox, &project, "1h").await;
    answered(&agent, &mut asked, "./deploy.sh a", "deny")
        .await
        .refusal();
    agent.stop().await;
}

#[tokio::test]
async fn questions_and_answers_are_recorded_before_anything_runs() {
    let (sandbox, project) = vault();
    let (agent, mut asked) = asking(&sandbox, &project, "1h").await;
    let run = spawn_run(agent.client.peer(), command("./deploy.sh a"));
    let question = asked.recv().await.expect("a question");
    let waiting = records(&sandbox);
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0]["action"], "secret.ask");
    question.answer("allow for this session");
    run.await.expect("no panic").output();
    agent.run("TOKEN", "./deploy.sh a").await.output();
    answered(&agent, &mut asked, "./other.sh", "deny")
        .await
        .refusal();
    agent.stop().await;
    let all = records(&sandbox);
    let said: Vec<Value> = (all.iter())
        .map(|record| {
            let approval = &record["approval"];
            json!([
                record["action"],
                record["result"],
                approval["answer"],
                approval["by"]
            ])
        })
        .collect();
    let session = "allow for this session";
    let expected = [
        json!(["secret.ask", "success", null, null]),
        json!(["secret.approve", "success", session, "the client"]),
        json!(["secret.run", "success", null, null]),
        json!(["secret.approve", "success", session, "an earlier answer"]),
        json!(["secret.run", "success", null, null]),
        json!(["secret.ask", "success", null, null]),
        json!(["secret.approve", "denied", "deny", "the client"]),
    ];
    assert_eq!(said, expected);
    let digests: Vec<&Value> = all
        .iter()
        .map(|record| &record["approval"]["sha256"])
        .collect();
    assert_eq!(digests[0].as_str().expect("text").len(), 64);
    assert!(digests[..5].iter().all(|digest| *digest == digests[0]));
    assert!(digests[5] == digests[6] && digests[5] != digests[0]);
    sandbox.secretctl(["audit", "verify"]).answer().succeeded();
}

#[tokio::test]
async fn what_a_client_answers_beside_the_answers_is_a_no() {
    let (sandbox, project) = vault();
    let (agent, mut asked) = asking(&sandbox, &project, "1h").await;
    for content in [
        json!({ "answer": "allow once", "approved": true }),
        json!({ "answer": "yes" }),
        json!({ "answer": ["allow once"] }),
        json!({}),
    ] {
        let run = spawn_run(agent.client.peer(), command("./deploy.sh"));
        asked.recv().await.expect("a question").content(content);
        let refusal = run.await.expect("no panic").refusal();
        assert!(refusal.contains("a person said no\n"), "{refusal}");
    }
    for action in [ElicitationAction::Decline, ElicitationAction::Cancel] {
        let run = spawn_run(agent.client.peer(), command("./deploy.sh"));
        let question = asked.recv().await.expect("a question");
        question
            .reply
            .send(ElicitResult::new(action))
            .expect("somebody waits");
        run.await.expect("no panic").refusal();
    }
    agent.stop().await;
}

#[tokio::test]
async fn nobody_answers_in_time() {
    let (sandbox, project) = vault();
    let (agent, mut asked) = asking(&sandbox, &project, SHORT).await;
    let run = spawn_run(agent.client.peer(), command("./deploy.sh"));
    let question = asked.recv().await.expect("a question");
    question.withdrawn.await.expect("it is taken back");
    let refusal = run.await.expect("no panic").refusal();
    assert!(
        refusal.starts_with(
            "this needs a person's approval, and nobody answered within 50ms\nRule: allowed_commands[0]: ./deploy.sh\n\
             A person can answer with secretctl approve while it waits.\n"
        ),
        "{refusal}"
    );
    let last = records(&sandbox).pop().expect("a record");
    assert_eq!(
        (&last["action"], &last["result"]),
        (&json!("secret.approve"), &json!("denied"))
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_cancelled_request_takes_its_question_back() {
    let (sandbox, project) = vault();
    let (agent, mut asked) = asking(&sandbox, &project, "1h").await;
    let request = model::ClientRequest::CallToolRequest(model::CallToolRequest::new(params(
        "secret_run",
        command("./deploy.sh"),
    )));
    let options = rmcp::service::PeerRequestOptions::no_options();
    let peer = agent.client.peer();
    let call = peer.send_cancellable_request(request, options).await;
    let question = asked.recv().await.expect("a question");
    call.expect("sent").cancel(None).await.expect("cancelled");
    question.withdrawn.await.expect("it is taken back");
    wait_until("the record of it", || {
        let last = records(&sandbox).pop().expect("a record");
        last["reason"]
            .as_str()
            .is_some_and(|why| why.contains("cancelled"))
    });
    agent.stop().await;
}

#[tokio::test]
async fn what_changes_while_a_person_thinks_is_asked_again_once() {
    let (sandbox, project) = vault();
    let (agent, mut asked) = asking(&sandbox, &project, "1h").await;
    let change = |text: &str| {
        // The same file, written over.
        fs::write(project.join("deploy.sh"), text).expect("written");
    };
    let run = spawn_run(agent.client.peer(), command("./deploy.sh"));
    let first = asked.recv().await.expect("a question");
    change("#!/bin/sh\necho stolen $TOKEN\n");
    let shown = first.message.clone();
    first.answer("allow once");
    let second = asked.recv().await.expect("another question");
    assert_ne!(second.message, shown);
    second.answer("allow once");
    assert_eq!(
        run.await.expect("no panic").output().1,
        "stolen [REDACTED:TOKEN]\n"
    );

    let run = spawn_run(agent.client.peer(), command("./deploy.sh"));
    for number in 0..2 {
        let question = asked.recv().await.expect("a question");
        change(&format!("#!/bin/sh\necho {number} $TOKEN\n"));
        question.answer("allow once");
    }
    let refusal = run.await.expect("no panic").refusal();
    assert!(
        refusal.contains("it changed while a person was asked\n"),
        "{refusal}"
    );

    // An answer for the session is one about this file.
    answered(&agent, &mut asked, "./deploy.sh", "allow for this session")
        .await
        .output();
    change("#!/bin/sh\necho stolen again $TOKEN\n");
    answered(&agent, &mut asked, "./deploy.sh", "deny")
        .await
        .refusal();

    // What the policy says after the answer is what counts.
    let run = spawn_run(agent.client.peer(), command("./deploy.sh"));
    let question = asked.recv().await.expect("a question");
    sandbox.policy("version: 1\ndenied_commands: [./deploy.sh]\n");
    question.answer("allow for this session");
    let refusal = run.await.expect("no panic").refusal();
    assert!(refusal.contains("denied_commands[0]"), "{refusal}");
    agent.stop().await;
}

#[tokio::test]
async fn each_of_several_questions_has_its_own_answer() {
    let (sandbox, project) = vault();
    let (agent, mut asked) = asking(&sandbox, &project, "1h").await;
    // More than may run or wait at the same time: those that wait keep nobody from running.
    let lines: Vec<String> = (0..20)
        .map(|number| format!("./deploy.sh {number}"))
        .collect();
    let runs: Vec<_> = (lines.iter())
        .map(|line| spawn_run(agent.client.peer(), command(line)))
        .collect();
    let mut waiting = Vec::new();
    for _ in 0..16 {
        waiting.push(asked.recv().await.expect("a question"));
    }
    agent.run("TOKEN", "ls").await.output();
    for question in waiting {
        let line = question.message.lines().nth(2).expect("a command");
        let number: usize = line
            .rsplit(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number");
        question.answer(if number.is_multiple_of(2) {
            "allow once"
        } else {
            "deny"
        });
    }
    let mut refused_for_number = 0;
    for (number, run) in runs.into_iter().enumerate() {
        let reply = run.await.expect("no panic");
        if reply.is_error && reply.text.contains("16 other commands wait") {
            refused_for_number += 1;
        } else if number.is_multiple_of(2) {
            let expected = format!("deployed {number} with [REDACTED:TOKEN]\n");
            assert_eq!(reply.output().1, expected);
        } else {
            assert!(reply.refusal().contains("a person said no"));
        }
    }
    assert_eq!(refused_for_number, 4);
    agent.stop().await;
}
