//! What is understood, what is not, and what nobody gets.

use std::io::{self, Read};

use proptest::prelude::*;

use super::protocol::{self, Facts, Request, Start};
use crate::crypto::{
    self, CryptoError, Done, Formula, KEY_BYTES, Key, Purpose, Task, allowed_of_opened,
};
use crate::secret::SecretBytes;

const VAULT: [u8; 16] = [7; 16];

fn body(frame: &[u8]) -> &[u8] {
    &frame[4..]
}

fn task<'a>(formula: Formula, key: u16, place: &'a [u8], data: &'a [u8]) -> Task<'a> {
    Task {
        formula,
        key,
        place,
        data,
    }
}

/// Gives a byte at a time, each after a signal.
struct Interrupted<'a>(&'a [u8], bool);

impl Read for Interrupted<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        match self.1 {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => self.0.read(&mut to[..1]),
        }
    }
}

#[test]
fn a_signal_to_the_reader_is_no_end_of_the_session() {
    let frame = protocol::hello();
    let mut stream = Interrupted(&frame, false);
    let read = protocol::read(&mut stream).expect("readable");
    assert_eq!(read.as_deref().map(Vec::as_slice), Some(body(&frame)));
    assert_eq!(protocol::read(&mut stream).expect("readable"), None);
}

#[test]
fn what_is_sent_is_understood() {
    let tasks = [
        task(Formula::Seal, 0, b"place", b"plaintext"),
        task(Formula::Mac, 700, b"", b""),
    ];
    let (frame, count) = protocol::work(&tasks).expect("a frame");
    assert_eq!(count, 2);
    assert_eq!(
        Request::parse(body(&frame)),
        Some(Request::Work(tasks.to_vec()))
    );
    assert_eq!(
        Request::parse(body(&protocol::hello())),
        Some(Request::Hello)
    );
    assert_eq!(Request::parse(body(&protocol::end())), Some(Request::End));
    assert!(protocol::parse_facts(&[0; 64]).is_some());
    assert!(protocol::parse_facts(&[0; 65]).is_none());
    let read = protocol::read(&mut &frame[..]).expect("whole");
    assert_eq!(read.as_deref().map(Vec::as_slice), Some(body(&frame)));
    assert!(protocol::read(&mut &[][..]).expect("an end").is_none());
}

#[test]
fn many_tasks_go_into_several_frames_and_a_large_one_goes_alone() {
    let small: Vec<Task> = vec![task(Formula::Mac, 1, b"", b""); protocol::TASKS_MAX + 1];
    assert_eq!(
        protocol::work(&small).map(|(_, count)| count),
        Some(protocol::TASKS_MAX)
    );
    // More are not answered either: their results could be longer than a frame.
    let task_bytes = [&[Formula::Mac as u8][..], &[0; 10]].concat();
    let of = |count: usize| [b"w".to_vec(), task_bytes.repeat(count)].concat();
    assert!(Request::parse(&of(protocol::TASKS_MAX)).is_some());
    assert!(Request::parse(&of(protocol::TASKS_MAX + 1)).is_none());
    let large = vec![0; 100 * 1024 * 1024];
    let tasks = [
        task(Formula::Seal, 0, b"", &large),
        task(Formula::Mac, 1, b"", b""),
    ];
    let (frame, count) = protocol::work(&tasks).expect("a frame");
    assert_eq!(count, 1);
    let read = protocol::read(&mut &frame[..])
        .expect("whole")
        .expect("a frame");
    assert!(*read == *body(&frame));
    let too_large = vec![0; 128 * 1024 * 1024];
    assert!(protocol::work(&[task(Formula::Seal, 0, b"", &too_large)]).is_none());
}

#[test]
fn a_frame_that_is_too_long_is_refused_before_it_has_come() {
    let length = (128 * 1024 * 1024_u32 + 1).to_be_bytes();
    assert!(protocol::read(&mut &length[..]).is_err());
    assert!(protocol::read(&mut &[0, 0, 0, 2, b'h'][..]).is_err());
    assert!(protocol::read(&mut &[0, 0][..]).is_err());
}

#[test]
fn results_come_back_as_they_were() {
    let secret = |bytes: &[u8]| SecretBytes::from_vec(bytes.to_vec());
    let done: [Done; 4] = [
        Ok(secret(b"result")),
        Err(CryptoError::NotAuthentic),
        Err(CryptoError::NotAllowed),
        Ok(secret(b"")),
    ];
    let frame = protocol::results(&done);
    let back = protocol::parse_results(body(&frame)).expect("results");
    let shown = |done: &Done| {
        done.as_ref()
            .map(|bytes| bytes.expose().to_vec())
            .map_err(|error| *error)
    };
    assert_eq!(
        back.iter().map(shown).collect::<Vec<_>>(),
        done.iter().map(shown).collect::<Vec<_>>()
    );
}

proptest! {
    #[test]
    fn nothing_that_is_received_brings_anybody_down(mut bytes: Vec<u8>, kind in prop::sample::select(b"hwex".to_vec())) {
        let _ = Request::parse(&bytes);
        let _ = protocol::parse_results(&bytes);
        let _ = protocol::parse_facts(&bytes);
        let _ = Start::parse(&bytes);
        let _ = protocol::read(&mut &bytes[..]);
        bytes.insert(0, kind);
        let _ = Request::parse(&bytes);
    }

    #[test]
    fn a_request_that_is_cut_or_goes_on_is_none(place: Vec<u8>, data: Vec<u8>, cut: prop::sample::Index) {
        let (frame, _) = protocol::work(&[task(Formula::Open, 3, &place, &data)]).expect("a frame");
        let whole = body(&frame);
        // A request for nothing is one.
        let cut = 2 + cut.index(whole.len() - 2);
        prop_assert!(Request::parse(&whole[..cut]).is_none());
        prop_assert!(Request::parse(&[whole, &[0]].concat()).is_none());
    }
}

