//! `secretctl run` and `filter`, seen from outside: whole output, exit codes, hidden secrets, and nothing left behind.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::io::{Read, Write};
use std::process::Child;
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use rustix::process::Signal;
use support::process::{Mark, kill};
use support::{Answer, Invocation, Sandbox};

/// A secret that every encoding changes.
const SECRET: &str = "p@s/w+\"rd\\9 ü~Zk%q";

fn vault_with(key: &str, value: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.set(key, value);
    sandbox
}

/// `secretctl run -k KEY -- sh -c SCRIPT sh ARGUMENTS…`
fn shell(sandbox: &Sandbox, script: &str, arguments: &[&str]) -> Invocation {
    sandbox
        .secretctl(["run", "-k", "KEY", "--", "sh", "-c", script, "sh"])
        .args(arguments)
}

#[test]
fn output_is_whole_a_hundred_times_out_of_a_hundred() {
    let sandbox = vault_with("KEY", SECRET);
    let expected: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    let run = || {
        for _ in 0..25 {
            let run = sandbox
                .secretctl(["run", "-k", "KEY", "--", "seq", "1", "200000"])
                .answer();
            assert_eq!((run.code, &*run.stderr), (0, ""));
            assert!(
                run.stdout == expected.as_bytes(),
                "{} bytes",
                run.stdout.len()
            );
        }
    };
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(run))));
}

#[test]
fn exit_codes_say_who_failed_and_how() {
    let sandbox = vault_with("KEY", SECRET);
    shell(&sandbox, "exit 0", &[]).answer().is(0, "", "");
    shell(&sandbox, "exit 7", &[]).answer().is(7, "", "");
    shell(&sandbox, "kill -KILL $$", &[])
        .answer()
        .is(128 + 9, "", "");
    shell(&sandbox, "kill -TERM $$", &[])
        .answer()
        .is(128 + 15, "", "");

    let run = |args: &[&str]| sandbox.secretctl(["run"]).args(args).answer();
    let late = "error: the command was ended by its time limit\n  --timeout sets another one\n";
    run(&["-k", "KEY", "--timeout", "300ms", "--", "sleep", "1000"]).is(124, "", late);
    let missing = "error: secret not found: NONE\n  secretctl list shows the names; they are case-sensitive\n";
    run(&["-k", "NONE", "--", "true"]).is(125, "", missing);
    run(&["-k", "KEY", "--", "no-such-program"]).is(
        127,
        "",
        "error: command not found: no-such-program\n",
    );
    run(&["-k", "KEY", "--", "./none.sh"]).is(127, "", "error: command not found: ./none.sh\n");
    for not_a_program in ["/", "/etc/passwd"] {
        let refused = run(&["-k", "KEY", "--", not_a_program]);
        assert_eq!(
            (refused.code, &*refused.stdout),
            (126, &b""[..]),
            "{refused}"
        );
        assert_eq!(refused.stderr.lines().count(), 1, "{refused}");
    }
    assert_eq!(run(&["--", "true"]).code, 2);
    assert_eq!(run(&["-k", "KEY"]).code, 2);
}

#[test]
fn a_timeout_keeps_what_was_written_and_leaves_nobody() {
    let sandbox = vault_with("KEY", SECRET);
    let mark = Mark::new();
    let script =
        "trap '' TERM; printf %s \"before $KEY\"; sleep \"$1$2\" & sleep \"$1$2\"; sleep \"$1$2\"";
    let halves = mark.halves.each_ref().map(String::as_str);
    let run = sandbox
        .secretctl([
            "run", "-k", "KEY", "-t", "1s", "--", "sh", "-c", script, "sh",
        ])
        .args(halves);
    let late = "error: the command was ended by its time limit\n  --timeout sets another one\n";
    run.answer().is(124, "before [REDACTED:KEY]", late);
    mark.is_gone();
}

#[test]
fn the_command_reads_what_is_piped_in() {
    let sandbox = vault_with("KEY", SECRET);
    let every_byte: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let run = sandbox
        .secretctl(["run", "-k", "KEY", "--", "cat"])
        .stdin(every_byte.clone())
        .answer();
    assert_eq!((run.code, &*run.stderr), (0, ""));
    assert!(run.stdout == every_byte);
}

