//! Where the master password may come from, which source wins, and what is said when one fails.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Output;

#[cfg(target_os = "linux")]
use serde_json::json;
#[cfg(target_os = "linux")]
use support::agent::Agent;
use support::{Answer, ENVIRONMENT_NOTE, Invocation, PASSWORD, SECRETCTL, Sandbox};

/// A vault with one secret.
fn vault() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "the value");
    sandbox
}

/// A file in the home directory with a password.
fn file(sandbox: &Sandbox, name: &str, password: &str) -> PathBuf {
    let path = sandbox.home().join(name);
    fs::write(&path, format!("{password}\nsecond line\n")).expect("written");
    path
}

/// `get KEY` without a password, in a session of its own that has no terminal.
fn get(sandbox: &Sandbox) -> Invocation {
    Invocation::new("setsid", sandbox.home()).args(["--wait", SECRETCTL, "get", "KEY"])
}

/// What a shell makes of `$S`, which is the program.
fn shell(sandbox: &Sandbox, script: &str) -> Invocation {
    Invocation::new("sh", sandbox.home())
        .args(["-euc", script])
        .env("S", SECRETCTL)
}

fn printing(text: &str) -> String {
    format!("printf '%s\\n' '{text}' 'user: me'")
}

#[test]
fn the_environment_gives_the_password_with_a_note_of_one_line() {
    let sandbox = vault();
    let child = sandbox.secretctl(["get", "KEY"]).spawn();
    let Output { stdout, stderr, .. } = child.wait_with_output().expect("its output");
    assert_eq!(stdout, b"the value");
    assert_eq!(String::from_utf8_lossy(&stderr), ENVIRONMENT_NOTE);
    // Where another source comes first, there is nothing to note.
    let file = file(&sandbox, "password", PASSWORD);
    let command = sandbox.secretctl(["get", "KEY"]);
    let child = command.env("SECRETCTL_PASSWORD_FILE", file).spawn();
    let Output { stdout, stderr, .. } = child.wait_with_output().expect("its output");
    assert_eq!((stdout, stderr), (b"the value".to_vec(), Vec::new()));
}

#[test]
fn the_first_source_that_is_configured_wins() {
    let sandbox = vault();
    let (right, wrong) = (
        file(&sandbox, "right", PASSWORD),
        file(&sandbox, "wrong", "of no vault"),
    );
    let right_file = right.to_str().expect("text");
    let [right_command, wrong_command] = [PASSWORD, "of no vault"].map(printing);
    let succeeds = |invocation: Invocation| invocation.answer().is(0, "the value", "");
    let other = |invocation: Invocation| {
        invocation
            .env("SECRETCTL_PASSWORD", "of no vault")
            .env("SECRETCTL_PASSWORD_COMMAND", &wrong_command)
            .env("SECRETCTL_PASSWORD_FILE", &wrong)
    };
    succeeds(other(get(&sandbox)).args(["--password-file", right_file]));
    succeeds(other(get(&sandbox)).args(["--password-command", &right_command]));
    succeeds(
        other(get(&sandbox))
            .args(["--password-fd", "0"])
            .stdin(PASSWORD),
    );
    succeeds(other(get(&sandbox)).env("SECRETCTL_PASSWORD_FILE", &right));
    let by_command = other(get(&sandbox)).env("SECRETCTL_PASSWORD_FILE", "");
    succeeds(by_command.env("SECRETCTL_PASSWORD_COMMAND", &right_command));
    // Two of one command line: the order is that of the help.
    let two = get(&sandbox).args(["--password-fd", "0", "--password-file", right_file]);
    succeeds(two.stdin("of no vault"));
}

