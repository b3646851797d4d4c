//! The command line of `secretctl mcp` and `secretctl mcp-server`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::time::Span;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum McpCommand {
    /// Write this server into a client's configuration; all else in the file stays as it is
    Install(InstallArgs),
    /// Take this server out of a client's configuration
    Uninstall(PlaceArgs),
    /// Print what `install` would write
    Config(InstallArgs),
    /// Check the whole set-up: the clients' files, the vault, the policy, and the server by being a client of it
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PlaceArgs {
    /// Which client
    #[arg(long, value_enum, value_name = "CLIENT")]
    pub(in crate::cli) client: ClientName,
    /// Whether for all that you do, or in the project's own file, which others may get
    #[arg(long, value_enum, default_value_t, value_name = "SCOPE")]
    pub(in crate::cli) scope: Scope,
    /// The project: where its own file is, or for all that you do, the one that commands may run in
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) project: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct InstallArgs {
    #[command(flatten)]
    pub(in crate::cli) place: PlaceArgs,
    /// Name of the agent, for policy and the log, in place of what the client calls itself
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) agent_id: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DoctorArgs {
    /// Only this client [default: all that have this server in their configuration]
    #[arg(long, value_enum, value_name = "CLIENT")]
    pub(in crate::cli) client: Option<ClientName>,
    /// The project whose own files are looked at, and where servers are started [default: the current directory]
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) project: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// A program that starts MCP servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ClientName {
    ClaudeCode,
    ClaudeDesktop,
    Cursor,
    Vscode,
    Codex,
    Gemini,
}

/// Whose configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Scope {
    #[default]
    User,
    Project,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct McpServerArgs {
    /// Root of the project that commands may run in [default: the directory the server is started in]
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) project: Option<PathBuf>,
    /// Name of the agent, for policy and the log, in place of what the client calls itself
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) agent_id: Option<String>,
    /// How long a command waits for a person's approval, where the policy wants one; 0s to refuse it at once
    #[arg(long, default_value = "2m", value_name = "TIME")]
    pub(in crate::cli) approval_wait: Span,
}
