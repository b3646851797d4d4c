//! Ordinary tools work in the jail: nothing is blocked too much.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use secretctl_runner::{Jail, Network, Outcome, Plan, WorkingDirectory};

use crate::support::{EXITED_0, Run, Scratch, plan, sh, variable};
use crate::table::{Row, cases, jail, jailed};

cases![
    (0, "tool: bash", [], bash_works),
    (0, "tool: python3", [], python_works),
    (0, "tool: node", [], node_works),
    (0, "tool: npm test", [], npm_test_works),
    (0, "tool: git init, commit, clone", [], git_works),
    (0, "tool: cargo build and run", [], cargo_works),
    (0, "tool: curl to a local server", [], curl_works),
    (0, "tool: psql to a local server", [], psql_works),
    (0, "tool: a script by its first line", [], a_script_works),
    (0, "tool: a static program", [], a_static_program_works),
    (0, "tool: gcc, compile and link", [], gcc_works),
];

/// Where programs of the system are.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A program of the system. Where it is not installed the table says so; in CI that is a failure.
fn tool(row: &mut Row, name: &str) -> Option<PathBuf> {
    let found = PATH
        .split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        missing(row, &format!("{name} is not installed"));
    }
    found
}

fn missing(row: &mut Row, what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what}");
    row.note(format!("not applicable: {what}"));
}

/// In the directory of a project, with all programs of the system.
fn in_project(mut plan: Plan, project: &Scratch) -> (Plan, Jail) {
    plan.working_directory = WorkingDirectory::At(project.0.clone());
    plan.environment = vec![variable("PATH", PATH)];
    let jail = Jail {
        writable: vec![project.0.clone()],
        ..jail(Network::None)
    };
    (plan, jail)
}

fn works(row: &mut Row, (plan, jail): (Plan, Jail), expected: &str) {
    let run = jailed(plan, &jail);
    assert_eq!(
        (run.outcome(), run.text()),
        (EXITED_0, expected),
        "{}",
        errors(&run)
    );
    row.note("works");
}

fn errors(run: &Run) -> String {
    String::from_utf8_lossy(&run.stderr).into_owned()
}

fn bash_works(row: &mut Row) {
    if let Some(bash) = tool(row, "bash") {
        let script = "set -euo pipefail; cat <(echo a) - <<<b; exec 3< <(echo c); cat <&3; ls /dev/stdout >/dev/null; echo d >/dev/stdout; wait; jobs; echo $((6*7))";
        works(
            row,
            in_project(
                plan(bash.to_str().unwrap(), &["-c", script]),
                &Scratch::new(),
            ),
            "a\nb\nc\nd\n42\n",
        );
    }
}

fn python_works(row: &mut Row) {
    let script = "
import hashlib, json, multiprocessing, os, sqlite3, subprocess, sys, tempfile, threading
sqlite3.connect('a.db').execute('create table t (x)')
with tempfile.TemporaryDirectory() as d: open(d + '/f', 'w').write('x')
print(subprocess.run(['echo', 'child'], capture_output=True, text=True).stdout.strip())
thread = threading.Thread(target=print, args=('thread',)); thread.start(); thread.join()
with multiprocessing.Pool(2) as pool: print(pool.map(len, ['ab', 'c']))
";
    if let Some(python) = tool(row, "python3") {
        let plan = plan(python.to_str().unwrap(), &["-u", "-c", script]);
        works(
            row,
            in_project(plan, &Scratch::new()),
            "child\nthread\n[2, 1]\n",
        );
    }
}

const NODE: &str = "
const { execFileSync } = require('child_process'), fs = require('fs'), { Worker } = require('worker_threads');
fs.writeFileSync('made', 'x');
console.log(execFileSync('echo', ['child']).toString().trim());
new Worker('console.log(\"worker\")', { eval: true }).on('exit', (code) => console.log(code));
";

