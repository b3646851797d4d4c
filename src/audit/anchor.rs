//! The anchor: which record the log has reached, kept outside of the vault's directory, so that an older copy of the whole vault
//! is noticed.
//!
//! It may lag behind the log and never leads. It is one short write in place under a lock: of two processes that rename files the
//! slower one would set it back.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use ulid::Ulid;

use super::chain::{Hash, Head};
use super::{AuditError, Keys, Log};
use crate::crypto::{self, CryptoError, MAC_BYTES};

const DIR_MODE: u32 = 0o700;
/// Longest wait for the lock: for a whole queue of processes on a busy machine.
const LOCK_MAX: Duration = Duration::from_secs(1);
/// Time between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(1);
const FILE_MODE: u32 = 0o600;
const MAGIC: &[u8; 8] = b"SCTLANC1";
const BODY_BYTES: usize = MAGIC.len() + 2 * size_of::<i64>() + MAC_BYTES;
const FILE_BYTES: usize = BODY_BYTES + MAC_BYTES;
const NOT_AUTHENTIC: CryptoError = CryptoError::NotAuthentic;

/// The file of one vault's anchor.
#[derive(Debug, Clone)]
pub struct Anchor {
    path: PathBuf,
}

/// The record that an anchor knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchored {
    /// Its number.
    pub sequence: i64,
    /// When it was written, in nanoseconds since 1970.
    pub time_ns: i64,
    hash: Hash,
}

impl Anchored {
    pub(super) fn at(head: &Head, time_ns: i64) -> Self {
        Self {
            sequence: head.sequence,
            time_ns,
            hash: head.hash,
        }
    }

    fn to_bytes(self, keys: &Keys) -> Result<Vec<u8>, CryptoError> {
        let (sequence, time) = (self.sequence.to_be_bytes(), self.time_ns.to_be_bytes());
        let body = [MAGIC.as_slice(), &sequence, &time, &self.hash].concat();
        let mac = crypto::mac(keys.anchor.key(), &[&keys.vault_id, &body])?;
        let bytes = [body.as_slice(), &mac].concat();
        keys.anchor.made(&bytes, self);
        Ok(bytes)
    }

    /// None if it is not as this vault wrote it.
    fn from_bytes(bytes: &[u8], keys: &Keys) -> Result<Option<Self>, CryptoError> {
        let authentic = keys.anchor.open(bytes, |key| {
            let (body, mac) = (bytes.split_first_chunk::<BODY_BYTES>()).ok_or(NOT_AUTHENTIC)?;
            match crypto::mac_is_valid(key, &[&keys.vault_id, body], mac)? {
                true => Self::from_body(body).ok_or(NOT_AUTHENTIC),
                false => Err(NOT_AUTHENTIC),
            }
        });
        match authentic {
            Err(NOT_AUTHENTIC) => Ok(None),
            known => known.map(Some),
        }
    }

    fn from_body(body: &[u8; BODY_BYTES]) -> Option<Self> {
        let (sequence, rest) = body[MAGIC.len()..].split_first_chunk()?;
        let (time_ns, hash) = rest.split_first_chunk()?;
        Some(Self {
            sequence: i64::from_be_bytes(*sequence),
            time_ns: i64::from_be_bytes(*time_ns),
            hash: hash.try_into().ok()?,
        })
    }
}

/// What the anchor says of the log.
#[derive(Debug)]
pub enum AnchorState {
    /// The log has the record that the anchor knows.
    Holds(Anchored),
    /// There is none.
    Missing,
    /// It is not as this vault wrote it.
    Changed,
    /// It cannot be read.
    Unreadable(io::Error),
    /// The log does not have that record: it is of an older state of the vault, or of another course of it.
    Contradicts {
        /// What the anchor knows.
        known: Anchored,
        /// The last record of the log, and its time if the record is there.
        last: (i64, Option<i64>),
    },
}

impl Anchor {
    /// That of a vault, in the directory where all of them are.
    pub fn of(dir: &Path, vault_id: [u8; 16]) -> Self {
        let name = format!("{}.anchor", Ulid::from_bytes(vault_id));
        Self {
            path: dir.join(name),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes note of a record that is on the disk, unless a later one is known. Not synced: after a crash of the machine it may lag.
    /// One that these keys did not write stays as it is: it may be of keys that another process has put in their place meanwhile.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn advance(&self, keys: &Keys, record: &Anchored) -> io::Result<()> {
        self.write(keys, record, false)
    }

    /// The same, and one that these keys did not write is replaced.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn renew(&self, keys: &Keys, record: &Anchored) -> io::Result<()> {
        self.write(keys, record, true)
    }

