//! The process's own environment block, which the kernel shows to every process of the same user as
//! `/proc/<pid>/environ`. `unsetenv` only forgets the pointer to an entry; this file overwrites the entry itself.

#![allow(
    unsafe_code,
    reason = "the environment block can only be reached through a raw pointer"
)]

use std::ffi::{CStr, c_char};
use std::os::unix::ffi::OsStringExt;

use zeroize::Zeroize;

use super::SecretBytes;

unsafe extern "C" {
    /// The environment as POSIX defines it: pointers to `NAME=value` strings, ended by a null pointer.
    static mut environ: *mut *mut c_char;
}

/// Takes the environment variable `name` away from this process: returns its value, overwrites every byte of it in
/// the environment block, and removes it.
///
/// To be called by `main` before it starts a thread. In a process with several threads, or where that cannot be found
/// out, the value is returned but the environment is left as it is, because another thread may be reading it.
pub fn take_env(name: &str) -> Option<SecretBytes> {
    let value = SecretBytes::from_vec(std::env::var_os(name)?.into_vec());
    if is_single_threaded() {
        // SAFETY: the check above found no thread but this one, which is here and starts none.
        unsafe { erase_env(name) };
    }
    Some(value)
}

/// Overwrites the value in each entry of that name (there may be several), then drops the entries.
///
/// # Safety
/// No other thread of the process may exist, since any of them could read or change the environment meanwhile.
unsafe fn erase_env(name: &str) {
    // SAFETY: `environ` is null or points to pointers up to a null one. Each points to a string ended by a zero byte in
    // memory that is writable and stays where it is: the block the kernel set up, or what `setenv` allocated. Only the
    // bytes before the zero byte are written, and by the caller's promise nobody reads them meanwhile.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let text: &[u8] = CStr::from_ptr(*entry).to_bytes();
            let length = text.len();
            let is_meant = text
                .strip_prefix(name.as_bytes())
                .is_some_and(|rest| rest.starts_with(b"="));
            if is_meant {
                let value_start = name.len() + 1;
                let value = (*entry).cast::<u8>().add(value_start);
                std::slice::from_raw_parts_mut(value, length - value_start).zeroize();
            }
            entry = entry.add(1);
        }
        std::env::remove_var(name);
    }
}

#[cfg(target_os = "linux")]
fn is_single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

#[cfg(target_os = "macos")]
fn is_single_threaded() -> bool {
    unsafe extern "C" {
        safe fn pthread_is_threaded_np() -> std::ffi::c_int;
    }
    pthread_is_threaded_np() == 0
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn is_single_threaded() -> bool {
    false
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::process::Command;

    const NAME: &str = "SECRETCTL_TEST_TAKE_ENV";
    const VALUE: &str = "canary-4f1d9b";

    /// Runs one of the ignored tests of this file in a process of its own, whose environment holds the variable.
    fn run_child(test: &str) -> String {
        let exe = std::env::current_exe().expect("the test program");
        let path = format!("secret::memory::tests::{test}");
        let mut command = Command::new(exe);
        command
            .args(["--ignored", "--nocapture", "--exact", &path])
            .env(NAME, VALUE);
        let output = command.output().expect("the test program runs");
        String::from_utf8(output.stdout).expect("text")
    }

    /// What `/proc` shows of the value, and whether the variable is set.
    fn seen() -> (bool, bool) {
        let environment = std::fs::read("/proc/self/environ").expect("readable");
        let shown = environment
            .windows(VALUE.len())
            .any(|part| part == VALUE.as_bytes());
        (shown, std::env::var_os(NAME).is_some())
    }

    #[test]
    #[ignore = "run by the test below, in a process of its own"]
    #[expect(clippy::print_stdout, reason = "answers to the test that started it")]
    fn erasing_child() {
        let before = seen();
        // SAFETY: the only other thread is the test program's main one, which waits for this one.
        unsafe { erase_env(NAME) };
        println!("before={before:?} after={:?}", seen());
    }

    #[test]
    fn an_erased_variable_is_gone_from_the_environment_block() {
        let answer = run_child("erasing_child");
        assert!(
            answer.contains("before=(true, true) after=(false, false)"),
            "{answer}"
        );
    }

    #[test]
    #[ignore = "run by the test below, in a process of its own"]
    #[expect(clippy::print_stdout, reason = "answers to the test that started it")]
    fn taking_child() {
        let is_taken = take_env(NAME).is_some_and(|taken| taken.expose() == VALUE.as_bytes());
        println!("taken={is_taken} after={:?}", seen());
    }

    #[test]
    fn with_other_threads_the_environment_is_left_alone() {
        let answer = run_child("taking_child");
        assert!(answer.contains("taken=true after=(true, true)"), "{answer}");
    }

    #[test]
    fn an_absent_variable_is_none() {
        assert!(take_env("SECRETCTL_TEST_ABSENT").is_none());
    }
}
