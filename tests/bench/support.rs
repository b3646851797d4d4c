//! What both benchmarks need: a throw-away vault, and medians.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use secretctl::broker::{Outside, PersonDoor};
use secretctl::secret::SecretBytes;
use secretctl::vault::{Change, KdfParams, LockedVault};
use tempfile::TempDir;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The value of `API_KEY`.
pub(crate) const SECRET: &str = "sk-live-4f9Qx27LmZp8w";
const PASSWORD: &str = "correct horse battery staple";
const POLICY: &str = "version: 1\nallowed_commands: ['true']\n";

/// A vault with `API_KEY`, and a policy that lets agents run `true`.
pub(crate) struct Place {
    base: TempDir,
}

impl Place {
    pub(crate) fn new() -> Result<Self> {
        Self::with_kdf(KdfParams::DEFAULT)
    }

    /// With another cost of the password.
    pub(crate) fn with_kdf(kdf: KdfParams) -> Result<Self> {
        let base = tempfile::tempdir()?;
        fs::write(base.path().join("password"), PASSWORD)?;
        let place = Self { base };
        PersonDoor::create(&place.vault(), &password(), kdf, &place.outside())?;
        place.add(&["API_KEY".to_owned()])?;
        policy(&place, POLICY)?;
        Ok(place)
    }

    /// Stores secrets of these names.
    pub(crate) fn add(&self, names: &[String]) -> Result<()> {
        let vault = LockedVault::open(&self.vault())?.unlock(&password(), 0)?;
        let door = PersonDoor::new(vault, &self.outside());
        for name in names {
            let value = SecretBytes::from_vec(SECRET.as_bytes().to_vec());
            door.set(&name.parse()?, Change::value(value))?;
        }
        Ok(())
    }

    /// A file or directory of the caller's.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    /// The program with these arguments and the way into the vault.
    pub(crate) fn secretctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_secretctl"));
        command
            .args(arguments)
            .env("SECRETCTL_VAULT_DIR", self.vault())
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("SECRETCTL_PASSWORD_FILE", self.path("password"))
            .current_dir(self.base.path())
            .stdin(Stdio::null());
        command
    }

    /// The anchors are here too, and not in the home of whoever runs this.
    pub(crate) fn outside(&self) -> Outside {
        Outside {
            password_file: None,
            state_dir: Some(self.path("state/secretctl")),
            runtime_dir: None,
        }
    }

    /// The vault's directory.
    pub(crate) fn vault(&self) -> PathBuf {
        self.path("vault")
    }
}

/// Writes the policy file of the place.
pub(crate) fn policy(place: &Place, text: &str) -> Result<()> {
    let policy = place.vault().join("mcp-policy.yaml");
    fs::write(&policy, text)?;
    Ok(fs::set_permissions(
        policy,
        fs::Permissions::from_mode(0o600),
    )?)
}

/// The password of the vault.
pub(crate) fn password() -> SecretBytes {
    SecretBytes::from_vec(PASSWORD.as_bytes().to_vec())
}

/// How long `work` takes.
pub(crate) fn time(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// The median of several samples.
pub(crate) fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort();
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}

/// Milliseconds with two decimals.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:9.2} ms", duration.as_secs_f64() * 1000.0)
}
