//! The bytes between the two processes: every value with its length, integers little-endian.
//!
//! Reading is a total function: any input gives a value or [`Malformed`], and nothing is allocated
//! for more than the input holds. Buffers are wiped, also those they outgrow, since plans hold
//! secrets.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::outcome::{Cause, Enforcement, Layer, Stage, StartError};
use crate::plan::{
    Confinement, FileId, Home, Jail, Limits, Network, Plan, Variable, WorkingDirectory,
};
use crate::steps::Faults;
#[cfg(target_os = "linux")]
use crate::steps::reach::{Access, Hidden, Link, Place, Reach};

/// Longest message in bytes: twice what Linux accepts for arguments and environment under the usual
/// stack limit, so that it is the kernel who refuses, with its own word for it.
pub(crate) const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// The bytes are not what this version writes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What the caller tells the helper: `Expect` first, if it starts one ahead; then `Prepare`, then
/// `Start`, each once, and maybe much later than the one before. `Multiply` is all that the origin of
/// helpers is told.
pub(crate) enum Command {
    Multiply,
    Expect(Expectation),
    Prepare(Preparation),
    Start(Request),
    Signal(i32),
    Cancel,
}

/// What jails have in common.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expectation {
    pub(crate) network: Network,
    pub(crate) faults: Faults,
}

/// What can be done before there is a plan, and holds no secret.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Preparation {
    pub(crate) confinement: Confinement,
    /// Whether the run gets a directory of its own.
    pub(crate) directory: bool,
    /// Where that may be made, best first. The helper's own environment is empty.
    pub(crate) bases: Vec<PathBuf>,
    pub(crate) faults: Faults,
}

pub(crate) struct Request {
    pub(crate) plan: Plan,
    /// Whether a descriptor for the child's standard input comes along.
    pub(crate) stdin: bool,
}

/// What the helper tells the caller: `Started` when there is a process, before it may become the
/// program; then `Failed` or `Ended`; `Failed` may also come at first. After either of them
/// `Cleaned`.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    Started {
        leader: i32,
        enforcement: Enforcement,
    },
    Failed(StartError),
    Ended(End),
    Cleaned {
        left_behind: Option<PathBuf>,
    },
}

#[derive(Debug, PartialEq)]
pub(crate) struct End {
    pub(crate) reason: Reason,
    pub(crate) status: Status,
    pub(crate) duration: Duration,
    pub(crate) leaked: bool,
    pub(crate) survivors: bool,
    /// What was found when the program was running, if it ran long enough to look.
    pub(crate) environment_hidden: Option<bool>,
}

/// What the new process tells the helper.
#[derive(Debug, PartialEq)]
pub(crate) enum Birth {
    Ready(Facts),
    Failed(StartError),
}

/// What the new process could prepare.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// The number of processes will be limited.
    pub(crate) process_limit: bool,
    /// Version of Landlock; 0 is none.
    pub(crate) landlock: u32,
    pub(crate) system_calls: bool,
    /// Nobody else can read what dynamically linked programs have in memory.
    pub(crate) hidden: bool,
    /// The dynamic loader that cannot be read.
    pub(crate) loader: Option<PathBuf>,
    /// The sandbox of macOS takes its profile.
    pub(crate) sandbox: bool,
}

/// What the first process of a process namespace tells the second when it has built the view of the
/// file system.
#[cfg(target_os = "linux")]
#[derive(Debug, PartialEq)]
pub(crate) struct View {
    /// The dynamic loader that cannot be read.
    pub(crate) loader: Option<PathBuf>,
    /// Nobody else can read what the programs that it loads have in memory.
    pub(crate) hidden: bool,
    /// What stands in the view.
    pub(crate) places: Vec<Place>,
}

/// What the helper tells the first process of a process namespace.
#[cfg(target_os = "linux")]
pub(crate) enum Order {
    /// A place's mounts come along: one such order for each place beyond the system's own, if it is
    /// the helper who can reach them.
    Tree,
    /// Finish the view.
    Finish(Reach),
    /// Pass this signal on to the main process's group.
    Signal(i32),
    /// Cover this file with an unreadable copy, if it is the one that is expected.
    Cover {
        path: PathBuf,
        expect: Option<FileId>,
    },
}

/// What the first process of a process namespace tells the helper.
#[cfg(target_os = "linux")]
#[derive(Debug, PartialEq)]
pub(crate) enum Word {
    /// The copy that covers the file; none if the file is too large for that.
    Covered(Option<FileId>),
    NotCovered(StartError),
    /// The main process has ended.
    Passed {
        status: Status,
        /// Others were still there.
        leaked: bool,
        /// They are not there any more.
        gone: bool,
    },
}

/// Who ended the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reason {
    Leader,
    Deadline,
    Cancel,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Status {
    Exited(i32),
    Signaled(i32),
    /// It could not be ended.
    Unknown,
}

