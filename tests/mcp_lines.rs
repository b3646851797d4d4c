//! Lines that are no messages, or no good ones: each gets one answer, or none where the protocol has none, and the server lives.
#![allow(clippy::expect_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::Sandbox;
use support::raw::Raw;

/// Lines of the long test, in batches that are answered before the next one.
const BATCHES: usize = 100;
const BATCH: usize = 100;
/// Begins the sequence of random numbers: another one makes another test.
const SEED: u64 = 0x5eed_0007;
/// More than a line may have.
const TOO_LONG: usize = 16 * 1024 * 1024 + 1;

/// The codes of JSON-RPC.
const PARSE: i64 = -32700;
const REQUEST: i64 = -32600;
const METHOD: i64 = -32601;
const PARAMS: i64 = -32602;

fn server(sandbox: &Sandbox) -> Raw {
    // Whatever is asked for, nothing of a log is on standard output.
    let server = sandbox
        .secretctl(["mcp-server"])
        .env("RUST_LOG", "trace")
        .env("RUST_BACKTRACE", "full");
    Raw::connect(server, json!({}))
}

/// The code of an error, or nothing for a result.
fn code(answer: &Value) -> Option<i64> {
    answer["error"]["code"].as_i64()
}

#[test]
fn what_is_no_request_is_refused_and_never_ends_the_session() {
    let sandbox = Sandbox::new();
    let mut raw = server(&sandbox);
    let deep = "[".repeat(200);
    let long = "x".repeat(TOO_LONG);
    let lines: [(&[u8], i64, Value); 22] = [
        (b"nonsense", PARSE, Value::Null),
        (b"{\"jsonrpc\":\"2.0\",\"id\":\"half", PARSE, Value::Null),
        (b"\xff\xfe\"", PARSE, Value::Null),
        (b"{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"\xff\"}", PARSE, Value::Null),
        (deep.as_bytes(), PARSE, Value::Null),
        (long.as_bytes(), REQUEST, Value::Null),
        (b"[]", REQUEST, Value::Null),
        (b"[{\"jsonrpc\":\"2.0\",\"id\":\"b\",\"method\":\"ping\"}]", REQUEST, Value::Null),
        (b"null", REQUEST, Value::Null),
        (b"{}", REQUEST, Value::Null),
        (b"{\"id\":\"c\"}", REQUEST, json!("c")),
        (b"{\"id\":\"d\",\"method\":\"ping\"}", REQUEST, json!("d")),
        (b"{\"jsonrpc\":\"1.0\",\"id\":\"e\",\"method\":\"ping\"}", REQUEST, json!("e")),
        (b"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", REQUEST, Value::Null),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"ping\"}", REQUEST, Value::Null),
        (b"{\"jsonrpc\":\"2.0\",\"id\":9223372036854775808,\"method\":\"ping\"}", REQUEST, Value::Null),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1e400,\"method\":\"ping\"}", PARSE, Value::Null),
        (b"{\"jsonrpc\":\"2.0\",\"id\":[\"e\"],\"method\":\"ping\"}", REQUEST, Value::Null),
        (b"{\"jsonrpc\":\"2.0\",\"id\":\"f\",\"method\":7}", REQUEST, json!("f")),
        (b"{\"jsonrpc\":\"2.0\",\"id\":\"g\",\"method\":\"no/such\"}", METHOD, json!("g")),
        (b"{\"jsonrpc\":\"2.0\",\"id\":\"h\",\"method\":\"tools/call\",\"params\":{\"name\":7}}", PARAMS, json!("h")),
        (
            b"{\"jsonrpc\":\"2.0\",\"id\":\"i\",\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},\"clientInfo\":{\"name\":\"other\",\"version\":\"1\"}}}",
            REQUEST,
            json!("i"),
        ),
    ];
    for (line, wanted, id) in lines {
        raw.send(line);
        raw.send(b"\n");
        let answer = raw.next();
        let line = String::from_utf8_lossy(&line[..line.len().min(80)]);
        assert_eq!(
            (code(&answer), &answer["id"]),
            (Some(wanted), &id),
            "{line}: {answer}"
        );
        assert!(
            answer
                .as_object()
                .is_some_and(|answer| answer.contains_key("id")),
            "{answer}"
        );
    }
    for quiet in [
        "",
        "   ",
        "\r",
        r#"{"jsonrpc":"2.0","method":"notifications/unknown"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"none"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":7}"#,
        r#"{"jsonrpc":"2.0","id":77,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":77,"error":{"code":1,"message":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}"#,
        r#"{"jsonrpc":"2.0","result":{"roots":[]}}"#,
    ] {
        raw.send(format!("{quiet}\n").as_bytes());
        raw.is_quiet();
    }
    // Of a request that is still to come, nothing is cancelled.
    let cancel =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"o"}}"#;
    raw.send(format!("{cancel}\n").as_bytes());
    raw.send(b"{\"jsonrpc\":\"2.0\",\"id\":\"o\",\"method\":\"ping\"}\n");
    assert_eq!(
        raw.next(),
        json!({ "jsonrpc": "2.0", "id": "o", "result": {} })
    );
    // A message may come in pieces, and end as lines end elsewhere.
    for piece in [
        "{\"jsonrpc\":\"2.0\",\"id\":\"p\",",
        "\"method\":\"pi",
        "ng\"}\r",
        "\n",
    ] {
        raw.send(piece.as_bytes());
    }
    assert_eq!(
        raw.next(),
        json!({ "jsonrpc": "2.0", "id": "p", "result": {} })
    );
    // Half a message at the end is none.
    raw.send(b"{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"method\":\"ping\"}");
    raw.stop();
}

