//! What the tools take and give: the shapes of their schemas.
//!
//! Integers have a format that clients know, which are those of OpenAPI: it has no unsigned ones.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::broker::{Ended, Listed, Masked, RunAnswer};
use crate::time;

/// Exit code of a command that was ended by its time limit, as `timeout(1)` has it.
const TIMED_OUT_EXIT_CODE: i32 = 124;
/// Exit codes by which shells and their like say that a program cannot be run, or was not found.
const NOT_RUN_EXIT_CODES: [i32; 2] = [126, 127];
/// What a command may have missed in its jail, and who can change that.
pub(super) const OPENED: &str = "The command sees the system's programs and, of the home directory, only what the policy file \
    opens. A person can add directories of programs to trusted_dirs, other files to paths, and variables to env_pass.";

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListInput {
    /// Only secrets with this tag.
    pub(super) tag: Option<String>,
    /// Only secrets that expire within this time, such as `30d`, or have expired.
    pub(super) expiring_within: Option<String>,
    /// Only secrets whose names begin like this, such as `aws/`.
    pub(super) prefix: Option<String>,
    /// Whether to give tags, dates and the like as well.
    #[serde(default)]
    pub(super) include_metadata: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ListOutput {
    /// Names of secrets.
    keys: Vec<String>,
    /// The same with metadata, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    secrets: Option<Vec<Metadata>>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Metadata {
    key: String,
    #[schemars(with = "i64")]
    field_count: usize,
    tags: Vec<String>,
    has_notes: bool,
    has_url: bool,
    /// RFC 3339, or null for a secret that does not expire.
    expires_at: Option<String>,
    created_at: String,
    updated_at: String,
}

impl From<&Listed> for Metadata {
    fn from(listed: &Listed) -> Self {
        Self {
            key: listed.key.to_string(),
            field_count: listed.fields.len(),
            tags: listed.tags.clone(),
            has_notes: listed.notes.is_some(),
            has_url: listed.url.is_some(),
            expires_at: listed.expires_at.map(time::rfc3339),
            created_at: time::rfc3339(listed.created_at),
            updated_at: time::rfc3339(listed.updated_at),
        }
    }
}

impl ListOutput {
    pub(super) fn new(listed: &[Listed], include_metadata: bool) -> Self {
        Self {
            keys: listed.iter().map(|one| one.key.to_string()).collect(),
            secrets: include_metadata.then(|| listed.iter().map(Metadata::from).collect()),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExistsInput {
    /// Name of a secret, or a pattern such as `aws/*`.
    pub(super) key: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ExistsOutput {
    exists: bool,
    /// Names of the secrets that were found.
    matches: Vec<String>,
    /// About the secret, if exactly one was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
}

impl ExistsOutput {
    pub(super) fn new(found: &[Listed]) -> Self {
        let metadata = if let [one] = found {
            Some(Metadata::from(one))
        } else {
            None
        };
        Self {
            exists: !found.is_empty(),
            matches: found.iter().map(|one| one.key.to_string()).collect(),
            metadata,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MaskedInput {
    /// Name of a secret.
    pub(super) key: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct MaskedOutput {
    key: String,
    /// `********`, with the last four characters of a longer value. The mask does not tell the value's length.
    masked_value: String,
    fields: Vec<FieldOutput>,
    tags: Vec<String>,
    notes: Option<String>,
    url: Option<String>,
    /// RFC 3339, or null for a secret that does not expire.
    expires_at: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct FieldOutput {
    name: String,
    sensitive: bool,
}

impl From<Masked> for MaskedOutput {
    fn from(masked: Masked) -> Self {
        let Masked { value, listed } = masked;
        let fields = listed
            .fields
            .into_iter()
            .map(|(name, sensitive)| FieldOutput { name, sensitive });
        Self {
            key: listed.key.to_string(),
            masked_value: value,
            fields: fields.collect(),
            tags: listed.tags,
            notes: listed.notes,
            url: listed.url,
            expires_at: listed.expires_at.map(time::rfc3339),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunInput {
    /// Secrets to inject: names, or patterns such as `aws/*`. `db/password` becomes the variable `DB_PASSWORD`.
    pub(super) keys: Vec<String>,
    /// The command: a whole line such as `npm test`, or the program alone when `args` are given. There is no shell: pipes,
    /// redirections and `$(…)` do not work. `$NAME` of an injected variable is expanded in arguments, also inside quotes.
    pub(super) command: String,
    /// The program's arguments, if `command` is the program alone.
    #[serde(default)]
    pub(super) args: Vec<String>,
    /// Environment, such as `staging`, whose aliases in the policy apply to the keys.
    pub(super) env: Option<String>,
    /// Text in front of the names of variables, such as `TEST_`.
    pub(super) env_prefix: Option<String>,
    /// Directory to run in, relative to the project or absolute within it. Without it, the command runs in an empty temporary
    /// directory.
    pub(super) cwd: Option<String>,
    /// Time limit, such as `90s` or `5m`.
    pub(super) timeout: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RunOutput {
    /// The command's exit code; 128 plus the number of the signal that ended it, or 124 after its time limit.
    exit_code: i32,
    /// Output, with `[REDACTED:key]` wherever a secret stood.
    stdout: String,
    /// Error output, likewise.
    stderr: String,
    #[schemars(with = "i64")]
    duration_ms: u64,
    /// Always true: output that cannot be sanitized is not given.
    sanitized: bool,
    /// What was hidden.
    redactions: Vec<RedactionOutput>,
    timed_out: bool,
    /// Whether the middle of an overlong output was left out.
    truncated: bool,
    /// Layers of confinement: true where they were enforced.
    enforcement: BTreeMap<String, bool>,
    /// What a person could change, if the exit code says that a program was not found or could not be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct RedactionOutput {
    key: String,
    /// How the secret was written, such as `raw` or `base64`.
    form: String,
    #[schemars(with = "i64")]
    count: u64,
}

impl RunOutput {
    /// Whether the command was ended before it was done.
    pub(super) fn was_ended(&self) -> bool {
        self.timed_out
    }
}

impl From<RunAnswer> for RunOutput {
    fn from(answer: RunAnswer) -> Self {
        let redaction = |r: crate::broker::Redaction| RedactionOutput {
            key: r.key,
            form: r.form,
            count: r.count,
        };
        let layers = answer.enforcement.layers.into_iter();
        let not_run =
            matches!(answer.ended, Ended::Exited(code) if NOT_RUN_EXIT_CODES.contains(&code));
        Self {
            exit_code: match answer.ended {
                Ended::Exited(code) => code,
                Ended::Signaled(signal) => 128 + signal,
                Ended::TimedOut => TIMED_OUT_EXIT_CODE,
                // Nobody is listening any more.
                Ended::Cancelled => 128 + 15,
            },
            stdout: answer.stdout,
            stderr: answer.stderr,
            duration_ms: u64::try_from(answer.duration.as_millis()).unwrap_or(u64::MAX),
            sanitized: true,
            redactions: answer.redactions.into_iter().map(redaction).collect(),
            timed_out: answer.ended == Ended::TimedOut,
            truncated: answer.truncated,
            enforcement: layers.map(|layer| (layer.name, layer.enforced)).collect(),
            hint: not_run.then_some(OPENED),
        }
    }
}
