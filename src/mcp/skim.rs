//! What a line that is too long to be kept says of itself: enough to answer a client that waits for it, and not to answer one that does not.

use rmcp::model::{ErrorData, RequestId};
use serde_json::Value;

use super::lines::LINE_MAX_BYTES;
use super::messages::{Taken, id_of};

/// Longest name or id that is looked at, in bytes as they are written; what is longer is an unknown name, or no id.
const KEPT_MAX_BYTES: usize = 256;

/// Reads a JSON object bytewise and keeps next to nothing of it. Whether all of it is JSON is not looked at, but of what is, it tells what
/// `serde_json` would.
#[derive(Default)]
pub(super) struct Skim {
    whole: Whole,
    /// Brackets that are open.
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The name of the member that is being read, once its colon has come.
    name: Option<String>,
    /// The name, or the value, as far as it is known by now.
    token: Vec<u8>,
    /// The last member `id`, and whether it can be one.
    id: Option<Option<RequestId>>,
    has_method: bool,
    has_answer: bool,
}

/// What the line is as a whole.
#[derive(Default, PartialEq, Eq)]
enum Whole {
    #[default]
    Nothing,
    Begun,
    Object,
    Other,
}

impl Skim {
    /// Reads on.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.in_string {
                self.in_string(byte);
            } else {
                self.between(byte);
            }
        }
    }

    fn in_string(&mut self, byte: u8) {
        self.keep(byte);
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.in_string = false,
            _ => {}
        }
    }

    fn between(&mut self, byte: u8) {
        match (byte, self.depth) {
            (b' ' | b'\t' | b'\r', _) => self.space(),
            (b'{', 0) if self.whole == Whole::Nothing => {
                (self.whole, self.depth) = (Whole::Begun, 1);
            }
            (_, 0) => self.whole = Whole::Other,
            (b'}' | b']', 1) => {
                self.member();
                (self.whole, self.depth) = (Whole::Object, 0);
            }
            (b',', 1) => self.member(),
            (b':', 1) => {
                self.name = serde_json::from_slice(&self.token).ok();
                self.token.clear();
            }
            (b'"', _) => {
                self.keep(byte);
                self.in_string = true;
            }
            (b'{' | b'[', _) => {
                // It stands for all that is in there.
                self.keep(byte);
                self.depth += 1;
            }
            (b'}' | b']', _) => self.depth -= 1,
            _ => self.keep(byte),
        }
    }

    /// However many there are, one between two words parts them.
    fn space(&mut self) {
        if self.token.last().is_some_and(|last| *last != b' ') {
            self.keep(b' ');
        }
    }

    fn keep(&mut self, byte: u8) {
        // One more makes it too long, by which it is no JSON.
        if self.depth == 1 && self.token.len() <= KEPT_MAX_BYTES {
            self.token.push(byte);
        }
    }

    /// Takes note of a member. The last one of a name counts.
    fn member(&mut self) {
        let token = std::mem::take(&mut self.token);
        match self.name.take().as_deref() {
            Some("id") => {
                let kept = Some(&token).filter(|token| token.len() <= KEPT_MAX_BYTES);
                let value = kept.and_then(|token| serde_json::from_slice::<Value>(token).ok());
                self.id = Some(value.as_ref().and_then(id_of));
            }
            Some("method") => self.has_method = true,
            Some("result" | "error") => self.has_answer = true,
            _ => {}
        }
    }

    /// What becomes of the line: an answer or a notification is in vain, and whoever sent a request hears of it.
    pub(super) fn taken(self) -> Taken {
        let is_object = self.whole == Whole::Object;
        let waits = match self.has_method {
            true => self.id.is_some(),
            false => !self.has_answer,
        };
        if is_object && !waits {
            return Taken::Nothing;
        }
        let id = self.id.flatten().filter(|_| is_object);
        let text = format!("a message has at most {LINE_MAX_BYTES} bytes");
        Taken::Refused(id, ErrorData::invalid_request(text, None))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is told of a line that comes in such pieces: none if it gets no answer, else the id in it.
    fn skimmed(line: &[u8], pieces: &[usize]) -> Option<Option<RequestId>> {
        let (mut skim, mut left) = (Skim::default(), line);
        for piece in pieces {
            let (now, later) = left.split_at((*piece).min(left.len()));
            skim.read(now);
            left = later;
        }
        skim.read(left);
        match skim.taken() {
            Taken::Refused(id, _) => Some(id),
            _ => None,
        }
    }

    /// The same by `serde_json`, of what is JSON.
    fn parsed(line: &[u8]) -> Option<Option<RequestId>> {
        let Ok(Value::Object(message)) = serde_json::from_slice(line) else {
            return Some(None);
        };
        let is_answer = message.contains_key("result") || message.contains_key("error");
        match (message.contains_key("method"), message.get("id")) {
            (true, None) => None,
            (false, _) if is_answer => None,
            (_, id) => Some(id.and_then(id_of)),
        }
    }

    #[test]
    fn the_id_is_found_wherever_and_however_it_is_written() {
        let long = "x".repeat(KEPT_MAX_BYTES - 1);
        let spaces = " ".repeat(1000);
        let text = |id: &str| Some(Some(RequestId::String(id.into())));
        let number = |id| Some(Some(RequestId::Number(id)));
        for (line, expected) in [
            (r#"{"id":7,"method":"x"}"#, number(7)),
            (
                r#"{"params":{"id":1,"a":[{"id":2}]},"method":"x","id":-3}"#,
                number(-3),
            ),
            (r#"{"\u0069d":"a","method":"x"}"#, text("a")),
            (
                r#"{"method":"\\\"","id":"\\\",\"id\":7"}"#,
                text(r#"\","id":7"#),
            ),
            (r#"{"id":1,"id":2,"method":"x"}"#, number(2)),
            (r#"{"id":1,"method":"x","id":[3]}"#, Some(None)),
            (
                &format!("{spaces}{{{spaces}\"id\"{spaces}:{spaces}5{spaces},\"method\":1}}\r"),
                number(5),
            ),
            (
                &format!(r#"{{"id":"{}","method":"x"}}"#, &long[1..]),
                text(&long[1..]),
            ),
            (&format!(r#"{{"id":"{long}","method":"x"}}"#), Some(None)),
            (
                &format!(r#"{{"{long}id":1,"id":2,"method":"x"}}"#),
                number(2),
            ),
            (r#"{"id":1 2,"method":"x"}"#, Some(None)),
            (r#"{"id":1.5,"method":"x"}"#, Some(None)),
            (r#"{"id":null,"method":"x"}"#, Some(None)),
            (r#"{"id":"a"}"#, text("a")),
            (r#"{"id":"a","method":"x"} x"#, Some(None)),
            (r#"{"id":"a","method":"x"}{}"#, Some(None)),
            (r#"{"id":"a","method":"x""#, Some(None)),
            (r#"[{"id":"a","method":"x"}]"#, Some(None)),
            (r#""id""#, Some(None)),
            ("]]]]", Some(None)),
            ("", Some(None)),
            // Nobody waits for these.
            (r#"{"method":"notifications/x","params":{"id":1}}"#, None),
            (r#"{"id":1,"result":{}}"#, None),
            (r#"{"error":{},"id":1}"#, None),
        ] {
            assert_eq!(skimmed(line.as_bytes(), &[]), expected, "{line}");
        }
    }

    /// Anything that is written in one way or another as JSON.
    fn value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f32>().prop_map(|number| serde_json::json!(number).to_string()),
            ".{0,8}".prop_map(|text| serde_json::json!(text).to_string()),
            r#"[\\"{}:,\[\] ]{0,8}"#.prop_map(|text| serde_json::json!(text).to_string()),
            Just(r#""\u0069d\ud83d\ude00""#.to_owned()),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3)
                    .prop_map(|items| format!("[{}]", items.join(" ,"))),
                object(inner),
            ]
        })
    }

    fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
        let name = prop_oneof![
            4 => Just(r#""id""#),
            2 => Just(r#""\u0069\u0064""#),
            4 => Just(r#""method""#),
            1 => Just(r#""result""#),
            1 => Just(r#""error""#),
            1 => Just(r#""i\"d""#),
            2 => Just(r#""params""#),
        ];
        let space = prop_oneof![Just(""), Just(" "), Just("\t \r")];
        let member =
            (name, space.clone(), value, space).prop_map(|(name, before, value, after)| {
                format!("{name}{before}:{after}{value}{before}")
            });
        proptest::collection::vec(member, 0..5)
            .prop_map(|members| format!("{{{}}}", members.join(",")))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn of_what_is_json_it_tells_what_serde_json_does(
            line in prop_oneof![4 => object(value()), 1 => value()],
            pieces in proptest::collection::vec(0..6_usize, 0..40),
        ) {
            prop_assert_eq!(skimmed(line.as_bytes(), &pieces), parsed(line.as_bytes()), "{}", line);
        }

        #[test]
        fn of_what_is_none_it_tells_the_same_however_it_is_cut(
            line in r#"\{?("id"|"method"|[\\"{}:,\[\] a1]){0,40}\}?"#,
            pieces in proptest::collection::vec(0..6_usize, 0..40),
        ) {
            prop_assert_eq!(skimmed(line.as_bytes(), &pieces), skimmed(line.as_bytes(), &[]), "{}", line);
        }
    }
}
