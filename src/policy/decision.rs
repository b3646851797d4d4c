//! The answer to a request, with the limits under which it holds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::SecretName;

/// Whether a command may reach a network. The later word is the stricter one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// It may.
    #[default]
    Allow,
    /// It may not.
    None,
}

/// Where a command runs when the request names no directory. The later word is the stricter one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Workdir {
    /// In the project's root.
    Project,
    /// In a fresh directory that is gone afterwards.
    #[default]
    Temporary,
}

/// A yes with its limits. Nobody goes beyond it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The names that may be used: a subset of the request's.
    pub keys: Vec<SecretName>,
    /// How long the command may run.
    pub timeout: Duration,
    /// Bytes kept of each output stream.
    pub output_bytes: u64,
    /// Whether the command may reach a network.
    pub network: Network,
    /// Where it runs when the request names no directory.
    pub workdir: Workdir,
    /// Whether `$NAME` of an injected variable is expanded in arguments.
    pub expand_arguments: bool,
    /// The rule that decided, as a person would look it up; several are joined by `; `.
    pub rule: String,
}

/// A human has to say yes; then the grant holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What the human is asked; several questions are on lines of their own.
    pub text: String,
    /// What a yes allows.
    pub grant: Grant,
}

impl Question {
    /// What to change in the policy file so that nobody is asked, where a rule of the file is what asks.
    pub fn remedy(&self) -> Option<String> {
        let (entry, _) = self.grant.rule.split_once(": ")?;
        if entry.starts_with("allowed_commands[") {
            Some(format!("remove from {entry}:\napproval: ask"))
        } else if entry == "default_action" {
            Some("add a rule for it to allowed_commands".to_owned())
        } else {
            None
        }
    }
}

/// A no that an agent and a person can act on. It does not tell whether a hidden key exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The rule that decided.
    pub rule: String,
    /// What was refused, and why.
    pub reason: String,
    /// The smallest change of the policy file that would allow it: lines to be pasted, with their place; empty when there is none.
    pub remedy: String,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a decision that nobody looks at decides nothing"]
pub enum Decision {
    /// Yes.
    Allow(Grant),
    /// Yes, if a human says so.
    Ask(Question),
    /// No.
    Deny(Denial),
}

impl Decision {
    /// What is granted, now or once a human says so.
    pub fn grant(&self) -> Option<&Grant> {
        match self {
            Decision::Allow(grant) => Some(grant),
            Decision::Ask(question) => Some(&question.grant),
            Decision::Deny(_) => None,
        }
    }

    /// The strictest of two answers: what either denies is denied, what either asks is asked, and the limits of both hold.
    /// Of two denials the first one is kept.
    pub fn and(self, other: Decision) -> Decision {
        use Decision::{Allow, Ask, Deny};
        match (self, other) {
            (Deny(denial), _) | (_, Deny(denial)) => Deny(denial),
            (Allow(a), Allow(b)) => Allow(a.and(b)),
            (Ask(question), Allow(grant)) => Ask(Question {
                grant: question.grant.and(grant),
                ..question
            }),
            (Allow(grant), Ask(question)) => Ask(Question {
                grant: grant.and(question.grant),
                ..question
            }),
            (Ask(a), Ask(b)) => Ask(Question {
                text: join(a.text, &b.text, "\n"),
                grant: a.grant.and(b.grant),
            }),
        }
    }
}

impl Grant {
    fn and(self, other: Grant) -> Grant {
        Grant {
            keys: self
                .keys
                .into_iter()
                .filter(|key| other.keys.contains(key))
                .collect(),
            timeout: self.timeout.min(other.timeout),
            output_bytes: self.output_bytes.min(other.output_bytes),
            network: self.network.max(other.network),
            workdir: self.workdir.max(other.workdir),
            expand_arguments: self.expand_arguments && other.expand_arguments,
            rule: join(self.rule, &other.rule, "; "),
        }
    }
}

