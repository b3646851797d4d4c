//! `secretctl mcp doctor`: what it says of a set-up that works, and of each thing that can be wrong with one.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Answer, Invocation, PASSWORD, SECRETCTL, Sandbox};

const POLICY: &str = "version: 1\nallowed_commands: [\"true\"]\n";

/// A vault with a secret and a policy that lets agents run `true`; a password file; this server in the configuration of Codex.
fn setup() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "the value");
    sandbox.policy(POLICY);
    let file = sandbox.home().join("password");
    fs::write(&file, PASSWORD).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("an own file");
    fs::create_dir(sandbox.home().join("project")).expect("made");
    install(&sandbox, &["--client", "codex"]);
    sandbox
}

fn install(sandbox: &Sandbox, flags: &[&str]) {
    let install = Invocation::new(SECRETCTL, sandbox.home()).args(["mcp", "install"]);
    let install = install
        .args(flags)
        .env("SECRETCTL_PASSWORD_FILE", sandbox.home().join("password"));
    install.answer().succeeded();
}

fn doctor(sandbox: &Sandbox, flags: &[&str]) -> Answer {
    let doctor = Invocation::new(SECRETCTL, sandbox.home()).args(["mcp", "doctor"]);
    doctor
        .args(flags)
        .dir(&sandbox.home().join("project"))
        // Not the server's, which has what its client gives it.
        .env("SECRETCTL_PASSWORD_FILE", sandbox.home().join("password"))
        .answer()
}

fn write(sandbox: &Sandbox, name: &str, text: &str) -> PathBuf {
    let path = sandbox.home().join(name);
    fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    fs::write(&path, text).expect("written");
    path
}

/// An entry of this server in the JSON of most clients.
fn entry(command: impl AsRef<Path>, args: Value, env: Value) -> String {
    let command = command.as_ref().to_str().expect("text");
    let entry = json!({ "command": command, "args": args, "env": env });
    json!({ "mcpServers": { "secretctl": entry } }).to_string()
}

/// The lines with this verdict about this subject, without both.
fn lines<'a>(answer: &'a Answer, verdict: &str, subject: &str) -> Vec<&'a str> {
    let line = |line: &'a str| {
        let rest = line.strip_prefix(verdict)?.trim_start();
        Some(rest.strip_prefix(subject)?.trim_start())
    };
    answer.text().lines().filter_map(line).collect()
}

/// Who did what in the log, as far as an agent did it.
fn log(sandbox: &Sandbox) -> Vec<(Value, Value, Value)> {
    let export = sandbox
        .secretctl(["audit", "export"])
        .answer()
        .succeeded()
        .json();
    let records = export.as_array().expect("a list").iter();
    let of_agents = records.filter(|record| record["source"] == "mcp");
    let facts = ["action", "result", "agent"];
    of_agents
        .map(|record| {
            let [action, result, agent] = facts.map(|name| record[name].clone());
            (action, result, agent)
        })
        .collect()
}

#[test]
fn a_set_up_that_works_is_tried_to_its_end() {
    let sandbox = setup();
    let answer = doctor(&sandbox, &[]);
    assert_eq!((answer.code, &*answer.stderr), (0, ""), "{answer}");
    assert_eq!(lines(&answer, "fail", ""), Vec::<&str>::new());
    let ok = lines(&answer, "ok", "codex");
    let file = sandbox.home().join(".codex/config.toml");
    assert_eq!(ok[0], format!("{} starts this program", file.display()));
    assert!(ok[1].ends_with("is for its owner alone"), "{answer}");
    let greeting = concat!(
        "initialize: secretctl ",
        env!("CARGO_PKG_VERSION"),
        ", protocol 20"
    );
    assert!(ok[2].starts_with(greeting), "{answer}");
    assert!(
        ok[3].starts_with("tools/list: ") && ok[3].contains("secret_run"),
        "{answer}"
    );
    assert_eq!(
        ok[4],
        "secret_list: 1 secret is visible to the agent secretctl-doctor"
    );
    assert_eq!(ok[5], "secret_run: `true` ran with KEY");
    assert!(!answer.text().contains("the value") && !answer.text().contains(PASSWORD));
    let of_doctor = |action: &str, agent| (json!(action), json!("success"), agent);
    let agent = json!("secretctl-doctor");
    let expected = [
        of_doctor("vault.unlock", Value::Null),
        of_doctor("secret.list", agent.clone()),
        of_doctor("secret.run", agent.clone()),
        of_doctor("secret.run", agent),
    ];
    let records = log(&sandbox);
    assert_eq!(records.first(), expected.first());
    assert_eq!(records[1..3], expected[1..3]);
    let as_json = doctor(&sandbox, &["--json", "--client", "codex"])
        .succeeded()
        .json();
    let checks = as_json.as_array().expect("a list");
    let last = checks.last().expect("a check");
    assert_eq!(last["fact"], "secret_run: `true` ran with KEY");
    assert_eq!(
        (&last["subject"], &last["verdict"]),
        (&json!("codex"), &json!("ok"))
    );
}