#[test]
fn a_prompt_appears_before_its_answer_is_given() {
    let sandbox = vault_with("KEY", SECRET);
    let mut child = shell(
        &sandbox,
        "printf 'Name? '; read name; echo \"hello $name\"",
        &[],
    )
    .spawn();
    reads(&mut child, "Name? ");
    answers(&mut child, "Ada\n");
    finish(child).is(0, "hello Ada\n", "");
}

#[test]
fn a_secret_is_hidden_in_both_streams_and_across_writes() {
    let sandbox = vault_with("KEY", "s3cr3t-value");
    shell(&sandbox, "echo out=$KEY; echo err=$KEY >&2", &[])
        .answer()
        .is(0, "out=[REDACTED:KEY]\n", "err=[REDACTED:KEY]\n");
    // The second half is written only after the first one was seen to be relayed.
    let script =
        "printf 'a%s' \"${KEY%?????}\"; printf x >&2; read go; printf '%s\\n' \"${KEY#???????}\"";
    let mut child = shell(&sandbox, script, &[]).spawn();
    reads(&mut child, "a");
    answers(&mut child, "go\n");
    finish(child).is(0, "[REDACTED:KEY]\n", "x");
}

#[test]
fn a_secret_is_hidden_in_every_form() {
    let sandbox = vault_with("KEY", SECRET);
    let bytes = SECRET.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
    let percent_needed: String = bytes
        .iter()
        .map(|&byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02x}"),
        })
        .collect();
    let json = serde_json::to_string(SECRET).expect("JSON");
    let ascii_json = json.replace('ü', "\\u00fc");
    let forms = [
        SECRET.to_owned(),
        STANDARD.encode(bytes),
        STANDARD.encode(bytes).trim_end_matches('=').to_owned(),
        URL_SAFE.encode(bytes),
        hex.to_uppercase(),
        hex,
        percent,
        percent_needed,
        json.trim_matches('"').to_owned(),
        ascii_json.trim_matches('"').to_owned(),
    ];
    let text: String = forms.iter().map(|form| format!("<{form}>\n")).collect();
    // What pads a base64 text is no part of the secret.
    let hidden: String = forms
        .iter()
        .map(|form| match form.trim_end_matches('=').len() {
            unpadded if unpadded < form.len() => format!("<[REDACTED:KEY]{}>\n", &form[unpadded..]),
            _ => "<[REDACTED:KEY]>\n".to_owned(),
        })
        .collect();
    let run = sandbox
        .secretctl(["run", "-k", "KEY", "--", "cat"])
        .stdin(text.clone());
    run.answer().is(0, &hidden, "");
    let filter = sandbox
        .secretctl(["filter", "-k", "KEY"])
        .stdin(text.clone());
    filter.answer().is(0, &hidden, "");
    let raw = sandbox
        .secretctl(["run", "-k", "KEY", "--no-sanitize", "--", "cat"])
        .stdin(text.clone());
    raw.answer().is(0, &text, "");
}

#[test]
fn a_secret_is_hidden_within_base64_of_something_longer() {
    let sandbox = vault_with("KEY", SECRET);
    for prefix in ["", "u", "us", "usr", "user:"] {
        let whole = STANDARD.encode(format!("{prefix}{SECRET} and more"));
        let run = sandbox
            .secretctl(["run", "-k", "KEY", "--", "cat"])
            .stdin(whole.clone())
            .answer();
        assert_eq!(run.code, 0);
        // Characters that stand for bytes of the secret alone: those after the prefix, up to its end.
        let (first, last) = (
            (prefix.len() * 8).div_ceil(6),
            (prefix.len() + SECRET.len()) * 8 / 6,
        );
        let text = run.text();
        assert_eq!(text.matches("[REDACTED:KEY]").count(), 1, "{text}");
        let leak = (first..last - 3)
            .map(|at| &whole[at..at + 4])
            .find(|part| text.contains(part));
        assert_eq!(leak, None, "{prefix}: {text}");
    }
}

