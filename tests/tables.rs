//! Two policies of the kind that people write, each with a table that says what it decides: `secretctl policy test` agrees with them.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use build_modules::POLICY_EXAMPLE;
use support::modules::{built, entry};
use support::{Answer, Invocation, SECRETCTL, Sandbox, modules};

/// Programs of the tables, which need not be installed.
const PROGRAMS: [&str; 9] = [
    "aws", "cargo", "curl", "gcloud", "go", "kubectl", "node", "npm", "python",
];

fn policies(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/policies")
        .join(name)
}

/// A machine with these programs, and a project with these scripts, but without a vault.
fn test(policy: &Path, table: &Path) -> Answer {
    let sandbox = Sandbox::empty();
    let bin = sandbox.home().join("bin");
    fs::create_dir(&bin).expect("a directory");
    for name in PROGRAMS {
        fs::write(bin.join(name), "#!/bin/sh\n").expect("written");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(bin.join(name), mode).expect("own file");
    }
    let scripts = ["deploy.sh", "test.sh", "sub/deploy.sh"].map(|name| (name, "#!/bin/sh\n"));
    let project = sandbox.project(&scripts);
    Invocation::new(SECRETCTL, sandbox.home())
        .args(["policy", "test"])
        .args([
            table,
            Path::new("--policy"),
            policy,
            Path::new("--project"),
            &project,
        ])
        .answer()
}

#[test]
fn each_table_says_what_its_policy_decides() {
    for (policy, table, requests) in [
        ("commands.yaml", "commands.table.yaml", 37),
        ("agents.yaml", "agents.table.yaml", 16),
    ] {
        let answer = test(&policies(policy), &policies(table));
        answer.is(
            0,
            format!("{requests} requests, all decided as expected\n"),
            "",
        );
    }
}

#[test]
fn a_table_of_another_policy_does_not_agree() {
    let answer = test(&policies("agents.yaml"), &policies("commands.table.yaml"));
    assert_eq!(answer.code, 1, "{answer}");
    let last = "37 requests, 31 not decided as expected\n";
    assert!(answer.text().ends_with(last), "{answer}");
}

/// All that a policy file can say.
const WHOLE: &str = r#"
version: 1
default_action: deny              # deny | ask | allow, for commands no rule names
allowed_commands:
  - npm test                      # a rule's words must begin the command line
  - ./deploy.sh                   # relative to the project root
  - command: aws s3               # a rule may carry its own limits
    keys: ["aws/*"]
    network: allow                # allow | none
    timeout: 60s
    approval: ask
denied_commands: [rm, sudo]
env_aliases:
  staging: [{ pattern: "db/*", target: "staging/db/*" }]
policies:                         # who may use which keys, and how; first match by agent_id
  - name: claude
    agent_id: "claude-*"
    allowed_keys: ["api/*", "db/*"]
    denied_keys: ["*/prod/*"]
    capabilities: [env_inject, reference_only, masked_return]
workdir: temporary                # temporary | project
trusted_dirs: ["~/.nvm/versions/node/*/bin"]     # beside the system's
paths: { read: ["~/.kube"], write: [] }          # of the home directory, which is hidden otherwise
env_pass: [AWS_REGION, KUBECONFIG]               # taken over from the server's environment
limits: { timeout_max: 300s, output_bytes: 1MiB, processes: 128 }
runner: { require: [] }           # layers without which nothing runs
modules:                          # further Wasm policy modules; each can only tighten
"#;

#[test]
fn a_file_with_every_key_is_valid() {
    let Some(module) = built(&POLICY_EXAMPLE) else {
        return;
    };
    let sandbox = modules::vault();
    let config = "{ from: '09:00', to: '18:00', days: [mon] }";
    sandbox.policy(&format!(
        "{WHOLE}{}",
        entry(&sandbox, "office-hours.wasm", &module, config)
    ));
    sandbox.secretctl(["policy", "check"]).answer().succeeded();
}