/// A keeper in this process, without a socket.
fn keeper(data_key: &Key) -> super::serve::Keeper {
    let start = Start {
        vault_id: VAULT,
        generation: 3,
        data_key: data_key.duplicate(),
        ttl: std::time::Duration::from_secs(1000),
        idle: std::time::Duration::from_secs(100),
        dir: "/".into(),
    };
    super::serve::Keeper::new(&start).expect("a keeper").0
}

fn ask(keeper: &super::serve::Keeper, connection: u64, tasks: &[Task]) -> Option<Vec<Done>> {
    let answer = keeper.answer(connection, &Request::Work(tasks.to_vec()))?;
    protocol::parse_results(body(&answer))
}

/// The blob of the audit keys of one epoch, as a vault has it.
fn sealed_epoch(data_key: &Key) -> (Vec<u8>, Vec<u8>) {
    let keyring = Purpose::Keyring.key(data_key, &VAULT).expect("a key");
    let blob = crypto::seal(&keyring, &[b"place"], &[9; 3 * KEY_BYTES]).expect("sealed");
    (crypto::framed(&[b"place"]), blob)
}

#[test]
fn each_formula_is_refused_with_each_key_that_it_is_not_for() {
    let data_key = Key::random().expect("a key");
    let keeper = keeper(&data_key);
    let (place, blob) = sealed_epoch(&data_key);
    let count = ask(
        &keeper,
        1,
        &[task(
            Formula::OpenKeys,
            Purpose::Keyring.number(),
            &place,
            &blob,
        )],
    );
    let count = count
        .expect("open")
        .pop()
        .expect("a result")
        .expect("allowed");
    assert_eq!(count.expose(), [0, 3]);
    let all = usize::from(Purpose::FIRST_OPENED);
    for number in 0..all + 5 {
        let allowed = match Purpose::ALL.get(number) {
            Some(purpose) => purpose.allowed(),
            None if number < all + 3 => allowed_of_opened(number - all),
            None => &[],
        };
        for formula in Formula::ALL {
            let key = u16::try_from(number).expect("small");
            let done = ask(&keeper, 1, &[task(formula, key, &place, &blob)]).expect("open");
            let is_refused = done[0].as_ref().err() == Some(&CryptoError::NotAllowed);
            assert_eq!(
                is_refused,
                !allowed.contains(&formula),
                "{number} {formula:?}"
            );
        }
    }
    // What was opened for one connection is not for another.
    let mac = task(Formula::Mac, Purpose::FIRST_OPENED, b"", b"");
    assert!(ask(&keeper, 1, &[mac]).expect("open")[0].is_ok());
    assert_eq!(
        ask(&keeper, 2, &[mac]).expect("open")[0].as_ref().err(),
        Some(&CryptoError::NotAllowed)
    );
}

#[test]
fn approvals_and_native_code_are_vouched_for_by_no_keeper_and_the_audit_keys_stay_sealed() {
    use Formula::{IsValid, OpenKeys};
    assert_eq!(Purpose::Approval.allowed(), [IsValid]);
    assert_eq!(Purpose::Keyring.allowed(), [OpenKeys]);
    assert!(Purpose::Cache.allowed().is_empty());
}

#[test]
fn time_is_granted_once_and_only_with_the_password() {
    use super::protocol::Extension;
    let data_key = Key::random().expect("a key");
    let keeper = keeper(&data_key);
    let facts = || -> Facts {
        let answer = keeper.answer(1, &Request::Hello).expect("an answer");
        protocol::parse_facts(body(&answer)).expect("facts")
    };
    let [ttl, idle] = [5000, 4000].map(std::time::Duration::from_secs);
    let extension = |key: &Key| {
        let message = Extension::message(&facts(), ttl, idle);
        let code = crypto::work(key, Formula::Mac, &message, &[]).expect("a code");
        let code = code.expose().try_into().expect("as long as a code");
        Request::Extend(Extension { ttl, idle, code })
    };
    let other = extension(&Key::random().expect("a key"));
    assert!(keeper.answer(1, &other).is_none());
    assert_eq!(facts().idle.as_secs(), 100);
    let granted = extension(&Purpose::Approval.key(&data_key, &VAULT).expect("a key"));
    assert!(keeper.answer(1, &granted).is_some());
    assert_eq!((facts().idle, facts().extensions), (idle, 1));
    assert!(keeper.answer(1, &granted).is_none(), "it counted twice");
}

#[test]
fn after_the_end_nothing_is_answered() {
    let keeper = keeper(&Key::random().expect("a key"));
    let mac = task(Formula::Mac, Purpose::NameIndex.number(), b"", b"");
    assert!(ask(&keeper, 1, &[mac]).is_some());
    keeper.end();
    assert!(ask(&keeper, 1, &[mac]).is_none());
    assert!(ask(&keeper, 2, &[mac]).is_none());
}
