//! What the tools that run commands take and give.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OPENED;
use crate::broker::{Ended, RunAnswer};

/// Exit code of a command that was ended by its time limit, as `timeout(1)` has it.
const TIMED_OUT_EXIT_CODE: i32 = 124;
/// Exit codes by which shells and their like say that a program cannot be run, or was not found.
const NOT_RUN_EXIT_CODES: [i32; 2] = [126, 127];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::mcp) struct RunInput {
    /// Secrets to inject: names, or patterns such as `aws/*`. `db/password` becomes the variable `DB_PASSWORD`.
    pub(in crate::mcp) keys: Vec<String>,
    /// The command: a whole line such as `npm test`, or the program alone when `args` are given. There is no shell: pipes,
    /// redirections and `$(…)` do not work. `$NAME` of an injected variable is expanded in arguments, also inside quotes.
    pub(in crate::mcp) command: String,
    /// The program's arguments, if `command` is the program alone.
    #[serde(default)]
    pub(in crate::mcp) args: Vec<String>,
    /// Environment, such as `staging`, whose aliases in the policy apply to the keys.
    pub(in crate::mcp) env: Option<String>,
    /// Text in front of the names of variables, such as `TEST_`.
    pub(in crate::mcp) env_prefix: Option<String>,
    /// Directory to run in, relative to the project or absolute within it. Without it, the command runs in an empty temporary
    /// directory.
    pub(in crate::mcp) cwd: Option<String>,
    /// Time limit, such as `90s` or `5m`.
    pub(in crate::mcp) timeout: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::mcp) struct BoundRunInput {
    /// Name of a secret with bindings, as secret_list_fields shows them.
    pub(in crate::mcp) key: String,
    /// The command, as for secret_run.
    pub(in crate::mcp) command: String,
    /// The program's arguments, if `command` is the program alone.
    #[serde(default)]
    pub(in crate::mcp) args: Vec<String>,
    /// Directory to run in, relative to the project or absolute within it. Without it, the command runs in an empty temporary
    /// directory.
    pub(in crate::mcp) cwd: Option<String>,
    /// Time limit, such as `90s` or `5m`.
    pub(in crate::mcp) timeout: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct RunOutput {
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
    /// What could be done if output was left out, or if the exit code says that a program was not found or could not be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
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
    pub(in crate::mcp) fn was_ended(&self) -> bool {
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
            truncated: answer.omitted > 0,
            enforcement: layers.map(|layer| (layer.name, layer.enforced)).collect(),
            hint: hint(not_run, answer.omitted),
        }
    }
}

fn hint(not_run: bool, omitted: u64) -> Option<String> {
    if not_run {
        Some(OPENED.to_owned())
    } else if omitted > 0 {
        Some(format!(
            "{omitted} bytes were left out of the middle. To see them, have the command write less, or into a file of the project, and read \
            that in parts."
        ))
    } else {
        None
    }
}
