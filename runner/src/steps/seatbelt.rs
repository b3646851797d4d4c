//! The jail of macOS: a profile for its own sandbox, Seatbelt.
//!
//! Of the rules of a profile the last one that fits decides. They begin with "everything is
//! allowed", because what a program needs of the system changes with every release, and then take
//! away what the jail does not have: files that are not the system's, writing, services that act
//! for others, foreign processes, the network. Seatbelt by itself refuses set-user-ID programs and
//! new jobs of launchd; it hides nobody's environment.
//!
//! The kernel compares the real paths of files: `/private/tmp`, never `/tmp`.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
#[cfg(target_os = "macos")]
use std::ffi::CStr;
use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
#[cfg(target_os = "macos")]
use rustix::process::{WaitOptions, waitpid};

use crate::plan::{Jail, Network};
#[cfg(target_os = "macos")]
use crate::sys;

/// Where files of people and of other programs are.
const FOREIGN: [&str; 6] = [
    "/Users",
    "/Volumes",
    "/private/var/root",
    "/private/tmp",
    "/private/var/tmp",
    "/private/var/folders",
];

/// Devices that can be written without harm.
const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/stdout",
    "/dev/stderr",
    "/dev/dtracehelper",
];

/// Services of the system that libraries call in any program: users and groups, the log,
/// notifications. Others could do for the child what it may not do itself: start programs, unlock
/// the keychain, resolve names.
const SERVICES: [&str; 6] = [
    "com.apple.bsd.dirhelper",
    "com.apple.logd",
    "com.apple.system.logger",
    "com.apple.system.notification_center",
    "com.apple.system.opendirectoryd.libinfo",
    "com.apple.system.opendirectoryd.membership",
];

/// Services for names, proxies and certificates.
const NETWORK_SERVICES: [&str; 6] = [
    "com.apple.SystemConfiguration.DNSConfiguration",
    "com.apple.SystemConfiguration.configd",
    "com.apple.dnssd.service",
    "com.apple.networkd",
    "com.apple.ocspd",
    "com.apple.trustd.agent",
];

/// The socket that names are resolved over.
const RESOLVER: &str = "/private/var/run/mDNSResponder";

/// The profile of a run whose fresh directory is `directory`.
///
/// # Errors
///
/// `EILSEQ` for a path that cannot be written down: one that is not UTF-8, or has control
/// characters.
pub(crate) fn profile(jail: &Jail, directory: &Path) -> io::Result<CString> {
    let writable = [&[directory.to_owned()], &jail.writable[..]].concat();
    let places = Places {
        reachable: [&writable[..], &jail.readable].concat(),
        writable,
        hidden: both(&jail.hidden),
    };
    let mut profile = Profile("(version 1)\n(allow default)\n".to_owned());
    profile.processes();
    profile.services(jail.network);
    profile.files(&places)?;
    profile.network(jail.network, &places)?;
    Ok(CString::new(profile.0)?)
}

/// Whether the kernel takes the profile from this process. A copy of it tries, because there is no
/// way back, and who is in a sandbox already cannot enter a second one.
#[cfg(target_os = "macos")]
pub(crate) fn holds(profile: &CStr) -> io::Result<bool> {
    match sys::fork()? {
        None => sys::exit_now(i32::from(sys::enter_sandbox(profile).is_err())),
        Some(copy) => {
            let ended = waitpid(Some(copy), WaitOptions::empty())?;
            Ok(ended.is_some_and(|(_, status)| status.exit_status() == Some(0)))
        }
    }
}

/// The paths of a jail, the run's fresh directory among those that can be changed.
struct Places {
    reachable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
    hidden: BTreeSet<PathBuf>,
}

struct Profile(String);

impl Profile {
    /// Nothing without filters: a rule that has none fits everything.
    fn rule(&mut self, head: &str, filters: &[String]) {
        if !filters.is_empty() {
            self.0 += &format!("({head} {})\n", filters.join(" "));
        }
    }

    fn processes(&mut self) {
        self.0 += "(deny signal process-info* mach-priv-task-port)\n";
        for operation in ["signal", "process-info*", "mach-priv-task-port"] {
            self.0 += &format!("(allow {operation} (target same-sandbox))\n");
        }
    }

    fn services(&mut self, network: Network) {
        let mut names = SERVICES.to_vec();
        if network == Network::Allow {
            names.extend(NETWORK_SERVICES);
        }
        let names = names.iter().map(|name| format!("(global-name \"{name}\")"));
        self.0 += "(deny mach-lookup)\n";
        self.rule("allow mach-lookup", &names.collect::<Vec<_>>());
    }

