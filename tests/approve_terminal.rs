//! Answers with `secretctl approve`: by a person with the master password, and by nobody else.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rmcp::model;
use serde_json::{Value, json};

use support::agent::{Agent, params};
use support::approve::{command, records, server, spawn_run, vault};
use support::process::{kill, wait_for, wait_until};
use support::terminal::Terminal;
use support::{Invocation, PASSWORD, SECRETCTL, Sandbox};

const TERMINAL_QUESTION: &str =
    "Allow [o]nce, allow for this [s]ession, [n]o, ne[v]er in this session, or [l]ater? ";

/// An agent whose client cannot ask.
async fn mute(sandbox: &Sandbox, project: &Path, wait: &str) -> Agent {
    let log = fs::File::create(sandbox.home().join("log")).expect("a file");
    Agent::logging(server(sandbox, project, wait), log).await
}

/// The directory of sockets of a sandbox.
fn sockets(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join(".run/secretctl")
}

/// The socket of a server with a question.
fn socket(sandbox: &Sandbox) -> PathBuf {
    wait_for("a socket", || {
        let mut entries = fs::read_dir(sockets(sandbox)).ok()?.flatten();
        let is_meant = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            name.to_str()
                .is_some_and(|name| name.starts_with("approve-"))
        };
        entries.find(is_meant).map(|entry| entry.path())
    })
}

/// A password file beside the vault.
fn password_file(sandbox: &Sandbox) -> String {
    let path = sandbox.home().join("password");
    fs::write(&path, PASSWORD).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("an own file");
    path.to_str().expect("text").to_owned()
}

