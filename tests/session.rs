//! `unlock` and `lock`: what a session opens, for whom, and until when.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Command;

use serde_json::json;
use support::agent::Agent;
use support::process::{self, wait_until};
use support::{Invocation, PASSWORD, Sandbox};

fn vault() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.set("API_KEY", "sk-live-abcdefgh");
    sandbox
}

/// The program without any way to the password.
fn without_password(sandbox: &Sandbox, args: &[&str]) -> Invocation {
    sandbox.secretctl(args).env_remove("SECRETCTL_PASSWORD")
}

fn unlock(sandbox: &Sandbox, args: &[&str]) {
    let args = [&["unlock"], args].concat();
    sandbox.secretctl(args).answer().succeeded();
}

fn lock(sandbox: &Sandbox) {
    without_password(sandbox, &["lock"])
        .answer()
        .is(0, "", "Locked.\n");
}

fn is_open(sandbox: &Sandbox) -> bool {
    let answer = without_password(sandbox, &["get", "API_KEY"]).answer();
    assert!(answer.code == 0 || answer.code == 3, "{answer}");
    answer.code == 0
}

fn keeper(sandbox: &Sandbox) -> u32 {
    let (name, _) = support::modes(&sandbox.sockets()).remove(0);
    process::keeper_of(&sandbox.sockets().join(name))
}

/// A program that goes on for hours would hold what a script has locked.
#[cfg(target_os = "linux")]
#[test]
fn the_keeper_holds_nothing_that_it_was_not_given() {
    let sandbox = vault();
    let file = sandbox.home().join("lock");
    let unlock = sandbox.secretctl(["unlock"]).into_command();
    let mut script = Command::new("sh");
    script
        .args(["-c", "exec 9>>\"$0\"; flock 9; exec \"$@\""])
        .arg(&file)
        .arg(unlock.get_program())
        .args(unlock.get_args());
    for (name, value) in unlock.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    assert!(script.status().expect("a shell").success());
    assert!(is_open(&sandbox));
    let file = fs::File::open(file).expect("it was made");
    file.try_lock().expect("nobody holds it");
    lock(&sandbox);
}

#[test]
fn a_session_stands_in_for_the_password() {
    let sandbox = vault();
    assert!(!is_open(&sandbox));
    unlock(&sandbox, &[]);
    let open = |args: &[&str]| without_password(&sandbox, args);
    open(&["get", "API_KEY"])
        .answer()
        .is(0, "sk-live-abcdefgh", "");
    open(&["set", "OTHER", "--exact"])
        .stdin("another value")
        .answer()
        .succeeded();
    open(&["list"]).answer().is(0, "API_KEY\nOTHER\n", "");
    let run = open(&["run", "-k", "API_KEY", "--", "sh", "-c", "echo $API_KEY"]);
    run.answer().is(0, "[REDACTED:API_KEY]\n", "");
    open(&["audit", "verify"]).answer().succeeded();
    open(&["rename", "OTHER", "RENAMED"]).answer().succeeded();
    open(&["delete", "RENAMED", "--force"]).answer().succeeded();
    let status = open(&["status", "--json"]).answer().succeeded().json();
    assert_eq!(status["valid"], true);
    assert_eq!(status["session"]["idle_seconds"], 1800);
    lock(&sandbox);
    assert!(!is_open(&sandbox));
    // What was written without the password is as good as all else.
    sandbox.secretctl(["audit", "verify"]).answer().succeeded();
    let status = sandbox
        .secretctl(["status", "--json"])
        .answer()
        .succeeded()
        .json();
    assert_eq!(
        (&status["valid"], &status["session"]),
        (&json!(true), &json!(null))
    );
}

#[test]
fn lock_says_whether_there_was_a_session() {
    let sandbox = vault();
    let lock = || without_password(&sandbox, &["lock"]).answer();
    lock().is(0, "", "No session is open.\n");
    unlock(&sandbox, &[]);
    lock().is(0, "", "Locked.\n");
    lock().is(0, "", "No session is open.\n");
}