#[test]
fn a_request_that_is_too_long_is_refused_by_its_id_and_nothing_else_of_that_length_is_answered() {
    let sandbox = Sandbox::new();
    let mut raw = server(&sandbox);
    let long = "\\\"id\\\":0,".repeat(TOO_LONG / 9);
    for (line, id) in [
        (
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"x":"{long}"}}}}"#),
            json!(1),
        ),
        (
            format!(
                r#"{{"method":"x","params":{{"id":0,"x":"{long}"}},"jsonrpc":"2.0","id":"last"}}"#
            ),
            json!("last"),
        ),
        (
            format!(r#"{{"jsonrpc":"2.0","id":"{long}","method":"ping"}}"#),
            Value::Null,
        ),
        (
            format!(r#"[{{"jsonrpc":"2.0","id":1,"method":"{long}"}}]"#),
            Value::Null,
        ),
    ] {
        raw.send(format!("{line}\n").as_bytes());
        let error = json!({ "code": REQUEST, "message": "a message has at most 16777216 bytes" });
        assert_eq!(
            raw.next(),
            json!({ "jsonrpc": "2.0", "id": id, "error": error })
        );
    }
    for quiet in [
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{"id":1,"x":"{long}"}}}}"#
        ),
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"x":"{long}"}}}}"#),
    ] {
        raw.send(format!("{quiet}\n").as_bytes());
        raw.is_quiet();
    }
    raw.stop();
}

#[test]
fn nothing_before_the_handshake_ends_the_session() {
    let sandbox = Sandbox::new();
    let mut raw = Raw::start(sandbox.secretctl(["mcp-server"]));
    for quiet in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#,
    ] {
        raw.send(format!("{quiet}\n").as_bytes());
    }
    raw.is_quiet();
    // A request that does not say all of who asks begins no session, in which a notification would be in its place.
    let version = "io.modelcontextprotocol/protocolVersion";
    let capabilities = "io.modelcontextprotocol/clientCapabilities";
    for meta in [
        json!({}),
        json!({ version: "2026-07-28" }),
        json!({ version: "2999-01-01", capabilities: {} }),
    ] {
        raw.request("tools/list", json!({ "_meta": meta }));
        let refused = raw.next();
        assert!(code(&refused).is_some(), "{refused}");
        raw.notify("notifications/initialized", json!({}));
        raw.is_quiet();
    }
    raw.request("initialize", json!({ "protocolVersion": 7 }));
    assert_eq!(code(&raw.next()), Some(PARAMS));
    let hello = raw.initialize("2025-06-18", json!({}));
    assert_eq!(hello["result"]["protocolVersion"], "2025-06-18");
    raw.stop();
}

#[test]
fn an_answer_to_a_mistake_is_short_however_long_the_mistake_is() {
    let sandbox = Sandbox::new();
    let mut raw = server(&sandbox);
    let long = "secret_list".repeat(300_000);
    let many: Value = (0..100_000)
        .map(|number| (format!("argument{number}"), Value::Null))
        .collect::<serde_json::Map<_, _>>()
        .into();
    raw.request(&long, json!({}));
    let answer = raw.next();
    assert_eq!(code(&answer), Some(METHOD));
    assert!(answer.to_string().len() < 200, "it is too long");
    for (tool, arguments) in [
        (&*long, json!({})),
        ("secret_list", json!({ &*long: 1 })),
        ("secret_list", many),
    ] {
        raw.call(tool, arguments, json!({}));
        let answer = raw.next().to_string();
        assert!(answer.contains("there is no "), "{answer}");
        assert!(answer.len() < 1500, "{answer}");
    }
    raw.stop();
}

