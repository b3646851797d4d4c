//! What confines a run, said in words: the steps of [`child`](crate::child) that were taken (one
//! that fails ends the start, so a run that started has them), and what is still open.
#![forbid(unsafe_code)]

use crate::outcome::{Enforcement, Layer};
use crate::tree;

/// Whether confinement is complete on this platform.
const LINUX: bool = cfg!(target_os = "linux");

/// The layers of a run that has started. `directory_in_memory` is none for a run without a
/// directory of its own.
pub(crate) fn enforcement(directory_in_memory: Option<bool>) -> Enforcement {
    let mut layers = vec![
        held("session", "own session, no terminal"),
        held("descriptors", "standard input, output and error only"),
        held("limits", "open files, file size"),
        if LINUX {
            held("core", "no core file, no memory for core handlers")
        } else {
            held("core", "no core file")
        },
        either(
            LINUX,
            "capabilities",
            "none",
            "this platform has none to give up",
        ),
        either(
            LINUX,
            "no_new_privileges",
            "set-user-ID has no effect",
            "set-user-ID programs work",
        ),
        either(
            tree::finds_all(),
            "kill",
            "subreaper",
            "process group only: a daemon can outlive the run",
        ),
    ];
    layers.extend(directory_in_memory.map(|in_memory| {
        either(
            in_memory,
            "memory_directory",
            "the temporary directory is in memory",
            "the temporary directory is on a disk",
        )
    }));
    if rustix::process::geteuid().is_root() {
        layers.push(open("user", "the program runs as root"));
    }
    layers.extend([
        open("process_limit", "number of processes not limited"),
        open(
            "namespaces",
            "other processes of the user are visible and can be signalled",
        ),
        open("network", "network not confined"),
        open("files", "files of the user not confined"),
        open("system_calls", "system calls not filtered"),
        open(
            "environment",
            "environment readable for other processes of the same user",
        ),
    ]);
    Enforcement { layers }
}

fn either(enforced: bool, name: &str, how: &str, without: &str) -> Layer {
    if enforced {
        held(name, how)
    } else {
        open(name, without)
    }
}

fn held(name: &str, detail: &str) -> Layer {
    Layer {
        name: name.into(),
        enforced: true,
        detail: detail.into(),
    }
}

fn open(name: &str, detail: &str) -> Layer {
    Layer {
        name: name.into(),
        enforced: false,
        detail: detail.into(),
    }
}
