//! The vault and the log as they grow: `cargo bench --bench vault`.
//!
//! What runs in a process of its own is told with the most memory that it had, beyond what unlocking took.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

mod support;

use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;
use secretctl::audit::{self, Action, Commit, Detail, Entry, Epoch, Epochs, Log, Outcome, Source};
use secretctl::broker::{AgentDoor, AuditFilter, Outside, PersonDoor};
use secretctl::crypto::{self, KdfParams};
use secretctl::secret::SecretBytes;
use secretctl::vault::{AuditEpoch, Change, LockedVault, Vault};
use support::{Place, Result, SECRET, median, ms, password, time};

/// Starts of the program: each unlocks the vault.
const STARTS: usize = 11;
/// Calls of what is quick.
const CALLS: usize = 301;
/// Calls of what reads all secrets.
const LISTS: usize = 11;
/// Turns of ours and of another program's.
const KDF_TURNS: usize = 41;
const GROWTH_TURNS: usize = 101;
/// The least that Argon2id knows, so that its noise does not cover what the vault itself takes.
const CHEAP: KdfParams = KdfParams {
    memory_kib: 8,
    passes: 1,
    lanes: 1,
};
/// What is started as a program of its own.
const COMMANDS: [&[&str]; 2] = [&["get", "API_KEY"], &["run", "-k", "API_KEY", "--", "true"]];
const RECORDS: usize = 1_000_000;
/// Secrets in the vaults, beside `API_KEY`.
const SIZES: [usize; 3] = [4, 1_000, 100_000];
const AGENT: &str = "agent";
const POLICY: &str = "version: 1\ndefault_action: allow\n";

/// What is done in a process of its own, with an unlocked vault; its name is the program's argument.
type Task = fn(Vault) -> Result<Duration>;

const TASKS: [(&str, Task); 7] = [
    ("entry and values of one", |vault| {
        let name = "API_KEY".parse()?;
        calls(CALLS, || {
            black_box((vault.entry(&name)?, vault.reveal(&name)?));
            Ok(())
        })
    }),
    ("an agent asks for a name, recorded", |vault| {
        let door = AgentDoor::new(vault, Path::new("/"), &Outside::default());
        let name = "API_KEY".parse()?;
        calls(CALLS, || {
            black_box(door.matching(AGENT, &name)?);
            Ok(())
        })
    }),
    ("an agent asks for a pattern, recorded", |vault| {
        let door = AgentDoor::new(vault, Path::new("/"), &Outside::default());
        let pattern = "API_K*".parse()?;
        calls(LISTS, || {
            black_box(door.matching(AGENT, &pattern)?);
            Ok(())
        })
    }),
    ("list", |vault| {
        calls(LISTS, || {
            black_box(vault.entries()?);
            Ok(())
        })
    }),
    ("verify the set", |vault| {
        calls(LISTS, || Ok(vault.verify_set()?))
    }),
    (VERIFY, |vault| {
        let door = PersonDoor::new(vault, &Outside::default());
        calls(1, || {
            let problems = door.verify()?.problems;
            if problems.is_empty() {
                Ok(())
            } else {
                Err(problems.join("; ").into())
            }
        })
    }),
    (EXPORT, |vault| {
        let door = PersonDoor::new(vault, &Outside::default());
        calls(1, || {
            let take = |record: &_| -> Result<()> {
                black_box(record);
                Ok(())
            };
            door.audit_each(&AuditFilter::default(), take)
        })
    }),
];
const VERIFY: &str = "verify the log";
const EXPORT: &str = "open each record of the log";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    if let (Some(task), Some(vault)) = (arguments.next(), arguments.next()) {
        return child(&task, Path::new(&vault));
    }
    kdf()?;
    growth()?;
    let place = Place::new()?;
    support::policy(&place, POLICY)?;
    appends(&place)?;
    let mut stored = 0;
    for size in SIZES {
        let took = time(|| add_secrets(&place, stored..size))?;
        println!("with {size} secrets ({} for the new ones)", ms(took));
        stored = size;
        for arguments in COMMANDS {
            let what = format!("{}, unlock included", arguments.join(" "));
            report(&what, calls(STARTS, || start(&place, arguments))?, "");
        }
        start(&place, &["unlock"])?;
        for arguments in COMMANDS {
            let what = format!("{} with a session", arguments.join(" "));
            report(&what, calls(CALLS, || start(&place, arguments))?, "");
        }
        let what = "list with a session";
        report(what, calls(LISTS, || start(&place, &["list"]))?, "");
        start(&place, &["lock"])?;
        for (task, _) in TASKS
            .iter()
            .filter(|(task, _)| ![VERIFY, EXPORT].contains(task))
        {
            in_child(task, &place)?;
        }
    }
    let took = time(|| add_records(&place, RECORDS))?;
    println!("with {RECORDS} records more ({} for them)", ms(took));
    for task in [VERIFY, EXPORT] {
        let took = in_child(task, &place)?;
        let [took, cpu] = took.map(|took| RECORDS as f64 / took.as_secs_f64());
        println!("  {:44}{took:9.0}", "records a second");
        println!("  {:44}{cpu:9.0}", "records a second of the processor");
    }
    Ok(())
}

