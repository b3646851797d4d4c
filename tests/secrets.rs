//! Secrets with several fields: how they are set and printed, and what they may not be.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::Sandbox;
use support::fields::{run, whole, with_database};

/// Largest value, in bytes.
const VALUE_MAX_BYTES: usize = 1024 * 1024;

#[test]
fn fields_are_set_and_printed_one_by_one() {
    let sandbox = with_database();
    let get = |args: &[&str]| run(&sandbox, &[&["get", "db/prod"], args].concat(), "");
    get(&["--field", "host"]).is(0, "db.example", "");
    get(&["--field", "password"]).is(0, "s3cret-Pass-word", "");
    get(&["--field", "admin"]).is(0, "admin-Secret-7", "");
    let names = "host\nport\npassword [sensitive]\nadmin [sensitive]\n";
    get(&["--fields"]).is(0, names, "");
    let several = "error: db/prod has the fields host, port, password, admin\n  --field NAME prints one of them, --json all\n";
    get(&[]).is(1, "", several);
    let mistyped = "error: db/prod has no field 'pasword'\n  did you mean password?\n";
    get(&["--field", "pasword"]).is(4, "", mistyped);
    let unlike =
        "error: db/prod has no field 'zzz'\n  the fields are host, port, password, admin\n";
    get(&["--field", "zzz"]).is(4, "", unlike);
    let fields = json!({
        "host": "db.example", "port": "5432", "password": "s3cret-Pass-word", "admin": "admin-Secret-7",
    });
    let bindings = json!({ "PGHOST": "host", "PGPORT": "port", "PGPASSWORD": "password" });
    let expected = json!({
        "key": "db/prod", "fields": fields, "sensitive": ["password", "admin"], "bindings": bindings,
        "tags": [], "notes": null, "url": null, "expires_at": null,
    });
    assert_eq!(whole(&sandbox, "db/prod"), expected);
}

#[test]
fn a_change_keeps_what_it_does_not_give() {
    let sandbox = with_database();
    let set =
        |args: &[&str], stdin: &str| run(&sandbox, &[&["set", "db/prod"], args].concat(), stdin);
    let before = whole(&sandbox, "db/prod");
    let updated = "Updated db/prod.\n";
    set(&["--field", "password"], "another-Pass-word").is(0, "", updated);
    set(&["--tags", "prod"], "").is(0, "", updated);
    set(&["--field", "host=db2.example"], "").is(0, "", updated);
    set(&["--sensitive", "port", "--plain", "admin"], "").is(0, "", updated);
    set(&["--binding", "PGPORT=host", "--unbind", "PGHOST"], "").is(0, "", updated);
    set(&["--remove-field", "admin"], "").is(0, "", updated);
    let mut after = before;
    after["fields"] =
        json!({ "host": "db2.example", "port": "5432", "password": "another-Pass-word" });
    after["sensitive"] = json!(["port", "password"]);
    after["bindings"] = json!({ "PGPORT": "host", "PGPASSWORD": "password" });
    after["tags"] = json!(["prod"]);
    assert_eq!(whole(&sandbox, "db/prod"), after);

    let refused: [(&[&str], &str, &str); 9] = [
        (
            &["--remove-field", "host"],
            "",
            "PGPORT is bound to field 'host', which the secret does not have\n  --unbind PGPORT takes the binding away as well",
        ),
        (
            &["--binding", "X=hots"],
            "",
            "X is bound to field 'hots', which the secret does not have\n  did you mean host?",
        ),
        (
            &["--plain", "hosts"],
            "",
            "the secret has no field 'hosts'\n  did you mean host?",
        ),
        (
            &["--remove-field", "zzz"],
            "",
            "the secret has no field 'zzz'\n  the fields are host, port, password",
        ),
        (
            &["--unbind", "PGUSER"],
            "",
            "PGUSER is not bound to a field",
        ),
        (
            &["--binding", "LD_PRELOAD=host"],
            "",
            "the variable LD_PRELOAD cannot be bound: programs take instructions from it",
        ),
        (
            &["--field", "password"],
            "",
            "the value of field 'password' is empty",
        ),
        // Whatever is piped belongs somewhere.
        (
            &["--notes", "x"],
            "lost",
            "db/prod has the fields host, port, password\n  --field NAME sets one",
        ),
        (
            &["--field", "a=1", "--field", "a=2", "--plain", "a"],
            "",
            "field 'a' is given twice",
        ),
    ];
    for (args, stdin, fact) in refused {
        let text = format!("error: {fact}\n");
        set(args, stdin).is(1, "", &text);
    }
    assert_eq!(whole(&sandbox, "db/prod"), after);
}

