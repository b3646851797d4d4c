//! Memory that needs more care than the language gives: pages for keys, pages for Argon2id, and the process's own
//! environment block.
//!
//! The kernel shows that block to every process of the same user as `/proc/<pid>/environ`. `unsetenv` only forgets the
//! pointer to an entry; this file overwrites the entry itself.

#![allow(
    unsafe_code,
    reason = "pages and the environment block can only be reached through raw pointers"
)]

use std::alloc::{Layout, handle_alloc_error};
use std::ffi::{CStr, c_char};
use std::ops::{Deref, DerefMut};
use std::os::unix::ffi::OsStringExt;
use std::ptr::{NonNull, null_mut};
use std::sync::{Mutex, PoisonError};

use argon2::Block;
use rustix::mm::{MapFlags, ProtFlags, mlock, mmap_anonymous, munmap};
use zeroize::Zeroize;

use super::SecretBytes;

/// What keeps the pages of keys from others, from strongest to weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyMemory {
    /// `memfd_secret(2)` (Linux 5.14): no other process can read them, root's neither, nor the kernel by its own mappings.
    Secret,
    /// They are never written to swap, and on Linux not to dumps.
    Locked,
    /// The system refused both.
    Ordinary,
}

/// Pages of this process alone, all zero at first; wiped and given back when dropped.
struct Pages {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the pages belong to this value alone, and nothing about them is tied to a thread.
unsafe impl Send for Pages {}
// SAFETY: a shared `Pages` gives no access to what is in them.
unsafe impl Sync for Pages {}

impl Pages {
    fn anonymous(bytes: usize) -> Option<Self> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: the system chooses a place where nothing else is.
        let start = unsafe { mmap_anonymous(null_mut(), bytes, access, flags) }.ok()?;
        let start = NonNull::new(start.cast())?;
        Some(Self { start, bytes })
    }

    /// `memfd_secret`, for which there is no safe call yet.
    #[cfg(target_os = "linux")]
    fn secret(bytes: usize) -> Option<Self> {
        use std::os::fd::{FromRawFd, OwnedFd};
        // SAFETY: the call takes flags and touches no memory.
        let number = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        let number = i32::try_from(number).ok().filter(|number| *number >= 0)?;
        // SAFETY: the kernel has just opened this descriptor for this call.
        let file = unsafe { OwnedFd::from_raw_fd(number) };
        rustix::fs::ftruncate(&file, bytes as u64).ok()?;
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the system chooses a place where nothing else is; the file's descriptor is closed right here, and it has
        // no name, so nobody can map it again or cut it short.
        let start = unsafe { rustix::mm::mmap(null_mut(), bytes, access, flags, &file, 0) }.ok()?;
        let pages = Self {
            start: NonNull::new(start.cast())?,
            bytes,
        };
        // A shared mapping would be the child's as well.
        pages.advise(rustix::mm::Advice::LinuxDontFork)?;
        Some(pages)
    }

    #[cfg(not(target_os = "linux"))]
    fn secret(_bytes: usize) -> Option<Self> {
        None
    }

    /// For keys, as well kept as the system allows.
    fn for_keys(bytes: usize) -> Option<(Self, KeyMemory)> {
        match Self::secret(bytes) {
            Some(pages) => Some((pages, KeyMemory::Secret)),
            None => Self::locked(bytes),
        }
    }

    /// For keys, where there is nothing better.
    fn locked(bytes: usize) -> Option<(Self, KeyMemory)> {
        let pages = Self::anonymous(bytes)?;
        #[cfg(target_os = "linux")]
        let is_dumped = pages.advise(rustix::mm::Advice::LinuxDontDump).is_none();
        // Core dumps are off where there is no such advice.
        #[cfg(not(target_os = "linux"))]
        let is_dumped = false;
        // SAFETY: locking leaves what is in the pages as it is.
        let locked = unsafe { mlock(pages.start.as_ptr().cast(), bytes) };
        let kept = match (locked, is_dumped) {
            (Ok(()), false) => KeyMemory::Locked,
            _ => KeyMemory::Ordinary,
        };
        Some((pages, kept))
    }

    /// For work on much memory by several threads: in huge pages where they are offered (`MADV_HUGEPAGE`), of which each thread
    /// faults in its own; small pages are there at once (`MADV_POPULATE_WRITE`, Linux 5.14), which costs half of what it costs one
    /// by one. Without either it is only slower.
    fn for_work(bytes: usize) -> Option<Self> {
        let pages = Self::anonymous(bytes)?;
        #[cfg(target_os = "linux")]
        {
            use rustix::mm::Advice;
            if !offers_huge_pages() || pages.advise(Advice::LinuxHugepage).is_none() {
                _ = pages.advise(Advice::LinuxPopulateWrite);
            }
            _ = pages.advise(Advice::LinuxDontDump);
        }
        Some(pages)
    }

