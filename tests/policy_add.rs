//! `secretctl policy add` and `policy list`: modules are tried, put beside the policy file and pinned, or nothing changes.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use build_modules::{EXAMPLES, POLICY_EXAMPLE, sha256};
use serde_json::json;
use support::agent::AGENT;
use support::modules::built;
use support::{Answer, Sandbox};

const POLICY: &str = "version: 1\nallowed_commands: [echo]    # nothing else\n";
/// A component that imports a function `clock` and has nothing else.
const IMPORTING: &[u8] = b"\0asm\x0d\0\x01\0\x07\x05\x01\x40\0\x01\0\x0a\x0a\x01\0\x05clock\x01\0";
const NEVER: &str = r#"{"from":"00:00","to":"00:00"}"#;

fn sandbox(policy: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "s3cr3t-value");
    sandbox.policy(policy);
    sandbox
}

fn policy(sandbox: &Sandbox, args: &[&str]) -> Answer {
    sandbox.secretctl(["policy"]).args(args).answer()
}

fn explain(sandbox: &Sandbox) -> serde_json::Value {
    let args = [
        "explain", "--agent", AGENT, "--keys", "KEY", "--json", "--", "echo",
    ];
    policy(sandbox, &args).json()
}

/// All files below a directory.
fn files(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            let digest = sha256(&fs::read(&path).expect("a file"));
            all.insert(path, digest);
        }
    }
    all
}

/// The core module that the example's component is made of; none where it cannot be built.
fn core() -> Option<Vec<u8>> {
    built(&POLICY_EXAMPLE)?;
    let name = format!("{}.wasm", POLICY_EXAMPLE.name.replace('-', "_"));
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("modules");
    let path = target.join("wasm32-unknown-unknown/release").join(name);
    Some(fs::read(path).expect("it was built"))
}

/// A core module as compilers write it that know nothing of components.
fn without_custom_sections(core: &[u8]) -> Vec<u8> {
    let (header, mut rest) = core.split_at(8);
    let mut kept = header.to_vec();
    while let Some((&id, body)) = rest.split_first() {
        let digits = body.iter().take_while(|byte| **byte >= 0x80).count() + 1;
        let length = body[..digits].iter().rev();
        let length = length.fold(0, |sum, byte| (sum << 7) | usize::from(byte & 0x7f));
        let section = 1 + digits + length;
        if id != 0 {
            kept.extend_from_slice(&rest[..section]);
        }
        rest = &rest[section..];
    }
    kept
}

#[test]
fn a_core_module_is_added_and_decides() {
    let Some(core) = core() else { return };
    let bare = without_custom_sections(&core);
    assert!(bare.len() < core.len());
    for bytes in [core, bare] {
        let sandbox = sandbox(POLICY);
        fs::write(sandbox.home().join("hours.wasm"), bytes).expect("written");
        let answer = policy(&sandbox, &["add", "hours.wasm", "--config", NEVER]).succeeded();
        assert!(
            answer
                .text()
                .starts_with("modules/hours.wasm: a policy module, "),
            "{answer}"
        );
        assert!(answer.text().contains("imports nothing"), "{answer}");
        assert!(answer.stderr.contains("line 5"), "{answer}");
        let file = fs::read_to_string(sandbox.policy_file()).expect("text");
        assert!(file.starts_with(POLICY), "{file}");
        let modes: Vec<_> = support::modes(&sandbox.vault().join("modules"));
        assert_eq!(modes, [("hours.wasm".to_owned(), 0o600)]);
        let found = explain(&sandbox);
        assert_eq!(found["rule"], "modules/hours.wasm: hours", "{found}");
    }
}

#[test]
fn a_module_that_was_built_again_takes_its_place() {
    let (Some(core), Some(module)) = (core(), built(&POLICY_EXAMPLE)) else {
        return;
    };
    let sandbox = sandbox(POLICY);
    fs::write(sandbox.home().join("x.wasm"), &module).expect("written");
    policy(&sandbox, &["add", "x.wasm", "--config", NEVER]).succeeded();
    let before = fs::read_to_string(sandbox.policy_file()).expect("text");
    // The same code under another digest.
    let mut again = core;
    again.extend_from_slice(b"\0\x05\x04note");
    fs::write(sandbox.home().join("x.wasm"), again).expect("written");
    policy(&sandbox, &["add", "x.wasm"]).succeeded();
    let after = fs::read_to_string(sandbox.policy_file()).expect("text");
    let placed = fs::read(sandbox.vault().join("modules/x.wasm")).expect("a module");
    assert_eq!(after, before.replace(&sha256(&module), &sha256(&placed)));
    assert_ne!(after, before);
    assert_eq!(explain(&sandbox)["rule"], "modules/x.wasm: hours");
}

