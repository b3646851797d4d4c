//! Which secrets a request is about: patterns, environment aliases, and the variables the values go into.

use std::collections::BTreeMap;

use super::RunError;
use crate::name::{EnvName, KeyPattern, SecretName};
use crate::policy::{Aliased, Policy};

/// A secret that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selected {
    /// Its name in the vault. Whether the vault holds it is another question.
    pub name: SecretName,
    /// Its name as it was asked for, before environment aliases; the variable is named after it.
    pub asked: String,
    /// Whether it was asked for by name rather than found by a pattern.
    pub named: bool,
}

/// Finds what `patterns` mean, in the order asked for and without repetition. `names` gives all names of the vault, and is
/// called only if there is a pattern to match.
pub(super) fn select(
    patterns: &[KeyPattern],
    aliases: Option<(&Policy, &str)>,
    names: impl Fn() -> Result<Vec<SecretName>, RunError>,
) -> Result<Vec<Selected>, RunError> {
    let mut all: Option<Vec<SecretName>> = None;
    let mut selected: Vec<Selected> = Vec::new();
    for pattern in patterns {
        let aliased = match aliases {
            Some((policy, env)) => Some(policy.alias(env, pattern)?),
            None => None,
        };
        let stored = aliased.as_ref().map_or(pattern, |aliased| &aliased.pattern);
        let found = match stored.exact() {
            Some(name) => vec![select_one(name, aliased.as_ref(), true)],
            None => {
                let all = match &mut all {
                    Some(all) => all,
                    none => none.insert(names()?),
                };
                let matching = all.iter().filter(|name| stored.matches(name)).cloned();
                matching
                    .map(|name| select_one(name, aliased.as_ref(), false))
                    .collect()
            }
        };
        for one in found {
            match selected.iter_mut().find(|other| other.name == one.name) {
                Some(other) => other.named |= one.named,
                None => selected.push(one),
            }
        }
    }
    Ok(selected)
}

fn select_one(name: SecretName, aliased: Option<&Aliased>, named: bool) -> Selected {
    let asked = aliased.map_or_else(|| name.to_string(), |aliased| aliased.asked_name(&name));
    Selected { name, asked, named }
}

/// Names of variables that change how programs load code or find files, and those that the runner sets itself.
const RESERVED: [&str; 49] = [
    "BASHOPTS",
    "BASH_ENV",
    "CDPATH",
    "CLASSPATH",
    "COMSPEC",
    "EDITOR",
    "ENV",
    "GCONV_PATH",
    "GEM_HOME",
    "GEM_PATH",
    "GIT_ASKPASS",
    "GIT_EDITOR",
    "GIT_EXEC_PATH",
    "GIT_EXTERNAL_DIFF",
    "GIT_PAGER",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GLOBIGNORE",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LANG",
    "LOCPATH",
    "LOGNAME",
    "MAVEN_OPTS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NLSPATH",
    "OLDPWD",
    "PAGER",
    "PATH",
    "PHPRC",
    "PROMPT_COMMAND",
    "PS1",
    "PS4",
    "PWD",
    "RUBYLIB",
    "RUBYOPT",
    "RUSTC_WRAPPER",
    "SHELL",
    "SHELLOPTS",
    "TERM",
    "TERMINFO",
    "TMPDIR",
    "TZ",
    "USER",
    "VISUAL",
];
/// The same for whole families of names.
const RESERVED_PREFIXES: [&str; 12] = [
    "BASH_FUNC_",
    "DYLD_",
    "GIT_CONFIG",
    "LC_",
    "LD_",
    "MALLOC_",
    "PERL5",
    "PYTHON",
    "SECRETCTL_",
    "_JAVA_",
    "npm_config_",
    "NPM_CONFIG_",
];

/// Whether a variable may not be set by a secret.
pub(super) fn is_reserved(variable: &str) -> bool {
    RESERVED.contains(&variable)
        || RESERVED_PREFIXES
            .iter()
            .any(|prefix| variable.starts_with(prefix))
}

/// The variable for a key: `/`, `-` and `.` become `_`, letters upper case, with `prefix` in front.
pub fn variable(asked: &str, prefix: Option<&EnvName>) -> Result<EnvName, RunError> {
    let prefix = prefix.map_or("", EnvName::as_str);
    let separators = |c: char| {
        if matches!(c, '/' | '-' | '.') {
            '_'
        } else {
            c.to_ascii_uppercase()
        }
    };
    let variable: String = prefix
        .chars()
        .chain(asked.chars().map(separators))
        .collect();
    let refuse = |rule| RunError::Variable {
        key: asked.to_owned(),
        variable: variable.clone(),
        rule,
    };
    if is_reserved(&variable) {
        return Err(refuse("programs take instructions from"));
    }
    variable
        .parse()
        .map_err(|_| refuse("is not a valid name; use a prefix"))
}

