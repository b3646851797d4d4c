//! Attacks on an open session: what other processes of the same user get out of it, and how they can be in its way. For Linux.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "tests")]

#[allow(dead_code, reason = "a part of it is used")]
#[path = "support/memory.rs"]
mod memory;
mod support;

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use memory::Wanted;
use rustix::process::{Pid, getsid};
use secretctl::secret::{KeyMemory, key_memory};
use serde_json::json;
use support::agent::Agent;
use support::process::{self, wait_until};
use support::{Invocation, PASSWORD, SECRETCTL, Sandbox};

const VALUE: &str = "sk-live-Zq81vTx07pLm";

struct Session {
    sandbox: Sandbox,
    socket: PathBuf,
    pid: u32,
}

impl Session {
    fn open(limits: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        sandbox.set("API_KEY", VALUE);
        let unlock = [&["unlock"], limits].concat();
        sandbox.secretctl(unlock).answer().succeeded();
        let (name, _) = support::modes(&sandbox.sockets()).remove(0);
        let socket = sandbox.sockets().join(name);
        let pid = process::keeper_of(&socket);
        Self {
            sandbox,
            socket,
            pid,
        }
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).expect("a connection")
    }

    fn works(&self) -> bool {
        let get = self
            .sandbox
            .secretctl(["get", "API_KEY"])
            .env_remove("SECRETCTL_PASSWORD");
        get.answer().stdout == VALUE.as_bytes()
    }

    fn lock(self) {
        self.sandbox
            .secretctl(["lock"])
            .answer()
            .is(0, "", "Locked.\n");
        // Its connections are closed at the end of its end.
        wait_until("the end of the keeper", || {
            !process::all().contains(&self.pid)
        });
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    [length.as_slice(), body].concat()
}

/// The answer to a frame; none if the other side hung up.
fn ask(stream: &mut UnixStream, body: &[u8]) -> Option<Vec<u8>> {
    stream.write_all(&frame(body)).ok()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("short")];
    stream.read_exact(&mut answer).ok()?;
    Some(answer)
}

fn task(formula: u8, key: u16, place: &[u8], data: &[u8]) -> Vec<u8> {
    let counted = |bytes: &[u8]| frame(bytes);
    [
        &[b'w', formula][..],
        &key.to_be_bytes(),
        &counted(place),
        &counted(data),
    ]
    .concat()
}

#[test]
fn a_connection_that_asks_for_nothing_does_not_keep_the_session_open() {
    let session = Session::open(&["--idle", "4s"]);
    let mut idle = session.connect();
    assert!(ask(&mut idle, b"h").is_some());
    wait_until("the end of the keeper", || {
        !process::all().contains(&session.pid)
    });
    assert_eq!(ask(&mut idle, b"h"), None);
}

#[test]
fn what_was_connected_before_gets_nothing_after_the_end() {
    let session = Session::open(&[]);
    let mut connected = session.connect();
    // The index of a name: what a list of names could be guessed with.
    assert!(ask(&mut connected, &task(3, 1, b"name", b"")).is_some());
    session.lock();
    assert_eq!(ask(&mut connected, &task(3, 1, b"name", b"")), None);
}

#[test]
fn many_connections_and_half_frames_are_in_nobodys_way() {
    let session = Session::open(&[]);
    let mut open = Vec::new();
    for number in 0..1000 {
        let mut stream = session.connect();
        // Nothing, a part of a length, a part of a frame that is to be long.
        let begun = [&[][..], &[0, 0], &[7, 0, 0, 0, b'w', 1]][number % 3];
        // It may be closed already: others came after it.
        let _ = stream.write_all(begun);
        open.push(stream);
        // As many as this process may have open.
        if open.len() == 500 {
            assert!(session.works());
            open.truncate(250);
        }
    }
    assert!(session.works());
    let threads = fs::read_dir(format!("/proc/{}/task", session.pid)).expect("it runs");
    let threads = threads.count();
    assert!(threads < 100, "{threads}");
    session.lock();
}

#[test]
fn a_connection_in_use_stays_when_many_come_that_ask_for_nothing() {
    let session = Session::open(&[]);
    let mut used = session.connect();
    assert!(ask(&mut used, b"h").is_some());
    let idle: Vec<_> = (0..100).map(|_| session.connect()).collect();
    // It comes behind them.
    assert!(session.works());
    assert!(ask(&mut used, b"h").is_some());
    drop(idle);
    session.lock();
}