    fn write(&self, keys: &Keys, record: &Anchored, replaces: bool) -> io::Result<()> {
        let mut file = self.open_to_write()?;
        lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let present = read(&mut file)?;
        let known = Anchored::from_bytes(&present, keys).map_err(io::Error::other)?;
        let is_left = match known {
            Some(known) => known.sequence >= record.sequence,
            None => !present.is_empty() && !replaces,
        };
        if is_left {
            return Ok(());
        }
        let bytes = record.to_bytes(keys).map_err(io::Error::other)?;
        file.rewind()?;
        file.write_all(&bytes)?;
        match present.len() > bytes.len() {
            true => file.set_len(bytes.len() as u64),
            false => Ok(()),
        }
    }

    fn open_to_write(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(FILE_MODE);
        options.custom_flags(no_links());
        match options.open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let dir = self.path.parent().unwrap_or(&self.path);
                DirBuilder::new()
                    .recursive(true)
                    .mode(DIR_MODE)
                    .create(dir)?;
                regular(options.open(&self.path)?)
            }
            opened => regular(opened?),
        }
    }

    fn read(&self, keys: &Keys) -> Result<Anchored, AnchorState> {
        let open = || {
            let mut options = OpenOptions::new();
            let file = options.read(true).custom_flags(no_links()).open(&self.path);
            let mut file = regular(file?)?;
            lock(&file, FlockOperation::NonBlockingLockShared)?;
            read(&mut file)
        };
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(AnchorState::Missing),
            Err(error) => Err(AnchorState::Unreadable(error)),
            // Made, and the machine went down before it was written.
            Ok(bytes) if bytes.is_empty() => Err(AnchorState::Missing),
            Ok(bytes) => match Anchored::from_bytes(&bytes, keys) {
                Ok(known) => known.ok_or(AnchorState::Changed),
                Err(error) => Err(AnchorState::Unreadable(io::Error::other(error))),
            },
        }
    }
}

/// Waits for others of us, which hold it for microseconds, and not for somebody who never lets it go.
fn lock(file: &File, operation: FlockOperation) -> io::Result<()> {
    let give_up = Instant::now() + LOCK_MAX;
    loop {
        match flock(file, operation) {
            Err(Errno::WOULDBLOCK) if Instant::now() < give_up => thread::sleep(LOCK_PAUSE),
            locked => return Ok(locked?),
        }
    }
}

/// Neither a link is followed nor is a pipe waited for.
fn no_links() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}

/// What is written here is not another file under a second name.
fn regular(file: File) -> io::Result<File> {
    let found = file.metadata()?;
    match found.is_file() && found.nlink() == 1 {
        true => Ok(file),
        false => Err(io::Error::other("it is not a file of its own")),
    }
}

/// One byte more than an anchor has is a changed one.
fn read(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(FILE_BYTES + 1);
    file.take(FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Log {
    /// The anchor that is kept, if one is.
    pub fn anchor(&self) -> Option<&Anchor> {
        self.anchor.as_ref()
    }

    /// Compares the log with its anchor, looking at one record. None if this log has no anchor.
    ///
    /// # Errors
    /// Any that reading the log gives.
    pub fn anchor_state(&self, connection: &Connection) -> Result<Option<AnchorState>, AuditError> {
        let Some(anchor) = &self.anchor else {
            return Ok(None);
        };
        // The anchor first: it never leads, so it is behind the log that is read after it.
        let known = match anchor.read(&self.keys) {
            Ok(known) => known,
            Err(state) => return Ok(Some(state)),
        };
        let found = self.find(connection, known.sequence, &known.hash)?;
        if found.is_fine() {
            return Ok(Some(AnchorState::Holds(known)));
        }
        let last = Head::read(connection, &self.keys)?.sequence;
        let time = time_of(connection, last)?;
        Ok(Some(AnchorState::Contradicts {
            known,
            last: (last, time),
        }))
    }

    /// Writes the anchor as the log is now, if it lags, is not there or was changed.
    ///
    /// # Errors
    /// Any that reading the log gives; within, what the system says of the file.
    pub fn write_anchor(&self, connection: &Connection) -> Result<io::Result<()>, AuditError> {
        let Some(anchor) = &self.anchor else {
            return Ok(Ok(()));
        };
        let head = Head::read(connection, &self.keys)?;
        let time_ns = time_of(connection, head.sequence)?.unwrap_or_default();
        Ok(anchor.renew(&self.keys, &Anchored::at(&head, time_ns)))
    }
}

fn time_of(connection: &Connection, sequence: i64) -> Result<Option<i64>, AuditError> {
    let query = "SELECT time_ns FROM audit_log WHERE sequence = ?1";
    let mut statement = connection.prepare_cached(query)?;
    Ok(statement
        .query_row([sequence], |row| row.get(0))
        .optional()?)
}
