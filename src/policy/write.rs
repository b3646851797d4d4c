//! Writing a file in one step: all of it is there or the one before is, whenever the machine stops.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Its owner reads and writes it, and nobody else does anything.
const MODE: u32 = 0o600;

/// A file that is written, beside the place that it is to take. Without [`publish`](Self::publish) nothing of it stays.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    place: PathBuf,
}

impl Staged {
    /// Writes all of it.
    ///
    /// # Errors
    /// That of writing.
    pub fn write(place: &Path, bytes: &[u8]) -> io::Result<Self> {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let path = place.with_file_name(format!(".{name}.{}.new", std::process::id()));
        // What a program of this number left that was ended before it was done.
        fs::remove_file(&path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&path)?;
        let staged = Self {
            path,
            place: place.to_owned(),
        };
        file.write_all(bytes)?;
        // Whatever the umask takes away.
        file.set_permissions(Permissions::from_mode(MODE))?;
        file.sync_all()?;
        Ok(staged)
    }

    /// Where it is until it takes its place.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// That of the file system; what was there before stays then.
    pub fn publish(self) -> io::Result<()> {
        fs::rename(&self.path, &self.place)?;
        let dir = self
            .place
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty());
        File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Once it has taken its place there is nothing here any more.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_ended_program_left_is_in_nobodys_way() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("x");
        let left = dir.path().join(format!(".x.{}.new", std::process::id()));
        let other = dir.path().join("other");
        fs::write(&other, "kept").expect("written");
        std::os::unix::fs::symlink(&other, &left).expect("a link");
        Staged::write(&place, b"new")
            .and_then(Staged::publish)
            .expect("written");
        assert_eq!(fs::read(&place).expect("bytes"), b"new");
        assert_eq!(fs::read(&other).expect("bytes"), b"kept");
        assert!(!left.exists());
    }

    #[test]
    fn what_is_staged_is_private_and_takes_its_place_or_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("x");
        let staged = Staged::write(&place, b"one").unwrap();
        let path = staged.path().to_owned();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        drop(staged);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

        let staged = Staged::write(&place, b"three").unwrap();
        staged.publish().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"three");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
