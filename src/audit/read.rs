//! Records read back, and the form in which they are exported.

use rusqlite::Connection;
use serde::Serialize;

use super::chain::{self, Row, stored_hash};
use super::entry::{Detail, Outcome, Sealed, Source};
use super::{AuditError, Keys, Log};
use crate::crypto;
use crate::name::SecretName;

/// Which records are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only so many, the newest; none for all.
    pub limit: Option<u32>,
    /// Not before this time, in nanoseconds since 1970.
    pub since_ns: Option<i64>,
    /// Not after this time, in nanoseconds since 1970.
    pub until_ns: Option<i64>,
    /// Only with this outcome.
    pub outcome: Option<Outcome>,
    /// Only from this door.
    pub source: Option<Source>,
    /// Only the record with this ULID.
    pub id: Option<String>,
    /// Only the record at this place in the chain.
    pub sequence: Option<i64>,
}

/// A record of the log, opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the chain, from 1.
    pub sequence: i64,
    /// Its ULID.
    pub id: String,
    /// When it was written, in nanoseconds since 1970.
    pub time_ns: i64,
    /// What was done or asked for.
    pub action: String,
    /// `cli`, `mcp` or `ui`.
    pub source: String,
    /// `success`, `denied` or `error`.
    pub result: String,
    /// The secrets it was about.
    pub keys: Vec<SecretName>,
    /// All else.
    pub detail: Detail,
    /// Whether the record is as it was written. If not, nothing in it can be relied upon.
    pub is_authentic: bool,
}

impl Record {
    /// The time in RFC 3339, UTC.
    pub fn timestamp(&self) -> String {
        let time = jiff::Timestamp::from_nanosecond(self.time_ns.into());
        time.unwrap_or_default().to_string()
    }

    /// The command line, its words joined by spaces.
    pub fn command(&self) -> Option<String> {
        let argv = &self.detail.argv;
        (!argv.is_empty()).then(|| argv.join(" "))
    }

    /// The form in which the record is exported.
    pub fn export(&self) -> Export<'_> {
        Export {
            timestamp: self.timestamp(),
            action: &self.action,
            source: &self.source,
            keys: &self.keys,
            command: self.command(),
            success: self.result == Outcome::Success.as_str(),
            id: &self.id,
            sequence: self.sequence,
            result: &self.result,
            authentic: self.is_authentic,
            detail: &self.detail,
        }
    }

    fn open(row: &Row, hash: &[u8], keys: &Keys) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let opened = open_detail(row, keys);
        let is_authentic = opened.is_some() && row.is_authentic(keys, hash);
        let (names, detail) = opened
            .map(|sealed| (sealed.keys, sealed.detail))
            .unwrap_or_default();
        Self {
            sequence: row.sequence,
            id: text(row.id),
            time_ns: row.time_ns,
            action: text(row.action),
            source: text(row.source),
            result: text(row.result),
            keys: names,
            detail,
            is_authentic,
        }
    }
}

/// A record as it is exported: JSON as it stands.
#[derive(Debug, Serialize)]
pub struct Export<'a> {
    /// RFC 3339, UTC.
    pub timestamp: String,
    /// Such as `secret.run`.
    pub action: &'a str,
    /// `cli`, `mcp` or `ui`.
    pub source: &'a str,
    /// The secrets it was about.
    pub keys: &'a [SecretName],
    /// The command line, its words joined by spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Whether the result is `success`.
    pub success: bool,
    /// The ULID.
    pub id: &'a str,
    /// The place in the chain, from 1.
    pub sequence: i64,
    /// `success`, `denied` or `error`.
    pub result: &'a str,
    /// Whether the record is as it was written.
    pub authentic: bool,
    /// All else, on the same level.
    #[serde(flatten)]
    pub detail: &'a Detail,
}

impl Log {
    /// The records that are wanted, oldest first.
    ///
    /// # Errors
    /// [`AuditError::Database`]. A record that was tampered with is no error; it is marked.
    pub fn list(
        &self,
        connection: &Connection,
        filter: &Filter,
    ) -> Result<Vec<Record>, AuditError> {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {} FROM audit_log
             WHERE time_ns >= ?1 AND time_ns <= ?2 AND (?3 IS NULL OR result = ?3)
               AND (?4 IS NULL OR source = ?4) AND (?5 IS NULL OR id = ?5)
               AND (?6 IS NULL OR sequence = ?6)
             ORDER BY sequence DESC LIMIT ?7",
            chain::COLUMNS
        ))?;
        let mut rows = statement.query((
            filter.since_ns.unwrap_or(i64::MIN),
            filter.until_ns.unwrap_or(i64::MAX),
            filter.outcome.map(Outcome::as_str),
            filter.source.map(Source::as_str),
            &filter.id,
            filter.sequence,
            filter.limit.map_or(i64::MAX, i64::from),
        ))?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            records.push(Record::open(
                &Row::read(row)?,
                stored_hash(row)?,
                &self.keys,
            ));
        }
        records.reverse();
        Ok(records)
    }
}

fn open_detail(row: &Row, keys: &Keys) -> Option<Sealed<Vec<SecretName>, Detail>> {
    let sequence = row.sequence.to_be_bytes();
    let opened = crypto::open(
        &keys.detail,
        &chain::detail_place(keys, &sequence, row.id),
        row.detail,
    );
    serde_json::from_slice(opened.ok()?.expose()).ok()
}