#[test]
fn several_secrets_and_patterns_are_injected_and_named() {
    let sandbox = vault_with("aws/access_key", "AKIA-first-value");
    sandbox.set("aws/secret-key", "second/value+of");
    sandbox.set("other", "not to be injected");
    let script =
        "echo \"$T_AWS_ACCESS_KEY $T_AWS_SECRET_KEY ${T_OTHER-unset} ${SECRETCTL_PASSWORD-unset}\"";
    let run = [
        "run",
        "-k",
        "aws/*",
        "--env-prefix",
        "T_",
        "--",
        "sh",
        "-c",
        script,
    ];
    let hidden = "[REDACTED:aws/access_key] [REDACTED:aws/secret-key] unset unset\n";
    sandbox.secretctl(run).answer().is(0, hidden, "");
}

#[test]
fn an_environment_changes_the_key_and_keeps_the_variable() {
    let sandbox = vault_with("db/password", "of development");
    sandbox.set("staging/db/password", "of the staging area");
    let run = |flags: &[&str]| {
        let run = sandbox
            .secretctl(["run", "--no-sanitize", "-k", "db/*"])
            .args(flags);
        run.args(["--", "sh", "-c", "echo $DB_PASSWORD"]).answer()
    };
    let no_file = run(&["--env", "staging"]);
    assert_eq!((no_file.code, &*no_file.stdout), (125, &b""[..]));
    assert!(
        no_file.stderr.contains("mcp-policy.yaml does not exist"),
        "{no_file}"
    );

    sandbox.policy(
        "version: 1\nenv_aliases:\n  staging: [{ pattern: 'db/*', target: 'staging/db/*' }]\n",
    );
    run(&[]).is(0, "of development\n", "");
    run(&["--env", "staging"]).is(0, "of the staging area\n", "");
    let unknown = run(&["--env", "none"]);
    assert_eq!(
        (unknown.code, &*unknown.stdout),
        (125, &b""[..]),
        "{unknown}"
    );
}

#[test]
fn a_variable_that_programs_obey_is_not_injected() {
    let sandbox = vault_with("LD_PRELOAD", "some value");
    let refused = "error: secret LD_PRELOAD would become the variable LD_PRELOAD, which programs take instructions from\n  \
         use --env-prefix, or fewer keys\n";
    sandbox
        .secretctl(["run", "-k", "LD_PRELOAD", "--", "true"])
        .answer()
        .is(125, "", refused);
}

#[test]
fn an_interrupt_ends_the_whole_tree() {
    let sandbox = vault_with("KEY", SECRET);
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let mark = Mark::new();
        let halves = mark.halves.each_ref().map(String::as_str);
        let child = shell(
            &sandbox,
            "sleep \"$1$2\" & sleep \"$1$2\"; sleep \"$1$2\"",
            &halves,
        )
        .spawn();
        mark.wait_for_start();
        kill(child.id(), signal);
        finish(child).is(code, "", "");
        mark.is_gone();
    }
}

#[test]
fn a_command_may_answer_an_interrupt_in_its_own_way() {
    let sandbox = vault_with("KEY", SECRET);
    let script = "trap 'echo bye; exit 5' INT; echo ready; while :; do sleep 0.01; done";
    let mut child = shell(&sandbox, script, &[]).spawn();
    reads(&mut child, "ready\n");
    kill(child.id(), Signal::INT);
    finish(child).is(5, "bye\n", "");
}

#[cfg(target_os = "linux")]
#[test]
fn when_secretctl_is_killed_nobody_survives_it() {
    let sandbox = vault_with("KEY", SECRET);
    let mark = Mark::new();
    let halves = mark.halves.each_ref().map(String::as_str);
    // The second one has left its parent, its process group and its session.
    let script = "trap '' HUP TERM INT; setsid sleep \"$1$2\" & sleep \"$1$2\"; sleep \"$1$2\"";
    let child = shell(&sandbox, script, &halves).spawn();
    mark.wait_for_start();
    kill(child.id(), Signal::KILL);
    assert_eq!(finish(child).code, -9);
    mark.wait_for_end();
}

#[cfg(target_os = "linux")]
#[test]
fn a_daemon_does_not_outlive_its_command() {
    let sandbox = vault_with("KEY", SECRET);
    let mark = Mark::new();
    let halves = mark.halves.each_ref().map(String::as_str);
    let script = "(setsid sleep \"$1$2\" &) & echo done; exit 3";
    shell(&sandbox, script, &halves)
        .answer()
        .is(3, "done\n", "");
    mark.is_gone();
}

