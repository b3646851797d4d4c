//! The command line as plain data. Parsing discovers nothing about the world; that happens when a command runs.

mod audit;
mod mcp;
mod password;
mod policy;
mod secrets;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(super) use self::audit::{
    AuditCommand, AuditExportArgs, AuditFormat, AuditListArgs, AuditPruneArgs, Retention,
    WantedArgs,
};
pub(super) use self::mcp::{
    ClientName, DoctorArgs, InstallArgs, McpCommand, McpServerArgs, PlaceArgs, Scope,
};
pub(super) use self::password::{InitArgs, PasswordArgs, PasswordChangeArgs, PasswordCommand};
pub(super) use self::policy::{ExplainArgs, PolicyCommand};
pub(super) use self::secrets::{
    Conflict, DeleteArgs, ExportArgs, ExportFormat, GetArgs, ImportArgs, Kind, ListArgs, Program,
    RenameArgs, SetArgs,
};
use crate::name::{EnvName, KeyPattern};
use crate::time::Span;

/// What all commands take is shown apart from what one takes.
const GLOBAL: &str = "Global options";

/// Keep secrets in an encrypted vault, and let AI agents use them without seeing them.
#[derive(Debug, Parser)]
#[command(
    name = "secretctl",
    version,
    max_term_width = 100,
    propagate_version = true
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) vault: VaultArgs,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Which vault, and how it is unlocked. What is empty counts as not given.
#[derive(Debug, Args)]
pub(super) struct VaultArgs {
    /// Directory of the vault [default: ~/.secretctl]
    #[arg(long, global = true, env = "SECRETCTL_VAULT_DIR", value_name = "DIR", hide_env_values = true, help_heading = GLOBAL)]
    pub(super) vault_dir: Option<OsString>,
    #[command(flatten)]
    pub(super) password: PasswordArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a vault
    Init(InitArgs),
    /// Open the vault for a time: until then, no command and no server needs the password
    Unlock(UnlockArgs),
    /// End that time: after this, nothing can open the vault without the password
    Lock,
    /// Keep the keys of an open vault: what `unlock` starts
    #[command(hide = true)]
    Keeper,
    /// Store or change a secret: the value comes from standard input or a hidden prompt
    Set(SetArgs),
    /// Print the value of a secret, exactly as it was stored
    Get(GetArgs),
    /// List the names of secrets
    List(ListArgs),
    /// Give a secret another name
    Rename(RenameArgs),
    /// Delete a secret
    Delete(DeleteArgs),
    /// Run a command with secrets in its environment, and hide them in its output
    Run(RunArgs),
    /// Copy standard input to standard output with secrets hidden
    Filter(FilterArgs),
    /// Print secrets in the clear, to move them elsewhere
    Export(ExportArgs),
    /// Take over the secrets that another program kept
    Import(ImportArgs),
    /// Read and verify the audit log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Write, check and try out the policy file, which governs agents
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Change the master password, or keep it in the system's keyring
    #[command(subcommand)]
    Password(PasswordCommand),
    /// Tell how the vault and its log stand, or what this machine can enforce on commands
    Status(StatusArgs),
    /// Answer agents whose commands need your approval: it takes the master password, typed or from a place named here
    Approve(ApproveArgs),
    /// Connect AI agents: this server in the configurations of their clients
    #[command(subcommand)]
    Mcp(McpCommand),
    /// Serve AI agents: MCP over standard input and output
    McpServer(McpServerArgs),
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Secret or pattern (such as 'aws/*') to inject; may be given several times
    #[arg(long = "key", short, required = true, value_name = "KEY")]
    pub(super) keys: Vec<KeyPattern>,
    /// How long the command may take, such as 90s, 5m or 1h
    #[arg(long, short, default_value = "5m", value_name = "TIME")]
    pub(super) timeout: Span,
    /// Environment whose aliases in the policy file apply to the keys
    #[arg(long, value_name = "NAME")]
    pub(super) env: Option<String>,
    /// Text in front of the names of variables
    #[arg(long, value_name = "PREFIX")]
    pub(super) env_prefix: Option<EnvName>,
    /// Do not hide secrets in the output
    #[arg(long)]
    pub(super) no_sanitize: bool,
    /// Shut the command in as those of agents are: it sees the system and this directory, and HOME is empty
    #[arg(long)]
    pub(super) sandbox: bool,
    /// Whether the sandbox has a network
    #[arg(
        long,
        requires = "sandbox",
        value_enum,
        default_value_t,
        value_name = "WHETHER"
    )]
    pub(super) network: NetworkArg,
    /// File or directory that the sandbox shows as well; may be given several times
    #[arg(long, requires = "sandbox", value_name = "PATH")]
    pub(super) read: Vec<PathBuf>,
    /// Directory that may be changed from the sandbox as well; may be given several times
    #[arg(long, requires = "sandbox", value_name = "DIR")]
    pub(super) write: Vec<PathBuf>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum NetworkArg {
    #[default]
    Allow,
    None,
}

#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Secret or pattern to hide; may be given several times
    #[arg(long = "key", short, required = true, value_name = "KEY")]
    pub(super) keys: Vec<KeyPattern>,
}

#[derive(Debug, Args)]
pub(super) struct UnlockArgs {
    /// How long the vault stays open at most, such as 30m, 8h or 1d
    #[arg(long, default_value = "8h", value_name = "TIME")]
    pub(super) ttl: Span,
    /// How long it stays open while nothing uses it
    #[arg(long, default_value = "30m", value_name = "TIME")]
    pub(super) idle: Span,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Of the sandbox, layer by layer. It needs no vault
    #[arg(long)]
    pub(super) sandbox: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    /// Print the commands that wait, and answer none
    #[arg(long, conflicts_with = "watch")]
    pub(super) list: bool,
    /// Stay, and ask about each command as it comes
    #[arg(long)]
    pub(super) watch: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
