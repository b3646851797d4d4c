//! What is hidden and what is not, and that cutting does not matter.
#![allow(clippy::expect_used, reason = "tests")]

use hide_tokens::Stream;
use proptest::prelude::*;
use scan::{HELD_MAX_BYTES, Range, Stream as _};

/// The text with markers, as the host makes it; and how much was held back at most.
fn hide(text: &[u8], cuts: &[usize]) -> (String, u64) {
    let mut stream = Stream::default();
    let (mut ranges, mut settled, mut held, mut start) = (Vec::new(), 0, 0, 0);
    for end in cuts.iter().copied().chain([text.len()]) {
        let end = end.clamp(start, text.len());
        let (hide, now) = stream.push(&text[start..end], false);
        assert!(settled <= now && now <= end as u64, "settled in order");
        assert!(
            hide.iter()
                .all(|range| range.start >= settled && range.end <= end as u64)
        );
        ranges.extend(hide);
        (settled, start) = (now, end);
        held = held.max(end as u64 - settled);
    }
    let (hide, end) = stream.push(b"", true);
    assert_eq!(end, text.len() as u64);
    ranges.extend(hide);
    (rewrite(text, ranges), held)
}

fn rewrite(text: &[u8], mut ranges: Vec<Range>) -> String {
    ranges.sort_unstable();
    let (mut out, mut done) = (Vec::new(), 0);
    for range in ranges {
        let (start, end) = (range.start as usize, range.end as usize);
        if start >= done {
            out.extend_from_slice(&text[done..start]);
            out.extend_from_slice(
                format!("[{}]", Stream::SUBJECTS[range.subject as usize]).as_bytes(),
            );
        }
        done = done.max(end);
    }
    out.extend_from_slice(&text[done..]);
    String::from_utf8_lossy(&out).into_owned()
}

#[track_caller]
fn all(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(hide(text.as_bytes(), &[]).0, *expected, "{text}");
        let cuts: Vec<usize> = (1..text.len()).collect();
        assert_eq!(
            hide(text.as_bytes(), &cuts).0,
            *expected,
            "{text}, byte by byte"
        );
    }
}

#[track_caller]
fn unchanged(texts: &[&str]) {
    for text in texts {
        all(&[(text, text)]);
    }
}

const JWT: &str =
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";

#[test]
fn tokens_with_a_prefix_are_hidden() {
    all(&[
        ("ghp_0123456789abcdefABCDEF0123456789abcd", "[github-token]"),
        (
            "token: gho_0123456789abcdefABCDEF.",
            "token: [github-token].",
        ),
        ("github_pat_11ABCDEFG0123456789_abcdef", "[github-token]"),
        ("x=glpat-0123456789_abcdef-XY\n", "x=[gitlab-token]\n"),
        ("\"AKIAIOSFODNN7EXAMPLE\"", "\"[aws-access-key]\""),
        ("sk-proj-0123456789abcdefghij", "[api-key]"),
        ("sk-ant-api03-0123456789_abcdefghij ok", "[api-key] ok"),
        ("sk-ghp_0123456789abcdefABCDEF", "[api-key]"),
    ]);
}

#[test]
fn json_web_tokens_are_hidden() {
    let after = format!("{JWT}\n");
    let header = format!("Authorization: Bearer {JWT}, ok");
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0NTY3ODkwIn0. end";
    all(&[
        (JWT, "[jwt]"),
        (&after, "[jwt]\n"),
        (&header, "Authorization: Bearer [jwt], ok"),
        (unsigned, "[jwt] end"),
    ]);
}

#[test]
fn passwords_in_urls_are_hidden() {
    all(&[
        (
            "postgres://app:pa55@db.example/x",
            "postgres://app:[url-password]@db.example/x",
        ),
        ("http://:pa55@h", "http://:[url-password]@h"),
        ("http://u:p@ss:w@h/?q", "http://u:[url-password]@h/?q"),
        (
            "'redis://u:pa55@h:6379'",
            "'redis://u:[url-password]@h:6379'",
        ),
        (
            "//u:x@h //v:y@h",
            "//u:[url-password]@h //v:[url-password]@h",
        ),
        ("///u:x@h", "///u:[url-password]@h"),
    ]);
}

#[test]
fn values_of_queries_are_hidden() {
    all(&[
        ("?access_token=abc&x=1", "?access_token=[query-value]&x=1"),
        ("api_key=k#f", "api_key=[query-value]#f"),
        ("DB_PASSWORD=hunter2\n", "DB_PASSWORD=[query-value]\n"),
        ("&sig=a%2Fb%3D\"", "&sig=[query-value]\""),
        (
            "X-Amz-Signature=00ff&X-Amz-Credential=y",
            "X-Amz-Signature=[query-value]&X-Amz-Credential=[query-value]",
        ),
        ("Password=ä", "Password=[query-value]"),
        ("token=a=b", "token=[query-value]"),
    ]);
}

