//! Code that stands in the arguments of an interpreter: the commands that it starts, and whether it takes the whole environment.
//!
//! Only what is written down is seen, as in `system("env")` or `print(os.environ)`. A variable by its name, as in `os.environ["KEY"]`, is
//! what a secret is given for.

use crate::carriers::file_name;

/// Functions that run the text that they are given.
static CALLS: [&str; 27] = [
    "Popen",
    "backtick",
    "call",
    "capture2",
    "check_call",
    "check_output",
    "exec",
    "execFile",
    "execFileSync",
    "execSync",
    "execl",
    "execlp",
    "execute",
    "execv",
    "execvp",
    "getoutput",
    "getstatusoutput",
    "passthru",
    "popen",
    "proc_open",
    "run",
    "sh",
    "shell_exec",
    "spawn",
    "spawnSync",
    "spawnp",
    "system",
];

/// A language by its interpreters, without the numbers of versions, and its names for the whole environment.
struct Language {
    interpreters: &'static [&'static str],
    /// Each with what may follow it where one variable is meant.
    environments: &'static [(&'static str, &'static [&'static str])],
    /// Whether text in backticks is a command.
    backticks: bool,
}

static LANGUAGES: [Language; 8] = [
    Language {
        interpreters: &["awk", "gawk", "mawk", "nawk", "original-awk"],
        environments: &[("ENVIRON", &["["])],
        backticks: false,
    },
    Language {
        interpreters: &["python", "pypy", "ipython"],
        environments: &[
            ("environ", &["[", ".get(", ".pop(", ".setdefault("]),
            ("environb", &["["]),
        ],
        backticks: false,
    },
    Language {
        interpreters: &["node", "nodejs", "deno", "bun"],
        environments: &[
            ("process.env", &[".", "[", "?."]),
            ("Deno.env.toObject", &[]),
            ("Bun.env", &[".", "["]),
        ],
        backticks: false,
    },
    Language {
        interpreters: &["perl"],
        environments: &[("%ENV", &[])],
        backticks: true,
    },
    Language {
        interpreters: &["ruby", "irb"],
        environments: &[("ENV", &["[", ".fetch(", ".fetch ", ".key?"])],
        backticks: true,
    },
    Language {
        interpreters: &["php"],
        environments: &[
            ("getenv()", &[]),
            ("$_ENV", &["["]),
            ("$_SERVER", &["["]),
            ("phpinfo", &[]),
        ],
        backticks: true,
    },
    Language {
        interpreters: &["jq", "gojq", "jaq"],
        environments: &[("env", &[".", "[", ":"]), ("$ENV", &[".", "["])],
        backticks: false,
    },
    Language {
        interpreters: &[
            "lua",
            "luajit",
            "tclsh",
            "osascript",
            "vim",
            "nvim",
            "ex",
            "vi",
        ],
        environments: &[("environ()", &[])],
        backticks: false,
    },
];

/// The whole environment, as code in the arguments calls it.
pub(crate) fn environment(command: &[&str]) -> Option<&'static str> {
    let language = language(command)?;
    let mut names = language.environments.iter();
    let (name, _) =
        names.find(|(name, one)| command[1..].iter().any(|code| takes(code, name, one)))?;
    Some(name)
}

/// The texts that code in the arguments runs.
pub(crate) fn scripts<'a>(command: &[&'a str]) -> Vec<&'a str> {
    let Some(language) = language(command) else {
        return Vec::new();
    };
    let mut scripts = Vec::new();
    for code in &command[1..] {
        if code.contains(['"', '\'', '`']) {
            scripts.extend(called(code));
            if language.backticks {
                scripts.extend(code.split('`').skip(1).step_by(2));
            }
        }
    }
    scripts
}

fn language(command: &[&str]) -> Option<&'static Language> {
    let program = file_name(command.first()?);
    let program = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let mut languages = LANGUAGES.iter();
    languages.find(|language| language.interpreters.contains(&program))
}

