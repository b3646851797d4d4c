//! The main job, end to end, in a throw-away directory: a person stores a secret, an agent runs a command with it over MCP and
//! gets the output without the secret, a denied run and the allowed one stand in a log that verifies.
//!
//! `cargo run --example quickstart` builds this file only, so it builds the two programs itself. It fails if anything is not as
//! it says.

#![expect(clippy::print_stdout, reason = "a demonstration talks to people")]

use std::error::Error;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::TokioChildProcess;
use rmcp::{ServiceExt, object};
use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SECRET: &str = "sk-live-4f9Qx27LmZp8w";
/// `SECRET` in base64.
const ENCODED: &str = "c2stbGl2ZS00ZjlReDI3TG1acDh3";

const POLICY: &str = "\
version: 1
default_action: deny
allowed_commands:
  - ./deploy.sh
";

const SCRIPT: &str = "\
#!/bin/sh
echo \"deploying with key $API_KEY\"
echo \"in base64: $(printf %s \"$API_KEY\" | base64)\" >&2
";

#[tokio::main]
async fn main() -> Result<()> {
    let program = build_programs()?;
    let base = tempfile::tempdir()?;
    let place = Place::new(&program, base.path())?;

    title("A person makes a vault, and stores a secret in it");
    place.secretctl(&["init"], "")?;
    place.secretctl(&["set", "API_KEY", "--tags", "demo"], SECRET)?;

    title("They say what agents may run (mcp-policy.yaml, mode 0600)");
    place.write_policy()?;
    quote(POLICY);

    title("The project has a script that prints its key (deploy.sh)");
    place.write_script()?;
    quote(SCRIPT);

    title("An agent connects over MCP: `secretctl mcp-server`");
    let agent = place.connect().await?;
    ask_for_names(&agent).await?;
    run_the_script(&agent).await?;

    title("The agent tries to print the variable itself");
    be_refused(&agent).await?;
    agent.cancel().await?;

    title("The person reads the log");
    read_the_log(&place)?;

    println!("\nAll of it went as promised: the agent used the secret and never saw it.");
    Ok(())
}

async fn ask_for_names(agent: &RunningService<RoleClient, ()>) -> Result<()> {
    let answer = call(agent, "secret_list", object!({})).await?;
    ensure(
        answer.structured_content == Some(serde_json::json!({ "keys": ["API_KEY"] })),
        "the agent sees the name",
    )
}

async fn run_the_script(agent: &RunningService<RoleClient, ()>) -> Result<()> {
    println!();
    let arguments = object!({ "keys": ["API_KEY"], "command": "./deploy.sh" });
    let answer = call(agent, "secret_run", arguments).await?;
    let output = answer.structured_content.unwrap_or_default();
    ensure(output["exit_code"] == 0, "the script succeeds")?;
    ensure(
        output["stdout"] == "deploying with key [REDACTED:API_KEY]\n",
        "the secret is hidden",
    )?;
    ensure(
        output["stderr"] == "in base64: [REDACTED:API_KEY]\n",
        "and so is its base64 form",
    )
}

async fn be_refused(agent: &RunningService<RoleClient, ()>) -> Result<()> {
    let arguments = object!({ "keys": ["API_KEY"], "command": "printenv API_KEY" });
    let answer = call(agent, "secret_run", arguments).await?;
    ensure(answer.is_error == Some(true), "printenv is refused")
}

fn read_the_log(place: &Place) -> Result<()> {
    place.secretctl(&["audit", "list"], "")?;
    let exported = place.quietly(&["audit", "export"], "")?;
    let records: Vec<Value> = serde_json::from_str(&exported)?;
    let runs: Vec<_> = records
        .iter()
        .filter(|record| record["action"] == "secret.run")
        .collect();
    let logged = |command: &str, result: &str| {
        runs.iter()
            .any(|run| run["command"] == command && run["result"] == result)
    };
    ensure(runs.len() == 2, "both runs are in the log")?;
    ensure(logged("./deploy.sh", "success"), "the allowed one")?;
    ensure(logged("printenv API_KEY", "denied"), "and the denied one")?;
    ensure(
        !exported.contains(SECRET),
        "the log does not hold the secret",
    )?;
    let verified = place.secretctl(&["audit", "verify"], "")?;
    ensure(verified.contains("Chain integrity: OK"), "the log verifies")
}

/// Where everything is.
struct Place {
    program: PathBuf,
    password_file: PathBuf,
    vault: PathBuf,
    project: PathBuf,
}

