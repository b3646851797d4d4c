//! Secret bytes, and what keeps them in this process.
//!
//! `SecretBytes` is the only type that may hold a value or a password. It cannot be printed, compared with `==`, cloned
//! by accident or serialized, so a secret can leave it only where the code says `expose`.

mod memory;

use zeroize::Zeroizing;

pub use memory::take_env;

/// Bytes that are overwritten when dropped.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes over `bytes`, spare capacity included.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves. Every call is a place where a secret may leave; keep the borrow short.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Number of bytes. As telling as the bytes for a short secret: not for output.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A second copy, wiped on its own.
    pub fn duplicate(&self) -> Self {
        Self::from_vec(self.0.to_vec())
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
