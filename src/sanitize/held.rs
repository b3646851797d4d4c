//! Output that is not shown yet. It may hold secrets, so it is wiped as it leaves.

use std::ops::Deref;

use zeroize::optimization_barrier;

/// Raw bytes between a push and their release. Behind its end, the memory is always clean.
#[derive(Default)]
pub(super) struct Held(Vec<u8>);

impl Held {
    /// Adds to the end. A buffer that is too small is wiped before it is given back.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let room = needed.max(2 * self.0.capacity());
            let small = std::mem::replace(self, Self(Vec::with_capacity(room)));
            self.0.extend_from_slice(&small.0);
        }
        self.0.extend_from_slice(bytes);
    }

    /// Drops the first `count` bytes.
    pub(super) fn forget(&mut self, count: usize) {
        let kept = self.0.len() - count;
        self.0.copy_within(count.., 0);
        wipe(&mut self.0[kept..]);
        self.0.truncate(kept);
    }
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// As `Zeroize`, which writes one byte at a time: all output comes through here.
fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    optimization_barrier(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_stays_in_order() {
        let mut held = Held::default();
        held.push(b"first, then ");
        held.push(b"second");
        held.forget(6);
        assert_eq!(&*held, b" then second");
        held.forget(12);
        assert!(held.is_empty());
        let capacity = held.0.capacity();
        held.0.resize(capacity, 1);
        held.forget(capacity);
        held.push(&vec![2; 4 * capacity]);
        assert_eq!(&*held, vec![2; 4 * capacity]);
    }
}
