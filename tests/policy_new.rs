//! `secretctl policy new`: what it writes is an example of this repository, and what its README says makes a module of it that decides.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::agent::AGENT;
use support::languages::{C, Example, JAVASCRIPT, PYTHON, built};
use support::{Answer, Invocation, SECRETCTL, Sandbox};

/// The languages, each with its example.
const ALL: [(&str, &str); 4] = [
    ("rust", "office-hours"),
    ("javascript", JAVASCRIPT.name),
    ("python", PYTHON.name),
    ("c", C.name),
];

fn new(sandbox: &Sandbox, language: &str, dir: &str) -> Answer {
    sandbox
        .secretctl(["policy", "new", "--lang", language, dir])
        .answer()
}

/// Files below a directory as paths relative to it, sorted; links are not followed.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).expect("a directory").flatten() {
            let kind = entry.file_type().expect("a type");
            let name = entry.file_name();
            let is_built = ["target", "node_modules", ".venv", "__pycache__"]
                .iter()
                .any(|built| name == *built);
            if kind.is_dir() && !is_built {
                waiting.push(entry.path());
            } else if kind.is_file() {
                let path = entry.path();
                found.push(path.strip_prefix(dir).expect("below it").to_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_project_is_the_example_with_all_that_it_needs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sandbox = Sandbox::empty();
    for (language, example) in ALL {
        let dir = format!("projects/{example}");
        let answer = new(&sandbox, language, &dir).succeeded();
        let project = sandbox.home().join(&dir);
        let mut expected = vec![(
            PathBuf::from("wit/policy.wit"),
            root.join("policy-modules/wit/policy.wit"),
        )];
        let mut add = |to: &str, from: PathBuf| {
            let tracked = |path: &PathBuf| {
                path.extension()
                    .is_none_or(|kind| kind != "wasm" && kind != "test")
            };
            let ours = files(&from).into_iter().filter(tracked);
            expected.extend(ours.map(|path| (Path::new(to).join(&path), from.join(path))));
        };
        add("", root.join("examples/modules").join(example));
        if language == "rust" {
            add("sdk", root.join("policy-modules/sdk"));
            add("wit", root.join("policy-modules/wit"));
        }
        for (path, source) in &expected {
            let (written, source) = (
                fs::read_to_string(project.join(path)).expect("a file"),
                fs::read_to_string(source).expect("a file"),
            );
            let is_manifest = path == Path::new("Cargo.toml");
            assert!(
                written == source || is_manifest,
                "{language}: {}",
                path.display()
            );
        }
        let mut names: Vec<PathBuf> = expected.into_iter().map(|(path, _)| path).collect();
        names.push(".gitignore".into());
        names.sort();
        names.dedup();
        assert_eq!(files(&project), names, "{language}");
        assert!(
            answer.text().starts_with(&format!("cd {dir}\n")),
            "{answer}"
        );
        assert!(
            answer.text().contains("\nsecretctl policy add "),
            "{answer}"
        );
        assert!(
            answer.text().contains("\nsecretctl policy explain "),
            "{answer}"
        );
    }
}

#[test]
fn nothing_is_written_where_something_is() {
    let sandbox = Sandbox::empty();
    fs::create_dir(sandbox.home().join("mine")).expect("a directory");
    fs::write(sandbox.home().join("mine/README.md"), "mine").expect("written");
    let answer = new(&sandbox, "c", "mine");
    answer.is(1, "", "error: mine is not empty\n  name a new directory\n");
    assert_eq!(
        files(&sandbox.home().join("mine")),
        [PathBuf::from("README.md")]
    );
    for name in ["Mine", "a b", "-a", "a-", "1a", "a/..", "/", "a_b", "ä"] {
        let answer = sandbox
            .secretctl(["policy", "new", "--lang", "c", "--", name])
            .answer();
        assert_eq!(answer.code, 1, "{name}: {answer}");
        assert!(
            answer.stderr.contains("is no name for a module"),
            "{answer}"
        );
    }
    fs::create_dir(sandbox.home().join("empty")).expect("a directory");
    new(&sandbox, "c", "empty").succeeded();
}

/// Adds the module of a new project by the command of its README, and sees it decide. That the project's commands make this module is
/// tested with the example, which has the same files.
fn decides(language: &str, example: &Example) {
    let Some(module) = built(example) else { return };
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "s3cr3t-value");
    sandbox.policy("version: 1\ndefault_action: allow\n");
    new(&sandbox, language, example.name).succeeded();
    let project = sandbox.home().join(example.name);
    fs::write(project.join(format!("{}.wasm", example.name)), module).expect("written");
    let readme = fs::read_to_string(project.join("README.md")).expect("a text");
    let mut lines = readme.lines();
    let add = lines.find_map(|line| line.strip_prefix("secretctl "));
    let script = format!("exec {SECRETCTL} {}", add.expect("a command"));
    let add = Invocation::new("sh", sandbox.home())
        .args(["-c", &script])
        .dir(&project);
    add.answer().succeeded();
    let explain = [
        "policy", "explain", "--agent", AGENT, "--keys", "KEY", "--json", "--", "echo",
    ];
    let explained = sandbox.secretctl(explain).answer().json();
    let rule = explained["rule"].as_str().expect("a rule");
    let ours = format!("modules/{}.wasm", example.name);
    assert!(rule.contains(&ours), "{explained}");
}

#[test]
fn a_new_module_in_javascript_decides() {
    decides("javascript", &JAVASCRIPT);
}

#[test]
fn a_new_module_in_python_decides() {
    decides("python", &PYTHON);
}

#[test]
fn a_new_module_in_c_decides() {
    decides("c", &C);
}
