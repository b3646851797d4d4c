//! Programs whose memory and environment nobody else of the same user can read.
//!
//! The kernel makes a process undumpable when it executes a file that it may not read, or one whose
//! ELF interpreter it may not read, and then decides who may look by the innermost user namespace in
//! which that file's owner and group are known (`would_dump` in fs/exec.c). In the run's own user
//! namespace the user's other processes have every capability, since the user made it. So the file is
//! one whose owner is nobody's, by the map of the mount on which it stands: then it is the namespace
//! outside that counts, where they have none. An unreadable copy of the dynamic loader in the run's
//! view of the file system therefore protects every dynamically linked program of the run.
//!
//! Such maps of tmpfs need Linux 6.3. Before that the copy keeps others out of /proc, but they can
//! trace the program; the report tells.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod, fstat};
use rustix::process::Uid;

use super::view;
use crate::outcome::Cause;
use crate::plan::FileId;

/// The largest program that is copied, in bytes: the copy is in memory.
const COPY_MAX: u64 = 512 << 20;

/// Interpreters of interpreters that are followed: as many as the kernel does.
const SCRIPTS_MAX: usize = 5;

/// Bytes of a script's first line that the kernel looks at (`BINPRM_BUF_SIZE`).
const FIRST_LINE: usize = 256;

/// How a file is executed.
#[derive(Debug, PartialEq, Eq)]
enum Format {
    /// By the program after `#!`.
    Script(PathBuf),
    /// By this loader.
    Dynamic(PathBuf),
    /// Without a loader.
    Static,
    Unknown,
}

/// The dynamic loader of the system's own programs; none if they are static.
pub(crate) fn system_loader() -> Option<PathBuf> {
    ["/bin/sh", "/proc/self/exe"]
        .into_iter()
        .find_map(
            |program| match format(&mut File::open(program).ok()?).ok()? {
                Format::Dynamic(loader) => fs::canonicalize(loader).ok(),
                _ => None,
            },
        )
}

/// What unreadable files are made with, in a run's view of the file system.
pub(crate) struct Protection {
    /// The dynamic loader that is already unreadable.
    pub(crate) loader: PathBuf,
    /// The map by which files are nobody's.
    pub(crate) strangers: Option<OwnedFd>,
}

/// The file to be covered so that the program at `path` is executed unreadable, if `loader` already
/// is: none for programs that this one loads, and those that are unreadable as they are.
pub(crate) fn exposed(path: &Path, loader: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..SCRIPTS_MAX {
        match format(&mut File::open(&path).ok()?).ok()? {
            Format::Script(interpreter) => path = interpreter,
            Format::Dynamic(own) => {
                return fs::canonicalize(own).ok().filter(|own| own != loader);
            }
            Format::Static => return fs::canonicalize(path).ok(),
            Format::Unknown => return None,
        }
    }
    None
}

impl Protection {
    /// Covers a file with an unreadable copy, if it is the expected one. Gives the copy; none if the
    /// file is too large.
    pub(crate) fn cover(
        &self,
        path: &Path,
        expect: Option<FileId>,
        space: &Path,
    ) -> Result<Option<FileId>, Cause> {
        let cause = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Cause::NotFound,
            _ => Cause::Os(error.raw_os_error().unwrap_or(libc::EIO)),
        };
        let mut file = File::open(path).map_err(cause)?;
        let found = file.metadata().map_err(cause)?;
        if expect.is_some_and(|expected| expected != FileId::from(&found)) {
            return Err(Cause::Replaced);
        }
        if found.len() > COPY_MAX {
            return Ok(None);
        }
        let copied = self.copy(&mut file, &space.join(".copy"));
        copied.and_then(|copy| copy.cover(path)).map_err(cause)?;
        let copy = fs::metadata(path).map_err(cause)?;
        Ok(Some(FileId::from(&copy)))
    }

    /// An unreadable copy of `file`, made at `path` in the run's own space.
    pub(crate) fn copy(&self, file: &mut File, path: &Path) -> io::Result<Copy> {
        file.seek(SeekFrom::Start(0))?;
        let map = self.strangers.as_ref().map(AsFd::as_fd);
        Copy::make(file, path, Mode::from_raw_mode(0o111), map)
    }
}

/// A copy of a file, to be mounted over another one.
pub(crate) struct Copy {
    /// Where it stands until then: what has no name is not mounted.
    path: PathBuf,
    tree: OwnedFd,
}

impl Copy {
    pub(crate) fn make(
        file: &mut impl Read,
        path: &Path,
        mode: Mode,
        map: Option<BorrowedFd<'_>>,
    ) -> io::Result<Self> {
        let mut copy = File::create_new(path)?;
        io::copy(file, &mut copy)?;
        fchmod(&copy, mode)?;
        // One that is open for writing cannot be executed.
        drop(copy);
        match view::detached(path, map) {
            Ok(tree) => Ok(Copy {
                path: path.to_owned(),
                tree,
            }),
            Err(error) => {
                fs::remove_file(path)?;
                Err(error)
            }
        }
    }

