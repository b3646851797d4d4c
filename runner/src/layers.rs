//! What confines a run, said in words: the [`steps`](crate::steps) that were taken (one that fails
//! ends the start, so a run that started has them), and what is still open.
#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
use crate::outcome::StartError;
use crate::outcome::{Enforcement, Layer};
#[cfg(target_os = "linux")]
use crate::plan::Jail;
#[cfg(any(target_os = "linux", target_os = "macos"))]
use crate::plan::Network;
use crate::tree::Kill;
#[cfg(target_os = "linux")]
use crate::wire::Facts;

/// Whether confinement is complete on this platform.
const LINUX: bool = cfg!(target_os = "linux");

/// The layer that is looked at once more when the program runs.
pub(crate) const ENVIRONMENT: &str = "environment";

/// The version of Landlock that first kept signals and abstract sockets from others (Linux 6.12).
#[cfg(target_os = "linux")]
const LANDLOCK_SCOPES: u32 = 6;

/// Whom the program runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// Whoever started it, who is not root.
    Own,
    /// A user that nobody else is.
    #[cfg(target_os = "linux")]
    Other,
    /// Root, without capabilities.
    Root,
}

/// The layers of a run without a jail. `in_memory` is none for a run without a directory of its
/// own.
pub(crate) fn base(kill: Kill, in_memory: Option<bool>) -> Enforcement {
    let mut layers = always(kill, in_memory);
    layers.extend(user(if rustix::process::geteuid().is_root() {
        User::Root
    } else {
        User::Own
    }));
    layers.extend([
        open("process_limit", "number of processes not limited"),
        open(
            "namespaces",
            "other processes of the user are visible and can be signalled",
        ),
        open("files", "files of the user not confined"),
        open("landlock", "not asked for"),
        open("network", "network not confined"),
        open("system_calls", "system calls not filtered"),
        environment(false),
    ]);
    Enforcement { layers }
}

/// The layers of a run in the sandbox of macOS. It refuses set-user-ID programs by itself.
#[cfg(target_os = "macos")]
pub(crate) fn sandbox(network: Network, kill: Kill, in_memory: Option<bool>) -> Enforcement {
    let mut enforcement = base(kill, in_memory);
    for layer in [
        held("no_new_privileges", "no set-user-ID program is executed"),
        open("namespaces", "other processes of the user are visible"),
        held("files", "sandbox: the system's files, read-only"),
        open("landlock", "this system has none"),
        match network {
            Network::Allow => held(
                "network",
                "sandbox: TCP and UDP allowed; no foreign Unix sockets",
            ),
            Network::None => held("network", "sandbox: none"),
        },
    ] {
        enforcement.replace(layer);
    }
    enforcement
}

/// The layers of a run in the jail; `missing` says why it has no namespaces of its own.
#[cfg(target_os = "linux")]
pub(crate) fn jail(
    jail: &Jail,
    facts: &Facts,
    missing: Option<&StartError>,
    kill: Kill,
    in_memory: bool,
    who: User,
) -> Enforcement {
    let own = missing.is_none();
    let mut layers = always(kill, Some(in_memory));
    layers.extend(user(who));
    layers.push(either(
        facts.process_limit,
        "process_limit",
        "number of processes",
        "number of processes not limited",
    ));
    layers.push(match missing {
        None => held(
            "namespaces",
            match jail.network {
                Network::Allow => "users, mounts, processes, IPC, host name",
                Network::None => "users, mounts, processes, IPC, host name, network",
            },
        ),
        Some(error) => open(
            "namespaces",
            &format!(
                "other processes of the user are visible ({}: {})",
                error.stage, error.cause
            ),
        ),
    });
    layers.push(files(jail, own, facts.landlock > 0));
    layers.push(if facts.landlock > 0 {
        held("landlock", &format!("version {}", facts.landlock))
    } else {
        open("landlock", "this kernel has none")
    });
    layers.push(network(jail.network, own, facts));
    layers.push(either(
        facts.system_calls,
        "system_calls",
        "filtered",
        "system calls not filtered",
    ));
    layers.push(environment(facts.hidden));
    Enforcement { layers }
}

/// What others of the same user can read of the program.
pub(crate) fn environment(hidden: bool) -> Layer {
    either(
        hidden,
        ENVIRONMENT,
        "unreadable for other processes of the same user, but for static programs that the program starts",
        "environment readable for other processes of the same user",
    )
}

fn always(kill: Kill, in_memory: Option<bool>) -> Vec<Layer> {
    let mut layers = vec![
        held("session", "own session, no terminal"),
        held("descriptors", "standard input, output and error only"),
        held("limits", "open files, file size"),
        core(),
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
        kill_layer(kill),
    ];
    layers.extend(in_memory.map(|in_memory| {
        either(
            in_memory,
            "memory_directory",
            "the temporary directory is in memory",
            "the temporary directory is on a disk",
        )
    }));
    layers
}

/// The limit holds in any case. What handlers get is inherited from the caller (core(5)).
fn core() -> Layer {
    if !LINUX {
        return held("core", "no core file");
    }
    let filter = std::fs::read_to_string("/proc/self/coredump_filter").unwrap_or_default();
    either(
        u64::from_str_radix(filter.trim(), 16) == Ok(0),
        "core",
        "no core file, no memory for core handlers",
        "no core file, but core handlers get the memory",
    )
}

fn kill_layer(kill: Kill) -> Layer {
    match kill {
        #[cfg(target_os = "linux")]
        Kill::Namespace => held("kill", "process namespace"),
        Kill::Subreaper => held("kill", "subreaper"),
        Kill::Group => open("kill", "process group only: a daemon can outlive the run"),
    }
}

fn user(who: User) -> Option<Layer> {
    match who {
        User::Own => None,
        #[cfg(target_os = "linux")]
        User::Other => Some(held("user", "a user that nobody else is")),
        User::Root => Some(open("user", "the program runs as root")),
    }
}

#[cfg(target_os = "linux")]
fn files(jail: &Jail, view: bool, landlock: bool) -> Layer {
    let covered = jail.writable.iter().chain(&jail.readable);
    let mut covered = covered.flat_map(|place| {
        let hidden = jail.hidden.iter();
        hidden.filter(move |hidden| hidden.starts_with(place))
    });
    match (view, landlock, covered.next()) {
        (true, true, _) => held("files", "a view of its own, and Landlock"),
        (true, false, _) => held("files", "a view of its own"),
        (false, true, None) => held(
            "files",
            "Landlock alone: names and attributes of other files stay visible and changeable",
        ),
        (false, true, Some(_)) => open(
            "files",
            "Landlock alone cannot hide a directory within one that is open",
        ),
        (false, false, _) => open("files", "files of the user not confined"),
    }
}

#[cfg(target_os = "linux")]
fn network(network: Network, view: bool, facts: &Facts) -> Layer {
    match (network, facts.system_calls, view) {
        (Network::None, true, true) => held("network", "none: no sockets, nothing to connect to"),
        (Network::None, true, false) => held("network", "none: no sockets"),
        (Network::None, false, true) => open("network", "none, but for vsock sockets"),
        (Network::None, false, false) => open("network", "network not confined, but for TCP"),
        (Network::Allow, true, true) if facts.landlock >= LANDLOCK_SCOPES => held(
            "network",
            "TCP and UDP allowed; no raw or foreign Unix sockets",
        ),
        (Network::Allow, true, _) => open(
            "network",
            "TCP and UDP allowed; Unix sockets of other programs can be reached",
        ),
        (Network::Allow, false, _) => open("network", "sockets of every kind"),
    }
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
