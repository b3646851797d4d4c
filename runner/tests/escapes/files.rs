//! Cases 25 to 28: what a run finds of the file system, and what it can change there.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use secretctl_runner::{Home, Jail, Network, WorkingDirectory};

use crate::support::{EXITED_0, Scratch, marker, sh};
use crate::table::{Row, answer, attack, cases, jail, jailed, jailed_sh, outside};

cases![
    (
        25,
        "the vault: read, look at, change, watch, rename, link",
        ["namespaces", "files", "landlock"],
        the_vault_is_not_there
    ),
    (
        25,
        "the same by links, `..` and names in /proc",
        ["namespaces", "files", "landlock"],
        no_other_name_leads_to_the_vault
    ),
    (
        25,
        "the vault within the project",
        ["namespaces", "files", "landlock"],
        a_hidden_directory_is_empty_and_stays_so
    ),
    (
        26,
        "keys, credentials and histories in the home directory",
        ["namespaces", "files", "landlock"],
        the_home_directory_is_not_there
    ),
    (
        27,
        "writing outside: system, home, the caller's directory, /proc, /sys",
        ["namespaces", "files", "landlock"],
        nothing_outside_can_be_written
    ),
    (
        27,
        "writing to /dev/shm and /var/tmp",
        ["namespaces", "files"],
        shared_directories_are_the_runs_own
    ),
    (
        28,
        "writing, fifos and sockets in the own directory",
        [],
        the_own_directory_works
    ),
    (28, "writing in the project", [], a_writable_directory_works),
];

/// A home directory with a vault and other things that are nobody's business.
struct House(Scratch);

impl House {
    fn new() -> Self {
        let scratch = Scratch::new();
        for directory in [".secretctl", ".ssh", ".aws"] {
            fs::create_dir(scratch.0.join(directory)).unwrap();
        }
        for file in [
            ".secretctl/vault.db",
            ".secretctl/vault.db-wal",
            ".ssh/id_ed25519",
            ".aws/credentials",
            ".bash_history",
        ] {
            // Readable for everybody, so that only the jail can be what stops it.
            scratch.file(file, "secret", 0o666);
        }
        House(scratch)
    }

    fn path(&self, file: &str) -> String {
        self.0.0.join(file).to_str().unwrap().to_owned()
    }
}

/// All that a change of a file would show in.
fn state(path: &str) -> (u32, i64, i64, u64, Vec<u8>) {
    let metadata = fs::metadata(path).unwrap();
    (
        metadata.mode(),
        metadata.mtime(),
        metadata.ctime(),
        metadata.nlink(),
        fs::read(path).unwrap(),
    )
}

fn the_vault_is_not_there(row: &mut Row) {
    let house = House::new();
    for file in [".secretctl/vault.db", ".secretctl/vault.db-wal"] {
        let file = house.path(file);
        let before = state(&file);
        let near = format!("{file}.near");
        for words in [
            &["read", &file][..],
            &["write", &file],
            &["stat", &file],
            &["look-at", &file],
            &["chmod", &file],
            &["times", &file],
            &["attribute", &file],
            &["watch", &file],
            &["truncate", &file],
            &["rename", &file, "/tmp/stolen"],
            &["link", &file, "/tmp/stolen"],
            &["remove", &file],
            &["list", &house.path(".secretctl")],
            &["create", &near],
        ] {
            let run = jailed(attack(words), &jail(Network::None));
            let enforcement = &run.report.enforcement;
            if row.is_stopped(&["files", "namespaces", "landlock"], enforcement)
                && enforcement.has("files")
            {
                assert_eq!(answer(&run), "ENOENT", "{words:?}");
            }
        }
        assert!(state(&file) == before && !Path::new(&near).exists());
    }
    // The same words do something where nothing stops them.
    let file = house.path(".secretctl/vault.db");
    for attempt in [
        "read",
        "write",
        "stat",
        "look-at",
        "chmod",
        "times",
        "attribute",
        "watch",
    ] {
        assert_eq!(outside(&[attempt, &file]), "ok", "{attempt}");
    }
    assert_eq!(outside(&["rename", &file, &format!("{file}.moved")]), "ok");
}

