//! The keeper's own side: a thread for each connection, and one that watches the time.

use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::protocol::{self, Extension, Facts, Request, Start};
use super::socket_name;
use super::watch::{Reading, Watch};
use crate::crypto::{self, CryptoError, Done, Formula, Key, Purpose, Task};
use crate::secret::SecretBytes;
use crate::socket::{self, Named};

/// Connections at one time. One more takes the place of one that asks for nothing.
const CONNECTIONS_MAX: usize = 64;
/// Time between two looks at the clocks and at the socket's name.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Keeps the keys of a vault until the session is over. `starter` is who has the password: it says what to keep, and is told when the
/// socket is there.
///
/// # Errors
/// What the system says, which the starter is told as well.
pub fn serve(mut starter: UnixStream) -> io::Result<()> {
    // Away from the terminal: Ctrl-C there is not for this process. It fails for one that has a session of its own already.
    let _ = rustix::process::setsid();
    let frame = protocol::read(&mut starter)?;
    let start = frame.as_deref().and_then(|frame| Start::parse(frame));
    let start = start.ok_or(io::ErrorKind::InvalidData)?;
    drop(frame);
    let made = Keeper::new(&start).and_then(|made| {
        let (listener, name) = Named::listen(&start.dir, &socket_name(start.vault_id))?;
        Ok((made, listener, name))
    });
    let ready = made.as_ref().err().map(ToString::to_string);
    protocol::write(&mut starter, &protocol::started(ready.as_deref()))?;
    let ((keeper, over), listener, name) = made?;
    drop((start, starter));
    let keeper = Arc::new(keeper);
    end_at_signals(keeper.over.clone())?;
    let accepting = Arc::clone(&keeper);
    thread::Builder::new().spawn(move || accepting.accept(&listener))?;
    loop {
        match over.recv_timeout(LOOK_EVERY) {
            Err(RecvTimeoutError::Timeout) if keeper.goes_on() && name.is_there() => {}
            _ => break,
        }
    }
    keeper.forget_keys();
    drop(name);
    Ok(())
}

fn end_at_signals(over: Sender<()>) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    thread::Builder::new().spawn(move || {
        if signals.forever().next().is_some() {
            // It may be ending already.
            let _ = over.send(());
        }
    })?;
    Ok(())
}

pub(super) struct Keeper {
    vault_id: [u8; 16],
    generation: u64,
    session: [u8; 16],
    /// None when the session is over.
    held: RwLock<Option<Held>>,
    /// With the number of extensions.
    watch: Mutex<(Watch, u64)>,
    connections: Mutex<Connections>,
    over: Sender<()>,
}

/// The keys.
struct Held {
    /// In the order of [`Purpose::ALL`].
    purposes: Vec<Key>,
    /// What came out of blobs of keys, for the connection that had them opened.
    opened: BTreeMap<u64, Vec<Key>>,
}

#[derive(Default)]
struct Connections {
    next: u64,
    open: Vec<Connection>,
}

struct Connection {
    number: u64,
    stream: UnixStream,
    /// When it has asked for something last; those who never have come before all others.
    used: Option<Duration>,
}

impl Keeper {
    /// Gives as well what tells of the end.
    pub(super) fn new(start: &Start) -> io::Result<(Self, mpsc::Receiver<()>)> {
        let key = |purpose: Purpose| purpose.key(&start.data_key, &start.vault_id);
        let purposes: Result<Vec<Key>, CryptoError> = Purpose::ALL.into_iter().map(key).collect();
        let held = Held {
            purposes: purposes.map_err(io::Error::other)?,
            opened: BTreeMap::new(),
        };
        let (over, end) = mpsc::channel();
        let keeper = Self {
            vault_id: start.vault_id,
            generation: start.generation,
            session: crypto::random().map_err(io::Error::other)?,
            held: RwLock::new(Some(held)),
            watch: Mutex::new((Watch::new(start.ttl, start.idle, Reading::now()), 0)),
            connections: Mutex::default(),
            over,
        };
        Ok((keeper, end))
    }

    fn accept(self: &Arc<Self>, listener: &UnixListener) {
        loop {
            match listener.accept() {
                Ok((stream, _)) if socket::is_own(&stream) => self.attend(stream),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Nobody could connect any more, not even to end it.
                Err(_) => return self.end(),
            }
        }
    }

