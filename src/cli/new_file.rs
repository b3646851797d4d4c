//! A result written to a file: whole or not at all, and for its owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::failure::{Failure, codes};
use super::output;

/// Read and written by its owner.
const MODE: u32 = 0o600;

/// Has `write` fill a file beside `path`, which then gets that name. Only a file is replaced, and that with `force`; a link is
/// neither followed nor replaced.
pub(super) fn write(
    path: &Path,
    force: bool,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let fail = |error: io::Error| Failure::new(format!("{}: {error}", path.display()));
    check_target(path, force)?;
    let draft = Draft::new(path).map_err(fail)?;
    let mut out = BufWriter::new(&draft.file);
    write(&mut out)?;
    out.flush()
        .and_then(|()| draft.file.sync_all())
        .map_err(fail)?;
    drop(out);
    if force {
        check_target(path, force)?;
        fs::rename(&draft.path, path).map_err(fail)?;
    } else {
        // A link to it, unlike a rename, never replaces what is there by now.
        fs::hard_link(&draft.path, path).map_err(fail)?;
    }
    output::done(&format!("Wrote {}.", path.display()));
    Ok(codes::DONE)
}

fn check_target(path: &Path, force: bool) -> Result<(), Failure> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::new(format!("{shown}: {error}"))),
        Ok(found) if !found.is_file() => {
            Err(Failure::new(format!("{shown} is there, and is not a file")))
        }
        Ok(_) if force => Ok(()),
        Ok(_) => Err(Failure::new(format!("{shown} exists already"))
            .next("choose another name, or replace it with --force")),
    }
}

/// The file before it has its name. Removed when dropped: then it has that one, or nobody wants it.
struct Draft {
    path: PathBuf,
    file: File,
}

impl Draft {
    fn new(target: &Path) -> io::Result<Self> {
        let name = target
            .file_name()
            .ok_or_else(|| io::Error::other("that is not the name of a file"))?;
        let name = format!(".{}.{}", name.to_string_lossy(), std::process::id());
        let path = target.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&path)?;
        Ok(Self { path, file })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a rename it is gone already.
        let _ = fs::remove_file(&self.path);
    }
}