fn join(first: String, second: &str, between: &str) -> String {
    if first == second {
        first
    } else {
        first + between + second
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn grant() -> impl Strategy<Value = Grant> {
        let keys = proptest::sample::subsequence(vec!["a", "b", "c/d", "e"], 0..=4);
        let network = prop_oneof![Just(Network::Allow), Just(Network::None)];
        let workdir = prop_oneof![Just(Workdir::Project), Just(Workdir::Temporary)];
        (
            keys.prop_shuffle(),
            0..4u64,
            0..4u64,
            network,
            workdir,
            any::<bool>(),
            "[a-c]",
        )
            .prop_map(
                |(keys, seconds, output_bytes, network, workdir, expand_arguments, rule)| Grant {
                    keys: keys.iter().map(|key| key.parse().unwrap()).collect(),
                    timeout: Duration::from_secs(seconds),
                    output_bytes,
                    network,
                    workdir,
                    expand_arguments,
                    rule,
                },
            )
    }

    fn decision() -> impl Strategy<Value = Decision> {
        let text = || "[a-c]";
        prop_oneof![
            grant().prop_map(Decision::Allow),
            (text(), grant()).prop_map(|(text, grant)| Decision::Ask(Question { text, grant })),
            (text(), text(), text()).prop_map(|(rule, reason, remedy)| Decision::Deny(Denial {
                rule,
                reason,
                remedy
            })),
        ]
    }

    /// All of a decision but its texts: 0 allow, 1 ask, 2 deny, and the limits.
    type Effect = (
        u8,
        Option<(BTreeSet<String>, Duration, u64, Network, Workdir, bool)>,
    );

    fn effect(decision: &Decision) -> Effect {
        let limits = |g: &Grant| {
            let keys = g.keys.iter().map(ToString::to_string).collect();
            Some((
                keys,
                g.timeout,
                g.output_bytes,
                g.network,
                g.workdir,
                g.expand_arguments,
            ))
        };
        match decision {
            Decision::Allow(grant) => (0, limits(grant)),
            Decision::Ask(question) => (1, limits(&question.grant)),
            Decision::Deny(_) => (2, None),
        }
    }

    fn is_within(inner: &Decision, outer: &Decision) -> bool {
        match (effect(inner), effect(outer)) {
            ((2, _), _) => true,
            ((kind, Some(a)), (outer_kind, Some(b))) => {
                kind >= outer_kind
                    && a.0.is_subset(&b.0)
                    && a.1 <= b.1
                    && a.2 <= b.2
                    && (a.3 == Network::None || b.3 == Network::Allow)
                    && (a.4 == Workdir::Temporary || b.4 == Workdir::Project)
                    && (!a.5 || b.5)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn joining_never_widens(a in decision(), b in decision()) {
            let both = a.clone().and(b.clone());
            prop_assert!(is_within(&both, &a), "{both:?} is wider than {a:?}");
            prop_assert!(is_within(&both, &b), "{both:?} is wider than {b:?}");
        }

        #[test]
        fn joining_never_tightens_more_than_one_of_both_did(a in decision(), b in decision()) {
            let (both, a, b) = (effect(&a.clone().and(b.clone())), effect(&a), effect(&b));
            prop_assert_eq!(both.0, a.0.max(b.0));
            if let ((_, Some(both)), (_, Some(a)), (_, Some(b))) = (both, a, b) {
                let shared: BTreeSet<_> = a.0.intersection(&b.0).cloned().collect();
                prop_assert_eq!(both, (shared, a.1.min(b.1), a.2.min(b.2), a.3.max(b.3), a.4.max(b.4), a.5 && b.5));
            }
        }

        #[test]
        fn the_order_does_not_matter(a in decision(), b in decision(), c in decision()) {
            prop_assert_eq!(effect(&a.clone().and(b.clone())), effect(&b.clone().and(a.clone())));
            let (left, right) = (a.clone().and(b.clone()).and(c.clone()), a.and(b.and(c)));
            prop_assert_eq!(effect(&left), effect(&right));
        }
    }

    #[test]
    fn a_joined_question_keeps_both_texts_and_both_rules() {
        let grant = |rule: &str| Grant {
            keys: vec![],
            timeout: Duration::ZERO,
            output_bytes: 0,
            network: Network::Allow,
            workdir: Workdir::Temporary,
            expand_arguments: true,
            rule: rule.to_owned(),
        };
        let ask = |rule: &str| {
            Decision::Ask(Question {
                text: format!("{rule}?"),
                grant: grant(rule),
            })
        };
        let Decision::Ask(both) = ask("x").and(ask("y")) else {
            panic!("not a question")
        };
        assert_eq!(
            (both.text.as_str(), both.grant.rule.as_str()),
            ("x?\ny?", "x; y")
        );
    }
}