#[test]
fn relative_paths_and_a_clients_own_words_are_those_of_the_project() {
    let sandbox = setup();
    symlink(SECRETCTL, sandbox.home().join("program")).expect("a link");
    let vault = json!(["mcp-server", "--vault-dir", "../.secretctl"]);
    let by_words = json!([
        "mcp-server",
        "--vault-dir",
        "${userHome}/.secretctl",
        "--project",
        "${workspaceFolder}"
    ]);
    for (args, password) in [
        (vault, "../password"),
        (by_words, "${workspaceFolder}/../password"),
    ] {
        let env = json!({ "SECRETCTL_PASSWORD_FILE": password });
        write(
            &sandbox,
            ".cursor/mcp.json",
            &entry("../program", args, env),
        );
        let doctor = Invocation::new(SECRETCTL, sandbox.home()).args(["mcp", "doctor"]);
        let doctor = doctor.args(["--client", "cursor", "--project", "project"]);
        let answer = doctor.answer().succeeded();
        let ran = "secret_run: `true` ran with KEY";
        assert_eq!(
            lines(&answer, "ok", "cursor").last(),
            Some(&ran),
            "{answer}"
        );
    }
}

/// The policy that is asked before is this vault's, and says nothing of others.
#[test]
fn a_command_is_tried_only_in_the_vault_whose_policy_allows_it() {
    let sandbox = setup();
    let own = sandbox.home().join(".secretctl");
    let other = sandbox.home().join("other");
    fs::create_dir(&other).expect("made");
    let password = sandbox.home().join("password");
    let joined = |dir: &Path| json!(["mcp-server", format!("--vault-dir={}", dir.display())]);
    let apart = |dir: &Path| json!(["mcp-server", "--vault-dir", dir]);
    let ran = "secret_run: `true` ran with KEY";
    for args in [joined(&own), apart(&own)] {
        let env = json!({ "SECRETCTL_VAULT_DIR": other, "SECRETCTL_PASSWORD_FILE": password });
        write(&sandbox, ".cursor/mcp.json", &entry(SECRETCTL, args, env));
        let answer = doctor(&sandbox, &["--client", "cursor"]).succeeded();
        assert_eq!(
            lines(&answer, "ok", "cursor").last(),
            Some(&ran),
            "{answer}"
        );
    }
    // A copy whose secrets are as visible.
    for file in fs::read_dir(&own).expect("a directory").flatten() {
        fs::copy(file.path(), other.join(file.file_name())).expect("copied");
    }
    fs::set_permissions(&other, fs::Permissions::from_mode(0o700)).expect("an own directory");
    let by_variable = (json!(["mcp-server"]), json!(other));
    for (args, variable) in [
        (joined(&other), Value::Null),
        (apart(&other), Value::Null),
        by_variable,
    ] {
        let env = json!({ "SECRETCTL_VAULT_DIR": variable, "SECRETCTL_PASSWORD_FILE": password });
        write(&sandbox, ".cursor/mcp.json", &entry(SECRETCTL, args, env));
        let answer = doctor(&sandbox, &["--client", "cursor"]).succeeded();
        let last = lines(&answer, "ok", "cursor").pop().expect("a line");
        assert!(last.starts_with("secret_run: not tried"), "{answer}");
    }
}

#[test]
fn a_command_that_is_not_allowed_is_not_asked_for() {
    let sandbox = setup();
    sandbox.policy("version: 1\ndenied_commands: [\"true\"]\n");
    let answer = doctor(&sandbox, &[]).succeeded();
    let told = "secret_run: not tried, as no policy lets secretctl-doctor run `true`";
    assert_eq!(
        lines(&answer, "ok", "codex").last(),
        Some(&told),
        "{answer}"
    );
    assert!(
        log(&sandbox)
            .iter()
            .all(|(_, result, _)| result == "success")
    );
    // Without a policy file nothing runs.
    fs::remove_file(sandbox.policy_file()).expect("removed");
    let answer = doctor(&sandbox, &[]).succeeded();
    assert!(
        lines(&answer, "warn", "policy")[0].ends_with("so no command runs"),
        "{answer}"
    );
    sandbox.policy("version: 1\nallowed_command: []\n");
    let answer = doctor(&sandbox, &[]);
    let broken = lines(&answer, "fail", "policy");
    assert!(
        answer.code == 1 && broken[0].contains("allowed_command"),
        "{answer}"
    );
}

