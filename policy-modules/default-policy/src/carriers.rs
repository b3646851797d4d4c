//! Programs that run other commands, and where these stand among their words.
//!
//! Nothing is known of a program but these tables. Where an option may or may not have a value, both readings count.

/// Programs and shell words that run the command behind them, with the words that make them do so, and how many operands come
/// before it.
static WRAPPERS: [(&str, usize); 100] = [
    ("!", 0),
    ("arch", 0),
    ("aws-vault exec", 1),
    ("builtin", 0),
    ("bundle exec", 0),
    ("busybox", 0),
    ("bwrap", 0),
    ("caffeinate", 0),
    ("catchsegv", 0),
    ("chroot", 1),
    ("chronic", 0),
    ("chrt", 1),
    ("command", 0),
    ("coproc", 0),
    ("coreutils", 0),
    ("cpulimit", 0),
    ("dbus-run-session", 0),
    ("direnv exec", 1),
    ("do", 0),
    ("doas", 0),
    ("docker compose exec", 1),
    ("docker compose run", 1),
    ("docker container exec", 1),
    ("docker container run", 1),
    ("docker exec", 1),
    ("docker run", 1),
    ("docker-compose exec", 1),
    ("docker-compose run", 1),
    ("eatmydata", 0),
    ("elif", 0),
    ("else", 0),
    ("env", 0),
    ("eval", 0),
    ("exec", 0),
    ("fakeroot", 0),
    ("faketime", 1),
    ("firejail", 0),
    ("flock", 1),
    ("function", 1),
    ("gdb", 0),
    ("genv", 0),
    ("git bisect run", 0),
    ("git submodule foreach", 0),
    ("gnice", 0),
    ("gnohup", 0),
    ("gtimeout", 1),
    ("gxargs", 0),
    ("if", 0),
    ("ionice", 0),
    ("ip netns exec", 1),
    ("linux32", 0),
    ("linux64", 0),
    ("logsave", 1),
    ("ltrace", 0),
    ("nice", 0),
    ("nohup", 0),
    ("npm exec", 0),
    ("npm x", 0),
    ("npx", 0),
    ("nsenter", 0),
    ("numactl", 0),
    ("parallel", 0),
    ("perf record", 0),
    ("perf stat", 0),
    ("pipenv run", 0),
    ("pkexec", 0),
    ("pnpm exec", 0),
    ("podman exec", 1),
    ("podman run", 1),
    ("poetry run", 0),
    ("prlimit", 0),
    ("proxychains", 0),
    ("proxychains4", 0),
    ("runuser", 0),
    ("setarch", 1),
    ("setpriv", 0),
    ("setsid", 0),
    ("shell", 0),
    ("ssh-agent", 0),
    ("stdbuf", 0),
    ("strace", 0),
    ("sudo", 0),
    ("systemd-run", 0),
    ("taskset", 1),
    ("then", 0),
    ("time", 0),
    ("timeout", 1),
    ("toybox", 0),
    ("trap", 0),
    ("unbuffer", 0),
    ("unshare", 0),
    ("until", 0),
    ("uv run", 0),
    ("valgrind", 0),
    ("watch", 0),
    ("while", 0),
    ("xargs", 0),
    ("xvfb-run", 0),
    ("yarn exec", 0),
    ("{", 0),
];

/// Loaders of programs, as their names begin: they run the file behind them.
static LOADERS: [&str; 3] = ["ld-linux", "ld-musl", "ld.so"];

/// Programs that run what stands behind `--`.
static DASHED: [&str; 14] = [
    "aws-vault",
    "chamber",
    "doppler",
    "dotenvx",
    "flatpak-spawn",
    "infisical",
    "kubectl",
    "mise",
    "npm",
    "oc",
    "op",
    "pnpm",
    "secretctl",
    "teller",
];

/// Programs that run the text behind `-c`, and all words after it.
static SHELLS: [&str; 13] = [
    "ash", "bash", "busybox", "dash", "fish", "flock", "ksh", "mksh", "rbash", "script", "sh",
    "su", "zsh",
];

/// Programs that run each argument as text.
static SPEAKERS: [&str; 3] = ["concurrently", "hyperfine", "parallel"];

/// Programs that run an argument as text if it is more than a word; a word begins a command there.
static LISTENERS: [&str; 4] = ["entr", "eval", "trap", "watch"];

/// Options of `find` and `fd` behind which a command begins.
static EXEC_OPTIONS: [&str; 8] = [
    "-exec",
    "-execdir",
    "-ok",
    "-okdir",
    "-x",
    "-X",
    "--exec",
    "--exec-batch",
];

/// Options that have no value wherever they are used.
static FLAGS: [&str; 9] = [
    "--",
    "--detach",
    "--init",
    "--interactive",
    "--privileged",
    "--rm",
    "--silent",
    "--tty",
    "--yes",
];

