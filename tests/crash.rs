//! The program is killed, or the disk fills up, at each of its writes to files: nothing that was acknowledged is lost,
//! nothing is half done, the vault opens and the log verifies.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use secretctl::broker::{Outside, PersonDoor};
use secretctl::name::SecretName;
use secretctl::secret::SecretBytes;
use secretctl::vault::{Change, Entry, KdfParams, LockedVault, Metadata, UnlockError};
use support::go_vault::{GO_PASSWORD, GoSecret, GoVault};
use support::{Answer, INIT, Invocation, PASSWORD, SECRETCTL, Sandbox};

const NEW_PASSWORD: &str = "incorrect zebra charger clip";
/// The least that Argon2id knows: the password is hashed thousands of times here.
const CHEAP: KdfParams = KdfParams {
    memory_kib: 8,
    passes: 1,
    lanes: 1,
};
/// Most writes of a command that are expected: one that makes more has another fault.
const WRITES_MAX: usize = 1000;

/// What happens at a write, and to which kinds of writes; none stands for all.
const FAULTS: [(&str, &[&str]); 3] = [
    ("kill", &[]),
    ("half", &["write", "pwrite", "pwrite64"]),
    (
        "full",
        &[
            "write",
            "writev",
            "pwrite",
            "pwrite64",
            "posix_fallocate",
            "rename",
            "link",
            "linkat",
            "mkdir",
            "open",
            "open64",
        ],
    ),
];

/// A command that changes the vault.
struct Case {
    arguments: &'static [&'static str],
    stdin: &'static str,
    /// What it says on standard error when the change is on the disk; empty if that is known by its end alone.
    acknowledgement: &'static str,
}

/// The library that is put in front of the C library.
fn library(directory: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/writes.c");
    let library = directory.join("libwrites.so");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl");
    assert!(compiler.status().expect("a C compiler").success());
    library
}

/// A home directory to begin with, copied for each try.
struct Scene {
    tools: tempfile::TempDir,
    library: PathBuf,
    original: Sandbox,
}

impl Scene {
    fn new(original: Sandbox) -> Self {
        let tools = tempfile::tempdir().expect("a directory");
        let library = library(tools.path());
        Self {
            tools,
            library,
            original,
        }
    }

    fn with_secrets() -> Self {
        let sandbox = Sandbox::empty();
        let (vault, password) = (sandbox.vault(), secret(PASSWORD));
        PersonDoor::create(&vault, &password, CHEAP, &outside(&sandbox)).expect("a vault");
        sandbox.set("OLD", "an old value");
        sandbox.set("db/password", "first");
        sandbox
            .secretctl(["set", "OLD", "--notes", "old notes", "--tags", "a,b"])
            .answer()
            .succeeded();
        Self::new(sandbox)
    }

    /// With a vault of the Go tool beside it.
    fn with_another_tool() -> Self {
        let scene = Self::with_secrets();
        let vault = GoVault::create(&scene.original.home().join("go"), 5);
        for key in ["from/go", "also/from/go"] {
            vault.secret(&GoSecret {
                key: key.as_bytes(),
                value: Some("a value"),
                ..GoSecret::default()
            });
        }
        drop(vault);
        scene
    }

    fn copy(&self) -> Sandbox {
        let copy = Sandbox::in_memory();
        let mut cp = Command::new("cp");
        cp.arg("-a")
            .arg(self.original.home().join("."))
            .arg(copy.home());
        assert!(cp.status().expect("cp").success());
        copy
    }

    fn run(&self, sandbox: &Sandbox, case: &Case, at: Option<(usize, &str)>) -> Answer {
        let mut command = sandbox
            .secretctl(case.arguments)
            .stdin(case.stdin)
            .env("SECRETCTL_NEW_PASSWORD", NEW_PASSWORD)
            .env("SECRETCTL_IMPORT_PASSWORD", GO_PASSWORD)
            .env("LD_PRELOAD", &self.library)
            .env("WRITES_LOG", self.log());
        if let Some((at, how)) = at {
            command = command
                .env("WRITES_AT", at.to_string())
                .env("WRITES_HOW", how);
        }
        let _ = fs::remove_file(self.log());
        command.answer()
    }

    fn log(&self) -> PathBuf {
        self.tools.path().join("writes")
    }