    /// Gives advice that leaves what is in the pages as it is.
    #[cfg(target_os = "linux")]
    fn advise(&self, advice: rustix::mm::Advice) -> Option<()> {
        // SAFETY: the pages are this value's own, and none of the callers' advices takes anything out of them.
        unsafe { rustix::mm::madvise(self.start.as_ptr().cast(), self.bytes, advice) }.ok()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the pages are this value's own, writable, and nobody has a reference into them any more. The compiler cannot
        // leave the wiping out: the system gets to see the pages.
        unsafe {
            self.start.as_ptr().write_bytes(0, self.bytes);
            _ = munmap(self.start.as_ptr().cast(), self.bytes);
        }
    }
}

/// Whether the system gives huge pages to those who ask for them.
#[cfg(target_os = "linux")]
fn offers_huge_pages() -> bool {
    let modes = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    modes.is_ok_and(|modes| !modes.contains("[never]"))
}

/// Bytes of one page of keys.
const KEY_PAGE_BYTES: usize = 4096;
/// What is handed out of it: a key.
const SLOT_BYTES: usize = 32;

/// A page of keys. A bit for each slot says whether it is taken.
struct KeyPage {
    pages: Pages,
    taken: u128,
}

const _: () = assert!(KEY_PAGE_BYTES / SLOT_BYTES == u128::BITS as usize);

static KEY_PAGES: Mutex<Vec<KeyPage>> = Mutex::new(Vec::new());

/// `N` bytes in a page of keys, at most 4096; wiped when dropped.
pub(crate) struct Kept<const N: usize> {
    place: NonNull<[u8; N]>,
    page: usize,
    bits: u128,
}

// SAFETY: the bytes belong to this value alone, and nothing about them is tied to a thread.
unsafe impl<const N: usize> Send for Kept<N> {}
// SAFETY: a shared `Kept` only lets its bytes be read.
unsafe impl<const N: usize> Sync for Kept<N> {}

impl<const N: usize> Kept<N> {
    const SLOTS: u32 = {
        assert!(N > 0 && N <= KEY_PAGE_BYTES);
        N.div_ceil(SLOT_BYTES) as u32
    };

    /// All zero. As with any other memory, there is no going on where there is none.
    pub(crate) fn zero() -> Self {
        let mut all = KEY_PAGES.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all
            .iter()
            .enumerate()
            .find_map(|(page, KeyPage { taken, .. })| {
                let first =
                    (0..=u128::BITS - Self::SLOTS).find(|first| taken & Self::bits(*first) == 0)?;
                Some((page, first))
            });
        let (page, first) = found.unwrap_or_else(|| {
            let Some((pages, _)) = Pages::for_keys(KEY_PAGE_BYTES) else {
                handle_alloc_error(Layout::new::<[u8; N]>())
            };
            all.push(KeyPage { pages, taken: 0 });
            (all.len() - 1, 0)
        });
        let bits = Self::bits(first);
        all[page].taken |= bits;
        // SAFETY: the slots from `first` on are within the page, which is never given back, and were free: they are this
        // value's from here. They are zero, as new pages are and as every owner leaves them.
        let place = unsafe { all[page].pages.start.add(first as usize * SLOT_BYTES) };
        Self {
            place: place.cast(),
            page,
            bits,
        }
    }

    fn bits(first: u32) -> u128 {
        (u128::MAX >> (u128::BITS - Self::SLOTS)) << first
    }
}

impl<const N: usize> Deref for Kept<N> {
    type Target = [u8; N];

    fn deref(&self) -> &[u8; N] {
        // SAFETY: `N` initialized bytes that are this value's own, see `zero`.
        unsafe { self.place.as_ref() }
    }
}

impl<const N: usize> DerefMut for Kept<N> {
    fn deref_mut(&mut self) -> &mut [u8; N] {
        // SAFETY: as above; the borrow of the value is the only way to its bytes.
        unsafe { self.place.as_mut() }
    }
}

impl<const N: usize> Drop for Kept<N> {
    fn drop(&mut self) {
        self.zeroize();
        let mut all = KEY_PAGES.lock().unwrap_or_else(PoisonError::into_inner);
        all[self.page].taken &= !self.bits;
    }
}

/// What keys are kept in on this machine.
pub fn key_memory() -> KeyMemory {
    Pages::for_keys(KEY_PAGE_BYTES).map_or(KeyMemory::Ordinary, |(_, kept)| kept)
}

/// The working memory of Argon2id.
pub(crate) struct Blocks(Pages);

impl Blocks {
    /// None if there is not that much memory.
    pub(crate) fn new(count: usize) -> Option<Self> {
        Pages::for_work(count.checked_mul(Block::SIZE)?).map(Self)
    }
}