fn node_works(row: &mut Row) {
    if let Some(node) = tool(row, "node") {
        let plan = plan(node.to_str().unwrap(), &["-e", NODE]);
        works(row, in_project(plan, &Scratch::new()), "child\nworker\n0\n");
    }
}

fn npm_test_works(row: &mut Row) {
    let (Some(npm), Some(_)) = (tool(row, "npm"), tool(row, "node")) else {
        return;
    };
    let project = Scratch::new();
    project.file(
        "package.json",
        r#"{"name": "p", "version": "1.0.0", "scripts": {"test": "node --test"}}"#,
        0o644,
    );
    project.file(
        "a.test.js",
        "require('node:test')('adds', () => require('assert').equal(1 + 1, 2));",
        0o644,
    );
    let (plan, jail) = in_project(plan(npm.to_str().unwrap(), &["test"]), &project);
    let run = jailed(plan, &jail);
    assert_eq!(run.outcome(), EXITED_0, "{}{}", run.text(), errors(&run));
    assert!(run.text().contains("pass 1"), "{}", run.text());
    row.note("works");
}

fn git_works(row: &mut Row) {
    let script = "
        set -e; git config --global user.name n; git config --global user.email e; git config --global init.defaultBranch main
        git init -q one; echo text >one/file; git -C one add file; git -C one commit -qm first
        git clone -q one two; cat two/file; git -C two log --format=%s; git -C two status --short
        git -C two commit -q --allow-empty -m second; git -C two gc -q
    ";
    if tool(row, "git").is_some() {
        works(
            row,
            in_project(sh(script), &Scratch::new()),
            "text\nfirst\n",
        );
    }
}

/// The toolchain lies in the home directory, which only a person can open.
fn cargo_works(row: &mut Row) {
    let home = |variable: &str, usual: &str| {
        let home = || Some(Path::new(&std::env::var_os("HOME")?).join(usual));
        std::env::var_os(variable)
            .map(PathBuf::from)
            .or_else(home)
            .filter(|path| fs::read_dir(path).is_ok())
    };
    let (Some(rustup), Some(cargo)) =
        (home("RUSTUP_HOME", ".rustup"), home("CARGO_HOME", ".cargo"))
    else {
        missing(row, "this user has no Rust toolchain");
        return;
    };
    let project = Scratch::new();
    fs::create_dir(project.0.join("src")).unwrap();
    project.file(
        "Cargo.toml",
        "[package]\nname = \"p\"\nversion = \"1.0.0\"\nedition = \"2024\"\n",
        0o644,
    );
    project.file("src/main.rs", "fn main() { println!(\"built\"); }\n", 0o644);
    let program = cargo.join("bin/cargo");
    let (mut plan, mut jail) = in_project(
        plan(program.to_str().unwrap(), &["run", "--quiet", "--offline"]),
        &project,
    );
    for (name, path) in [("RUSTUP_HOME", &rustup), ("CARGO_HOME", &cargo)] {
        plan.environment
            .push(variable(name, path.to_str().unwrap()));
    }
    if let Ok(toolchain) = std::env::var("RUSTUP_TOOLCHAIN") {
        plan.environment
            .push(variable("RUSTUP_TOOLCHAIN", &toolchain));
    }
    jail.readable.extend([rustup, cargo]);
    works(row, (plan, jail), "built\n");
    assert!(project.0.join("target/debug/p").is_file());
}

fn curl_works(row: &mut Row) {
    let Some(curl) = tool(row, "curl") else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let lines = BufReader::new(client.try_clone().unwrap()).lines();
        let request: Vec<_> = lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .collect();
        client
            .write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")
            .unwrap();
        request
    });
    let fetch = || plan(curl.to_str().unwrap(), &["-sS", "--max-time", "30", &url]);
    let run = jailed(fetch(), &jail(Network::Allow));
    assert_eq!(
        (run.outcome(), run.text()),
        (EXITED_0, "hello\n"),
        "{}",
        errors(&run)
    );
    assert_eq!(server.join().unwrap()[0], "GET / HTTP/1.1");
    // Its code for "no connection".
    let without = jailed(fetch(), &jail(Network::None));
    assert_eq!(
        without.outcome(),
        Outcome::Exited { code: 7 },
        "{}",
        errors(&without)
    );
    row.note("works");
}