    /// The kinds of the writes of the last run.
    fn writes(&self) -> Vec<String> {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Tries the command with a fault at each of its writes.
    fn survives(&self, case: &Case) {
        let untouched = self.copy();
        let before = State::of(&untouched);
        let changed = self.copy();
        let whole = self.run(&changed, case, None);
        assert_eq!(whole.code, 0, "{whole:?}");
        assert!(whole.stderr.contains(case.acknowledgement), "{whole:?}");
        let writes = self.writes();
        assert!((5..WRITES_MAX).contains(&writes.len()), "{writes:?}");
        let after = State::of(&changed);
        for (how, kinds) in FAULTS {
            let mut is_through = false;
            for at in 1..WRITES_MAX {
                // Some runs make a write more or less than the first one: behind its end every number is tried.
                let kind = writes.get(at - 1).map_or("", String::as_str);
                if !kinds.is_empty() && !kind.is_empty() && !kinds.contains(&kind) {
                    continue;
                }
                let sandbox = self.copy();
                let answer = self.run(&sandbox, case, Some((at, how)));
                is_through = answer.code == 0;
                let place = format!(
                    "{:?}, {how} at write {at} of {:?}: {answer:?}",
                    case.arguments,
                    self.writes(),
                );
                if !is_through && how != "full" {
                    assert_eq!(answer.code, -Signal::KILL.as_raw(), "{place}");
                }
                let state = State::of(&sandbox);
                let is_told = !case.acknowledgement.is_empty()
                    && answer.stderr.contains(case.acknowledgement);
                if is_through || is_told {
                    assert_eq!(state, after, "{place}");
                } else {
                    assert!(state == before || state == after, "{place}\n{state:?}");
                }
                state.is_usable(&sandbox, &place);
                if is_through && self.writes().len() < at {
                    break;
                }
            }
            assert!(is_through, "{:?}, {how}", case.arguments);
        }
    }
}

/// What a person finds in the vault: nothing at all, or by which password which secrets.
#[derive(Debug, PartialEq, Eq)]
enum State {
    NoVault,
    Vault(&'static str, Vec<Secret>),
}

#[derive(Debug, PartialEq, Eq)]
struct Secret {
    name: SecretName,
    metadata: Metadata,
    values: Vec<Vec<u8>>,
}

impl State {
    fn of(sandbox: &Sandbox) -> Self {
        let open = |password: &'static str| {
            let locked = LockedVault::open(&sandbox.vault()).ok()?;
            match locked.unlock(&secret(password), 0) {
                Ok(vault) => Some((password, vault)),
                Err(UnlockError::WrongPassword) => None,
                Err(error) => panic!("{error}"),
            }
        };
        let Some((password, vault)) = [PASSWORD, NEW_PASSWORD].into_iter().find_map(open) else {
            return Self::NoVault;
        };
        let secret = |entry: Entry| {
            let fields = vault.reveal(&entry.name).expect("readable").expect("there");
            let values = fields
                .into_iter()
                .map(|field| field.value.expose().to_owned());
            Secret {
                name: entry.name,
                metadata: entry.metadata,
                values: values.collect(),
            }
        };
        let entries = vault.entries().expect("readable");
        Self::Vault(password, entries.into_iter().map(secret).collect())
    }

