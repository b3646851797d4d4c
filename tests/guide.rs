//! `policy-modules/README.md`, followed from an empty directory to a module of one's own.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use build_modules::toolchain_is_ready;
use support::languages::directory;
use support::{Answer, Invocation, PASSWORD, SECRETCTL, Sandbox, missing};

/// The first block of the guide in a language.
fn block<'a>(guide: &'a str, language: &str) -> &'a str {
    let begins = format!("```{language}\n");
    let (_, rest) = guide.split_once(&begins).expect("a block");
    rest.split_once("```").expect("its end").0
}

/// Runs commands as a person does, with the program under test; the first that fails ends it.
fn follow(sandbox: &Sandbox, dir: &Path, commands: &str) -> Answer {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let of_home = |name: &str, dir: &str| match std::env::var_os(name) {
        Some(place) => PathBuf::from(place),
        None => Path::new(&variable("HOME")).join(dir),
    };
    let programs = Path::new(SECRETCTL).parent().expect("a directory");
    let path = format!("{}:{}", programs.display(), variable("PATH"));
    // What cargo compiles of others is kept from one run of this test to the next.
    let kept = directory().join("guide");
    let script = format!(
        "cargo() {{ mkdir -p '{0}'; ln -sfn '{0}' target; command cargo \"$@\"; }}\n{commands}",
        kept.display()
    );
    Invocation::new("sh", sandbox.home())
        .args(["-ec", &script])
        .dir(dir)
        .env("PATH", path)
        .env("CARGO_HOME", of_home("CARGO_HOME", ".cargo"))
        .env("RUSTUP_HOME", of_home("RUSTUP_HOME", ".rustup"))
        .env("SECRETCTL_PASSWORD", PASSWORD)
        .answer()
}

#[test]
fn the_guide_leads_to_a_module_that_says_no_and_to_another_one() {
    if !toolchain_is_ready() {
        return missing("there is no toolchain for WebAssembly");
    }
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy-modules/README.md");
    let guide = fs::read_to_string(guide).expect("a text");
    let sandbox = Sandbox::new();
    sandbox.set("demo/key", "a-demo-value");
    sandbox.set("demo/other", "another-value");
    // What the guide says of the file that `policy init` writes.
    let program = |args: &[&str]| sandbox.secretctl(["policy"]).args(args).answer();
    program(&["init"]).succeeded();
    let policy = fs::read_to_string(sandbox.policy_file()).expect("a policy");
    let lines = policy.replace("\nallowed_commands:\n", "\nallowed_commands:\n- echo\n");
    let lines = lines.replace("\npolicies:\n", "\n");
    sandbox.policy(&lines);

    let followed = follow(&sandbox, sandbox.home(), block(&guide, "sh"));
    // The last command tells the decision by its exit code.
    let said = followed.text();
    assert_eq!(followed.code, 1, "{followed}");
    assert!(
        said.contains("\ndenied: commands run only 00:00 to 00:00"),
        "{followed}"
    );

    let policy = fs::read_to_string(sandbox.policy_file()).expect("a policy");
    let hours =
        r#"config: { from: "00:00", to: "24:00", days: [mon, tue, wed, thu, fri, sat, sun] }"#;
    let (before, _) = policy.split_once("    config:").expect("a configuration");
    sandbox.policy(&format!("{before}    {hours}\n"));
    let explain = ["explain", "--agent", "claude", "--keys"];
    let ask = |keys: &str| program(&[&explain[..], &[keys, "--", "echo", "hello"]].concat());
    ask("demo/key,demo/other").succeeded();

    let project = sandbox.home().join("night-watch");
    fs::write(project.join("src/lib.rs"), block(&guide, "rust")).expect("written");
    let build = block(&guide, "sh")
        .lines()
        .filter(|line| line.starts_with("cargo build"));
    follow(&sandbox, &project, &build.collect::<String>()).succeeded();
    let module = "night-watch/target/wasm32-unknown-unknown/release/night_watch.wasm";
    program(&["add", module, "--name", "night-watch"]).succeeded();
    ask("demo/key").succeeded();
    let denied = ask("demo/key,demo/other");
    assert!(
        denied.code == 1
            && denied
                .text()
                .starts_with("denied: a command gets one key at most\n"),
        "{denied}"
    );
}
