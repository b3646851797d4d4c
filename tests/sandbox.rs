//! The jail, seen from both doors: what a command can reach in it, what opens more, and what is said where it does not hold.
//!
//! What each layer stops is tested with the runner; here it is that both doors ask for the right jail.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::agent::{Agent, Reply, params};
use support::modules::last_records;
use support::process::{Mark, kill, wait_until};
use support::{Answer, Sandbox};

/// A vault with one secret, and this policy.
fn vault(policy: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "s3cr3t-value");
    sandbox.policy(&format!(
        "version: 1\nallowed_commands: [sh, tool, cat]\n{policy}"
    ));
    sandbox
}

/// Writes a file that everybody may read, so that nothing but the jail keeps it from being read.
fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().expect("not the root")).expect("a directory");
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("an own file");
}

async fn shell(agent: &Agent, script: &str, arguments: &[&str], cwd: Option<&str>) -> Reply {
    let mut args = vec!["-c", script, "sh"];
    args.extend(arguments);
    let mut run = json!({ "keys": ["KEY"], "command": "sh", "args": args });
    if let Some(cwd) = cwd {
        run["cwd"] = json!(cwd);
    }
    agent.call("secret_run", run).await
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[tokio::test]
async fn a_command_sees_the_system_and_nothing_of_the_home_directory() {
    let sandbox = vault("");
    let note = sandbox.home().join("note");
    write(&note, "private", 0o644);
    let project = sandbox.project(&[("file", "of the project")]);
    let agent = Agent::start(&sandbox, &project).await;
    let script =
        "for path; do [ -e \"$path\" ] && echo \"$path\"; done; echo $HOME $TMPDIR $(pwd); ls -A";
    let vault = sandbox.vault();
    let looked_for = [
        text(&note),
        text(&vault),
        text(&project),
        env!("CARGO_MANIFEST_DIR"),
        "/root",
        "/etc/passwd",
    ];
    let outside = shell(&agent, script, &looked_for, None).await.output();
    let seen = "/etc/passwd\n/tmp /tmp /tmp\n".to_owned();
    assert_eq!(outside, (0, seen, String::new()));

    let place = project.canonicalize().expect("it exists");
    let inside = shell(&agent, script, &looked_for, Some(".")).await.output();
    let seen = format!(
        "{}\n/etc/passwd\n/tmp /tmp {}\nfile\n",
        text(&project),
        text(&place)
    );
    assert_eq!(inside, (0, seen, String::new()));
    agent.stop().await;
}

#[tokio::test]
async fn a_command_in_the_project_changes_the_project_and_nothing_else() {
    let sandbox = vault("");
    let project = sandbox.project(&[("sub/file", "old")]);
    let agent = Agent::start(&sandbox, &project).await;
    let other = sandbox.home().join("other");
    fs::create_dir(&other).expect("made");
    // The system is only asked about: where the jail is broken, a test must not write there.
    let script = "echo new > file; mkdir ../made; echo x > \"$1/written\"; echo x > \"$2/written\"; \
                  for dir in / /etc /usr /usr/bin; do [ -w $dir ] && echo $dir; done; :";
    let beyond = [text(sandbox.home()), text(&other)];
    let (code, stdout, _) = shell(&agent, script, &beyond, Some("sub")).await.output();
    assert_eq!((code, &*stdout), (0, ""));
    assert_eq!(fs::read(project.join("sub/file")).expect("there"), b"new\n");
    assert!(project.join("made").is_dir());
    for dir in beyond {
        assert!(!Path::new(dir).join("written").exists(), "{dir}");
    }
    // Outside of the project, there is none.
    let script = "echo newer > \"$1/sub/file\"";
    let (code, ..) = shell(&agent, script, &[text(&project)], None)
        .await
        .output();
    assert_ne!(code, 0);
    assert_eq!(fs::read(project.join("sub/file")).expect("there"), b"new\n");
    agent.stop().await;
}

#[tokio::test]
async fn the_policy_file_opens_files_for_reading_and_for_writing() {
    let sandbox = vault("paths: { read: ['~/conf*', '~/none'], write: ['~/cache'] }\n");
    let home = sandbox.home();
    write(&home.join("config/file"), "configured\n", 0o644);
    write(&home.join("confidence"), "high\n", 0o644);
    write(&home.join("cache/file"), "cached\n", 0o644);
    write(&home.join("other"), "closed\n", 0o644);
    let agent = Agent::without_project(&sandbox).await;
    let script = "cd \"$1\"; cat config/file confidence cache/file other 2>/dev/null; ls; \
                  echo x > cache/new; echo x > config/new";
    let (_, stdout, stderr) = shell(&agent, script, &[text(home)], None).await.output();
    assert_eq!(
        stdout,
        "configured\nhigh\ncached\ncache\nconfidence\nconfig\n"
    );
    assert!(stderr.contains("config/new"), "{stderr}");
    assert_eq!(fs::read(home.join("cache/new")).expect("made"), b"x\n");
    assert!(!home.join("config/new").exists());

    sandbox.policy("version: 1\nallowed_commands: [sh]\npaths: { write: ['~/.secret*'] }\n");
    let refusal = shell(&agent, "true", &[], None).await.refusal();
    assert!(refusal.contains("has an invalid entry\n"), "{refusal}");
    let fact = format!(
        "has 1 invalid entry: paths.write[0]: {} is of the vault, or holds its password",
        text(&sandbox.vault())
    );
    let logged = last_records(&sandbox, 1).remove(0)["reason"].to_string();
    assert!(logged.contains(&fact), "{logged}");
    agent.stop().await;
}

#[tokio::test]
async fn the_vault_stays_out_of_sight_wherever_it_lies() {
    let sandbox = vault("paths: { read: ['~/data'] }\n");
    let data = sandbox.home().join("data");
    write(&data.join("file"), "seen\n", 0o644);
    let moved = data.join("vault");
    fs::rename(sandbox.vault(), &moved).expect("renamed");
    let server = sandbox.secretctl(["mcp-server", "--vault-dir", text(&moved)]);
    let agent = Agent::connect(server).await;
    let script = "cat \"$1/file\"; ls -A \"$1/vault\"";
    let (_, stdout, _) = shell(&agent, script, &[text(&data)], None).await.output();
    assert_eq!(stdout, "seen\n");
    agent.stop().await;
}

#[tokio::test]
async fn programs_of_a_trusted_directory_run_with_what_belongs_to_them() {
    let sandbox = vault("trusted_dirs: ['~/tools/*/bin']\n");
    let prefix = sandbox.home().join("tools/v1");
    write(
        &prefix.join("lib/tool/main.sh"),
        "#!/bin/sh\n. \"$(dirname \"$(readlink -f \"$0\")\")/part\"; beside\n",
        0o755,
    );
    write(
        &prefix.join("lib/tool/part"),
        "say=from_the_library\n",
        0o644,
    );
    write(
        &prefix.join("bin/beside"),
        "#!/bin/sh\necho beside\n",
        0o755,
    );
    write(&prefix.join("credentials"), "closed\n", 0o644);
    symlink("../lib/tool/main.sh", prefix.join("bin/tool")).expect("made");
    let agent = Agent::without_project(&sandbox).await;
    let answer = agent.run("KEY", "tool").await.output();
    assert_eq!(answer, (0, "beside\n".to_owned(), String::new()));
    let closed = shell(&agent, "cat \"$1/credentials\"", &[text(&prefix)], None).await;
    assert_eq!(closed.output().1, "");
    agent.stop().await;
}

#[tokio::test]
async fn a_command_that_misses_a_program_is_told_who_can_open_it() {
    let sandbox = vault("trusted_dirs: ['~/bin']\n");
    write(
        &sandbox.home().join("bin/tool"),
        "#!/no/such/interpreter\n",
        0o755,
    );
    write(
        &sandbox.home().join("other/helper"),
        "#!/bin/sh\necho helped\n",
        0o755,
    );
    let agent = Agent::without_project(&sandbox).await;
    let helper = sandbox.home().join("other/helper");
    let missing = shell(&agent, "\"$1\"", &[text(&helper)], None)
        .await
        .value();
    assert_eq!(missing["exit_code"], 127);
    let hint = missing["hint"].as_str().expect("a hint");
    let refusal = agent.run("KEY", "tool").await.refusal();
    assert!(
        refusal.contains("its interpreter does not exist\n"),
        "{refusal}"
    );
    for words in ["trusted_dirs", "paths", "env_pass"] {
        assert!(
            hint.contains(words) && refusal.contains(words),
            "{hint} {refusal}"
        );
    }
    assert_eq!(
        shell(&agent, "exit 1", &[], None).await.value().get("hint"),
        None
    );
    agent.stop().await;
}

/// Reads from a service of this machine; a part of a shell, so that no program is needed.
const CONNECT: &str = "exec 3<>\"/dev/tcp/127.0.0.1/$1\" && cat <&3";

#[tokio::test]
async fn a_rule_without_a_network_keeps_its_command_from_a_service_of_the_machine() {
    let sandbox = vault("");
    let rules =
        "version: 1\nallowed_commands:\n  - bash --norc\n  - { command: bash, network: none }\n";
    sandbox.policy(rules);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port().to_string();
    let service =
        thread::spawn(move || listener.accept().expect("a client").0.write_all(b"hello\n"));
    let agent = Agent::without_project(&sandbox).await;
    let connect = async |flags: &[&str]| {
        let mut args = flags.to_vec();
        args.extend(["-c", CONNECT, "bash", &port]);
        let run = json!({ "keys": ["KEY"], "command": "bash", "args": args });
        agent.call("secret_run", run).await.output()
    };
    let (code, stdout, stderr) = connect(&[]).await;
    assert_eq!((code, &*stdout), (1, ""), "{stderr}");
    assert_eq!(
        connect(&["--norc"]).await,
        (0, "hello\n".to_owned(), String::new())
    );
    service.join().expect("no panic").expect("written");
    agent.stop().await;
}

#[tokio::test]
async fn what_confines_a_command_is_in_its_answer_and_in_the_log() {
    let sandbox = vault("");
    let server = sandbox.secretctl(["mcp-server"]);
    let agent = Agent::connect(server.env("SECRETCTL_RUNNER_WITHOUT", "landlock")).await;
    let answer = shell(&agent, "true", &[], None).await.value();
    agent.stop().await;
    let enforcement = answer["enforcement"].as_object().expect("an object");
    assert_eq!(enforcement["landlock"], false);
    let held = |wanted| {
        let of_them = enforcement
            .iter()
            .filter(move |(_, held)| **held == json!(wanted));
        of_them.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
    };
    let records = sandbox
        .secretctl(["audit", "list", "--json"])
        .answer()
        .json();
    let last = records
        .as_array()
        .expect("a list")
        .last()
        .expect("a record")
        .clone();
    let logged = |key: &str| {
        let mut names: Vec<String> = serde_json::from_value(last[key].clone()).expect("a list");
        names.sort();
        names
    };
    assert_eq!(logged("enforced"), held(true));
    assert_eq!(logged("not_enforced"), held(false));
}

#[tokio::test]
async fn what_the_policy_file_requires_is_refused_where_it_does_not_hold() {
    let sandbox = vault("runner: { require: [landlock, system_calls] }\n");
    let agent = Agent::without_project(&sandbox).await;
    assert_eq!(shell(&agent, "echo on", &[], None).await.output().1, "on\n");
    agent.stop().await;

    let lacking = async |layer: &str| {
        let server = sandbox.secretctl(["mcp-server"]);
        Agent::connect(server.env("SECRETCTL_RUNNER_WITHOUT", layer)).await
    };
    for layer in ["landlock", "system_calls"] {
        let agent = lacking(layer).await;
        let refusal = shell(&agent, "echo on", &[], None).await.refusal();
        let fact = format!("the required layer '{layer}' does not hold here");
        assert!(refusal.contains(&fact), "{refusal}");
        agent.stop().await;
    }
    // A rule without a network requires its layer by itself; it takes the filter of system calls to keep sockets away.
    sandbox.policy("version: 1\nallowed_commands: [{ command: sh, network: none }]\n");
    let agent = lacking("system_calls").await;
    let refusal = shell(&agent, "echo on", &[], None).await.refusal();
    assert!(
        refusal.contains("the required layer 'network' does not hold here"),
        "{refusal}"
    );

    sandbox.policy("version: 1\nallowed_commands: [sh]\nrunner: { require: [landlok] }\n");
    let refusal = shell(&agent, "echo on", &[], None).await.refusal();
    assert!(refusal.contains("has an invalid entry\n"), "{refusal}");
    let logged = last_records(&sandbox, 1).remove(0)["reason"].to_string();
    assert!(
        logged.contains("'landlok' is no layer (did you mean 'landlock'?)"),
        "{logged}"
    );
    agent.stop().await;
}

/// `secretctl run --sandbox FLAGS… -k KEY -- sh -c SCRIPT` in a directory.
fn run(sandbox: &Sandbox, dir: &Path, flags: &[&str], script: &str) -> Answer {
    let run = sandbox
        .secretctl(["run", "--sandbox", "-k", "KEY"])
        .args(flags);
    let run = run.args(["--", "sh", "-c", script]).dir(dir);
    let run = run
        .env("SSH_AUTH_SOCK", "/run/agent")
        .env("https_proxy", "http://proxy");
    run.env("MINE", "kept").answer()
}

#[test]
fn a_person_gets_the_same_jail_around_the_callers_directory() {
    let sandbox = vault("");
    let project = sandbox.project(&[("file", "of the project\n")]);
    write(&sandbox.home().join("note"), "private\n", 0o644);
    let script = "cat file; cat ../note 2>/dev/null; ls $HOME/note 2>/dev/null; echo $HOME $TMPDIR $KEY; \
                  echo $MINE $https_proxy ${SSH_AUTH_SOCK-no agent} ${SECRETCTL_PASSWORD-no password}; echo new > made";
    let said = "of the project\n/tmp /tmp [REDACTED:KEY]\nkept http://proxy no agent no password\n";
    run(&sandbox, &project, &[], script).is(0, said, "");
    assert_eq!(fs::read(project.join("made")).expect("made"), b"new\n");
    // Without the flag it is as it was.
    let run = sandbox.secretctl([
        "run",
        "-k",
        "KEY",
        "--",
        "sh",
        "-c",
        "cat ../note; echo $HOME",
    ]);
    let said = format!("private\n{}\n", text(sandbox.home()));
    run.dir(&project).answer().is(0, said, "");
}

#[test]
fn a_person_opens_more_by_flags() {
    let sandbox = vault("");
    let home = sandbox.home();
    let project = sandbox.project(&[("file", "")]);
    write(&home.join("note"), "private\n", 0o644);
    let out = home.join("out");
    write(&out.join("file"), "", 0o644);
    let script = "cat ../note; echo new > ../out/made; echo new > ../note";
    let flags = [
        "--read",
        "../note",
        "--write",
        text(&out),
        "--network",
        "none",
    ];
    let answer = run(&sandbox, &project, &flags, script);
    assert_eq!((answer.text(), answer.code), ("private\n", 2), "{answer}");
    assert_eq!(fs::read(out.join("made")).expect("made"), b"new\n");
    assert_eq!(fs::read(home.join("note")).expect("there"), b"private\n");
    for (flag, path, fact) in [
        ("--read", text(home), "it holds the whole home directory"),
        (
            "--write",
            text(&sandbox.vault()),
            "it is of the vault, or holds its password",
        ),
        ("--write", "../note", "it is not a directory"),
    ] {
        let refused = run(&sandbox, &project, &[flag, path], "true");
        assert_eq!(refused.code, 125);
        assert!(
            refused
                .stderr
                .ends_with(&format!(" cannot be opened to a command: {fact}\n")),
            "{refused}"
        );
    }
}

#[test]
fn in_the_home_directory_a_command_gets_an_empty_one() {
    let sandbox = vault("");
    write(&sandbox.home().join("note"), "private\n", 0o644);
    let answer = run(&sandbox, sandbox.home(), &[], "pwd; ls -A");
    let line = format!(
        "secretctl: the command runs in an empty directory: {} holds the whole home directory\n",
        text(sandbox.home())
    );
    answer.is(0, "/tmp\n", &line);
}

#[test]
fn a_person_is_told_once_what_does_not_hold() {
    let sandbox = vault("");
    let project = sandbox.project(&[("file", "")]);
    let lacking = |layers: &str, flags: &[&str]| {
        let run = sandbox
            .secretctl(["run", "--sandbox", "-k", "KEY"])
            .args(flags);
        let run = run.args(["--", "echo", "on"]).dir(&project);
        run.env("SECRETCTL_RUNNER_WITHOUT", layers).answer()
    };
    lacking("environment", &[]).is(0, "on\n", "secretctl: not enforced here: environment\n");
    let refused = lacking("system_calls", &["--network", "none"]);
    assert_eq!((refused.code, refused.text()), (126, ""), "{refused}");
    assert!(
        refused
            .stderr
            .contains("the required layer 'network' does not hold here"),
        "{refused}"
    );
}

#[test]
fn the_status_tells_layer_by_layer_what_holds_and_needs_no_vault() {
    let sandbox = Sandbox::empty();
    let status = |flags: &[&str]| {
        let status = sandbox.secretctl(["status", "--sandbox"]).args(flags);
        let status = status.env_remove("SECRETCTL_PASSWORD");
        let answer = status
            .env("SECRETCTL_RUNNER_WITHOUT", "environment")
            .answer();
        assert_eq!((answer.code, &*answer.stderr), (0, ""), "{answer}");
        answer
    };
    let json = status(&["--json"]).json();
    let layers = |kind: &str| json["sandbox"][kind].as_array().expect("a list").clone();
    let (with, without) = (layers("network_allow"), layers("network_none"));
    let names = |layers: &[Value]| {
        layers
            .iter()
            .map(|layer| layer["name"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&with), names(&without));
    for layer in with.iter().chain(&without) {
        let keys: Vec<&String> = layer.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["detail", "enforced", "name"]);
        assert_eq!(
            layer["enforced"] == json!(false),
            layer["name"] == json!("environment"),
            "{layer}"
        );
    }

    let table = status(&[]);
    let width = with
        .iter()
        .map(|layer| layer["name"].as_str().expect("text").len());
    let width = width.max().expect("layers");
    let line = |layer: &Value| {
        let word = |key: &str| layer[key].as_str().expect("text").to_owned();
        let held = if layer["enforced"] == json!(true) {
            "yes"
        } else {
            "no"
        };
        format!("{:width$}  {held:3}  {}\n", word("name"), word("detail"))
    };
    let differing = without.iter().filter(|layer| !with.contains(layer));
    let expected = format!(
        "{}\nwithout a network:\n{}",
        with.iter().map(line).collect::<String>(),
        differing.map(line).collect::<String>()
    );
    assert_eq!(table.text(), expected);
}

// Waiting for a process holds up a thread; the client goes on in another one.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_command_of_a_kind_runs_in_the_helper_that_waited() {
    let sandbox = vault("");
    let project = sandbox.project(&[("file", "")]);
    let agent = Agent::start(&sandbox, &project).await;
    for kind in [json!({}), json!({ "cwd": "." })] {
        // The first one of a kind teaches the server what to prepare for. A helper may still be on its way into the server's
        // hands when it is seen, so one that is not used is no failure yet.
        let mut is_used = false;
        for _ in 0..10 {
            is_prepared(agent.pid);
            let waiting = children(agent.pid);
            let mark = Mark::new();
            let [first, second] = &mark.halves;
            let script = "sleep \"$1$2\"; :";
            let mut run = json!({ "keys": ["KEY"], "command": "sh", "args": ["-c", script, "sh", first, second] });
            run.as_object_mut()
                .expect("an object")
                .extend(kind.as_object().expect("an object").clone());
            let peer = agent.client.peer().clone();
            let running =
                tokio::spawn(async move { peer.call_tool(params("secret_run", run)).await });
            mark.wait_for_start();
            let marked = mark.processes();
            is_used |= ancestors(marked[0]).iter().any(|pid| waiting.contains(pid));
            kill(marked[0], Signal::KILL);
            let answer = Reply::from(running.await.expect("no panic").expect("an answer"));
            assert_eq!(answer.output().0, 0);
        }
        assert!(is_used, "{kind}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_file_that_was_replaced_is_seen_as_it_is_now() {
    let sandbox = vault("paths: { read: ['~/config'] }\n");
    let config = sandbox.home().join("config");
    let tool = sandbox.home().join("tool");
    sandbox.policy(&format!(
        "version: 1\nallowed_commands: [sh, {}]\npaths: {{ read: ['~/config'] }}\n",
        text(&tool)
    ));
    let agent = Agent::without_project(&sandbox).await;
    // As editors do it: a new file in the place of the old one.
    let replace = |path: &Path, content: &str| {
        let new = path.with_extension("new");
        write(&new, content, 0o755);
        fs::rename(new, path).expect("renamed");
    };
    for version in ["first", "second", "third"] {
        replace(&config, version);
        let cat = shell(&agent, "cat \"$1\"", &[text(&config)], None).await;
        assert_eq!(cat.output(), (0, version.to_owned(), String::new()));
        is_prepared(agent.pid);
    }
    for version in ["first\n", "second\n", "third\n"] {
        replace(&tool, &format!("#!/bin/sh\necho {version}"));
        let run = agent.run("KEY", text(&tool)).await;
        assert_eq!(run.output(), (0, version.to_owned(), String::new()));
        is_prepared(agent.pid);
    }
    agent.stop().await;
}

/// Waits until a server that runs no command has prepared for the next one: a helper, and in its jail a process and its child.
fn is_prepared(server: u32) {
    wait_until("a helper that waits", || {
        let helpers = children(server);
        let inhabitants = helpers.iter().flat_map(|&pid| children(pid));
        inhabitants.flat_map(children).next().is_some()
    });
}

/// The children of all threads of a process.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let lists: Vec<String> = lists.collect();
    let pids = lists.iter().flat_map(|list| list.split_whitespace());
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

/// The parent of a process, its parent, and so on.
fn ancestors(pid: u32) -> Vec<u32> {
    let parent = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        line.trim().parse().ok().filter(|pid| *pid > 0)
    };
    std::iter::successors(Some(pid), parent).skip(1).collect()
}
