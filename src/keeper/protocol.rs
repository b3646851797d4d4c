//! The messages: frames of bounded length, each with its length in four bytes in front. All numbers are big-endian.

use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::crypto::{self, CryptoError, Done, Formula, KEY_BYTES, Key, MAC_BYTES, Task};
use crate::secret::SecretBytes;

/// Longest frame: the values of the largest secret (100 MiB) and what stands around them.
const FRAME_MAX_BYTES: usize = 128 * 1024 * 1024;
/// What is set aside for a frame before any of it has come.
const FRAME_FIRST_BYTES: usize = 64 * 1024;
/// Tasks of one frame: their results are bounded as well.
pub(super) const TASKS_MAX: usize = 4096;
/// Bytes of tasks that go into one frame, if it has more than one.
const TASKS_BYTES: usize = 256 * 1024;

const LENGTH_BYTES: usize = size_of::<u32>();
/// What stands in front of the bytes of a task, and of those of a result.
const TASK_BYTES: usize = 3 + 2 * LENGTH_BYTES;
const RESULT_BYTES: usize = 1 + LENGTH_BYTES;

const HELLO: u8 = b'h';
const WORK: u8 = b'w';
const END: u8 = b'e';
const EXTEND: u8 = b'x';

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    /// To know the session: answered with [`Facts`].
    Hello,
    /// Results, one for each task.
    Work(Vec<Task<'a>>),
    /// The end of the session. There is no other answer than the end.
    End,
    /// More time: answered with [`Facts`].
    Extend(Extension),
}

/// More time for a session, as somebody with the password grants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extension {
    pub(super) ttl: Duration,
    pub(super) idle: Duration,
    pub(super) code: [u8; MAC_BYTES],
}

impl Extension {
    /// What the code is of: this session, and that it was not extended since, so that no grant counts twice.
    pub(super) fn message(facts: &Facts, ttl: Duration, idle: Duration) -> Vec<u8> {
        crypto::framed(&[
            b"secretctl session",
            &facts.session,
            &facts.extensions.to_be_bytes(),
            &ttl.as_secs().to_be_bytes(),
            &idle.as_secs().to_be_bytes(),
        ])
    }
}

/// What a keeper says of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The vault that is open.
    pub vault_id: [u8; 16],
    /// Which of the vault's data keys it has.
    pub generation: u64,
    /// The session: random.
    pub session: [u8; 16],
    /// How often it was extended.
    pub extensions: u64,
    /// How long it lasts at most, from now.
    pub left: Duration,
    /// How long it lasts without use.
    pub idle: Duration,
}

impl Facts {
    fn to_bytes(&self) -> Vec<u8> {
        [
            self.vault_id.as_slice(),
            &self.generation.to_be_bytes(),
            &self.session,
            &self.extensions.to_be_bytes(),
            &self.left.as_secs().to_be_bytes(),
            &self.idle.as_secs().to_be_bytes(),
        ]
        .concat()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest(bytes);
        let facts = Self {
            vault_id: rest.array()?,
            generation: rest.u64()?,
            session: rest.array()?,
            extensions: rest.u64()?,
            left: Duration::from_secs(rest.u64()?),
            idle: Duration::from_secs(rest.u64()?),
        };
        rest.0.is_empty().then_some(facts)
    }
}

/// What a new keeper is told by who has the password.
pub struct Start {
    /// The vault that is opened.
    pub vault_id: [u8; 16],
    /// Which of the vault's data keys it gets.
    pub generation: u64,
    /// That key.
    pub data_key: Key,
    /// How long the session lasts at most.
    pub ttl: Duration,
    /// How long it lasts without use.
    pub idle: Duration,
    /// Where its socket is to be.
    pub dir: PathBuf,
}

