//! Ways around a deny, and ordinary commands that look like one: one table, decided by the real server.
//!
//! `cargo test --test bypass -- --nocapture` prints it. All programs are small ones of the test's own, in a trusted directory.
#![allow(clippy::expect_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "the table is printed")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde::Deserialize;
use serde_json::json;
use support::Sandbox;
use support::agent::{Agent, Reply};

/// Nothing is refused but by the built-in blocks and these rules. `~` stands for the home directory.
const DENYING: &str = "version: 1
default_action: allow
trusted_dirs: [~/bin]
paths: { read: [~/lib, ~/sdk, ~/away, ~/alternatives] }
denied_commands: [awk, ~/bin/rm, perl5.36.0, x86_64-linux-gnu-gcc-12, chmod, chown, git push, docker compose, sudo, curl -k]
";
/// Nothing is allowed but these rules.
const ALLOWING: &str = "version: 1
trusted_dirs: [~/bin]
paths: { read: [~/lib, ~/sdk, ~/away] }
allowed_commands: [mytool, npm, gcloud, sh, git, ls, ~/away/mytool]
";

/// Programs that say by what name they were called.
const PROGRAMS: &[&str] = &[
    "bin/mawk",
    "bin/rm",
    "bin/perl5.36.0",
    "bin/x86_64-linux-gnu-gcc-12",
    "bin/busybox",
    "bin/u0",
    "bin/git",
    "bin/docker",
    "bin/kubectl",
    "bin/curl",
    "bin/grep",
    "bin/find",
    "bin/timeout",
    "bin/xargs",
    "bin/make",
    "bin/tar",
    "bin/ssh",
    "bin/python3",
    "bin/node",
    "bin/jq",
    "bin/sed",
    "bin/psql",
    "bin/cargo",
    "bin/aws",
    "bin/npx",
    "bin/vim",
    "bin/echo",
    "bin/bash",
    "lib/node_modules/npm/bin/npm-cli.js",
    "sdk/bin/gcloud",
    "away/tool",
];
/// Links, with what they lead to.
const LINKS: &[(&str, &str)] = &[
    ("alternatives/awk", "~/bin/mawk"),
    ("bin/awk", "~/alternatives/awk"),
    ("bin/gcc", "x86_64-linux-gnu-gcc-12"),
    ("bin/cc", "gcc"),
    ("bin/mytool", "/usr/bin/env"),
    ("away/mytool", "/usr/bin/env"),
    ("bin/ls", "busybox"),
    ("bin/cat", "busybox"),
    ("bin/chmod", "busybox"),
    ("bin/npm", "../lib/node_modules/npm/bin/npm-cli.js"),
    ("bin/gcloud", "~/sdk/bin/gcloud"),
    ("away/awk-by-another-name", "~/bin/mawk"),
    ("away/busybox-by-another-name", "~/bin/busybox"),
];
/// Hard links, with the file.
const HARD_LINKS: &[(&str, &str)] = &[
    ("bin/perl", "bin/perl5.36.0"),
    ("away/delete", "bin/rm"),
    ("bin/chown", "bin/u0"),
    ("bin/sum", "bin/u0"),
];
/// As many more names of `bin/u0`: a multi-call program that is known by nothing else.
const NAMES: usize = 15;

const TABLE: &str = include_str!("policies/bypass.yaml");

/// A command, and the rule that decides on it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    what: String,
    run: Vec<String>,
    is: String,
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "s3cr3t-value");
    let at = |name: &str| sandbox.home().join(name);
    for name in PROGRAMS {
        program(&at(name), "echo \"ran ${0##*/}\"");
    }
    for (name, target) in LINKS {
        let target = target.replace('~', &sandbox.home().display().to_string());
        fs::create_dir_all(at(name).parent().expect("a directory")).expect("writable");
        symlink(target, at(name)).expect("a link");
    }
    for (name, file) in HARD_LINKS {
        fs::hard_link(at(file), at(name)).expect("a link");
    }
    for number in 1..=NAMES {
        fs::hard_link(at("bin/u0"), at(&format!("bin/u{number}"))).expect("a link");
    }
    sandbox
}

