//! Commands that a person has to approve.

use std::fs;
use std::path::{Path, PathBuf};

use rmcp::service::{Peer, RoleClient};
use serde_json::{Value, json};

use super::agent::{Reply, params};
use super::{Invocation, Sandbox};

pub(crate) const POLICY: &str = "version: 1
allowed_commands:
  - { command: ./deploy.sh, approval: ask }
  - { command: ./other.sh, approval: ask }
  - ls
  - python3
  - sh
";
/// A vault with a project whose programs need approval.
pub(crate) fn vault() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    sandbox.set("TOKEN", "s3cret-value-1");
    sandbox.set("staging/TOKEN", "s3cret-value-2");
    sandbox.policy(POLICY);
    let script = "#!/bin/sh\necho deployed $1 with $TOKEN\n";
    let project = sandbox.project(&[("deploy.sh", script), ("other.sh", script)]);
    (sandbox, fs::canonicalize(project).expect("it exists"))
}

pub(crate) fn server(sandbox: &Sandbox, project: &Path, wait: &str) -> Invocation {
    sandbox
        .secretctl(["mcp-server", "--approval-wait", wait])
        .dir(project)
}

pub(crate) fn spawn_run(
    peer: &Peer<RoleClient>,
    arguments: Value,
) -> tokio::task::JoinHandle<Reply> {
    let peer = peer.clone();
    tokio::spawn(async move {
        let result = peer.call_tool(params("secret_run", arguments)).await;
        Reply::from(result.expect("an answer"))
    })
}

pub(crate) fn command(line: &str) -> Value {
    json!({ "keys": ["TOKEN"], "command": line })
}

/// Fields of the records of approvals, oldest first.
pub(crate) fn records(sandbox: &Sandbox) -> Vec<Value> {
    let export = sandbox.secretctl(["audit", "export", "--format", "json"]);
    let all = export.answer().succeeded().json();
    let all = all.as_array().expect("a list").clone();
    let is_meant = |record: &Value| {
        let action = record["action"].as_str().expect("a word");
        action.starts_with("secret.a") || action == "secret.run"
    };
    all.into_iter().filter(is_meant).collect()
}