#[test]
fn a_wrong_password_or_no_time_opens_no_session() {
    let sandbox = vault();
    for limit in ["--ttl", "--idle"] {
        let unlock = sandbox.secretctl(["unlock", limit, "0s"]).answer();
        unlock.is(2, "", "error: a session lasts for a second at least\n");
    }
    let unlock = sandbox
        .secretctl(["unlock"])
        .env("SECRETCTL_PASSWORD", "another password");
    unlock.answer().is(3, "", "error: wrong master password\n");
    assert!(!is_open(&sandbox));
}

#[test]
fn a_password_on_the_command_line_comes_before_the_session() {
    let sandbox = vault();
    unlock(&sandbox, &[]);
    let file = sandbox.home().join("password");
    fs::write(&file, "another password").expect("written");
    let file = file.to_str().expect("text");
    let get = without_password(&sandbox, &["get", "API_KEY", "--password-file", file]);
    get.answer().is(3, "", "error: wrong master password\n");
    // One in the environment does not.
    let get = without_password(&sandbox, &["get", "API_KEY"]).env("SECRETCTL_PASSWORD_FILE", file);
    get.answer().is(0, "sk-live-abcdefgh", "");
    let get = sandbox
        .secretctl(["get", "API_KEY"])
        .env("SECRETCTL_PASSWORD", "another password");
    get.answer().is(0, "sk-live-abcdefgh", "");
    lock(&sandbox);
}

#[test]
fn a_session_ends_by_itself() {
    let sandbox = vault();
    for limit in ["--ttl", "--idle"] {
        // Long enough that its process is found.
        unlock(&sandbox, &[limit, "4s"]);
        let pid = keeper(&sandbox);
        wait_until("the end of the keeper", || !process::all().contains(&pid));
        assert!(!is_open(&sandbox));
        assert_eq!(support::modes(&sandbox.sockets()), []);
    }
}

#[test]
fn a_session_is_extended_by_the_password() {
    let sandbox = vault();
    unlock(&sandbox, &["--ttl", "1h"]);
    let pid = keeper(&sandbox);
    let again = sandbox
        .secretctl(["unlock", "--ttl", "5h", "--idle", "2h"])
        .answer()
        .succeeded();
    assert!(
        again
            .stderr
            .starts_with("  the vault is open already, until "),
        "{again}"
    );
    assert_eq!(keeper(&sandbox), pid);
    let status = without_password(&sandbox, &["status", "--json"])
        .answer()
        .json();
    // Each of the two is on record.
    let log = sandbox
        .secretctl(["audit", "export"])
        .answer()
        .succeeded()
        .json();
    let records = log.as_array().expect("a list").iter();
    let limits: Vec<&str> = records
        .filter(|record| record["action"] == "vault.unlock")
        .filter_map(|record| record["reason"].as_str())
        .collect();
    let until = |ttl, idle| format!("for {ttl}, or until it was not used for {idle}");
    assert_eq!(limits, [until("1h", "30m"), until("5h", "2h")]);
    let left = status["session"]["left_seconds"]
        .as_u64()
        .expect("a number");
    assert!((4 * 3600..=5 * 3600).contains(&left), "{left}");
    assert_eq!(status["session"]["idle_seconds"], 2 * 3600);
    lock(&sandbox);
}

#[test]
fn a_new_password_ends_the_session() {
    let sandbox = vault();
    for rotate in [&[][..], &["--rotate-key"]] {
        unlock(&sandbox, &[]);
        // The same password is changed to itself only with a new cost.
        let args = [&["password", "change", "--kdf", "64MiB,3,2"], rotate].concat();
        let change = sandbox
            .secretctl(args)
            .env("SECRETCTL_NEW_PASSWORD", PASSWORD);
        let answer = change.answer().succeeded();
        assert!(answer.stderr.contains("The session is over"), "{answer}");
        assert!(!is_open(&sandbox));
    }
    // A session takes the place of the password nowhere here.
    unlock(&sandbox, &[]);
    let change = without_password(&sandbox, &["password", "change"]);
    let answer = change
        .env("SECRETCTL_NEW_PASSWORD", "a new password")
        .answer();
    assert_eq!(answer.code, 3, "{answer}");
    lock(&sandbox);
}