/// Bytes to be sent; wiped on drop and when they outgrow their place.
pub(crate) struct Writer {
    bytes: Zeroizing<Vec<u8>>,
}

impl Writer {
    /// The value with its length in front, ready to be sent.
    pub(crate) fn message(value: &impl Wire) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        let mut writer = Writer {
            bytes: Zeroizing::new(Vec::with_capacity(512)),
        };
        writer.put(&[0; 4]);
        value.put(&mut writer);
        let length = writer.bytes.len() - 4;
        if length > MESSAGE_BYTES_MAX {
            return Err(Malformed);
        }
        let length = u32::try_from(length).map_err(|_| Malformed)?;
        writer.bytes[..4].copy_from_slice(&length.to_le_bytes());
        Ok(writer.bytes)
    }

    fn put(&mut self, bytes: &[u8]) {
        append(&mut self.bytes, bytes);
    }
}

/// Appends without leaving a copy behind in memory that `Vec` gave back.
fn append(buffer: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    let needed = buffer.len() + bytes.len();
    if needed > buffer.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(2 * buffer.capacity())));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(bytes);
}

/// Cuts a stream of bytes into messages.
#[derive(Default)]
pub(crate) struct Messages {
    buffer: Zeroizing<Vec<u8>>,
}

impl Messages {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        append(&mut self.buffer, bytes);
    }

    /// How many bytes are missing before there is more to know: of a message, or of its length.
    pub(crate) fn missing(&self) -> usize {
        let Some((length, rest)) = self.buffer.split_first_chunk() else {
            return size_of::<u32>() - self.buffer.len();
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        length.saturating_sub(rest.len()).max(1)
    }

    /// The next whole message, if it has arrived.
    pub(crate) fn next<T: Wire>(&mut self) -> Result<Option<T>, Malformed> {
        let Some((length, rest)) = self.buffer.split_first_chunk() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Malformed)?;
        if length > MESSAGE_BYTES_MAX {
            return Err(Malformed);
        }
        let Some((message, rest)) = rest.split_at_checked(length) else {
            return Ok(None);
        };
        let mut reader = Reader { bytes: message };
        let value = T::take(&mut reader)?;
        if !reader.bytes.is_empty() {
            return Err(Malformed);
        }
        self.buffer = Zeroizing::new(rest.to_vec());
        Ok(Some(value))
    }
}

/// Bytes that were received and not yet read.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.bytes.split_at_checked(count).ok_or(Malformed)?;
        self.bytes = rest;
        Ok(head)
    }
}

/// A value with one form as bytes.
pub(crate) trait Wire: Sized {
    fn put(&self, to: &mut Writer);
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed>;
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Wire for $integer {
            fn put(&self, to: &mut Writer) {
                to.put(&self.to_le_bytes());
            }
            fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                let bytes = from.take(size_of::<$integer>())?;
                Ok(<$integer>::from_le_bytes(bytes.try_into().map_err(|_| Malformed)?))
            }
        }
    )*};
}

integers!(u8, u32, u64, i32);

/// A struct is its fields in the order given here.
macro_rules! structs {
    ($($name:ident { $($field:ident),* })*) => {$(
        impl Wire for $name {
            fn put(&self, to: &mut Writer) {
                $(self.$field.put(to);)*
            }
            fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                Ok($name { $($field: Wire::take(from)?),* })
            }
        }
    )*};
}

structs! {
    Plan { program, expect, argv, environment, home, working_directory, limits, require, confinement }
    Jail { network, readable, writable, hidden }
    FileId { dev, ino }
    Variable { name, value }
    Limits { timeout, grace, processes, open_files, file_size_bytes }
    Expectation { network, faults }
    Preparation { confinement, directory, bases, faults }
    Request { plan, stdin }
    Facts { process_limit, landlock, system_calls, hidden, loader, sandbox }
    Enforcement { layers }
    Layer { name, enforced, detail }
    StartError { stage, cause }
    End { reason, status, duration, leaked, survivors, environment_hidden }
}

/// An enum is the number given here, then its fields.
macro_rules! enums {
    ($($name:ident { $($tag:literal => $variant:ident $(($($part:ident),*))? $({$($field:ident),*})?,)* })*) => {$(
        impl Wire for $name {
            fn put(&self, to: &mut Writer) {
                match self {
                    $($name::$variant $(($($part),*))? $({$($field),*})? => {
                        to.put(&[$tag]);
                        $($($part.put(to);)*)?
                        $($($field.put(to);)*)?
                    })*
                }
            }
            fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                Ok(match u8::take(from)? {
                    $($tag => {
                        $($(let $part = Wire::take(from)?;)*)?
                        $($(let $field = Wire::take(from)?;)*)?
                        $name::$variant $(($($part),*))? $({$($field),*})?
                    })*
                    _ => return Err(Malformed),
                })
            }
        }
    )*};
}

