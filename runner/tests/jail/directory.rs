//! The fresh directory of a run, and what becomes of it.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use secretctl_runner::{Home, Outcome, WorkingDirectory};

use crate::support::{EXITED_0, Scratch, alive, eventually, marker, run, sh, tests};

tests![
    it_is_fresh_private_and_gone_afterwards,
    it_is_home_only_where_the_plan_says_so,
    nothing_in_it_survives_and_nothing_outside_is_touched,
    one_that_was_moved_away_is_reported,
    those_of_killed_runs_are_swept_and_living_ones_are_not,
];

fn it_is_fresh_private_and_gone_afterwards() {
    let run = run(sh(
        "echo $HOME; echo $TMPDIR; pwd; ls -A; stat -c %a .; echo data >file",
    ));
    let lines: Vec<&str> = run.text().lines().collect();
    assert_eq!(lines, [lines[0], lines[0], lines[0], "700"]);
    assert!(!Path::new(lines[0]).exists());
    assert_eq!(run.report.left_behind, None);
}

fn it_is_home_only_where_the_plan_says_so() {
    let mut unchanged = sh("echo ${HOME-none} ${TMPDIR-none}; pwd");
    unchanged.home = Home::Unchanged;
    unchanged.working_directory = WorkingDirectory::At("/usr".into());
    assert_eq!(run(unchanged).text(), "none none\n/usr\n");

    let mut elsewhere = sh("pwd; test -d $HOME && test $HOME = $TMPDIR && test $HOME != $(pwd)");
    elsewhere.working_directory = WorkingDirectory::At("/usr".into());
    let run = run(elsewhere);
    assert_eq!((run.outcome(), run.text()), (EXITED_0, "/usr\n"));
}

fn nothing_in_it_survives_and_nothing_outside_is_touched() {
    let outside = Scratch::new();
    fs::create_dir(outside.0.join("directory")).unwrap();
    outside.file("directory/kept", "kept", 0o600);
    let script = r#"
        echo $HOME
        mkdir -p a/b/c locked/inner empty
        ln -s OUTSIDE/directory link; ln -s OUTSIDE/directory a/b/link; ln -s / a/root
        echo data >a/b/c/file; echo data >locked/inner/file; mkfifo a/fifo
        chmod 000 locked/inner locked; chmod 500 a/b; chmod 000 .
    "#;
    let run = run(sh(&script.replace("OUTSIDE", outside.0.to_str().unwrap())));
    assert_eq!((run.outcome(), run.stderr.as_slice()), (EXITED_0, &b""[..]));
    assert!(!Path::new(run.text().trim_end()).exists());
    assert_eq!(run.report.left_behind, None);
    assert_eq!(
        fs::read_to_string(outside.0.join("directory/kept")).unwrap(),
        "kept"
    );
}

fn one_that_was_moved_away_is_reported() {
    let run = run(sh("echo $HOME; echo data >file; mv $HOME $HOME-moved"));
    let home = PathBuf::from(run.text().trim_end());
    assert_eq!(run.report.left_behind.as_deref(), Some(home.as_path()));
    // What it held is gone all the same; another run may have swept the rest by now.
    let moved = PathBuf::from(format!("{}-moved", home.display()));
    assert!(!moved.join("file").exists());
    let _ = fs::remove_dir(moved);
}

fn those_of_killed_runs_are_swept_and_living_ones_are_not() {
    let marker = marker();
    let killed = run(sh(&format!(
        "echo $HOME; echo data >file; mkdir sub; kill -9 $PPID; sleep {marker}"
    )));
    assert_eq!(killed.outcome(), Outcome::Lost);
    eventually("the program is dead", || alive(&marker) == 0);
    let left = PathBuf::from(killed.text().trim_end());

    let base = left.parent().unwrap();
    let living = base.join(format!("secretctl-run-test-{marker}"));
    let foreign = base.join(format!("other-{marker}"));
    fs::create_dir(&foreign).unwrap();
    let lock = make_locked(&living);

    assert_eq!(run(sh("exit 0")).outcome(), EXITED_0);
    assert!(!left.exists());
    assert!(living.exists() && foreign.exists());

    drop(lock);
    assert_eq!(run(sh("exit 0")).outcome(), EXITED_0);
    assert!(!living.exists() && foreign.exists());
    fs::remove_dir(foreign).unwrap();
}

/// As a run does it: as long as the directory is not locked, another test's run may sweep it.
fn make_locked(path: &Path) -> fs::File {
    loop {
        let _ = fs::create_dir(path);
        let Ok(lock) = fs::File::open(path) else {
            continue;
        };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() && path.exists() {
            return lock;
        }
    }
}