#[test]
fn a_command_that_does_not_run_is_told() {
    let sandbox = setup();
    // What only the value says is not known before.
    sandbox.set("KEY", "abc");
    let answer = doctor(&sandbox, &[]);
    let told = "secret_run: the value of secret KEY is too short to be hidden in output: it has fewer than 4 bytes";
    assert_eq!(lines(&answer, "fail", "codex"), [told], "{answer}");
    assert_eq!(answer.code, 1);
}

#[test]
fn a_client_without_this_server_is_told_how_to_get_it() {
    let sandbox = setup();
    let answer = doctor(&sandbox, &["--client", "gemini"]);
    assert_eq!(answer.code, 1, "{answer}");
    let missing = lines(&answer, "fail", "clients");
    assert_eq!(missing, ["no configuration has this server"], "{answer}");
    assert!(
        answer
            .text()
            .contains("secretctl mcp install --client gemini"),
        "{answer}"
    );
    write(
        &sandbox,
        ".gemini/settings.json",
        "{ \"mcpServers\": { \"secretctl\": ",
    );
    let answer = doctor(&sandbox, &[]);
    let broken = lines(&answer, "fail", "gemini");
    assert!(
        answer.code == 1 && broken[0].contains("cannot be read: line 1"),
        "{answer}"
    );
    // The others are looked at all the same.
    assert_eq!(lines(&answer, "ok", "codex").len(), 6, "{answer}");
}

#[test]
fn a_password_in_any_clients_file_is_warned_about() {
    let sandbox = setup();
    let servers = json!({ "vault": { "env": { "SECRETCTL_PASSWORD": PASSWORD } } });
    let file = json!({ "projects": [{ "mcpServers": servers }] }).to_string();
    let path = write(&sandbox, ".claude.json", &file);
    let none = json!({ "env": { "SECRETCTL_PASSWORD": "" } }).to_string();
    write(&sandbox, ".gemini/settings.json", &none);
    let answer = doctor(&sandbox, &[]).succeeded();
    let told = format!("the master password stands in {}", path.display());
    assert_eq!(lines(&answer, "warn", "claude-code"), [told], "{answer}");
    assert_eq!(lines(&answer, "warn", "gemini"), [""; 0], "{answer}");
    assert!(!answer.text().contains(PASSWORD), "{answer}");
}

#[test]
fn what_is_wrong_with_a_server_is_told_before_it_is_started() {
    let sandbox = setup();
    let none = sandbox.home().join("gone/secretctl");
    let other = write(
        &sandbox,
        "other/secretctl",
        "#!/bin/sh\ntouch \"$HOME/started\"\n",
    );
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).expect("an own file");
    let server = json!(["mcp-server"]);
    let deed = json!(["delete", "KEY", "--force", "--vault-dir", "mcp-server"]);
    let wrong = json!(["mcp-server", "--no-such-option"]);
    let cases = [
        (
            entry(&none, server.clone(), json!({})),
            format!("there is no program {}", none.display()),
        ),
        (
            entry("no-such-program", server.clone(), json!({})),
            "there is no program no-such-program".to_owned(),
        ),
        (
            entry("no\nok    cursor  \u{1b}[2J", server.clone(), json!({})),
            "there is no program no\\nok    cursor  \\u{1b}[2J".to_owned(),
        ),
        (
            entry(&other, server, json!({})),
            format!("{} is another program than this one", other.display()),
        ),
        (
            entry(SECRETCTL, deed, json!({})),
            "its arguments start no server".to_owned(),
        ),
        (
            entry(SECRETCTL, wrong, json!({})),
            "its arguments are wrong: error: unexpected argument '--no-such-option' found"
                .to_owned(),
        ),
        (
            "{ \"mcpServers\": { \"secretctl\": { \"url\": \"http://x\" } } }".to_owned(),
            "the entry has no command".to_owned(),
        ),
    ];
    for (text, fact) in cases {
        let path = write(&sandbox, ".cursor/mcp.json", &text);
        let answer = doctor(&sandbox, &["--client", "cursor"]);
        let told = format!("{}: {fact}", path.display());
        assert_eq!(lines(&answer, "fail", "cursor"), [told], "{answer}");
        assert!(
            answer
                .text()
                .contains("secretctl mcp install --client cursor"),
            "{answer}"
        );
        assert_eq!(answer.code, 1);
    }
    assert!(!sandbox.home().join("started").exists());
    sandbox
        .secretctl(["get", "KEY"])
        .answer()
        .is(0, "the value", "");
}