fn no_other_name_leads_to_the_vault(row: &mut Row) {
    let house = House::new();
    let project = Scratch::new();
    let vault = house.path(".secretctl/vault.db");
    let link = project.0.join("link");
    symlink(&vault, &link).unwrap();
    let mut jail = jail(Network::None);
    jail.writable.push(project.0.clone());
    let up = format!(
        "{}/../{}/.secretctl/vault.db",
        project.0.display(),
        house.0.0.file_name().unwrap().to_str().unwrap()
    );
    for path in [
        link.display().to_string(),
        up.clone(),
        format!("/proc/self/root{vault}"),
        format!("/proc/self/cwd/..{vault}"),
        format!("/proc/1/root{vault}"),
        format!("/proc/thread-self/root/..{vault}"),
        format!("/tmp/../..{vault}"),
    ] {
        let run = jailed(attack(&["read", &path]), &jail);
        if row.is_stopped(
            &["files", "namespaces", "landlock"],
            &run.report.enforcement,
        ) {
            let expected = if path.starts_with("/proc/1/") {
                "EACCES"
            } else {
                "ENOENT"
            };
            assert_eq!(answer(&run), expected, "{path}");
        }
    }
    for path in [
        link.to_str().unwrap(),
        &up,
        &format!("/proc/self/root{vault}"),
    ] {
        assert_eq!(outside(&["read", path]), "ok", "{path}");
    }
    row.note("a hard link that somebody else made in the project is a file of the project");
}

fn a_hidden_directory_is_empty_and_stays_so(row: &mut Row) {
    let project = House::new();
    let vault = PathBuf::from(project.path(".secretctl"));
    let file = project.path(".secretctl/vault.db");
    let before = state(&file);
    let jail = Jail {
        writable: vec![project.0.0.clone()],
        hidden: vec![vault.clone()],
        ..jail(Network::None)
    };
    let vault = vault.to_str().unwrap();
    let inside = |words: &[&str]| jailed(attack(words), &jail);
    let run = inside(&["list", vault]);
    if row.is_stopped(&["files"], &run.report.enforcement) {
        assert_eq!(answer(&run), "ok");
        assert_eq!(answer(&inside(&["read", &file])), "ENOENT");
        for words in [
            &["create", &file][..],
            &["make-directory", &file],
            &["chmod", vault],
            &["attribute", vault],
        ] {
            assert_eq!(answer(&inside(words)), "EROFS", "{words:?}");
        }
        let away = project.path("away");
        assert_eq!(answer(&inside(&["rename", vault, &away])), "EBUSY");
    }
    assert!(state(&file) == before);
    // What is beside it can be changed.
    assert_eq!(
        answer(&inside(&["write", &project.path(".bash_history")])),
        "ok"
    );
}

fn the_home_directory_is_not_there(row: &mut Row) {
    let house = House::new();
    for file in [
        ".ssh/id_ed25519",
        ".aws/credentials",
        ".bash_history",
        ".ssh",
    ] {
        let path = house.path(file);
        assert_eq!(outside(&["stat", &path]), "ok");
        let jail = jail(Network::None);
        row.attempt(&["stat", &path], &jail, &[("namespaces", "ENOENT")], "ok");
        if file != ".ssh" {
            let answers = [("namespaces", "ENOENT"), ("landlock", "EACCES")];
            row.attempt(&["read", &path], &jail, &answers, "ok");
        }
    }
    // The run's own home is another one.
    assert_eq!(jailed_sh("echo $HOME").text(), "/tmp\n");
}

fn nothing_outside_can_be_written(row: &mut Row) {
    let house = House::new();
    let here = std::env::current_dir().unwrap().join("written-by-a-case");
    let mark = format!("written-{}", marker());
    let system = ["/etc", "/usr", "/usr/bin", "/lib", "/opt", "/"]
        .map(|directory| format!("{directory}/{mark}"));
    for path in &system {
        let run = jailed(attack(&["create", path]), &jail(Network::None));
        if row.is_stopped(&["files", "landlock"], &run.report.enforcement)
            && run.report.enforcement.has("files")
        {
            let answer = answer(&run);
            assert!(answer == "EROFS" || answer == "ENOENT", "{path}: {answer}");
        }
        assert!(!Path::new(path).exists());
    }
    for path in [
        house.path("new"),
        here.display().to_string(),
        format!("/root/{mark}"),
        format!("/run/{mark}"),
        format!("/var/{mark}"),
    ] {
        let run = jailed(attack(&["create", &path]), &jail(Network::None));
        if row.is_stopped(&["files", "landlock"], &run.report.enforcement)
            && run.report.enforcement.has("files")
        {
            let answer = answer(&run);
            // Where this program lies in /tmp, the directory around it is the run's own there.
            let own = Path::new(&path).parent() == std::env::current_exe().unwrap().parent();
            let expected = ["ENOENT", "EROFS"].contains(&answer.as_str());
            assert!(expected || own && answer == "ok", "{path}: {answer}");
        }
        assert!(!Path::new(&path).exists());
    }
    assert_eq!(outside(&["create", &house.path("new")]), "ok");
    for path in [
        "/etc/passwd",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/vm/drop_caches",
        "/proc/sysrq-trigger",
        "/sys/power/state",
        "/sys/fs/cgroup/pids/cgroup.procs",
        "/sys/fs/cgroup/unified/cgroup.procs",
        "/sys/fs/cgroup/cgroup.procs",
        "/bin/sh",
    ] {
        let run = jailed(attack(&["write", path]), &jail(Network::None));
        let answer = answer(&run);
        assert!(
            ["EROFS", "EACCES", "ENOENT"].contains(&answer.as_str()),
            "{path}: {answer}"
        );
    }
}

