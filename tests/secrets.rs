//! Secrets with several fields, and the commands by which people handle them.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::agent::Agent;
use support::{Answer, Sandbox};

/// Largest value, in bytes.
const VALUE_MAX_BYTES: usize = 1024 * 1024;

fn run(sandbox: &Sandbox, args: &[&str], stdin: impl Into<Vec<u8>>) -> Answer {
    sandbox.secretctl(args).stdin(stdin).answer()
}

/// All of a secret but its times.
fn whole(sandbox: &Sandbox, key: &str) -> Value {
    let mut whole = run(sandbox, &["get", key, "--json"], "").succeeded().json();
    let object = whole.as_object_mut().expect("an object");
    for time in ["created_at", "updated_at"] {
        object.remove(time).expect("a time");
    }
    whole
}

/// A vault with a database in it: two plain fields, two sensitive ones, of which one is bound.
fn with_database() -> Sandbox {
    let sandbox = Sandbox::new();
    let args = [
        "set",
        "db/prod",
        "--field",
        "host=db.example",
        "--field",
        "port=5432",
        "--field",
        "password",
        "--field-file",
        "admin=admin.txt",
        "--plain",
        "host,port",
        "--binding",
        "PGHOST=host",
        "--binding",
        "PGPORT=port",
        "--binding",
        "PGPASSWORD=password",
    ];
    fs::write(sandbox.home().join("admin.txt"), "admin-Secret-7").expect("written");
    run(&sandbox, &args, "s3cret-Pass-word\n").is(0, "", "Stored db/prod.\n");
    sandbox
}

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

#[test]
fn a_list_keeps_to_folders() {
    let sandbox = Sandbox::new();
    for key in ["aws/a/key", "aws/b", "aws", "awsome", "db/z"] {
        sandbox.set(key, "a long value");
    }
    run(&sandbox, &["set", "aws/b", "--tags", "old"], "").succeeded();
    let list = |args: &[&str], expected: &str| {
        run(&sandbox, &[&["list"], args].concat(), "").is(0, expected, "");
    };
    list(&["--prefix", "aws"], "aws\naws/a/key\naws/b\n");
    list(&["--prefix", "aws/"], "aws\naws/a/key\naws/b\n");
    list(&["--prefix", "aws/a"], "aws/a/key\n");
    list(&["--prefix", "aws", "--tag", "old"], "aws/b\n");
    list(
        &["--tree"],
        "aws\n├── a/\n│   └── key\n└── b\nawsome\ndb/\n└── z\n",
    );
    list(
        &["--tree", "--prefix", "aws/a"],
        "aws/\n└── a/\n    └── key\n",
    );
    list(&["--tree", "--tag", "old"], "aws/\n└── b\n");
    let json = run(&sandbox, &["list", "--prefix", "db", "--json"], "").json();
    assert_eq!(
        (json.as_array().map(Vec::len), &json[0]["key"]),
        (Some(1), &json!("db/z"))
    );
    run(&sandbox, &["list", "--prefix", "aw"], "").is(0, "", "No secrets found.\n");
}

#[test]
fn a_renamed_secret_is_the_same_under_its_new_name() {
    let sandbox = with_database();
    sandbox.set("OTHER", "a long value");
    let created = |key: &str| {
        let json = run(&sandbox, &["get", key, "--json"], "").json();
        json["created_at"].clone()
    };
    let (before, since) = (whole(&sandbox, "db/prod"), created("db/prod"));
    let rename = |old: &str, new: &str| run(&sandbox, &["rename", old, new], "");
    rename("db/prod", "OTHER").is(1, "", "error: there is a secret OTHER already\n");
    let missing = "error: secret not found: db/prdo\n  did you mean db/prod?\n";
    rename("db/prdo", "x").is(4, "", missing);
    rename("db/prod", "db/main").is(0, "", "Renamed db/prod to db/main.\n");
    let mut after = whole(&sandbox, "db/main");
    after["key"] = json!("db/prod");
    assert_eq!((after, created("db/main")), (before, since));
    run(&sandbox, &["list"], "").is(0, "OTHER\ndb/main\n", "");
    let log = run(&sandbox, &["audit", "export"], "").json();
    let records = log.as_array().expect("records").iter();
    let renamed: Vec<_> = records
        .filter(|record| record["action"] == "secret.rename")
        .collect();
    assert_eq!(renamed.len(), 1);
    assert_eq!(renamed[0]["keys"], json!(["db/prod", "db/main"]));
    run(&sandbox, &["audit", "verify"], "").succeeded();
}