/// Answers the one question that waits, in a terminal.
fn answer_in_terminal(sandbox: &Sandbox, letter: &str, then: &str) {
    let mut terminal = Terminal::start(sandbox, "$S approve");
    terminal.shows("Master password: ");
    terminal.types_hidden(PASSWORD);
    terminal.shows("\n\nThe agent \"claude-code\" asks to run a command with secrets.\n");
    terminal.shows_up_to(TERMINAL_QUESTION);
    terminal.types(letter);
    terminal.shows(then);
    terminal.ends(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_in_a_terminal_answers() {
    let (sandbox, project) = vault();
    let agent = mute(&sandbox, &project, "1h").await;
    let run = spawn_run(agent.client.peer(), command("./deploy.sh a"));
    socket(&sandbox);
    // What waits may be looked at without a password.
    let list = Invocation::new(SECRETCTL, sandbox.home()).args(["approve", "--list"]);
    let list = list.answer().succeeded();
    assert!(
        list.text().contains("\n  command      ./deploy.sh a\n"),
        "{list}"
    );
    answer_in_terminal(&sandbox, "o", "Answered: allow once.\n");
    assert_eq!(
        run.await.expect("no panic").output().1,
        "deployed a with [REDACTED:TOKEN]\n"
    );
    // The socket is there only while something waits.
    assert_eq!(
        fs::read_dir(sockets(&sandbox))
            .expect("a directory")
            .count(),
        0
    );
    let log = fs::read_to_string(sandbox.home().join("log")).expect("a file");
    assert!(
        log.ends_with("secretctl: a command waits for an answer: secretctl approve\n"),
        "{log}"
    );

    let run = spawn_run(agent.client.peer(), command("./deploy.sh a"));
    socket(&sandbox);
    answer_in_terminal(&sandbox, "v", "Answered: deny for this session.\n");
    run.await.expect("no panic").refusal();
    agent.run("TOKEN", "./deploy.sh a").await.refusal();
    let said: Vec<Value> = (records(&sandbox).iter())
        .map(|record| record["approval"]["by"].clone())
        .collect();
    assert!(said.contains(&json!("secretctl approve")), "{said:?}");
    let empty = Invocation::new(SECRETCTL, sandbox.home()).args(["approve", "--list"]);
    empty
        .answer()
        .is(0, "", "No command waits for an answer.\n");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_is_asked_as_questions_come() {
    let (sandbox, project) = vault();
    let agents = [
        mute(&sandbox, &project, "1h").await,
        mute(&sandbox, &project, "1h").await,
    ];
    let run = |agent: &Agent, line| spawn_run(agent.client.peer(), command(line));
    let asks = |terminal: &mut Terminal, line: &str| {
        terminal.shows("\nThe agent \"claude-code\" asks");
        terminal.shows_up_to(&format!("\n  command      {line}\n"));
        terminal.shows_up_to(TERMINAL_QUESTION);
    };
    // It waits before anybody watches.
    let first = run(&agents[0], "./deploy.sh first");
    socket(&sandbox);
    let mut terminal = Terminal::start(&sandbox, "$S approve --watch");
    terminal.shows("Master password: ");
    terminal.types_hidden(PASSWORD);
    terminal.shows("\nsecretctl: waiting for commands; Ctrl-C ends this\n");
    asks(&mut terminal, "./deploy.sh first");
    terminal.types("");
    let second = run(&agents[1], "./deploy.sh second");
    asks(&mut terminal, "./deploy.sh second");
    terminal.types("l");
    // What was put off is not asked again.
    for agent in &agents {
        let run = run(agent, "./deploy.sh a");
        asks(&mut terminal, "./deploy.sh a");
        terminal.types("x");
        terminal.shows(TERMINAL_QUESTION);
        terminal.types("o");
        terminal.shows("Answered: allow once.\n");
        run.await.expect("no panic").output();
    }
    first.abort();
    second.abort();
    terminal.kill();
    for agent in agents {
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_without_a_terminal_and_the_password_answers() {
    let (sandbox, project) = vault();
    let agent = mute(&sandbox, &project, "1h").await;
    let run = spawn_run(agent.client.peer(), command("./deploy.sh a"));
    socket(&sandbox);
    // Not with the password of the environment, which the agent may have as well.
    let approve = sandbox.secretctl(["approve"]).stdin("o\no\n").answer();
    assert_eq!(approve.code, 3, "{approve}");
    assert!(approve.stderr.contains("there is no terminal"), "{approve}");
    // And with a file, the answer itself takes a terminal.
    let file = password_file(&sandbox);
    let approve = Invocation::new(SECRETCTL, sandbox.home())
        .args(["approve", "--password-file", &file])
        .stdin("o\n");
    let approve = approve.answer();
    assert_eq!(approve.code, 1, "{approve}");
    assert!(
        approve.stderr.contains("there is no terminal to ask on"),
        "{approve}"
    );
    fs::write(&file, "another password").expect("written");
    let approve = Invocation::new(SECRETCTL, sandbox.home())
        .args(["approve", "--password-file", &file])
        .answer();
    assert_eq!(approve.code, 3, "{approve}");
    assert!(!run.is_finished());
    run.abort();
    agent.stop().await;
}

/// An agent at the socket.
struct Knocking(BufReader<UnixStream>);

impl Knocking {
    fn at(socket: &Path) -> Self {
        Self(BufReader::new(
            UnixStream::connect(socket).expect("it listens"),
        ))
    }

    fn says(&mut self) -> Value {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(1..) => serde_json::from_str(&line).expect("JSON"),
            _ => Value::Null,
        }
    }

    fn waiting(&mut self) -> Vec<Value> {
        self.says()["waiting"].as_array().expect("a list").clone()
    }

    fn answer(&mut self, answer: &Value) -> Value {
        self.send(&format!("{answer}\n"))
    }

    /// Null when the server has hung up.
    fn send(&mut self, text: &str) -> Value {
        let _ = self.0.get_mut().write_all(text.as_bytes());
        self.says()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_without_the_password_answers_at_the_socket() {
    let (sandbox, project) = vault();
    let agent = mute(&sandbox, &project, "1h").await;
    let first = spawn_run(agent.client.peer(), command("./deploy.sh a"));
    let socket = socket(&sandbox);
    let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(&sockets(&sandbox))), (0o600, 0o700));
    let mut knocking = Knocking::at(&socket);
    let nonce = knocking.waiting()[0]["nonce"].clone();
    let yes = |code: Value| json!({ "nonce": nonce, "answer": "allow once", "code": code });
    let no = json!({ "taken": false });
    for code in [vec![], vec![0; 32], vec![255; 31]] {
        assert_eq!(knocking.answer(&yes(json!(code))), no);
    }
    for text in [
        "\n",
        "{}\n",
        "allow once\n",
        &format!("{}\n", json!({ "nonce": nonce, "answer": "allow once" })),
        &format!(
            "{}\n",
            json!({ "nonce": nonce, "answer": "yes", "code": [1] })
        ),
        &format!("{}\n", "x".repeat(100_000)),
    ] {
        let mut knocking = Knocking::at(&socket);
        knocking.waiting();
        assert_eq!(knocking.send(text), Value::Null, "{text:.20}");
    }

    // A person's no to the one, taken for a yes, or for an answer to the other.
    let second = spawn_run(agent.client.peer(), command("./other.sh"));
    let both = wait_for("two questions", || {
        let waiting = Knocking::at(&socket).waiting();
        (waiting.len() == 2).then_some(waiting)
    });
    let other = both
        .iter()
        .find(|one| one["nonce"] != nonce)
        .expect("another one");
    let signed = signed_by_person(&sandbox, &both, other, "n", false);
    let mut as_yes = signed.clone();
    as_yes["answer"] = json!("allow once");
    let mut as_other = signed.clone();
    as_other["nonce"] = nonce.clone();
    assert_eq!(knocking.answer(&as_yes), no);
    assert_eq!(knocking.answer(&as_other), no);
    assert!(!first.is_finished() && !second.is_finished());
    // It counts where it belongs: once.
    assert_eq!(knocking.answer(&signed), json!({ "taken": true }));
    assert_eq!(knocking.answer(&signed), no);
    second.await.expect("no panic").refusal();
    // And not when the same is asked for again.
    let third = spawn_run(agent.client.peer(), command("./other.sh"));
    let again = wait_for("the same question", || {
        let waiting = Knocking::at(&socket).waiting();
        waiting.into_iter().find(|one| one["nonce"] != nonce)
    });
    assert_eq!(again["asked"], other["asked"]);
    let mut as_again = signed.clone();
    as_again["nonce"] = again["nonce"].clone();
    assert_eq!(knocking.answer(&as_again), no);
    assert!(!third.is_finished());
    third.abort();
    first.abort();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_terminals_are_served_at_the_same_time() {
    let (sandbox, project) = vault();
    let agent = mute(&sandbox, &project, "1h").await;
    let run = spawn_run(agent.client.peer(), command("./deploy.sh a"));
    let socket = socket(&sandbox);
    let mut served: Vec<Knocking> = (0..8).map(|_| Knocking::at(&socket)).collect();
    let nonces: Vec<Value> = served
        .iter_mut()
        .map(|one| one.waiting().remove(0)["nonce"].clone())
        .collect();
    assert_eq!(Knocking::at(&socket).says(), Value::Null);
    // An answer is short, and what is longer is none.
    let answer = json!({ "nonce": nonces[0], "answer": "allow once", "code": [] });
    let long = format!("{}{answer}\n", " ".repeat(2048));
    assert_eq!(served.remove(0).send(&long), Value::Null);
    wait_until("a place", || Knocking::at(&socket).says() != Value::Null);
    run.abort();
    agent.stop().await;
}

/// Root gets past all modes, so that it takes root to be another user at a socket, and to have one of another user.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn another_user_neither_asks_nor_hears_what_is_asked() {
    if !rustix::process::geteuid().is_root() {
        return support::skipped("it takes root to be another user");
    }
    if ["setpriv", "python3"].map(support::is_installed) != [true; 2] {
        return;
    }
    let (sandbox, project) = vault();
    let agent = mute(&sandbox, &project, "1h").await;
    let run = spawn_run(agent.client.peer(), command("./deploy.sh a"));
    let real = socket(&sandbox);
    let mut asked = Knocking::at(&real).waiting().remove(0);
    asked["asked"]["words"] = json!(["./deploy.sh", "b"]);
    let other = |script: &str, socket: &Path| {
        let python = Invocation::new("setpriv", sandbox.home())
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .args(["python3", "-c", script])
            .args([socket]);
        python.dir(Path::new("/"))
    };
    let modes = |dir: u32, file: u32| {
        let run = sandbox.home().join(".run");
        for (path, mode) in [
            (sandbox.home(), dir),
            (&run, dir),
            (&sockets(&sandbox), dir),
            (&real, file),
        ] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("an own one");
        }
    };
    modes(0o711, 0o666);
    let hear = "import socket, sys\nother = socket.socket(socket.AF_UNIX)\nother.connect(sys.argv[1])\n\
        print('heard', other.recv(9))";
    other(hear, &real).answer().is(0, "heard b''\n", "");

    let own = sandbox.home().join("own");
    fs::create_dir(&own).expect("a directory");
    std::os::unix::fs::chown(&own, Some(65534), Some(65534)).expect("given away");
    let ask = "import socket, sys\nother = socket.socket(socket.AF_UNIX)\nother.bind(sys.argv[1])\nother.listen()\n\
        print('listens', flush=True)\ntold, _ = other.accept()\ntold.sendall(sys.stdin.buffer.read())";
    let mut server = other(ask, &own.join("socket")).spawn();
    let mut stdin = server.stdin.take().expect("a pipe");
    writeln!(stdin, "{}", json!({ "waiting": [asked] })).expect("sent");
    drop(stdin);
    let stdout = server.stdout.take().expect("a pipe");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("text");
    assert_eq!(line, "listens\n");
    modes(0o700, 0o600);
    let name = real
        .file_name()
        .and_then(|name| name.to_str())
        .expect("text");
    let (vault_of_it, _) = name.rsplit_once('-').expect("a number");
    let forged = real.with_file_name(format!("{vault_of_it}-0.sock"));
    fs::rename(own.join("socket"), &forged).expect("renamed");
    let list = sandbox
        .secretctl(["approve", "--list"])
        .answer()
        .succeeded();
    assert!(
        list.text().contains("./deploy.sh a") && !list.text().contains("./deploy.sh b"),
        "{list}"
    );
    server.wait().expect("it ends");
    run.abort();
    agent.stop().await;
}

/// A server of an agent's making pushes all else out of view.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_nobody_could_read_is_not_shown() {
    let (sandbox, project) = vault();
    let agent = mute(&sandbox, &project, "1h").await;
    let run = spawn_run(agent.client.peer(), command("./deploy.sh a"));
    let real = socket(&sandbox);
    let asked = Knocking::at(&real).waiting().remove(0);
    let mut long = asked.clone();
    long["asked"]["words"] = json!(["./deploy.sh", "x".repeat(4000)]);
    let mut short = asked;
    short["asked"]["words"] = json!(["./deploy.sh", "b"]);
    // More than is read of any server.
    let much = format!("{{\"waiting\":[{short}{}]}}", " ".repeat(4 * 1024 * 1024));
    let name = real
        .file_name()
        .and_then(|name| name.to_str())
        .expect("text");
    let (vault_of_it, _) = name.rsplit_once('-').expect("a number");
    let forged = |number: u32| {
        let name = format!("{vault_of_it}-{number}.sock");
        UnixListener::bind(real.with_file_name(name)).expect("a socket")
    };
    let (short_and_long, longest) = (forged(0), forged(1));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = short_and_long.accept().expect("a person");
        writeln!(stream, "{}", json!({ "waiting": [long, short] })).expect("sent");
        let (mut stream, _) = longest.accept().expect("a person");
        // It is not read to its end.
        let _ = writeln!(stream, "{much}");
    });
    let list = sandbox
        .secretctl(["approve", "--list"])
        .answer()
        .succeeded();
    server.join().expect("no panic");
    let line = |line: &&str| line.starts_with("  command ");
    let commands: Vec<&str> = list.text().lines().filter(line).collect();
    assert_eq!(
        commands,
        [
            "  command      ./deploy.sh b",
            "  command      ./deploy.sh a"
        ]
    );
    run.abort();
    agent.stop().await;
}