/// Random numbers that are the same in each run (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("it is small")
    }
}

/// A line, and the id and code of its answer if it has one.
type Line = (Vec<u8>, Option<(Value, Option<i64>)>);

fn line(random: &mut Random, number: usize) -> Line {
    let id = json!(format!("r{number}"));
    let request = |method: &str, params: Value| {
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
            .to_string()
            .into_bytes()
    };
    let call = |arguments: Value| json!({ "name": "secret_exists", "arguments": arguments });
    let unknown = || Some((Value::Null, Some(PARSE)));
    match random.below(12) {
        0 => (request("ping", json!({})), Some((id, None))),
        1 => (
            request("tools/call", call(json!({ "key": "KEY" }))),
            Some((id, None)),
        ),
        2 => (
            request("tools/call", call(json!({ "kye": [1, { "x": null }] }))),
            Some((id, None)),
        ),
        3 => (
            request("tools/call", json!({ "name": "none" })),
            Some((id, Some(PARAMS))),
        ),
        4 => (request("tools/call", json!([1])), Some((id, Some(PARAMS)))),
        5 => (request("x", json!({})), Some((id, Some(METHOD)))),
        // Cut somewhere.
        6 => {
            let mut cut = request("ping", json!({ "padding": "é".repeat(random.below(50)) }));
            cut.truncate(1 + random.below(cut.len() - 1));
            (cut, unknown())
        }
        // Any bytes but those that end the line or hold nothing.
        7 => {
            let bytes =
                (0..1 + random.below(200)).map(|_| u8::try_from(random.below(256)).unwrap_or(0));
            let mut bytes: Vec<u8> = bytes.filter(|byte| *byte != b'\n').collect();
            bytes.insert(0, b'!');
            (bytes, unknown())
        }
        8 => {
            let long = request(
                "ping",
                json!({ "padding": "p".repeat(random.below(100_000)) }),
            );
            (long, Some((id, None)))
        }
        9 => {
            let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "none" } });
            (cancel.to_string().into_bytes(), None)
        }
        10 => (b"[1, 2]".to_vec(), Some((Value::Null, Some(REQUEST)))),
        _ => (
            json!({ "jsonrpc": "2.0", "id": number, "result": {} })
                .to_string()
                .into_bytes(),
            None,
        ),
    }
}

#[test]
fn ten_thousand_lines_of_all_kinds_get_one_answer_each() {
    let sandbox = Sandbox::new();
    let mut raw = server(&sandbox);
    let mut random = Random(SEED);
    for batch in 0..BATCHES {
        let mut expected: BTreeMap<String, usize> = BTreeMap::new();
        for number in 0..BATCH {
            let (mut bytes, answer) = line(&mut random, batch * BATCH + number);
            bytes.push(b'\n');
            raw.send(&bytes);
            if let Some((id, code)) = answer {
                *expected.entry(format!("{id} {code:?}")).or_default() += 1;
            }
        }
        for _ in 0..expected.values().sum() {
            let answer = raw.next();
            let key = format!("{} {:?}", answer["id"], code(&answer));
            let left = expected.get_mut(&key).filter(|left| **left > 0);
            *left.unwrap_or_else(|| panic!("nobody asked for {answer}")) -= 1;
        }
        raw.is_quiet();
    }
    raw.stop();
}

#[test]
fn two_requests_of_one_id_are_two_requests() {
    let sandbox = Sandbox::new();
    let mut raw = server(&sandbox);
    let line =
        br#"{"jsonrpc":"2.0","id":"same","method":"tools/call","params":{"name":"secret_list"}}"#;
    let twice = [line.as_slice(), b"\n", line, b"\n"].concat();
    for _ in 0..50 {
        raw.send(&twice);
        for _ in 0..2 {
            let answer = raw.next();
            assert_eq!(answer["id"], "same");
            // The second one is refused unless the first one has been answered by then.
            assert!(matches!(code(&answer), None | Some(REQUEST)), "{answer}");
        }
    }
    raw.is_quiet();
    raw.stop();
}
