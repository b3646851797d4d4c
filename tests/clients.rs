//! `secretctl mcp`: what is written into the configuration of each client, and what is left as it was.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use support::{Answer, Invocation, SECRETCTL, Sandbox, modes};

/// Below the directory for settings.
#[cfg(target_os = "macos")]
macro_rules! settings {
    ($path:literal) => {
        concat!("Library/Application Support/", $path)
    };
}

/// Below the directory for settings.
#[cfg(not(target_os = "macos"))]
macro_rules! settings {
    ($path:literal) => {
        concat!(".config/", $path)
    };
}
/// Each client, with its files below the home directory and below a project.
const FILES: [(&str, &str, Option<&str>); 6] = [
    ("claude-code", ".claude.json", Some(".mcp.json")),
    (
        "claude-desktop",
        settings!("Claude/claude_desktop_config.json"),
        None,
    ),
    ("cursor", ".cursor/mcp.json", Some(".cursor/mcp.json")),
    (
        "vscode",
        settings!("Code/User/mcp.json"),
        Some(".vscode/mcp.json"),
    ),
    ("codex", ".codex/config.toml", Some(".codex/config.toml")),
    (
        "gemini",
        ".gemini/settings.json",
        Some(".gemini/settings.json"),
    ),
];

/// The program without a vault and a password.
fn mcp(sandbox: &Sandbox, args: &[&str]) -> Invocation {
    Invocation::new(SECRETCTL, sandbox.home())
        .args(["mcp"])
        .args(args)
}

fn install(sandbox: &Sandbox, client: &str, flags: &[&str]) -> Answer {
    let install = mcp(sandbox, &["install", "--client", client]);
    install.args(flags).answer()
}

fn uninstall(sandbox: &Sandbox, client: &str) -> Answer {
    mcp(sandbox, &["uninstall", "--client", client]).answer()
}

/// The path of the program, as it is written.
fn program() -> String {
    let program = Path::new(SECRETCTL).canonicalize().expect("a path");
    program.to_str().expect("text").to_owned()
}

/// A file in the home directory with this text.
fn write(sandbox: &Sandbox, name: &str, text: &str) -> PathBuf {
    let path = sandbox.home().join(name);
    fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    fs::write(&path, text).expect("written");
    path
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a text")
}

/// Compares a text with a file of this directory, in which the program and the home directory have other names.
#[track_caller]
fn is_golden(sandbox: &Sandbox, name: &str, text: &str) {
    let home = sandbox.home().canonicalize().expect("a path");
    let text = text
        .replace(&program(), "[PROGRAM]")
        .replace(home.to_str().expect("text"), "[HOME]");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name);
    if std::env::var_os("TRYCMD").is_some_and(|mode| mode == "overwrite") {
        fs::write(&path, &text).expect("written");
    }
    assert_eq!(text, read(&path), "{name}");
}

#[test]
fn each_client_gets_its_entry_in_its_file_and_no_password() {
    for (client, file, in_project) in FILES {
        let sandbox = Sandbox::empty();
        let with_password = mcp(&sandbox, &["install", "--client", client]);
        let installed = with_password
            .env("SECRETCTL_PASSWORD", "never to be written")
            .answer();
        let path = sandbox.home().join(file);
        let said = format!(
            "Wrote secretctl into {}. Start {client} again to use it.\n  \
             the server needs an unlocked vault: secretctl unlock\n",
            path.display()
        );
        installed.is(0, "", &said);
        let extension = path.extension().and_then(|end| end.to_str()).expect("text");
        let golden = format!("{client}.{extension}");
        is_golden(&sandbox, &golden, &read(&path));
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        let dir = path.parent().expect("a directory");
        if dir != sandbox.home() {
            assert_eq!(fs::metadata(dir).expect("there").mode() & 0o777, 0o700);
        }
        // What is printed is what was written.
        let printed = mcp(&sandbox, &["config", "--client", client]).answer();
        printed.is(0, read(&path), &format!("  for {}:\n", path.display()));
        // Once is enough.
        let inode = fs::metadata(&path).expect("there").ino();
        let again = install(&sandbox, client, &[]).succeeded();
        assert!(again.stderr.contains("as it should be"), "{again}");
        assert_eq!(fs::metadata(&path).expect("there").ino(), inode);

        let project = sandbox.home().join("project");
        fs::create_dir(&project).expect("made");
        let place = ["--scope", "project", "--project", "project"];
        let installed = install(&sandbox, client, &place);
        match in_project {
            None => assert_eq!(installed.code, 2, "{installed}"),
            Some(file) => {
                assert_eq!(installed.code, 0, "{installed}");
                is_golden(&sandbox, &golden, &read(&project.join(file)));
            }
        }
    }
}

