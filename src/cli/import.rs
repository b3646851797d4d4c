//! `secretctl import`

use super::args::{Conflict, ImportArgs, Program};
use super::failure::{Failure, codes};
use super::output;
use super::password_source::read_file;
use super::unlock::{Access, prompt};
use crate::broker::{Imported, OnConflict, RunError};
use crate::secret::SecretBytes;
use crate::vault::ImportError;

/// `given` is the other vault's password, if the environment had it.
pub(super) fn run(
    access: &Access,
    args: &ImportArgs,
    given: Option<SecretBytes>,
) -> Result<u8, Failure> {
    let Program::SecretctlGo = args.from;
    let door = access.door()?;
    let password = match (&args.import_password_file, given) {
        (Some(path), _) => read_file(path)?,
        (None, Some(password)) => password,
        (None, None) => {
            prompt(&format!("Password of {}: ", args.dir.display())).map_err(|failure| {
                failure.next("set SECRETCTL_IMPORT_PASSWORD or --import-password-file")
            })?
        }
    };
    let on_conflict = match args.on_conflict {
        Conflict::Error => OnConflict::Refuse,
        Conflict::Skip => OnConflict::Skip,
        Conflict::Overwrite => OnConflict::Overwrite,
    };
    let imported = door
        .import_go_vault(&args.dir, &password, on_conflict, args.dry_run)
        .map_err(|error| failure(error, args))?;
    report(&imported, args.dry_run)
}

fn failure(error: RunError, args: &ImportArgs) -> Failure {
    let next = match &error {
        RunError::Conflicts(_) => {
            "--on-conflict skip keeps these, --on-conflict overwrite replaces them"
        }
        RunError::Import(ImportError::Secrets { .. }) => {
            "nothing was imported; change or delete them with the program that keeps them"
        }
        _ => "",
    };
    let is_locked = matches!(&error, RunError::Import(ImportError::WrongPassword));
    let failure = match next {
        "" => Failure::from(error),
        next => Failure::from(error).next(next),
    };
    if is_locked {
        let next = format!(
            "the password of {} is meant, not that of your own vault",
            args.dir.display()
        );
        return failure.next(next).with_code(codes::LOCKED);
    }
    failure
}

fn report(imported: &Imported, is_dry: bool) -> Result<u8, Failure> {
    let done = [
        ("imported", &imported.created),
        ("overwritten", &imported.overwritten),
        ("skipped", &imported.skipped),
    ];
    let lines = done.iter().flat_map(|(verb, names)| {
        let line = move |name| format!("{verb} {name}\n");
        names.iter().map(line)
    });
    output::result(lines.collect::<String>().as_bytes())?;
    for (said, name) in &imported.renamed {
        output::warn(&format!("{} becomes {name}", said.escape_debug()));
    }
    for (what, count) in &imported.lost {
        output::warn(&format!("left out: {what} ({count})"));
    }
    let [created, overwritten, skipped] = done.map(|(_, names)| names.len());
    let counts = format!("{created} imported, {overwritten} overwritten, {skipped} skipped");
    output::done(&if is_dry {
        format!("Nothing was changed; it would be {counts}.")
    } else {
        format!("{counts}.")
    });
    Ok(codes::DONE)
}
