//! The cache of compiled modules, under a key of the vault.

use std::fs;
use std::io;

use crate::crypto::{self, Key, MAC_BYTES};
use crate::vault::Vault;
use crate::wasm::{Cache, Seal};

/// The directory's name in that of the vault.
const CACHE_DIR: &str = "cache";

/// The cache of an unlocked vault.
pub(super) fn code_cache(vault: &Vault) -> Cache {
    let seal = CodeSeal(vault.cache_key().duplicate());
    Cache::new(vault.dir().join(CACHE_DIR), Box::new(seal))
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
        crypto::mac(&self.0, parts)
    }

    fn is_valid(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
        crypto::mac_is_valid(&self.0, parts, mac)
    }
}
