//! Many processes on one vault at the same time, people's and agents' mixed: no change is lost, the log has one chain, and
//! nobody is told of a locked database.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::thread;

use serde_json::json;
use support::agent::Agent;
use support::{Answer, Sandbox};

/// How often each of them does what it does: it takes about a minute on two cores.
const ROUNDS: usize = 240;
const WRITERS: usize = 3;

/// Nobody hears of the others.
#[track_caller]
fn undisturbed(answer: Answer) -> Answer {
    let answer = answer.succeeded();
    assert!(!answer.stderr.contains("warning"), "{answer}");
    answer
}

/// Changes one field of a secret that all writers change, and a secret of its own.
fn write(sandbox: &Sandbox, writer: usize) {
    for round in 0..ROUNDS {
        let field = format!("f{writer}");
        let set = sandbox.secretctl(["set", "shared", "--field", &field]);
        undisturbed(set.stdin(format!("value-{writer}-{round}")).answer());
        let own = format!("own/{writer}");
        let set = sandbox
            .secretctl(["set", &own])
            .stdin(format!("own-value-{round}"));
        undisturbed(set.answer());
    }
}

/// Each of these is changed by one process, and all by one transaction at a time.
fn describe(sandbox: &Sandbox) {
    for round in 0..ROUNDS {
        let notes = format!("notes {round}");
        undisturbed(
            sandbox
                .secretctl(["set", "shared", "--notes", &notes])
                .answer(),
        );
    }
}

fn read(sandbox: &Sandbox) {
    for _ in 0..ROUNDS {
        let shared = undisturbed(sandbox.secretctl(["get", "shared", "--json"]).answer()).json();
        assert!(shared["fields"]["f0"].is_string(), "{shared}");
        undisturbed(sandbox.secretctl(["list", "--prefix", "own"]).answer());
    }
}

fn look_at_the_log(sandbox: &Sandbox) {
    for _ in 0..ROUNDS {
        undisturbed(sandbox.secretctl(["audit", "verify"]).answer());
        undisturbed(
            sandbox
                .secretctl(["audit", "list", "--limit", "5"])
                .answer(),
        );
    }
}

async fn work_as_an_agent(sandbox: &Sandbox) {
    let agent = Agent::without_project(sandbox).await;
    for _ in 0..ROUNDS {
        let (code, stdout, _) = agent.run("TOKEN", "sh -c 'echo $TOKEN'").await.output();
        assert_eq!((code, stdout.as_str()), (0, "[REDACTED:TOKEN]\n"));
        let listed = agent.call("secret_list", json!({})).await.value();
        assert!(listed.to_string().contains("\"shared\""), "{listed}");
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_processes_at_once_lose_nothing() {
    let sandbox = Sandbox::new();
    sandbox.policy("version: 1\nallowed_commands: [sh]\n");
    sandbox.set("TOKEN", "a-long-enough-token");
    for writer in 0..WRITERS {
        let field = format!("f{writer}");
        let set = sandbox.secretctl(["set", "shared", "--field", &field]);
        set.stdin("first-value").answer().succeeded();
    }
    let before = records(&sandbox);
    let sandbox = Arc::new(sandbox);
    let mut people = Vec::new();
    let mut start = |act: Box<dyn Fn(&Sandbox) + Send>| {
        let sandbox = Arc::clone(&sandbox);
        people.push(thread::spawn(move || act(&sandbox)));
    };
    for writer in 0..WRITERS {
        start(Box::new(move |sandbox| write(sandbox, writer)));
    }
    start(Box::new(describe));
    start(Box::new(read));
    start(Box::new(look_at_the_log));
    let agents = [0, 1].map(|_| {
        let sandbox = Arc::clone(&sandbox);
        tokio::spawn(async move { work_as_an_agent(&sandbox).await })
    });
    for agent in agents {
        agent.await.expect("no panic");
    }
    for person in people {
        person.join().expect("no panic");
    }

    let last = ROUNDS - 1;
    let shared = sandbox
        .secretctl(["get", "shared", "--json"])
        .answer()
        .succeeded()
        .json();
    for writer in 0..WRITERS {
        assert_eq!(
            shared["fields"][format!("f{writer}")],
            format!("value-{writer}-{last}")
        );
        let own = sandbox
            .secretctl(["get", &format!("own/{writer}")])
            .answer();
        own.is(0, format!("own-value-{last}"), "");
    }
    assert_eq!(shared["notes"], format!("notes {last}"));
    // One record for each thing that was done, and for the start of each server; two for a run.
    let done = ROUNDS * (2 * WRITERS + 1 + 2 + 2 * 3) + 2;
    let seen = 1 + WRITERS;
    assert_eq!(records(&sandbox), before + done + seen);
    let verified = sandbox.secretctl(["audit", "verify"]).answer().succeeded();
    assert!(
        verified.text().contains("Chain integrity: OK"),
        "{verified}"
    );
}

/// How many records the log has.
fn records(sandbox: &Sandbox) -> usize {
    let verified = sandbox
        .secretctl(["audit", "verify", "--json"])
        .answer()
        .succeeded();
    let records = verified.json()["records"].as_u64().expect("a number");
    usize::try_from(records).expect("small")
}
