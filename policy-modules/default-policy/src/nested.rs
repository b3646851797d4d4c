//! The commands that a command line starts, as far as its words show: behind `timeout 5`, within `sh -c '…'`.
//!
//! This stops accidents. It reads words as a shell would in the common cases and knows no more of a wrapper than that it is
//! one, so where an option may or may not have a value, both readings count. What somebody hides on purpose is left
//! to the sanitizer and the jail.

/// Scripts within scripts that are looked into. More is no accident.
const DEPTH_MAX: usize = 8;

/// Programs and shell words that run the command behind them, and how many operands come before it.
const WRAPPERS: [(&str, usize); 42] = [
    ("!", 0),
    ("builtin", 0),
    ("busybox", 0),
    ("catchsegv", 0),
    ("chroot", 1),
    ("chrt", 1),
    ("command", 0),
    ("coproc", 0),
    ("do", 0),
    ("doas", 0),
    ("elif", 0),
    ("else", 0),
    ("env", 0),
    ("eval", 0),
    ("exec", 0),
    ("flock", 1),
    ("if", 0),
    ("ionice", 0),
    ("ltrace", 0),
    ("nice", 0),
    ("nohup", 0),
    ("nsenter", 0),
    ("parallel", 0),
    ("pkexec", 0),
    ("prlimit", 0),
    ("setarch", 1),
    ("setpriv", 0),
    ("setsid", 0),
    ("stdbuf", 0),
    ("strace", 0),
    ("sudo", 0),
    ("taskset", 1),
    ("then", 0),
    ("time", 0),
    ("timeout", 1),
    ("toybox", 0),
    ("unshare", 0),
    ("until", 0),
    ("watch", 0),
    ("while", 0),
    ("xargs", 0),
    ("{", 0),
];

/// Programs that run the text behind `-c`.
const SHELLS: [&str; 13] = [
    "ash", "bash", "busybox", "dash", "fish", "flock", "ksh", "mksh", "rbash", "script", "sh",
    "su", "zsh",
];

/// Programs that run each argument as text.
const SPEAKERS: [&str; 3] = ["eval", "parallel", "watch"];

/// Options of `find` and `fd` behind which a command begins.
const EXEC_OPTIONS: [&str; 8] = [
    "-exec",
    "-execdir",
    "-ok",
    "-okdir",
    "-x",
    "-X",
    "--exec",
    "--exec-batch",
];

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
        if let Some(found) = (start > 0).then(|| judge(command)).flatten() {
            return Ok(Some(found));
        }
        for behind in wrapped(command) {
            starts[start + behind] = true;
        }
        for script in scripts(command) {
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
        if let Some(found) = judge(&line) {
            return Ok(Some(found));
        }
        if let Some(found) = find_below(&line, judge, depth)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The last component of a path.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Positions in `command` at which a wrapped command may begin.
fn wrapped(command: &[&str]) -> Vec<usize> {
    let Some((program, arguments)) = command.split_first() else {
        return Vec::new();
    };
    let program = file_name(program);
    if matches!(program, "find" | "fd" | "fdfind") {
        let options = arguments
            .iter()
            .enumerate()
            .filter(|(_, word)| EXEC_OPTIONS.contains(word));
        return options
            .map(|(i, _)| i + 2)
            .filter(|i| *i < command.len())
            .collect();
    }
    if is_assignment(program) {
        return behind_options(arguments, 0);
    }
    match WRAPPERS.iter().find(|(name, _)| *name == program) {
        Some((_, operands)) => behind_options(arguments, *operands),
        None => Vec::new(),
    }
}

fn behind_options(arguments: &[&str], mut operands: usize) -> Vec<usize> {
    let mut positions = Vec::new();
    let mut may_be_value = false;
    for (i, word) in arguments.iter().enumerate() {
        if word.starts_with('-') && word.len() > 1 {
            let joined = word.contains('=') || (word.len() > 2 && !word.starts_with("--"));
            may_be_value = !joined && *word != "--";
            continue;
        }
        positions.push(i + 1);
        if may_be_value || is_assignment(word) {
            may_be_value = false;
        } else if operands > 0 {
            operands -= 1;
        } else {
            break;
        }
    }
    positions
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_+".contains(&b))
    })
}

/// The arguments of `command` that it runs as shell text.
fn scripts<'a>(command: &[&'a str]) -> Vec<&'a str> {
    let Some((program, arguments)) = command.split_first() else {
        return Vec::new();
    };
    let program = file_name(program);
    if SPEAKERS.contains(&program) {
        return arguments.to_vec();
    }
    if !SHELLS.contains(&program) {
        return Vec::new();
    }
    let is_c = |word: &&str| word.starts_with('-') && !word.starts_with("--") && word.contains('c');
    match arguments.iter().position(is_c) {
        Some(at) => arguments[at + 1..].to_vec(),
        None => Vec::new(),
    }
}