/// What `secretctl approve` sends when it is shown `asked` by a server of an agent's making, and a person types `letter`. Then that server
/// says whether it has `taken` the answer.
fn signed_by_person(
    sandbox: &Sandbox,
    all: &[Value],
    asked: &Value,
    letter: &str,
    taken: bool,
) -> Value {
    let real: Vec<PathBuf> = fs::read_dir(sockets(sandbox))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    let [real] = real.as_slice() else {
        panic!("{real:?}")
    };
    let hidden = real.with_extension("hidden");
    fs::rename(real, &hidden).expect("renamed");
    let listener = UnixListener::bind(real).expect("a socket");
    assert!(all.contains(asked));
    let waiting = json!({ "waiting": [asked] });
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a person");
        let mut stream = BufReader::new(stream);
        writeln!(stream.get_mut(), "{waiting}").expect("sent");
        let mut line = String::new();
        stream.read_line(&mut line).expect("text");
        writeln!(stream.get_mut(), "{}", json!({ "taken": taken })).expect("sent");
        serde_json::from_str(&line).expect("JSON")
    });
    let told = match (taken, letter) {
        (false, _) => "warning: it does not wait for an answer any more\n",
        (true, "n") => "Answered: deny.\n",
        (true, _) => "Answered: allow once.\n",
    };
    answer_in_terminal(sandbox, letter, told);
    fs::remove_file(real).expect("removed");
    fs::rename(&hidden, real).expect("renamed");
    server.join().expect("no panic")
}

