//! The rules of the tree, as tests: who may name whom, where `unsafe` stands, how long a file is.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file, in lines: it can be read in one sitting.
const LINES_MAX: usize = 600;

/// Who may name whom. `secretctl_runner` is the crate of the runner.
const EDGES: [(&str, &[&str]); 15] = [
    ("secret", &[]),
    ("name", &[]),
    ("text", &[]),
    ("time", &[]),
    ("crypto", &["secret"]),
    ("socket", &[]),
    (
        "keeper",
        &["crypto", "secret", "socket", "secretctl_runner"],
    ),
    ("vault", &["crypto", "secret", "name"]),
    ("audit", &["crypto", "name"]),
    ("policy", &["name", "time"]),
    ("sanitize", &["name"]),
    ("wasm", &["policy", "sanitize", "name", "secret", "text"]),
    (
        "broker",
        &[
            "secret",
            "name",
            "text",
            "time",
            "crypto",
            "vault",
            "audit",
            "policy",
            "sanitize",
            "wasm",
            "socket",
            "secretctl_runner",
        ],
    ),
    ("mcp", &["broker", "name", "text", "time"]),
    (
        "cli",
        &[
            "broker", "mcp", "keeper", "vault", "name", "secret", "text", "time",
        ],
    ),
];

/// The only files with `unsafe` code.
const UNSAFE: [&str; 4] = [
    "runner/src/sys.rs",
    "src/secret/memory.rs",
    "src/wasm/compiled.rs",
    // Attacks, which are tests: they go past every library.
    "runner/tests/escapes/raw.rs",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below `dir`, as paths relative to the root.
fn sources(dir: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join(dir)];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() && entry.file_name() != "target" {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(
                    path.strip_prefix(root())
                        .expect("below the root")
                        .to_owned(),
                );
            }
        }
    }
    found.sort();
    found
}

fn all_sources() -> Vec<PathBuf> {
    ["src", "runner", "policy-modules", "tests", "examples"]
        .iter()
        .flat_map(|dir| sources(dir))
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).expect("a text file")
}

/// The code of a file without comments, so that only real names count.
fn code(path: &Path) -> String {
    let text = read(path);
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules of ours that a text names: `crate::x`, `crate::{x, y::z}`, `secretctl::x`, and the runner's crate.
fn named(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, prefix) in code
        .match_indices("crate::")
        .chain(code.match_indices("secretctl::"))
    {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        names.extend(match rest.strip_prefix('{') {
            Some(group) => group_members(group),
            None => vec![identifier(rest)],
        });
    }
    if code.contains("secretctl_runner") {
        names.insert("secretctl_runner".to_owned());
    }
    names.remove("");
    names
}

/// The first names of the members of `{a, b::{c, d}, e}`, given what follows the opening brace.
fn group_members(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut members = vec![String::new()];
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => members.push(String::new()),
            _ => {}
        }
        if let Some(member) = members.last_mut()
            && character != ','
        {
            member.push(character);
        }
    }
    members
        .iter()
        .map(|member| identifier(member.trim()))
        .collect()
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn module_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix("src").ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    Some(first.trim_end_matches(".rs").to_owned()).filter(|name| name != "lib" && name != "main")
}

#[test]
fn names_are_found_in_every_form_of_import() {
    let found = named(
        "use crate::vault::{A, B};\nuse crate::{name, audit::{Log, Entry}, secret};\nlet x = crate::wasm::y;",
    );
    let expected = ["audit", "name", "secret", "vault", "wasm"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(expected));
    assert!(named("mycrate::vault").is_empty());
}

#[test]
fn modules_name_only_what_they_may() {
    let mut wrong = Vec::new();
    for path in sources("src") {
        let Some(module) = module_of(&path) else {
            continue;
        };
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!(
                "{}: module {module} has no row in EDGES",
                path.display()
            ));
            continue;
        };
        for name in named(&code(&path)) {
            let known =
                EDGES.iter().any(|(module, _)| *module == name) || name == "secretctl_runner";
            if known && name != module && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{}: {module} must not name {name}", path.display()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn only_the_sanitizers_host_names_secrets_in_wasm() {
    let naming: Vec<_> = sources("src/wasm")
        .into_iter()
        .filter(|path| named(&code(path)).contains("secret"))
        .collect();
    assert_eq!(naming, [PathBuf::from("src/wasm/sanitizer.rs")]);
}

