//! How safely secrets are kept, as far as metadata tells. No value is looked at, so that the score says nothing about one.
//!
//! Each component goes from 0 to 100, and the score is their mean. Only the secrets that the agent may know of count.

use secretctl_runner::{Confinement, Jail};

use super::agent::AgentDoor;
use super::{Broker, RunError};
use crate::audit::Action;
use crate::policy::{Network, Policy};
use crate::time;
use crate::vault::Entry;

const DAY_SECONDS: i64 = 24 * 60 * 60;
/// A secret that expires within this time is to be replaced soon.
const SOON_SECONDS: i64 = 30 * DAY_SECONDS;
/// A secret whose value may be older than this has been around long enough.
const OLD_SECONDS: i64 = 365 * DAY_SECONDS;
/// What is taken off for something that should be otherwise: for what opens all doors, for what opens one, and for what closes none yet.
const SEVERE: u32 = 60;
const SERIOUS: u32 = 30;
const SLIGHT: u32 = 10;
const WHOLE: u32 = 100;

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// The mean of the components.
    pub score: u32,
    /// Expiry, age, policy, confinement, files.
    pub components: [(Component, u32); 5],
    /// What is wrong, the worst first.
    pub issues: Vec<Issue>,
}

/// A part of the score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// Secrets that have expired, or will soon.
    Expiry,
    /// How long ago secrets were changed.
    Age,
    /// How much the policy file lets through.
    Policy,
    /// What of the jail this machine enforces.
    Confinement,
    /// Whether others can get at the vault's files.
    Files,
}

impl Component {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expiry => "expiry",
            Self::Age => "age",
            Self::Policy => "policy",
            Self::Confinement => "confinement",
            Self::Files => "files",
        }
    }
}

/// Something that a person could better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// What it belongs to.
    pub component: Component,
    /// What is taken off from the component for it.
    pub weight: u32,
    /// What is wrong.
    pub fact: String,
    /// What to do.
    pub suggestion: &'static str,
    /// The secrets in question.
    pub keys: Vec<String>,
}

impl AgentDoor {
    /// Rates how safely secrets are kept.
    pub fn score(&self, agent: &str) -> Result<Score, RunError> {
        let entries = self.broker.vault().entries()?;
        let visible = self.visible(agent, entries);
        let visible = self.recorded(agent, Action::SecurityScore, Vec::new(), visible)?;
        let mut issues = of_expiry(&visible, time::now());
        issues.extend(of_age(&visible, time::now()));
        issues.extend(match self.broker.policy() {
            Ok(policy) => of_policy(&policy),
            // Without a usable file nothing runs, which is as strict as can be.
            Err(_) => Vec::new(),
        });
        issues.extend(of_confinement(&self.broker)?);
        issues.extend(of_files(&self.broker));
        Ok(sum(issues))
    }
}

fn sum(mut issues: Vec<Issue>) -> Score {
    use Component::{Age, Confinement, Expiry, Files, Policy};
    let components = [Expiry, Age, Policy, Confinement, Files].map(|component| {
        let of_it = issues.iter().filter(|issue| issue.component == component);
        let off: u32 = of_it.map(|issue| issue.weight).sum();
        (component, WHOLE.saturating_sub(off))
    });
    let total: u32 = components.iter().map(|(_, points)| points).sum();
    // Stable: of two as bad, the component decides.
    issues.sort_by_key(|issue| std::cmp::Reverse(issue.weight));
    Score {
        score: total / 5,
        components,
        issues,
    }
}

/// The share of some of all, in points; at least one for any at all.
fn share(some: usize, all: usize, whole: u32) -> u32 {
    let points = some * whole as usize / all.max(1);
    u32::try_from(points).unwrap_or(whole).max(1)
}

