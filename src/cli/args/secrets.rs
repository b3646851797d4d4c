//! Secrets as people handle them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use crate::name::{EnvName, FieldName, InvalidName, KeyPattern, SecretName, Tag};
use crate::time::{Expiry, Span};

/// Where values come from.
const VALUES: &str = "Values";
/// What makes a secret with several fields usable.
const FIELDS: &str = "Fields and variables";
/// What stands beside the values.
const BESIDE: &str = "Beside the values";
/// What is printed, and how.
const OUTPUT: &str = "What is printed";

#[derive(Debug, Args)]
pub(in crate::cli) struct SetArgs {
    /// Name of the secret, such as API_KEY or aws/access_key
    pub(in crate::cli) key: SecretName,
    /// Field to set: asked for, or read from standard input, unless its value follows; may be given several times
    #[arg(long = "field", value_name = "NAME[=VALUE]", help_heading = VALUES)]
    pub(in crate::cli) fields: Vec<OsString>,
    /// File with the value of a field, every byte of it; may be given several times
    #[arg(long = "field-file", value_name = "NAME=PATH", help_heading = VALUES)]
    pub(in crate::cli) field_files: Vec<OsString>,
    /// File with the value of a secret that has only one, every byte of it
    #[arg(long, value_name = "PATH", help_heading = VALUES)]
    pub(in crate::cli) from_file: Option<PathBuf>,
    /// Ask for the fields of a kind of secret, and bind them
    #[arg(long, value_enum, value_name = "KIND", help_heading = VALUES)]
    pub(in crate::cli) template: Option<Kind>,
    /// Keep a line break at the end of standard input, which is dropped otherwise
    #[arg(long, help_heading = VALUES)]
    pub(in crate::cli) exact: bool,
    /// Fields whose values agents may see and output may show, such as a host
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = FIELDS)]
    pub(in crate::cli) plain: Vec<FieldName>,
    /// Fields whose values are secret, as those of new fields are
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = FIELDS)]
    pub(in crate::cli) sensitive: Vec<FieldName>,
    /// Field to remove; may be given several times
    #[arg(long = "remove-field", value_name = "NAME", help_heading = FIELDS)]
    pub(in crate::cli) removed: Vec<FieldName>,
    /// Variable that gets a field in `run`; may be given several times
    #[arg(long = "binding", value_name = "VARIABLE=FIELD", help_heading = FIELDS)]
    pub(in crate::cli) bindings: Vec<Binding>,
    /// Variable that gets no field any more; may be given several times
    #[arg(long, value_name = "VARIABLE", help_heading = FIELDS)]
    pub(in crate::cli) unbind: Vec<EnvName>,
    /// Labels, separated by commas; an empty list removes them
    #[arg(long, value_name = "TAG,…", help_heading = BESIDE)]
    pub(in crate::cli) tags: Option<TagList>,
    /// Text beside the secret; an empty one removes it
    #[arg(long, value_name = "TEXT", help_heading = BESIDE)]
    pub(in crate::cli) notes: Option<String>,
    /// Where the secret is used; an empty one removes it
    #[arg(long, value_name = "URL", help_heading = BESIDE)]
    pub(in crate::cli) url: Option<String>,
    /// When it expires: a span such as 90d or 1y, a date such as 2030-12-31, or `never`
    #[arg(long, value_name = "WHEN", help_heading = BESIDE)]
    pub(in crate::cli) expires: Option<Expiry>,
}

/// Kinds of secrets whose fields are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Kind {
    /// username, password
    Login,
    /// host, port, username, password, database; bound to PGHOST and its like
    Database,
    /// api_key, api_secret, endpoint
    Api,
    /// host, port, username, private_key, passphrase
    Ssh,
}

/// A variable and the field that it gets.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Binding(pub(in crate::cli) EnvName, pub(in crate::cli) FieldName);

