//! Which secrets a request is about: patterns, environment aliases, and the variables the values go into.

use std::collections::BTreeMap;

use super::RunError;
use crate::name::{EnvName, FieldName, KeyPattern, SecretName};
use crate::policy::{Aliased, Policy};
use crate::vault::{Entry, Metadata, VALUE_FIELD};

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

/// The variables that a secret gives a command, each with the field whose value it gets.
pub(super) type Variables = Vec<(EnvName, FieldName)>;

/// The variables of all selected secrets, in order: what a secret binds; else its only field goes into the variable that is named after
/// the key, unless `bound` asks for bindings. Two variables with one name are an error. `lookup` tells what is known of a secret; nothing is taken for one field.
pub(super) fn variables(
    selected: &[Selected],
    prefix: Option<&EnvName>,
    bound: bool,
    lookup: impl Fn(&SecretName) -> Result<Option<Entry>, RunError>,
) -> Result<Vec<Variables>, RunError> {
    let mut taken: BTreeMap<EnvName, &str> = BTreeMap::new();
    let mut all = Vec::with_capacity(selected.len());
    for Selected { name, asked, .. } in selected {
        let metadata = lookup(name)?.map(|entry| entry.metadata);
        let variables = match metadata {
            Some(metadata) => of_secret(asked, prefix, bound, metadata)?,
            None => vec![(variable(asked, prefix)?, VALUE_FIELD.parse()?)],
        };
        for (variable, _) in &variables {
            if let Some(first) = taken.insert(variable.clone(), asked) {
                return Err(RunError::SameVariable {
                    first: first.to_owned(),
                    second: asked.clone(),
                    variable: variable.clone(),
                });
            }
        }
        all.push(variables);
    }
    Ok(all)
}

fn of_secret(
    asked: &str,
    prefix: Option<&EnvName>,
    bound: bool,
    metadata: Metadata,
) -> Result<Variables, RunError> {
    let Metadata {
        fields, bindings, ..
    } = metadata;
    match (bindings.is_empty(), fields.as_slice()) {
        (true, [only]) if !bound => Ok(vec![(variable(asked, prefix)?, only.name.clone())]),
        (true, _) => Err(RunError::NotBound {
            key: asked.to_owned(),
            fields: fields.into_iter().map(|field| field.name).collect(),
        }),
        (false, _) => {
            let prefixed = |(env, field): (EnvName, FieldName)| {
                let prefix = prefix.map_or("", EnvName::as_str);
                let variable: EnvName = format!("{prefix}{env}").parse()?;
                require_free(&variable)?;
                Ok((variable, field))
            };
            bindings.into_iter().map(prefixed).collect()
        }
    }
}

/// A secret may set this variable.
pub(super) fn require_free(variable: &EnvName) -> Result<(), RunError> {
    if is_reserved(variable.as_str()) {
        return Err(RunError::Reserved(variable.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::FieldInfo;

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

    fn shown(variables: &[Variables]) -> Vec<String> {
        let all = variables.iter().flatten();
        all.map(|(variable, field)| format!("{variable}={field}"))
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
        let variables = variables(&selected, None, false, |_| Ok(None)).expect("good names");
        assert_eq!(shown(&variables), ["DB_PASSWORD=value"]);
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
        let error = variables(&selected, None, false, |_| Ok(None))
            .expect_err("both are A_B")
            .to_string();
        assert_eq!(
            error,
            "secrets a-b and a/b would both become the variable A_B"
        );
    }

    /// What `variables` makes of a secret with these fields and bindings.
    fn made_of(
        fields: &[&str],
        bindings: &[(&str, &str)],
        prefix: &str,
    ) -> Result<Vec<String>, String> {
        let field = |name: &&str| FieldInfo {
            name: name.parse().expect("a name"),
            sensitive: true,
        };
        let bound = |(env, field): &(&str, &str)| {
            let field = field.parse().expect("a name");
            (env.parse().expect("a name"), field)
        };
        let entry = Entry {
            name: "db/prod".parse().expect("a name"),
            metadata: Metadata {
                fields: fields.iter().map(field).collect(),
                bindings: bindings.iter().map(bound).collect(),
                ..Metadata::default()
            },
            created_at: 0,
            updated_at: 0,
        };
        let selected = select(&patterns(&["db/prod"]), None, vault).expect("valid");
        let prefix = prefix.parse().ok();
        let variables = variables(&selected, prefix.as_ref(), false, |_| {
            Ok(Some(entry.clone()))
        });
        variables
            .map(|variables| shown(&variables))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn bindings_name_the_variables_and_several_fields_need_them() {
        let two = ["host", "password"];
        let bound = [("PGHOST", "host"), ("SECOND", "host")];
        let good = |expected: &[&str]| Ok(expected.iter().map(|&text| text.to_owned()).collect());
        assert_eq!(made_of(&["token"], &[], ""), good(&["DB_PROD=token"]));
        assert_eq!(
            made_of(&two, &bound, ""),
            good(&["PGHOST=host", "SECOND=host"])
        );
        assert_eq!(
            made_of(&two, &bound[..1], "TEST_"),
            good(&["TEST_PGHOST=host"])
        );
        assert_eq!(
            made_of(&two, &[], ""),
            Err(
                "secret db/prod has the fields host, password, and none is bound to a variable"
                    .to_owned()
            )
        );
        assert_eq!(
            made_of(&two, &[("PATH", "host")], ""),
            Err("the variable PATH cannot be bound: programs take instructions from it".to_owned())
        );
        assert!(made_of(&two, &[("PRELOAD", "host")], "LD_").is_err());
    }
}