    fn files(&mut self, places: &Places) -> io::Result<()> {
        let reachable = filters("subpath", places.reachable.iter().map(|path| real(path)))?;
        let writable = filters("subpath", places.writable.iter().map(|path| real(path)))?;
        let hidden = filters("subpath", &places.hidden)?;
        // In every way: a link to a file, or its execution, is as good as reading it.
        self.rule("deny file* process-exec*", &filters("subpath", FOREIGN)?);
        // Also those where the user sits.
        self.0 += "(deny file* (regex #\"^/dev/tty\"))\n";
        // Programs resolve paths step by step.
        let way = steps(&both(&places.reachable));
        self.rule("allow file-read-metadata", &filters("literal", way)?);
        self.rule("allow file* process-exec*", &reachable);
        // A second name where writing is allowed would make any file writable.
        self.0 += "(deny file-write* file-link)\n";
        self.rule("allow file-write*", &filters("literal", DEVICES)?);
        self.rule("allow file-write* file-link", &writable);
        self.rule("deny file* process-exec*", &hidden);
        // With a directory above renamed it would not be hidden any more.
        let way = steps(&places.hidden);
        self.rule("deny file-write-unlink", &filters("literal", way)?);
        Ok(())
    }

    fn network(&mut self, network: Network, places: &Places) -> io::Result<()> {
        if network == Network::None {
            self.0 += "(deny network*)\n";
            return Ok(());
        }
        let mut reachable: Vec<_> = places.reachable.iter().map(|path| real(path)).collect();
        reachable.push(RESOLVER.into());
        self.0 += "(deny network-outbound (remote unix-socket))\n";
        self.rule("allow network-outbound", &sockets(reachable)?);
        self.rule("deny network-outbound", &sockets(&places.hidden)?);
        Ok(())
    }
}

/// One filter of this kind for each path.
fn filters<P: AsRef<Path>>(
    kind: &str,
    paths: impl IntoIterator<Item = P>,
) -> io::Result<Vec<String>> {
    let filter = |path: P| Ok(format!("({kind} {})", quoted(path.as_ref())?));
    paths.into_iter().map(filter).collect()
}

fn sockets<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> io::Result<Vec<String>> {
    let paths = filters("subpath", paths)?;
    Ok(paths
        .iter()
        .map(|path| format!("(remote unix-socket {path})"))
        .collect())
}

fn quoted(path: &Path) -> io::Result<String> {
    let text = path
        .to_str()
        .filter(|text| !text.contains(char::is_control));
    let text = text.ok_or(Errno::ILSEQ)?;
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    Ok(format!("\"{text}\""))
}

/// The path without links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let known = path.ancestors().find_map(|above| {
        let rest = path.strip_prefix(above).ok()?;
        Some((fs::canonicalize(above).ok()?, rest))
    });
    match known {
        Some((above, rest)) => above.components().chain(rest.components()).collect(),
        None => path.to_owned(),
    }
}

/// Each path as it was given, which may be that of a link, and as it really is.
fn both(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let given = paths.iter().map(|path| path.components().collect());
    given.chain(paths.iter().map(|path| real(path))).collect()
}

/// The paths and all directories above them but the root, which nothing keeps anybody from.
fn steps(paths: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let all = paths.iter().flat_map(|path| path.ancestors());
    let below = all.filter(|path| path.parent().is_some());
    below.map(Path::to_owned).collect()
}

