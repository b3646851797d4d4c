//! The command line of `secretctl init` and `secretctl password`.

use std::ffi::OsString;
use std::str::FromStr;

use clap::{Args, Subcommand};

use super::GLOBAL;
use crate::vault::{KDF_FLOOR, KdfParams};

/// Where the master password comes from. The variables are read where all sources are put in order; so no `env` here.
#[derive(Debug, Args)]
pub(in crate::cli) struct PasswordArgs {
    /// File whose first line is the master password [env: SECRETCTL_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub(in crate::cli) password_file: Option<OsString>,
    /// Inherited descriptor whose first line it is: 0 is standard input
    #[arg(long, global = true, value_name = "NUMBER", help_heading = GLOBAL, value_parser = descriptor)]
    pub(in crate::cli) password_fd: Option<u32>,
    /// Command whose first line of output it is, started without a shell [env: SECRETCTL_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND", help_heading = GLOBAL)]
    pub(in crate::cli) password_command: Option<OsString>,
}

fn descriptor(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(1 | 2) => Err("to 1 and 2 this program writes".to_owned()),
        Ok(number) if number <= i32::MAX as u32 => Ok(number),
        _ => Err("write the number of an open descriptor, such as 3".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct InitArgs {
    /// File whose first line is the master password of the new vault [env: SECRETCTL_NEW_PASSWORD has the password itself]
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) new_password_file: Option<OsString>,
    /// Cost of a try to guess it: memory, passes over it and lanes, such as 256MiB or 256MiB,4,4 [default: 64MiB,3,4]
    #[arg(long, value_name = "MEMORY[,PASSES[,LANES]]")]
    pub(in crate::cli) kdf: Option<Kdf>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PasswordCommand {
    /// Change the master password: nothing that the old one opens stays in the vault
    Change(PasswordChangeArgs),
    /// Put the master password into the system's keyring, where all commands then find it
    Remember,
    /// Take the master password out of the system's keyring
    Forget,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PasswordChangeArgs {
    /// File whose first line is the new master password [env: SECRETCTL_NEW_PASSWORD has the password itself]
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) new_password_file: Option<OsString>,
    /// Cost of a try to guess it: memory, passes over it and lanes, such as 256MiB or 256MiB,4,4 [default: as before]
    #[arg(long, value_name = "MEMORY[,PASSES[,LANES]]")]
    pub(in crate::cli) kdf: Option<Kdf>,
    /// Encrypt all secrets again under a new key: after the old password, or a copy of the vault with it, came to others
    #[arg(long)]
    pub(in crate::cli) rotate_key: bool,
}

/// What hashing a password costs, as it is written on a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Kdf(pub(in crate::cli) KdfParams);

impl FromStr for Kdf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rule = || {
            "write the memory, the passes and the lanes, such as 256MiB or 256MiB,4,4".to_owned()
        };
        let mut parts = text.split(',');
        let memory_kib = parts.next().and_then(kib).ok_or_else(rule)?;
        let mut number = |default: u32| match parts.next() {
            Some(part) => part.parse().map_err(|_| rule()),
            None => Ok(default),
        };
        let params = KdfParams {
            memory_kib,
            passes: number(KdfParams::DEFAULT.passes)?,
            lanes: number(KdfParams::DEFAULT.lanes)?,
        };
        if parts.next().is_some() {
            return Err(rule());
        }
        let KdfParams {
            memory_kib: least,
            passes,
            ..
        } = KDF_FLOOR;
        if params.memory_kib < least || params.passes < passes {
            return Err(format!(
                "that is too cheap for who guesses: at least {}MiB and {passes} passes",
                least / 1024
            ));
        }
        if !params.is_acceptable() {
            let KdfParams {
                memory_kib,
                passes,
                lanes,
            } = KdfParams::MAX;
            let mib = memory_kib / 1024;
            return Err(format!(
                "at most {mib}MiB, {passes} passes and {lanes} lanes, and one lane at least"
            ));
        }
        Ok(Self(params))
    }
}

fn kib(text: &str) -> Option<u32> {
    let units = [("KiB", 1), ("MiB", 1024), ("GiB", 1024 * 1024)];
    let (number, unit) = units
        .iter()
        .find_map(|(unit, kib)| Some((text.strip_suffix(unit)?, *kib)))?;
    number.parse::<u32>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(u32, u32, u32), String> {
        let Kdf(params) = text.parse()?;
        Ok((params.memory_kib, params.passes, params.lanes))
    }

    #[test]
    fn the_cost_is_read_as_it_is_written() {
        assert_eq!(parsed("256MiB"), Ok((256 * 1024, 3, 4)));
        assert_eq!(parsed("1GiB,2"), Ok((1024 * 1024, 2, 4)));
        assert_eq!(parsed("19456KiB,2,1"), Ok((19 * 1024, 2, 1)));
    }

    #[test]
    fn a_cost_that_is_none_too_low_or_too_high_is_refused() {
        let wrong = [
            "",
            "256",
            "MiB",
            "256MB",
            "256MiB,",
            "256MiB,3,4,5",
            "256MiB,x",
            "-1MiB",
        ];
        for text in wrong {
            assert!(
                parsed(text).is_err_and(|error| error.starts_with("write")),
                "{text}"
            );
        }
        for text in ["18MiB", "64MiB,1", "64MiB,0,1"] {
            assert!(
                parsed(text).is_err_and(|error| error.contains("too cheap")),
                "{text}"
            );
        }
        for text in ["2GiB", "64MiB,65", "64MiB,3,65", "64MiB,3,0", "4096GiB"] {
            let refused =
                |error: String| error.starts_with("at most") || error.starts_with("write");
            assert!(parsed(text).is_err_and(refused), "{text}");
        }
    }
}
