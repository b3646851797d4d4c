//! The exports of the world `policy`.

use std::sync::OnceLock;

use crate::Hours;

mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "policy",
    });
}

use bindings::exports::secretctl::guard::decisions::{
    Decision, Denial, Grant, Guest, Network, Problem, Purpose, Request, Workdir,
};

static HOURS: OnceLock<Hours> = OnceLock::new();

struct Component;

bindings::export!(Component with_types_in bindings);

impl Guest for Component {
    fn configure(document: String) -> Vec<Problem> {
        match Hours::parse(&document) {
            Ok(hours) => {
                HOURS.get_or_init(|| hours);
                Vec::new()
            }
            Err((path, message)) => vec![Problem { path, message }],
        }
    }

    fn decide(request: Request) -> Decision {
        let time = request.time;
        let deny = |reason: String| {
            Decision::Deny(Denial {
                rule: "hours".to_owned(),
                reason,
                remedy: "change `from`, `to` or `days` of this module".to_owned(),
            })
        };
        match HOURS.get() {
            None => deny("no hours are configured".to_owned()),
            Some(hours) => {
                let open = hours.include(time.unix_seconds, time.utc_offset_minutes);
                if open || request.purpose != Purpose::Inject {
                    Decision::Allow(everything(&request))
                } else {
                    deny(format!("commands run only {}", hours.shown()))
                }
            }
        }
    }
}

/// A yes that leaves all limits to others.
fn everything(request: &Request) -> Grant {
    Grant {
        keys: request.keys.iter().map(|key| key.name.clone()).collect(),
        timeout_ms: u64::MAX,
        output_bytes: u64::MAX,
        network: Network::Allow,
        workdir: Workdir::Project,
        expand_arguments: true,
        rule: "hours".to_owned(),
    }
}
