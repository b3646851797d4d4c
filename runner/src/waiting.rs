//! Helpers that were started ahead, and what they have prepared for.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::helper::Helper;
use crate::outcome::StartError;
use crate::plan::{Confinement, FileId, Network};
use crate::wire::Preparation;

/// A single file of the system's that every jail has, and that daemons replace.
const NAME_SERVERS: &str = "/etc/resolv.conf";

/// Helpers that were started ahead.
#[derive(Default)]
pub(crate) struct Waiting {
    pub(crate) ready: Option<Ready>,
    /// One that knows nothing of its run yet but the network.
    pub(crate) spare: Option<(Network, Helper)>,
}

/// A helper that waits, and what it has prepared for.
pub(crate) struct Ready {
    preparation: Preparation,
    /// The files that the jail's paths named then: it goes on seeing those, whatever takes their
    /// place.
    files: Vec<Option<Named>>,
    pub(crate) helper: Helper,
}

impl Ready {
    /// `files` are looked at before the helper begins, so that it sees these or later ones.
    pub(crate) fn begin(
        preparation: Preparation,
        start: impl FnOnce(&Preparation) -> Result<Helper, StartError>,
    ) -> Result<Self, StartError> {
        Ok(Ready {
            files: files(&preparation.confinement),
            helper: start(&preparation)?,
            preparation,
        })
    }

    pub(crate) fn is_for(&self, preparation: &Preparation) -> bool {
        self.preparation == *preparation && self.files == files(&preparation.confinement)
    }
}

/// A file that stood at a path. When the file is gone, another one can get its number, so that the time when it was made, where
/// the file system keeps that, belongs to it as well.
type Named = (FileId, Option<SystemTime>);

/// What a jail's paths name at this moment.
fn files(confinement: &Confinement) -> Vec<Option<Named>> {
    let Confinement::Jail(jail) = confinement else {
        return Vec::new();
    };
    let paths = [&jail.readable, &jail.writable, &jail.hidden];
    let paths = paths.into_iter().flatten().map(PathBuf::as_path);
    let file = |path| {
        let found = fs::metadata(path).ok()?;
        Some((FileId::from(&found), found.created().ok()))
    };
    paths.chain([Path::new(NAME_SERVERS)]).map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Jail;

    #[test]
    fn a_new_file_with_an_old_number_is_another_one() {
        let path = std::env::temp_dir().join(format!("runner-number-{}", std::process::id()));
        let made = || {
            fs::write(&path, "").unwrap();
            fs::metadata(&path).unwrap()
        };
        let confinement = Confinement::Jail(Jail {
            readable: vec![path.clone()],
            ..Jail::default()
        });
        let first = made();
        let before = files(&confinement);
        assert_eq!(before, files(&confinement));
        // Where the file system hands out a number again, and at a time that it can tell apart.
        for _ in 0..10_000 {
            fs::remove_file(&path).unwrap();
            let second = made();
            let is_same_number = FileId::from(&first) == FileId::from(&second);
            if is_same_number && first.created().ok() == second.created().ok() {
                continue;
            }
            assert_ne!(files(&confinement), before);
            if is_same_number {
                break;
            }
        }
        fs::remove_file(&path).unwrap();
    }
}