/// An issue about those of `entries` that fit.
fn of_secrets(
    component: Component,
    whole: u32,
    entries: &[Entry],
    fits: impl Fn(&Entry) -> bool,
    (fact, suggestion): (&str, &'static str),
) -> Option<Issue> {
    let found: Vec<&Entry> = entries.iter().filter(|entry| fits(entry)).collect();
    (!found.is_empty()).then(|| Issue {
        component,
        weight: share(found.len(), entries.len(), whole),
        fact: format!("{} of {} secrets {fact}", found.len(), entries.len()),
        suggestion,
        keys: found.iter().map(|entry| entry.name.to_string()).collect(),
    })
}

fn of_expiry(entries: &[Entry], now: i64) -> Vec<Issue> {
    let soon = |entry: &Entry| {
        let expiry = entry.metadata.expires_at;
        !entry.is_expired(now) && expiry.is_some_and(|at| at <= now + SOON_SECONDS)
    };
    let expired = (
        "have expired",
        "store new values, or delete what is not needed any more",
    );
    let expiring = ("expire within 30 days", "store new values in time");
    let issues = [
        of_secrets(
            Component::Expiry,
            WHOLE,
            entries,
            |entry| entry.is_expired(now),
            expired,
        ),
        of_secrets(Component::Expiry, SERIOUS, entries, soon, expiring),
    ];
    issues.into_iter().flatten().collect()
}

fn of_age(entries: &[Entry], now: i64) -> Option<Issue> {
    let old = |entry: &Entry| entry.updated_at < now - OLD_SECONDS;
    let texts = (
        "were not changed for a year",
        "store new values for secrets that have been in use for long",
    );
    of_secrets(Component::Age, WHOLE, entries, old, texts)
}

fn of_policy(policy: &Policy) -> Vec<Issue> {
    let rules = policy.allowed_commands();
    let networked = rules
        .iter()
        .filter(|rule| rule.network == Network::Allow)
        .count();
    let unlimited = rules.iter().filter(|rule| !rule.keys_limited).count();
    let any_agent = policy.agent_policies().is_none();
    let found = [
        (
            policy.allows_by_default(),
            SEVERE,
            "commands are allowed that no rule names".to_owned(),
            "set default_action to deny, and allow single commands",
        ),
        (
            any_agent && unlimited > 0,
            SERIOUS,
            format!(
                "{unlimited} of {} rules let any agent use any secret",
                rules.len()
            ),
            "give rules their keys, or agents their policies",
        ),
        (
            networked > 0,
            SLIGHT,
            format!("{networked} of {} rules allow the network", rules.len()),
            "set network: none where a command needs no network",
        ),
    ];
    let issue = |(holds, weight, fact, suggestion): (bool, u32, String, &'static str)| {
        holds.then(|| Issue {
            component: Component::Policy,
            weight,
            fact,
            suggestion,
            keys: Vec::new(),
        })
    };
    found.into_iter().filter_map(issue).collect()
}

fn of_confinement(broker: &Broker) -> Result<Option<Issue>, RunError> {
    let layers = (broker.runner()?)
        .probe(&Confinement::Jail(Jail::default()))?
        .layers;
    let missing: Vec<&str> = (layers.iter())
        // That a network is allowed is the policy's matter.
        .filter(|layer| !layer.enforced && layer.name != super::jail::NETWORK_LAYER)
        .map(|layer| &*layer.name)
        .collect();
    Ok((!missing.is_empty()).then(|| Issue {
        component: Component::Confinement,
        weight: share(missing.len(), layers.len(), WHOLE),
        fact: format!("this machine does not enforce {}", missing.join(", ")),
        suggestion: "see secretctl status --sandbox; runner.require in the policy file refuses commands where a layer is missing",
        keys: Vec::new(),
    }))
}

fn of_files(broker: &Broker) -> Option<Issue> {
    let count = broker.vault().warnings().len();
    (count > 0).then(|| Issue {
        component: Component::Files,
        weight: WHOLE,
        fact: format!("{count} of the vault's files are accessible to others"),
        suggestion: "see secretctl status; only their owner needs them: chmod 700 for directories, 600 for files",
        keys: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Metadata;

    fn entry(name: &str, updated_at: i64, expires_at: Option<i64>) -> Entry {
        Entry {
            name: name.parse().expect("a name"),
            metadata: Metadata {
                expires_at,
                ..Metadata::default()
            },
            created_at: 0,
            updated_at,
        }
    }

    #[test]
    fn each_component_falls_with_its_own_issues() {
        let now = 10 * OLD_SECONDS;
        let entries = [
            entry("expired", now, Some(now)),
            entry("soon", now, Some(now + SOON_SECONDS)),
            entry("old", now - OLD_SECONDS - 1, None),
            entry("fine", now - OLD_SECONDS, Some(now + SOON_SECONDS + 1)),
        ];
        let mut issues = of_expiry(&entries, now);
        issues.extend(of_age(&entries, now));
        let found: Vec<_> = issues
            .iter()
            .map(|issue| (issue.weight, &*issue.keys[0]))
            .collect();
        assert_eq!(found, [(25, "expired"), (7, "soon"), (25, "old")]);
        let score = sum(issues);
        assert_eq!(
            score.components.map(|(_, points)| points),
            [68, 75, 100, 100, 100]
        );
        assert_eq!(score.score, 88);
        assert_eq!(sum(of_expiry(&[], now)).score, 100);
        // One of many is not nothing.
        assert_eq!(share(1, 1000, WHOLE), 1);
    }

    #[test]
    fn a_policy_that_lets_more_through_is_rated_lower() {
        let points = |text: &str| {
            let policy = Policy::parse(text.as_bytes()).expect("a policy");
            sum(of_policy(&policy)).components[2].1
        };
        let strict =
            "version: 1\nallowed_commands: [{ command: npm test, keys: [a], network: none }]\n";
        assert_eq!(points("version: 1\n"), 100);
        assert_eq!(points(strict), 100);
        assert_eq!(points("version: 1\nallowed_commands: [npm test]\n"), 60);
        let by_agent =
            "policies: [{ name: a, agent_id: a, allowed_keys: [a], capabilities: [env_inject] }]\n";
        let unlimited = format!("version: 1\nallowed_commands: [npm test]\n{by_agent}");
        assert_eq!(points(&unlimited), 90);
        assert_eq!(points("version: 1\ndefault_action: allow\n"), 40);
    }
}