#[test]
fn a_value_in_the_command_line_is_warned_about_and_a_wrong_one_not_repeated() {
    let sandbox = Sandbox::new();
    let set = |args: &[&str]| run(&sandbox, &[&["set", "login"], args].concat(), "");
    let warning = "warning: the value of password stands in your shell's history; --field NAME without a value asks for it\n";
    set(&[
        "--field",
        "password=a-long-value",
        "--field",
        "user=me",
        "--plain",
        "user",
    ])
    .is(0, "", &format!("{warning}Stored login.\n"));
    let short = "warning: field pin of login has fewer than 4 bytes: agents cannot use it, since it cannot be hidden\n";
    let warning = warning.replace("password", "pin");
    set(&["--field", "pin=123"]).is(0, "", &format!("{warning}Updated login.\n{short}"));
    let name = "the name of a field starts with a-z and consists of the characters a-z 0-9 _";
    set(&["--field", "Password=canary"]).is(2, "", &format!("error: --field: {name}\n"));
    set(&["--field-file", "Password=canary"]).is(2, "", &format!("error: --field-file: {name}\n"));
    let path = "error: --field-file: write NAME=PATH\n";
    set(&["--field-file", "password"]).is(2, "", path);
    let two = "error: only one field can be read from standard input; --field-file reads others\n";
    set(&["--field", "a", "--field", "b"]).is(2, "", two);
    let twice = "error: user is given twice\n";
    set(&["--plain", "user", "--sensitive", "user"]).is(2, "", twice);
    let missing = set(&["--field-file", "a=missing"]);
    assert_eq!(missing.code, 1, "{missing}");
    assert!(missing.stderr.starts_with("error: missing: "), "{missing}");
}

#[test]
fn values_may_be_of_several_lines_and_of_any_bytes() {
    let sandbox = Sandbox::new();
    let every_byte: Vec<u8> = (0..=255).chain([b'\n']).collect();
    fs::write(sandbox.home().join("bytes"), &every_byte).expect("written");
    run(
        &sandbox,
        &["set", "FILE", "--from-file", "bytes"],
        "ignored",
    )
    .succeeded();
    run(&sandbox, &["get", "FILE"], "").is(0, &every_byte, "");
    let key = "-----BEGIN KEY-----\nabc\ndef\n-----END KEY-----";
    let set = [
        "set",
        "ssh",
        "--field",
        "private_key",
        "--field-file",
        "raw=bytes",
    ];
    run(&sandbox, &set, format!("{key}\n")).succeeded();
    run(&sandbox, &["get", "ssh", "--field", "private_key"], "").is(0, key, "");
    run(&sandbox, &["get", "ssh", "--field", "raw"], "").is(0, &every_byte, "");
    let json = whole(&sandbox, "ssh");
    let base64 = json["fields"]["raw"]["base64"].as_str().expect("base64");
    assert_eq!((base64.len(), &base64[..8]), (344, "AAECAwQF"));
    run(
        &sandbox,
        &["set", "ONE", "--field", "token", "--exact"],
        "t\n",
    )
    .succeeded();
    run(&sandbox, &["get", "ONE"], "").is(0, "t\n", "");
}

#[test]
fn a_template_knows_fields_flags_and_variables() {
    let sandbox = Sandbox::new();
    let set = |key: &str, kind: &str, args: &[&str], stdin: &str| {
        let args = [&["set", key, "--template", kind], args].concat();
        run(&sandbox, &args, stdin)
    };
    let missing = "error: values are missing: username, password\n  --field NAME=VALUE gives one, --field-file NAME=PATH and --field NAME read one\n";
    set("db", "database", &["--field", "host=h.example"], "").is(1, "", missing);
    fs::write(sandbox.home().join("key"), "-----KEY-----\nabc\n").expect("written");
    let host = ["--field", "host=h.example", "--field", "username=me"];
    let password = [&host[..], &["--field", "password"]].concat();
    let key = [&host[..], &["--field-file", "private_key=key"]].concat();
    let port = [
        &password[..],
        &["--field", "port=5433", "--binding", "DBPORT=port"],
    ]
    .concat();
    let cases: [(&str, &str, &[&str], Value, Value); 4] = [
        (
            "web",
            "login",
            &["--field", "username=me", "--field", "password"],
            json!(["password"]),
            json!({ "WEB_USERNAME": "username", "WEB_PASSWORD": "password" }),
        ),
        (
            "db",
            "database",
            &port,
            json!(["password"]),
            json!({ "PGHOST": "host", "PGUSER": "username", "PGPASSWORD": "password", "DBPORT": "port" }),
        ),
        (
            "stripe",
            "api",
            &["--field", "api_key"],
            json!(["api_key"]),
            json!({ "STRIPE_API_KEY": "api_key" }),
        ),
        (
            "deploy",
            "ssh",
            &key,
            json!(["private_key"]),
            json!({ "DEPLOY_HOST": "host", "DEPLOY_USERNAME": "username", "DEPLOY_PRIVATE_KEY": "private_key" }),
        ),
    ];
    for (name, kind, args, sensitive, bindings) in cases {
        let stored = format!("Stored {name}.\n");
        set(name, kind, args, "a-Secret-Value-1").is(0, "", &stored);
        let whole = whole(&sandbox, name);
        assert_eq!(
            (&whole["sensitive"], &whole["bindings"]),
            (&sensitive, &bindings)
        );
    }
    // What the secret has already need not be given again, and keeps its flag.
    run(&sandbox, &["set", "web", "--plain", "password"], "").succeeded();
    set("web", "login", &["--field", "password"], "another-Value").succeeded();
    let web = whole(&sandbox, "web");
    assert_eq!(
        (&web["sensitive"], &web["fields"]["username"]),
        (&json!([]), &json!("me"))
    );
    let digit = set(
        "1st",
        "login",
        &["--field", "username=me", "--field", "password"],
        "x",
    );
    assert!(
        digit
            .stderr
            .contains("--binding VARIABLE=username names another one"),
        "{digit}"
    );
}