impl AsMut<[Block]> for Blocks {
    fn as_mut(&mut self) -> &mut [Block] {
        const { assert!(size_of::<Block>() == Block::SIZE) };
        // SAFETY: the pages are this value's own, aligned better than a block needs, and as long as so many blocks; a block is
        // an array of integers, for which every pattern of bits is a value.
        unsafe {
            std::slice::from_raw_parts_mut(self.0.start.as_ptr().cast(), self.0.bytes / Block::SIZE)
        }
    }
}

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

    /// The kernel's own words on the mapping that holds the address: its line in `maps`, and its flags.
    fn mapping(address: usize) -> (String, String) {
        let smaps = std::fs::read_to_string("/proc/self/smaps").expect("readable");
        let mut header = "";
        for line in smaps.lines() {
            let range = line
                .split_once(' ')
                .and_then(|(range, _)| range.split_once('-'));
            let number = |text| usize::from_str_radix(text, 16).ok();
            if let Some((Some(start), Some(end))) =
                range.map(|(start, end)| (number(start), number(end)))
            {
                header = if (start..end).contains(&address) {
                    line
                } else {
                    ""
                };
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| !header.is_empty())
            {
                return (header.to_owned(), flags.to_owned());
            }
        }
        panic!("no mapping at {address:x}")
    }

    #[test]
    fn pages_for_keys_are_secret_or_locked() {
        let (pages, kept) = Pages::for_keys(KEY_PAGE_BYTES).expect("a page");
        let (place, flags) = mapping(pages.start.as_ptr() as usize);
        match kept {
            // Never dumped (`dd`, the kernel's own doing), and no child's (`dc`).
            KeyMemory::Secret => {
                assert!(place.contains("secretmem"), "{place}");
                assert!(flags.contains(" dd") && flags.contains(" dc"), "{flags}");
            }
            KeyMemory::Locked | KeyMemory::Ordinary => {}
        }
        let (pages, kept) = Pages::locked(KEY_PAGE_BYTES).expect("a page");
        let (_, flags) = mapping(pages.start.as_ptr() as usize);
        let is_locked = flags.contains(" lo") && flags.contains(" dd");
        assert_eq!(kept == KeyMemory::Locked, is_locked, "{flags}");
    }

    #[test]
    fn what_is_kept_has_a_place_of_its_own_and_is_wiped() {
        // More than two pages of them, by several threads at once, and of several lengths.
        let keep = |seed: u8| {
            move || {
                let mut small: Vec<Kept<32>> = (0..200).map(|_| Kept::zero()).collect();
                let mut large: Vec<Kept<100>> = (0..20).map(|_| Kept::zero()).collect();
                small.iter_mut().for_each(|kept| kept.fill(seed));
                large.iter_mut().for_each(|kept| kept.fill(seed));
                small.iter().for_each(|kept| assert_eq!(**kept, [seed; 32]));
                large
                    .iter()
                    .for_each(|kept| assert_eq!(**kept, [seed; 100]));
                // Every second one, so that what is free is in pieces.
                for index in (0..100).rev() {
                    drop(small.remove(2 * index));
                }
                let again: Vec<Kept<100>> = (0..20).map(|_| Kept::zero()).collect();
                again
                    .iter()
                    .for_each(|kept| assert_eq!(**kept, [0; 100], "wiped"));
                small.iter().for_each(|kept| assert_eq!(**kept, [seed; 32]));
            }
        };
        std::thread::scope(|scope| {
            for seed in 1..5 {
                scope.spawn(keep(seed));
            }
        });
    }

    #[test]
    fn places_are_given_back() {
        let pages = || KEY_PAGES.lock().expect("no panic").len();
        let before = pages();
        // As many as fill a hundred pages. Other tests use a few at the same time.
        (0..100 * 128).for_each(|_| drop(Kept::<32>::zero()));
        assert!(pages() < before + 50);
    }

    #[test]
    fn memory_for_work_is_not_dumped() {
        let pages = Pages::for_work(1 << 20).expect("memory");
        let (_, flags) = mapping(pages.start.as_ptr() as usize);
        assert!(flags.contains(" dd"), "{flags}");
    }

    #[test]
    fn blocks_are_zero_and_as_many_as_asked_for() {
        let mut blocks = Blocks::new(100).expect("memory");
        assert_eq!(blocks.as_mut().len(), 100);
        let is_zero = |block: &Block| block.as_ref().iter().all(|word| *word == 0);
        assert!(blocks.as_mut().iter().all(is_zero));
        assert!(Blocks::new(usize::MAX).is_none());
    }

    const NAME: &str = "SECRETCTL_TEST_TAKE_ENV";
    const VALUE: &str = "canary-4f1d9b";
    const LONGER_NAME: &str = "SECRETCTL_TEST_TAKE_ENV_NOT";

    /// Runs one of the ignored tests of this file in a process of its own, whose environment holds the variable.
    fn run_child(test: &str) -> String {
        let exe = std::env::current_exe().expect("the test program");
        let path = format!("secret::memory::tests::{test}");
        let mut command = Command::new(exe);
        command
            .args(["--ignored", "--nocapture", "--exact", &path])
            .env(NAME, VALUE)
            .env(LONGER_NAME, "stays as it is");
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
        println!("{LONGER_NAME}={:?}", std::env::var(LONGER_NAME));
    }

    #[test]
    fn an_erased_variable_is_gone_from_the_environment_block() {
        let answer = run_child("erasing_child");
        assert!(
            answer.contains("before=(true, true) after=(false, false)"),
            "{answer}"
        );
        let other = format!("{LONGER_NAME}=Ok(\"stays as it is\")");
        assert!(answer.contains(&other), "{answer}");
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