#[test]
fn what_is_no_message_is_not_answered_and_does_no_harm() {
    let session = Session::open(&[]);
    let bodies: [&[u8]; 9] = [
        b"",
        b"?",
        b"hh",
        b"w\x01",
        b"w\x09\0\0\0\0\0\0\0\0\0\0",
        b"w\x01\0\0\xff\xff\xff\xff",
        b"x",
        &[b'x'; 49],
        &[0xff; 10_000],
    ];
    for body in bodies {
        assert_eq!(ask(&mut session.connect(), body), None, "{body:?}");
    }
    let mut long = session.connect();
    long.write_all(&[0xff; 4]).expect("sent");
    assert_eq!(long.read(&mut [0]).ok().filter(|read| *read > 0), None);
    // The approval key, the cache's, and those that become audit keys: for nothing but checking an approval.
    for key in [3, 6, 7, 9] {
        for formula in [1, 2, 3, 5] {
            let answer = ask(&mut session.connect(), &task(formula, key, b"", b""));
            assert_eq!(
                answer.as_deref(),
                Some(&[2, 0, 0, 0, 0][..]),
                "{key} {formula}"
            );
        }
    }
    // The audit keys are opened, and stay.
    let answer = ask(&mut session.connect(), &task(2, 5, b"", b""));
    assert_eq!(answer.as_deref(), Some(&[2, 0, 0, 0, 0][..]));
    assert!(session.works());
    session.lock();
}

#[test]
fn nothing_of_the_session_is_to_be_seen() {
    let session = Session::open(&[]);
    assert!(session.works());
    let read = |name: &str| fs::read(format!("/proc/{}/{name}", session.pid)).expect("it runs");
    let arguments = String::from_utf8(read("cmdline")).expect("text");
    assert_eq!(arguments, format!("{SECRETCTL}\0keeper\0"));
    let link = |name: &str| fs::read_link(format!("/proc/{}/{name}", session.pid)).ok();
    assert_eq!(link("cwd"), Some("/".into()));
    // Ctrl-C at the terminal where it was opened is not for it.
    let pid = i32::try_from(session.pid).ok().and_then(Pid::from_raw);
    assert_eq!(getsid(pid).ok(), pid);
    for stream in ["fd/1", "fd/2"] {
        assert_eq!(link(stream), Some("/dev/null".into()));
    }
    if rustix::process::geteuid().is_root() {
        assert_eq!(read("environ"), b"");
        // The password was never there. Of values, what passes is wiped.
        let wanted = Wanted::new()
            .secret("the password", &PASSWORD.as_bytes()[8..], 8)
            .bytes("the value", VALUE.as_bytes(), 8);
        let places: Vec<_> = wanted
            .search(session.pid)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(places, [""; 0]);
    }
    if key_memory() == KeyMemory::Secret {
        let maps = String::from_utf8(read("maps")).unwrap_or_default();
        let is_secret = maps.contains("secretmem");
        assert!(is_secret || !rustix::process::geteuid().is_root(), "{maps}");
    }
    session.lock();
}