#[test]
fn a_run_gets_what_is_bound_and_hides_all_that_is_sensitive() {
    let sandbox = with_database();
    let run_with = |flags: &[&str], script: &str| {
        let args = [&["run"], flags, &["--", "sh", "-c", script]].concat();
        run(&sandbox, &args, "")
    };
    let script = "echo $PGHOST $PGPORT $PGPASSWORD; env | grep -ci admin; echo admin-Secret-7";
    let hidden = "db.example 5432 [REDACTED:db/prod]\n0\n[REDACTED:db/prod]\n";
    run_with(&["-k", "db/prod"], script).is(0, hidden, "");
    run_with(
        &["-k", "db/prod", "--env-prefix", "X_"],
        "echo $X_PGHOST$PGHOST",
    )
    .is(0, "db.example\n", "");

    run(
        &sandbox,
        &[
            "set", "two", "--field", "a=1", "--field", "b=2", "--plain", "a,b",
        ],
        "",
    )
    .succeeded();
    let unbound = "error: secret two has the fields a, b, and none is bound to a variable\n  secretctl set two --binding VARIABLE=a binds one\n";
    run_with(&["-k", "two"], "echo never").is(125, "", unbound);
    run(&sandbox, &["set", "two", "--binding", "PGHOST=a"], "").succeeded();
    let both = "error: secrets db/prod and two would both become the variable PGHOST\n  use --env-prefix, or fewer keys\n";
    run_with(&["-k", "db/prod", "-k", "two"], "echo never").is(125, "", both);
    // One field needs no binding, whatever its name.
    run(
        &sandbox,
        &["set", "one", "--field", "token"],
        "token-Value-123",
    )
    .succeeded();
    run_with(&["-k", "one"], "test -n \"$ONE\" && echo $ONE").is(0, "[REDACTED:one]\n", "");
}

#[test]
fn an_export_uses_bindings_or_names_the_fields() {
    let sandbox = with_database();
    run(
        &sandbox,
        &[
            "set", "api/x", "--field", "id=it's", "--field", "key=k", "--plain", "id,key",
        ],
        "",
    )
    .succeeded();
    let env = "API_X_ID='it'\\''s'\nAPI_X_KEY='k'\nPGHOST='db.example'\nPGPASSWORD='s3cret-Pass-word'\nPGPORT='5432'\n";
    run(&sandbox, &["export"], "").is(0, env, "");
    let json = run(&sandbox, &["export", "-f", "json", "-k", "api/*"], "").json();
    assert_eq!(json, json!({ "api/x": { "id": "it's", "key": "k" } }));
    run(
        &sandbox,
        &[
            "set",
            "other",
            "--field",
            "v=1",
            "--field",
            "w=1",
            "--plain",
            "v,w",
            "--binding",
            "PGHOST=v",
        ],
        "",
    )
    .succeeded();
    run(&sandbox, &["export"], "").is(1, "", "error: db/prod and other would both become PGHOST\n");
}

#[tokio::test]
async fn an_agents_command_gets_what_is_bound() {
    let sandbox = with_database();
    sandbox.policy("version: 1\nallowed_commands: [echo, printf]\n");
    run(
        &sandbox,
        &[
            "set", "two", "--field", "a=1", "--field", "b=2", "--plain", "a,b",
        ],
        "",
    )
    .succeeded();
    let agent = Agent::without_project(&sandbox).await;
    let command = "echo $PGHOST $PGPORT $PGPASSWORD admin-Secret-7";
    let (code, stdout, _) = agent.run("db/prod", command).await.output();
    let hidden = "db.example 5432 [REDACTED:db/prod] [REDACTED:db/prod]\n";
    assert_eq!((code, &*stdout), (0, hidden));
    let refused = agent.run("two", "echo $A").await.refusal();
    let text = "secret two has the fields a, b, and none is bound to a variable\nA person can bind its fields: secretctl set KEY --binding VARIABLE=FIELD.";
    assert_eq!(refused, text);
    run(
        &sandbox,
        &[
            "set",
            "pin",
            "--field",
            "a=host",
            "--field",
            "pin=12",
            "--plain",
            "a",
            "--binding",
            "A=a",
        ],
        "",
    )
    .succeeded();
    let short = agent.run("pin", "echo $A").await.refusal();
    assert!(short.contains("too short to be hidden"), "{short}");
    agent.stop().await;
}
