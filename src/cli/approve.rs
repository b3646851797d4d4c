//! `secretctl approve`

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::args::ApproveArgs;
use super::failure::{Failure, codes};
use super::unlock::Access;
use super::{output, terminal};
use crate::broker::{Answer, Desk, PersonDoor, Posted, Said};

/// Most that is read of what a server says at once, in bytes: sixteen questions, each about a command of 4,000 characters with 100 keys.
const SAID_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Time for a server to say what waits: one that says nothing keeps nobody from the others.
const SAYING_TIME: Duration = Duration::from_secs(5);
/// What is typed for each answer.
const CHOICES: [(&str, Answer); 4] = [
    ("o", Answer::Once),
    ("s", Answer::Session),
    ("n", Answer::No),
    ("v", Answer::Never),
];
const QUESTION: &str =
    "Allow [o]nce, allow for this [s]ession, [n]o, ne[v]er in this session, or [l]ater? ";

/// A server with its questions.
struct Server {
    stream: BufReader<UnixStream>,
    waiting: Vec<Posted>,
}

pub(super) fn run(access: &Access, args: &ApproveArgs) -> Result<u8, Failure> {
    let no_place = || Failure::new("there is no directory for sockets");
    let desk = access.desk()?.ok_or_else(no_place)?;
    if args.list {
        return list(&desk);
    }
    // Whoever can use an unlocked vault can run an agent's commands anyway: an answer is worth something only if it takes more than that.
    let door = access.door_by_person()?;
    let mut seen = HashSet::new();
    if !args.watch {
        if answer_all(&door, &desk, &mut seen)? == 0 {
            output::done("No command waits for an answer.");
        }
        return Ok(codes::DONE);
    }
    let (bell, _place) = desk.watch()?;
    output::ours("waiting for commands; Ctrl-C ends this");
    answer_all(&door, &desk, &mut seen)?;
    for rung in bell.incoming() {
        drop(rung?);
        answer_all(&door, &desk, &mut seen)?;
    }
    Ok(codes::DONE)
}

fn list(desk: &Desk) -> Result<u8, Failure> {
    let mut text = String::new();
    for posted in servers(desk).iter().flat_map(|server| &server.waiting) {
        text.push_str(&posted.text()?);
        text.push('\n');
    }
    if text.is_empty() {
        output::done("No command waits for an answer.");
    }
    output::result(text.as_bytes())
}

/// Asks about each question that was not shown before. Says how many there were.
fn answer_all(
    door: &PersonDoor,
    desk: &Desk,
    seen: &mut HashSet<[u8; 32]>,
) -> Result<usize, Failure> {
    let mut count = 0;
    for mut server in servers(desk) {
        for posted in std::mem::take(&mut server.waiting) {
            if seen.insert(*posted.nonce()) {
                count += 1;
                answer(door, &mut server, &posted)?;
            }
        }
    }
    Ok(count)
}

fn answer(door: &PersonDoor, server: &mut Server, posted: &Posted) -> Result<(), Failure> {
    let Some(answer) = choice(&posted.text()?)? else {
        return Ok(());
    };
    let signed = door.answer(posted, answer)?;
    let signed = serde_json::to_string(&signed).map_err(Failure::new)?;
    let sent = writeln!(server.stream.get_mut(), "{signed}");
    let taken = sent.is_ok() && matches!(said(&mut server.stream), Some(Said::Taken(true)));
    if taken {
        output::done(&format!("Answered: {}.", answer.as_str()));
    } else {
        output::warn("it does not wait for an answer any more");
    }
    Ok(())
}

/// What a person chooses; none for later.
fn choice(text: &str) -> Result<Option<Answer>, Failure> {
    let mut question = format!("\n{text}\n{QUESTION}");
    loop {
        let typed = terminal::ask(&question).map_err(|_| {
            Failure::new("there is no terminal to ask on").next("answer in a terminal")
        })?;
        // At the end of what can be typed, nobody answers any more.
        if typed.is_empty() || typed == "l" {
            return Ok(None);
        }
        match CHOICES.iter().find(|(letter, _)| *letter == typed) {
            Some((_, answer)) => return Ok(Some(*answer)),
            None => question = QUESTION.to_owned(),
        }
    }
}

/// All servers of this vault with what waits there. One that says nothing sensible is none, and what nobody could read no question.
fn servers(desk: &Desk) -> Vec<Server> {
    let server = |stream: UnixStream| {
        stream.set_read_timeout(Some(SAYING_TIME)).ok()?;
        let mut stream = BufReader::new(stream);
        match said(&mut stream) {
            Some(Said::Waiting(mut waiting)) => {
                waiting.retain(|posted| posted.text().is_ok());
                Some(Server { stream, waiting })
            }
            _ => None,
        }
    };
    desk.servers().into_iter().filter_map(server).collect()
}

fn said(stream: &mut BufReader<UnixStream>) -> Option<Said> {
    let mut line = Vec::new();
    let read = stream.take(SAID_MAX_BYTES).read_until(b'\n', &mut line);
    read.ok()?;
    serde_json::from_slice(&line).ok()
}
