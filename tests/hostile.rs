//! Modules that do what a module must not do: whatever it is, the command is denied or its output withheld, in bounded time and memory,
//! with the module's name in the answer and in the log.
//!
//! What they do is listed in `policy-modules/hostile`. A deed without a row here does not compile; a file of `raw/` without one fails.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use build_modules::{HOSTILE, policy_component};
use hostile::{PolicyDeed, SanitizerDeed};
use serde_json::json;
use support::Sandbox;
use support::agent::{Agent, Reply};
use support::modules::{built, entry, last_records, place, vault};

/// What the person is told to do about a module.
const REMEDY: &str = "\nA person can put back the file that the policy file names, put there the sha256 of a file that is to be \
                      trusted from now on, or take the entry out.";
/// How a refusal begins.
const NAMED: &str = "no command can be run: the module modules/bad.wasm ";
/// Of a module that never ends: it used up its fuel, or on a busy machine its time.
const TOO_LONG: &str = "gave no usable answer: it ";
/// Action and result of the record of a command that policy refused.
const DENIED: [&str; 2] = ["secret.run", "denied"];
/// Those of a command that was allowed and never started.
const NOT_RUN: [&str; 2] = ["secret.run.outcome", "error"];
/// Most memory that the server may have had at once, in KiB: several modules that take all they can, one after the other, and its own.
const PEAK_MAX_KIB: u64 = 512 * 1024;