#[test]
fn what_is_named_to_the_command_is_named_to_the_server() {
    for client in ["claude-code", "cursor", "codex"] {
        let sandbox = Sandbox::empty();
        fs::create_dir(sandbox.home().join("app")).expect("made");
        let flags = [
            "--agent-id",
            "mine",
            "--project",
            "app",
            "--vault-dir",
            "vault",
        ];
        let command = mcp(&sandbox, &["config", "--client", client]).args(flags);
        let printed = command.env("SECRETCTL_PASSWORD_FILE", "pass word").answer();
        is_golden(
            &sandbox,
            &format!("{client}.named"),
            printed.succeeded().text(),
        );
    }
    let sandbox = Sandbox::empty();
    let flags = ["--password-command", "pass show 'my vault'"];
    let printed = mcp(&sandbox, &["config", "--client", "gemini"])
        .args(flags)
        .answer();
    is_golden(&sandbox, "gemini.command", printed.succeeded().text());
    let installed = install(&sandbox, "gemini", &flags).succeeded();
    assert!(!installed.stderr.contains("unlock"), "{installed}");
}

/// Files as people have them, with other servers, comments, and their own idea of white space.
const OTHERS: [(&str, &str); 9] = [
    ("claude-code", "{}"),
    (
        "claude-code",
        "{\"numStartups\":3,\"mcpServers\":{},\"projects\":{\"/x\":{\"mcpServers\":{}}}}",
    ),
    (
        "claude-code",
        "{\n\t\"b\": 1.50,\n\t\"mcpServers\": {\n\t\t\"other\": { \"command\": \"npx\", \"args\": [ ] }\n\t},\n\t\"a\": \"\\u00fc\"\n}",
    ),
    (
        "vscode",
        "// mine\n{\n  \"inputs\": [], // none\n  \"servers\": {\n    /* the other */\n    \"other\": {\"url\": \"http://x\"}, // there\n  },\n}\n",
    ),
    (
        "gemini",
        "{\r\n  \"theme\": \"x\",\r\n  \"mcpServers\": {\r\n    \"other\": {\r\n      \"command\": \"y\"\r\n    }\r\n  }\r\n}\r\n",
    ),
    (
        "cursor",
        "{\n  \"mcpServers\": {\n    \"secret\": {},\n    \"secretctl2\": { \"command\": \"secretctl\" }\n  }\n}\n",
    ),
    (
        "codex",
        "# mine\nmodel = \"x\"   # the best\n\n[mcp_servers.other]\ncommand = \"npx\"\nargs = [\n  \"-y\", # yes\n]\n\n[profiles.a]\nmodel = 'y'\n",
    ),
    (
        "codex",
        "mcp_servers = { other = { command = \"x\" } } # inline\n",
    ),
    (
        "codex",
        "[mcp_servers]\r\nother = { command = \"x\" }\r\n\r\n[tui]\r\nnotifications = true\r\n",
    ),
];

