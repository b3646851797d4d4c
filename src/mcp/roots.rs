//! The client's roots: where its user works. They come from the client, so that no agent can name another place.

// The protocol's newest version has no roots any more; clients of the others have.
#![expect(deprecated, reason = "older versions of the protocol have roots")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::service::RequestContext;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long a client may take to say what its roots are.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Roots that are looked at.
const ROOTS_MAX: usize = 100;

/// What a client has said of its roots, after so many changes: none if it has none.
type Known = Option<(u64, Option<Vec<PathBuf>>)>;

/// The roots of this server's client.
#[derive(Clone)]
pub(super) struct Roots {
    /// Whether the person who starts the server has named the project, so that the client is not asked.
    fixed: bool,
    known: Arc<Mutex<Known>>,
    changes: Arc<AtomicU64>,
}

impl Roots {
    pub(super) fn new(fixed: bool) -> Self {
        Self {
            fixed,
            known: Arc::default(),
            changes: Arc::default(),
        }
    }

    /// The client is asked again when they are needed next.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The directories among the roots; none if the project does not depend on them. Whoever comes while the client is being asked
    /// waits for its answer.
    pub(super) async fn current(
        &self,
        context: &RequestContext<RoleServer>,
    ) -> Option<Vec<PathBuf>> {
        let has_roots = || context.client_capabilities()?.roots;
        if self.fixed || has_roots().is_none() {
            return None;
        }
        let mut known = self.known.lock().await;
        let changes = self.changes.load(Ordering::Acquire);
        if let Some((then, roots)) = &*known
            && *then == changes
        {
            return roots.clone();
        }
        // A client that does not answer is one without roots.
        let roots = match timeout(ANSWER_TIME, context.peer.list_roots()).await {
            Ok(Ok(answer)) if !answer.roots.is_empty() => {
                let roots = answer.roots.iter().take(ROOTS_MAX);
                Some(roots.filter_map(|root| path(&root.uri)).collect())
            }
            _ => None,
        };
        known.insert((changes, roots)).1.clone()
    }
}

/// The path that a `file:` URI of this machine means.
fn path(uri: &str) -> Option<PathBuf> {
    let rest = uri.strip_prefix("file://")?;
    let rest = rest.strip_prefix("localhost").unwrap_or(rest);
    let path = rest.split(['?', '#']).next()?;
    let mut bytes = Vec::with_capacity(path.len());
    let mut left = path.bytes();
    while let Some(byte) = left.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(left.next()?)?, digit(left.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    let path = PathBuf::from(String::from_utf8(bytes).ok()?);
    (path.is_absolute() && !path.as_os_str().to_string_lossy().contains('\0')).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_a_directory_of_this_machine() {
        for (uri, expected) in [
            ("file:///home/you/a%20b", Some("/home/you/a b")),
            ("file://localhost/srv", Some("/srv")),
            ("file:///gr%C3%B6%C3%9Fe", Some("/größe")),
            ("file:///a#b", Some("/a")),
            ("file:///a?b", Some("/a")),
            ("file:///a%2fb%2F..%2f%3f", Some("/a/b/../?")),
            ("file://localhost.example/srv", None),
            ("file://elsewhere/srv", None),
            ("file:relative", None),
            ("https://example.com/", None),
            ("file:///a%0", None),
            ("file:///a%zz", None),
            ("file:///a%+1", None),
            ("file:///a%00b", None),
            ("/srv", None),
        ] {
            assert_eq!(path(uri), expected.map(PathBuf::from), "{uri}");
        }
    }
}
