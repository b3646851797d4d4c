//! Commands that a person has to approve: what is shown, what an answer is good for, and that nobody else can give one.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

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
/// Longest wait for a question: generous, since the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);
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

/// The next question. One that does not come is a failure, and no endless test.
async fn next(asked: &mut mpsc::UnboundedReceiver<Question>) -> Question {
    let question = tokio::time::timeout(DEADLINE, asked.recv()).await;
    question.expect("a question in time").expect("a question")
}

/// Runs a command and answers its one question.
async fn answered(
    agent: &Agent<Client>,
    asked: &mut mpsc::UnboundedReceiver<Question>,
    line: &str,
    answer: &str,
) -> Reply {
    let run = spawn_run(agent.client.peer(), command(line));
    next(asked).await.answer(answer);
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
    let question = next(&mut asked).await;
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
        next(&mut asked).await.answer("deny");
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
    let question = next(&mut asked).await;
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
        next(&mut asked).await.content(content);
        let refusal = run.await.expect("no panic").refusal();
        assert!(refusal.contains("a person said no\n"), "{refusal}");
    }
    for action in [ElicitationAction::Decline, ElicitationAction::Cancel] {
        let run = spawn_run(agent.client.peer(), command("./deploy.sh"));
        let question = next(&mut asked).await;
        question
            .reply
            .send(ElicitResult::new(action))
            .expect("somebody waits");
        run.await.expect("no panic").refusal();
    }
    agent.stop().await;
}

#[tokio::test]
async fn what_a_person_would_not_read_to_its_end_is_not_asked() {
    let (sandbox, project) = vault();
    let (agent, asked) = asking(&sandbox, &project, SHORT).await;
    let long = json!({ "keys": ["TOKEN"], "command": "./deploy.sh", "args": ["x".repeat(4000)] });
    let refusal = agent.call("secret_run", long).await.refusal();
    let why = "a person has to approve it, and it has more than 4000 characters";
    assert!(refusal.contains(why), "{refusal}");
    assert!(asked.is_empty());
    agent.stop().await;
}

#[tokio::test]
async fn nobody_answers_in_time() {
    let (sandbox, project) = vault();
    let (agent, mut asked) = asking(&sandbox, &project, SHORT).await;
    let run = spawn_run(agent.client.peer(), command("./deploy.sh"));
    let question = next(&mut asked).await;
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
    let question = next(&mut asked).await;
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
    let first = next(&mut asked).await;
    change("#!/bin/sh\necho stolen $TOKEN\n");
    let shown = first.message.clone();
    first.answer("allow once");
    let second = next(&mut asked).await;
    assert_ne!(second.message, shown);
    second.answer("allow once");
    assert_eq!(
        run.await.expect("no panic").output().1,
        "stolen [REDACTED:TOKEN]\n"
    );

    let run = spawn_run(agent.client.peer(), command("./deploy.sh"));
    for number in 0..2 {
        let question = next(&mut asked).await;
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
    let question = next(&mut asked).await;
    sandbox.policy("version: 1\ndenied_commands: [./deploy.sh]\n");
    question.answer("allow for this session");
    let refusal = run.await.expect("no panic").refusal();
    assert!(refusal.contains("denied_commands[0]"), "{refusal}");
    agent.stop().await;
}

/// Something that an agent, or a person, does while a question waits.
type Change = fn(&Sandbox, &Path);

#[tokio::test]
async fn an_answer_is_for_the_secrets_the_file_and_the_directory_that_were_shown() {
    let (sandbox, project) = vault();
    let alias = "env_aliases: { some: [{ pattern: TOKEN, target: staging/TOKEN }] }";
    sandbox.policy(&format!("{POLICY}{alias}\n"));
    let fields = [
        "set",
        "db",
        "--field",
        "user=some",
        "--field",
        "password=s3cret-value-3",
        "--binding",
        "DB_USER=user",
    ];
    sandbox.secretctl(fields).answer().succeeded();
    for name in ["sub", "other"] {
        fs::create_dir(project.join(name)).expect("a directory");
    }
    let (agent, mut asked) = asking(&sandbox, &project, "1h").await;
    let of = |keys: &str, command: &str| json!({ "keys": [keys], "command": command });
    let with = |name: &str, value: &str, command: &str| json!({ "keys": ["TOKEN"], "command": command, name: value });
    let in_sub = with("cwd", "sub", "../deploy.sh");
    let cases: [(Value, Change, &str); 5] = [
        (
            of("db", "./deploy.sh"),
            |sandbox, _| {
                let bind = ["set", "db", "--binding", "DB_WORD=password"];
                sandbox.secretctl(bind).answer().succeeded();
            },
            "               DB_WORD = db, field password",
        ),
        (
            of("TOK*", "./deploy.sh"),
            |sandbox, _| sandbox.set("TOKEN_2", "s3cret-value-4"),
            "               TOKEN_2 = TOKEN_2",
        ),
        (
            in_sub.clone(),
            |_, project| {
                fs::rename(project.join("sub"), project.join("away")).expect("renamed");
                symlink("other", project.join("sub")).expect("a link");
            },
            "  directory    PROJECT/other",
        ),
        (
            of("TOKEN", "./deploy.sh again"),
            |_, project| {
                let text = "#!/bin/sh\necho stolen $TOKEN\n";
                fs::write(project.join("new.sh"), text).expect("written");
                fs::set_permissions(project.join("new.sh"), fs::Permissions::from_mode(0o755))
                    .expect("own");
                fs::rename(project.join("new.sh"), project.join("deploy.sh")).expect("renamed");
            },
            "  its sha256   ",
        ),
        (
            with("env", "some", "./deploy.sh"),
            |sandbox, _| {
                let alias = "env_aliases: { some: [{ pattern: TOKEN, target: TOKEN }] }";
                sandbox.policy(&format!("{POLICY}{alias}\n"));
            },
            "  secrets      TOKEN = TOKEN",
        ),
    ];
    for (arguments, change, line) in cases {
        let run = spawn_run(agent.client.peer(), arguments);
        let first = next(&mut asked).await;
        let shown = first.message.clone();
        change(&sandbox, &project);
        first.answer("allow for this session");
        let second = next(&mut asked).await;
        let is_new = |line: &&str| shown.lines().all(|before| before != *line);
        let new: Vec<&str> = second.message.lines().filter(is_new).collect();
        let line = line.replace("PROJECT", project.to_str().expect("text"));
        assert!(
            matches!(new.as_slice(), [one] if one.starts_with(&line)),
            "{new:?}"
        );
        second.answer("deny");
        let refusal = run.await.expect("no panic").refusal();
        assert!(refusal.contains("a person said no\n"), "{refusal}");
    }

    // What leads out of the project by then is no directory to run in.
    let run = spawn_run(agent.client.peer(), in_sub);
    let question = next(&mut asked).await;
    fs::remove_file(project.join("sub")).expect("removed");
    symlink("/etc", project.join("sub")).expect("a link");
    question.answer("allow once");
    let refusal = run.await.expect("no panic").refusal();
    assert!(
        refusal.contains("it is not a directory in the project\n"),
        "{refusal}"
    );
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
        waiting.push(next(&mut asked).await);
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