#[test]
fn all_else_in_a_file_stays_as_it_was_written() {
    for (number, (client, text)) in OTHERS.into_iter().enumerate() {
        let sandbox = Sandbox::empty();
        let file = FILES
            .iter()
            .find(|(name, ..)| *name == client)
            .expect("a client")
            .1;
        let path = write(&sandbox, file, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("an own file");
        install(&sandbox, client, &[]).succeeded();
        let installed = read(&path);
        is_golden(&sandbox, &format!("{client}.{number}"), &installed);
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o640);
        install(&sandbox, client, &[]).succeeded();
        assert_eq!(read(&path), installed);
        uninstall(&sandbox, client).succeeded();
        // The table of servers stays where it had to be made.
        let after = match text {
            "{}" => "{\n  \"mcpServers\": {}\n}",
            text => text,
        };
        assert_eq!(read(&path), after);
        let parent = path.parent().expect("a directory");
        let beside: Vec<_> = modes(parent).into_iter().map(|(name, _)| name).collect();
        assert!(
            !beside.iter().any(|name| name.contains("secretctl-")),
            "{beside:?}"
        );
    }
}

#[test]
fn an_entry_that_is_there_keeps_what_is_not_ours_and_loses_the_password() {
    let sandbox = Sandbox::empty();
    let entry = "{\n  \"mcpServers\": {\n    \"secretctl\": {\n      \"command\": \"/old/secretctl\",\n      \"timeout\": 9, // mine\n      \"env\": {\n        \
         \"SECRETCTL_PASSWORD\": \"in the clear\",\n        \"AWS_REGION\": \"eu\"\n      }\n    }\n  }\n}\n";
    let path = write(&sandbox, ".cursor/mcp.json", entry);
    let said = install(&sandbox, "cursor", &[]).succeeded().stderr;
    assert!(
        said.contains("warning: the master password stood in that file, and was removed"),
        "{said}"
    );
    assert!(
        said.contains("secretctl password change") && !said.contains("clear"),
        "{said}"
    );
    is_golden(&sandbox, "cursor.password", &read(&path));
    let entry = "[mcp_servers.secretctl]\ncommand = \"old\" # mine\ntool_timeout_sec = 9\nenv = { SECRETCTL_PASSWORD = \"in the clear\", AWS_REGION = \"eu\" }\n";
    let path = write(&sandbox, ".codex/config.toml", entry);
    let said = install(&sandbox, "codex", &[]).succeeded().stderr;
    assert!(said.contains("was removed"), "{said}");
    is_golden(&sandbox, "codex.password", &read(&path));
}

#[test]
fn a_file_that_is_broken_is_named_with_its_place_and_left() {
    let cases = [
        ("claude-code", "{\n  \"a\": SECRET\n}", "line 2, column 8"),
        (
            "claude-code",
            "{ \"mcpServers\": [] }",
            "`mcpServers` is not a table of names and values",
        ),
        (
            "claude-code",
            "[1]",
            "`the file` is not a table of names and values",
        ),
        (
            "claude-code",
            "{ \"mcpServers\": {}, \"mcpServers\": {} }",
            "`mcpServers` stands in it twice",
        ),
        (
            "claude-code",
            "{ \"mcpServers\": { \"secretctl\": {}, \"secretctl\": {} } }",
            "`secretctl` stands in it twice",
        ),
        ("claude-code", "{ \"mcpServers\": {", "line 1, column 17"),
        ("codex", "a = 1\nb = SECRET SECRET\n", "line 2, column 5"),
        (
            "codex",
            "mcp_servers = 3\n",
            "`mcp_servers` is not a table of names and values",
        ),
    ];
    for (client, text, fact) in cases {
        let sandbox = Sandbox::empty();
        let file = FILES
            .iter()
            .find(|(name, ..)| *name == client)
            .expect("a client")
            .1;
        let path = write(&sandbox, file, text);
        for answer in [install(&sandbox, client, &[]), uninstall(&sandbox, client)] {
            if answer.code == 0 {
                // Where there is nothing of ours, there is nothing to take out.
                assert!(answer.stderr.contains("is not in"), "{answer}");
                continue;
            }
            let begins = format!("error: {} was left as it is: {fact}", path.display());
            assert!(answer.stderr.starts_with(&begins), "{fact}: {answer}");
            assert!(!answer.stderr.contains("SECRET"), "{answer}");
            assert_eq!(answer.code, 1);
        }
        assert_eq!(read(&path), text);
    }
    let sandbox = Sandbox::empty();
    let deep = write(&sandbox, ".claude.json", &"{\"a\":".repeat(100_000));
    let answer = install(&sandbox, "claude-code", &[]);
    assert!(
        answer.code == 1 && answer.stderr.contains("was left as it is"),
        "{answer}"
    );
    fs::write(&deep, b"{\"a\":\"\xff\"}").expect("written");
    assert_eq!(install(&sandbox, "claude-code", &[]).code, 1);
}

