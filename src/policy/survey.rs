//! All that is wrong with a policy file, as far as it can be read at all.

use super::document::Document;
use super::error::{Fault, Place};
use super::find;
use super::meant;
use super::node::{Mistake, Node, Step, written};
use super::place;

/// Most mistakes that are named: whoever has more begins anew. Each one costs another reading of the file.
const MISTAKES_MAX: usize = 100;

/// All mistakes in the order of the file, each with its place. None for a file that is no YAML, which ends at the first one.
pub(super) fn of(text: &str) -> Option<Vec<(Option<Place>, String)>> {
    let mut tree = Node::parse(text)?;
    // Where the file repeats a key the first one counts, so that the others are no mistakes in themselves.
    let mut found = tree.repeated();
    found.iter().for_each(|mistake| tree.remove(&mistake.trail));
    let mut removed = found.clone();
    while found.len() < MISTAKES_MAX {
        match tree.read::<Document>() {
            Ok(document) => {
                found.extend(meanings(document, &tree));
                break;
            }
            Err(mistake) => {
                if !follows(&mistake, &removed) {
                    found.push(mistake.clone());
                }
                if mistake.trail.is_empty() {
                    break;
                }
                tree.remove(&mistake.trail);
                removed.push(mistake);
            }
        }
    }
    found.truncate(MISTAKES_MAX);
    let mut located: Vec<_> = found.iter().map(|mistake| located(text, mistake)).collect();
    located.sort_by_key(|(place, _)| place.as_ref().map(|place| (place.line, place.column)));
    Some(located)
}

/// What cannot be meant in what can be read.
fn meanings(document: Document, tree: &Node) -> Vec<Mistake> {
    let Err(Fault::Invalid(problems)) = document.into_policy() else {
        return Vec::new();
    };
    let mistake = |problem: super::Problem| Mistake {
        trail: tree.trail(&problem.path).unwrap_or_default(),
        is_key: false,
        message: problem.message,
    };
    problems.into_iter().map(mistake).collect()
}

/// Whether a key is missing only because it, or what was written in its place, was taken out.
fn follows(mistake: &Mistake, removed: &[Mistake]) -> bool {
    let Some(missing) = mistake.message.strip_prefix("missing field `") else {
        return false;
    };
    let missing = missing.trim_end_matches('`');
    removed
        .iter()
        .any(|before| match before.trail.split_last() {
            Some((Step::Key(key, _), parent)) => {
                parent == mistake.trail && place::nearest(key, std::iter::once(missing)).is_some()
            }
            _ => false,
        })
}

fn located(text: &str, mistake: &Mistake) -> (Option<Place>, String) {
    let Mistake {
        trail,
        is_key,
        message,
    } = mistake;
    let at = find::steps(text, trail, *is_key);
    let place = at.map(|(line, column)| place::at(text, line, column));
    // A wrong key is named by the message itself.
    let whole = match trail.split_last() {
        Some((_, parent)) if *is_key => parent,
        _ => trail,
    };
    let line = at.map_or(0, |(line, _)| line);
    let message = meant::with_meant(message.clone(), text, line);
    match written(whole) {
        path if path.is_empty() => (place, message),
        path => (place, format!("{path}: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Policy;
    use super::*;

    /// `line:column message` of each mistake, the message up to what was expected.
    fn mistakes(text: &str) -> Vec<String> {
        let line = |(place, message): (Option<Place>, String)| {
            let place = place.unwrap();
            let short = message.split(", expected").next().unwrap_or_default();
            format!("{}:{} {short}", place.line, place.column)
        };
        of(text).unwrap().into_iter().map(line).collect()
    }

    #[test]
    fn numbers_stay_those_of_the_file() {
        let text = "allowed_commands:\n- {}\n- a\n- 'b *'\n- { command: c, keys: [d, [], 'e['] }\n";
        let expected = [
            "2:3 allowed_commands[0]: missing field `command`",
            "4:3 allowed_commands[2]: has a '*'",
            "5:27 allowed_commands[3].keys[1]: invalid type: sequence",
            "5:31 allowed_commands[3].keys[2]: a key pattern has",
        ];
        let found = mistakes(text);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn a_key_that_comes_again_is_named_where_it_does() {
        let text =
            "limits: { processes: 1, processes: x, timeout_max: 1, processes: 2 }\nlimits: {}\n";
        let expected = [
            "1:25 limits: duplicate field `processes`",
            "1:52 limits.timeout_max: invalid type: integer `1` (did you mean `1s`?)",
            "1:55 limits: duplicate field `processes`",
            "2:1 duplicate field `limits`",
        ];
        assert_eq!(mistakes(text), expected);
    }

    #[test]
    fn what_a_mistyped_key_leaves_out_is_no_mistake_of_its_own() {
        let found = mistakes("allowed_commands:\n- comand: x\n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("2:3 "), "{found:?}");
    }

    #[test]
    fn what_is_no_yaml_is_not_surveyed() {
        for text in ["a: [", "a:\n\t- b\n", "!x a", "{ [a]: b }"] {
            assert!(of(text).is_none(), "{text}");
        }
    }

    #[test]
    fn mistakes_are_not_without_end() {
        let text = format!("denied_commands: [{}]\n", "[],".repeat(900));
        assert_eq!(of(&text).unwrap().len(), MISTAKES_MAX);
    }

    const FILE: &str = "version: 1\ndefault_action: deny\nallowed_commands:\n- npm test\n- command: aws\n  keys: [a/*]\n  \
        timeout: 60s\n  network: none\n  expand: no\npolicies:\n- name: a\n  agent_id: b\n  allowed_keys: []\n  \
        capabilities: [env_inject]\nlimits: { processes: 3, output_bytes: 1MiB }\nenv_aliases: { a: [{ pattern: b, target: c }] }\n\
        paths:\nworkdir: project\n";

    /// Whatever a person mistypes: the survey finds something exactly where the parser does.
    #[test]
    fn it_agrees_with_the_parser() {
        let mut refused = 0;
        for at in 0..FILE.len() {
            for instead in ["", "x", "1", ":", "]", "\n", "- ", "~", "a: "] {
                let text = format!("{}{instead}{}", &FILE[..at], &FILE[at + 1..]);
                let is_refused = Policy::parse(text.as_bytes()).is_err();
                if let Some(found) = of(&text) {
                    assert_eq!(!found.is_empty(), is_refused, "{found:?}\n{text}");
                    assert!(
                        found.iter().all(|(place, _)| place.is_some()),
                        "{found:?}\n{text}"
                    );
                    refused += usize::from(is_refused);
                }
            }
        }
        assert!(refused > 1000, "{refused}");
    }
}
