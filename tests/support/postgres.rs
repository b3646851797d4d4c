//! A PostgreSQL server of one test, where the machine has one installed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use super::process::{kill, wait_until};

/// The user `nobody`: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;

/// A running server; it ends with this value.
pub(crate) struct Postgres {
    server: Child,
    port: u16,
    password: String,
    _dir: TempDir,
}

impl Postgres {
    /// Starts a server with this password; none if no server is installed.
    pub(crate) fn start(password: &str) -> Option<Self> {
        let bin = programs()?;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (data, secret) = (dir.path().join("data"), dir.path().join("password"));
        fs::write(&secret, password).expect("written");
        if geteuid().is_root() {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("own");
            for path in [dir.path(), &secret] {
                chown(path, Some(NOBODY), Some(NOBODY)).expect("root may do that");
            }
        }
        let mut initdb = unprivileged(&bin.join("initdb"), dir.path());
        initdb.args([
            "-U",
            "app",
            "-A",
            "scram-sha-256",
            "-N",
            "-E",
            "UTF8",
            "--locale=C",
            "--pwfile",
        ]);
        let made = initdb
            .arg(&secret)
            .arg("-D")
            .arg(&data)
            .output()
            .expect("initdb starts");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );

        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.expect("a free port").port();
        let mut postgres = unprivileged(&bin.join("postgres"), dir.path());
        postgres
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k", ""]);
        postgres.stdout(Stdio::null()).stderr(Stdio::null());
        let server = postgres.spawn().expect("postgres starts");
        let postgres = Self {
            server,
            port,
            password: password.to_owned(),
            _dir: dir,
        };
        wait_until("the database", || postgres.query("SELECT 1"));
        Some(postgres)
    }

    pub(crate) fn url(&self) -> String {
        format!(
            "postgres://app:{}@127.0.0.1:{}/postgres",
            self.password, self.port
        )
    }

    /// Runs a statement; whether it worked.
    pub(crate) fn query(&self, statement: &str) -> bool {
        let psql = Command::new("psql")
            .args(["-qc", statement, &self.url()])
            .output();
        psql.expect("psql runs").status.success()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        kill(self.server.id(), Signal::QUIT);
        let _ = self.server.wait();
    }
}

/// Where the server's programs are: on the path, or where Debian and Homebrew keep them.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).collect::<Vec<_>>();
    let kept = ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"];
    let kept = kept
        .iter()
        .flat_map(fs::read_dir)
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"));
    let is_complete = |dir: &PathBuf| {
        ["initdb", "postgres"]
            .iter()
            .all(|name| dir.join(name).exists())
    };
    on_path.into_iter().chain(kept).find(is_complete)
}

fn unprivileged(program: &Path, dir: &Path) -> Command {
    let mut command = if geteuid().is_root() {
        let id = NOBODY.to_string();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TZ", "UTC")
        .current_dir(dir);
    command
}