fn shared_directories_are_the_runs_own(row: &mut Row) {
    for directory in ["/dev/shm", "/var/tmp", "/tmp"] {
        let path = format!("{directory}/written-{}", marker());
        let run = jailed(attack(&["create", &path]), &jail(Network::None));
        if row.is_stopped(&["files"], &run.report.enforcement) {
            assert_eq!(answer(&run), "ok", "{path}");
        }
        assert!(!Path::new(&path).exists());
        // What others have there is not seen.
        let others = format!("{directory}/of-others-{}", marker());
        fs::write(&others, "").unwrap();
        let run = jailed(attack(&["stat", &others]), &jail(Network::None));
        fs::remove_file(&others).unwrap();
        if run.report.enforcement.has("files") {
            assert_eq!(answer(&run), "ENOENT", "{others}");
        }
    }
}

fn the_own_directory_works(row: &mut Row) {
    let run = jailed_sh(
        "set -e; mkdir work; cd work; echo data >file; mkdir d; ln file d/hard; ln -s d soft; mkfifo fifo; echo through >fifo & cat fifo; mv file d/moved; chmod 700 d/moved; stat -c '%a %h' soft/moved; rm -r d; ls",
    );
    assert_eq!(
        (run.outcome(), run.text()),
        (EXITED_0, "through\n700 2\nfifo\nsoft\n")
    );
    // A Unix socket among processes of the run needs a network that is not switched off.
    assert_eq!(
        answer(&jailed(
            attack(&["unix-own", "/tmp/socket"]),
            &jail(Network::Allow)
        )),
        "ok"
    );
    assert_eq!(
        answer(&jailed(attack(&["pair"]), &jail(Network::None))),
        "ok"
    );
    let mut elsewhere = sh("pwd; ls -A; echo $TMPDIR");
    elsewhere.working_directory = WorkingDirectory::At("/usr".into());
    assert_eq!(elsewhere.home, Home::Temporary);
    let run = jailed(elsewhere, &jail(Network::None));
    assert!(run.text().starts_with("/usr\nbin\n") && run.text().ends_with("\n/tmp\n"));
    row.note("nothing is blocked too much");
}

fn a_writable_directory_works(row: &mut Row) {
    let project = Scratch::new();
    project.file("old", "old", 0o644);
    let jail = Jail {
        writable: vec![project.0.clone()],
        ..jail(Network::None)
    };
    let mut plan = sh(
        "set -e; cat old; echo new >>old; echo new >new; mkdir -p a/b; mv new a/b; rm -r a; : >kept; stat -c %U:%a kept; mkfifo f; ln old hard",
    );
    plan.working_directory = WorkingDirectory::At(project.0.clone());
    let run = jailed(plan, &jail);
    assert_eq!(
        run.outcome(),
        EXITED_0,
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    assert!(run.text().starts_with("old"));
    // On the outside it belongs to the one whose project it is.
    let owner = fs::metadata(&project.0).unwrap().uid();
    for file in ["old", "kept", "f", "hard"] {
        assert_eq!(
            fs::symlink_metadata(project.0.join(file)).unwrap().uid(),
            owner,
            "{file}"
        );
    }
    assert_eq!(
        fs::read_to_string(project.0.join("old")).unwrap(),
        "oldnew\n"
    );
    row.note("what is made there belongs to its owner");
}