/// Whether `code` names the whole environment rather than one variable in it.
fn takes(code: &str, name: &str, one: &[&str]) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let rest = &code[at + name.len()..];
        let is_part = |c: char| c.is_alphanumeric() || "_$\"'".contains(c);
        // A name behind a point is a part of something else, but `os.environ` is what is meant.
        let is_field = before == Some('.') && name != "environ";
        let is_longer =
            rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"' || c == '\'');
        let begins = before.is_none_or(|c| !is_part(c)) && !is_field;
        begins && !is_longer && !one.iter().any(|next| rest.starts_with(next))
    })
}

/// The texts in quotes that are given to one of [`CALLS`], or that stand at a pipe.
fn called(code: &str) -> Vec<&str> {
    let mut called = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(['"', '\'']) {
        let (before, quoted) = rest.split_at(at);
        let quote = &quoted[..1];
        let Some(end) = quoted[1..].find(quote) else {
            break;
        };
        let text = &quoted[1..=end];
        rest = &quoted[end + 2..];
        let before = before.trim_end();
        let callee = before.trim_end_matches(['(', '[', ' ']);
        let callee = callee
            .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
            .next();
        let is_called = callee.is_some_and(|name| CALLS.contains(&name));
        let is_piped = before.ends_with('|') || rest.trim_start().starts_with("| getline");
        if is_called || is_piped {
            called.push(text);
        }
    }
    called
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_in_code_are_found() {
        for (program, code, script) in [
            ("awk", "BEGIN{system(\"env\")}", "env"),
            ("mawk", "BEGIN { \"env\" | getline x }", "env"),
            ("gawk", "{ print | \"sort -u\" }", "sort -u"),
            ("/usr/bin/python3.11", "import os; os.system('env')", "env"),
            ("python", "subprocess.run([\"rm\", x])", "rm"),
            ("perl", "print `env`", "env"),
            ("perl5.36.0", "exec 'env'", "env"),
            ("ruby", "system(\"env\")", "env"),
            ("node", "require('child_process').execSync('env')", "env"),
            ("lua5.4", "os.execute(\"env\")", "env"),
        ] {
            assert_eq!(
                scripts(&[program, "-e", code]),
                [script],
                "{program} {code}"
            );
        }
        for (program, code) in [
            ("awk", "{ print \"env\" }"),
            ("python3", "print('env')"),
            ("node", "console.log(`env`, require('./env'))"),
            ("perl", "print 'env"),
            ("cat", "system('env')"),
        ] {
            assert_eq!(
                scripts(&[program, "-e", code]),
                Vec::<&str>::new(),
                "{code}"
            );
        }
    }

    #[test]
    fn only_the_whole_environment_is_one() {
        for (program, code) in [
            ("awk", "BEGIN{for(k in ENVIRON)print k,ENVIRON[k]}"),
            ("python3", "import os; print(os.environ)"),
            ("python3", "from os import environ; print(dict(environ))"),
            ("node", "console.log(process.env)"),
            ("node", "console.log(JSON.stringify(process.env))"),
            ("perl", "print %ENV"),
            ("perl", "print map{\"$_=$ENV{$_}\"} keys %ENV"),
            ("ruby", "puts ENV.to_a"),
            ("php", "print_r(getenv());"),
            ("jq", "env"),
            ("jq", "$ENV"),
            ("jq", "{a: env}"),
        ] {
            assert!(environment(&[program, "-e", code]).is_some(), "{code}");
        }
        for (program, code) in [
            ("awk", "BEGIN{print ENVIRON[\"KEY\"]}"),
            ("python3", "import os; print(os.environ['KEY'])"),
            ("python3", "os.environ.get('KEY')"),
            ("python3", "environment = 1"),
            ("node", "fetch(process.env.URL, {key: process.env['KEY']})"),
            ("node", "process.environment"),
            ("perl", "print $ENV{KEY}"),
            ("ruby", "puts ENV['KEY'], ENV.fetch('KEY')"),
            ("jq", ".env"),
            ("jq", ".env.name"),
            ("jq", "env.KEY"),
            ("jq", "{env: .x, \"env\": 1, environment: 2}"),
            ("cat", "os.environ"),
        ] {
            assert_eq!(environment(&[program, "-e", code]), None, "{code}");
        }
    }
}
