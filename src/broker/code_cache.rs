//! The cache of compiled modules, under a key of the vault.

use std::fs;
use std::io;

use crate::crypto::{self, Key, MAC_BYTES};
use crate::vault::Vault;
use crate::wasm::{Cache, Seal};

/// The directory's name in that of the vault.
const CACHE_DIR: &str = "cache";

/// The cache of an unlocked vault. None without the key itself: native code is loaded on no other's word.
pub(super) fn code_cache(vault: &Vault) -> Option<Cache> {
    let key = vault.cache_key();
    key.expose().ok()?;
    let seal = CodeSeal(key.duplicate());
    Some(Cache::new(vault.dir().join(CACHE_DIR), Box::new(seal)))
}

/// Empties it.
pub(super) fn remove(vault: &Vault) -> io::Result<()> {
    match fs::remove_dir_all(vault.dir().join(CACHE_DIR)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

struct CodeSeal(Key);

impl Seal for CodeSeal {
    fn mac(&self, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        // The key is here, so there is no error; and nothing is ever taken for authentic by this code.
        crypto::mac(&self.0, parts).unwrap_or_default()
    }

    fn is_valid(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
        crypto::mac_is_valid(&self.0, parts, mac).unwrap_or(false)
    }
}
