//! Cases 25 to 34: what a run finds of the file system, and what it leaves there.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use secretctl_runner::{
    Cancel, Confinement, Home, Jail, Network, Outcome, Stdin, WorkingDirectory,
};

use crate::scenario::{bases, directory_with};
use crate::support::{EXITED_0, Scratch, marker, plan, run_on, runner, sh};
use crate::table::{Row, answer, attack, cases, jail, jailed, jailed_sh, myself, outside};

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
    (
        29,
        "secrets written to files, hidden by modes, held open",
        [],
        nothing_written_is_left
    ),
    (
        30,
        "traps for whoever removes the directory",
        [],
        the_removal_follows_no_link
    ),
    (
        31,
        "device nodes and set-user-ID files",
        ["no_new_privileges", "namespaces", "files"],
        no_file_gives_privileges
    ),
    (
        32,
        "programs without a file, and fresh ones",
        ["no_new_privileges", "system_calls", "namespaces"],
        no_way_of_execution_leaves_the_jail
    ),
    (
        33,
        "filling the disk",
        ["limits"],
        a_file_has_a_largest_size
    ),
    (
        34,
        "mounts, namespaces, other roots, and every other forbidden call",
        ["system_calls"],
        forbidden_calls_are_denied
    ),
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
        row.attempt(
            &["stat", &path],
            &jail(Network::None),
            &[("files", "ENOENT")],
            "ok",
        );
        if file != ".ssh" {
            let answers = [("files", "ENOENT"), ("landlock", "EACCES")];
            row.attempt(&["read", &path], &jail(Network::None), &answers, "ok");
        }
    }
    // The run's own home is another one, and empty.
    assert_eq!(jailed_sh("echo $HOME; ls -A $HOME").text(), "/tmp\n");
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
            assert!(answer == "ENOENT" || answer == "EROFS", "{path}: {answer}");
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
        "set -e; echo data >file; mkdir d; ln file d/hard; ln -s d soft; mkfifo fifo; echo through >fifo & cat fifo; mv file d/moved; chmod 700 d/moved; stat -c '%a %h' soft/moved; rm -r d; ls",
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

