//! Where this program keeps what does not belong into the vault's directory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The directory in those for state and for sockets.
const NAME: &str = "secretctl";

/// Where the anchors of vaults are: the state directory of the XDG Base Directory Specification, whose path counts only if absolute.
pub(super) fn state_dir() -> Option<PathBuf> {
    let home = || Some(home_dir()?.join(".local/state"));
    let base = absolute("XDG_STATE_HOME").or_else(home)?;
    Some(base.join(NAME)).filter(|dir| dir.is_absolute())
}

/// Where sockets are: the user's runtime directory, which is gone after logout; where there is none, a directory in that for state.
pub(super) fn runtime_dir() -> Option<PathBuf> {
    let usual = || {
        let dir = Path::new("/run/user").join(rustix::process::getuid().as_raw().to_string());
        Some(dir).filter(|dir| is_own(dir))
    };
    match absolute("XDG_RUNTIME_DIR").or_else(usual) {
        Some(base) => Some(base.join(NAME)),
        None => Some(state_dir()?.join("run")),
    }
}

/// The user's home directory.
pub(super) fn home_dir() -> Option<PathBuf> {
    std::env::home_dir().filter(|dir| dir.is_absolute())
}

/// Where programs keep their settings.
pub(super) fn settings_dir() -> Option<PathBuf> {
    if cfg!(target_os = "macos") {
        return Some(home_dir()?.join("Library/Application Support"));
    }
    let home = || Some(home_dir()?.join(".config"));
    absolute("XDG_CONFIG_HOME").or_else(home)
}

/// What a variable says, if it is an absolute path.
pub(super) fn absolute(variable: &str) -> Option<PathBuf> {
    let dir = std::env::var_os(variable).map(PathBuf::from);
    dir.filter(|dir| dir.is_absolute())
}

fn is_own(dir: &Path) -> bool {
    let own = rustix::process::getuid().as_raw();
    fs::symlink_metadata(dir).is_ok_and(|found| found.is_dir() && found.uid() == own)
}
