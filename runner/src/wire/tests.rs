use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

type Bytes = Vec<u8>;

/// What a plan is made of: a plan itself cannot be printed.
#[derive(Debug, Clone)]
struct Parts {
    program: Bytes,
    expect: Option<(u64, u64)>,
    argv: Vec<Bytes>,
    environment: Vec<(Bytes, Bytes)>,
    home: bool,
    directory: Option<Bytes>,
    timeout: u64,
    limits: (u32, u32, Option<u64>),
    require: Vec<String>,
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40)
}

fn parts() -> impl Strategy<Value = Parts> {
    let limits = any::<(u64, (u32, u32, Option<u64>))>();
    let lists = (
        vec(bytes(), 0..5),
        vec((bytes(), bytes()), 0..5),
        vec(any::<String>(), 0..3),
    );
    let places = (bytes(), any::<bool>(), proptest::option::of(bytes()));
    (places, any::<Option<(u64, u64)>>(), lists, limits).prop_map(
        |((program, home, directory), expect, (argv, environment, require), (timeout, limits))| {
            Parts {
                program,
                expect,
                argv,
                environment,
                home,
                directory,
                timeout,
                limits,
                require,
            }
        },
    )
}

fn plan(parts: Parts) -> Plan {
    let (processes, open_files, file_size_bytes) = parts.limits;
    let timeout = Duration::from_nanos(parts.timeout);
    let variable = |(name, value)| Variable::new(OsString::from_vec(name), value);
    Plan {
        program: OsString::from_vec(parts.program).into(),
        expect: parts.expect.map(|(dev, ino)| FileId { dev, ino }),
        argv: parts.argv.into_iter().map(OsString::from_vec).collect(),
        environment: parts.environment.into_iter().map(variable).collect(),
        home: if parts.home {
            Home::Temporary
        } else {
            Home::Unchanged
        },
        working_directory: match parts.directory {
            Some(path) => WorkingDirectory::At(OsString::from_vec(path).into()),
            None => WorkingDirectory::Temporary,
        },
        limits: Limits {
            timeout,
            grace: timeout / 2,
            processes,
            open_files,
            file_size_bytes,
        },
        confinement: if parts.home {
            Confinement::Base
        } else {
            let paths: Vec<PathBuf> = parts.require.iter().map(PathBuf::from).collect();
            Confinement::Jail(Jail {
                network: Network::None,
                readable: paths.clone(),
                writable: paths.clone(),
                hidden: paths,
            })
        },
        require: parts.require,
    }
}

/// What was read is what was sent if it is sent as the same bytes: a plan cannot be compared
/// either.
fn round_trip<T: Wire>(value: &T) {
    let sent = Writer::message(value).unwrap();
    let mut messages = Messages::default();
    messages.push(&sent);
    let received: T = messages.next().unwrap().unwrap();
    assert!(sent == Writer::message(&received).unwrap());
    assert!(messages.next::<T>().unwrap().is_none());
}

proptest! {
    #[test]
    fn plans_arrive_as_they_were_sent(parts in parts(), bases in vec(bytes(), 0..3), stdin: bool) {
        let plan = plan(parts);
        round_trip(&Command::Expect(Expectation {
            network: Network::None,
            faults: Faults(plan.require.clone()),
        }));
        #[cfg(target_os = "linux")]
        if let Confinement::Jail(jail) = &plan.confinement {
            round_trip(&Order::Finish(Reach::of(jail)));
        }
        round_trip(&Command::Prepare(Preparation {
            confinement: plan.confinement.clone(),
            directory: stdin,
            bases: bases.into_iter().map(|path| OsString::from_vec(path).into()).collect(),
            faults: Faults(plan.require.clone()),
        }));
        round_trip(&Command::Start(Request { plan, stdin }));
    }

    #[test]
    fn any_bytes_are_a_value_or_malformed(bytes in vec(any::<u8>(), 0..200), tag in 0..7u8) {
        let mut messages = Messages::default();
        messages.push(&u32::try_from(bytes.len() + 1).unwrap().to_le_bytes());
        messages.push(&[tag]);
        messages.push(&bytes);
        let _ = messages.next::<Command>();
        let mut messages = Messages::default();
        messages.push(&bytes);
        let _ = messages.next::<Event>();
        #[cfg(target_os = "linux")]
        {
            let mut messages = Messages::default();
            messages.push(&bytes);
            let _ = messages.next::<Order>();
        }
    }

    #[test]
    fn a_message_counts_only_when_it_is_whole(parts in parts(), cut in any::<prop::sample::Index>()) {
        let sent = Writer::message(&plan(parts)).unwrap();
        let cut = cut.index(sent.len());
        let mut messages = Messages::default();
        messages.push(&sent[..cut]);
        assert!(messages.next::<Plan>().unwrap().is_none());
        messages.push(&sent[cut..]);
        assert!(messages.next::<Plan>().unwrap().is_some());
    }
}

#[test]
fn every_event_arrives_as_it_was_sent() {
    let layer = Layer {
        name: "kill".into(),
        enforced: true,
        detail: "subreaper".into(),
    };
    let end = End {
        reason: Reason::Deadline,
        status: Status::Signaled(9),
        duration: Duration::from_millis(3),
        leaked: true,
        survivors: false,
        environment_hidden: Some(true),
    };
    let error = StartError {
        stage: Stage::Program,
        cause: Cause::VariableTooLong("NAME".into()),
    };
    for event in [
        Event::Started {
            leader: 42,
            enforcement: Enforcement {
                layers: vec![layer],
            },
        },
        Event::Failed(error),
        Event::Ended(end),
        Event::Cleaned {
            left_behind: Some("/tmp/left".into()),
        },
    ] {
        let mut messages = Messages::default();
        messages.push(&Writer::message(&event).unwrap());
        assert_eq!(messages.next(), Ok(Some(event)));
    }
}

#[test]
fn lengths_beyond_the_limit_and_the_input_are_malformed() {
    let next = |bytes: &[u8]| {
        let mut messages = Messages::default();
        messages.push(bytes);
        messages.next::<Vec<u8>>().map(|found| found.is_some())
    };
    let beyond = u32::try_from(MESSAGE_BYTES_MAX + 1).unwrap();
    assert_eq!(next(&beyond.to_le_bytes()), Err(Malformed));
    // A list of four thousand million items in four bytes.
    assert_eq!(next(&[4, 0, 0, 0, 255, 255, 255, 255]), Err(Malformed));
    // A byte too many.
    assert_eq!(next(&[5, 0, 0, 0, 0, 0, 0, 0, 7]), Err(Malformed));
    assert_eq!(next(&[4, 0, 0, 0, 0, 0, 0, 0]), Ok(true));
}

#[test]
fn a_message_that_is_too_long_is_not_sent() {
    let long = Zeroizing::new(vec![0; MESSAGE_BYTES_MAX - 3]);
    assert!(Writer::message(&long).is_err());
}