impl Start {
    pub(super) fn frame(&self) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let dir = self.dir.as_os_str().as_bytes();
        let mut frame = Frame::new(size_of::<[u64; 5]>() + KEY_BYTES + dir.len());
        frame.bytes(&self.vault_id);
        frame.bytes(&self.generation.to_be_bytes());
        frame.bytes(self.data_key.expose()?);
        frame.bytes(&self.ttl.as_secs().to_be_bytes());
        frame.bytes(&self.idle.as_secs().to_be_bytes());
        frame.bytes(dir);
        Ok(frame.done())
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest(bytes);
        Some(Self {
            vault_id: rest.array()?,
            generation: rest.u64()?,
            data_key: Key::from_slice(rest.take(KEY_BYTES)?)?,
            ttl: Duration::from_secs(rest.u64()?),
            idle: Duration::from_secs(rest.u64()?),
            dir: PathBuf::from(std::ffi::OsString::from_vec(rest.0.to_vec())),
        })
    }
}

impl<'a> Request<'a> {
    /// None if it is not one.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let mut rest = Rest(rest);
        let request = match *kind {
            HELLO => Self::Hello,
            END => Self::End,
            EXTEND => Self::Extend(Extension {
                ttl: Duration::from_secs(rest.u64()?),
                idle: Duration::from_secs(rest.u64()?),
                code: rest.array()?,
            }),
            WORK => {
                let mut tasks = Vec::new();
                while !rest.0.is_empty() && tasks.len() < TASKS_MAX {
                    tasks.push(task(&mut rest)?);
                }
                Self::Work(tasks)
            }
            _ => return None,
        };
        rest.0.is_empty().then_some(request)
    }
}

fn task<'a>(rest: &mut Rest<'a>) -> Option<Task<'a>> {
    let [formula] = rest.array()?;
    let formula = Formula::ALL.into_iter().find(|one| *one as u8 == formula)?;
    Some(Task {
        formula,
        key: u16::from_be_bytes(rest.array()?),
        place: rest.counted()?,
        data: rest.counted()?,
    })
}

pub(super) fn hello() -> Zeroizing<Vec<u8>> {
    Frame::of(&[HELLO])
}

pub(super) fn end() -> Zeroizing<Vec<u8>> {
    Frame::of(&[END])
}

pub(super) fn extend(extension: &Extension) -> Zeroizing<Vec<u8>> {
    let Extension { ttl, idle, code } = extension;
    let [ttl, idle] = [ttl, idle].map(|span| span.as_secs().to_be_bytes());
    Frame::of(&[[EXTEND].as_slice(), &ttl, &idle, code].concat())
}

pub(super) fn facts(facts: &Facts) -> Zeroizing<Vec<u8>> {
    Frame::of(&facts.to_bytes())
}

pub(super) fn parse_facts(bytes: &[u8]) -> Option<Facts> {
    Facts::parse(bytes)
}

/// The answer to [`Start`]: why there is no keeper, or nothing.
pub(super) fn started(fact: Option<&str>) -> Zeroizing<Vec<u8>> {
    Frame::of(fact.unwrap_or_default().as_bytes())
}

pub(super) fn parse_started(answer: &[u8]) -> Option<String> {
    (!answer.is_empty()).then(|| String::from_utf8_lossy(answer).into_owned())
}