#[test]
fn signals_and_a_logout_end_the_session() {
    use rustix::process::Signal;
    let sandbox = vault();
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::KILL] {
        unlock(&sandbox, &[]);
        let pid = keeper(&sandbox);
        process::kill(pid, signal);
        wait_until("the end of the keeper", || !process::all().contains(&pid));
        assert!(!is_open(&sandbox), "{signal:?}");
    }
    unlock(&sandbox, &[]);
    let pid = keeper(&sandbox);
    fs::remove_dir_all(sandbox.sockets()).expect("removed");
    wait_until("the end of the keeper", || !process::all().contains(&pid));
}

#[test]
fn what_stands_in_the_place_of_the_socket_is_replaced() {
    let sandbox = vault();
    unlock(&sandbox, &[]);
    let (name, mode) = support::modes(&sandbox.sockets()).remove(0);
    assert_eq!(mode, 0o600);
    lock(&sandbox);
    let socket = sandbox.sockets().join(name);
    let victim = sandbox.home().join("victim");
    let put: [&dyn Fn(); 3] = [
        &|| fs::write(&socket, "a file").expect("written"),
        &|| std::os::unix::fs::symlink(&victim, &socket).expect("a link"),
        &|| drop(UnixListener::bind(&socket).expect("a socket")),
    ];
    for put in put {
        put();
        unlock(&sandbox, &[]);
        assert!(is_open(&sandbox));
        lock(&sandbox);
    }
    assert!(!victim.exists());
}

#[test]
fn a_directory_that_is_not_the_users_alone_gets_no_socket() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let sandbox = vault();
    let refused = |fact: &str| {
        let answer = sandbox.secretctl(["unlock"]).answer();
        assert_eq!(answer.code, 1, "{answer}");
        assert!(answer.stderr.contains(fact), "{answer}");
    };
    let dir = sandbox.sockets();
    fs::create_dir_all(&dir).expect("a directory");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("an own one");
    refused("others can look into it");
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("an own one");
        std::os::unix::fs::chown(&dir, Some(65534), None).expect("given away");
        refused("it belongs to another user");
    }
    fs::remove_dir(&dir).expect("removed");
    let elsewhere = sandbox.home().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o700)).expect("an own one");
    symlink(&elsewhere, &dir).expect("a link");
    refused("it is not a directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_works_while_the_vault_is_open() {
    let sandbox = vault();
    sandbox.policy("version: 1\nallowed_commands: [sh]\n");
    let project = sandbox.project(&[("a", "")]);
    let server = || without_password(&sandbox, &["mcp-server"]).dir(&project);
    let agent = Agent::connect(server()).await;
    assert!(!agent.tools().await.is_empty());
    let list = || agent.call("secret_list", json!({}));
    let locked = "the vault is locked\nA person can unlock the vault, in a terminal: secretctl unlock\n\
        Then ask again: this server need not be started again.";
    for _ in 0..2 {
        assert_eq!(list().await.refusal(), locked);
        unlock(&sandbox, &[]);
        assert_eq!(list().await.value(), json!({ "keys": ["API_KEY"] }));
        let (code, stdout, _) = agent.run("API_KEY", "sh -c 'echo $API_KEY'").await.output();
        assert_eq!((code, &*stdout), (0, "[REDACTED:API_KEY]\n"));
        lock(&sandbox);
    }
    assert_eq!(list().await.refusal(), locked);
    agent.stop().await;
    // A vault in another place is named.
    let dir = sandbox.home().join("another vault");
    fs::rename(sandbox.vault(), &dir).expect("moved");
    let agent = Agent::connect(server().env("SECRETCTL_VAULT_DIR", &dir)).await;
    let refusal = agent.call("secret_list", json!({})).await.refusal();
    let command = format!("secretctl unlock --vault-dir '{}'\n", dir.display());
    assert!(refusal.contains(&command), "{refusal}");
    agent.stop().await;
}