/// Root may read everything, so that this takes another user.
#[test]
fn the_user_cannot_read_the_keeper() {
    let home = tempfile::tempdir().expect("a directory");
    let (own, program) = if rustix::process::geteuid().is_root() {
        if !support::is_installed("setpriv") {
            return;
        }
        let program = home.path().join("secretctl");
        fs::copy(SECRETCTL, &program).expect("copied");
        for path in [home.path(), &program] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("an own one");
        }
        let own = home.path().join("home");
        fs::create_dir(&own).expect("a directory");
        std::os::unix::fs::chown(&own, Some(65534), Some(65534)).expect("given away");
        (own, program)
    } else {
        (home.path().to_owned(), PathBuf::from(SECRETCTL))
    };
    let other = |words: &[&OsStr]| -> Command {
        let as_other = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
        let mut words = words.iter();
        let invocation = if rustix::process::geteuid().is_root() {
            Invocation::new("setpriv", &own).args(as_other).args(words)
        } else {
            Invocation::new(words.next().expect("a program"), &own).args(words)
        };
        invocation.dir(&own).into_command()
    };
    let secretctl = |args: &[&str]| {
        let words: Vec<&OsStr> = std::iter::once(program.as_os_str())
            .chain(args.iter().map(OsStr::new))
            .collect();
        let output = other(&words).env("SECRETCTL_PASSWORD", PASSWORD).output();
        output.expect("it runs")
    };
    assert!(secretctl(&["init"]).status.success());
    assert!(secretctl(&["unlock"]).status.success());
    let sockets = own.join(".run/secretctl");
    let (name, mode) = support::modes(&sockets).remove(0);
    assert_eq!(mode, 0o600);
    let session = process::keeper_of(&sockets.join(&name));
    for file in ["environ", "mem", "maps", "auxv", "fd/0", "cwd/."] {
        let path = format!("/proc/{session}/{file}");
        let answer = other(&["cat", &path].map(OsStr::new))
            .output()
            .expect("it runs");
        let told = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(told.contains("Permission denied"), "{file}: {told}");
        assert!(answer.stdout.is_empty(), "{file}");
    }
    // Root gets past all modes, and is told nothing all the same; nor does it ask the keeper of another user for anything.
    if rustix::process::geteuid().is_root() {
        let mut stream = UnixStream::connect(sockets.join(&name)).expect("a connection");
        assert_eq!(ask(&mut stream, b"h"), None);
        let lock = Invocation::new(SECRETCTL, &own).args(["lock"]).answer();
        let told = "it belongs to another user\nNo session is open.\n";
        assert!(lock.stderr.ends_with(told), "{lock}");
    }
    assert!(secretctl(&["lock"]).status.success());
    wait_until("the end of the keeper", || {
        !process::all().contains(&session)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_command_does_not_see_the_socket() {
    let session = Session::open(&[]);
    let sandbox = &session.sandbox;
    // Opened by mistake, with what stands around it.
    let text = "version: 1\nallowed_commands: [ls, python3]\npaths: { read: [\"~/.run\"] }\n";
    sandbox.policy(text);
    let project = sandbox.project(&[("a", "")]);
    let server = sandbox
        .secretctl(["mcp-server"])
        .env_remove("SECRETCTL_PASSWORD");
    let agent = Agent::connect(server.dir(&project)).await;
    let directory = sandbox.sockets();
    let look = async |path: &PathBuf| {
        let arguments = json!({ "keys": ["API_KEY"], "command": "ls", "args": ["-A", path] });
        agent.call("secret_run", arguments).await.output()
    };
    let (code, _, told) = look(&session.socket).await;
    assert_eq!(code, 2);
    assert!(told.contains("No such file or directory"), "{told}");
    assert_eq!(look(&directory).await, (0, String::new(), String::new()));
    if support::is_installed("python3") {
        let told = agent.connects("API_KEY", &session.socket).await;
        assert_eq!(told, "No such file or directory\n");
    }
    agent.stop().await;
    session.lock();
}

/// A person allows `secretctl` to agents, by mistake, and opens all that it asks for.
#[tokio::test(flavor = "multi_thread")]
async fn this_program_finds_neither_vault_nor_session_in_the_jail() {
    let session = Session::open(&[]);
    let sandbox = &session.sandbox;
    let programs = Path::new(SECRETCTL).parent().expect("a directory");
    sandbox.policy(&format!(
        "version: 1\nallowed_commands: [secretctl]\ntrusted_dirs: ['{}']\n\
         env_pass: [XDG_RUNTIME_DIR, XDG_STATE_HOME]\npaths: {{ read: ['~/.run', '~/.state'] }}\n",
        programs.display()
    ));
    let server = sandbox
        .secretctl(["mcp-server"])
        .env_remove("SECRETCTL_PASSWORD");
    let agent = Agent::connect(server.dir(&sandbox.project(&[("a", "")]))).await;
    let vault = sandbox.vault();
    for words in [
        &["get", "API_KEY"][..],
        &["run", "-k", "API_KEY", "--", "true"],
        &["approve", "--list"],
        &["mcp-server"],
        &["lock"],
    ] {
        let words = words.iter().map(|word| json!(word));
        let args: Vec<_> = [json!("--vault-dir"), json!(vault)]
            .into_iter()
            .chain(words)
            .collect();
        let arguments = json!({ "keys": ["API_KEY"], "command": "secretctl", "args": args });
        let (code, stdout, told) = agent.call("secret_run", arguments).await.output();
        assert!(code != 0 && stdout.is_empty(), "{args:?}: {code} {stdout}");
        let missing = format!("error: there is no vault in {}\n", vault.display());
        assert!(told.contains(&missing), "{args:?}: {told}");
    }
    agent.stop().await;
    assert!(session.works());
    session.lock();
}

#[test]
fn the_keeper_of_another_vault_is_none() {
    let (own, other) = (Session::open(&[]), Session::open(&[]));
    // Its name in the place of the own one, which is the end of both: a keeper without its name ends.
    fs::rename(&other.socket, &own.socket).expect("renamed");
    let answer = own.sandbox.secretctl(["get", "API_KEY"]).answer();
    let place = own.sandbox.sockets();
    let told = format!(
        "warning: no session is used: {}: it is of another vault\n",
        place.display()
    );
    answer.is(0, VALUE, &told);
    for session in [own, other] {
        wait_until("the end of the keeper", || {
            !process::all().contains(&session.pid)
        });
    }
}

#[test]
fn a_keeper_that_does_not_answer_is_none() {
    let sandbox = Sandbox::new();
    sandbox.set("API_KEY", VALUE);
    let session = {
        sandbox.secretctl(["unlock"]).answer().succeeded();
        let (name, _) = support::modes(&sandbox.sockets()).remove(0);
        sandbox.secretctl(["lock"]).answer().succeeded();
        sandbox.sockets().join(name)
    };
    let listener = std::os::unix::net::UnixListener::bind(&session).expect("a socket");
    let liar = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("set");
        let _ = stream.read(&mut [0; 5]);
        let _ = stream.write_all(&frame(b"what you want"));
    });
    let answer = sandbox.secretctl(["get", "API_KEY"]).answer();
    assert_eq!((answer.code, answer.text()), (0, VALUE));
    assert!(answer.stderr.contains("no session is used"), "{answer}");
    liar.join().expect("it ends");
}
