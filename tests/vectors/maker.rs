//! Makes the vectors: a whole vault with a past, and for each defect the files that differ from it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::defects::{self, Change, Defect};
use super::support::{PASSWORD, Sandbox};
use super::{ANCHOR, FILES, GONE, WHOLE, dir, write};

/// The vault when it had another password and another key.
pub(crate) const FORMER: &str = "former";
/// The vault some records ago.
pub(crate) const BEFORE: &str = "before";
/// The vault if it had been used otherwise since then.
pub(crate) const OTHER: &str = "other";
/// The least that a password may cost: whoever reads the vectors does so often.
const KDF: &str = "19MiB,2,1";

/// Writes all of them anew, into empty directories.
pub(crate) fn make() {
    let sandbox = Sandbox::empty();
    make_past(&sandbox);
    let whole = files_of(&sandbox, &sandbox.vault());
    for defect in defects::all() {
        let changed = changed(&sandbox, &whole, &defect);
        let target = empty(&defect.name);
        for (name, (old, new)) in FILES.iter().zip(whole.iter().zip(&changed)) {
            match new {
                Some(bytes) if Some(bytes) != old.as_ref() => write(&target.join(name), bytes),
                Some(_) => {}
                None => write(&target.join(format!("{name}{GONE}")), b""),
            }
        }
    }
    let target = empty(WHOLE);
    for (name, bytes) in FILES.iter().zip(&whole) {
        write(&target.join(name), bytes.as_ref().expect("it is whole"));
    }
}

fn empty(vector: &str) -> PathBuf {
    let target = dir().join(vector);
    if target.exists() {
        fs::remove_dir_all(&target).expect("an old vector");
    }
    fs::create_dir_all(&target).expect("a directory");
    target
}

/// A dozen records, three secrets, one change of the password and one pruning.
fn make_past(sandbox: &Sandbox) {
    let run = |args: &[&str], stdin: &str| {
        let command = sandbox.secretctl(args).stdin(stdin);
        command
            .env("SECRETCTL_NEW_PASSWORD", PASSWORD)
            .answer()
            .succeeded();
    };
    let former = |args: &[&str], stdin: &str| {
        let command = sandbox.secretctl(args).stdin(stdin);
        let command = command.env("SECRETCTL_PASSWORD", "the password before this one");
        command
            .env("SECRETCTL_NEW_PASSWORD", PASSWORD)
            .answer()
            .succeeded();
    };
    let init = sandbox.secretctl(["init", "--kdf", KDF]);
    init.env("SECRETCTL_PASSWORD", "the password before this one")
        .answer()
        .succeeded();
    former(&["set", "DB/USER"], "vector");
    former(&["set", "DB/PASSWORD"], "of the vectors");
    former(&["set", "API_KEY"], "first value");
    keep(sandbox, FORMER);
    former(&["password", "change", "--kdf", KDF, "--rotate-key"], "");
    run(&["audit", "prune", "--older-than", "0s", "--force"], "");
    run(&["get", "DB/USER"], "");
    run(&["set", "API_KEY"], super::EARLIER);
    keep(sandbox, BEFORE);
    let (vault, anchors) = (sandbox.vault(), sandbox.anchors());
    let kept = anchors.with_extension("kept");
    copy(&anchors, &kept);
    for _ in 0..6 {
        run(&["list"], "");
    }
    keep(sandbox, OTHER);
    fs::remove_dir_all(&vault).expect("removed");
    fs::remove_dir_all(&anchors).expect("removed");
    copy(&sandbox.home().join(BEFORE), &vault);
    copy(&kept, &anchors);
    run(&["list"], "");
    run(&["get", "DB/PASSWORD"], "");
    run(&["run", "-k", "API_KEY", "--", "true"], "");
    run(&["set", "API_KEY"], super::VALUE);
}

/// The last process that closes a database has emptied its journal, so the three files are all there is.
fn keep(sandbox: &Sandbox, state: &str) {
    copy(&sandbox.vault(), &sandbox.home().join(state));
}

fn copy(from: &Path, to: &Path) {
    DirBuilder::new().mode(0o700).create(to).expect("made");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

type Contents = [Option<Vec<u8>>; FILES.len()];

fn files_of(sandbox: &Sandbox, vault: &Path) -> Contents {
    FILES.map(|name| {
        let path = match name {
            ANCHOR => super::anchor(&sandbox.anchors(), vault),
            name => vault.join(name),
        };
        Some(fs::read(path).expect("a file of the vault"))
    })
}

fn changed(sandbox: &Sandbox, whole: &Contents, defect: &Defect) -> Contents {
    let mut files = whole.clone();
    let place = |file: &str| FILES.iter().position(|name| *name == file).expect("a file");
    match &defect.change {
        Change::Sql(statements) => {
            let path = sandbox.home().join("changed.db");
            write(&path, files[0].as_deref().expect("the database"));
            execute(sandbox, &path, statements)
                .unwrap_or_else(|error| panic!("{}: {error}", defect.name));
            files[0] = Some(fs::read(path).expect("the database"));
        }
        Change::Bytes(file, change) => change(files[place(file)].as_mut().expect("a file")),
        Change::Gone(file) => files[place(file)] = None,
        Change::State(state) => {
            let anchor = files[place(ANCHOR)].take();
            files = files_of(sandbox, &sandbox.home().join(state));
            files[place(ANCHOR)] = anchor;
        }
    }
    assert!(files != *whole, "{} changes nothing", defect.name);
    files
}

fn execute(sandbox: &Sandbox, path: &Path, statements: &str) -> rusqlite::Result<()> {
    let database = Connection::open(path)?;
    for state in [BEFORE, FORMER] {
        let earlier = sandbox.home().join(state).join("vault.db");
        database.execute(
            &format!("ATTACH ?1 AS {state}"),
            [earlier.to_string_lossy()],
        )?;
    }
    database.execute_batch(statements)?;
    database.execute_batch("PRAGMA main.wal_checkpoint(TRUNCATE)")?;
    database.close().map_err(|(_, error)| error)
}
