//! Environment aliases: the same request means other keys in another environment.
//!
//! An alias replaces the beginning of a key or pattern. It keeps both beginnings, because the variables of a run are named
//! after the keys as they were asked for: `db/*` gives `DB_PASSWORD` in every environment.

use super::units::List;
use crate::name::{InvalidName, KeyPattern, SecretName};

/// A key or pattern after an environment's aliases.
#[derive(Debug, Clone)]
pub struct Aliased {
    /// What to look for in the vault.
    pub pattern: KeyPattern,
    asked: String,
    stored: String,
}

impl Aliased {
    /// What the agent would call the key `name`, which [`pattern`](Self::pattern) has found.
    pub fn asked_name(&self, name: &SecretName) -> String {
        match name.as_str().strip_prefix(&self.stored) {
            Some(rest) => format!("{}{rest}", self.asked),
            None => name.to_string(),
        }
    }
}

/// An alias that cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum AliasError {
    /// The policy file has no such environment.
    #[error("unknown environment '{}'; the policy file has: {}", env.escape_debug(), listed(known))]
    UnknownEnvironment {
        /// What was asked for.
        env: String,
        /// What there is, in the order of the file.
        known: Vec<String>,
    },
    /// The result is not a key pattern.
    #[error(transparent)]
    Pattern(#[from] InvalidName),
}

/// The environments of a policy file with their aliases, in its order.
#[derive(Debug)]
pub(super) struct Environments(pub(super) Vec<(String, List<Alias>)>);

/// One alias: `pattern` and `target` either both end in their only `*`, or both name one key.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Alias {
    pattern: String,
    target: String,
}

impl Environments {
    pub(super) fn apply(&self, env: &str, pattern: &KeyPattern) -> Result<Aliased, AliasError> {
        let Some((_, aliases)) = self.0.iter().find(|(name, _)| name == env) else {
            let known = self.0.iter().map(|(name, _)| name.clone()).collect();
            return Err(AliasError::UnknownEnvironment {
                env: env.to_owned(),
                known,
            });
        };
        let asked = pattern.as_str();
        let Some((alias, rest)) = aliases
            .0
            .iter()
            .find_map(|alias| Some((alias, alias.rest_of(asked)?)))
        else {
            return Ok(Aliased {
                pattern: pattern.clone(),
                asked: String::new(),
                stored: String::new(),
            });
        };
        let (from, to) = (beginning(&alias.pattern), beginning(&alias.target));
        let pattern = format!("{to}{rest}").parse()?;
        Ok(Aliased {
            pattern,
            asked: from.to_owned(),
            stored: to.to_owned(),
        })
    }
}

impl Alias {
    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let sides = [self.pattern.as_str(), self.target.as_str()];
        if sides
            .iter()
            .any(|side| beginning(side).contains(['*', '?', '[']))
        {
            return Some("may have one '*', at its end, and no other pattern character");
        }
        if self.pattern.ends_with('*') != self.target.ends_with('*') {
            return Some("pattern and target must both end in '*', or neither");
        }
        let valid = sides.iter().all(|side| side.parse::<KeyPattern>().is_ok());
        if valid {
            None
        } else {
            Some("pattern and target must be names of keys, or begin like one")
        }
    }

    fn rest_of<'a>(&self, asked: &'a str) -> Option<&'a str> {
        match self.pattern.strip_suffix('*') {
            Some(prefix) => asked.strip_prefix(prefix),
            None => (asked == self.pattern).then_some(""),
        }
    }
}

fn beginning(side: &str) -> &str {
    side.strip_suffix('*').unwrap_or(side)
}

fn listed(known: &[String]) -> String {
    if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::Policy;
    use super::*;

    const FILE: &str = r#"
        env_aliases:
          staging: [{ pattern: "db/*", target: "staging/db/*" }, { pattern: "db/x*", target: "never/*" }]
          dev: [{ pattern: "KEY", target: "dev/KEY" }, { pattern: "*", target: "dev/*" }]
    "#;

    fn aliased(env: &str, pattern: &str) -> Aliased {
        let policy = Policy::parse(FILE.as_bytes()).unwrap();
        policy.alias(env, &pattern.parse().unwrap()).unwrap()
    }

    fn asked(env: &str, pattern: &str, stored: &str) -> String {
        aliased(env, pattern).asked_name(&stored.parse().unwrap())
    }

    #[test]
    fn the_first_alias_that_fits_decides() {
        for (env, pattern, result) in [
            ("staging", "db/*", "staging/db/*"),
            ("staging", "db/password", "staging/db/password"),
            ("staging", "db/x/y", "staging/db/x/y"),
            ("staging", "db/**", "staging/db/**"),
            ("staging", "api/*", "api/*"),
            ("staging", "*", "*"),
            ("staging", "db", "db"),
            ("dev", "KEY", "dev/KEY"),
            ("dev", "KEY2", "dev/KEY2"),
            ("dev", "*", "dev/*"),
        ] {
            assert_eq!(
                aliased(env, pattern).pattern.as_str(),
                result,
                "{env} {pattern}"
            );
        }
    }

    #[test]
    fn keys_keep_the_name_they_were_asked_for() {
        assert_eq!(
            asked("staging", "db/*", "staging/db/password"),
            "db/password"
        );
        assert_eq!(asked("staging", "api/*", "api/key"), "api/key");
        assert_eq!(asked("dev", "KEY", "dev/KEY"), "KEY");
        assert_eq!(asked("dev", "*", "dev/KEY"), "KEY");
    }

    #[test]
    fn an_unknown_environment_names_the_known_ones() {
        let policy = Policy::parse(FILE.as_bytes()).unwrap();
        let pattern = "db/*".parse().unwrap();
        let error = policy.alias("prod\n", &pattern).unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown environment 'prod\\n'; the policy file has: staging, dev"
        );
        let empty = Policy::parse(b"version: 1").unwrap();
        let error = empty.alias("dev", &pattern).unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown environment 'dev'; the policy file has: none"
        );
    }

    #[test]
    fn a_result_that_is_no_pattern_is_an_error() {
        let policy =
            Policy::parse(b"env_aliases: { e: [{ pattern: \"a*\", target: \"a/b*\" }] }").unwrap();
        let pattern = format!("a{}*", "b".repeat(510)).parse().unwrap();
        assert!(matches!(
            policy.alias("e", &pattern),
            Err(AliasError::Pattern(_))
        ));
    }

    #[test]
    fn an_alias_replaces_a_beginning_or_a_name() {
        let problem = |pattern: &str, target: &str| {
            Alias {
                pattern: pattern.to_owned(),
                target: target.to_owned(),
            }
            .problem()
            .is_some()
        };
        assert!(!problem("*", "dev/*") && !problem("db/*", "prod/db/*") && !problem("K", "prod/K"));
        for (pattern, target) in [
            ("db/*", "dev"),
            ("db", "dev/*"),
            ("a*b", "c"),
            ("a*/*", "c/*"),
            ("a?", "c"),
            ("", "c"),
            ("a b", "c"),
        ] {
            assert!(problem(pattern, target), "{pattern} {target}");
        }
    }
}