#[test]
fn a_project_that_is_somebody_elses_work_starts_nothing() {
    let sandbox = setup();
    let command = format!("touch {}", sandbox.home().join("started").display());
    let server = json!(["mcp-server"]);
    let by_flag = json!(["mcp-server", format!("--password-command={command}")]);
    let by_file = json!(["mcp-server", "--password-file", "some-file"]);
    let by_variable = json!({ "SECRETCTL_PASSWORD_COMMAND": command });
    let unlocks = "it says where the password comes from";
    let cases = [
        (entry(SECRETCTL, server, by_variable), "it sets variables"),
        (entry(SECRETCTL, by_flag, json!({})), unlocks),
        (entry(SECRETCTL, by_file, json!({})), unlocks),
    ];
    for (text, fact) in cases {
        let path = write(&sandbox, "project/.mcp.json", &text);
        let answer = doctor(&sandbox, &["--client", "claude-code"]);
        let told = format!("{}: not started, since {fact}", path.display());
        assert!(
            lines(&answer, "warn", "claude-code")[0].ends_with(&told),
            "{answer}"
        );
        assert_eq!(lines(&answer, "ok", "claude-code"), Vec::<&str>::new());
    }
    assert!(!sandbox.home().join("started").exists());
    // A link is not even read.
    let path = sandbox.home().join("project/.mcp.json");
    fs::remove_file(&path).expect("removed");
    symlink("../.codex/config.toml", &path).expect("a link");
    let answer = doctor(&sandbox, &["--client", "claude-code"]);
    let told = format!("{} leads out of the project, to ", path.display());
    assert!(
        lines(&answer, "fail", "claude-code")[0].starts_with(&told),
        "{answer}"
    );
}

#[test]
fn what_is_wrong_with_the_vault_is_told() {
    let sandbox = Sandbox::empty();
    fs::create_dir(sandbox.home().join("project")).expect("made");
    let told = |fact: String, next: &str| {
        let answer = doctor(&sandbox, &["--client", "gemini"]);
        assert_eq!(lines(&answer, "fail", "vault"), [fact], "{answer}");
        assert!(answer.code == 1 && answer.text().contains(next), "{answer}");
    };
    let missing = format!("there is no vault in {}", sandbox.vault().display());
    told(missing, "secretctl init\n");
    sandbox.secretctl(["init"]).answer().succeeded();
    fs::write(sandbox.vault().join("vault.meta"), "{").expect("written");
    let damaged = "the vault is damaged or was tampered with: vault.meta does not have the form of its version";
    told(damaged.to_owned(), "");
}

#[test]
fn a_server_that_cannot_unlock_the_vault_says_why() {
    let sandbox = setup();
    let file = write(&sandbox, "password", "of no vault");
    let answer = doctor(&sandbox, &[]);
    assert!(answer.text().contains("wrong master password"), "{answer}");
    assert!(!answer.text().contains("of no vault"), "{answer}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("an own file");
    let answer = doctor(&sandbox, &[]);
    let told = format!("others can read the password file {}", file.display());
    assert_eq!(lines(&answer, "warn", "codex")[0], told, "{answer}");
    fs::remove_file(&file).expect("removed");
    let answer = doctor(&sandbox, &[]);
    let told = format!("the password file {}: No such file", file.display());
    assert!(
        lines(&answer, "fail", "codex")[0].starts_with(&told),
        "{answer}"
    );
    assert_eq!(answer.code, 1);
}

#[test]
fn files_that_others_can_write_are_warned_about() {
    let sandbox = setup();
    let file = sandbox.home().join(".codex/config.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o620)).expect("an own file");
    // One that starts nothing of ours is the client's own matter.
    let other = write(&sandbox, ".claude.json", "{}");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o666)).expect("an own file");
    fs::set_permissions(sandbox.database(), fs::Permissions::from_mode(0o640))
        .expect("an own file");
    let answer = doctor(&sandbox, &[]).succeeded();
    let told = format!(
        "others can write {}, and with it say what is started",
        file.display()
    );
    assert_eq!(lines(&answer, "warn", "codex"), [told], "{answer}");
    assert_eq!(lines(&answer, "warn", "claude-code"), [""; 0], "{answer}");
    assert!(
        lines(&answer, "warn", "vault")[0].ends_with("accessible to others (mode 0640)"),
        "{answer}"
    );
}

#[test]
fn a_locked_vault_is_told_with_the_step_that_opens_it() {
    let sandbox = setup();
    let locked = Invocation::new(SECRETCTL, sandbox.home());
    let install = locked.args(["mcp", "install", "--client", "gemini"]);
    install.answer().succeeded();
    let answer = doctor(&sandbox, &["--client", "gemini"]).succeeded();
    let told = lines(&answer, "warn", "gemini");
    assert_eq!(told, ["the vault is locked"], "{answer}");
    assert!(answer.text().contains("secretctl unlock"), "{answer}");
    sandbox
        .secretctl(["unlock", "--ttl", "1h"])
        .answer()
        .succeeded();
    let answer = doctor(&sandbox, &["--client", "gemini"]).succeeded();
    let ran = "secret_run: `true` ran with KEY";
    assert_eq!(
        lines(&answer, "ok", "gemini").last(),
        Some(&ran),
        "{answer}"
    );
    sandbox.secretctl(["lock"]).answer().succeeded();
}