impl FromStr for Binding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (variable, field) = text.split_once('=').ok_or("write VARIABLE=FIELD")?;
        let fact = |error: InvalidName| error.to_string();
        Ok(Self(
            variable.parse().map_err(fact)?,
            field.parse().map_err(fact)?,
        ))
    }
}

/// Tags as they are given on a command line.
#[derive(Debug, Clone)]
pub(in crate::cli) struct TagList(pub(in crate::cli) Vec<Tag>);

impl FromStr for TagList {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let tags = text.split(',').map(str::trim).filter(|tag| !tag.is_empty());
        tags.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct GetArgs {
    /// Name of the secret
    pub(in crate::cli) key: SecretName,
    /// Print the value of this field
    #[arg(long, value_name = "NAME", conflicts_with_all = ["fields", "json", "show_metadata"], help_heading = OUTPUT)]
    pub(in crate::cli) field: Option<FieldName>,
    /// Print the names of the fields, and which are sensitive
    #[arg(long, conflicts_with_all = ["json", "show_metadata"], help_heading = OUTPUT)]
    pub(in crate::cli) fields: bool,
    /// Print all of it as JSON; a value that is not text is an object with `base64`
    #[arg(long, conflicts_with = "show_metadata", help_heading = OUTPUT)]
    pub(in crate::cli) json: bool,
    /// Print what is stored beside the value as well
    #[arg(long, help_heading = OUTPUT)]
    pub(in crate::cli) show_metadata: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// Only this secret and those in the folder of that name: `aws` finds aws/key, not awsome
    #[arg(long, value_name = "FOLDER")]
    pub(in crate::cli) prefix: Option<String>,
    /// Only secrets with this tag
    #[arg(long)]
    pub(in crate::cli) tag: Option<Tag>,
    /// Only secrets that expire within this span, such as 30d, or have expired
    #[arg(long, value_name = "SPAN")]
    pub(in crate::cli) expiring: Option<Span>,
    /// Print folders as a tree
    #[arg(long, conflicts_with = "json", help_heading = OUTPUT)]
    pub(in crate::cli) tree: bool,
    /// Print a JSON array with metadata
    #[arg(long, help_heading = OUTPUT)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RenameArgs {
    /// Name of the secret
    #[arg(value_name = "OLD")]
    pub(in crate::cli) old: SecretName,
    /// Name that no secret has
    #[arg(value_name = "NEW")]
    pub(in crate::cli) new: SecretName,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DeleteArgs {
    /// Name of the secret
    pub(in crate::cli) key: SecretName,
    /// Do not ask
    #[arg(long, short)]
    pub(in crate::cli) force: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// The program that kept the secrets
    #[arg(long, value_enum, value_name = "PROGRAM")]
    pub(in crate::cli) from: Program,
    /// Directory of its vault, such as ~/.secretctl; nothing in it is changed
    #[arg(value_name = "DIR")]
    pub(in crate::cli) dir: PathBuf,
    /// What happens to a secret whose name is taken
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub(in crate::cli) on_conflict: Conflict,
    /// Tell what would be done, and do nothing
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// File whose first line is the password of that vault [env: SECRETCTL_IMPORT_PASSWORD has the password itself]
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) import_password_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum Program {
    /// The tool of this name that is written in Go, schema versions 1 to 5
    SecretctlGo,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(in crate::cli) enum Conflict {
    /// Nothing is imported at all
    #[default]
    Error,
    /// The present secret stays
    Skip,
    /// The present secret is replaced, all of it
    Overwrite,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    /// Format of the export
    #[arg(long, short, value_enum, default_value_t = ExportFormat::Env)]
    pub(in crate::cli) format: ExportFormat,
    /// Secret or pattern to export; may be given several times [default: all]
    #[arg(long = "key", short, value_name = "KEY")]
    pub(in crate::cli) keys: Vec<KeyPattern>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum ExportFormat {
    /// NAME='value' lines for a POSIX shell
    Env,
    /// A JSON object of keys and values
    Json,
}