/// A server of an agent's making shows a harmless command with the number of another question.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_for_what_was_shown() {
    let (sandbox, project) = vault();
    let agent = mute(&sandbox, &project, "1h").await;
    let run = spawn_run(agent.client.peer(), command("./deploy.sh everything"));
    let socket = socket(&sandbox);
    let real = Knocking::at(&socket).waiting().remove(0);
    let mut harmless = real.clone();
    harmless["asked"]["words"] = json!(["./deploy.sh", "nothing"]);
    let all = [real, harmless.clone()];
    let signed = signed_by_person(&sandbox, &all, &harmless, "o", true);
    let mut knocking = Knocking::at(&socket);
    knocking.waiting();
    assert_eq!(knocking.answer(&signed), json!({ "taken": false }));
    assert!(!run.is_finished());
    run.abort();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_too_late_is_none() {
    let (sandbox, project) = vault();
    let agent = mute(&sandbox, &project, "1h").await;
    let request = model::ClientRequest::CallToolRequest(model::CallToolRequest::new(params(
        "secret_run",
        command("./deploy.sh a"),
    )));
    let options = rmcp::service::PeerRequestOptions::no_options();
    let call = agent
        .client
        .peer()
        .send_cancellable_request(request, options)
        .await;
    let other = spawn_run(agent.client.peer(), command("./other.sh"));
    let socket = socket(&sandbox);
    let both = wait_for("two questions", || {
        let waiting = Knocking::at(&socket).waiting();
        (waiting.len() == 2).then_some(waiting)
    });
    let is_first = |one: &&Value| one["asked"]["words"][0] == "./deploy.sh";
    let first = both.iter().find(is_first).expect("it waits");
    let signed = signed_by_person(&sandbox, &both, first, "o", true);
    let mut knocking = Knocking::at(&socket);
    knocking.waiting();
    call.expect("sent").cancel(None).await.expect("cancelled");
    wait_until("one question", || {
        Knocking::at(&socket).waiting().len() == 1
    });
    assert_eq!(knocking.answer(&signed), json!({ "taken": false }));
    other.abort();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_the_jail_does_not_see_the_socket() {
    if cfg!(not(target_os = "linux")) {
        return support::skipped("the view of files is of Linux");
    }
    let (sandbox, project) = vault();
    let agent = mute(&sandbox, &project, "1h").await;
    let run = spawn_run(agent.client.peer(), command("./deploy.sh a"));
    let socket = socket(&sandbox);
    for path in [&*socket, &*sockets(&sandbox), &*sandbox.home().join(".run")] {
        let arguments = json!({ "keys": ["TOKEN"], "command": "ls", "args": ["-a", path] });
        let (code, stdout, _) = agent.call("secret_run", arguments).await.output();
        assert!(
            code != 0 || !stdout.contains("secretctl") && !stdout.contains("approve"),
            "{stdout}"
        );
    }
    if support::is_installed("python3") {
        let missing = "No such file or directory\n";
        assert_eq!(agent.connects("TOKEN", &socket).await, missing);
        // To what is in the project it can.
        let open = project.join("open");
        let _listener = UnixListener::bind(&open).expect("a socket");
        assert_eq!(agent.connects("TOKEN", &open).await, "connected\n");
    }
    run.abort();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_of_a_server_that_died_is_removed() {
    let (sandbox, project) = vault();
    let agent = mute(&sandbox, &project, "1h").await;
    let run = spawn_run(agent.client.peer(), command("./deploy.sh a"));
    let socket = socket(&sandbox);
    kill(agent.pid, rustix::process::Signal::KILL);
    wait_until("its end", || UnixStream::connect(&socket).is_err());
    assert!(socket.exists());
    let list = sandbox.secretctl(["approve", "--list"]).answer();
    list.is(0, "", "No command waits for an answer.\n");
    assert!(!socket.exists());
    run.abort();
}

/// A session opens the vault for every program of the user, an agent's among them: it is no person.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_opens_the_vault_but_answers_nothing() {
    let (sandbox, project) = vault();
    sandbox.secretctl(["unlock"]).answer().succeeded();
    let log = fs::File::create(sandbox.home().join("log")).expect("a file");
    let server = server(&sandbox, &project, "1h").env_remove("SECRETCTL_PASSWORD");
    let agent = Agent::logging(server, log).await;
    let run = spawn_run(agent.client.peer(), command("./deploy.sh a"));
    socket(&sandbox);
    let approve = Invocation::new(SECRETCTL, sandbox.home()).args(["approve"]);
    let approve = approve.stdin("o\n").answer();
    assert_eq!(approve.code, 3, "{approve}");
    // The server has no key to make an answer with, and knows one all the same.
    answer_in_terminal(&sandbox, "o", "Answered: allow once.\n");
    run.await.expect("no panic").output();
    agent.stop().await;
    let lock = Invocation::new(SECRETCTL, sandbox.home()).args(["lock"]);
    lock.answer().succeeded();
}
