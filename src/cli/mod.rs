//! The human door: one file for each command.
//!
//! Standard output carries results only; prompts go to the terminal, and everything else to standard error. The library states a fact,
//! this door adds the next step and an exit code.

#![forbid(unsafe_code)]

mod approve;
mod args;
mod audit;
mod client;
mod delete;
mod explain;
mod export;
mod failure;
mod filter;
mod forms;
mod get;
mod import;
mod init;
mod keyring;
mod list;
mod lock;
mod mcp_server;
mod modules;
mod new;
mod new_file;
mod output;
mod password;
mod password_command;
mod password_source;
mod places;
mod policy;
mod rename;
mod run;
mod session;
mod set;
mod status;
mod templates;
mod terminal;
mod tree;
mod unlock;
mod values;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Cli, Command};
use self::failure::{Failure, codes};
use self::unlock::Access;
use crate::secret::{self, SecretBytes};

/// Runs the program: reads the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    // First of all, while there is one thread: the password leaves the environment, where others could read it.
    let password = secret::take_env("SECRETCTL_PASSWORD");
    let new_password = secret::take_env("SECRETCTL_NEW_PASSWORD");
    let import_password = secret::take_env("SECRETCTL_IMPORT_PASSWORD");
    let hardened = secret::harden_process();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(codes::USAGE));
        }
    };
    if let Err(error) = hardened {
        output::warn(&format!(
            "this process cannot be protected from others of the same user: {error}"
        ));
    }
    let access = Access::new(cli.vault, password, new_password);
    match dispatch(access, cli.command, import_password) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code())
        }
    }
}

fn dispatch(
    access: Access,
    command: Command,
    import_password: Option<SecretBytes>,
) -> Result<u8, Failure> {
    let shared = &access;
    match command {
        Command::Init(args) => init::run(shared, &args),
        Command::Unlock(args) => session::unlock(shared, &args),
        Command::Lock => lock::run(shared),
        Command::Keeper => session::keep(),
        Command::Set(args) => set::run(shared, args),
        Command::Get(args) => get::run(shared, &args),
        Command::List(args) => list::run(shared, &args),
        Command::Rename(args) => rename::run(shared, &args),
        Command::Delete(args) => delete::run(shared, &args),
        Command::Run(args) => run::run(shared, args),
        Command::Filter(args) => filter::run(shared, &args),
        Command::Export(args) => export::run(shared, &args),
        Command::Import(args) => import::run(shared, &args, import_password),
        Command::Audit(command) => audit::run(shared, &command),
        Command::Policy(command) => policy::run(shared, command),
        Command::Password(command) => password::run(shared, command),
        Command::Status(args) => status::run(shared, &args),
        Command::Approve(args) => approve::run(shared, &args),
        Command::Mcp(command) => client::run(shared, command),
        // Its threads open the vault when somebody asks for something.
        Command::McpServer(args) => mcp_server::run(access, args),
    }
}
