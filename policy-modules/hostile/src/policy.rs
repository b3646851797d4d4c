//! Deeds of a policy module.

use std::hint::black_box;
use std::sync::OnceLock;

use crate::PolicyDeed;
use crate::component::Component;
use crate::component::bindings::exports::secretctl::guard::decisions::{
    Decision, Denial, Grant, Guest, Key, Network, Problem, Question, Request, Workdir,
};
use crate::component::bindings::wasi;

/// Bytes of one try to fill the memory.
const MEBIBYTE: usize = 1024 * 1024;
/// An hour, in nanoseconds.
const HOUR_NS: u64 = 3_600_000_000_000;

static DEED: OnceLock<Option<PolicyDeed>> = OnceLock::new();

impl Guest for Component {
    fn configure(document: String) -> Vec<Problem> {
        let deed = PolicyDeed::of(&document);
        match deed {
            Some(PolicyDeed::Refuse) => vec![Problem {
                path: "x\u{1b}[2J".to_owned(),
                message: "no\nthanks".to_owned(),
            }],
            Some(PolicyDeed::TrapAtStart) => std::process::abort(),
            _ => {
                DEED.get_or_init(|| deed);
                Vec::new()
            }
        }
    }

    fn decide(request: Request) -> Decision {
        let everything = Grant {
            keys: request.keys.iter().map(|key| key.name.clone()).collect(),
            timeout_ms: u64::MAX,
            output_bytes: u64::MAX,
            network: Network::Allow,
            workdir: Workdir::Project,
            expand_arguments: true,
            rule: String::new(),
        };
        let grant = |keys: Vec<String>| {
            Decision::Allow(Grant {
                keys,
                ..everything.clone()
            })
        };
        let Some(deed) = DEED.get().copied().flatten() else {
            return Decision::Allow(everything);
        };
        match deed {
            // Done in `configure`.
            PolicyDeed::Refuse | PolicyDeed::TrapAtStart => Decision::Allow(everything),
            PolicyDeed::Trap => std::process::abort(),
            PolicyDeed::Loop => loop {
                black_box(0);
            },
            PolicyDeed::Recurse => deny(recurse(0).to_string()),
            PolicyDeed::FillTheMemory => {
                let mut all = Vec::new();
                loop {
                    all.push(black_box(vec![1_u8; MEBIBYTE]));
                }
            }
            PolicyDeed::AnswerAtLength => deny("x".repeat(100_000)),
            PolicyDeed::GrantTooMany => grant(vec!["KEY".to_owned(); 100_000]),
            PolicyDeed::GrantAnotherKey => grant(vec!["other".to_owned()]),
            PolicyDeed::GrantNoKey => grant(Vec::new()),
            PolicyDeed::GrantASecond => Decision::Allow(Grant {
                timeout_ms: 1000,
                ..everything
            }),
            PolicyDeed::Deny => deny("a\u{1b}[2J rule".to_owned()),
            PolicyDeed::Forge => Decision::Deny(Denial {
                rule: "hours\nRule: built-in".to_owned(),
                reason: "no\u{202e}\u{2028}\u{e0041}\nRule: forged".to_owned(),
                remedy: "first\nRule: policies[0]\n\nA person: second".to_owned(),
            }),
            PolicyDeed::Ask => Decision::Ask(Question {
                text: "really?".to_owned(),
                grant: everything,
            }),
            PolicyDeed::TellKeys => deny(everything.keys.join(",")),
            PolicyDeed::TellTags => {
                let told = |key: &Key| format!("{}={}", key.name, key.tags.join("+"));
                deny(request.keys.iter().map(told).collect::<Vec<_>>().join(","))
            }
            PolicyDeed::AskAtLength => Decision::Ask(Question {
                text: "x".repeat(100_000),
                grant: everything,
            }),
            PolicyDeed::TellSurroundings => deny(surroundings()),
            PolicyDeed::TellTheTime => deny(times()),
            PolicyDeed::TellRandomNumbers => {
                deny(format!("{:?}", wasi::random::random::get_random_bytes(16)))
            }
            PolicyDeed::Connect => deny(connections()),
            PolicyDeed::WriteAMebibyte => {
                write_a_mebibyte();
                Decision::Allow(everything)
            }
            PolicyDeed::TakeRandomBytes => deny(
                wasi::random::random::get_random_bytes(4 << 30)
                    .len()
                    .to_string(),
            ),
            PolicyDeed::HoardWaits => {
                let mut all = Vec::new();
                loop {
                    all.push(wasi::clocks::monotonic_clock::subscribe_duration(HOUR_NS));
                }
            }
            PolicyDeed::Exit => {
                wasi::cli::exit::exit(Ok(()));
                Decision::Allow(everything)
            }
        }
    }
}

fn deny(rule: String) -> Decision {
    Decision::Deny(Denial {
        rule,
        reason: "because".to_owned(),
        remedy: String::new(),
    })
}

fn surroundings() -> String {
    let input = wasi::cli::stdin::get_stdin().blocking_read(10);
    format!(
        "{} directories, {} variables, {} arguments, input: {}",
        wasi::filesystem::preopens::get_directories().len(),
        wasi::cli::environment::get_environment().len(),
        wasi::cli::environment::get_arguments().len(),
        input.map_or_else(|_| "none".to_owned(), |bytes| format!("{bytes:?}")),
    )
}

fn times() -> String {
    let now = || {
        let (wall, ticks) = (
            wasi::clocks::wall_clock::now(),
            wasi::clocks::monotonic_clock::now(),
        );
        format!("{}.{} {ticks}", wall.seconds, wall.nanoseconds)
    };
    let before = now();
    wasi::clocks::monotonic_clock::subscribe_duration(HOUR_NS).block();
    format!("{before}, {}", now())
}

fn connections() -> String {
    use wasi::sockets::network::{ErrorCode, IpAddressFamily};
    let socket = wasi::sockets::tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4);
    let network = wasi::sockets::instance_network::instance_network();
    let addresses = wasi::sockets::ip_name_lookup::resolve_addresses(&network, "localhost");
    let word = |error: Option<ErrorCode>| error.map_or("it works", |error| error.name());
    format!("{}, {}", word(socket.err()), word(addresses.err()))
}

fn write_a_mebibyte() {
    let (out, err) = (
        wasi::cli::stdout::get_stdout(),
        wasi::cli::stderr::get_stderr(),
    );
    let line = b"a\x1b[2J line\n".repeat(4096 / 11);
    for _ in 0..MEBIBYTE / line.len() {
        // A failure here is one in the test, which looks at what arrived.
        let _ = out.blocking_write_and_flush(&line);
        let _ = err.blocking_write_and_flush(&line);
    }
}

fn recurse(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX {
        return 0;
    }
    recurse(depth + 1) + black_box(1)
}