fn program(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("writable");
    fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("own file");
}

/// What the server says, in short.
fn decision(reply: Reply, home: &str) -> String {
    if !reply.is_error {
        let stdout = reply.output().1;
        assert!(!stdout.contains("KEY="), "{stdout}");
        return "allowed".to_owned();
    }
    let text = reply.refusal();
    let rule = text.lines().find_map(|line| line.strip_prefix("Rule: "));
    let first = text.split(": ").next().unwrap_or_default();
    rule.unwrap_or(first).replace(home, "~")
}

async fn compare(policy: &str, title: &str) {
    let mut tables: BTreeMap<String, Vec<Row>> = serde_yaml::from_str(TABLE).expect("a table");
    let sandbox = sandbox();
    let home = sandbox.home().display().to_string();
    let absolute = |text: &str| text.replace("~/", &format!("{home}/"));
    sandbox.policy(&absolute(policy));
    let project = sandbox.project(&[("README", "")]);
    let agent = Agent::start(&sandbox, &project).await;
    let mut wrong = Vec::new();
    for Row { what, run, is } in tables.remove(title).expect("it is in the file") {
        let words: Vec<String> = run.iter().map(|word| absolute(word)).collect();
        let request = json!({ "keys": ["KEY"], "command": words[0], "args": words[1..] });
        let decided = decision(agent.call("secret_run", request).await, &home);
        println!("{decided:45} {:55} {what}", run.join(" "));
        if decided != is {
            wrong.push(format!("{what}: {}: {decided}, not {is}", run.join(" ")));
        }
    }
    agent.stop().await;
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test]
async fn a_deny_holds_under_every_name() {
    compare(DENYING, "a deny holds under every name").await;
}

#[tokio::test]
async fn what_prints_the_environment_is_seen_in_every_disguise() {
    compare(
        DENYING,
        "what prints the environment is seen in every disguise",
    )
    .await;
}

#[tokio::test]
async fn ordinary_commands_are_not_taken_for_others() {
    compare(DENYING, "ordinary commands are not taken for others").await;
}

#[tokio::test]
async fn an_allow_holds_for_the_name_that_it_names() {
    compare(ALLOWING, "an allow holds for the name that it names").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_that_was_judged_runs_even_if_its_directory_is_exchanged() {
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "s3cr3t-value");
    let home = sandbox.home().to_owned();
    program(&home.join("v1/bin/tool"), "echo good");
    program(&home.join("v2/bin/tool"), "echo evil");
    fs::create_dir(home.join("bin")).expect("writable");
    fs::hard_link(home.join("v2/bin/tool"), home.join("bin/denied")).expect("a link");
    symlink("v1", home.join("current")).expect("a link");
    sandbox.policy(
        "version: 1\nallowed_commands: [tool]\ndenied_commands: [denied]\ntrusted_dirs: [~/current/bin, ~/bin]\n\
         paths: { read: [~/v1, ~/v2] }\n",
    );
    let agent = Agent::without_project(&sandbox).await;
    assert_eq!(agent.run("KEY", "tool").await.output().1, "good\n");
    let over = AtomicBool::new(false);
    let exchange = |to: &str| {
        symlink(to, home.join("next")).expect("a link");
        fs::rename(home.join("next"), home.join("current")).expect("renamed");
    };
    let (mut ran, mut refused) = (0, 0);
    thread::scope(|scope| {
        let exchanging = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                ["v2", "v1"].into_iter().for_each(exchange);
            }
        });
        let runs = async {
            // Until both has happened, and often enough to meet the moment in between.
            while ran == 0 || refused == 0 || ran + refused < 200 {
                let reply = agent.run("KEY", "tool").await;
                if reply.is_error {
                    refused += 1;
                } else {
                    assert_eq!(reply.output(), (0, "good\n".to_owned(), String::new()));
                    ran += 1;
                }
            }
        };
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| runtime.block_on(runs));
        over.store(true, Ordering::Relaxed);
        exchanging.join().expect("no panic");
    });
    agent.stop().await;
}