#[test]
fn what_has_another_shape_stays() {
    unchanged(&[
        "",
        "g",
        "ghp_",
        "ghp_short",
        "glpat-",
        "AKIA",
        "AKIAshortandlowercase",
        "ASIAN",
        "sk-learn",
        "task-0123456789abcdefghij",
        "sk-an-ordinary-name-in-lower-case-of-some-length",
        "eyJ",
        "eyJhbGciOiJIUzI1NiJ9",
        "eyJhbGciOiJIUzI1NiJ9.",
        "eyJhbGciOiJIUzI1NiJ9.short",
        "eyJ.eyJzdWIiOiIx",
        "https://example.com/a:b@c",
        "//",
        "// a comment: me@example.com",
        "//user@host",
        "//user:@host",
        "//host:80/",
        "password=",
        "password= x",
        "xpassword=1",
        "sig",
        "sign=1",
        "config=1",
    ]);
}

#[test]
fn a_prompt_appears_at_once() {
    for prompt in ["Password: ", "Continue? [y/N] ", "mysql> ", "100%"] {
        let mut stream = Stream::default();
        assert_eq!(
            stream.push(prompt.as_bytes(), false),
            (vec![], prompt.len() as u64)
        );
    }
}

#[test]
fn long_runs_are_hidden_to_their_end_within_the_bound() {
    let hidden = [
        "ghp_",
        "glpat-",
        "AKIA",
        "sk-A",
        "password=A",
        "eyJAAAAA.AAAAAAAA",
    ];
    let shown = ["eyJ", "//u:"];
    for start in hidden.iter().chain(&shown) {
        let text = format!("{start}{} end", "A".repeat(3 * HELD_MAX_BYTES));
        let cuts: Vec<usize> = (1..text.len()).collect();
        let (whole, _) = hide(text.as_bytes(), &[]);
        let (cut, held) = hide(text.as_bytes(), &cuts);
        assert_eq!(whole, cut);
        assert!(held <= HELD_MAX_BYTES as u64, "{start}: {held}");
        assert_eq!(whole.contains('A'), shown.contains(start), "{start}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn every_token_is_hidden_wherever_it_stands(
        before in "[ -~\n]{0,30}",
        token in prop_oneof![
            "gh[pousr]_[A-Za-z0-9]{36}", "github_pat_[A-Za-z0-9_]{82}", "glpat-[A-Za-z0-9_-]{20}", "AKIA[A-Z0-9]{16}",
            "sk-(proj|ant|svcacct)-[A-Z0-9][A-Za-z0-9_-]{40,90}",
            "eyJ[A-Za-z0-9_-]{20,60}\\.eyJ[A-Za-z0-9_-]{20,60}\\.[A-Za-z0-9_-]{20,60}",
        ],
        after in "[ -~\n]{0,30}",
    ) {
        // A short prefix is part of words.
        let space = if token.starts_with("sk-") { " " } else { "" };
        let text = format!("{before}{space}{token}{after}");
        let shown = hide(text.as_bytes(), &[]).0;
        prop_assert!(!shown.contains(&token[token.len() - 12..]), "{text} {shown}");
    }

    #[test]
    fn every_password_of_a_url_is_hidden(
        before in "[ -~]{0,20}[ \"(]", user in "[a-z%0-9]{0,9}", password in "[A-Za-z0-9!$%&*+,;=:@._~-]{8,40}", host in "[a-z.]{1,12}",
    ) {
        let shown = hide(format!("{before}x://{user}:{password}@{host}/").as_bytes(), &[]).0;
        prop_assert!(!shown.contains(&password), "{shown}");
    }

    #[test]
    fn every_value_of_a_query_is_hidden(
        before in "[ -~]{0,20}[?& _-]",
        name in prop::sample::select(vec!["access_token", "API_KEY", "password", "sig"]),
        value in "[A-Za-z0-9!$%*+,;=:@._~/-]{8,40}",
    ) {
        let shown = hide(format!("{before}{name}={value}&x").as_bytes(), &[]).0;
        prop_assert!(!shown.contains(&value), "{shown}");
    }

    #[test]
    fn cutting_does_not_matter(
        words in proptest::collection::vec(
            prop_oneof![
                "[eyJ.A_ =-]{0,12}", "[a-zA-Z0-9]{1,40}", "[a-z/:@]{0,8}", "[A-Z0-9]{10,20}",
                prop::sample::select(vec![
                    "ghp_", "gho_", "github_pat_", "glpat-", "AKIA", "sk-", "eyJ", JWT, "//u:p@", "//", "@", ":",
                    "access_token=", "API_KEY=", "password=", "sig=", "&", "\n", "ü",
                ]).prop_map(str::to_owned),
            ],
            0..14,
        ),
        mut cuts in proptest::collection::vec(0usize..300, 0..40),
    ) {
        let text = words.concat();
        cuts.sort_unstable();
        let (cut, held) = hide(text.as_bytes(), &cuts);
        prop_assert_eq!(cut, hide(text.as_bytes(), &[]).0);
        prop_assert!(held <= HELD_MAX_BYTES as u64);
    }
}
