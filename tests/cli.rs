//! The human door, seen from outside: what each command prints, how it ends, and what it leaves on disk.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use support::{Answer, Invocation, PASSWORD, SECRETCTL, Sandbox, modes};

/// Largest value, in bytes.
const VALUE_MAX_BYTES: usize = 1024 * 1024;

#[test]
fn help_and_sessions_read_as_they_should() {
    let sandbox = Sandbox::empty();
    // As people have it.
    sandbox.secretctl(["init"]).answer().succeeded();
    sandbox.set("API_KEY", "sk-abc123xyz");
    sandbox.set("aws/access_key", "AKIA0123456789");
    let file = sandbox.home().join("password");
    fs::write(&file, PASSWORD).expect("written");
    let cases = trycmd::TestCases::new();
    let place = sandbox.vault().to_string_lossy().into_owned();
    let state = sandbox.home().join(".state");
    let state = state.to_string_lossy().into_owned();
    cases
        .insert_var("[VAULT]", place.clone())
        .expect("a name for the place");
    cases
        .env("SECRETCTL_VAULT_DIR", place)
        .env("XDG_STATE_HOME", &state)
        .env("XDG_RUNTIME_DIR", state)
        .env("SECRETCTL_PASSWORD_FILE", file.to_string_lossy())
        .case("tests/cli/*.trycmd")
        .run();
}

#[test]
fn a_vault_is_made_once_and_for_its_owner_alone() {
    let sandbox = Sandbox::empty();
    let with_umask_0 = |command: &str| {
        let script = "umask 0; exec \"$0\" $1";
        let shell = Invocation::new("sh", sandbox.home()).args(["-c", script, SECRETCTL, command]);
        shell
            .env("SECRETCTL_PASSWORD", PASSWORD)
            .stdin("the value")
            .answer()
    };
    let created = format!(
        "Created a vault in {}. The master password cannot be recovered: keep it safe.\n",
        sandbox.vault().display()
    );
    with_umask_0("init").is(0, "", &created);
    with_umask_0("set KEY").is(0, "", "Stored KEY.\n");

    let mode = fs::metadata(sandbox.vault())
        .expect("made")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o700);
    let files = ["vault.db", "vault.meta", "vault.salt"].map(|name| (name.to_owned(), 0o600));
    assert_eq!(modes(&sandbox.vault()), files);
    let owned = [".secretctl", ".state"].map(|name| (name.to_owned(), 0o700));
    assert_eq!(modes(sandbox.home()), owned);

    let content = || {
        files
            .clone()
            .map(|(name, _)| fs::read(sandbox.vault().join(name)).expect("a file"))
    };
    let before = content();
    let again = with_umask_0("init");
    assert_eq!((again.code, &*again.stdout), (1, &b""[..]), "{again}");
    assert!(again.stderr.contains("there is a vault in"), "{again}");
    assert_eq!(content(), before);
}

#[test]
fn a_vault_that_others_can_enter_is_warned_about() {
    let sandbox = Sandbox::new();
    fs::set_permissions(sandbox.database(), fs::Permissions::from_mode(0o640)).expect("own file");
    let warning = format!(
        "warning: {} is accessible to others (mode 0640)\n",
        sandbox.database().display()
    );
    sandbox
        .secretctl(["list"])
        .answer()
        .is(0, "", &format!("{warning}No secrets found.\n"));
}

#[test]
fn a_value_comes_back_byte_by_byte() {
    let sandbox = Sandbox::new();
    let every_byte: Vec<u8> = (0..=255).collect();
    let largest = vec![0xA5; VALUE_MAX_BYTES];
    type Bytes<'a> = &'a [u8];
    let cases: [(&str, Bytes<'_>, Bytes<'_>, &[&str]); 7] = [
        ("TEXT", b"sk-abc123xyz", b"sk-abc123xyz", &[]),
        ("LINE", b"from echo\n", b"from echo", &[]),
        ("DOS_LINE", b"from elsewhere\r\n", b"from elsewhere", &[]),
        ("TWO_LINES", b"one\ntwo..\n\n", b"one\ntwo..\n", &[]),
        ("EXACT_LINE", b"kept..\r\n", b"kept..\r\n", &["--exact"]),
        ("BINARY", &every_byte, &every_byte, &[]),
        ("LARGEST", &largest, &largest, &[]),
    ];
    for (key, given, kept, flags) in cases {
        let set = sandbox.secretctl(["set", key]).args(flags).stdin(given);
        set.answer().is(0, "", &format!("Stored {key}.\n"));
        sandbox.secretctl(["get", key]).answer().is(0, kept, "");
    }
}