/// Argon2id with the parameters of new vaults, and Debian's command with the same, in turns.
fn kdf() -> Result<()> {
    let KdfParams {
        memory_kib,
        passes,
        lanes,
    } = KdfParams::DEFAULT;
    println!("Argon2id, {memory_kib} KiB, {passes} passes, {lanes} lanes, {KDF_TURNS} turns");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..KDF_TURNS {
        ours.push(time(|| {
            let (salt, params) = (SALT.as_bytes(), KdfParams::DEFAULT);
            black_box(crypto::password_key(&password(), salt, params)?);
            Ok(())
        })?);
        match time(argon2) {
            Ok(took) => theirs.push(took),
            Err(error) => {
                println!("  the command argon2: {error}");
                return Ok(());
            }
        }
    }
    let fastest = |samples: &[Duration]| samples.iter().min().copied().unwrap_or_default();
    let both = [("fastest", fastest(&ours), fastest(&theirs))];
    for (what, ours, theirs) in both
        .into_iter()
        .chain([("median", median(ours), median(theirs))])
    {
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        println!(
            "  {what}: ours {}, argon2 {}, {ratio:.2} of it",
            ms(ours),
            ms(theirs)
        );
    }
    Ok(())
}

const SALT: &str = "saltsaltsaltsalt";

fn argon2() -> Result<()> {
    let KdfParams {
        memory_kib,
        passes,
        lanes,
    } = KdfParams::DEFAULT;
    let [memory, passes, lanes] = [memory_kib, passes, lanes].map(|number| number.to_string());
    let arguments = [
        SALT, "-id", "-t", &passes, "-k", &memory, "-p", &lanes, "-r",
    ];
    let mut command = Command::new("argon2");
    let piped = command.args(arguments).stdin(Stdio::piped());
    let mut child = piped.stdout(Stdio::null()).spawn()?;
    let mut stdin = child.stdin.take().ok_or("a pipe")?;
    stdin.write_all(password().expose())?;
    drop(stdin);
    if child.wait()?.success() {
        Ok(())
    } else {
        Err("it failed".into())
    }
}

/// What grows with the number of secrets: whole starts of the program, whose passwords cost next to nothing, in turns.
fn growth() -> Result<()> {
    println!("a password that costs next to nothing, {GROWTH_TURNS} turns");
    let mut places = Vec::new();
    for size in SIZES {
        let place = Place::with_kdf(CHEAP)?;
        support::policy(&place, POLICY)?;
        add_secrets(&place, 0..size)?;
        places.push(place);
    }
    for arguments in COMMANDS {
        let mut samples = SIZES.map(|_| Vec::new());
        for _ in 0..GROWTH_TURNS {
            for (place, samples) in places.iter().zip(&mut samples) {
                samples.push(time(|| start(place, arguments))?);
            }
        }
        let medians = samples.map(median);
        println!("  {}", arguments.join(" "));
        for (size, took) in SIZES.iter().zip(medians) {
            let ratio = took.as_secs_f64() / medians[0].as_secs_f64();
            println!(
                "    {size:7} secrets {}, {ratio:.2} of the fewest",
                ms(took)
            );
        }
    }
    Ok(())
}

fn start(place: &Place, arguments: &[&str]) -> Result<()> {
    let status = place.secretctl(arguments).stdout(Stdio::null()).status()?;
    if status.success() {
        Ok(())
    } else {
        Err("the program failed".into())
    }
}

/// A record, which is on the disk when it is done, beside what the disk takes for as many bytes.
fn appends(place: &Place) -> Result<()> {
    println!("a record, on the disk, medians of {CALLS}");
    let vault = unlock(&place.vault())?;
    let log = log(&vault);
    let recorded = calls(CALLS, || {
        log.record(vault.begin()?, &entry(), ())?.into_inner();
        Ok(())
    })?;
    report("a record", recorded, "");
    let mut file = File::create(place.path("appended"))?;
    let bare = calls(CALLS, || {
        file.write_all(&[0; 512])?;
        Ok(file.sync_data()?)
    })?;
    report("512 bytes added to a file, fdatasync", bare, "");
    Ok(())
}

fn calls(count: usize, mut call: impl FnMut() -> Result<()>) -> Result<Duration> {
    let samples = (0..count).map(|_| time(&mut call));
    Ok(median(samples.collect::<Result<_>>()?))
}