/// What the value of an option has to be, to be run as text.
#[derive(Clone, Copy, PartialEq)]
enum When {
    /// It always is.
    Always,
    /// What follows one of [`ESCAPES`].
    Escaped,
    /// A setting of one of [`SETTINGS`], or one that begins with `!`.
    Setting,
}
use When::{Always, Escaped, Setting};

/// Options whose value is run as text. An option that ends in `=` or is `+` is the beginning of a word, and the empty one means any
/// argument.
static OPTIONS: [(&[&str], &[&str], When); 23] = [
    (
        &["tar", "bsdtar", "gtar"],
        &[
            "-I",
            "-F",
            "--to-command",
            "--use-compress-program",
            "--rsh-command",
            "--info-script",
            "--new-volume-script",
        ],
        Always,
    ),
    (
        &["tar", "bsdtar", "gtar"],
        &["--checkpoint-action"],
        Setting,
    ),
    (&["rsync"], &["-e", "--rsh"], Always),
    (&["scp", "sftp"], &["-S"], Always),
    (&["scp", "sftp", "ssh"], &["-o"], Setting),
    (&["git"], &["-c"], Setting),
    (
        &["git"],
        &[
            "-x",
            "--exec",
            "--extcmd",
            "--tree-filter",
            "--index-filter",
            "--env-filter",
            "--msg-filter",
            "--upload-pack",
            "--receive-pack",
        ],
        Always,
    ),
    (&["man"], &["-P", "-H", "--pager", "--html"], Always),
    (&["sort"], &["--compress-program"], Always),
    (&["split"], &["--filter"], Always),
    (&["rg"], &["--pre"], Always),
    (&["zip"], &["-TT", "--unzip-command"], Always),
    (&["tcpdump"], &["-z"], Always),
    (
        &["nc", "ncat", "netcat"],
        &["-e", "-c", "--exec", "--sh-exec"],
        Always,
    ),
    (&["npm", "npx", "pnpm"], &["-c", "--call"], Always),
    (&["nix-shell", "nix"], &["--run", "--command"], Always),
    (
        &["bash", "fish", "flock", "runuser", "script", "su", "zsh"],
        &["--command"],
        Always,
    ),
    (&["make", "gmake"], &["SHELL=", "-E", "--eval"], Always),
    (
        &["start-stop-daemon"],
        &["-a", "-x", "--exec", "--startas"],
        Always,
    ),
    (
        &["vi", "vim", "nvim", "view", "ex", "rvim", "vimdiff"],
        &["-c", "--cmd", "+"],
        Escaped,
    ),
    (
        &["gdb", "lldb"],
        &[
            "-ex",
            "-iex",
            "-o",
            "-O",
            "--ex",
            "--eval-command",
            "--one-line",
        ],
        Escaped,
    ),
    (
        &["psql", "mysql", "mariadb", "sqlite3"],
        &["-c", "-e", "-cmd", "--command", "--execute", ""],
        Escaped,
    ),
    (
        &["ed", "red", "less", "more", "mail", "telnet", "ftp"],
        &["", "+"],
        Escaped,
    ),
];

/// What stands before a shell's text in the language of an editor, a debugger or a database's shell.
static ESCAPES: [&str; 9] = [
    "!", "\\!", "\\! ", "system ", "silent !", "r !", "shell ", ".shell ", ".system ",
];

/// How the names of settings end whose value is a command: those of git, of ssh and of tar.
static SETTINGS: [&str; 16] = [
    "askpass",
    "clean",
    "cmd",
    "command",
    "driver",
    "editor",
    "exec",
    "external",
    "fsmonitor",
    "helper",
    "pager",
    "process",
    "program",
    "smudge",
    "textconv",
    "uploadpack",
];

/// The last component of a path.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Positions in `command` at which a command that it runs may begin.
pub(crate) fn wrapped(command: &[&str]) -> Vec<usize> {
    let Some((program, arguments)) = command.split_first() else {
        return Vec::new();
    };
    let program = file_name(program);
    let mut positions = Vec::new();
    if matches!(program, "find" | "fd" | "fdfind") {
        let options = arguments.iter().enumerate();
        let options = options.filter(|(_, word)| EXEC_OPTIONS.contains(word));
        positions.extend(options.map(|(i, _)| i + 2));
    }
    if is_assignment(program) || LOADERS.iter().any(|loader| program.starts_with(loader)) {
        positions.extend(behind_options(arguments, 0).map(|i| i + 1));
    }
    if DASHED.contains(&program) {
        let dashes = arguments.iter().position(|word| *word == "--");
        positions.extend(dashes.map(|i| i + 2));
    }
    for &(words, operands) in &WRAPPERS {
        if let Some(rest) = words.strip_prefix(program)
            && let words = rest.split_ascii_whitespace().collect::<Vec<_>>()
            && (rest.is_empty() || rest.starts_with(' '))
            && let Some(read) = begin(arguments, &words)
        {
            let behind = behind_options(&arguments[read..], operands);
            positions.extend(behind.map(|i| read + i + 1));
        }
    }
    positions.retain(|position| *position < command.len());
    positions
}