#[test]
fn what_breaks_a_limit_is_refused_and_nothing_is_changed() {
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "the old value");
    let too_many_tags: Vec<String> = (0..11).map(|n| format!("t{n}")).collect();
    let too_many_tags = too_many_tags.join(",");
    let (too_long, just_right) = (vec![b'x'; VALUE_MAX_BYTES + 1], b"a new value".to_vec());
    let (long_notes, long_url) = (
        "n".repeat(10 * 1024 + 1),
        format!("https://{}", "u".repeat(2048)),
    );
    let cases: [(&[&str], &[u8], &str); 7] = [
        (
            &[],
            &too_long,
            "the value of field 'value' has more than 1048576 bytes",
        ),
        (&[], b"", "the value of field 'value' is empty"),
        (
            &["--tags", &too_many_tags],
            &just_right,
            "a secret has at most 10 tags",
        ),
        (
            &["--notes", &long_notes],
            &just_right,
            "notes have at most 10240 bytes",
        ),
        (
            &["--url", &long_url],
            &just_right,
            "a URL has at most 2048 bytes",
        ),
        (
            &["--url", "ftp://host"],
            &just_right,
            "a URL starts with http:// or https:// and has a host",
        ),
        (
            &["--expires", "2001-01-01"],
            &just_right,
            "the time of expiry is not in the future",
        ),
    ];
    for (flags, value, fact) in cases {
        let set = sandbox.secretctl(["set", "KEY"]).args(flags).stdin(value);
        set.answer().is(1, "", &format!("error: {fact}\n"));
    }
    for bad in ["a b", "/a", "a//b", "a/../b", "-a", "ä", "", "_internal/x"] {
        let set = sandbox
            .secretctl(["set", "--", bad])
            .stdin("value")
            .answer();
        assert_eq!((set.code, &*set.stdout), (2, &b""[..]), "{bad}: {set}");
        assert!(set.stderr.contains("the name of a secret "), "{bad}: {set}");
    }
    sandbox.secretctl(["list"]).answer().is(0, "KEY\n", "");
    sandbox
        .secretctl(["get", "KEY"])
        .answer()
        .is(0, "the old value", "");
}

#[test]
fn setting_changes_only_what_is_given() {
    let sandbox = Sandbox::new();
    let metadata = |sandbox: &Sandbox| {
        let mut list = sandbox
            .secretctl(["list", "--json"])
            .answer()
            .succeeded()
            .json();
        let secret = list[0].as_object_mut().expect("a secret");
        for time in ["created_at", "updated_at"] {
            let time = secret.remove(time).expect("a time");
            time.as_str()
                .expect("text")
                .parse::<jiff::Timestamp>()
                .expect("RFC 3339");
        }
        list
    };
    let change = |flags: &[&str], stdin: &str| {
        sandbox
            .secretctl(["set", "KEY"])
            .args(flags)
            .stdin(stdin)
            .answer()
    };
    let flags = [
        "--tags",
        "api, prod",
        "--notes",
        "of ours",
        "--url",
        "https://example.com",
        "--expires",
        "2090-06-30",
    ];
    change(&flags, "the first").is(0, "", "Stored KEY.\n");
    let mut expected = json!([{
        "key": "KEY", "fields": ["value"], "tags": ["api", "prod"], "notes": "of ours", "url": "https://example.com",
        "expires_at": "2090-07-01T00:00:00Z",
    }]);
    assert_eq!(metadata(&sandbox), expected);

    let changes: [(&[&str], &str, &str, Value); 6] = [
        (&[], "the second", "tags", json!(["api", "prod"])),
        (&["--notes", "changed"], "", "notes", json!("changed")),
        (&["--notes", ""], "", "notes", Value::Null),
        (&["--tags", ""], "", "tags", json!([])),
        (&["--url", ""], "", "url", Value::Null),
        (&["--expires", "never"], "", "expires_at", Value::Null),
    ];
    for (flags, stdin, field, value) in changes {
        change(flags, stdin).is(0, "", "Updated KEY.\n");
        expected[0][field] = value;
        assert_eq!(metadata(&sandbox), expected, "{flags:?}");
        sandbox
            .secretctl(["get", "KEY"])
            .answer()
            .is(0, "the second", "");
    }
}