fn report(what: &str, took: Duration, memory: &str) {
    println!("  {what:44}{}  {memory}", ms(took));
}

fn unlock(dir: &Path) -> Result<Vault> {
    Ok(LockedVault::open(dir)?.unlock(&password(), 0)?)
}

/// Runs a task in a process of its own, which prints nanoseconds and KiB. Gives the median, and the processor's
/// time in all: of that, other programs take nothing.
fn in_child(task: &str, place: &Place) -> Result<[Duration; 2]> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command
        .arg(task)
        .arg(place.vault())
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let [took, cpu, memory] = text.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err("the child failed".into());
    };
    let took = Duration::from_nanos(took.parse()?);
    report(task, took, &format!("{memory} KiB"));
    Ok([took, Duration::from_nanos(cpu.parse()?)])
}

fn child(task: &str, vault: &Path) -> Result<()> {
    let (_, task) = TASKS
        .iter()
        .find(|(name, _)| *name == task)
        .ok_or("no such task")?;
    let vault = unlock(vault)?;
    // From here on the peak is counted anew.
    fs::write("/proc/self/clear_refs", "5")?;
    let before = memory_kib("VmRSS:")?;
    let cpu = cpu_ns()?;
    let took = task(vault)?;
    let cpu = cpu_ns()? - cpu;
    let memory = memory_kib("VmHWM:")?.saturating_sub(before);
    println!("{} {cpu} {memory}", took.as_nanos());
    Ok(())
}

/// The processor's time of this thread so far.
fn cpu_ns() -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split_whitespace().next();
    Ok(first.ok_or("no such number")?.parse()?)
}

fn memory_kib(line: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let found = status.lines().find_map(|text| text.strip_prefix(line));
    let number = found.and_then(|text| text.split_whitespace().next());
    Ok(number.ok_or("no such line")?.parse()?)
}

/// All in one transaction.
fn add_secrets(place: &Place, numbers: std::ops::Range<usize>) -> Result<()> {
    let vault = unlock(&place.vault())?;
    let transaction = vault.begin()?;
    for number in numbers {
        let value = SecretBytes::from_vec(SECRET.as_bytes().to_vec());
        transaction.set(
            &format!("bulk/key-{number:06}").parse()?,
            Change::value(value),
            0,
        )?;
    }
    log(&vault).record(transaction, &entry(), ())?.into_inner();
    Ok(())
}

/// Records whose transaction is committed by somebody else.
struct Together<'a> {
    connection: &'a Connection,
    set: &'a [u8],
}

impl Commit for Together<'_> {
    fn connection(&self) -> &Connection {
        self.connection
    }

    fn set_before(&self) -> &[u8] {
        self.set
    }

    fn epochs(&self) -> std::result::Result<Vec<Epoch>, Box<dyn Error + Send + Sync>> {
        Err("nobody begins one".into())
    }

    fn commit(self) -> std::result::Result<(), rusqlite::Error> {
        Ok(())
    }
}

fn add_records(place: &Place, count: usize) -> Result<()> {
    let log = log(&unlock(&place.vault())?);
    let mut connection = Connection::open(place.vault().join("vault.db"))?;
    let transaction = connection.transaction()?;
    let query = "SELECT value FROM metadata WHERE name = 'secrets_digest'";
    let set: Vec<u8> = transaction.query_row(query, [], |row| row.get(0))?;
    for _ in 0..count {
        let together = Together {
            connection: &transaction,
            set: &set,
        };
        log.record(together, &entry(), ())?.into_inner();
    }
    Ok(transaction.commit()?)
}

fn log(vault: &Vault) -> Log {
    let keys = vault.audit_keys();
    let epochs = Epochs::new(keys.epochs.into_iter().map(epoch).collect());
    Log::new(audit::Keys::new(
        keys.vault_id,
        epochs,
        keys.head,
        keys.anchor,
    ))
}

fn epoch(keys: AuditEpoch) -> Epoch {
    Epoch {
        chain: keys.chain,
        detail: keys.detail,
        fingerprint: keys.fingerprint,
    }
}

/// What the log has most of.
fn entry() -> Entry {
    Entry {
        action: Action::SecretRun,
        source: Source::Mcp,
        outcome: Outcome::Success,
        keys: "API_KEY".parse().into_iter().collect(),
        detail: Detail {
            argv: ["npm", "run", "deploy", "--", "--stage=production"]
                .map(str::to_owned)
                .to_vec(),
            agent: Some("claude-code".to_owned()),
            directory: Some("/home/somebody/project".to_owned()),
            rule: Some("allowed_commands[3]: npm run deploy".to_owned()),
            ..Detail::default()
        },
    }
}