/// A frame with the first of these tasks, as many as one may have. Gives their number as well, and none for a task that is too long.
pub(super) fn work(tasks: &[Task<'_>]) -> Option<(Zeroizing<Vec<u8>>, usize)> {
    let bytes = |task: &Task| TASK_BYTES + task.place.len() + task.data.len();
    let first = tasks.first().map_or(0, bytes);
    let (mut room, mut count) = (0, 0);
    for task in tasks.iter().take(TASKS_MAX) {
        if count > 0 && room + bytes(task) > TASKS_BYTES {
            break;
        }
        (room, count) = (room + bytes(task), count + 1);
    }
    if first >= FRAME_MAX_BYTES {
        return None;
    }
    let mut frame = Frame::new(1 + room);
    frame.bytes(&[WORK]);
    for task in &tasks[..count] {
        frame.bytes(&[task.formula as u8]);
        frame.bytes(&task.key.to_be_bytes());
        frame.counted(task.place);
        frame.counted(task.data);
    }
    Some((frame.done(), count))
}

/// The answer to [`Request::Work`].
pub(super) fn results(done: &[Done]) -> Zeroizing<Vec<u8>> {
    let bytes = |done: &Done| done.as_ref().map_or(0, SecretBytes::len);
    let room = done.iter().map(|done| RESULT_BYTES + bytes(done)).sum();
    let mut frame = Frame::new(room);
    for done in done {
        frame.bytes(&[status(done)]);
        let result = done.as_ref().map(SecretBytes::expose);
        frame.counted(result.unwrap_or_default());
    }
    frame.done()
}

/// None if that is not an answer.
pub(super) fn parse_results(bytes: &[u8]) -> Option<Vec<Done>> {
    let mut rest = Rest(bytes);
    let mut all = Vec::new();
    while !rest.0.is_empty() {
        let [status] = rest.array()?;
        let bytes = rest.counted()?;
        all.push(match status {
            0 => Ok(SecretBytes::from_vec(bytes.to_vec())),
            status => Err(error(status)),
        });
    }
    Some(all)
}

/// What can go wrong with a single task. The place of each is its status, from 1.
const ERRORS: [CryptoError; 4] = [
    CryptoError::NotAuthentic,
    CryptoError::NotAllowed,
    CryptoError::TooLong,
    CryptoError::NoRandomness,
];

fn status(done: &Done) -> u8 {
    let Err(error) = done else { return 0 };
    let place = ERRORS.iter().position(|one| one == error);
    place.map_or(u8::MAX, |place| place as u8 + 1)
}

fn error(status: u8) -> CryptoError {
    let error = ERRORS.get(usize::from(status) - 1);
    error.copied().unwrap_or(CryptoError::Locked)
}

/// A frame in the making. It has its room from the start: a buffer that grows leaves copies behind.
struct Frame(Zeroizing<Vec<u8>>);

impl Frame {
    fn new(room: usize) -> Self {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH_BYTES + room));
        bytes.extend_from_slice(&[0; LENGTH_BYTES]);
        Self(bytes)
    }

    fn of(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut frame = Self::new(bytes.len());
        frame.bytes(bytes);
        frame.done()
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn counted(&mut self, bytes: &[u8]) {
        self.bytes(&length(bytes.len()));
        self.bytes(bytes);
    }

    fn done(mut self) -> Zeroizing<Vec<u8>> {
        let bytes = length(self.0.len() - LENGTH_BYTES);
        self.0[..LENGTH_BYTES].copy_from_slice(&bytes);
        self.0
    }
}

fn length(bytes: usize) -> [u8; LENGTH_BYTES] {
    // What is longer is refused by whoever reads it.
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

/// Sends a frame.
pub(super) fn write(stream: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    stream.write_all(frame)
}

/// Waits for a frame; none at the end of the stream.
pub(super) fn read(stream: &mut impl Read) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut bytes = [0; LENGTH_BYTES];
    let first = loop {
        match stream.read(&mut bytes) {
            // By a signal to this process, which says nothing of the other one.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    match first {
        0 => return Ok(None),
        some => stream.read_exact(&mut bytes[some..])?,
    }
    let length = usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX);
    if length > FRAME_MAX_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = Zeroizing::new(Vec::with_capacity(length.min(FRAME_FIRST_BYTES)));
    while frame.len() < length {
        if frame.len() == frame.capacity() {
            // The room grows with what has come, and what it was before is wiped.
            let room = length.min(2 * frame.len());
            let mut larger = Zeroizing::new(Vec::with_capacity(room));
            larger.extend_from_slice(&frame);
            frame = larger;
        }
        let start = frame.len();
        let end = length.min(frame.capacity());
        frame.resize(end, 0);
        stream.read_exact(&mut frame[start..])?;
    }
    Ok(Some(frame))
}

/// What is still to be parsed.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Bytes behind their length.
    fn counted(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(self.array()?);
        self.take(usize::try_from(length).ok()?)
    }
}
