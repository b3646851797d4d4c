//! Questions on the terminal, whatever standard input and output are.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};

/// Asks, and reads a line that is seen while it is typed.
pub(super) fn ask(question: &str) -> io::Result<String> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    terminal.write_all(question.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(terminal).read_line(&mut answer)?;
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}
