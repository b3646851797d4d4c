//! Policy modules in other languages than Rust: built by the commands of their README, and asked by the real server for a real MCP client.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use build_modules::sha256;
use secretctl::policy::{
    Command, Decision, Key, Moment, Network, Policy, Program, Purpose, Request, Workdir,
};
use secretctl::wasm::Host;
use support::agent::Agent;
use support::languages::{C, Example, JAVASCRIPT, PYTHON, built, succeeds};
use support::{Sandbox, missing, modules};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A configuration, and what is asked then: a command line, and what a refusal of it begins with; none if it runs.
type Case<'a> = (&'a str, &'a [(&'a str, Option<&'a str>)]);

/// Asks a module in all its configurations, the last of which it refuses for a problem.
async fn ask(
    example: &Example,
    module: &[u8],
    cases: &[Case<'_>],
    (config, problem): (&str, &str),
) {
    let sandbox = modules::vault();
    let name = format!("{}.wasm", example.name);
    let configured = |config: &str| {
        let entry = modules::entry(&sandbox, &name, module, config);
        sandbox.policy(&format!(
            "version: 1\ndefault_action: allow\nmodules:\n{entry}"
        ));
    };
    let agent = Agent::without_project(&sandbox).await;
    for (config, lines) in cases {
        configured(config);
        for (line, refusal) in *lines {
            let reply = agent.run("KEY", line).await;
            let Some(reason) = refusal else {
                assert_eq!(reply.output().0, 0, "{line}");
                continue;
            };
            let begins = format!("{reason}\nRule: modules/{name}: ");
            let is_right = reply.is_error && reply.text.starts_with(&begins);
            assert!(is_right, "{line}: {}", reply.text);
        }
    }
    configured(config);
    let said = agent.run("KEY", "echo").await.refusal();
    let begins = format!(
        "no command can be run: the module modules/{name} gave no usable answer: it refused {problem}\n"
    );
    assert!(said.starts_with(&begins), "{said}");
    agent.stop().await;
}

#[tokio::test]
async fn javascript_refuses_what_matches_a_pattern() {
    let Some(module) = built(&JAVASCRIPT) else {
        return;
    };
    let config = "[{ pattern: 'echo.*(--force|\\s-f\\b)', reason: others have this history }]";
    let reason = Some("others have this history");
    let lines = [
        ("echo push origin", None),
        ("echo push --force", reason),
        ("/bin/echo push -f", reason),
        ("echo '\n' -f", reason),
    ];
    let wrong = ("[{ pattern: x }]", "[0].reason: should be a text");
    ask(&JAVASCRIPT, &module, &[(config, &lines)], wrong).await;
}

#[tokio::test]
async fn python_refuses_while_changes_are_frozen() {
    let Some(module) = built(&PYTHON) else {
        return;
    };
    let freezes = |first: u32, last: u32| {
        let span = format!("{{ from: {first}-01-01, to: {last}-12-31, reason: holidays }}");
        format!("{{ commands: [echo apply], freezes: [{span}] }}")
    };
    let reason = Some("changes are frozen until the end of 9999-12-31: holidays");
    let frozen = [
        ("echo plan", None),
        ("echo apply", reason),
        ("/bin/echo apply -y", reason),
    ];
    // Today is in the one and not in the other, whenever that is.
    let cases: [Case<'_>; 2] = [
        (&freezes(2000, 9999), &frozen),
        (&freezes(1999, 1999), &[("echo apply", None)]),
    ];
    let wrong = (
        "{ commands: [], freezes: [{}] }",
        "freezes[0].from: should be a text",
    );
    ask(&PYTHON, &module, &cases, wrong).await;
}

#[tokio::test]
async fn c_refuses_many_keys() {
    let Some(core) = built(&C) else {
        return;
    };
    let reason = Some("one command does not get so many keys");
    let cases: [Case<'_>; 2] = [("1", &[("echo", None)]), ("0", &[("echo", reason)])];
    let wrong = ("1000", "its document: should be a number from 0 to 999");
    ask(&C, &component(&core), &cases, wrong).await;
}

/// What `policy add` makes of a core module.
fn component(core: &[u8]) -> Vec<u8> {
    let sandbox = Sandbox::new();
    sandbox.policy("version: 1\n");
    let file = sandbox.home().join("module.wasm");
    fs::write(&file, core).expect("written");
    let add = sandbox.secretctl(["policy", "add", "--config", "0"]);
    add.args([file]).answer().succeeded();
    fs::read(modules::place(&sandbox, "module.wasm")).expect("a component")
}

/// A module of C that says what it was asked.
fn fields(sandbox: &Sandbox) -> Option<Vec<u8>> {
    let dir = sandbox.home();
    if let Some(probe) = C.needs.iter().find(|probe| !succeeds(dir, probe)) {
        missing(&format!("`{probe}` fails"));
        return None;
    }
    let compile = format!(
        "clang --target=wasm32 -O2 -nostdlib -Wall -Wextra -Werror -Wl,--no-entry -I '{0}/examples/modules/few-keys' -o fields.wasm '{0}/tests/languages/fields.c'",
        root().display()
    );
    let is_built = succeeds(dir, &compile);
    let log = fs::read_to_string(dir.join("log")).expect("a log");
    assert!(is_built, "{log}");
    let core = fs::read(dir.join("fields.wasm")).expect("a module");
    Some(component(&core))
}

fn key(name: &str, named: bool, tags: &[&str]) -> Key {
    Key {
        name: name.parse().expect("a name"),
        named,
        tags: tags.iter().map(|tag| tag.parse().expect("a tag")).collect(),
    }
}

fn full_request() -> Request {
    Request {
        purpose: Purpose::Inject,
        agent: "ägent".to_owned(),
        keys: vec![key("a/b", false, &["x", "y"]), key("c", true, &[])],
        command: Some(Command {
            program: Program {
                requested: "awk".to_owned(),
                path: Some("/usr/bin/awk".into()),
                aliases: vec!["/usr/bin/mawk".into(), "/etc/alternatives/awk".into()],
            },
            arguments: vec!["one two".to_owned(), String::new()],
            mentioned: vec![Program {
                requested: "cc".to_owned(),
                path: None,
                aliases: vec!["/usr/bin/gcc".into()],
            }],
        }),
        directory: Some("sub".to_owned()),
        timeout: Some(Duration::from_millis(0x1_0000_0001)),
        time: Moment {
            unix_seconds: 0x2_0000_0002,
            utc_offset_minutes: -90,
        },
    }
}

/// As the host takes a reason.
fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

const ALL_FIELDS: &str = "purpose 2\nagent ägent\nkey a/b found [<x><y>]\nkey c named []\nrequested awk\npath /usr/bin/awk\n\
    aliases [</usr/bin/mawk></etc/alternatives/awk>]\narguments [<one two><>]\nmentioned\nrequested cc\npath none\naliases [</usr/bin/gcc>]\n\
    directory sub\ntimeout 4294967297\ntime 8589934594 -90";

#[test]
fn every_field_of_the_interface_is_where_the_header_for_c_has_it() {
    let sandbox = Sandbox::empty();
    let Some(module) = fields(&sandbox) else {
        return;
    };
    let file = sandbox.home().join("module.wasm");
    fs::write(&file, &module).expect("written");
    let host = Host::new(None).expect("a host");
    let decide = |config: &str, request: &Request| {
        let entry = format!(
            "modules: [{{ path: module.wasm, sha256: {}, config: {config} }}]",
            sha256(&module)
        );
        let policy = Policy::parse(entry.as_bytes()).expect("a policy");
        let custom = host.custom().policy(sandbox.home(), &policy.modules()[0]);
        custom.expect("a module").decide(request)
    };
    let request = full_request();
    let Ok(Decision::Deny(denial)) = decide("0", &request) else {
        panic!("it denies");
    };
    assert_eq!(
        (&*denial.reason, &*denial.rule, &*denial.remedy),
        (&*one_line(ALL_FIELDS), "module.wasm: rule", "0")
    );

    let little = Request {
        purpose: Purpose::Reference,
        keys: Vec::new(),
        command: None,
        directory: None,
        timeout: None,
        ..request.clone()
    };
    let Ok(Decision::Deny(denial)) = decide("0", &little) else {
        panic!("it denies");
    };
    let fields = one_line(
        "purpose 0\nagent ägent\ncommand none\ndirectory none\ntimeout none\ntime 8589934594 -90",
    );
    assert_eq!(denial.reason, fields);

    let Ok(Decision::Allow(grant)) = decide("1", &request) else {
        panic!("it allows");
    };
    assert_eq!(grant.keys, ["c".parse().expect("a name")]);
    assert_eq!(
        (grant.timeout.as_millis(), grant.output_bytes),
        (0x1_0000_0001, 0x2_0000_0002)
    );
    assert_eq!(
        (grant.network, grant.workdir),
        (Network::None, Workdir::Temporary)
    );
    assert_eq!(
        (grant.expand_arguments, &*grant.rule),
        (true, "module.wasm: rüle")
    );

    // More than the memory that a module begins with.
    let mut long = request.clone();
    let text = "x".repeat(300_000);
    let command = long.command.as_mut().expect("a command");
    command.arguments.push(text);
    assert_eq!(
        decide("1", &long).expect("a yes"),
        decide("1", &request).expect("a yes")
    );

    let Ok(Decision::Ask(question)) = decide("2", &request) else {
        panic!("it asks");
    };
    let grant = question.grant;
    assert_eq!((&*question.text, grant.keys.len()), ("really?", 2));
    assert_eq!(
        (grant.network, grant.workdir),
        (Network::Allow, Workdir::Project)
    );
    assert_eq!(
        (grant.expand_arguments, &*grant.rule),
        (false, "module.wasm")
    );

    let problem = decide("text", &request).expect_err("a problem");
    assert!(
        problem.to_string().ends_with("it refused a[0]: first"),
        "{problem}"
    );
}
