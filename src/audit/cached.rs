//! A key, and what it opened or made last.
//!
//! The head and the anchor are read over and over, and are mostly what this process has read or written before. The same bytes under
//! the same key stand for the same thing, so they are not opened a second time: a key that is elsewhere takes a question each time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::crypto::Key;

/// A key for what stands in one place.
pub(super) struct CachedKey<T> {
    key: Key,
    last: Mutex<Option<(Vec<u8>, T)>>,
}

impl<T: Copy> CachedKey<T> {
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// What `bytes` stand for; `open` finds it out where they are not the last ones.
    pub(super) fn open<E>(
        &self,
        bytes: &[u8],
        open: impl FnOnce(&Key) -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some((known, opened)) = &*self.last()
            && known == bytes
        {
            return Ok(*opened);
        }
        let opened = open(&self.key)?;
        self.made(bytes, opened);
        Ok(opened)
    }

    /// Takes note of what was made with the key.
    pub(super) fn made(&self, bytes: &[u8], of: T) {
        *self.last() = Some((bytes.to_vec(), of));
    }

    fn last(&self) -> MutexGuard<'_, Option<(Vec<u8>, T)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> From<Key> for CachedKey<T> {
    fn from(key: Key) -> Self {
        Self {
            key,
            last: Mutex::new(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_are_not_opened_again() {
        let key = Key::from_slice(&[1; 32]).expect("32 bytes");
        let cached = CachedKey::from(key);
        let mut opened = Vec::new();
        let mut open = |bytes: &'static [u8]| {
            cached.open(bytes, |_| match bytes {
                b"bad" => Err("not authentic"),
                _ => {
                    opened.push(bytes);
                    Ok(bytes[0])
                }
            })
        };
        assert_eq!(open(b"one"), Ok(b'o'));
        assert_eq!(open(b"one"), Ok(b'o'));
        assert_eq!(open(b"bad"), Err("not authentic"));
        assert_eq!(open(b"one"), Ok(b'o'));
        assert_eq!(open(b"two"), Ok(b't'));
        assert_eq!(open(b"one"), Ok(b'o'));
        cached.made(b"new", b'!');
        assert_eq!(open(b"new"), Ok(b'!'));
        assert_eq!(opened, [b"one".as_slice(), b"two", b"one"]);
    }
}