impl Place {
    fn new(program: &Path, base: &Path) -> Result<Self> {
        let place = Self {
            program: program.to_owned(),
            password_file: base.join("password"),
            vault: base.join("vault"),
            project: base.join("project"),
        };
        write_private(&place.password_file, "correct horse battery staple\n")?;
        fs::create_dir(&place.project)?;
        Ok(place)
    }

    fn write_policy(&self) -> Result<()> {
        write_private(&self.vault.join("mcp-policy.yaml"), POLICY)
    }

    fn write_script(&self) -> Result<()> {
        let script = self.project.join("deploy.sh");
        fs::write(&script, SCRIPT)?;
        Ok(fs::set_permissions(
            script,
            fs::Permissions::from_mode(0o755),
        )?)
    }

    /// Runs a command and shows what a person would see of it.
    fn secretctl(&self, arguments: &[&str], stdin: &str) -> Result<String> {
        let from = if stdin.is_empty() {
            ""
        } else {
            " < the secret"
        };
        println!("  $ secretctl {}{from}", arguments.join(" "));
        let stdout = self.quietly(arguments, stdin)?;
        quote(&stdout);
        Ok(stdout)
    }

    fn quietly(&self, arguments: &[&str], stdin: &str) -> Result<String> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .envs(self.environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        // Dropped at once, so that the program sees the end of its input.
        child
            .stdin
            .take()
            .ok_or("no pipe")?
            .write_all(stdin.as_bytes())
            .or_else(ignore_closed_pipe)?;
        let output = child.wait_with_output()?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure(
            output.status.success(),
            &format!("secretctl {} failed: {errors}", arguments.join(" ")),
        )?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts the server as an agent's program would, in the project.
    async fn connect(&self) -> Result<RunningService<RoleClient, ()>> {
        let mut server = tokio::process::Command::new(&self.program);
        server
            .arg("mcp-server")
            .envs(self.environment())
            .current_dir(&self.project);
        Ok(().serve(TokioChildProcess::new(server)?).await?)
    }

    fn environment(&self) -> [(&str, &Path); 2] {
        [
            ("SECRETCTL_VAULT_DIR", &self.vault),
            ("SECRETCTL_PASSWORD_FILE", &self.password_file),
        ]
    }
}

/// Asks the server, shows question and answer, and makes sure that the answer shows no secret.
async fn call(
    agent: &RunningService<RoleClient, ()>,
    tool: &'static str,
    arguments: serde_json::Map<String, Value>,
) -> Result<CallToolResult> {
    println!("  agent:     {tool} {}", Value::Object(arguments.clone()));
    let answer = agent
        .call_tool(CallToolRequestParams::new(tool).with_arguments(arguments))
        .await?;
    let whole = serde_json::to_string(&answer)?;
    show(&answer);
    ensure(
        !whole.contains(SECRET) && !whole.contains(ENCODED),
        "the answer does not show the secret",
    )?;
    Ok(answer)
}

/// A structured answer line by line, another one as the text that it is.
fn show(answer: &CallToolResult) {
    let lines: Vec<String> = match answer
        .structured_content
        .as_ref()
        .and_then(Value::as_object)
    {
        Some(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect(),
        None => answer
            .content
            .iter()
            .filter_map(|block| Some(block.as_text()?.text.clone()))
            .collect(),
    };
    println!(
        "  secretctl: {}",
        lines.join("\n").replace('\n', "\n             ")
    );
}

/// Builds the programs of this package as this example was built, and gives the path of `secretctl`.
fn build_programs() -> Result<PathBuf> {
    let example = std::env::current_exe()?;
    let profile_dir = example
        .parent()
        .and_then(Path::parent)
        .ok_or("this example lies in no target directory")?;
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let mut cargo = Command::new(env!("CARGO"));
    // The example is named too, though it is built: with it, everything else is as it was built for it.
    cargo
        .args([
            "build",
            "--bins",
            "--example",
            "quickstart",
            "--profile",
            profile,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    ensure(cargo.status()?.success(), "cargo builds the programs")?;
    let program = profile_dir.join("secretctl");
    ensure(program.exists(), &format!("{} exists", program.display()))?;
    Ok(program)
}

/// A program that needs no input may be gone before it is written.
fn ignore_closed_pipe(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        Ok(())
    } else {
        Err(error)
    }
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

fn ensure(holds: bool, promise: &str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(format!("not as promised: {promise}").into())
    }
}

fn title(text: &str) {
    println!("\n* {text}\n");
}

fn quote(text: &str) {
    text.lines().for_each(|line| println!("    {line}"));
}
