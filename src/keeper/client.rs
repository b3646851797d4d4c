//! The side of those who want something of a keeper.

use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::protocol::{self, Extension, Facts, Start};
use super::{ARGUMENT, socket_name};
use crate::crypto::{self, CryptoError, Done, Formula, Key, KeyService, Task};
use crate::socket;

/// Longest wait for an answer: none takes as long, and what does not answer is no keeper.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Starts a keeper, which is `program` with [`ARGUMENT`], and waits until others can connect to it. The key goes over a pair of
/// sockets: neither the arguments nor the environment of the keeper have any of it.
///
/// # Errors
/// Why there is none.
pub fn start(program: &Path, start: &Start) -> io::Result<()> {
    secretctl_runner::bequeath_nothing();
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(program);
    command
        .arg(ARGUMENT)
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn()?;
    // Its end of the pair, which the command has kept.
    drop(command);
    ours.set_read_timeout(Some(ANSWER_MAX))?;
    protocol::write(&mut ours, &start.frame().map_err(io::Error::other)?)?;
    let answer = protocol::read(&mut ours)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    match protocol::parse_started(&answer) {
        None => Ok(()),
        Some(fact) => Err(io::Error::other(fact)),
    }
}

/// A connection to a keeper.
pub struct Client {
    stream: Mutex<UnixStream>,
    facts: Facts,
}

impl Client {
    /// Connects to the keeper of this vault; none if there is none.
    ///
    /// # Errors
    /// What stands where the keeper would be, and is none.
    pub fn connect(dir: &Path, vault_id: [u8; 16]) -> io::Result<Option<Self>> {
        let mut stream = match UnixStream::connect(dir.join(socket_name(vault_id))) {
            Ok(stream) => stream,
            Err(error) => return if_any(error),
        };
        if !socket::is_own(&stream) {
            return Err(io::Error::other("it belongs to another user"));
        }
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        // One that is ending at this moment is none.
        let Ok(Some(answer)) = ask(&mut stream, &protocol::hello()) else {
            return Ok(None);
        };
        let facts = protocol::parse_facts(&answer).ok_or(io::ErrorKind::InvalidData)?;
        if facts.vault_id != vault_id {
            return Err(io::Error::other("it is of another vault"));
        }
        let stream = Mutex::new(stream);
        Ok(Some(Self { stream, facts }))
    }

    /// The keys that it has.
    pub fn service(self) -> Arc<dyn KeyService> {
        Arc::new(self)
    }

    /// The session as it was when this connection was made.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Ends the session, and waits until the keeper is gone.
    ///
    /// # Errors
    /// What the system says.
    pub fn end(self) -> io::Result<()> {
        let mut stream = self.stream.into_inner();
        let stream = stream.as_mut().map_err(|_| io::ErrorKind::Other)?;
        match ask(stream, &protocol::end()) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(io::ErrorKind::InvalidData.into()),
            // It closed before it had read all.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives the session more time, which takes the key of approvals.
    ///
    /// # Errors
    /// What the system says, also if the key is not the vault's.
    pub fn extend(&self, ttl: Duration, idle: Duration, approval: &Key) -> io::Result<()> {
        let message = Extension::message(&self.facts, ttl, idle);
        let code = crypto::work(approval, Formula::Mac, &message, &[]).map_err(io::Error::other)?;
        let code = code.expose().try_into();
        let code = code.map_err(|_| io::ErrorKind::InvalidData)?;
        let extension = Extension { ttl, idle, code };
        let answer = self.ask(&protocol::extend(&extension));
        answer.map(drop).map_err(io::Error::other)
    }

    fn ask(&self, frame: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>, CryptoError> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        match ask(&mut stream, frame) {
            Ok(Some(answer)) => Ok(answer),
            _ => {
                // Half an answer may still come: this connection is not to be used again.
                let _ = stream.shutdown(Shutdown::Both);
                Err(CryptoError::Locked)
            }
        }
    }
}

impl KeyService for Client {
    fn work(&self, mut tasks: &[Task<'_>]) -> Result<Vec<Done>, CryptoError> {
        let mut all = Vec::with_capacity(tasks.len());
        while !tasks.is_empty() {
            let (frame, count) = protocol::work(tasks).ok_or(CryptoError::TooLong)?;
            let answer = self.ask(&frame)?;
            let done = protocol::parse_results(&answer).filter(|done| done.len() == count);
            all.extend(done.ok_or(CryptoError::Locked)?);
            tasks = &tasks[count..];
        }
        Ok(all)
    }

    fn is_open(&self) -> bool {
        self.ask(&protocol::hello()).is_ok()
    }
}

/// None if there is nothing at all, or nobody listens any more.
fn if_any(error: io::Error) -> io::Result<Option<Client>> {
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::NotADirectory
        // A path that is too long for a socket.
        | io::ErrorKind::InvalidInput => Ok(None),
        _ => Err(error),
    }
}

fn ask(stream: &mut UnixStream, frame: &[u8]) -> io::Result<Option<zeroize::Zeroizing<Vec<u8>>>> {
    protocol::write(stream, frame)?;
    protocol::read(stream)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::thread;

    use super::*;
    use crate::secret::SecretBytes;

    /// A client of something that answers each request with these bytes, and then says nothing more.
    fn client(answer: Vec<u8>) -> (Client, thread::JoinHandle<io::Result<usize>>) {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let facts = protocol::parse_facts(&[0; 64]).expect("facts");
        let liar = thread::spawn(move || {
            theirs.set_read_timeout(Some(ANSWER_MAX))?;
            protocol::read(&mut theirs)?;
            protocol::write(&mut theirs, &answer)?;
            theirs.shutdown(Shutdown::Write)?;
            theirs.read(&mut [0])
        });
        let stream = Mutex::new(ours);
        (Client { stream, facts }, liar)
    }

    fn tasks() -> [Task<'static>; 2] {
        let (formula, key) = (Formula::Mac, 0);
        let (place, data) = (b"".as_slice(), b"".as_slice());
        [(); 2].map(|()| Task {
            formula,
            key,
            place,
            data,
        })
    }

    #[test]
    fn another_number_of_results_is_no_answer() {
        let one = || Ok(SecretBytes::from_vec(vec![1]));
        for (done, locked) in [(vec![one()], true), (vec![one(), one()], false)] {
            let (client, _liar) = client(protocol::results(&done).to_vec());
            let answer = client.work(&tasks());
            assert_eq!(answer.err(), locked.then_some(CryptoError::Locked));
        }
    }

    #[test]
    fn nothing_is_asked_again_behind_half_an_answer() {
        let (client, liar) = client(vec![0, 0, 0, 9, 0]);
        assert_eq!(client.work(&tasks()).err(), Some(CryptoError::Locked));
        // It sees the end, while the client is still there.
        assert_eq!(liar.join().expect("no panic").ok(), Some(0));
        assert!(!client.is_open());
    }
}