enums! {
    Command { 1 => Prepare(preparation), 2 => Start(request), 3 => Signal(number), 4 => Cancel, 5 => Expect(expectation), 6 => Multiply, }
    Birth { 1 => Ready(facts), 2 => Failed(error), }
    Event {
        1 => Started { leader, enforcement },
        2 => Failed(error),
        3 => Ended(end),
        4 => Cleaned { left_behind },
    }
    Reason { 1 => Leader, 2 => Deadline, 3 => Cancel, }
    Status { 1 => Exited(code), 2 => Signaled(signal), 3 => Unknown, }
    Confinement { 1 => Base, 2 => Jail(jail), }
    Network { 1 => Allow, 2 => None, }
    Home { 1 => Temporary, 2 => Unchanged, }
    WorkingDirectory { 1 => Temporary, 2 => At(path), }
    Stage {
        1 => Platform, 2 => Helper, 3 => Plan, 4 => Directory, 5 => Process, 6 => Session, 7 => Limits,
        8 => Privileges, 9 => Descriptors, 10 => WorkingDirectory, 11 => Program, 12 => Confinement, 13 => Namespaces, 14 => View,
        15 => Landlock, 16 => SystemCalls, 17 => User, 18 => Sandbox,
    }
    Cause {
        1 => Unsupported, 2 => NotFound, 3 => NotTrusted, 4 => Died, 5 => Malformed, 6 => TooLarge,
        7 => RelativePath, 8 => NoArguments, 9 => ContainsNul, 10 => VariableName,
        11 => VariableRepeated(name), 12 => VariableTooLong(name), 13 => NotExecutable,
        14 => NoInterpreter, 15 => UnknownFormat, 16 => TooLong, 17 => Replaced, 18 => Os(errno), 19 => LayerMissing(name),
        20 => Path(path, errno),
    }
}

#[cfg(target_os = "linux")]
structs! {
    View { loader, hidden, places }
    Reach { places, links, hidden }
    Place { path, access, directory, named }
    Link { path, target }
    Hidden { path, directory }
}

#[cfg(target_os = "linux")]
enums! {
    Order { 1 => Signal(number), 2 => Cover { path, expect }, 3 => Tree, 4 => Finish(reach), }
    Access { 1 => Read, 2 => Write, }
    Word {
        1 => Covered(copy),
        2 => NotCovered(error),
        3 => Passed { status, leaked, gone },
    }
}

impl Wire for Faults {
    fn put(&self, to: &mut Writer) {
        self.0.put(to);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Vec::take(from).map(Faults)
    }
}

impl Wire for bool {
    fn put(&self, to: &mut Writer) {
        to.put(&[u8::from(*self)]);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
}

impl Wire for Duration {
    /// Nanoseconds; what is longer than 584 years becomes that.
    fn put(&self, to: &mut Writer) {
        u64::try_from(self.as_nanos()).unwrap_or(u64::MAX).put(to);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Duration::from_nanos(u64::take(from)?))
    }
}

fn put_bytes(bytes: &[u8], to: &mut Writer) {
    // A longer one makes the whole message too long, so its length is never read.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).put(to);
    to.put(bytes);
}

fn take_bytes<'a>(from: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let length = usize::try_from(u32::take(from)?).map_err(|_| Malformed)?;
    from.take(length)
}

impl Wire for Zeroizing<Vec<u8>> {
    fn put(&self, to: &mut Writer) {
        put_bytes(self, to);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Zeroizing::new(take_bytes(from)?.to_vec()))
    }
}

impl Wire for OsString {
    fn put(&self, to: &mut Writer) {
        put_bytes(self.as_bytes(), to);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(OsString::from_vec(take_bytes(from)?.to_vec()))
    }
}

impl Wire for PathBuf {
    fn put(&self, to: &mut Writer) {
        put_bytes(self.as_os_str().as_bytes(), to);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        OsString::take(from).map(PathBuf::from)
    }
}

impl Wire for String {
    fn put(&self, to: &mut Writer) {
        put_bytes(self.as_bytes(), to);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        String::from_utf8(take_bytes(from)?.to_vec()).map_err(|_| Malformed)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, to: &mut Writer) {
        self.is_some().put(to);
        if let Some(value) = self {
            value.put(to);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(if bool::take(from)? {
            Some(T::take(from)?)
        } else {
            None
        })
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, to: &mut Writer) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).put(to);
        self.iter().for_each(|item| item.put(to));
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        // Not `with_capacity`: the count is only believed as far as there are bytes.
        (0..u32::take(from)?).map(|_| T::take(from)).collect()
    }
}

#[cfg(test)]
mod tests;
