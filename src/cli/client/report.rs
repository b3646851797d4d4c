//! What a doctor found: single checks, each with its verdict and the next step.

use serde_json::{Value, json};

use crate::cli::failure::{Failure, codes};
use crate::cli::output;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Ok,
    /// It works, but something should be known or done.
    Warn,
    /// It does not work.
    Fail,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

struct Check {
    subject: String,
    verdict: Verdict,
    fact: String,
    next: Option<String>,
}

#[derive(Default)]
pub(super) struct Report(Vec<Check>);

impl Report {
    pub(super) fn ok(&mut self, subject: &str, fact: impl ToString) {
        self.add(subject, Verdict::Ok, fact, None);
    }

    pub(super) fn warn(&mut self, subject: &str, fact: impl ToString, next: impl Into<String>) {
        self.add(subject, Verdict::Warn, fact, Some(next.into()));
    }

    pub(super) fn fail(&mut self, subject: &str, fact: impl ToString, next: impl Into<String>) {
        self.add(subject, Verdict::Fail, fact, Some(next.into()));
    }

    /// What would have ended another command.
    pub(super) fn failure(&mut self, subject: &str, failure: Failure) {
        let (fact, next) = failure.into_parts();
        self.add(subject, Verdict::Fail, fact, next);
    }

    fn add(&mut self, subject: &str, verdict: Verdict, fact: impl ToString, next: Option<String>) {
        self.0.push(Check {
            subject: subject.to_owned(),
            verdict,
            fact: fact.to_string(),
            next,
        });
    }

    /// Prints all, and gives the exit code.
    pub(super) fn print(&self, as_json: bool) -> Result<u8, Failure> {
        if as_json {
            let check = |check: &Check| {
                json!({
                    "subject": check.subject,
                    "verdict": check.verdict.word(),
                    "fact": check.fact,
                    "next": check.next,
                })
            };
            output::json(&self.0.iter().map(check).collect::<Value>())?;
        } else {
            output::result(self.lines().as_bytes())?;
        }
        let failed = self.0.iter().any(|check| check.verdict == Verdict::Fail);
        Ok(if failed { codes::FAILED } else { codes::DONE })
    }

    fn lines(&self) -> String {
        let width = self
            .0
            .iter()
            .map(|check| check.subject.len())
            .max()
            .unwrap_or_default();
        // What stands in somebody else's file makes no line of its own.
        let one_line = |text: &str| output::printable(text).replace('\n', "\\n");
        let mut text = String::new();
        for check in &self.0 {
            let (verdict, subject, fact) =
                (check.verdict.word(), &check.subject, one_line(&check.fact));
            text.push_str(&format!("{verdict:<4}  {subject:<width$}  {fact}\n"));
            if let Some(next) = check.next.as_deref().map(one_line) {
                text.push_str(&format!("{:6}{:width$}    {next}\n", "", ""));
            }
        }
        text
    }
}