/// Output of the large run: a secret across each of so many page boundaries, since pipes are read in whole pages.
const PAGES: usize = 25_600;
const PAGE_BYTES: usize = 4096;
/// Most memory of the process during the large run, in KiB.
#[cfg(target_os = "linux")]
const RESIDENT_MAX_KIB: u64 = 64 * 1024;

#[test]
fn a_hundred_mebibytes_pass_with_the_secret_at_every_boundary() {
    let secret = "s3cr3t-0f-16-byt";
    let sandbox = vault_with("KEY", secret);
    // The n-th secret begins 1 to 15 bytes before the n-th boundary.
    let script = "BEGIN { key = ENVIRON[\"KEY\"]; fill = \"x\"; while (length(fill) < 8192) fill = fill fill; \
         for (n = 0; n < 25600; n++) { start = 4096 * (n + 1) - 1 - n % 15; \
         printf \"%s%s\", substr(fill, 1, start - at), key; at = start + length(key) } }";
    let mut expected = Vec::with_capacity(PAGES * PAGE_BYTES);
    let mut at = 0;
    for n in 0..PAGES {
        let start = PAGE_BYTES * (n + 1) - 1 - n % 15;
        expected.resize(expected.len() + start - at, b'x');
        expected.extend_from_slice(b"[REDACTED:KEY]");
        at = start + secret.len();
    }

    let mut child = sandbox
        .secretctl(["run", "-k", "KEY", "--", "awk", script])
        .spawn();
    let mut stdout = child.stdout.take().expect("a pipe");
    let (mut chunk, mut position, mut resident) = (vec![0; 256 * 1024], 0, 0);
    loop {
        let length = stdout.read(&mut chunk).expect("output");
        if length == 0 {
            break;
        }
        assert!(
            expected.get(position..position + length) == Some(&chunk[..length]),
            "differs after {position} bytes"
        );
        position += length;
        #[cfg(target_os = "linux")]
        {
            resident = resident.max(support::process::resident_kib(child.id()).unwrap_or_default());
        }
    }
    finish(child).is(0, "", "");
    assert_eq!(position, expected.len());
    #[cfg(target_os = "linux")]
    assert!((1..RESIDENT_MAX_KIB).contains(&resident), "{resident} KiB");
}

#[test]
fn a_filter_passes_all_else_byte_by_byte() {
    let sandbox = vault_with("KEY", "s3cr3t-value");
    let mut text: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let mut expected = text.clone();
    text.extend_from_slice(b"s3cr3t-value\xff");
    expected.extend_from_slice(b"[REDACTED:KEY]\xff");
    let filter = sandbox
        .secretctl(["filter", "-k", "KEY"])
        .stdin(text)
        .answer();
    assert_eq!((filter.code, &*filter.stderr), (0, ""));
    assert!(filter.stdout == expected);
}

#[test]
fn the_master_password_is_hidden_too() {
    let sandbox = vault_with("KEY", "s3cr3t-value");
    let text = format!("the password is {}\n", support::PASSWORD);
    let hidden = "the password is [REDACTED:master-password]\n";
    let filter = sandbox.secretctl(["filter", "-k", "KEY"]);
    filter.stdin(text.clone()).answer().is(0, hidden, "");
    let run = sandbox.secretctl(["run", "-k", "KEY", "--", "cat"]);
    run.stdin(text).answer().is(0, hidden, "");
}

/// Reads exactly this from the command's output, while it runs.
#[track_caller]
fn reads(child: &mut Child, text: &str) {
    let mut bytes = vec![0; text.len()];
    child
        .stdout
        .as_mut()
        .expect("a pipe")
        .read_exact(&mut bytes)
        .expect("output");
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

fn answers(child: &mut Child, text: &str) {
    child
        .stdin
        .as_mut()
        .expect("a pipe")
        .write_all(text.as_bytes())
        .expect("it reads");
}

/// Waits for the end; gives what was not read so far.
fn finish(child: Child) -> Answer {
    child.wait_with_output().expect("it ends").into()
}
