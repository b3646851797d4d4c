//! Secret bytes, and what keeps them in this process.
//!
//! `SecretBytes` is the only type that may hold a value or a password. It cannot be printed, compared with `==`, cloned
//! by accident or serialized, so a secret can leave it only where the code says `expose`.

mod memory;

use zeroize::Zeroizing;

pub(crate) use memory::{Blocks, Kept};
pub use memory::{KeyMemory, key_memory, take_env};

/// Most bytes that [`SecretBytes::keep`] moves to a page of keys: the longest master password.
pub const KEPT_MAX_BYTES: usize = 128;

/// Bytes that are overwritten when dropped.
pub struct SecretBytes(Place);

enum Place {
    Heap(Zeroizing<Vec<u8>>),
    /// So many bytes on a page of keys.
    Kept(Kept<KEPT_MAX_BYTES>, usize),
}

impl SecretBytes {
    /// Takes over `bytes`, spare capacity included.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self(Place::Heap(Zeroizing::new(bytes)))
    }

    /// A second copy for a long time, in the memory that keys are kept in (see [`key_memory`]). More than [`KEPT_MAX_BYTES`]
    /// are copied as by [`SecretBytes::duplicate`].
    #[must_use]
    pub fn keep(&self) -> Self {
        let bytes = self.expose();
        let mut kept = Kept::zero();
        let Some(place) = kept.get_mut(..bytes.len()) else {
            return self.duplicate();
        };
        place.copy_from_slice(bytes);
        Self(Place::Kept(kept, bytes.len()))
    }

    /// The bytes themselves. Every call is a place where a secret may leave; keep the borrow short.
    pub fn expose(&self) -> &[u8] {
        match &self.0 {
            Place::Heap(bytes) => bytes,
            Place::Kept(bytes, length) => &bytes[..*length],
        }
    }

    /// Number of bytes. As telling as the bytes for a short secret: not for output.
    pub fn len(&self) -> usize {
        self.expose().len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }

    /// A second copy, wiped on its own.
    pub fn duplicate(&self) -> Self {
        Self::from_vec(self.expose().to_vec())
    }
}

/// Keeps other processes of the same user from reading this one: no core dumps, no memory for core handlers, and on Linux neither `ptrace` nor
/// `/proc/<pid>/{mem,environ}`.
///
/// # Errors
/// What the system said if it refuses; the process is then less protected, but works.
pub fn harden_process() -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    // Core handlers that are programs do not heed the limit. Children inherit this; it comes before the next call, which gives
    // the file to root.
    #[cfg(target_os = "linux")]
    std::fs::write("/proc/self/coredump_filter", "0")?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_is_equal_and_separate() {
        let original = SecretBytes::from_vec(vec![0, 159, 146, 150]);
        let copy = original.duplicate();
        drop(original);
        assert_eq!(copy.expose(), [0, 159, 146, 150]);
        assert_eq!((copy.len(), copy.is_empty()), (4, false));
    }

    #[test]
    fn what_is_kept_is_equal_and_separate() {
        for length in [0, 1, 31, 32, 33, KEPT_MAX_BYTES, KEPT_MAX_BYTES + 1] {
            let original = SecretBytes::from_vec(vec![159; length]);
            let kept = original.keep();
            let second = kept.keep();
            drop((original, kept));
            assert_eq!(second.expose(), vec![159; length]);
            assert_eq!((second.len(), second.is_empty()), (length, length == 0));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "run by the test below: it changes its process"]
    #[expect(clippy::print_stdout, reason = "answers to the test that started it")]
    fn hardening_child() {
        use rustix::process::{Resource, dumpable_behavior, getrlimit};
        harden_process().expect("hardened");
        println!("{:?} {:?}", dumpable_behavior(), getrlimit(Resource::Core));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_hardened_process_leaves_no_core() {
        let mut command = std::process::Command::new(std::env::current_exe().expect("a program"));
        command.args([
            "--ignored",
            "--nocapture",
            "--exact",
            "secret::tests::hardening_child",
        ]);
        let answer = command.output().expect("the test program runs").stdout;
        let expected = "Ok(NotDumpable) Rlimit { current: Some(0), maximum: Some(0) }";
        assert!(String::from_utf8_lossy(&answer).contains(expected));
    }
}
