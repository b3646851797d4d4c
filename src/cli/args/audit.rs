//! The command line of `secretctl audit`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};

use crate::broker::{AuditActions, AuditOutcome, AuditSource, HeadMark};
use crate::name::KeyPattern;
use crate::time::{Point, Span};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AuditCommand {
    /// Print the newest records, oldest first
    List(AuditListArgs),
    /// Print all of a record: who asked for what, what decided, and what would change the decision
    Show {
        /// The number in front of the line that `audit list` prints, or the record's id
        #[arg(value_name = "ID")]
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check that no record was changed, removed, reordered, forged or cut off
    Verify {
        /// A line that `audit head` has printed once: check that the log has that record
        #[arg(long, value_name = "HEAD")]
        head: Option<HeadMark>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print one line that stands for the whole log as it is now, to be kept elsewhere
    Head,
    /// Print all records, or those that are wanted
    Export(AuditExportArgs),
    /// Remove the oldest records: what is left still verifies, and the log says what was removed
    ///
    /// Removed is the start of the log, up to the first record that is not older. Of records that are not as they were written none is removed.
    Prune(AuditPruneArgs),
    /// Print or set how long records are kept
    ///
    /// When the vault is unlocked, records are removed that are older, once some are older by a day; the log says so.
    Retention {
        /// A span of a day or more, such as 90d or 1y, or `forever`
        #[arg(value_name = "SPAN")]
        kept: Option<Retention>,
    },
}

/// Which records are wanted. All that is given must be true of a record.
#[derive(Debug, Args)]
pub(in crate::cli) struct WantedArgs {
    /// Not before: a span before now such as 7d, a date, or a moment such as 2026-11-22T10:00:00+01:00
    #[arg(long, value_name = "WHEN")]
    pub(in crate::cli) since: Option<Point>,
    /// Not after; of a date, not after its end
    #[arg(long, value_name = "WHEN")]
    pub(in crate::cli) until: Option<Point>,
    /// Only this action, such as secret.run; with a dot at the end, all that begin so
    #[arg(long)]
    pub(in crate::cli) action: Option<AuditActions>,
    /// Only what came through this door
    #[arg(long, value_parser = sources())]
    pub(in crate::cli) source: Option<AuditSource>,
    /// Only with this result
    #[arg(long, value_parser = results())]
    pub(in crate::cli) result: Option<AuditOutcome>,
    /// Only what was about this secret, or one that the pattern finds
    #[arg(long, short, value_name = "KEY")]
    pub(in crate::cli) key: Option<KeyPattern>,
    /// Only what this agent did
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) agent: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AuditListArgs {
    /// Most records to print
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(in crate::cli) limit: u32,
    /// Only what was denied
    #[arg(long, conflicts_with = "result")]
    pub(in crate::cli) denied: bool,
    #[command(flatten)]
    pub(in crate::cli) wanted: WantedArgs,
    /// Go on with each new record as it comes, whoever writes it
    #[arg(long, short)]
    pub(in crate::cli) follow: bool,
    /// Print JSON: an array, or with --follow a line for each record
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AuditExportArgs {
    /// Format of the export
    #[arg(long, short, value_enum, default_value_t = AuditFormat::Json)]
    pub(in crate::cli) format: AuditFormat,
    #[command(flatten)]
    pub(in crate::cli) wanted: WantedArgs,
    /// A new file that only its owner can read, in place of standard output
    #[arg(long, short, value_name = "FILE")]
    pub(in crate::cli) output: Option<PathBuf>,
    /// Replace the file if there is one
    #[arg(long, requires = "output")]
    pub(in crate::cli) force: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AuditPruneArgs {
    #[command(flatten)]
    pub(in crate::cli) old: OldArgs,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(in crate::cli) force: bool,
}

/// What is old: one of both.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct OldArgs {
    /// Remove what is older than this span, such as 90d
    #[arg(long, value_name = "SPAN")]
    older_than: Option<Span>,
    /// Remove what is older than this date or moment
    #[arg(long, value_name = "WHEN")]
    before: Option<Point>,
}

impl OldArgs {
    /// Since when nothing is old.
    pub(in crate::cli) fn before(&self) -> Option<Point> {
        let older_than = self.older_than.map(|Span(span)| Point::Ago(span));
        older_than.or(self.before)
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum AuditFormat {
    /// A JSON array
    Json,
    /// JSON Lines: an object on each line
    Jsonl,
    /// Comma-separated values with a header, which a spreadsheet takes as text
    Csv,
}

/// How long records are kept.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Retention(pub(in crate::cli) Option<Span>);

impl FromStr for Retention {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "forever" {
            return Ok(Self(None));
        }
        let span = text.parse().map(Some).map(Self);
        span.map_err(|_| "write a span such as 90d or 1y, or forever")
    }
}

fn sources() -> impl TypedValueParser<Value = AuditSource> {
    one_of(AuditSource::ALL, AuditSource::as_str)
}

fn results() -> impl TypedValueParser<Value = AuditOutcome> {
    one_of(AuditOutcome::ALL, AuditOutcome::as_str)
}

fn one_of<T: Copy + Send + Sync>(
    all: &'static [T],
    word: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let find = move |text: String| {
        let found = all.iter().copied().find(|one| word(*one) == text);
        found.ok_or("there is no such word")
    };
    PossibleValuesParser::new(all.iter().copied().map(word)).try_map(find)
}
