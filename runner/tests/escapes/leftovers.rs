//! Cases 29 to 34: what a run leaves behind, and what files and calls cannot do for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use secretctl_runner::{Cancel, Confinement, Network, Outcome, Plan, Runner, Stdin};

use crate::scenario::{bases, directory_with};
use crate::support::{EXITED_0, Scratch, marker, plan, run_on, sh};
use crate::table::{
    Row, answer, attack, cases, is_root, jail, jailed, jailed_on, jailed_sh, myself, outside,
    runner_without,
};

cases![
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
        [
            "landlock",
            "capabilities",
            "system_calls",
            "no_new_privileges"
        ],
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
        ["limits", "namespaces"],
        a_file_has_a_largest_size
    ),
    (
        34,
        "mounts, namespaces, other roots, and every other forbidden call",
        ["system_calls"],
        forbidden_calls_are_denied
    ),
];

/// In a directory that nobody else sees, and where the machine has no namespaces and others do.
fn in_both_places(check: impl Fn(&Runner, bool)) {
    for without in [&[][..], &["namespaces"]] {
        if let Some(runner) = runner_without(without) {
            let probe = jailed_on(&runner, sh("exit 0"), &jail(Network::None));
            check(&runner, !probe.report.enforcement.has("namespaces"));
        }
    }
}

fn nothing_written_is_left(row: &mut Row) {
    in_both_places(|runner, visible| {
        let marker = marker();
        let name = format!("secret-{marker}");
        let script = "
            echo secret >@; mkdir closed readonly; echo secret >closed/@; echo secret >readonly/@
            chmod 000 closed; chmod 500 readonly
            exec 5>held-@; (setsid sh -c 'while :; do echo secret >&5; sleep 0.1; done' &)
            (echo secret >/dev/shm/@-2; echo secret >/var/tmp/@-3) 2>/dev/null
            echo ready; sleep 1000
        ";
        let mut plan = sh(&script.replace('@', &name));
        plan.confinement = Confinement::Jail(jail(Network::None));
        let cancel = Cancel::new();
        let mut place = None;
        let run = run_on(runner, plan, Stdin::Null, &cancel, |_, _| {
            place = directory_with(&name);
            cancel.cancel();
        });
        let run = run.unwrap();
        assert_eq!((run.outcome(), run.text()), (Outcome::Cancelled, "ready\n"));
        assert_eq!(run.report.left_behind, None);
        assert_eq!(place.is_some(), visible);
        assert!(place.is_none_or(|place| !place.exists()));
        for base in bases() {
            let left = fs::read_dir(base).into_iter().flatten().flatten();
            let left: Vec<_> = left
                .filter(|entry| entry.file_name().to_string_lossy().contains(&marker))
                .collect();
            assert!(left.is_empty(), "{left:?}");
        }
    });
    row.note("nothing is left, and in namespaces nobody else sees it");
}

fn the_removal_follows_no_link(row: &mut Row) {
    in_both_places(|runner, visible| {
        let outside = Scratch::new();
        fs::create_dir(outside.0.join("kept")).unwrap();
        outside.file("kept/file", "kept", 0o600);
        let mut jail = jail(Network::None);
        // Where root keeps its user for a project, the directory is root's, too.
        if !(visible && is_root()) {
            jail.writable.push(outside.0.clone());
        }
        let mark = format!("mark-{}", marker());
        let script = "
            echo >MARK
            ln -s OUTSIDE/kept link; ln -s / root; mkdir -p a/b; ln -s OUTSIDE a/b/link; ln -s ../../.. a/b/up
            ln -s /proc/self/cwd loop; mkfifo fifo; mkdir strange; : >'strange/
new line'; : >strange/\"$(printf '\\377')\"
            OWN attempt deep-tree . 5000
            chmod 000 a/b a; chmod 000 .
        ";
        let script = script
            .replace("OUTSIDE", outside.0.to_str().unwrap())
            .replace("OWN", myself().to_str().unwrap())
            .replace("MARK", &mark);
        let run = jailed_on(runner, sh(&script), &jail);
        let errors = String::from_utf8_lossy(&run.stderr);
        assert_eq!((run.outcome(), run.text()), (EXITED_0, "ok\n"), "{errors}");
        assert_eq!(run.report.left_behind, None);
        assert_eq!(directory_with(&mark), None);
        let kept = fs::read_to_string(outside.0.join("kept/file"));
        assert_eq!(kept.unwrap(), "kept");
    });
    row.note("only the directory is removed");
}

fn no_file_gives_privileges(row: &mut Row) {
    let device = ["device", "null"];
    let answers = [("landlock", "EACCES"), ("capabilities", "EPERM")];
    row.attempt(&device, &jail(Network::None), &answers, "ok");
    let set_id = ["set-id", "program"];
    let answers = [("system_calls", "EPERM")];
    row.attempt(&set_id, &jail(Network::None), &answers, "ok");
    // Where it can be set, it has no effect.
    if let Some(runner) = runner_without(&["system_calls"]) {
        let own = myself().display().to_string();
        let script = "OWN attempt effective-user; cp OWN copy; chmod 6755 copy; ./copy attempt effective-user";
        let script = script.replace("OWN", &own);
        let run = jailed_on(&runner, sh(&script), &jail(Network::None));
        assert!(row.is_stopped(&["no_new_privileges"], &run.report.enforcement));
        let errors = String::from_utf8_lossy(&run.stderr);
        let lines: Vec<_> = run.text().lines().collect();
        assert_eq!(lines, [lines[0], "ok", lines[0], "ok"], "{errors}");
    }

    // A file of root's, which outside would make anybody root.
    if is_root() {
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
        let ordinary = jailed(attack(&["effective-user"]), &jail);
        assert_eq!(run.text(), ordinary.text());
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
    let limited = |mut plan: Plan, bytes| {
        plan.limits.file_size_bytes = bytes;
        jailed(plan, &jail(Network::None))
    };
    let megabyte = Some(1_000_000);
    let run = limited(sh("head -c 10G /dev/zero >file"), megabyte);
    assert!(row.is_stopped(&["limits"], &run.report.enforcement));
    // The shell says how its last program ended: 128 and SIGXFSZ.
    assert_eq!(run.outcome(), Outcome::Exited { code: 153 });
    let within = limited(attack(&["unnamed", ".", "900000"]), megabyte);
    assert_eq!(answer(&within), "ok");
    let signal = libc::SIGXFSZ;
    let beyond = limited(attack(&["unnamed", ".", "1100000"]), megabyte);
    assert_eq!(beyond.outcome(), Outcome::Signaled { signal });
    // Many files are bounded by the size of the run's own file system.
    let whole = limited(attack(&["reserve", "large", "100000000000"]), None);
    if row.is_stopped(&["namespaces"], &whole.report.enforcement) {
        assert_eq!(answer(&whole), "ENOSPC");
    }
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
