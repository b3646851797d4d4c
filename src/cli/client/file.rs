//! A client's file: read as it is, and replaced as a whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::super::failure::Failure;

/// Largest file that is read, in bytes: clients keep their history in such files.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// That of a new file: others need not know what is connected.
const NEW_MODE: u32 = 0o600;
const NEW_DIR_MODE: u32 = 0o700;
/// Permission of the owner to write.
const OWNER_WRITES: u32 = 0o200;

/// A file as it was found.
pub(super) struct ClientFile {
    /// Its name.
    pub(super) path: PathBuf,
    /// What the name leads to, past links.
    target: PathBuf,
    found: Option<(String, fs::Metadata)>,
}

impl ClientFile {
    /// Reads the file if there is one. A name that is a link means what the link leads to; one in a project has to stay in it, since a
    /// project may be somebody else's work.
    pub(super) fn open(path: PathBuf, project: Option<&Path>) -> Result<Self, Failure> {
        let fail = |error: io::Error| Failure::new(format!("{}: {error}", path.display()));
        let target = target_of(&path).map_err(fail)?;
        if let Some(root) = project
            && !target.starts_with(root.canonicalize().map_err(fail)?)
        {
            let fact = format!(
                "{} leads out of the project, to {}",
                path.display(),
                target.display()
            );
            return Err(Failure::new(fact));
        }
        let found = read(&target).map_err(fail)?;
        Ok(Self {
            path,
            target,
            found,
        })
    }

    /// What it says; none if there is no file.
    pub(super) fn text(&self) -> Option<&str> {
        self.found.as_ref().map(|(text, _)| text.as_str())
    }

    /// Its permission bits.
    pub(super) fn mode(&self) -> Option<u32> {
        self.found.as_ref().map(|(_, found)| found.mode() & 0o7777)
    }

    /// Puts a new file in its place, with the same owner and mode. What another program wrote meanwhile is not lost: then nothing is done.
    pub(super) fn replace(&self, text: &str) -> Result<(), Failure> {
        let shown = self.path.display();
        let fail = |error: io::Error| Failure::new(format!("{shown}: {error}"));
        if self.mode().is_some_and(|mode| mode & OWNER_WRITES == 0) {
            return Err(
                Failure::new(format!("{shown} may not be written, not even by its owner"))
                    .next("change it where it is made, with what `secretctl mcp config` prints"),
            );
        }
        if let Some(dir) = self.target.parent() {
            let mut builder = fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(NEW_DIR_MODE)
                .create(dir)
                .map_err(fail)?;
        }
        let draft = Draft::new(&self.target).map_err(fail)?;
        draft
            .fill(text, self.found.as_ref().map(|(_, found)| found))
            .map_err(fail)?;
        let now = read(&self.target).map_err(fail)?.map(|(text, _)| text);
        if now.as_deref() != self.text() {
            return Err(
                Failure::new(format!("{shown} was changed by another program just now"))
                    .next("close the client, and try again"),
            );
        }
        draft.take_the_place_of(&self.target).map_err(fail)
    }
}

/// Where a name leads to, in a directory that may still have to be made.
fn target_of(path: &Path) -> io::Result<PathBuf> {
    if fs::symlink_metadata(path).is_ok() {
        return path.canonicalize();
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("that is not the name of a file"));
    };
    match parent.as_os_str().is_empty() {
        true => Ok(Path::new(".").canonicalize()?.join(name)),
        false => Ok(target_of(parent)?.join(name)),
    }
}

fn read(path: &Path) -> io::Result<Option<(String, fs::Metadata)>> {
    // A named pipe would wait for a writer.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
    {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if found.len() > MAX_BYTES {
        return Err(io::Error::other("it is too large for a configuration"));
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(Some((text, found)))
}

/// The new file before it has its name. Removed when dropped, if it still has its first one.
struct Draft {
    path: PathBuf,
    file: File,
}

impl Draft {
    fn new(target: &Path) -> io::Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.secretctl-{}", std::process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(NEW_MODE)
            .open(&path)?;
        Ok(Self { path, file })
    }

    fn fill(&self, text: &str, like: Option<&fs::Metadata>) -> io::Result<()> {
        (&self.file).write_all(text.as_bytes())?;
        if let Some(like) = like {
            let own = self.file.metadata()?;
            if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
                std::os::unix::fs::fchown(&self.file, Some(like.uid()), Some(like.gid()))?;
            }
            let mode = fs::Permissions::from_mode(like.mode() & 0o7777);
            self.file.set_permissions(mode)?;
        }
        self.file.sync_all()
    }

    fn take_the_place_of(self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        match target.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a rename it is gone already.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    fn open(dir: &Path) -> Result<ClientFile, Failure> {
        ClientFile::open(dir.join("file"), None)
    }

    #[test]
    fn what_another_program_wrote_meanwhile_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        for before in [None, Some("before")] {
            if let Some(before) = before {
                fs::write(&path, before).expect("written");
            }
            let file = open(dir.path()).expect("read");
            fs::write(&path, "theirs").expect("written");
            let failure = file.replace("ours").expect_err("it was changed");
            let told = format!("{} was changed by another program just now", path.display());
            assert_eq!(failure.into_parts().0, told);
            assert_eq!(fs::read_to_string(&path).expect("a text"), "theirs");
            // Nothing is left beside it.
            assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1);
            fs::remove_file(&path).expect("removed");
        }
    }

    #[test]
    fn nothing_is_written_through_a_link_that_has_the_drafts_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let victim = dir.path().join("victim");
        let draft = format!(".file.secretctl-{}", std::process::id());
        symlink(&victim, dir.path().join(draft)).expect("a link");
        let file = open(dir.path()).expect("read");
        file.replace("ours").expect_err("it is there");
        assert!(!victim.exists());
    }

    #[test]
    fn a_file_keeps_its_owner() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        fs::write(&path, "before").expect("written");
        chown(&path, Some(65534), Some(65534)).expect("given away");
        open(dir.path())
            .expect("read")
            .replace("after")
            .expect("replaced");
        let found = fs::metadata(&path).expect("there");
        assert_eq!((found.uid(), found.gid()), (65534, 65534));
        assert_eq!(fs::read_to_string(&path).expect("a text"), "after");
    }

    #[test]
    fn what_is_too_large_is_not_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = File::create(dir.path().join("file")).expect("a file");
        file.set_len(MAX_BYTES + 1).expect("a hole");
        let fact = open(dir.path()).err().map(|failure| failure.into_parts().0);
        assert!(fact.is_some_and(|fact| fact.ends_with("it is too large for a configuration")));
    }
}
