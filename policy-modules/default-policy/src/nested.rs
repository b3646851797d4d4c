//! The commands that a command line starts, as far as its words show: behind `timeout 5`, within `sh -c '…'`.
//!
//! This stops accidents. It reads words as a shell would in the common cases and knows no more of a program than
//! [`carriers`](crate::carriers) says. What somebody hides on purpose is left to the sanitizer and the jail.

use crate::carriers::{scripts, wrapped};
use crate::code;
use crate::shell::split;

/// Scripts within scripts that are looked into. More is no accident.
const DEPTH_MAX: usize = 8;

/// Scripts are nested deeper than anybody does by accident.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooDeep;

/// The first finding of `judge` on a command that `line` starts, itself excepted. A line is a program with its arguments.
pub(crate) fn find<T>(
    line: &[&str],
    judge: &dyn Fn(&[&str]) -> Option<T>,
) -> Result<Option<T>, TooDeep> {
    find_below(line, judge, DEPTH_MAX)
}

fn find_below<T>(
    line: &[&str],
    judge: &dyn Fn(&[&str]) -> Option<T>,
    depth: usize,
) -> Result<Option<T>, TooDeep> {
    let mut starts = vec![false; line.len()];
    if let Some(first) = starts.first_mut() {
        *first = true;
    }
    for start in 0..line.len() {
        if !starts[start] {
            continue;
        }
        let command = &line[start..];
        let is_itself = start == 0 && depth == DEPTH_MAX;
        if let Some(found) = (!is_itself).then(|| judge(command)).flatten() {
            return Ok(Some(found));
        }
        for behind in wrapped(command) {
            starts[start + behind] = true;
        }
        for script in scripts(command).into_iter().chain(code::scripts(command)) {
            if let Some(found) = find_in_script(script, judge, depth)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn find_in_script<T>(
    script: &str,
    judge: &dyn Fn(&[&str]) -> Option<T>,
    depth: usize,
) -> Result<Option<T>, TooDeep> {
    let depth = depth.checked_sub(1).ok_or(TooDeep)?;
    for words in split(script) {
        let line: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Some(found) = find_below(&line, judge, depth)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carriers::file_name;

    fn starts(line: &[&str], program: &str) -> Result<bool, TooDeep> {
        find(line, &|words| {
            (file_name(words[0]) == program).then_some(())
        })
        .map(|found| found.is_some())
    }

    #[test]
    fn a_command_behind_a_wrapper_is_found() {
        for line in [
            "timeout 5 x",
            "timeout -k 5 10 x",
            "timeout --kill-after=5 10 x a",
            "timeout -v 10 x",
            "nice x",
            "nice -n 5 /usr/bin/x",
            "xargs x",
            "xargs -n1 x",
            "xargs -I {} x {}",
            "sudo -u root A=1 x",
            "nohup setsid stdbuf -oL x",
            "find . -name a -exec x {} ;",
            "busybox x",
            "/bin/busybox nice x",
            "A=1 B=2 x",
        ] {
            let line: Vec<&str> = line.split(' ').collect();
            assert_eq!(starts(&line, "x"), Ok(true), "{line:?}");
        }
    }

    #[test]
    fn a_mere_argument_is_no_command() {
        for line in [
            "npm x",
            "docker run x",
            "timeout 5 docker x",
            "xargs -n1 docker x",
            "find . -name x",
            "bash build.sh x",
            "nice -n5 grep x",
        ] {
            let line: Vec<&str> = line.split(' ').collect();
            assert_eq!(starts(&line, "x"), Ok(false), "{line:?}");
        }
        assert_eq!(
            starts(&["sh", "-c", "echo 'x; x' \"x\" --x=x"], "x"),
            Ok(false)
        );
        assert_eq!(
            starts(&["timeout", "5", "psql", "-c", "a; x"], "x"),
            Ok(false)
        );
    }

    #[test]
    fn a_script_is_looked_into() {
        let long = "bash -euo pipefail -c";
        for (program, script) in [
            ("sh -c", "x"),
            ("bash -lc", "a; x"),
            (long, "a && /bin/x b"),
            ("zsh -c", "echo \"$(x)\""),
            ("timeout 5 sh -c", "nice x"),
            ("busybox sh -c", "A=1 x"),
            ("sh -c", "if a; then x; fi"),
            ("sh -c", "f() { x; }; f"),
            ("sh -c", "sh -c 'a | x'"),
            ("watch -n1", "a | x"),
        ] {
            let line: Vec<&str> = program.split(' ').chain([script]).collect();
            assert_eq!(starts(&line, "x"), Ok(true), "{line:?}");
        }
    }

    #[test]
    fn what_a_program_is_known_to_run_is_found() {
        for line in [
            &["/lib64/ld-linux-x86-64.so.2", "x"][..],
            &["kubectl", "exec", "pod", "--", "x"],
            &["hyperfine", "a b", "x y"],
            &["sh", "-c", "\"$@\"", "_", "x"],
            &["coreutils", "--coreutils-prog=x"],
            &["tar", "--to-command=x", "-xf", "a"],
            &["tar", "-Ix", "-xf", "a"],
            &["psql", "-c", "\\! x"],
            &["git", "-c", "core.pager=x", "log"],
            &["git", "-c", "alias.y=!x", "y"],
            &["ssh", "-o", "ProxyCommand=x", "host"],
        ] {
            assert_eq!(starts(line, "x"), Ok(true), "{line:?}");
        }
        for line in [
            // A flag has no value, so that the image is the first operand.
            &["docker", "run", "--rm", "image", "y", "x"][..],
            &["kubectl", "exec", "pod", "x"],
            &["git", "-c", "user.name=x", "log"],
            &["psql", "-c", "x"],
        ] {
            assert_eq!(starts(line, "x"), Ok(false), "{line:?}");
        }
    }

    #[test]
    fn nesting_ends_somewhere() {
        let deep = |levels: usize| "eval ".repeat(levels) + "a";
        assert_eq!(starts(&["sh", "-c", &deep(DEPTH_MAX - 1)], "x"), Ok(false));
        let substitution = "sh -c 'sh -c \"sh -c \\\"a\\\"\"'";
        assert_eq!(starts(&["sh", "-c", substitution], "x"), Ok(false));
        let mut script = "a".to_owned();
        for _ in 0..DEPTH_MAX {
            script = format!("sh -c {}", script.replace('\\', "\\\\").replace(' ', "\\ "));
        }
        assert_eq!(starts(&["sh", "-c", &script], "x"), Err(TooDeep));
    }
}