    /// As the mount shows it.
    pub(crate) fn owner(&self) -> io::Result<Uid> {
        Ok(Uid::from_raw(fstat(&self.tree)?.st_uid))
    }

    /// Its own name is gone afterwards: only the cover is left, which cannot be changed.
    pub(crate) fn cover(self, target: &Path) -> io::Result<()> {
        view::move_to(self.tree.as_fd(), target)?;
        fs::remove_file(self.path)
    }
}

/// What the kernel would make of a file: `#!`, or the ELF header's list of segments (elf(5)).
fn format(file: &mut File) -> io::Result<Format> {
    let mut head = Vec::new();
    file.by_ref()
        .take(FIRST_LINE as u64)
        .read_to_end(&mut head)?;
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or(line);
        let mut words = line
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .filter(|word| !word.is_empty());
        return Ok(match words.next() {
            Some(word) => {
                Format::Script(PathBuf::from(std::ffi::OsString::from_vec(word.to_vec())))
            }
            None => Format::Unknown,
        });
    }
    match elf(file, &head) {
        Ok(found) => Ok(found.unwrap_or(Format::Unknown)),
        // A place that no file has.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(Format::Unknown),
        Err(error) => Err(error),
    }
}

fn elf(file: &mut File, head: &[u8]) -> io::Result<Option<Format>> {
    /// Segment with the loader's name.
    const PT_INTERP: u64 = 3;
    const SEGMENTS_MAX: u64 = 128;
    const PATH_MAX: u64 = 4096;
    // Only the byte order of this machine can be executed.
    let wide = match head {
        [0x7f, b'E', b'L', b'F', 1, ..] => false,
        [0x7f, b'E', b'L', b'F', 2, ..] => true,
        _ => return Ok(None),
    };
    let field = |bytes: &[u8], (at, size): (usize, usize)| {
        let mut number = [0; 8];
        let from = bytes.get(at..at + size)?;
        if cfg!(target_endian = "little") {
            number[..size].copy_from_slice(from);
        } else {
            number[8 - size..].copy_from_slice(from);
        }
        Some(u64::from_ne_bytes(number))
    };
    // Places of e_phoff, e_phentsize, e_phnum, and in a segment p_offset and p_filesz.
    let (offset, size, count, at, length) = if wide {
        ((32, 8), (54, 2), (56, 2), (8, 8), (32, 8))
    } else {
        ((28, 4), (42, 2), (44, 2), (4, 4), (16, 4))
    };
    let header = |place| field(head, place);
    let (Some(offset), Some(size), Some(count)) = (header(offset), header(size), header(count))
    else {
        return Ok(None);
    };
    if count > SEGMENTS_MAX {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut segments = Vec::new();
    file.by_ref()
        .take(size * count)
        .read_to_end(&mut segments)?;
    for segment in segments.chunks(usize::try_from(size).unwrap_or(0).max(1)) {
        if field(segment, (0, 4)) != Some(PT_INTERP) {
            continue;
        }
        let (Some(at), Some(length)) = (field(segment, at), field(segment, length)) else {
            return Ok(None);
        };
        file.seek(SeekFrom::Start(at))?;
        let mut name = Vec::new();
        file.by_ref()
            .take(length.min(PATH_MAX))
            .read_to_end(&mut name)?;
        while name.last() == Some(&0) {
            name.pop();
        }
        return Ok(Some(Format::Dynamic(
            std::ffi::OsString::from_vec(name).into(),
        )));
    }
    Ok(Some(Format::Static))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn of(bytes: &[u8]) -> Format {
        use rustix::fs::{OFlags, open};
        let flags = OFlags::TMPFILE | OFlags::RDWR;
        let mut file = File::from(open("/tmp", flags, Mode::RUSR | Mode::WUSR).unwrap());
        file.write_all(bytes).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        format(&mut file).unwrap()
    }

    #[test]
    fn a_script_names_its_interpreter() {
        assert_eq!(of(b"#!/bin/sh\n"), Format::Script("/bin/sh".into()));
        assert_eq!(
            of(b"#! \t/usr/bin/env node\nrest"),
            Format::Script("/usr/bin/env".into())
        );
        assert_eq!(of(b"#!"), Format::Unknown);
        assert_eq!(of(b"#!\n/bin/sh"), Format::Unknown);
    }

    #[test]
    fn a_program_names_its_loader() {
        let loader = system_loader().unwrap();
        assert!(loader.is_absolute() && loader.exists());
        let mut own = File::open("/proc/self/exe").unwrap();
        assert!(matches!(format(&mut own).unwrap(), Format::Dynamic(_)));
    }

    #[test]
    fn what_is_no_program_is_unknown_and_cut_ones_are_no_panic() {
        assert_eq!(of(b""), Format::Unknown);
        assert_eq!(of(b"echo"), Format::Unknown);
        let mut whole = fs::read("/bin/sh").unwrap();
        whole.truncate(4096);
        for length in 0..200 {
            let _ = of(&whole[..length]);
        }
        for at in 0..200 {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            let _ = of(&changed);
        }
    }
}