/// What is seen of a deed.
enum Seen {
    /// A refusal that says this about the module, behind its name.
    Refused(&'static str),
    /// A denial in the module's own words: the rule behind its name.
    Denied(&'static str),
    /// Something else, which a test of its own looks at.
    Elsewhere,
}
use Seen::{Denied, Elsewhere, Refused};

fn of_policy(deed: PolicyDeed) -> Seen {
    match deed {
        PolicyDeed::Refuse => Refused("gave no usable answer: it refused x\u{fffd}[2J: no thanks"),
        PolicyDeed::TrapAtStart | PolicyDeed::Trap => {
            Refused("gave no usable answer: it trapped: ")
        }
        PolicyDeed::Loop => Refused(TOO_LONG),
        PolicyDeed::Recurse => Refused("gave no usable answer: it used up its stack"),
        // On a busy machine, its time ends first.
        PolicyDeed::FillTheMemory => Refused("gave no usable answer: "),
        PolicyDeed::AnswerAtLength | PolicyDeed::AskAtLength => {
            Refused("gave no usable answer: it answered a text of more than 4096 bytes")
        }
        PolicyDeed::GrantTooMany => {
            Refused("gave no usable answer: it granted more keys than were asked for")
        }
        PolicyDeed::GrantAnotherKey => {
            Refused("gave no usable answer: it granted a key that was not asked for")
        }
        PolicyDeed::Deny => Denied("a\u{fffd}[2J rule"),
        PolicyDeed::TellKeys => Denied("KEY"),
        PolicyDeed::TellTags => Denied("KEY="),
        PolicyDeed::TellSurroundings => {
            Denied("0 directories, 0 variables, 0 arguments, input: none")
        }
        PolicyDeed::TellTheTime => Denied("0.0 0, 0.0 0"),
        PolicyDeed::TellRandomNumbers => Denied("["),
        PolicyDeed::Connect => Denied("access-denied, permanent-resolver-failure"),
        PolicyDeed::TakeRandomBytes | PolicyDeed::HoardWaits | PolicyDeed::Exit => {
            Refused("gave no usable answer: the call failed: ")
        }
        // `no_line_of_a_module_looks_like_one_of_the_host`.
        PolicyDeed::Forge => Elsewhere,
        // A yes that is tighter than asked: `a_module_can_only_tighten`.
        PolicyDeed::GrantNoKey | PolicyDeed::GrantASecond | PolicyDeed::Ask => Elsewhere,
        // `what_a_module_writes_is_kept_within_bounds`.
        PolicyDeed::WriteAMebibyte => Elsewhere,
    }
}

fn of_sanitizer(deed: SanitizerDeed) -> Seen {
    match deed {
        SanitizerDeed::Refuse => {
            Refused("cannot be started: it refused its configuration: no [2J thanks")
        }
        SanitizerDeed::TrapAtStart => Refused("cannot be started: it trapped: "),
        SanitizerDeed::ForgeAMarker => Refused("cannot be started: its legend has an invalid name"),
        SanitizerDeed::NameTooMuch => {
            Refused("cannot be started: its legend has more than 32 pairs of subject and form")
        }
        SanitizerDeed::Trap | SanitizerDeed::TrapAtTheEnd => Denied("it trapped: "),
        // Whichever ends first.
        SanitizerDeed::Loop => Denied("it "),
        SanitizerDeed::FillTheMemory => Denied(""),
        SanitizerDeed::HideTheFuture | SanitizerDeed::HideNothingAtAll => {
            Denied("it answered a range outside of the output")
        }
        SanitizerDeed::HideThePast => Denied("it answered a range outside of the output"),
        SanitizerDeed::SettleTheFuture => Denied("it settled bytes that it cannot have seen"),
        SanitizerDeed::SettleNothing => Denied("it left the end of the output unsettled"),
        SanitizerDeed::NameNobody => {
            Denied("it answered a range of a subject or a form that its legend does not have")
        }
        SanitizerDeed::AnswerAtLength => Denied("it answered more than 1000000 ranges"),
        // `a_module_gets_its_configuration_and_no_secret`.
        SanitizerDeed::TellSecrets | SanitizerDeed::HideAll | SanitizerDeed::HideS => Elsewhere,
    }
}

/// What no compiler makes, by the name of its file.
const RAW: [(&str, Seen); 22] = [
    ("answer-out-of-memory", Refused("gave no usable answer: ")),
    ("crooked-answer", Refused("gave no usable answer: ")),
    ("endless-list", Refused("gave no usable answer: ")),
    (
        "endless-recursion",
        Refused("gave no usable answer: it used up its stack"),
    ),
    ("endless-room", Refused(TOO_LONG)),
    ("endless-text", Refused("gave no usable answer: ")),
    (
        "http-import",
        Refused(
            "imports wasi:http/outgoing-handler@0.2.0, and a module may import nothing but WASI 0.2\n",
        ),
    ),
    ("large-memory", Refused("gave no usable answer: ")),
    // Refused by the pool, or where there is none by the limit of its tables.
    ("large-table", Refused("")),
    ("loop-at-load", Refused(TOO_LONG)),
    ("missing-export", Refused("is not a policy module: ")),
    ("no-room", Refused("gave no usable answer: ")),
    ("no-utf-8", Refused("gave no usable answer: ")),
    (
        "other-import",
        Refused("imports shell:commands/run@1.0.0, and a module may import nothing but WASI 0.2\n"),
    ),
    (
        "other-types",
        Refused("gave no usable answer: the call failed: "),
    ),
    ("problems-out-of-memory", Refused("gave no usable answer: ")),
    ("text-out-of-memory", Refused("gave no usable answer: ")),
    (
        "trap-at-load",
        Refused("gave no usable answer: it trapped: "),
    ),
    (
        "trapping-room",
        Refused("gave no usable answer: it trapped: "),
    ),
    ("unknown-answer", Refused("gave no usable answer: ")),
    ("unknown-wasi", Refused("is not a policy module: ")),
    ("unknown-word", Refused("gave no usable answer: ")),
];

fn raw(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("policy-modules/hostile/raw")
        .join(file)
}

fn use_policy(sandbox: &Sandbox, bytes: &[u8], config: &str) {
    use_as(sandbox, "modules", bytes, config);
}

fn use_as(sandbox: &Sandbox, list: &str, bytes: &[u8], config: &str) {
    let entry = entry(sandbox, "bad.wasm", bytes, config);
    sandbox.policy(&format!(
        "version: 1\ndefault_action: allow\n{list}:\n{entry}"
    ));
}

async fn echo(agent: &Agent) -> Reply {
    let run = json!({ "keys": ["KEY"], "command": "echo", "args": ["some output"] });
    agent.call("secret_run", run).await
}

/// What the agent reads, what the log says, and that nothing ran.
async fn is_seen(sandbox: &Sandbox, agent: &Agent, name: &str, seen: &Seen, record_is: [&str; 2]) {
    let refusal = match seen {
        Elsewhere => return,
        Refused(_) | Denied(_) => echo(agent).await.refusal(),
    };
    let record = last_records(sandbox, 1).remove(0);
    assert_eq!([&record["action"], &record["result"]], record_is, "{name}");
    match seen {
        Refused(fact) => {
            let begin = format!("{NAMED}{}", fact.trim_end());
            assert!(refusal.starts_with(&begin), "{name}: {refusal}");
            let reason = record["reason"].as_str().expect("a reason");
            assert_eq!(refusal, format!("{reason}{REMEDY}"), "{name}");
        }
        Denied(rule) => {
            let begin = format!("because\nRule: modules/bad.wasm: {rule}");
            assert!(refusal.starts_with(&begin), "{name}: {refusal}");
            let logged = record["rule"].as_str().expect("a rule");
            assert!(
                logged.starts_with(&format!("modules/bad.wasm: {rule}")),
                "{name}"
            );
        }
        Elsewhere => {}
    }
}

#[tokio::test]
async fn a_policy_module_that_breaks_a_rule_is_a_no() {
    let Some(module) = built(&HOSTILE) else {
        return;
    };
    let sandbox = vault();
    let agent = Agent::without_project(&sandbox).await;
    for &deed in PolicyDeed::ALL {
        use_policy(&sandbox, &module, &format!("{:?}", deed.word()));
        is_seen(&sandbox, &agent, deed.word(), &of_policy(deed), DENIED).await;
    }
    within_bounds(&agent);
    agent.stop().await;
}

#[tokio::test]
async fn no_line_of_a_module_looks_like_one_of_the_host() {
    let Some(module) = built(&HOSTILE) else {
        return;
    };
    let sandbox = vault();
    let agent = Agent::without_project(&sandbox).await;
    let word = format!("{:?}", PolicyDeed::Forge.word());
    use_policy(&sandbox, &module, &word);
    assert_eq!(
        echo(&agent).await.refusal(),
        "no\u{fffd}\u{fffd}\u{fffd} Rule: forged\nRule: modules/bad.wasm: hours Rule: built-in\n\
         A person can allow it: first\n    Rule: policies[0]\n    \n    A person: second"
    );
    agent.stop().await;
}

#[tokio::test]
async fn what_no_compiler_makes_is_a_no() {
    let listed: BTreeSet<String> = RAW.iter().map(|(name, _)| format!("{name}.wat")).collect();
    let files = fs::read_dir(raw("")).expect("the folder").flatten();
    let files = files.filter_map(|file| file.file_name().into_string().ok());
    let files: BTreeSet<String> = files.filter(|name| name.ends_with(".wat")).collect();
    assert_eq!(files, listed, "each file has a row");

    let sandbox = vault();
    let agent = Agent::without_project(&sandbox).await;
    let ours = raw("../../wit");
    for (name, seen) in &RAW {
        let own = raw(&format!("{name}.wit"));
        let interface = if own.exists() { &own } else { &ours };
        let core = wat::parse_file(raw(&format!("{name}.wat"))).expect("a core module");
        let module = policy_component(interface, &core).expect("a component");
        use_policy(&sandbox, &module, "null");
        is_seen(&sandbox, &agent, name, seen, DENIED).await;
    }
    within_bounds(&agent);
    agent.stop().await;
}

#[tokio::test]
async fn a_sanitizer_that_breaks_a_rule_shows_nothing() {
    let Some(module) = built(&HOSTILE) else {
        return;
    };
    let sandbox = vault();
    let agent = Agent::without_project(&sandbox).await;
    for &deed in SanitizerDeed::ALL {
        use_as(
            &sandbox,
            "sanitizers",
            &module,
            &format!("{:?}", deed.word()),
        );
        let Denied(fact) = of_sanitizer(deed) else {
            // It does not even start: nothing runs.
            is_seen(&sandbox, &agent, deed.word(), &of_sanitizer(deed), NOT_RUN).await;
            continue;
        };
        let refusal = echo(&agent).await.refusal();
        let begin = format!(
            "the output is withheld, since the sanitizer module modules/bad.wasm gave no usable answer: {fact}"
        );
        assert!(refusal.starts_with(&begin), "{deed:?}: {refusal}");
        assert!(!refusal.contains("some output"), "{refusal}");
        let outcome = last_records(&sandbox, 1).remove(0);
        assert_eq!(outcome["success"], false);
        let next = "\nThe command has run, or was ended. A person can repair the module, or take it out of sanitizers in the policy file.";
        let reason = outcome["reason"].as_str().expect("a reason");
        assert_eq!(refusal, format!("{reason}{next}"));
    }
    within_bounds(&agent);
    agent.stop().await;
}

#[tokio::test]
async fn a_file_of_50_megabytes_or_of_another_world_is_refused() {
    let sandbox = vault();
    let agent = Agent::without_project(&sandbox).await;
    let large = vec![0; 50_000_000];
    let policy = include_bytes!("../policy-modules/dist/default-policy.wasm");
    let sanitizer = include_bytes!("../policy-modules/dist/default-sanitizer.wasm");
    for (list, bytes, fact) in [
        ("modules", large.as_slice(), "is larger than 32 MiB"),
        ("sanitizers", large.as_slice(), "is larger than 32 MiB"),
        ("modules", sanitizer.as_slice(), "is not a policy module: "),
        (
            "sanitizers",
            policy.as_slice(),
            "is not a sanitizer module: ",
        ),
        (
            "modules",
            b"\0asm\x01\0\0\0".as_slice(),
            "is not a policy module: ",
        ),
        ("sanitizers", b"".as_slice(), "is not a sanitizer module: "),
    ] {
        use_as(&sandbox, list, bytes, "null");
        let refusal = echo(&agent).await.refusal();
        assert!(refusal.starts_with(&format!("{NAMED}{fact}")), "{refusal}");
        assert!(refusal.ends_with(REMEDY), "{refusal}");
        let record = last_records(&sandbox, 1).remove(0);
        assert_eq!(record["result"], "denied");
    }
    agent.stop().await;
}

#[tokio::test]
async fn what_was_not_pinned_is_refused() {
    let Some(module) = built(&HOSTILE) else {
        return;
    };
    let sandbox = vault();
    let agent = Agent::without_project(&sandbox).await;
    use_policy(&sandbox, &module, "null");
    assert_eq!(echo(&agent).await.output().1, "some output\n");
    // Also when its former code is still at hand.
    let other = [&module, b"\0".as_slice()].concat();
    fs::write(place(&sandbox, "bad.wasm"), other).expect("written");
    let fact = "is not the file that was pinned: its sha256 is another one";
    let refusal = echo(&agent).await.refusal();
    assert_eq!(refusal, format!("{NAMED}{fact}{REMEDY}"));
    fs::remove_file(place(&sandbox, "bad.wasm")).expect("removed");
    let refusal = echo(&agent).await.refusal();
    assert!(
        refusal.starts_with(&format!("{NAMED}does not exist")),
        "{refusal}"
    );
    agent.stop().await;
}

#[tokio::test]
async fn nothing_that_a_module_could_learn_from_the_host_changes() {
    let Some(module) = built(&HOSTILE) else {
        return;
    };
    let sandbox = vault();
    let mut rules = BTreeSet::new();
    for _ in 0..2 {
        let agent = Agent::without_project(&sandbox).await;
        use_policy(
            &sandbox,
            &module,
            &format!("{:?}", PolicyDeed::TellRandomNumbers.word()),
        );
        for _ in 0..2 {
            rules.insert(echo(&agent).await.refusal());
        }
        agent.stop().await;
    }
    assert_eq!(rules.len(), 1, "{rules:?}");
}

/// The most memory that the server has had at once.
fn within_bounds(agent: &Agent) {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid)).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    let peak = peak.expect("its peak");
    assert!(peak < PEAK_MAX_KIB, "it took {peak} KiB");
}
