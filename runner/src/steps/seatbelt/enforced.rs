//! What the kernel makes of the profile.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::Command;

use super::*;

/// Directories of a test, as a jail has them.
struct Scene {
    base: PathBuf,
    jail: Jail,
}

impl Scene {
    fn new(name: &str, network: Network) -> Self {
        let base = fs::canonicalize(std::env::temp_dir()).unwrap();
        let base = base.join(format!("seatbelt-{name}-{}", std::process::id()));
        for dir in ["run", "known", "project/deep/vault", "foreign"] {
            fs::create_dir_all(base.join(dir)).unwrap();
            fs::write(base.join(dir).join("file"), "text").unwrap();
        }
        let jail = Jail {
            network,
            readable: vec![base.join("known")],
            writable: vec![base.join("project")],
            hidden: vec![base.join("project/deep/vault")],
        };
        Scene { base, jail }
    }

    /// Whether the script, started in the base, succeeds in the jail.
    fn allows(&self, script: &str) -> bool {
        let profile = profile(&self.jail, &self.base.join("run")).unwrap();
        let status = Command::new("/usr/bin/sandbox-exec")
            .args(["-p", profile.to_str().unwrap(), "/bin/sh", "-c", script])
            .current_dir(&self.base)
            .status();
        status.unwrap().success()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.base);
    }
}

#[test]
fn both_profiles_are_understood() {
    for network in [Network::Allow, Network::None] {
        let scene = Scene::new("understood", network);
        assert!(scene.allows("true"), "{network:?}");
    }
}

#[test]
fn what_the_jail_names_can_be_used() {
    let scene = Scene::new("used", Network::None);
    for script in [
        "cat known/file",
        "echo new > project/new",
        "ln project/new project/second",
        "echo new > run/new && cat run/new",
        "echo > /dev/null",
        "cd project && pwd -P",
        "sleep 5 & kill $!",
    ] {
        assert!(scene.allows(script), "{script}");
    }
}

#[test]
fn what_the_jail_does_not_name_is_out_of_reach() {
    let scene = Scene::new("refused", Network::None);
    for script in [
        "cat foreign/file",
        "ls foreign",
        "stat foreign/file",
        "ln foreign/file run/link",
        "echo new > foreign/new",
        "ls /Users",
        "echo new > known/file",
        "ln known/file run/link",
        "cat project/deep/vault/file",
        "echo new > project/deep/vault/new",
        "ln project/deep/vault/file run/link",
        "mv project/deep/vault run/vault",
        "mv project/deep project/other",
        "kill -0 $PPID",
    ] {
        assert!(!scene.allows(script), "{script}");
    }
}

#[test]
fn the_network_is_there_only_where_it_is_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("nc -z -w 5 127.0.0.1 {port}");
    assert!(Scene::new("network", Network::Allow).allows(&connect));
    assert!(!Scene::new("no-network", Network::None).allows(&connect));
}

#[test]
fn of_unix_sockets_only_those_in_its_directories_are_reached() {
    for (network, inside) in [(Network::Allow, true), (Network::None, false)] {
        let scene = Scene::new("s", network);
        let reached = |name: &str| {
            let path = scene.base.join(name);
            let _listener = UnixListener::bind(&path).unwrap();
            let connect = "perl -MIO::Socket::UNIX -e 'exit !IO::Socket::UNIX->new(Peer => shift)'";
            scene.allows(&format!("{connect} {}", path.display()))
        };
        assert_eq!(reached("run/s"), inside, "{network:?}");
        assert!(!reached("foreign/s"), "{network:?}");
    }
}