/// The variables of all selected keys, in order. Two keys with one variable are an error.
pub(super) fn variables(
    selected: &[Selected],
    prefix: Option<&EnvName>,
) -> Result<Vec<EnvName>, RunError> {
    let mut taken: BTreeMap<EnvName, &str> = BTreeMap::new();
    let mut variables = Vec::with_capacity(selected.len());
    for Selected { asked, .. } in selected {
        let variable = variable(asked, prefix)?;
        if let Some(first) = taken.insert(variable.clone(), asked) {
            return Err(RunError::SameVariable {
                first: first.to_owned(),
                second: asked.clone(),
                variable,
            });
        }
        variables.push(variable);
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Result<Vec<SecretName>, RunError> {
        let names = [
            "API_KEY",
            "aws/access_key",
            "aws/secret_key",
            "db/password",
            "staging/db/password",
        ];
        names.iter().map(|name| Ok(name.parse()?)).collect()
    }

    fn patterns(texts: &[&str]) -> Vec<KeyPattern> {
        texts
            .iter()
            .map(|text| text.parse().expect("a pattern"))
            .collect()
    }

    fn names(selected: &[Selected]) -> Vec<(&str, &str, bool)> {
        selected
            .iter()
            .map(|one| (one.name.as_str(), one.asked.as_str(), one.named))
            .collect()
    }

    #[test]
    fn keys_and_patterns_are_found_once_and_in_order() {
        let selected = select(
            &patterns(&["aws/*", "API_KEY", "aws/secret_key"]),
            None,
            vault,
        )
        .expect("valid");
        assert_eq!(
            names(&selected),
            [
                ("aws/access_key", "aws/access_key", false),
                ("aws/secret_key", "aws/secret_key", true),
                ("API_KEY", "API_KEY", true),
            ]
        );
    }

    #[test]
    fn an_alias_changes_the_key_but_not_the_variable() {
        let policy =
            "version: 1\nenv_aliases:\n  staging: [{ pattern: 'db/*', target: 'staging/db/*' }]\n";
        let policy = Policy::parse(policy.as_bytes()).expect("a policy");
        let selected =
            select(&patterns(&["db/*"]), Some((&policy, "staging")), vault).expect("valid");
        assert_eq!(
            names(&selected),
            [("staging/db/password", "db/password", false)]
        );
        let variables = variables(&selected, None).expect("good names");
        assert_eq!(
            variables.iter().map(EnvName::as_str).collect::<Vec<_>>(),
            ["DB_PASSWORD"]
        );
    }

    #[test]
    fn exact_names_need_no_look_at_the_vault() {
        let untouched = || -> Result<Vec<SecretName>, RunError> { panic!("no pattern was given") };
        let selected = select(&patterns(&["no/such-key"]), None, untouched).expect("valid");
        assert_eq!(names(&selected), [("no/such-key", "no/such-key", true)]);
    }

    #[test]
    fn variables_are_named_after_keys() {
        let name = |key: &str, prefix: &str| {
            let prefix = (!prefix.is_empty()).then(|| prefix.parse().expect("a prefix"));
            variable(key, prefix.as_ref()).map(|name| name.to_string())
        };
        assert_eq!(
            name("aws/access-key.id", "").expect("valid"),
            "AWS_ACCESS_KEY_ID"
        );
        assert_eq!(
            name("db/password", "TEST_").expect("valid"),
            "TEST_DB_PASSWORD"
        );
        assert_eq!(name("1st", "K_").expect("valid"), "K_1ST");
        for bad in [
            "1st",
            "path",
            "ld/preload",
            "LD.AUDIT",
            "node-options",
            "git/ssh-command",
            "pythonpath",
            "home",
        ] {
            assert!(name(bad, "").is_err(), "{bad}");
        }
        assert!(name("preload", "LD_").is_err());
        assert!(name("h", "PAT").is_err());
    }

    #[test]
    fn two_keys_with_one_variable_are_an_error() {
        let selected = select(&patterns(&["a-b", "a/b"]), None, vault).expect("valid");
        let error = variables(&selected, None)
            .expect_err("both are A_B")
            .to_string();
        assert_eq!(
            error,
            "secrets a-b and a/b would both become the variable A_B"
        );
    }
}
