//! What a person or an agent waits for: `cargo bench --bench latency`.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

mod support;

use std::process::Stdio;
use std::time::Duration;

use rmcp::model::CallToolRequestParams;
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::TokioChildProcess;
use rmcp::{ServiceExt, object};
use support::{Place, Result, median, ms, policy, time};
use tokio::time::Instant;

/// Starts of the program: each unlocks the vault.
const STARTS: usize = 21;
/// Requests to a server that is warm.
const REQUESTS: usize = 1000;
/// Output of one command, in bytes.
const LONG_OUTPUT: usize = 100 * 1024 * 1024;
const SECRETS: usize = 1000;

type Agent = RunningService<RoleClient, ()>;

#[tokio::main]
async fn main() -> Result<()> {
    let place = Place::new()?;
    println!("with 1 secret, {STARTS} starts and {REQUESTS} requests");
    report("get, unlock included", start(&place, &["get", "API_KEY"])?);
    report(
        "run -- true, unlock included",
        start(&place, &["run", "-k", "API_KEY", "--", "true"])?,
    );
    report("MCP: start to initialize", initialize(&place).await?);
    requests(&place).await?;
    memory(&place).await?;

    place.add(
        &(1..SECRETS)
            .map(|number| format!("bulk/key-{number:04}"))
            .collect::<Vec<_>>(),
    )?;
    println!("with {SECRETS} secrets");
    report("get, unlock included", start(&place, &["get", "API_KEY"])?);
    requests(&place).await
}

fn start(place: &Place, arguments: &[&str]) -> Result<Vec<Duration>> {
    let once = || {
        let status = place.secretctl(arguments).stdout(Stdio::null()).status()?;
        if status.success() {
            Ok(())
        } else {
            Err("the program failed".into())
        }
    };
    (0..STARTS).map(|_| time(once)).collect()
}

async fn connect(place: &Place) -> Result<Agent> {
    let server = tokio::process::Command::from(place.secretctl(&["mcp-server"]));
    Ok(().serve(TokioChildProcess::new(server)?).await?)
}

async fn initialize(place: &Place) -> Result<Vec<Duration>> {
    let mut samples = Vec::new();
    for _ in 0..STARTS {
        let start = Instant::now();
        let agent = connect(place).await?;
        samples.push(start.elapsed());
        agent.cancel().await?;
    }
    Ok(samples)
}

async fn requests(place: &Place) -> Result<()> {
    let agent = connect(place).await?;
    let run = object!({ "keys": ["API_KEY"], "command": "true" });
    report(
        "MCP: secret_run true, one after the other",
        calls(&agent, "secret_run", &run, Duration::ZERO, REQUESTS).await?,
    );
    // As agents do, which think in between: the next command's jail is ready by then.
    report(
        "MCP: secret_run true, 20 ms in between",
        calls(
            &agent,
            "secret_run",
            &run,
            Duration::from_millis(20),
            REQUESTS,
        )
        .await?,
    );
    report(
        "MCP: secret_list",
        calls(
            &agent,
            "secret_list",
            &object!({}),
            Duration::ZERO,
            REQUESTS,
        )
        .await?,
    );
    agent.cancel().await?;
    Ok(())
}

/// Resident memory of a server: warm, after many calls, and after a command with much output.
async fn memory(place: &Place) -> Result<()> {
    policy(place, "version: 1\nallowed_commands: ['true', head]\n")?;
    let server = tokio::process::Command::from(place.secretctl(&["mcp-server"]));
    let transport = TokioChildProcess::new(server)?;
    let pid = transport.id().ok_or("no process")?;
    let agent: Agent = ().serve(transport).await?;
    let show = |what: &str| -> Result<()> {
        println!("  {what:44}{:9.1} MiB", resident_mib(pid)?);
        Ok(())
    };
    let run = |command: String| object!({ "keys": ["API_KEY"], "command": command });
    let call = async |command: String, times| {
        calls(&agent, "secret_run", &run(command), Duration::ZERO, times).await
    };
    call("true".to_owned(), 1).await?;
    show("memory: warm")?;
    call("true".to_owned(), REQUESTS).await?;
    show("memory: after these requests")?;
    call(format!("head -c {LONG_OUTPUT} /dev/zero"), 1).await?;
    show("memory: after 100 MiB of output")?;
    agent.cancel().await?;
    Ok(())
}

fn resident_mib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.ok_or("no VmRSS")?.parse::<f64>()? / 1024.0)
}

async fn calls(
    agent: &Agent,
    tool: &'static str,
    arguments: &serde_json::Map<String, serde_json::Value>,
    pause: Duration,
    times: usize,
) -> Result<Vec<Duration>> {
    let mut samples = Vec::new();
    for _ in 0..times {
        tokio::time::sleep(pause).await;
        let request = CallToolRequestParams::new(tool).with_arguments(arguments.clone());
        let start = Instant::now();
        let answer = agent.call_tool(request).await?;
        samples.push(start.elapsed());
        if answer.is_error == Some(true) {
            return Err(format!("{tool} failed: {:?}", answer.content).into());
        }
    }
    Ok(samples)
}

fn report(what: &str, mut samples: Vec<Duration>) {
    samples.sort();
    let slow = samples.get(samples.len() * 99 / 100).copied();
    let slow = ms(slow.unwrap_or_default());
    println!(
        "  {what:44}{}, of 99 in 100 at most {slow}",
        ms(median(samples))
    );
}
