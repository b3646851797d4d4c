//! The whole log compared with what the keys say it must be.

use rusqlite::{Connection, OptionalExtension};

use super::chain::{self, Checker, Checkpoint, Hash, Head, Row, stored_hash};
use super::{AuditError, Log, snapshot};

/// Most problems that a report names. The rest is counted by nobody: the log is broken.
pub const PROBLEMS_MAX: usize = 20;

/// What is wrong with the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The record is not as it was written.
    #[error("record {sequence} (id {id}) was changed or forged")]
    Changed {
        /// Where it stands.
        sequence: i64,
        /// Its ULID, as found.
        id: String,
    },
    /// The record is genuine, but stands in another's place.
    #[error("record {sequence} (id {id}) was moved; its place is {origin}")]
    Moved {
        /// Where it stands.
        sequence: i64,
        /// Its ULID.
        id: String,
        /// Where it was written.
        origin: i64,
    },
    /// The record is genuine, but does not follow the one before it.
    #[error("record {sequence} (id {id}) does not follow the record before it")]
    Unlinked {
        /// Where it stands.
        sequence: i64,
        /// Its ULID.
        id: String,
    },
    /// Records are missing between others.
    #[error("records {first} to {last} were removed")]
    Removed {
        /// The first that is missing.
        first: i64,
        /// The last that is missing.
        last: i64,
    },
    /// The newest records are missing.
    #[error("the log was cut off: records {first} to {last} were removed from its end")]
    CutOff {
        /// The first that is missing.
        first: i64,
        /// The last that is missing.
        last: i64,
    },
    /// A record stands where the head says there is none: it was added, or the head was set back.
    #[error(
        "record {sequence} (id {id}) stands outside of the log, which has records {first} to {last}"
    )]
    Outside {
        /// Where it stands.
        sequence: i64,
        /// Its ULID, as found.
        id: String,
        /// The first record by the head: those before it were pruned.
        first: i64,
        /// The last record by the head.
        last: i64,
    },
    /// The head does not belong to the last record.
    #[error("the head of the log does not belong to its last record, {sequence}")]
    OtherHead {
        /// The last record.
        sequence: i64,
    },
    /// The keys and the head are not of one time: the rows of a password were set back.
    #[error("the keys of the log and its head are of different master passwords")]
    OtherEpoch,
    /// The secrets and the head are not of one time: all secrets were set back, or the log was.
    #[error(
        "the secrets are not those of the log's last record: they or the log were set back to an earlier state"
    )]
    OtherSet,
    /// The head is missing, so records may be missing from the end.
    #[error("the head of the log was removed")]
    NoHead,
    /// The head is not as it was written, so records may be missing from the end.
    #[error("the head of the log was changed or forged")]
    ForgedHead,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many records were read.
    pub records: u64,
    /// How many records were pruned before, by the head.
    pub pruned: u64,
    /// What is wrong, at most [`PROBLEMS_MAX`] findings, in the order of the records.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Whether the log is as it was written, and whole.
    pub fn is_intact(&self) -> bool {
        self.problems.is_empty()
    }
}

impl Log {
    /// Reads every record and says what is wrong.
    ///
    /// # Errors
    /// [`AuditError::Database`] if the records cannot be read at all. What was tampered with is in the report.
    pub fn verify(&self, connection: &Connection) -> Result<Report, AuditError> {
        let snapshot = snapshot(connection)?;
        let (head, head_problem) = match Head::read(connection, &self.keys) {
            Ok(head) => (Some(head), None),
            Err(AuditError::NoHead) => (None, Some(Problem::NoHead)),
            Err(AuditError::ForgedHead) => (None, Some(Problem::ForgedHead)),
            Err(error) => return Err(error),
        };
        let checker = Checker::new(&self.keys);
        let mut walk = Walk::new(&checker, head);
        walk.rows(connection, i64::MAX)?;
        walk.end();
        walk.problems.extend(head_problem);
        if head.is_some_and(|head| head.epoch != self.keys.epochs.newest()) {
            walk.problems.push(Problem::OtherEpoch);
        }
        let set = chain::stored_set_mark(connection)?;
        if head.is_some_and(|head| head.set != set) {
            walk.problems.push(Problem::OtherSet);
        }
        name_moved(connection, &checker, &mut walk.problems)?;
        drop(snapshot);
        Ok(Report {
            records: walk.records,
            pruned: walk.checkpoint().sequence.unsigned_abs(),
            problems: walk.problems,
        })
    }

    /// The hash of the record at `last`, if all records up to it are as they were written.
    pub(super) fn verify_start(
        &self,
        connection: &Connection,
        head: Head,
        last: i64,
    ) -> Result<Hash, AuditError> {
        let checker = Checker::new(&self.keys);
        let mut walk = Walk::new(&checker, Some(head));
        walk.rows(connection, last)?;
        let missing = Problem::Removed {
            first: walk.last + 1,
            last,
        };
        match (walk.problems.into_iter().next(), walk.last_hash) {
            (None, Some(hash)) if walk.last == last => Ok(hash),
            (problem, _) => Err(AuditError::NotPruned(problem.unwrap_or(missing))),
        }
    }
}

/// What is known between two records.
struct Walk<'k> {
    checker: &'k Checker,
    head: Option<Head>,
    records: u64,
    /// The record before: its number, and its hash if it is authentic.
    last: i64,
    last_hash: Option<Hash>,
    problems: Vec<Problem>,
    /// Whether each record is authentic, if that is known beforehand.
    verdicts: Option<Vec<bool>>,
}