#[test]
fn a_wrong_password_is_one_line_whatever_was_asked() {
    let sandbox = Sandbox::new();
    sandbox.set("KEY", "value");
    let commands: [(&[&str], i32); 9] = [
        (&["get", "KEY"], 3),
        (&["set", "KEY"], 3),
        (&["list"], 3),
        (&["delete", "KEY", "--force"], 3),
        (&["export"], 3),
        (&["filter", "-k", "KEY"], 3),
        (&["audit", "verify"], 3),
        (&["mcp-server"], 3),
        (&["run", "-k", "KEY", "--", "true"], 125),
    ];
    for (args, code) in commands {
        let invocation = sandbox
            .secretctl(args)
            .env("SECRETCTL_PASSWORD", "another password");
        invocation
            .stdin("other value")
            .answer()
            .is(code, "", "error: wrong master password\n");
        // Ends the count of wrong ones.
        sandbox.secretctl(["list"]).answer().is(0, "KEY\n", "");
    }
    sandbox
        .secretctl(["get", "KEY"])
        .answer()
        .is(0, "value", "");
    let nowhere = format!(
        "error: there is no vault in {}\n  create one with: secretctl init\n",
        sandbox.home().join("none").display()
    );
    let missing = sandbox
        .secretctl(["list"])
        .env("SECRETCTL_VAULT_DIR", sandbox.home().join("none"));
    missing.answer().is(1, "", &nowhere);
}

#[test]
fn a_master_password_has_8_to_128_bytes() {
    let sandbox = Sandbox::empty();
    let init = |password: &str| {
        sandbox
            .secretctl(["init"])
            .env("SECRETCTL_PASSWORD", password)
            .answer()
    };
    for bad in ["", "7 bytes", &"x".repeat(129)] {
        init(bad).is(1, "", "error: a master password has 8 to 128 bytes\n");
        assert!(!sandbox.database().exists());
    }
    init(&"x".repeat(128)).succeeded();
    // A password that is to be set may be given apart from the one that unlocks.
    let sandbox = Sandbox::empty();
    let init = sandbox
        .secretctl(["init"])
        .env("SECRETCTL_NEW_PASSWORD", "a new password");
    init.answer().succeeded();
    let list = || sandbox.secretctl(["list"]);
    list().answer().is(3, "", "error: wrong master password\n");
    let list = list().env("SECRETCTL_PASSWORD", "a new password");
    list.answer().is(0, "", "No secrets found.\n");
}

