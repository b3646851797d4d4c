//! Records read back, and the form in which they are exported.

use rusqlite::Connection;
use serde::Serialize;

use super::chain::{self, Checker, Row, stored_hash};
use super::entry::{Detail, Outcome, Sealed};
use super::{AuditError, Filter, Keys, Log, snapshot};
use crate::crypto::{self, CryptoError};
use crate::name::SecretName;

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

    fn open(row: &Row, hash: &[u8], keys: &Keys, checker: &Checker) -> Result<Self, CryptoError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let opened = open_detail(row, keys)?;
        let is_authentic = opened.is_some() && row.is_authentic(checker, hash)?;
        let (names, detail) = opened
            .map(|sealed| (sealed.keys, sealed.detail))
            .unwrap_or_default();
        Ok(Self {
            sequence: row.sequence,
            id: text(row.id),
            time_ns: row.time_ns,
            action: text(row.action),
            source: text(row.source),
            result: text(row.result),
            keys: names,
            detail,
            is_authentic,
        })
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
    /// Hands over the records that are wanted one by one, oldest first; memory does not grow with their number.
    ///
    /// # Errors
    /// [`AuditError::Database`], or what `take` returns, which ends it. A record that was tampered with is no error; it is
    /// marked.
    pub fn each<E: From<AuditError>>(
        &self,
        connection: &Connection,
        filter: &Filter,
        mut take: impl FnMut(&Record) -> Result<(), E>,
    ) -> Result<(), E> {
        let _snapshot = snapshot(connection).map_err(AuditError::from)?;
        let checker = Checker::new(&self.keys);
        let Some(first) = self.first_wanted(connection, filter, &checker)? else {
            return Ok(());
        };
        let conditions = filter.conditions(&self.keys);
        let (conditions, values) = conditions.map_err(AuditError::from)?;
        let query = format!(
            "SELECT {} FROM audit_log WHERE {conditions} AND sequence >= {first} ORDER BY sequence",
            chain::COLUMNS
        );
        let mut statement = connection.prepare(&query).map_err(AuditError::from)?;
        let rows = statement.query(rusqlite::params_from_iter(values));
        let mut rows = rows.map_err(AuditError::from)?;
        while let Some(row) = rows.next().map_err(AuditError::from)? {
            let record = self.open_row(row, &checker)?;
            if filter.wants(&record) {
                take(&record)?;
            }
        }
        Ok(())
    }

    /// All of them at once.
    ///
    /// # Errors
    /// As [`Log::each`].
    pub fn list(
        &self,
        connection: &Connection,
        filter: &Filter,
    ) -> Result<Vec<Record>, AuditError> {
        let mut records = Vec::new();
        self.each(connection, filter, |record| -> Result<(), AuditError> {
            records.push(record.clone());
            Ok(())
        })?;
        Ok(records)
    }

    /// Where the wanted records begin: the newest are counted from the end. None if none is wanted.
    fn first_wanted(
        &self,
        connection: &Connection,
        filter: &Filter,
        checker: &Checker,
    ) -> Result<Option<i64>, AuditError> {
        let limit = match filter.limit {
            None => return Ok(Some(i64::MIN)),
            Some(limit) => limit,
        };
        let columns = if filter.needs_opening() {
            chain::COLUMNS
        } else {
            "sequence"
        };
        let (conditions, values) = filter.conditions(&self.keys)?;
        let query =
            format!("SELECT {columns} FROM audit_log WHERE {conditions} ORDER BY sequence DESC");
        let mut statement = connection.prepare(&query)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let (mut first, mut found) = (None, 0);
        while found < limit
            && let Some(row) = rows.next()?
        {
            if !filter.needs_opening() || filter.wants(&self.open_row(row, checker)?) {
                (first, found) = (Some(row.get(0)?), found + 1);
            }
        }
        Ok(first)
    }

    fn open_row(&self, row: &rusqlite::Row, checker: &Checker) -> Result<Record, AuditError> {
        Ok(Record::open(
            &Row::read(row)?,
            stored_hash(row)?,
            &self.keys,
            checker,
        )?)
    }
}

/// None if they are not as they were written.
fn open_detail(
    row: &Row,
    keys: &Keys,
) -> Result<Option<Sealed<Vec<SecretName>, Detail>>, CryptoError> {
    let Some(epoch) = keys.epochs.get(row.epoch) else {
        return Ok(None);
    };
    let sequence = row.sequence.to_be_bytes();
    let place = chain::detail_place(keys, &sequence, row.id);
    match crypto::open(&epoch.detail, &place, row.detail) {
        Ok(opened) => Ok(serde_json::from_slice(opened.expose()).ok()),
        Err(CryptoError::NotAuthentic) => Ok(None),
        Err(error) => Err(error),
    }
}