/// The server speaks just enough of the protocol to refuse; a real one is asked in tests/run.rs.
fn psql_works(row: &mut Row) {
    let Some(psql) = tool(row, "psql") else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut length = [0; 4];
        client.read_exact(&mut length).unwrap();
        let mut greeting = vec![0; u32::from_be_bytes(length) as usize - 4];
        client.read_exact(&mut greeting).unwrap();
        let fields = b"SFATAL\0VFATAL\0C28000\0Mnobody may enter\0\0";
        let length = u32::try_from(fields.len() + 4).unwrap();
        let answer = [b"E", &length.to_be_bytes()[..], fields].concat();
        client.write_all(&answer).unwrap();
        greeting
    });
    let mut plan = plan(
        psql.to_str().unwrap(),
        &[
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "user",
            "-d",
            "base",
            "-c",
            "select 1",
        ],
    );
    for (name, value) in [
        ("PGSSLMODE", "disable"),
        ("PGGSSENCMODE", "disable"),
        ("PGPASSWORD", "password"),
    ] {
        plan.environment.push(variable(name, value));
    }
    let run = jailed(plan, &jail(Network::Allow));
    assert_eq!(run.outcome(), Outcome::Exited { code: 2 });
    assert!(
        errors(&run).contains("FATAL:  nobody may enter"),
        "{}",
        errors(&run)
    );
    let greeting = server.join().unwrap();
    assert!(greeting.windows(4).any(|bytes| bytes == b"base"));
    row.note("works");
}

fn a_script_works(row: &mut Row) {
    let project = Scratch::new();
    let script = project.file(
        "script",
        "#!/usr/bin/env -S sh -e\necho \"$0\" \"$1\"\n",
        0o755,
    );
    let plan = plan(script.to_str().unwrap(), &["a b"]);
    works(
        row,
        in_project(plan, &project),
        &format!("{} a b\n", script.display()),
    );
}

/// A program without an interpreter, which says that it is ready and waits; with `-` it ends.
pub(crate) fn static_program(row: &mut Row, scratch: &Scratch) -> Option<PathBuf> {
    let compiler = tool(row, "cc")?;
    let source = scratch.file(
        "program.c",
        "#include <unistd.h>\nint main(int n, char **words) { write(1, \"ready\\n\", 6); if (words[1][0] != '-') pause(); return 0; }\n",
        0o644,
    );
    let program = scratch.0.join("program");
    let arguments = [
        OsString::from("-static"),
        "-w".into(),
        "-o".into(),
        program.clone().into(),
        source.into(),
    ];
    let compiled = Command::new(compiler).args(arguments).output().unwrap();
    if !compiled.status.success() {
        missing(row, "cc has no static C library");
        return None;
    }
    Some(program)
}

fn a_static_program_works(row: &mut Row) {
    let project = Scratch::new();
    if let Some(program) = static_program(row, &project) {
        let plan = plan(program.to_str().unwrap(), &["-"]);
        works(row, in_project(plan, &project), "ready\n");
    }
}

fn gcc_works(row: &mut Row) {
    if tool(row, "gcc").is_some() {
        let project = Scratch::new();
        project.file("a.c", "#include <stdio.h>\nint b(void); int main(void) { printf(\"%d\\n\", b()); return 0; }\n", 0o644);
        project.file("b.c", "int b(void) { return 42; }\n", 0o644);
        let script = "set -e; gcc -O2 -c a.c; gcc -O2 -pipe -c b.c; gcc -o a a.o b.o; ./a; rm a";
        works(row, in_project(sh(script), &project), "42\n");
    }
}
