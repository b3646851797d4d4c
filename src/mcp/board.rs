//! Questions that wait for a person in another terminal: `secretctl approve` reads them from a socket, and sends answers there.
//!
//! There is a socket only while a question waits. Whoever connects is told what waits, and may answer; an answer counts if its code
//! says that the master password was known to whoever gave it. So anybody may knock.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::broker::{AgentDoor, Answer, Desk, Posted, Said, Signed, SocketName};

/// Terminals that are served at the same time; more are sent away.
const CONNECTIONS_MAX: usize = 8;
/// Longest answer, in bytes: a nonce, a word and a code as lists of numbers.
const ANSWER_MAX_BYTES: u64 = 2048;

/// The questions of this process.
#[derive(Clone, Default)]
pub(super) struct Board(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    connections: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<[u8; 32], Waiting>,
    open: Option<Open>,
}

struct Waiting {
    /// Where it was asked.
    door: Arc<AgentDoor>,
    posted: Posted,
    answer: oneshot::Sender<Answer>,
}

/// The socket, as long as somebody listens at it.
struct Open {
    listening: JoinHandle<()>,
    _name: SocketName,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// A question on the board. It is taken off with this.
pub(super) struct Pinned {
    board: Board,
    nonce: [u8; 32],
    /// The answer, once.
    pub(super) answer: oneshot::Receiver<Answer>,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut state = self.board.state();
        state.waiting.remove(&self.nonce);
        if state.waiting.is_empty() {
            state.open = None;
        }
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }
}

impl Board {
    /// Puts up a question, and rings at all who watch; none if there is no place for sockets here.
    pub(super) fn pin(&self, door: &Arc<AgentDoor>, posted: &Posted) -> io::Result<Option<Pinned>> {
        let Some(desk) = door.desk() else {
            return Ok(None);
        };
        let (sender, answer) = oneshot::channel();
        let nonce = *posted.nonce();
        let mut state = self.state();
        if state.open.is_none() {
            let (listener, name) = desk.open()?;
            listener.set_nonblocking(true)?;
            let listener = UnixListener::from_std(listener)?;
            state.open = Some(Open {
                listening: tokio::spawn(self.clone().listen(listener)),
                _name: name,
            });
        }
        let waiting = Waiting {
            door: Arc::clone(door),
            posted: posted.clone(),
            answer: sender,
        };
        state.waiting.insert(nonce, waiting);
        drop(state);
        let watched = desk.clone();
        drop(tokio::task::spawn_blocking(move || watched.ring()));
        Ok(Some(Pinned {
            board: self.clone(),
            nonce,
            answer,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        (self.0.state.lock()).unwrap_or_else(PoisonError::into_inner)
    }

    async fn listen(self, listener: UnixListener) {
        // Without a listener nobody is answered any more, which denies.
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(permit) = Arc::clone(&self.0.connections).try_acquire_owned() else {
                continue;
            };
            let board = self.clone();
            tokio::spawn(async move {
                // Whoever goes away, or says what is no answer, is not listened to any more.
                let _ = board.serve(stream).await;
                drop(permit);
            });
        }
    }

    async fn serve(&self, stream: UnixStream) -> io::Result<()> {
        if !Desk::is_of_this_user(&stream) {
            return Ok(());
        }
        let (reader, mut writer) = stream.into_split();
        let waiting = self.waiting();
        say(&mut writer, &Said::Waiting(waiting)).await?;
        let mut reader = BufReader::new(reader);
        loop {
            let mut line = Vec::new();
            let mut limited = (&mut reader).take(ANSWER_MAX_BYTES);
            if limited.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            let signed: Signed = serde_json::from_slice(&line)?;
            let taken = self.take(&signed);
            say(&mut writer, &Said::Taken(taken)).await?;
        }
    }

    fn waiting(&self) -> Vec<Posted> {
        let state = self.state();
        state
            .waiting
            .values()
            .map(|one| one.posted.clone())
            .collect()
    }

    /// Gives an answer to whoever waits for it. A question is answered once.
    fn take(&self, signed: &Signed) -> bool {
        let nonce = signed.nonce();
        let find = |one: &Waiting| (Arc::clone(&one.door), one.posted.clone());
        let Some((door, posted)) = self.state().waiting.get(nonce).map(find) else {
            return false;
        };
        let Ok(Some(answer)) = door.verified(&posted, signed) else {
            return false;
        };
        let waiting = self.state().waiting.remove(nonce);
        waiting.is_some_and(|one| one.answer.send(answer).is_ok())
    }
}

async fn say(writer: &mut (impl AsyncWriteExt + Unpin), said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    writer.write_all(&line).await
}
