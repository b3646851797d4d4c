//! A sanitizer module: hides what has the shape of a token, whoever it belongs to.
//!
//! At most [`scan::HELD_MAX_BYTES`] are held back; a longer token is hidden in pieces of that length.

mod jwt;
mod prefix;
mod query;
mod userinfo;

use scan::{Range, Scanner, Shapes};
use secretctl_guard::export_sanitizer;

use jwt::Jwt;
use prefix::Prefixed;
use query::QueryValue;
use userinfo::Password;

export_sanitizer!(Shapes<Stream>);

/// The search in one stream.
pub struct Stream {
    prefixed: Scanner<Prefixed>,
    jwt: Scanner<Jwt>,
    password: Scanner<Password>,
    query: Scanner<QueryValue>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            prefixed: Scanner::new(Prefixed),
            jwt: Scanner::new(Jwt),
            password: Scanner::new(Password),
            query: Scanner::new(QueryValue),
        }
    }
}

impl scan::Stream for Stream {
    const SUBJECTS: &[&str] = &[
        "github-token",
        "gitlab-token",
        "aws-access-key",
        "api-key",
        "jwt",
        "url-password",
        "query-value",
    ];

    fn push(&mut self, chunk: &[u8], ended: bool) -> (Vec<Range>, u64) {
        let mut hide = Vec::new();
        let decided = [
            self.prefixed.push(chunk, ended, &mut hide),
            self.jwt.push(chunk, ended, &mut hide),
            self.password.push(chunk, ended, &mut hide),
            self.query.push(chunk, ended, &mut hide),
        ];
        hide.sort_unstable();
        (hide, decided.into_iter().min().unwrap_or_default())
    }
}

/// What a URL, and base64 for URLs, has in a word.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}
