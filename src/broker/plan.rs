//! From a recorded grant and the values it names to a plan for the runner.
//!
//! The only place where a value meets a command. A plan can be built only from a [`Recorded`] grant: what was not written to
//! the log does not run.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use secretctl_runner::{Confinement, FileId, Home, Limits, Plan, Variable, WorkingDirectory};

use crate::audit::Recorded;
use crate::name::{EnvName, SecretName};
use crate::policy::Grant;
use crate::secret::SecretBytes;

/// Variables that a command gets from the server's environment if they are set there.
const PASSED: [&str; 6] = ["LANG", "LC_ALL", "TERM", "TZ", "USER", "LOGNAME"];

/// A value with the variables that get it: none, if it is only to be hidden.
pub(super) struct Injection {
    pub(super) variables: Vec<EnvName>,
    /// The secret that the value belongs to.
    pub(super) key: SecretName,
    pub(super) value: SecretBytes,
    /// Whether it is hidden in output. Agents may see what is not sensitive.
    pub(super) sensitive: bool,
}

impl Injection {
    fn goes_into(&self, variable: &OsStr) -> bool {
        let mut names = self.variables.iter();
        names.any(|name| variable == name.as_str())
    }
}

/// What runs: the file, its arguments before expansion, and where.
pub(super) struct Start {
    pub(super) program: PathBuf,
    pub(super) file: Option<FileId>,
    /// The word in the command line, which becomes the program's own name.
    pub(super) name: OsString,
    pub(super) arguments: Vec<OsString>,
    pub(super) directory: WorkingDirectory,
    pub(super) home: Home,
    /// Variables beside the injected ones.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// Layers of confinement without which it must not start.
    pub(super) require: Vec<String>,
    /// What it may use up; the time limit is the grant's.
    pub(super) limits: Limits,
    /// How far it is shut in.
    pub(super) confinement: Confinement,
}

/// Builds the plan that a recorded grant allows.
pub(super) fn build(grant: &Recorded<Grant>, start: Start, injections: &[Injection]) -> Plan {
    let grant = grant.get();
    let expand = |argument: OsString| {
        if grant.expand_arguments {
            expand(argument, injections)
        } else {
            argument
        }
    };
    let injected = |name: &OsString| injections.iter().any(|one| one.goes_into(name));
    let mut environment: Vec<Variable> = (start.environment.into_iter())
        .filter(|(name, _)| !injected(name))
        .map(|(name, value)| Variable::new(name, value.into_vec()))
        .collect();
    for Injection {
        variables, value, ..
    } in injections
    {
        let variable = |name: &EnvName| Variable::new(name.as_str(), value.expose().to_vec());
        environment.extend(variables.iter().map(variable));
    }
    Plan {
        program: start.program,
        expect: start.file,
        argv: std::iter::once(start.name)
            .chain(start.arguments.into_iter().map(expand))
            .collect(),
        environment,
        home: start.home,
        working_directory: start.directory,
        limits: Limits {
            timeout: grant.timeout,
            ..start.limits
        },
        require: start.require,
        confinement: start.confinement,
    }
}

/// The environment of an agent's command: built from nothing, then `passed_on` of the policy file.
pub(super) fn agent_environment(path: String, passed_on: &[EnvName]) -> Vec<(OsString, OsString)> {
    let names = PASSED
        .into_iter()
        .chain(passed_on.iter().map(EnvName::as_str));
    let mut environment = vec![("PATH".into(), path.into())];
    for name in names {
        if let Some(value) = std::env::var_os(name)
            && environment
                .iter()
                .all(|(other, _): &(OsString, OsString)| other != name)
        {
            environment.push((name.into(), value));
        }
    }
    for (name, value) in [("LANG", "C.UTF-8"), ("TERM", "dumb")] {
        if environment.iter().all(|(other, _)| other != name) {
            environment.push((name.into(), value.into()));
        }
    }
    environment
}

/// Replaces `$NAME` and `${NAME}` of injected variables. Everything else stays as it is, `$` included.
fn expand(argument: OsString, injections: &[Injection]) -> OsString {
    let bytes = argument.into_vec();
    let mut pieces = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some(at) = rest.iter().position(|&byte| byte == b'$') {
        let (before, reference) = rest.split_at(at);
        let (length, meant) = match resolve(reference, injections) {
            Some((length, value)) => (length, value.expose()),
            None => (1, &reference[..1]),
        };
        pieces.extend([before, meant]);
        rest = &reference[length..];
    }
    pieces.push(rest);
    // Joined in one step: a vector that grows leaves copies behind.
    OsString::from_vec(pieces.concat())
}

/// The value that a text beginning with `$` refers to, and the length of the reference.
fn resolve<'a>(reference: &[u8], injections: &'a [Injection]) -> Option<(usize, &'a SecretBytes)> {
    let (braces, name) = match reference.strip_prefix(b"${") {
        Some(inside) => (3, &inside[..inside.iter().position(|&byte| byte == b'}')?]),
        None => {
            let name = &reference[1..];
            let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            (
                1,
                &name[..name.iter().take_while(|byte| is_part(byte)).count()],
            )
        }
    };
    let injection = injections
        .iter()
        .find(|one| one.goes_into(OsStr::from_bytes(name)))?;
    Some((braces + name.len(), &injection.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn injections() -> Vec<Injection> {
        let one = |name: &str, value: &[u8]| Injection {
            variables: vec![name.parse().expect("a name")],
            key: name.parse().expect("a name"),
            value: SecretBytes::from_vec(value.to_vec()),
            sensitive: true,
        };
        vec![one("TOKEN", b"t0k\xff"), one("TOKEN_2", b"$TOKEN")]
    }

    #[test]
    fn only_injected_variables_are_expanded() {
        let expanded = |text: &str| expand(text.into(), &injections()).into_vec();
        assert_eq!(expanded("Bearer $TOKEN!"), b"Bearer t0k\xff!");
        assert_eq!(expanded("${TOKEN}x"), b"t0k\xffx");
        assert_eq!(expanded("$TOKEN$TOKEN"), b"t0k\xfft0k\xff");
        for untouched in [
            "$", "$$", "$HOME", "${HOME}", "$TOKENS", "${TOKEN", "$(TOKEN)", "a$", "costs 5$",
            "${}",
        ] {
            assert_eq!(expanded(untouched), untouched.as_bytes(), "{untouched}");
        }
    }

    #[test]
    fn a_value_is_not_expanded_again() {
        assert_eq!(
            expand("$TOKEN_2".into(), &injections()).into_vec(),
            b"$TOKEN"
        );
    }

    #[test]
    fn the_environment_of_an_agents_command_is_made_from_nothing() {
        let environment = agent_environment("/usr/bin".to_owned(), &[]);
        let allowed = ["PATH", "LANG", "LC_ALL", "TERM", "TZ", "USER", "LOGNAME"];
        assert!(
            environment
                .iter()
                .all(|(name, _)| allowed.iter().any(|allowed| name == allowed))
        );
        assert!(environment.contains(&("PATH".into(), "/usr/bin".into())));
    }
}