#[test]
fn what_cannot_be_used_changes_nothing() {
    let Some(module) = built(&POLICY_EXAMPLE) else {
        return;
    };
    let sandbox = sandbox(POLICY);
    fs::write(sandbox.home().join("x.wasm"), &module).expect("written");
    fs::write(sandbox.home().join("importing.wasm"), IMPORTING).expect("written");
    fs::write(sandbox.home().join("cut.wasm"), &module[..module.len() / 2]).expect("written");
    fs::write(sandbox.home().join("core.wasm"), b"\0asm\x01\0\0\0").expect("written");
    fs::write(sandbox.home().join("empty.wasm"), b"").expect("written");
    let large = File::create(sandbox.home().join("large.wasm")).expect("a file");
    large.set_len(64 << 20).expect("a sparse file");
    let pipe = sandbox.home().join("pipe.wasm");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let refused = |args: &[&str], fact: &str| {
        // But for compiled code, which is kept of what is tried.
        let unchanged = || {
            let mut all = files(&sandbox.vault());
            all.retain(|path, _| path.extension() != Some("cwasm".as_ref()));
            all
        };
        let before = unchanged();
        let answer = policy(&sandbox, &[&["add"], args].concat());
        assert_eq!(
            (answer.code, &*answer.stdout),
            (1, &b""[..]),
            "{args:?}: {answer}"
        );
        assert!(answer.stderr.contains(fact), "{fact}: {answer}");
        assert_eq!(unchanged(), before, "{args:?}");
    };
    refused(&["missing.wasm"], "missing.wasm does not exist");
    refused(&["/"], "/ is not a regular file");
    refused(&["pipe.wasm"], "pipe.wasm is not a regular file");
    refused(&["large.wasm"], "large.wasm is larger than ");
    refused(&["empty.wasm"], "it is not WebAssembly");
    refused(&["cut.wasm"], "cut.wasm cannot be made a module: ");
    refused(&["core.wasm"], "it exports functions of neither ");
    refused(&["importing.wasm"], "importing.wasm is of neither world");
    refused(&["x.wasm"], "x.wasm gave no usable answer: ");
    let bad = "the config cannot be used: ";
    refused(&["x.wasm", "--config", "{"], bad);
    for name in ["", "../x", "a/b", ".x", "a b", "a\nb", "ä"] {
        refused(
            &["x.wasm", "--name", name, "--config", NEVER],
            "is no name for a module",
        );
    }
    sandbox.policy("modules: []\n");
    refused(
        &["x.wasm", "--config", NEVER],
        "`modules` yourself, and then run the same command again:\n  - path: modules/x.wasm\n",
    );
    sandbox.policy("allow: x\n");
    refused(&["x.wasm", "--config", NEVER], "unknown field `allow`");
    fs::remove_file(sandbox.policy_file()).expect("removed");
    refused(&["x.wasm", "--config", NEVER], "does not exist");
    sandbox.policy(POLICY);
    symlink(sandbox.home(), sandbox.vault().join("modules2")).expect("a link");
    fs::remove_dir(sandbox.vault().join("modules")).expect("it is empty");
    fs::rename(
        sandbox.vault().join("modules2"),
        sandbox.vault().join("modules"),
    )
    .expect("renamed");
    let answer = policy(&sandbox, &["add", "x.wasm", "--config", NEVER]);
    assert!(
        answer.code == 1
            && answer
                .stderr
                .contains("outside of the policy file's directory")
    );
    assert_eq!(
        fs::read(sandbox.home().join("x.wasm")).expect("a file"),
        module
    );
}

#[test]
fn all_modules_are_listed_whether_they_can_be_used_or_not() {
    let [Some(module), Some(sanitizer)] = [built(&POLICY_EXAMPLE), built(&EXAMPLES[1])] else {
        return;
    };
    let sandbox = sandbox(POLICY);
    let list = |args: &[&str]| policy(&sandbox, &[&["list"], args].concat());
    let built_in = list(&["--json"]).succeeded().json();
    assert_eq!(built_in[0]["name"], "default-policy");
    assert_eq!(built_in[1]["world"], "sanitizer");

    for (name, bytes) in [
        ("a.wasm", &module),
        ("b.wasm", &module),
        ("c.wasm", &sanitizer),
    ] {
        fs::write(sandbox.home().join(name), bytes).expect("written");
    }
    policy(&sandbox, &["add", "a.wasm", "--config", NEVER]).succeeded();
    policy(&sandbox, &["add", "b.wasm", "--config", NEVER]).succeeded();
    policy(&sandbox, &["add", "c.wasm"]).succeeded();
    assert_eq!(list(&[]).succeeded().text().lines().count(), 7);

    fs::write(sandbox.vault().join("modules/b.wasm"), "SECRET").expect("written");
    fs::remove_file(sandbox.vault().join("modules/c.wasm")).expect("removed");
    let answer = list(&["--json"]);
    assert_eq!(answer.code, 1, "{answer}");
    let all = answer.json();
    assert_eq!(all.as_array().map(Vec::len), Some(5));
    let [a, b, c] = [2, 3, 4].map(|number| &all[number]);
    assert_eq!(a["sha256"], sha256(&module));
    assert_eq!(
        (&a["bytes"], &a["imports"]),
        (&json!(module.len()), &json!([]))
    );
    assert_eq!(
        (&a["usable"], &a["config"]["from"]),
        (&json!(true), &json!("00:00"))
    );
    let fault = "is not the file that was pinned: its sha256 is another one";
    assert_eq!((&b["fault"], &b["bytes"]), (&json!(fault), &json!(null)));
    assert_eq!(c["fault"], "does not exist");
    let text = list(&[]);
    assert!(
        text.code == 1 && text.text().contains("line 10: cannot be used: is not"),
        "{text}"
    );

    sandbox.policy("allow: x\n");
    let bad = list(&[]);
    assert_eq!((bad.code, bad.text().lines().count()), (1, 2), "{bad}");
    assert!(bad.stderr.contains("unknown field `allow`"), "{bad}");
}