#[test]
fn each_limit_is_named_at_its_edge() {
    let sandbox = Sandbox::new();
    let many = |flag: &'static str, count: usize, one: fn(usize) -> String| -> Vec<String> {
        (0..count).flat_map(|n| [flag.to_owned(), one(n)]).collect()
    };
    let field = |n: usize| format!("f{n}=value-{n}-long");
    let binding = |n: usize| format!("V{n}=value");
    let tags = |count: usize| {
        (0..count)
            .map(|n| format!("t{n}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let text = |flag: &str, text: String| vec![flag.to_owned(), text];
    let url = |length: usize| format!("https://{}", "u".repeat(length - 8));
    let name = |length: usize| {
        vec![
            "--field".to_owned(),
            format!("{}=a-long-value", "n".repeat(length)),
        ]
    };
    type Case = (&'static str, Vec<String>, Vec<String>, &'static str);
    let cases: [Case; 8] = [
        (
            "a secret has at most 100 fields",
            // One is the value itself.
            many("--field", 99, field),
            many("--field", 100, field),
            "error: ",
        ),
        (
            "the name of a field has at most 64 characters",
            name(64),
            name(65),
            "error: --field: ",
        ),
        (
            "a secret has at most 100 bindings",
            many("--binding", 100, binding),
            many("--binding", 101, binding),
            "error: ",
        ),
        (
            "a secret has at most 10 tags",
            text("--tags", tags(10)),
            text("--tags", tags(11)),
            "error: ",
        ),
        (
            "notes have at most 10240 bytes",
            text("--notes", "n".repeat(10240)),
            text("--notes", "n".repeat(10241)),
            "error: ",
        ),
        (
            "a URL has at most 2048 bytes",
            text("--url", url(2048)),
            text("--url", url(2049)),
            "error: ",
        ),
        (
            "a tag has 1 to 64 characters",
            text("--tags", "t".repeat(64)),
            text("--tags", "t".repeat(65)),
            "error: invalid value '",
        ),
        (
            "the name of an environment variable has at most 320 characters",
            text("--binding", format!("{}=value", "V".repeat(320))),
            text("--binding", format!("{}=value", "V".repeat(321))),
            "error: invalid value '",
        ),
    ];
    for (number, (limit, within, beyond, start)) in cases.into_iter().enumerate() {
        let key = format!("K{number}");
        sandbox.set(&key, "a long value");
        let set = |args: &[String]| {
            let args = ["set", &key]
                .into_iter()
                .chain(args.iter().map(String::as_str));
            sandbox.secretctl(args).answer()
        };
        let refused = set(&beyond);
        assert!(matches!(refused.code, 1 | 2), "{limit}: {refused}");
        // The fields in the command line are warned about before.
        let error = refused
            .stderr
            .lines()
            .find(|line| line.starts_with("error: "));
        let error = error.unwrap_or_default();
        assert!(
            error.starts_with(start) && error.ends_with(limit),
            "{limit}: {refused}"
        );
        assert_eq!(
            whole(&sandbox, &key)["fields"],
            json!({ "value": "a long value" })
        );
        set(&within).succeeded();
    }
    let longest = "k".repeat(256);
    sandbox.set(&longest, "a long value");
    let key = run(&sandbox, &["set", &format!("{longest}k")], "a long value");
    assert!(
        key.stderr
            .contains("the name of a secret has 1 to 256 characters"),
        "{key}"
    );
    fs::write(sandbox.home().join("large"), vec![b'x'; VALUE_MAX_BYTES]).expect("written");
    fs::write(
        sandbox.home().join("larger"),
        vec![b'x'; VALUE_MAX_BYTES + 1],
    )
    .expect("written");
    run(
        &sandbox,
        &[
            "set",
            "L",
            "--field-file",
            "a=large",
            "--from-file",
            "large",
        ],
        "",
    )
    .succeeded();
    run(&sandbox, &["set", "L", "--field-file", "a=larger"], "").is(
        1,
        "",
        "error: the value of field 'a' has more than 1048576 bytes\n",
    );
    run(&sandbox, &["set", "L", "--from-file", "larger"], "").is(
        1,
        "",
        "error: the value of field 'value' has more than 1048576 bytes\n",
    );
}