#[cfg(target_os = "macos")]
#[cfg(test)]
mod enforced;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(jail: &Jail, directory: &str) -> String {
        profile(jail, Path::new(directory))
            .unwrap()
            .into_string()
            .unwrap()
    }

    fn jail(network: Network) -> Jail {
        Jail {
            network,
            readable: vec!["/Users/ann/.kube".into()],
            writable: vec!["/Users/ann/project".into()],
            hidden: vec!["/Users/ann/project/vault".into()],
        }
    }

    const RUN: &str = "/private/var/folders/run";

    #[test]
    fn a_jail_without_network_is_this_profile() {
        let expected = r#"(version 1)
(allow default)
(deny signal process-info* mach-priv-task-port)
(allow signal (target same-sandbox))
(allow process-info* (target same-sandbox))
(allow mach-priv-task-port (target same-sandbox))
(deny mach-lookup)
(allow mach-lookup (global-name "com.apple.bsd.dirhelper") (global-name "com.apple.logd") (global-name "com.apple.system.logger") (global-name "com.apple.system.notification_center") (global-name "com.apple.system.opendirectoryd.libinfo") (global-name "com.apple.system.opendirectoryd.membership"))
(deny file* process-exec* (subpath "/Users") (subpath "/Volumes") (subpath "/private/var/root") (subpath "/private/tmp") (subpath "/private/var/tmp") (subpath "/private/var/folders"))
(deny file* (regex #"^/dev/tty"))
(allow file-read-metadata (literal "/Users") (literal "/Users/ann") (literal "/Users/ann/.kube") (literal "/Users/ann/project") (literal "/private") (literal "/private/var") (literal "/private/var/folders") (literal "/private/var/folders/run"))
(allow file* process-exec* (subpath "/private/var/folders/run") (subpath "/Users/ann/project") (subpath "/Users/ann/.kube"))
(deny file-write* file-link)
(allow file-write* (literal "/dev/null") (literal "/dev/zero") (literal "/dev/stdout") (literal "/dev/stderr") (literal "/dev/dtracehelper"))
(allow file-write* file-link (subpath "/private/var/folders/run") (subpath "/Users/ann/project"))
(deny file* process-exec* (subpath "/Users/ann/project/vault"))
(deny file-write-unlink (literal "/Users") (literal "/Users/ann") (literal "/Users/ann/project") (literal "/Users/ann/project/vault"))
(deny network*)
"#;
        assert_eq!(text(&jail(Network::None), RUN), expected);
    }

    #[test]
    fn a_jail_with_network_differs_in_services_and_sockets() {
        let (none, allow) = (
            text(&jail(Network::None), RUN),
            text(&jail(Network::Allow), RUN),
        );
        let none: BTreeSet<_> = none.lines().collect();
        let more: Vec<_> = allow.lines().filter(|line| !none.contains(line)).collect();
        assert!(more[0].starts_with("(allow mach-lookup ") && more[0].contains("com.apple.dnssd"));
        let expected = [
            "(deny network-outbound (remote unix-socket))",
            "(allow network-outbound (remote unix-socket (subpath \"/private/var/folders/run\")) (remote unix-socket (subpath \"/Users/ann/project\")) (remote unix-socket (subpath \"/Users/ann/.kube\")) (remote unix-socket (subpath \"/private/var/run/mDNSResponder\")))",
            "(deny network-outbound (remote unix-socket (subpath \"/Users/ann/project/vault\")))",
        ];
        assert_eq!(more[1..], expected);
    }

    #[test]
    fn a_jail_that_hides_nothing_has_no_rule_that_fits_everything() {
        let text = text(&Jail::default(), RUN);
        let denials: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("(deny file"))
            .collect();
        assert_eq!(denials.len(), 3, "{text}");
        assert!(!text.contains(" )"), "{text}");
    }

    #[test]
    fn a_path_cannot_end_its_quotes() {
        let quoted = |path: &str| quoted(Path::new(path)).ok();
        assert_eq!(quoted("/a b/ü"), Some("\"/a b/ü\"".to_owned()));
        assert_eq!(
            quoted(r#"/x") (allow file*) (\"#),
            Some(r#""/x\") (allow file*) (\\""#.to_owned())
        );
        assert_eq!(quoted("/line\nbreak"), None);
    }

    #[test]
    fn a_path_that_cannot_be_written_down_is_an_error_and_not_left_out() {
        use std::os::unix::ffi::OsStrExt;
        let odd = Path::new(std::ffi::OsStr::from_bytes(b"/Users/ann/\xff")).to_owned();
        let hidden = Jail {
            hidden: vec![odd],
            ..Jail::default()
        };
        let error = profile(&hidden, Path::new(RUN)).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::ILSEQ));
    }

    #[test]
    fn links_are_followed_as_far_as_the_path_exists() {
        let base = fs::canonicalize(std::env::temp_dir()).unwrap();
        let base = base.join(format!("seatbelt-{}", std::process::id()));
        fs::create_dir_all(base.join("really")).unwrap();
        std::os::unix::fs::symlink("really", base.join("link")).unwrap();
        let given = base.join("link/not there/yet");
        let found = real(&given);
        let two = both(std::slice::from_ref(&given));
        fs::remove_dir_all(&base).unwrap();
        assert_eq!(found, base.join("really/not there/yet"));
        assert_eq!(two, BTreeSet::from([given, found]));
        assert_eq!(real(Path::new("/")), Path::new("/"));
    }
}
