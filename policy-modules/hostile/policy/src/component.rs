//! The exports of the world `policy`.

use std::hint::black_box;
use std::sync::OnceLock;

mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "policy",
    });
}

use bindings::exports::secretctl::guard::decisions::{
    Decision, Denial, Grant, Guest, Network, Problem, Question, Request, Workdir,
};

/// Bytes of one try to fill the memory.
const MEBIBYTE: usize = 1024 * 1024;

static DEED: OnceLock<String> = OnceLock::new();

struct Component;

bindings::export!(Component with_types_in bindings);

impl Guest for Component {
    fn configure(document: String) -> Vec<Problem> {
        let deed = document.trim_matches('"');
        match deed {
            "refuse" => vec![Problem {
                path: "x\u{1b}[2J".to_owned(),
                message: "no\nthanks".to_owned(),
            }],
            "trap at start" => std::process::abort(),
            _ => {
                DEED.get_or_init(|| deed.to_owned());
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
        let deny = |rule: String| {
            Decision::Deny(Denial {
                rule,
                reason: "because".to_owned(),
                remedy: String::new(),
            })
        };
        match DEED.get().map_or("", String::as_str) {
            "trap" => std::process::abort(),
            "loop" => loop {
                black_box(0);
            },
            "recurse" => deny(recurse(0).to_string()),
            "fill the memory" => {
                let mut all = Vec::new();
                loop {
                    all.push(black_box(vec![1_u8; MEBIBYTE]));
                }
            }
            "answer at length" => deny("x".repeat(100_000)),
            "deny" => deny("a\u{1b}[2J rule".to_owned()),
            "grant another key" => Decision::Allow(Grant {
                keys: vec!["other".to_owned()],
                ..everything
            }),
            "grant no key" => Decision::Allow(Grant {
                keys: Vec::new(),
                ..everything
            }),
            "grant a second" => Decision::Allow(Grant {
                timeout_ms: 1000,
                ..everything
            }),
            // What it was asked is seen in the rule.
            "tell keys" => deny(everything.keys.join(",")),
            "ask" => Decision::Ask(Question {
                text: "really?".to_owned(),
                grant: everything,
            }),
            _ => Decision::Allow(everything),
        }
    }
}

fn recurse(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX {
        return 0;
    }
    recurse(depth + 1) + black_box(1)
}