#[test]
fn only_wasm_names_wasmtime() {
    let uses = |path: &PathBuf| code(path).contains("wasmtime::") && !path.starts_with("src/wasm");
    let naming: Vec<_> = sources("src").into_iter().filter(uses).collect();
    assert_eq!(naming, Vec::<PathBuf>::new());
}

#[test]
fn the_runner_knows_nothing_of_ours() {
    let manifest = read(Path::new("runner/Cargo.toml"));
    let mut names = Vec::new();
    let mut in_dependencies = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]") && !line.contains("dev-");
        } else if let (true, Some((name, _))) = (in_dependencies, line.split_once(" = ")) {
            names.push(name);
        }
    }
    assert_eq!(names, ["zeroize", "libc", "rustix", "landlock", "rustix"]);
}

#[test]
fn unsafe_code_stands_in_three_files_and_one_of_attacks_with_a_reason_on_each_block() {
    let is_unsafe = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        [
            "unsafe {",
            "unsafe fn",
            "unsafe impl",
            "unsafe extern",
            "#[unsafe",
        ]
        .iter()
        .any(|form| code.contains(form))
    };
    let mut wrong = Vec::new();
    for path in ["src", "runner", "policy-modules"]
        .iter()
        .flat_map(|dir| sources(dir))
    {
        let text = read(&path);
        let allowed = UNSAFE.iter().any(|file| path == Path::new(file));
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| is_unsafe(line)) {
            let reasons = lines[index.saturating_sub(8)..=index].iter();
            let has_reason =
                !line.contains("unsafe {") || reasons.clone().any(|line| line.contains("SAFETY:"));
            if !allowed || !has_reason {
                wrong.push(format!("{}:{}", path.display(), index + 1));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let length = |path: &PathBuf| read(path).lines().count();
    let long: Vec<_> = all_sources()
        .into_iter()
        .filter(|path| length(path) > LINES_MAX)
        .collect();
    assert_eq!(long, Vec::<PathBuf>::new());
}

#[test]
fn nothing_is_left_unfinished() {
    let mut found = Vec::new();
    for path in all_sources()
        .into_iter()
        .filter(|path| path != Path::new("tests/tidy.rs"))
    {
        let text = read(&path);
        for word in [
            "todo!",
            "unimplemented!",
            "TODO",
            "FIXME",
            "XXX",
            "HACK",
            "#[ignore]",
            "dbg!",
        ] {
            if text.contains(word) {
                found.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_dependency_has_its_reason() {
    let mut without = Vec::new();
    for manifest in [
        "Cargo.toml",
        "runner/Cargo.toml",
        "policy-modules/default-policy/Cargo.toml",
        "policy-modules/default-sanitizer/Cargo.toml",
        "policy-modules/default-sanitizer/fuzz/Cargo.toml",
        "tests/fuzz/Cargo.toml",
        "policy-modules/sdk/Cargo.toml",
        "policy-modules/build/Cargo.toml",
        "policy-modules/hostile/Cargo.toml",
        "examples/modules/office-hours/Cargo.toml",
        "examples/modules/scan/Cargo.toml",
        "examples/modules/hide-personal-data/Cargo.toml",
        "examples/modules/hide-tokens/Cargo.toml",
    ] {
        let text = read(Path::new(manifest));
        let mut in_dependencies = false;
        let mut reason_above = false;
        for line in text.lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies]") && !line.contains("workspace");
            }
            let names_one =
                in_dependencies && line.contains('=') && !line.starts_with(['#', ' ', '[', ']']);
            if names_one && !line.contains('#') && !reason_above {
                without.push(format!("{manifest}: {line}"));
            }
            reason_above = line.starts_with('#');
        }
    }
    assert_eq!(without, Vec::<String>::new());
}