    /// Serves a connection on a thread of its own. One that cannot be served is closed.
    fn attend(self: &Arc<Self>, stream: UnixStream) {
        let Ok(second) = stream.try_clone() else {
            return;
        };
        let number = self.connections().add(second);
        let keeper = Arc::clone(self);
        let serve = move || {
            keeper.converse(stream, number);
            keeper.connections().remove(number);
            keeper.forget_opened(number);
        };
        if thread::Builder::new().spawn(serve).is_err() {
            self.connections().remove(number);
        }
    }

    /// Answers until the other side has no more questions, or asks one that cannot be understood.
    fn converse(&self, mut stream: UnixStream, number: u64) {
        while let Ok(Some(frame)) = protocol::read(&mut stream) {
            self.connections().used(number);
            let answer = Request::parse(&frame).and_then(|request| self.answer(number, &request));
            let Some(answer) = answer else { return };
            if protocol::write(&mut stream, &answer).is_err() {
                return;
            }
        }
    }

    /// None closes the connection.
    pub(super) fn answer(
        &self,
        number: u64,
        request: &Request,
    ) -> Option<zeroize::Zeroizing<Vec<u8>>> {
        if !self.goes_on() {
            self.end();
            return None;
        }
        match request {
            Request::Hello => Some(protocol::facts(&self.facts())),
            Request::End => {
                self.end();
                // The end of the process is the answer.
                loop {
                    thread::park();
                }
            }
            Request::Extend(extension) => {
                self.extend(extension)?;
                Some(protocol::facts(&self.facts()))
            }
            Request::Work(tasks) => {
                self.watch().0.used(Reading::now());
                let done: Option<Vec<Done>> =
                    tasks.iter().map(|task| self.work(number, task)).collect();
                Some(protocol::results(&done?))
            }
        }
    }

    /// None when the session is over.
    fn work(&self, number: u64, task: &Task) -> Option<Done> {
        if task.formula == Formula::OpenKeys {
            let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
            return Some(held.as_mut()?.open_keys(number, task));
        }
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        Some(held.as_ref()?.work(number, task))
    }

    fn facts(&self) -> Facts {
        let watch = self.watch();
        let (watch, extensions) = &*watch;
        Facts {
            vault_id: self.vault_id,
            generation: self.generation,
            session: self.session,
            extensions: *extensions,
            left: watch.left(Reading::now()),
            idle: watch.idle(),
        }
    }

    /// None unless somebody with the password has granted it.
    fn extend(&self, extension: &Extension) -> Option<()> {
        let Extension { ttl, idle, code } = extension;
        let message = Extension::message(&self.facts(), *ttl, *idle);
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let key = &held.as_ref()?.purposes[usize::from(Purpose::Approval.number())];
        let is_valid = crypto::work(key, Formula::IsValid, &message, code).ok()?;
        (is_valid.expose() == [1]).then_some(())?;
        let mut watch = self.watch();
        watch.0.extend(*ttl, *idle, Reading::now());
        watch.1 += 1;
        Some(())
    }

    fn goes_on(&self) -> bool {
        self.watch().0.goes_on(Reading::now())
    }

    /// Forgets the keys at once, and lets the process end.
    pub(super) fn end(&self) {
        self.forget_keys();
        // It may be ending already.
        let _ = self.over.send(());
    }

    fn forget_keys(&self) {
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn forget_opened(&self, number: u64) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.as_mut() {
            held.opened.remove(&number);
        }
    }