/// The commands of a shell script, each as its words without quotes.
fn split(script: &str) -> Vec<Vec<String>> {
    let mut splitter = Splitter::default();
    let mut chars = script.chars().peekable();
    while let Some(c) = chars.next() {
        match (splitter.quote, c) {
            (Quote::Single, '\'') | (Quote::Double, '"') => splitter.quote = Quote::None,
            (Quote::Single, _) => splitter.push(c),
            (_, '\\') => chars
                .next()
                .into_iter()
                .filter(|c| *c != '\n')
                .for_each(|c| splitter.push(c)),
            (_, '`') => splitter.backtick(),
            (_, '$') if chars.next_if_eq(&'(').is_some() => splitter.open(Opening::Substitution),
            (Quote::Double, _) => splitter.push(c),
            (Quote::None, '\'') => splitter.start_quote(Quote::Single),
            (Quote::None, '"') => splitter.start_quote(Quote::Double),
            (Quote::None, '(') => splitter.open(Opening::Subshell),
            (Quote::None, ')') => splitter.close(),
            (Quote::None, ';' | '&' | '|' | '\n') => splitter.end_command(),
            (Quote::None, '<' | '>' | ' ' | '\t' | '\r') => splitter.end_word(),
            (Quote::None, _) => splitter.push(c),
        }
    }
    splitter.finish()
}

#[derive(Clone, Copy, Default)]
enum Quote {
    #[default]
    None,
    Single,
    Double,
}

#[derive(Clone, Copy, PartialEq)]
enum Opening {
    Subshell,
    Substitution,
    Backtick,
}

/// What was being read when a substitution began within it.
struct Outer {
    opening: Opening,
    words: Vec<String>,
    word: Option<String>,
    quote: Quote,
}

#[derive(Default)]
struct Splitter {
    done: Vec<Vec<String>>,
    words: Vec<String>,
    word: Option<String>,
    quote: Quote,
    outer: Vec<Outer>,
}

impl Splitter {
    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn start_quote(&mut self, quote: Quote) {
        self.word.get_or_insert_default();
        self.quote = quote;
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn end_command(&mut self) {
        self.end_word();
        if !self.words.is_empty() {
            self.done.push(std::mem::take(&mut self.words));
        }
    }

    fn open(&mut self, opening: Opening) {
        if opening == Opening::Subshell {
            self.end_command();
        }
        self.outer.push(Outer {
            opening,
            words: std::mem::take(&mut self.words),
            word: self.word.take(),
            quote: std::mem::take(&mut self.quote),
        });
    }

    fn close(&mut self) {
        self.end_command();
        // Without an opening, this is the pattern of a `case`.
        if let Some(outer) = self.outer.pop() {
            (self.words, self.word, self.quote) = (outer.words, outer.word, outer.quote);
        }
    }

    fn backtick(&mut self) {
        match self.outer.last() {
            Some(outer) if outer.opening == Opening::Backtick => self.close(),
            _ => self.open(Opening::Backtick),
        }
    }

    fn finish(mut self) -> Vec<Vec<String>> {
        while !self.outer.is_empty() {
            self.close();
        }
        self.end_command();
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(script: &str) -> Vec<String> {
        split(script).iter().map(|words| words.join("|")).collect()
    }

    fn starts(line: &[&str], program: &str) -> Result<bool, TooDeep> {
        find(line, &|words| {
            (file_name(words[0]) == program).then_some(())
        })
        .map(|found| found.is_some())
    }

    #[test]
    fn a_script_is_split_as_a_shell_does() {
        assert_eq!(
            commands("a b; c&&d || e\nf | g &"),
            ["a|b", "c", "d", "e", "f", "g"]
        );
        assert_eq!(commands("a 'b; c' \"d; e\" f\\;g"), ["a|b; c|d; e|f;g"]);
        assert_eq!(commands("e\"n\"v ''"), ["env|"]);
        assert_eq!(
            commands("echo \"$(date); x\" y; z"),
            ["date", "echo|; x|y", "z"]
        );
        assert_eq!(commands("a `b c` d"), ["b|c", "a|d"]);
        assert_eq!(commands("a \"`b`\"; c"), ["b", "a|", "c"]);
        assert_eq!(commands("(a; b) && { c; }"), ["a", "b", "{|c", "}"]);
        assert_eq!(commands("f() { a; }"), ["f", "{|a", "}"]);
        assert_eq!(
            commands("case x in y) a;; esac"),
            ["case|x|in|y", "a", "esac"]
        );
        assert_eq!(commands("a >b 2>&1"), ["a|b|2", "1"]);
        assert_eq!(commands("a $(b $(c"), ["c", "b", "a"]);
        assert_eq!(commands("a 'b"), ["a|b"]);
        assert_eq!(commands(""), Vec::<String>::new());
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
