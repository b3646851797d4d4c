//! What a person would change in the policy file to have a refused request allowed: lines to be pasted there, with their place.
//!
//! Words that an agent chose stand in these lines. None of them may mean more than what was asked for.

use crate::types::{Command, Request};

/// Longest text of all changes together, in bytes: the host takes no longer one.
const TEXT_MAX_BYTES: usize = 4000;
/// Longest rule that is proposed, in bytes.
const RULE_MAX_BYTES: usize = 1000;

/// A list of the file that gets another entry.
pub(crate) fn add(list: &str, entry: &str) -> String {
    format!("add to {list}:\n- {entry}")
}

/// A list of the file that loses an entry.
pub(crate) fn remove(list: &str, entry: &str) -> String {
    format!("remove from {list}:\n- {entry}")
}

/// All changes as one text; none if there are too many for it.
pub(crate) fn join(changes: &[String]) -> String {
    let text = changes.join("\n");
    if text.len() > TEXT_MAX_BYTES {
        String::new()
    } else {
        text
    }
}

/// The rule that allows a command. It has all words of the command up to the first that a rule cannot have.
pub(crate) fn allow(command: &Command) -> Option<String> {
    let fits = |word: &str| {
        !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "*\"'\\".contains(c))
    };
    let mut rule = command.program.requested.clone();
    if !fits(&rule) || rule.len() > RULE_MAX_BYTES {
        return None;
    }
    let mut whole = true;
    for word in &command.arguments {
        if !fits(word) || rule.len() + word.len() >= RULE_MAX_BYTES {
            whole = false;
            break;
        }
        rule = format!("{rule} {word}");
    }
    let more = if whole { "" } else { " # and whatever follows" };
    Some(add("allowed_commands", &format!("{}{more}", quote(&rule))))
}

/// The rights of an agent that has none. An agent whose name means others as well gets no such advice.
pub(crate) fn add_agent(request: &Request, capability: &str) -> Option<String> {
    let agent = &request.agent;
    if agent.contains('*') || agent.is_empty() {
        return None;
    }
    let named = request.keys.iter().filter(|key| key.named);
    let keys: Vec<String> = named.map(|key| quote(&key.name)).collect();
    let (agent, keys) = (quote(agent), keys.join(", "));
    Some(add(
        "policies",
        &format!(
            "{{ name: {agent}, agent_id: {agent}, allowed_keys: [{keys}], capabilities: [{capability}] }}"
        ),
    ))
}

/// A text as a double-quoted scalar of YAML that looks like what it is.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ if u32::from(c) <= 0xffff => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Program;

    fn rule(words: &[&str]) -> Option<String> {
        let (program, arguments) = words.split_first().unwrap();
        allow(&Command {
            program: Program {
                requested: (*program).to_owned(),
                path: None,
                aliases: vec![],
            },
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            mentioned: vec![],
        })
    }

    #[test]
    fn a_rule_has_the_words_that_were_asked_for() {
        let add = |rule: &str| Some(format!("add to allowed_commands:\n- {rule}"));
        assert_eq!(rule(&["npm", "test"]), add("\"npm test\""));
        assert_eq!(rule(&["true"]), add("\"true\""));
        assert_eq!(
            rule(&["npm", "x", "a b", "c"]),
            add("\"npm x\" # and whatever follows")
        );
        assert_eq!(rule(&["./ü.sh"]), add("\"./\\u00fc.sh\""));
        let long = "x".repeat(RULE_MAX_BYTES);
        assert_eq!(rule(&["npm", &long]), add("\"npm\" # and whatever follows"));
    }

    #[test]
    fn nobody_is_advised_to_allow_everything() {
        for program in ["*", "a*", "a b", "", "a\"b", "a\nb"] {
            assert_eq!(rule(&[program]), None, "{program}");
        }
        assert_eq!(
            rule(&["npm", "*"]).unwrap().lines().last(),
            Some("- \"npm\" # and whatever follows")
        );
    }
}