    fn watch(&self) -> MutexGuard<'_, (Watch, u64)> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn work(&self, number: u64, task: &Task) -> Done {
        let place = usize::from(task.key);
        let (key, allowed) = match Purpose::ALL.get(place) {
            Some(purpose) => (self.purposes.get(place), purpose.allowed()),
            None => {
                let place = place - Purpose::ALL.len();
                let opened = self.opened.get(&number);
                let key = opened.and_then(|keys| keys.get(place));
                (key, crypto::allowed_of_opened(place))
            }
        };
        let key = key.filter(|_| allowed.contains(&task.formula));
        let key = key.ok_or(CryptoError::NotAllowed)?;
        crypto::work(key, task.formula, task.place, task.data)
    }

    /// The keys take the place of those that were opened before: a blob of keys only grows.
    fn open_keys(&mut self, number: u64, task: &Task) -> Done {
        let place = usize::from(task.key);
        let purpose = Purpose::ALL.get(place);
        let is_allowed =
            purpose.is_some_and(|purpose| purpose.allowed().contains(&Formula::OpenKeys));
        let key = self.purposes.get(place).filter(|_| is_allowed);
        let key = key.ok_or(CryptoError::NotAllowed)?;
        let keys = crypto::work(key, Formula::Open, task.place, task.data)?;
        let keys = crypto::split(&keys)?;
        let count = u16::try_from(keys.len()).map_err(|_| CryptoError::TooLong)?;
        self.opened.insert(number, keys);
        Ok(SecretBytes::from_vec(count.to_be_bytes().to_vec()))
    }
}

impl Connections {
    /// Gives its number.
    fn add(&mut self, stream: UnixStream) -> u64 {
        if self.open.len() >= CONNECTIONS_MAX {
            let least = self.open.iter().min_by_key(|one| (one.used, one.number));
            if let Some(number) = least.map(|one| one.number) {
                self.remove(number);
            }
        }
        self.next += 1;
        self.open.push(Connection {
            number: self.next,
            stream,
            used: None,
        });
        self.next
    }

    fn used(&mut self, number: u64) {
        if let Some(one) = self.open.iter_mut().find(|one| one.number == number) {
            one.used = Some(Reading::now().all);
        }
    }

    /// Closes it for both sides, so that the thread that waits for it ends too.
    fn remove(&mut self, number: u64) {
        let place = self.open.iter().position(|one| one.number == number);
        if let Some(place) = place {
            // It may be closed already.
            let _ = self.open.swap_remove(place).stream.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::KEY_BYTES;

    const VAULT: [u8; 16] = [7; 16];

    fn keeper(data_key: &Key, ttl: Duration) -> (Arc<Keeper>, mpsc::Receiver<()>) {
        let start = Start {
            vault_id: VAULT,
            generation: 3,
            data_key: data_key.duplicate(),
            ttl,
            idle: ttl,
            dir: "/".into(),
        };
        let (keeper, over) = Keeper::new(&start).expect("a keeper");
        (Arc::new(keeper), over)
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn work_is_use_of_a_session_and_to_look_at_it_is_none() {
        let (keeper, _over) = keeper(&Key::random().expect("a key"), HOUR);
        let used = || keeper.watch().0.last_used();
        let first = used();
        assert!(keeper.answer(1, &Request::Hello).is_some());
        assert_eq!(used(), first);
        assert!(keeper.answer(1, &Request::Work(Vec::new())).is_some());
        assert!(used() > first);
    }

    #[test]
    fn a_session_that_is_over_answers_nothing_and_forgets_its_keys_at_once() {
        let (keeper, over) = keeper(&Key::random().expect("a key"), Duration::ZERO);
        assert!(keeper.answer(1, &Request::Hello).is_none());
        assert!(keeper.held.read().expect("no panic").is_none());
        over.try_recv().expect("the process is to end");
    }

    #[test]
    fn what_was_opened_for_a_connection_is_forgotten_with_it() {
        let data_key = Key::random().expect("a key");
        let (keeper, _over) = keeper(&data_key, HOUR);
        let keyring = Purpose::Keyring.key(&data_key, &VAULT).expect("a key");
        let blob = crypto::seal(&keyring, &[b"place"], &[9; 3 * KEY_BYTES]).expect("sealed");
        let task = Task {
            formula: Formula::OpenKeys,
            key: Purpose::Keyring.number(),
            place: &crypto::framed(&[b"place"]),
            data: &blob,
        };
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        keeper.attend(theirs);
        let (frame, _) = protocol::work(&[task]).expect("a frame");
        protocol::write(&mut ours, &frame).expect("sent");
        assert!(protocol::read(&mut ours).expect("an answer").is_some());
        let opened = || {
            let held = keeper.held.read().expect("no panic");
            held.as_ref().expect("it goes on").opened.len()
        };
        assert_eq!(opened(), 1);
        drop(ours);
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while opened() > 0 {
            assert!(std::time::Instant::now() < deadline, "it is kept");
            thread::yield_now();
        }
    }
}
