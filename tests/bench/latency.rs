//! What a person or an agent waits for: `cargo bench --bench latency`.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

mod support;

use std::process::Stdio;
use std::time::Duration;

use rmcp::model::CallToolRequestParams;
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::TokioChildProcess;
use rmcp::{ServiceExt, object};
use support::{Place, Result, median, ms, time};
use tokio::time::Instant;

/// Starts of the program: each unlocks the vault.
const STARTS: usize = 21;
/// Requests to a server that is warm.
const REQUESTS: usize = 201;
const SECRETS: usize = 1000;

type Agent = RunningService<RoleClient, ()>;

#[tokio::main]
async fn main() -> Result<()> {
    let place = Place::new()?;
    println!("with 1 secret, medians of {STARTS} starts and {REQUESTS} requests");
    report("get, unlock included", start(&place, &["get", "API_KEY"])?);
    report(
        "run -- true, unlock included",
        start(&place, &["run", "-k", "API_KEY", "--", "true"])?,
    );
    report("MCP: start to initialize", initialize(&place).await?);
    requests(&place).await?;

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
        calls(&agent, "secret_run", &run, Duration::ZERO).await?,
    );
    // As agents do, which think in between: the next command's jail is ready by then.
    report(
        "MCP: secret_run true, 20 ms in between",
        calls(&agent, "secret_run", &run, Duration::from_millis(20)).await?,
    );
    report(
        "MCP: secret_list",
        calls(&agent, "secret_list", &object!({}), Duration::ZERO).await?,
    );
    agent.cancel().await?;
    Ok(())
}

async fn calls(
    agent: &Agent,
    tool: &'static str,
    arguments: &serde_json::Map<String, serde_json::Value>,
    pause: Duration,
) -> Result<Vec<Duration>> {
    let mut samples = Vec::new();
    for _ in 0..REQUESTS {
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

fn report(what: &str, samples: Vec<Duration>) {
    println!("  {what:44}{}", ms(median(samples)));
}