#[test]
fn the_password_may_come_from_a_file_and_the_vault_may_be_elsewhere() {
    let sandbox = Sandbox::empty();
    let (password, other) = (
        sandbox.home().join("password"),
        sandbox.home().join("other"),
    );
    fs::write(&password, format!("{PASSWORD}\r\nsecond line\n")).expect("written");
    fs::write(&other, "another password").expect("written");
    let elsewhere = sandbox.home().join("elsewhere");
    let bare = |args: &[&str]| Invocation::new(SECRETCTL, sandbox.home()).args(args);
    let file = password.to_str().expect("text");

    bare(&["init", "--vault-dir"])
        .args([&elsewhere])
        .args(["--password-file", file])
        .answer()
        .succeeded();
    assert_eq!(modes(&sandbox.vault().with_file_name("elsewhere")).len(), 3);
    assert!(!sandbox.vault().exists());
    let set = bare(&["set", "KEY"])
        .env("SECRETCTL_VAULT_DIR", &elsewhere)
        .env("SECRETCTL_PASSWORD_FILE", file);
    set.stdin("the value").answer().is(0, "", "Stored KEY.\n");

    let get = || bare(&["get", "KEY"]).env("SECRETCTL_VAULT_DIR", &elsewhere);
    get()
        .env("SECRETCTL_PASSWORD", PASSWORD)
        .answer()
        .is(0, "the value", "");
    // What is said on the command line goes before the environment.
    let flags = get()
        .env("SECRETCTL_PASSWORD_FILE", &other)
        .args(["--password-file", file]);
    flags.answer().is(0, "the value", "");
    let flags = get()
        .env("SECRETCTL_VAULT_DIR", "/nonexistent")
        .env("SECRETCTL_PASSWORD", PASSWORD);
    flags
        .args(["--vault-dir"])
        .args([&elsewhere])
        .answer()
        .is(0, "the value", "");
    let missing = get()
        .env("SECRETCTL_PASSWORD_FILE", "/nonexistent")
        .env("SECRETCTL_PASSWORD", PASSWORD);
    missing.answer().is(
        3,
        "",
        "error: the password file /nonexistent: No such file or directory (os error 2)\n  \
         name a file that you can read, whose first line is the password\n",
    );
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_terminal_a_missing_password_is_an_error_and_no_hang() {
    let sandbox = Sandbox::new();
    // A session of its own has no terminal.
    let alone = |args: &[&str]| {
        Invocation::new("setsid", sandbox.home())
            .args(["--wait", SECRETCTL])
            .args(args)
    };
    let no_password = "error: there is no terminal to ask for the password\n  \
         use --password-file, --password-fd or --password-command, or in a terminal: secretctl unlock\n";
    alone(&["list"]).answer().is(3, "", no_password);
    let no_new_password = "error: there is no terminal to ask for the password\n  \
         set SECRETCTL_NEW_PASSWORD or --new-password-file\n";
    let change = alone(&["password", "change"]).env("SECRETCTL_PASSWORD", PASSWORD);
    change.answer().is(3, "", no_new_password);
    let delete = alone(&["delete", "KEY"])
        .env("SECRETCTL_PASSWORD", PASSWORD)
        .stdin("y\n");
    delete.answer().is(
        1,
        "",
        "error: there is no terminal to ask whether this is meant\n  use --force\n",
    );
}

#[test]
fn a_missing_secret_is_named_with_the_near_one() {
    let sandbox = Sandbox::new();
    sandbox.set("API_KEY", "value");
    let near = "error: secret not found: API_KYE\n  did you mean API_KEY?\n";
    let far = "error: secret not found: nothing/like/it\n  secretctl list shows the names; they are case-sensitive\n";
    for command in [
        &["get"][..],
        &["delete", "--force"],
        &["export", "-k"],
        &["filter", "-k"],
    ] {
        sandbox
            .secretctl(command)
            .args(["API_KYE"])
            .answer()
            .is(4, "", near);
        sandbox
            .secretctl(command)
            .args(["nothing/like/it"])
            .answer()
            .is(4, "", far);
    }
    sandbox.secretctl(["list"]).answer().is(0, "API_KEY\n", "");
}

#[test]
fn deleting_removes_one_secret() {
    let sandbox = Sandbox::new();
    sandbox.set("ONE", "first");
    sandbox.set("TWO", "second");
    sandbox
        .secretctl(["delete", "ONE", "--force"])
        .answer()
        .is(0, "", "Deleted ONE.\n");
    sandbox.secretctl(["list"]).answer().is(0, "TWO\n", "");
    assert_eq!(sandbox.secretctl(["get", "ONE"]).answer().code, 4);
    sandbox
        .secretctl(["delete", "TWO", "--force"])
        .answer()
        .is(0, "", "Deleted TWO.\n");
    sandbox
        .secretctl(["list"])
        .answer()
        .is(0, "", "No secrets found.\n");
    sandbox
        .secretctl(["list", "--json"])
        .answer()
        .is(0, "[]\n", "");
}

#[test]
fn the_list_can_be_narrowed() {
    let sandbox = Sandbox::new();
    for (key, flags) in [
        ("zeta", &[][..]),
        ("aws/key", &["--tags", "cloud,prod", "--expires", "10d"]),
        ("aws/old", &["--tags", "cloud", "--expires", "90d"]),
    ] {
        sandbox
            .secretctl(["set", key])
            .args(flags)
            .stdin("value")
            .answer()
            .succeeded();
    }
    let list = |flags: &[&str]| sandbox.secretctl(["list"]).args(flags).answer();
    list(&[]).is(0, "aws/key\naws/old\nzeta\n", "");
    list(&["--tag", "cloud"]).is(0, "aws/key\naws/old\n", "");
    list(&["--expiring", "30d"]).is(0, "aws/key\n", "");
    list(&["--expiring", "1y", "--tag", "prod"]).is(0, "aws/key\n", "");
    list(&["--tag", "none"]).is(0, "", "No secrets found.\n");
    let json = list(&["--json", "--tag", "prod"]).succeeded().json();
    assert_eq!(json.as_array().map(Vec::len), Some(1));
    assert_eq!(json[0]["key"], "aws/key");
    assert_eq!(list(&["--expiring", "soon"]).code, 2);
}

#[test]
fn metadata_is_shown_beside_the_value() {
    let sandbox = Sandbox::new();
    let flags = [
        "--tags",
        "b,a",
        "--notes",
        "two\nlines \u{1b}[31m",
        "--url",
        "https://x.org",
        "--expires",
        "2090-06-30",
    ];
    sandbox
        .secretctl(["set", "KEY"])
        .args(flags)
        .stdin("value")
        .answer()
        .succeeded();
    let shown = sandbox
        .secretctl(["get", "KEY", "--show-metadata"])
        .answer()
        .succeeded();
    let lines: Vec<&str> = shown
        .text()
        .lines()
        .filter(|line| !line.contains("ated: "))
        .collect();
    let expected = [
        "Value: value",
        "Notes: two",
        "lines \\u{1b}[31m",
        "URL: https://x.org",
        "Tags: b, a",
        "Expires: 2090-07-01T00:00:00Z",
    ];
    assert_eq!(lines, expected);
}

/// Values that a careless shell quoting would change, or run.
const AWKWARD: [(&str, &[u8]); 6] = [
    ("quotes", b"it's \"quoted\" ''"),
    ("commands", b"`touch x` $(touch y) $HOME ; & | > <"),
    ("lines", b"one\ntwo\n\n"),
    ("backslashes", b"\\n \\' \\\\"),
    ("spaces", b"  leading and trailing  "),
    ("not-utf8", b"\xff\xfe\x80 and * ? [a] ~ # !"),
];

#[test]
fn an_export_is_read_back_by_a_shell_byte_by_byte() {
    let sandbox = Sandbox::new();
    for (key, value) in AWKWARD {
        sandbox.set(&format!("awkward/{key}"), value);
    }
    sandbox.set("other", "not asked for");
    let export = sandbox
        .secretctl(["export", "-k", "awkward/*"])
        .answer()
        .succeeded();
    assert_eq!(export.stderr, "");
    let variables =
        AWKWARD.map(|(key, _)| format!("AWKWARD_{}", key.to_uppercase().replace('-', "_")));
    for ((_, value), variable) in AWKWARD.iter().zip(&variables) {
        let script = [
            &export.stdout,
            format!("printf %s \"${variable}\"").as_bytes(),
        ]
        .concat();
        let shell = Invocation::new("sh", sandbox.home())
            .args(["-eu"])
            .stdin(script);
        shell.answer().is(0, value, "");
    }
    // The shell did nothing else, and learned nothing else.
    let owned = [".secretctl", ".state"].map(|name| (name.to_owned(), 0o700));
    assert_eq!(modes(sandbox.home()), owned);
    assert!(
        !export
            .stdout
            .windows(13)
            .any(|part| part == b"not asked for")
    );
}

#[test]
fn an_export_as_json_has_every_byte() {
    let sandbox = Sandbox::new();
    sandbox.set("text", "ü \"x\" \n \u{1}");
    sandbox.set("binary", [0, 255, 0]);
    sandbox.set("other", "value");
    let export = sandbox
        .secretctl(["export", "-f", "json", "-k", "text", "-k", "b*"])
        .answer();
    assert_eq!(export.stderr, "");
    assert_eq!(
        export.json(),
        json!({ "text": "ü \"x\" \n \u{1}", "binary": { "base64": "AP8A" } })
    );
    let as_env = sandbox.secretctl(["export", "-k", "binary"]).answer();
    as_env.is(
        1,
        "",
        "error: binary contains a NUL byte\n  use --format json\n",
    );
    let none = sandbox.secretctl(["export", "-k", "no*"]).answer();
    assert_eq!((none.code, &*none.stdout), (4, &b""[..]), "{none}");
}

#[test]
fn two_keys_of_one_variable_are_not_exported_as_one() {
    let sandbox = Sandbox::new();
    sandbox.set("a/b", "first");
    sandbox.set("a-b", "second");
    let export: Answer = sandbox.secretctl(["export"]).answer();
    export.is(1, "", "error: a-b and a/b would both become A_B\n");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let sandbox = Sandbox::new();
    sandbox.set("LARGE", vec![b'x'; VALUE_MAX_BYTES]);
    let mut child = sandbox.secretctl(["get", "LARGE"]).spawn();
    drop(child.stdout.take());
    Answer::from(child.wait_with_output().expect("it ends")).is(0, "", "");
}