#[test]
fn a_descriptor_gives_its_first_line_and_no_more() {
    let sandbox = vault();
    file(&sandbox, "password", PASSWORD);
    let answer = |script: &str| shell(&sandbox, script).answer();
    answer("\"$S\" get KEY --password-fd 3 3< password").is(0, "the value", "");
    // A pipe that stays open.
    let pipe = "{ head -n 1 password; cat; } | \"$S\" get KEY --password-fd 0";
    answer(pipe).is(0, "the value", "");
    let rest = "{ head -n 1 password; printf 'another value'; } | \"$S\" set NEW --password-fd 0";
    answer(rest).is(0, "", "Stored NEW.\n");
    answer("\"$S\" get NEW --password-fd 3 3< password").is(0, "another value", "");
    // A file that has been read in part goes on where it is; lines may end as elsewhere.
    file(
        &sandbox,
        "both",
        &format!("of no vault\n{PASSWORD}\r\nmore"),
    );
    let second = "{ read -r first; \"$S\" get KEY --password-fd 0; } < both";
    answer(second).is(0, "the value", "");
    file(&sandbox, "crlf", &format!("{PASSWORD}\r\n"));
    answer("\"$S\" get KEY --password-file crlf").is(0, "the value", "");
    let closed = answer("\"$S\" get KEY --password-fd 7");
    closed.is(
        3,
        "",
        "error: the password from descriptor 7: No such file or directory (os error 2)\n  \
         open it for reading, as in --password-fd 3 3< FILE\n",
    );
    for number in ["1", "2", "-1", "x"] {
        let refused = get(&sandbox)
            .args([format!("--password-fd={number}")])
            .answer();
        assert_eq!(refused.code, 2, "{refused}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_command_inherits_the_descriptor() {
    let sandbox = vault();
    file(&sandbox, "password", PASSWORD);
    for flags in ["", "--sandbox"] {
        let run = format!(
            "\"$S\" run -k KEY {flags} --password-fd 7 -- sh -c 'ls /proc/self/fd; cat <&7' 7< password"
        );
        let ran = shell(&sandbox, &run).answer();
        assert!(!ran.text().contains('7'), "{ran}");
        assert!(ran.code != 0 && !ran.text().contains("horse"), "{ran}");
    }
}

/// A policy opens its directory by mistake; or it lies in the project, which is none then.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn no_agents_command_sees_the_file() {
    let sandbox = vault();
    sandbox.policy("version: 1\nallowed_commands: [cat]\npaths: { read: ['~/opened'] }\n");
    let project = sandbox.project(&[("a", "seen")]);
    fs::create_dir(sandbox.home().join("opened")).expect("a directory");
    fs::write(sandbox.home().join("opened/a"), "seen").expect("written");
    let cat = async |dir: &str| {
        let path = file(&sandbox, &format!("{dir}/password"), PASSWORD);
        let server = Invocation::new(SECRETCTL, sandbox.home()).args(["mcp-server"]);
        let server = server.env("SECRETCTL_PASSWORD_FILE", &path);
        let agent = Agent::connect(server.dir(&project)).await;
        let args = [path.with_file_name("a"), path];
        let run = json!({ "keys": ["KEY"], "command": "cat", "args": args, "cwd": "." });
        let reply = agent.call("secret_run", run).await;
        agent.stop().await;
        reply
    };
    assert_eq!(cat("opened").await.output().1, "seen");
    let refusal = cat("project").await.refusal();
    assert!(
        refusal.contains(" holds the vault, or the file with its password\n"),
        "{refusal}"
    );
}

#[test]
fn a_file_with_more_than_the_password_has_another_one() {
    let sandbox = Sandbox::empty();
    let longest = "x".repeat(128);
    let init = Invocation::new(SECRETCTL, sandbox.home()).args(["init"]);
    let init = init.env("SECRETCTL_PASSWORD", &longest);
    init.answer().succeeded();
    file(&sandbox, "longest", &longest);
    file(&sandbox, "longer", &"x".repeat(129));
    let list = |name: &str| {
        let list = Invocation::new(SECRETCTL, sandbox.home()).args(["list", "--password-file"]);
        list.args([name]).answer()
    };
    list("longest").succeeded();
    list("longer").is(3, "", "error: wrong master password\n");
}

#[test]
fn a_command_has_the_environment_without_what_is_ours_and_nothing_to_read() {
    let sandbox = vault();
    let script = "printf %s \"$THEIRS${SECRETCTL_PASSWORD_COMMAND-}${SECRETCTL_VAULT_DIR-}\"; cat";
    let line = format!("sh -c '{script}'");
    let set = Invocation::new(SECRETCTL, sandbox.home()).args(["set", "NEW"]);
    let set = set
        .env("THEIRS", PASSWORD)
        .env("SECRETCTL_VAULT_DIR", sandbox.vault())
        .env("SECRETCTL_PASSWORD_COMMAND", line);
    set.stdin("another value")
        .answer()
        .is(0, "", "Stored NEW.\n");
    let read = sandbox.secretctl(["get", "NEW"]).answer();
    read.is(0, "another value", "");
}

#[test]
fn a_command_that_fails_is_named_and_nothing_else_is_tried() {
    let sandbox = vault();
    let next = "  run it by hand to see why: its first line is to be the master password\n";
    let cases = [
        (
            "sh -c 'echo \"the keyring is closed\" >&2; exit 4'",
            "the keyring is closed\n",
            "sh failed: exit status: 4",
        ),
        (
            "sh -c 'echo of no vault; kill $$'",
            "",
            "sh failed: signal: 15 (SIGTERM)",
        ),
        (
            "no-such-program x",
            "",
            "no-such-program cannot run: No such file or directory (os error 2)",
        ),
        ("true", "", "true printed no password"),
        ("yes", "", "yes failed: signal: 13 (SIGPIPE)"),
    ];
    for (line, before, fact) in cases {
        let command = get(&sandbox).env("SECRETCTL_PASSWORD_COMMAND", line);
        let answer: Answer = command.env("SECRETCTL_PASSWORD", PASSWORD).answer();
        answer.is(
            3,
            "",
            &format!("{before}error: the password command {fact}\n{next}"),
        );
    }
    for line in ["'", " "] {
        let answer = get(&sandbox)
            .env("SECRETCTL_PASSWORD_COMMAND", line)
            .answer();
        let fact = "error: the password command is not a command line\n  \
             write a program and its arguments, quoted as in a shell; there is no shell\n";
        answer.is(3, "", fact);
    }
}