    /// The vault takes changes, and set and log are whole; where there is no vault, one can be made.
    fn is_usable(&self, sandbox: &Sandbox, place: &str) {
        let Self::Vault(password, _) = self else {
            let answer = sandbox.secretctl(INIT).answer();
            assert_eq!(answer.code, 0, "{place}\ninit: {answer}");
            return;
        };
        let locked = LockedVault::open(&sandbox.vault()).expect("a vault");
        let vault = locked
            .unlock(&secret(password), 0)
            .unwrap_or_else(|error| panic!("{place}\n{error}"));
        let door = PersonDoor::new(vault, &outside(sandbox));
        // The anchor does not lead.
        door.enter()
            .unwrap_or_else(|error| panic!("{place}\n{error}"));
        let name = "USABLE".parse().expect("a name");
        door.set(&name, Change::value(secret("a value")))
            .unwrap_or_else(|error| panic!("{place}\n{error}"));
        let verified = door.verify().expect("readable");
        assert_eq!(verified.problems, [""; 0], "{place}");
    }
}

/// Where the anchor of a sandbox is.
fn outside(sandbox: &Sandbox) -> Outside {
    Outside {
        state_dir: Some(sandbox.anchors()),
        ..Outside::default()
    }
}

fn secret(text: &str) -> SecretBytes {
    SecretBytes::from_vec(text.into())
}

macro_rules! cases {
    ($($test:ident: $scene:expr, $arguments:expr, $stdin:expr, $acknowledgement:expr;)*) => {
        $(
            #[test]
            fn $test() {
                $scene.survives(&Case {
                    arguments: &$arguments,
                    stdin: $stdin,
                    acknowledgement: $acknowledgement,
                });
            }
        )*
    };
}

cases! {
    making_a_vault: Scene::new(Sandbox::empty()), INIT, "", "Created a vault";
    a_new_secret: Scene::with_secrets(), ["set", "NEW"], "a new value", "Stored NEW";
    a_new_value: Scene::with_secrets(), ["set", "OLD"], "another value", "Updated OLD";
    new_metadata: Scene::with_secrets(), ["set", "OLD", "--tags", "c", "--notes", ""], "", "Updated OLD";
    another_name: Scene::with_secrets(), ["rename", "OLD", "NEW"], "", "Renamed OLD";
    an_import: Scene::with_another_tool(), ["import", "--from", "secretctl-go", "go"], "", "2 imported";
    a_deletion: Scene::with_secrets(), ["delete", "OLD", "--force"], "", "Deleted OLD";
    a_new_password: Scene::with_secrets(), ["password", "change"], "", "Changed the master password";
    a_new_key: Scene::with_secrets(), ["password", "change", "--rotate-key"], "", "Changed the master password and";
    a_look_at_a_value: Scene::with_secrets(), ["get", "OLD"], "", "";
    a_shorter_log: Scene::with_secrets(), ["audit", "prune", "--older-than", "0s", "--force"], "", "Removed records 1 to 4";
    a_retention: Scene::with_secrets(), ["audit", "retention", "90d"], "", "Records are kept: 90d";
    a_run: Scene::with_secrets(), ["run", "-k", "OLD", "--", "true"], "", "";
}

/// Stores secrets until the disk is full, and looks at them when it is larger. What could be stored is printed.
const FULL_DISK: &str = r#"
set -u
mount -t tmpfs -o size=400k none "$HOME"
cd "$HOME"
"$S" init --kdf 19MiB,2,1 2> /dev/null || exit 11
refused=0
for number in $(seq 1 200); do
    # Each as long as a page of the database and more.
    if seq -s "-$number-" 1 1500 | "$S" set "key-$number" 2> "$ERRORS"; then
        echo "key-$number"
    else
        refused=$((refused + 1))
        [ "$refused" -lt 3 ] || break
    fi
done
[ "$refused" -eq 3 ] || exit 12
# A value is not handed out without a record.
"$S" get key-1 > /dev/null 2> "$ERRORS" && exit 13
mount -o remount,size=20m "$HOME"
echo problems
"$S" audit verify > /dev/null || echo "the log"
"$S" list > "$LISTED" || echo "the list"
for number in $(seq 1 200); do
    grep -qx "key-$number" "$LISTED" || continue
    "$S" get "key-$number" | cmp -s - <(seq -s "-$number-" 1 1500 | head -c -1) || echo "key-$number"
done
echo end
"#;

#[test]
fn a_full_disk_takes_nothing_away() {
    let sandbox = Sandbox::empty();
    let place = tempfile::tempdir().expect("a directory");
    let [errors, listed] = ["errors", "listed"].map(|name| place.path().join(name));
    // A file system for these processes alone.
    let run = |script: &str| {
        let unshare =
            Invocation::new("unshare", sandbox.home()).args(["-r", "-m", "bash", "-c", script]);
        let unshare = unshare
            .env("S", SECRETCTL)
            .env("SECRETCTL_PASSWORD", PASSWORD);
        unshare
            .env("ERRORS", &errors)
            .env("LISTED", &listed)
            .answer()
    };
    if run("mount -t tmpfs none \"$HOME\"").code != 0 {
        support::missing("no file system can be mounted here");
        return;
    }
    let answer = run(FULL_DISK);
    assert_eq!(answer.code, 0, "{answer}");
    let lines: Vec<&str> = answer.text().lines().collect();
    let stored = lines
        .iter()
        .take_while(|line| line.starts_with("key-"))
        .count();
    assert!(stored > 3, "{answer}");
    assert_eq!(lines[stored..], ["problems", "end"], "{answer}");
    // All that was acknowledged, and nothing else.
    let listed = fs::read_to_string(listed).expect("text");
    let mut listed: Vec<&str> = listed.lines().collect();
    let mut stored: Vec<&str> = lines[..stored].to_vec();
    listed.sort_unstable();
    stored.sort_unstable();
    assert_eq!(listed, stored);
    let said = fs::read_to_string(errors).expect("text");
    assert!(
        said.contains("disk is full") || said.contains("No space"),
        "{said}"
    );
}