#[test]
fn a_link_stays_a_link_and_its_file_is_changed() {
    let sandbox = Sandbox::empty();
    let file = write(&sandbox, "dotfiles/claude.json", "{}\n");
    let link = sandbox.home().join(".claude.json");
    symlink("dotfiles/claude.json", &link).expect("a link");
    install(&sandbox, "claude-code", &[]).succeeded();
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    assert!(read(&file).contains("secretctl"));
    fs::remove_file(&file).expect("removed");
    let dangling = install(&sandbox, "claude-code", &[]);
    assert!(
        dangling.code == 1 && dangling.stderr.contains("No such file"),
        "{dangling}"
    );
}

#[test]
fn a_project_leads_to_no_file_outside_of_it() {
    let sandbox = Sandbox::empty();
    let outside = write(&sandbox, "outside/mcp.json", "{}\n");
    let project = sandbox.home().join("project");
    fs::create_dir(&project).expect("made");
    let place = ["--scope", "project", "--project", "project"];
    symlink(&outside, project.join(".mcp.json")).expect("a link");
    symlink(sandbox.home().join("outside"), project.join(".cursor")).expect("a link");
    for client in ["claude-code", "cursor"] {
        let refused = install(&sandbox, client, &place);
        assert!(
            refused.code == 1 && refused.stderr.contains("leads out of the project"),
            "{refused}"
        );
    }
    assert_eq!(read(&outside), "{}\n");
}

#[test]
fn a_file_that_is_read_only_or_none_is_left() {
    let sandbox = Sandbox::empty();
    let path = write(&sandbox, ".claude.json", "{}\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("an own file");
    let refused = install(&sandbox, "claude-code", &[]);
    let said = format!(
        "error: {} may not be written, not even by its owner\n",
        path.display()
    );
    assert!(
        refused.code == 1 && refused.stderr.starts_with(&said),
        "{refused}"
    );
    assert_eq!(read(&path), "{}\n");
    fs::remove_file(&path).expect("removed");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).expect("a pipe");
    let refused = install(&sandbox, "claude-code", &[]);
    assert!(
        refused.code == 1 && refused.stderr.contains("not a file"),
        "{refused}"
    );
}

#[test]
fn variables_move_the_files() {
    let sandbox = Sandbox::empty();
    let moved = sandbox.home().join("moved");
    let cases = [
        ("claude-code", "CLAUDE_CONFIG_DIR", ".claude.json"),
        ("codex", "CODEX_HOME", "config.toml"),
        #[cfg(not(target_os = "macos"))]
        ("vscode", "XDG_CONFIG_HOME", "Code/User/mcp.json"),
    ];
    for (client, variable, file) in cases {
        let install = mcp(&sandbox, &["install", "--client", client]);
        install.env(variable, &moved).answer().succeeded();
        assert!(read(&moved.join(file)).contains("secretctl"), "{client}");
        let uninstall = mcp(&sandbox, &["uninstall", "--client", client]);
        uninstall.env(variable, &moved).answer().succeeded();
        assert!(!read(&moved.join(file)).contains("mcp-server"), "{client}");
    }
}

#[test]
fn what_is_not_there_is_not_taken_out() {
    let sandbox = Sandbox::empty();
    let path = sandbox.home().join(".claude.json");
    let said = format!("There is no {}.\n", path.display());
    uninstall(&sandbox, "claude-code").is(0, "", &said);
    write(&sandbox, ".claude.json", "{ }");
    let said = format!("secretctl is not in {}.\n", path.display());
    uninstall(&sandbox, "claude-code").is(0, "", &said);
    assert_eq!(read(&path), "{ }");
}