/// How many of `arguments` the words take with which they begin, options aside; none if they do not.
pub(crate) fn begin(arguments: &[&str], words: &[&str]) -> Option<usize> {
    let Some((word, rest)) = words.split_first() else {
        return Some(0);
    };
    let mut candidates = until_operand(arguments);
    candidates.find_map(|i| {
        let read = (arguments[i] == *word).then_some(i + 1)?;
        Some(read + begin(&arguments[read..], rest)?)
    })
}

/// The first words of `arguments`, with the first that is an operand for certain.
fn until_operand<'a>(arguments: &'a [&str]) -> impl Iterator<Item = usize> + 'a {
    let mut may_be_value = false;
    let mut over = false;
    (arguments.iter().enumerate()).map_while(move |(i, word)| {
        let is_over = over;
        over = !is_option(word) && !may_be_value;
        may_be_value = may_have_value(word);
        (!is_over).then_some(i)
    })
}

/// Where a command may begin behind options and so many operands.
fn behind_options<'a>(
    arguments: &'a [&str],
    mut operands: usize,
) -> impl Iterator<Item = usize> + 'a {
    let mut may_be_value = false;
    let mut over = false;
    // Whether a word before may have been an operand rather than a value.
    let mut in_doubt = false;
    let words = arguments.iter().enumerate();
    let words = words.map_while(move |(i, word)| {
        if over {
            return None;
        }
        if is_option(word) {
            may_be_value = may_have_value(word);
            return Some(None);
        }
        let mut may_begin = true;
        if may_be_value || is_assignment(word) {
            may_be_value = false;
            in_doubt = true;
        } else if operands > 0 {
            operands -= 1;
            may_begin = in_doubt;
        } else {
            over = true;
        }
        Some(may_begin.then_some(i))
    });
    words.flatten()
}

fn is_option(word: &str) -> bool {
    word.starts_with('-') && word.len() > 1
}

fn may_have_value(word: &str) -> bool {
    let joined = word.contains('=') || (word.len() > 2 && !word.starts_with("--"));
    is_option(word) && !joined && !FLAGS.contains(&word)
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_+".contains(&b))
    })
}

/// The parts of `command`'s arguments that it runs as text.
pub(crate) fn scripts<'a>(command: &[&'a str]) -> Vec<&'a str> {
    let Some((program, arguments)) = command.split_first() else {
        return Vec::new();
    };
    let program = file_name(program);
    let mut scripts = Vec::new();
    if SPEAKERS.contains(&program) {
        scripts.extend(arguments);
    }
    if LISTENERS.contains(&program) {
        let is_text = |word: &&&str| word.contains([' ', '\t', '\n', ';', '|', '&', '$', '`', '(']);
        scripts.extend(arguments.iter().filter(is_text));
    }
    if SHELLS.contains(&program) {
        let is_c = |word: &&str| is_option(word) && !word.starts_with("--") && word.contains('c');
        let behind = arguments.iter().position(is_c);
        scripts.extend(behind.map_or(&[][..], |at| &arguments[at + 1..]));
    }
    if matches!(program, "coreutils" | "busybox" | "toybox") {
        let named = |word: &&'a str| word.strip_prefix("--coreutils-prog=");
        scripts.extend(arguments.iter().filter_map(named));
    }
    for &(programs, options, when) in &OPTIONS {
        if programs.contains(&program) {
            let values = options.iter().flat_map(|option| values(arguments, option));
            scripts.extend(values.filter_map(|value| text(value, when)));
        }
    }
    scripts
}

/// The values of an option among `arguments`: joined to it, or the next word.
fn values<'a>(arguments: &[&'a str], option: &str) -> Vec<&'a str> {
    let mut values = Vec::new();
    for (i, word) in arguments.iter().enumerate() {
        let Some(rest) = word.strip_prefix(option) else {
            continue;
        };
        let is_short = option.len() == 2 && !option.starts_with("--");
        let is_start = option.ends_with('=') || !option.starts_with('-');
        if is_start {
            values.push(rest);
        } else if rest.is_empty() {
            values.extend(arguments.get(i + 1).copied());
        } else if let Some(value) = rest.strip_prefix('=') {
            values.push(value);
        } else if is_short {
            values.push(rest);
        }
    }
    values
}

/// What of an option's value is run.
fn text(value: &str, when: When) -> Option<&str> {
    match when {
        Always => Some(value),
        Escaped => {
            let value = value.trim_start_matches([':', ' ']);
            ESCAPES.iter().find_map(|escape| value.strip_prefix(escape))
        }
        Setting => {
            let (name, value) = value.split_once(['=', ' '])?;
            if let Some(script) = value.strip_prefix('!') {
                return Some(script);
            }
            let name = name.to_ascii_lowercase();
            SETTINGS
                .iter()
                .any(|end| name.ends_with(end))
                .then_some(value)
        }
    }
}
