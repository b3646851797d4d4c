//! How requests are made up for tests, and what a module likes to ask them.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{Command, Key, Moment, Program, Purpose, Request};

impl Request {
    /// A request to run a command, for tests: without keys, of the agent `test`, in a temporary directory, at the beginning of 1970.
    /// The program is one that the host has found, in `/usr/bin`.
    pub fn for_command(program: &str, arguments: &[&str]) -> Self {
        let path = match program.starts_with('/') {
            true => String::from(program),
            false => ["/usr/bin/", program].concat(),
        };
        Self {
            purpose: Purpose::Inject,
            agent: String::from("test"),
            keys: Vec::new(),
            command: Some(Command {
                program: Program {
                    requested: String::from(program),
                    path: Some(path),
                    aliases: Vec::new(),
                },
                arguments: arguments.iter().copied().map(String::from).collect(),
                mentioned: Vec::new(),
            }),
            directory: None,
            timeout_ms: None,
            time: Moment {
                unix_seconds: 0,
                utc_offset_minutes: 0,
            },
        }
    }

    /// A request to see masked values, for tests: what [`for_command`](Self::for_command) makes, without a command.
    pub fn to_see() -> Self {
        Self {
            purpose: Purpose::Masked,
            command: None,
            ..Self::for_command("", &[])
        }
    }

    /// The same request with one more key, named by the agent and without tags.
    pub fn key(mut self, name: &str) -> Self {
        self.keys.push(Key {
            name: String::from(name),
            named: true,
            tags: Vec::new(),
        });
        self
    }

    /// The same request of another agent.
    pub fn agent(mut self, name: &str) -> Self {
        self.agent = String::from(name);
        self
    }

    /// The same request at another time.
    pub fn at(mut self, time: Moment) -> Self {
        self.time = time;
        self
    }
}

impl Command {
    /// All words, the program as the agent wrote it first.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let arguments = self.arguments.iter().map(String::as_str);
        core::iter::once(self.program.requested.as_str()).chain(arguments)
    }

    /// All words with a space between them: for people, and for searches. Words that contain spaces look like several.
    pub fn line(&self) -> String {
        self.words().collect::<Vec<_>>().join(" ")
    }
}

impl Program {
    /// Whether the program goes by a name: the last part of what the agent wrote, of the file's path, or of one of its aliases. So
    /// `is("awk")` holds for `/usr/bin/mawk` where that is what `awk` starts.
    pub fn is(&self, name: &str) -> bool {
        let names = [&self.requested].into_iter();
        let mut names = names.chain(&self.path).chain(&self.aliases);
        names.any(|known| known.rsplit('/').next() == Some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_made_up_of_parts() {
        let time = Moment {
            unix_seconds: 7,
            utc_offset_minutes: 60,
        };
        let request = Request::for_command("npm", &["run", "a b"])
            .key("a/b")
            .key("c")
            .agent("claude")
            .at(time);
        assert_eq!(request.keys[1].name, "c");
        assert_eq!((&*request.agent, request.time), ("claude", time));
        let line = request.command.map(|command| command.line());
        assert_eq!(line.as_deref(), Some("npm run a b"));
        assert_eq!(Request::to_see().key("a").command, None);
    }

    #[test]
    fn a_program_goes_by_all_its_names() {
        let program = Program {
            requested: String::from("./tools/x"),
            path: Some(String::from("/usr/bin/mawk")),
            aliases: Vec::from([String::from("/etc/alternatives/awk")]),
        };
        assert!(["x", "mawk", "awk"].iter().all(|name| program.is(name)));
        assert!(
            !["tools", "bin", "", "wk"]
                .iter()
                .any(|name| program.is(name))
        );
    }
}