fn nothing_written_is_left(row: &mut Row) {
    let marker = marker();
    let name = format!("secret-{marker}");
    let script = "
        echo secret >@; mkdir closed readonly; echo secret >closed/@; echo secret >readonly/@
        chmod 000 closed; chmod 500 readonly
        exec 5>held-@; (setsid sh -c 'while :; do echo secret >&5; sleep 0.1; done' &)
        echo secret >/dev/shm/@-2; echo secret >/var/tmp/@-3
        echo ready; sleep 1000
    ";
    let mut plan = sh(&script.replace('@', &name));
    plan.confinement = Confinement::Jail(jail(Network::None));
    let cancel = Cancel::new();
    let mut place = None;
    let run = run_on(&runner(), plan, Stdin::Null, &cancel, |_, _| {
        place = directory_with(&name);
        cancel.cancel();
    });
    let run = run.unwrap();
    assert_eq!((run.outcome(), run.text()), (Outcome::Cancelled, "ready\n"));
    assert_eq!(run.report.left_behind, None);
    let place = place.unwrap();
    assert!(!place.exists());
    for base in bases() {
        let left = fs::read_dir(base).into_iter().flatten().flatten();
        let left: Vec<_> = left
            .filter(|entry| entry.file_name().to_string_lossy().contains(&marker))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
    row.note("nothing is left");
}

fn the_removal_follows_no_link(row: &mut Row) {
    let outside = Scratch::new();
    fs::create_dir(outside.0.join("kept")).unwrap();
    outside.file("kept/file", "kept", 0o600);
    let jail = Jail {
        writable: vec![outside.0.clone()],
        ..jail(Network::None)
    };
    let mark = format!("mark-{}", marker());
    let script = "
        echo >MARK
        ln -s OUTSIDE/kept link; ln -s / root; mkdir -p a/b; ln -s OUTSIDE a/b/link; ln -s ../../.. a/b/up
        ln -s /proc/self/cwd loop; mkfifo fifo; mkdir strange; : >'strange/
new line'; : >strange/\"$(printf '\\377')\"
        i=0; while [ $i -lt 5000 ]; do mkdir d; cd -P d || exit 1; i=$((i+1)); done
        cd /tmp; chmod 000 a/b a; chmod 000 .
        echo ready
    ";
    let script = script
        .replace("OUTSIDE", outside.0.to_str().unwrap())
        .replace("MARK", &mark);
    let run = jailed(sh(&script), &jail);
    assert_eq!(
        (run.outcome(), run.text()),
        (EXITED_0, "ready\n"),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    assert_eq!(run.report.left_behind, None);
    assert_eq!(directory_with(&mark), None);
    assert_eq!(
        fs::read_to_string(outside.0.join("kept/file")).unwrap(),
        "kept"
    );
    row.note("only the directory is removed");
}

fn no_file_gives_privileges(row: &mut Row) {
    let device = jailed(attack(&["device", "/tmp/null"]), &jail(Network::None));
    assert_eq!(answer(&device), "EPERM");
    assert!(row.is_stopped(&["no_new_privileges"], &device.report.enforcement));
    let own = myself().display().to_string();
    let script = format!(
        "{own} attempt effective-user; cp {own} copy; chmod 6755 copy; ./copy attempt effective-user"
    );
    let run = jailed_sh(&script);
    let lines: Vec<_> = run.text().lines().collect();
    assert_eq!(
        lines,
        [lines[0], "ok", lines[0], "ok"],
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );

    // A file of root's, which outside would make anybody root.
    if rustix::process::geteuid().is_root() {
        let scratch = Scratch::new();
        let program = scratch.0.join("program");
        fs::copy(myself(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).unwrap();
        let mut jail = jail(Network::None);
        jail.readable.push(program.clone());
        let run = jailed(
            plan(program.to_str().unwrap(), &["attempt", "effective-user"]),
            &jail,
        );
        assert_eq!(run.text().lines().next(), Some(lines[0]));
    } else {
        row.note("a set-user-ID file of root's can only be made as root");
    }
}

fn no_way_of_execution_leaves_the_jail(row: &mut Row) {
    let own = myself().display().to_string();
    let jail = jail(Network::None);
    let words = ["from-memory", &own, "attempt", "socket", "2", "1", "0"];
    let run = jailed(attack(&words), &jail);
    let enforcement = &run.report.enforcement;
    if row.is_stopped(&["system_calls", "namespaces"], enforcement)
        && enforcement.has("system_calls")
    {
        assert_eq!(run.text(), "EPERM\nok\n");
    }
    let run = jailed_sh(&format!(
        "cp {own} copy; ./copy attempt socket 2 1 0; ./copy attempt read /etc/shadow; ./copy attempt call unshare"
    ));
    if run.report.enforcement.has("system_calls") {
        assert_eq!(run.text(), "EPERM\nEACCES\nEPERM\n");
    }
    let fields = "grep -E '^(NoNewPrivs|Seccomp|Cap...):' /proc/self/status";
    let run = jailed_sh(&format!(
        "{fields} >one; cp /bin/grep g; ./g -E '^(NoNewPrivs|Seccomp|Cap...):' /proc/self/status >two; cmp one two && echo same"
    ));
    assert_eq!(run.text(), "same\n");
    row.note("written and unwritten programs run, in the same jail");
}

fn a_file_has_a_largest_size(row: &mut Row) {
    let mut plan = sh("head -c 10G /dev/zero >file");
    plan.limits.file_size_bytes = Some(1_000_000);
    let run = jailed(plan, &jail(Network::None));
    assert!(row.is_stopped(&["limits"], &run.report.enforcement));
    // The shell says how its last program ended: 128 and SIGXFSZ.
    assert_eq!(run.outcome(), Outcome::Exited { code: 153 });
    for (bytes, expected) in [("900000", "ok"), ("1100000", "")] {
        let mut plan = attack(&["unnamed", "/tmp", bytes]);
        plan.limits.file_size_bytes = Some(1_000_000);
        let run = jailed(plan, &jail(Network::None));
        if expected.is_empty() {
            assert_eq!(
                run.outcome(),
                Outcome::Signaled {
                    signal: libc::SIGXFSZ
                }
            );
        } else {
            assert_eq!(answer(&run), expected);
        }
    }
    row.note("the number of files is bounded only by their file system");
}

fn forbidden_calls_are_denied(row: &mut Row) {
    let mut indistinct = Vec::new();
    for (name, ..) in crate::raw::FORBIDDEN {
        let run = jailed(attack(&["call", name]), &jail(Network::Allow));
        if row.is_stopped(&["system_calls"], &run.report.enforcement) {
            let expected = if *name == "clone3" { "ENOSYS" } else { "EPERM" };
            assert_eq!(answer(&run), expected, "{name}");
        }
        let free = outside(&["call", name]);
        if free == "EPERM" || free == "ENOSYS" {
            indistinct.push(*name);
        }
    }
    if !indistinct.is_empty() {
        row.note(format!(
            "denied to this user anyway: {}",
            indistinct.join(" ")
        ));
    }
}