impl<'k> Walk<'k> {
    fn new(checker: &'k Checker, head: Option<Head>) -> Self {
        let mut walk = Self {
            checker,
            head,
            records: 0,
            last: 0,
            last_hash: None,
            problems: Vec::new(),
            verdicts: None,
        };
        if head.is_some() {
            let Checkpoint { sequence, hash } = walk.checkpoint();
            (walk.last, walk.last_hash) = (sequence, Some(hash));
        }
        walk
    }

    /// Where the log begins.
    fn checkpoint(&self) -> Checkpoint {
        self.head.map_or(Checkpoint::START, |head| head.checkpoint)
    }

    fn is_full(&self) -> bool {
        self.problems.len() >= PROBLEMS_MAX
    }

    /// Visits all records up to `last`.
    fn rows(&mut self, connection: &Connection, last: i64) -> Result<(), AuditError> {
        self.verdicts = self.checker.verdicts(connection, last)?;
        let query = format!(
            "SELECT {} FROM audit_log WHERE sequence <= ?1 ORDER BY sequence",
            chain::COLUMNS
        );
        let mut statement = connection.prepare(&query)?;
        let mut rows = statement.query([last])?;
        while let Some(row) = rows.next()?
            && !self.is_full()
        {
            self.visit(row)?;
        }
        Ok(())
    }

    fn visit(&mut self, row: &rusqlite::Row) -> Result<(), AuditError> {
        self.records += 1;
        let sequence: i64 = row.get(0)?;
        let id = || {
            let id = row.get_ref(1).ok().and_then(|id| id.as_bytes().ok());
            String::from_utf8_lossy(id.unwrap_or_default()).into_owned()
        };
        let first = self.checkpoint().sequence.saturating_add(1);
        if let Some(last) = self
            .head
            .map(|head| head.sequence)
            .filter(|last| !(first..=*last).contains(&sequence))
        {
            self.problems.push(Problem::Outside {
                sequence,
                id: id(),
                first,
                last,
            });
            return Ok(());
        }
        // Without the head nobody knows where the log begins.
        let is_first = self.head.is_none() && self.records == 1;
        if sequence > self.last.saturating_add(1) && !is_first {
            self.problems.push(Problem::Removed {
                first: self.last + 1,
                last: sequence - 1,
            });
            self.last_hash = None;
        }
        let hash = self.authentic_hash(row)?;
        match hash {
            None => self.problems.push(Problem::Changed { sequence, id: id() }),
            Some((_, prev)) if self.last_hash.is_some_and(|last| last != prev) => {
                self.problems.push(Problem::Unlinked { sequence, id: id() });
            }
            Some(_) => {}
        }
        self.last = sequence;
        self.last_hash = hash.map(|(hash, _)| hash);
        Ok(())
    }

    /// The record's hash and that of the record before it, if the record is as it was written.
    fn authentic_hash(&self, row: &rusqlite::Row) -> Result<Option<(Hash, Hash)>, AuditError> {
        let (Ok(record), Ok(hash)) = (Row::read(row), stored_hash(row)) else {
            return Ok(None);
        };
        let is_authentic = match &self.verdicts {
            None => record.is_authentic(self.checker, hash)?,
            Some(verdicts) => {
                let place = usize::try_from(self.records - 1).ok();
                place.and_then(|place| verdicts.get(place)) == Some(&true)
            }
        };
        let hashes = (hash.try_into().ok()).zip(record.prev_hash.try_into().ok());
        Ok(hashes.filter(|_| is_authentic))
    }

    fn end(&mut self) {
        let Some(head) = self.head.filter(|_| !self.is_full()) else {
            return;
        };
        if self.last < head.sequence {
            self.problems.push(Problem::CutOff {
                first: self.last + 1,
                last: head.sequence,
            });
        } else if self.last_hash.is_some_and(|last| last != head.hash) {
            self.problems.push(Problem::OtherHead {
                sequence: self.last,
            });
        }
    }
}

/// Says of each changed record whether it is a genuine one from the place of another that is wrong or missing.
fn name_moved(
    connection: &Connection,
    checker: &Checker,
    problems: &mut [Problem],
) -> Result<(), AuditError> {
    let places: Vec<i64> = problems
        .iter()
        .flat_map(|problem| match problem {
            Problem::Changed { sequence, .. } => vec![*sequence],
            Problem::Removed { first, last } | Problem::CutOff { first, last } => {
                vec![*first, *last]
            }
            _ => vec![],
        })
        .collect();
    for problem in problems {
        let (Problem::Changed { sequence, id } | Problem::Outside { sequence, id, .. }) = problem
        else {
            continue;
        };
        if let Some(origin) = origin_of(connection, checker, *sequence, &places)? {
            *problem = Problem::Moved {
                sequence: *sequence,
                id: std::mem::take(id),
                origin,
            };
        }
    }
    Ok(())
}

fn origin_of(
    connection: &Connection,
    checker: &Checker,
    sequence: i64,
    places: &[i64],
) -> Result<Option<i64>, AuditError> {
    let query = format!(
        "SELECT {} FROM audit_log WHERE sequence = ?1",
        chain::COLUMNS
    );
    let mut statement = connection.prepare_cached(&query)?;
    let origin = statement.query_row([sequence], |row| {
        let (mut record, hash) = (Row::read(row)?, stored_hash(row)?);
        for place in places {
            record.sequence = *place;
            match record.is_authentic(checker, hash) {
                Ok(false) => {}
                Ok(true) => return Ok(Ok(Some(*place))),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(None))
    });
    // A record that cannot even be read has no origin.
    let origin = origin.optional().unwrap_or_default();
    Ok(origin.transpose()?.flatten())
}
