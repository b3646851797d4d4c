//! The formulas, each with its standard: AES-256-GCM, HKDF-SHA256, HMAC-SHA256, Argon2id. No files and no clock.
//!
//! Whatever is authenticated is a list of parts, each preceded by its length, so that no two different lists give the
//! same bytes. There is no way to authenticate a bare concatenation.

#![forbid(unsafe_code)]

mod key;
mod purpose;
#[cfg(test)]
mod tests;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::{Blocks, SecretBytes};

use key::{Far, Place};

pub use key::{Done, Formula, Key, KeyService, Task, split};
pub use purpose::{Purpose, allowed_of_opened};

/// Length of every key, in bytes.
pub const KEY_BYTES: usize = 32;
/// Length of a message authentication code, in bytes.
pub const MAC_BYTES: usize = 32;
/// Length of the random nonce in front of each sealed blob, in bytes (NIST SP 800-38D, section 8.2.2).
pub const NONCE_BYTES: usize = 12;
/// Length of the tag at the end of each sealed blob, in bytes.
pub const TAG_BYTES: usize = 16;
/// Length of the salt of a password, in bytes (RFC 9106, section 3.1).
pub const SALT_BYTES: usize = 16;

/// The block of SHA-256, in bytes (FIPS 180-4).
const SHA256_BLOCK_BYTES: usize = 64;

/// What a formula uses of the stack at most, in bytes, with room to spare: the round keys of AES are 1 KiB, and a build without
/// optimization copies them several times.
const STACK_BYTES: usize = 16 * 1024;

/// What can go wrong in a formula.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    /// The blob was not sealed with this key for this place, or was changed since.
    #[error("the sealed data is not authentic")]
    NotAuthentic,
    /// More data than AES-GCM can seal under one nonce (64 GiB).
    #[error("too much data for one sealed blob")]
    TooLong,
    /// Argon2id does not take these parameters, or there are too little memory or too few threads for them.
    #[error("the password cannot be hashed with these parameters")]
    Kdf,
    /// The key was elsewhere, and is gone.
    #[error("the session that had the vault's keys is over")]
    Locked,
    /// The key is elsewhere, where this is not done with it.
    #[error("this takes the master password: it is not done for a session")]
    NotAllowed,
}

/// Cost of hashing a password with Argon2id (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParams {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes, which may run in parallel.
    pub lanes: u32,
}

impl KdfParams {
    /// What new vaults use: RFC 9106's second recommended option.
    pub const DEFAULT: Self = Self {
        memory_kib: 64 * 1024,
        passes: 3,
        lanes: 4,
    };
    /// Most that is accepted from a file: 1 GiB, so that a changed file cannot exhaust the machine.
    pub const MAX: Self = Self {
        memory_kib: 1024 * 1024,
        passes: 64,
        lanes: 64,
    };

    /// Whether these are parameters Argon2id knows, within [`KdfParams::MAX`].
    pub fn is_acceptable(&self) -> bool {
        let in_range = self.memory_kib <= Self::MAX.memory_kib
            && (1..=Self::MAX.passes).contains(&self.passes)
            && (1..=Self::MAX.lanes).contains(&self.lanes);
        // Argon2id wants eight blocks of 1 KiB for each lane.
        in_range && self.memory_kib >= 8 * self.lanes
    }
}

/// `Argon2id(password, salt; version 0x13, 32 bytes)`, RFC 9106, with a thread for each lane: with fewer, it would get less of a busy
/// machine than other programs. Its working memory is wiped.
///
/// # Errors
/// [`CryptoError::Kdf`] for parameters that are not acceptable, or where there are too little memory or too few threads for them.
pub fn password_key(
    password: &SecretBytes,
    salt: &[u8],
    params: KdfParams,
) -> Result<Key, CryptoError> {
    use argon2::{Algorithm, Argon2, Params, Version};
    if !params.is_acceptable() {
        return Err(CryptoError::Kdf);
    }
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(params.lanes as usize)
        .build()
        .map_err(|_| CryptoError::Kdf)?;
    let params = Params::new(
        params.memory_kib,
        params.passes,
        params.lanes,
        Some(KEY_BYTES),
    )
    .map_err(|_| CryptoError::Kdf)?;
    let mut memory = Blocks::new(params.block_count()).ok_or(CryptoError::Kdf)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Key::made(|out| {
        let hash =
            || argon2.hash_password_into_with_memory(password.expose(), salt, out, &mut memory);
        // The password is on the stack of the thread that begins.
        let hashed = threads.install(|| wiping_the_stack(hash));
        hashed.map_err(|_| CryptoError::Kdf)
    })
}

/// `HKDF-SHA256(ikm = key, salt, info = label, 32 bytes)`, RFC 5869. One label for each purpose.
///
/// # Errors
/// [`CryptoError::NotAllowed`] of a key that is elsewhere.
pub fn derive(key: &Key, salt: &[u8], label: &str) -> Result<Key, CryptoError> {
    hkdf(key.expose()?, salt, label.as_bytes())
}

fn hkdf(ikm: &[u8], salt: &[u8], info: &[u8]) -> Result<Key, CryptoError> {
    // 32 bytes are within HKDF's limit of 255 * 32.
    Key::made(|out| {
        wiping_the_stack(|| Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, out))
            .map_err(|_| CryptoError::TooLong)
    })
}

/// `nonce ‖ AES-256-GCM(key, nonce, plaintext; associated data = parts) ‖ tag`, NIST SP 800-38D, under a new random
/// nonce. The key must not seal more than 2^32 blobs.
///
/// # Errors
/// [`CryptoError::NoRandomness`], [`CryptoError::TooLong`]; [`CryptoError::Locked`] and [`CryptoError::NotAllowed`] of a key that is
/// elsewhere.
pub fn seal(key: &Key, parts: &[&[u8]], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let place = framed(parts);
    match key.place() {
        Place::Here(key) => encrypt(key, &place, plaintext),
        Place::Elsewhere(far) => Ok(far
            .work(Formula::Seal, &place, plaintext)?
            .expose()
            .to_vec()),
    }
}

fn encrypt(key: &[u8; KEY_BYTES], place: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let nonce: [u8; NONCE_BYTES] = random()?;
    let payload = Payload {
        msg: plaintext,
        aad: place,
    };
    let sealed = wiping_the_stack(|| cipher(key).encrypt(&Nonce::from(nonce), payload))
        .map_err(|_| CryptoError::TooLong)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// Undoes [`seal`].
///
/// # Errors
/// [`CryptoError::NotAuthentic`] unless the blob was sealed with this key and these parts, and not changed since;
/// [`CryptoError::Locked`] and [`CryptoError::NotAllowed`] of a key that is elsewhere.
pub fn open(key: &Key, parts: &[&[u8]], blob: &[u8]) -> Result<SecretBytes, CryptoError> {
    let place = framed(parts);
    match key.place() {
        Place::Here(key) => wiping_the_stack(|| decrypt(&cipher(key), &place, blob)),
        Place::Elsewhere(far) => far.work(Formula::Open, &place, blob),
    }
}

/// A key of [`open`] for many blobs, to be kept no longer than they take: as [`MacKey`].
pub struct OpenKey(Ready<Aes256Gcm>);

/// A key made ready for many uses, if it is here.
enum Ready<T> {
    Here(T),
    Elsewhere(Far),
}

impl<T> Ready<T> {
    fn new(key: &Key, make: impl FnOnce(&[u8; KEY_BYTES]) -> T) -> Self {
        match key.place() {
            Place::Here(key) => Self::Here(make(key)),
            Place::Elsewhere(far) => Self::Elsewhere(far.duplicate()),
        }
    }
}

impl OpenKey {
    /// Of this key.
    pub fn new(key: &Key) -> Self {
        Self(Ready::new(key, cipher))
    }

    /// As [`open`] for each of these places and blobs, the parts of the places [`framed`]. A service is asked about all at once.
    ///
    /// # Errors
    /// [`CryptoError::Locked`]; within, as [`open`].
    pub fn open_all(&self, sealed: &[(Vec<u8>, &[u8])]) -> Result<Vec<Done>, CryptoError> {
        match &self.0 {
            Ready::Here(cipher) => Ok(sealed
                .iter()
                .map(|(place, blob)| decrypt(cipher, place, blob))
                .collect()),
            Ready::Elsewhere(far) => {
                let tasks: Vec<_> = sealed
                    .iter()
                    .map(|(place, blob)| far.task(Formula::Open, place, blob))
                    .collect();
                far.work_all(&tasks)
            }
        }
    }
}

impl Drop for OpenKey {
    fn drop(&mut self) {
        zeroize::zeroize_stack::<STACK_BYTES>();
    }
}

fn decrypt(cipher: &Aes256Gcm, place: &[u8], blob: &[u8]) -> Result<SecretBytes, CryptoError> {
    let (nonce, sealed) = blob
        .split_first_chunk::<NONCE_BYTES>()
        .ok_or(CryptoError::NotAuthentic)?;
    let payload = Payload {
        msg: sealed,
        aad: place,
    };
    cipher
        .decrypt(&Nonce::from(*nonce), payload)
        .map(SecretBytes::from_vec)
        .map_err(|_| CryptoError::NotAuthentic)
}

/// Undoes AES-256-GCM as other programs use it: without associated data, so that a blob opens wherever it is put. Nothing of ours is
/// sealed so.
///
/// # Errors
/// [`CryptoError::NotAuthentic`].
pub fn open_without_place(key: &Key, blob: &[u8]) -> Result<SecretBytes, CryptoError> {
    open(key, &[], blob)
}

/// `HMAC-SHA256(key, parts)`, RFC 2104.
///
/// # Errors
/// [`CryptoError::Locked`] and [`CryptoError::NotAllowed`] of a key that is elsewhere.
pub fn mac(key: &Key, parts: &[&[u8]]) -> Result<[u8; MAC_BYTES], CryptoError> {
    match key.place() {
        Place::Here(key) => Ok(wiping_the_stack(|| {
            hmac_of(key, parts).finalize().into_bytes().into()
        })),
        Place::Elsewhere(far) => {
            let code = far.work(Formula::Mac, &framed(parts), &[])?;
            code.expose().try_into().map_err(|_| CryptoError::Locked)
        }
    }
}

/// `SHA-256(parts)`, FIPS 180-4, each part with its length in front. Anybody can make it: it shows damage, not tampering.
pub fn digest(parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(framed(parts)).into()
}

/// Whether `code` is the [`mac`] of `parts`, in a time that does not depend on where they differ.
///
/// # Errors
/// As [`mac`].
pub fn mac_is_valid(key: &Key, parts: &[&[u8]], code: &[u8]) -> Result<bool, CryptoError> {
    match key.place() {
        Place::Here(key) => Ok(wiping_the_stack(|| {
            hmac_of(key, parts).verify_slice(code).is_ok()
        })),
        Place::Elsewhere(far) => is_yes(&far.work(Formula::IsValid, &framed(parts), code)?),
    }
}

fn is_yes(answer: &SecretBytes) -> Result<bool, CryptoError> {
    match answer.expose() {
        [answer] => Ok(*answer == 1),
        _ => Err(CryptoError::Locked),
    }
}

/// A message, its parts [`framed`], and what may be its [`mac`].
pub struct Coded {
    /// The message.
    pub message: Vec<u8>,
    /// The code.
    pub code: Vec<u8>,
}

/// A key of [`mac`] for many messages, to be kept no longer than they take: what depends on the key alone is done once, and
/// what the formula leaves on the stack is overwritten once, with the key.
pub struct MacKey(Ready<Hmac<Sha256>>);

impl MacKey {
    /// Of this key.
    pub fn new(key: &Key) -> Self {
        Self(Ready::new(key, hmac))
    }

    /// Whether each use goes to a service, so that many at once are better than one by one.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self.0, Ready::Elsewhere(_))
    }

    /// As [`mac_is_valid`].
    ///
    /// # Errors
    /// As [`mac`].
    pub fn is_valid(&self, parts: &[&[u8]], code: &[u8]) -> Result<bool, CryptoError> {
        match &self.0 {
            Ready::Here(hmac) => Ok(with_parts(hmac.clone(), parts).verify_slice(code).is_ok()),
            Ready::Elsewhere(far) => is_yes(&far.work(Formula::IsValid, &framed(parts), code)?),
        }
    }

    /// As [`mac_is_valid`] for each of these.
    ///
    /// # Errors
    /// As [`mac`].
    pub fn are_valid(&self, coded: &[Coded]) -> Result<Vec<bool>, CryptoError> {
        match &self.0 {
            Ready::Here(hmac) => Ok(coded
                .iter()
                .map(|Coded { message, code }| {
                    hmac.clone()
                        .chain_update(message)
                        .verify_slice(code)
                        .is_ok()
                })
                .collect()),
            Ready::Elsewhere(far) => {
                let tasks: Vec<_> = coded
                    .iter()
                    .map(|Coded { message, code }| far.task(Formula::IsValid, message, code))
                    .collect();
                let done = far.work_all(&tasks)?;
                done.into_iter().map(|done| is_yes(&done?)).collect()
            }
        }
    }

    /// As [`mac`] for each of these messages, their parts [`framed`].
    ///
    /// # Errors
    /// As [`mac`].
    pub fn mac_all(&self, messages: &[Vec<u8>]) -> Result<Vec<[u8; MAC_BYTES]>, CryptoError> {
        match &self.0 {
            Ready::Here(hmac) => Ok(messages
                .iter()
                .map(|message| {
                    hmac.clone()
                        .chain_update(message)
                        .finalize()
                        .into_bytes()
                        .into()
                })
                .collect()),
            Ready::Elsewhere(far) => {
                let tasks: Vec<_> = messages
                    .iter()
                    .map(|message| far.task(Formula::Mac, message, &[]))
                    .collect();
                let code = |done: Done| done?.expose().try_into().map_err(|_| CryptoError::Locked);
                far.work_all(&tasks)?.into_iter().map(code).collect()
            }
        }
    }
}

impl Drop for MacKey {
    fn drop(&mut self) {
        zeroize::zeroize_stack::<STACK_BYTES>();
    }
}

/// What a [`KeyService`] does with a key that it has here, for a [`Task`]. A blob of keys is not opened so: see [`split`].
///
/// # Errors
/// As the formula; [`CryptoError::NotAllowed`].
pub fn work(key: &Key, formula: Formula, place: &[u8], data: &[u8]) -> Done {
    let key = key.expose()?;
    wiping_the_stack(|| match formula {
        Formula::Seal => encrypt(key, place, data).map(SecretBytes::from_vec),
        Formula::Open => decrypt(&cipher(key), place, data),
        Formula::Mac => {
            let code = hmac(key).chain_update(place).finalize().into_bytes();
            Ok(SecretBytes::from_vec(code.to_vec()))
        }
        Formula::IsValid => {
            let is_valid = hmac(key).chain_update(place).verify_slice(data).is_ok();
            Ok(SecretBytes::from_vec(vec![is_valid.into()]))
        }
        Formula::OpenKeys => Err(CryptoError::NotAllowed),
    })
}

/// Random bytes of the operating system.
///
/// # Errors
/// [`CryptoError::NoRandomness`].
pub fn random<const N: usize>() -> Result<[u8; N], CryptoError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| CryptoError::NoRandomness)?;
    Ok(bytes)
}

/// Runs a formula, then overwrites what it has left of keys on the stack: what the libraries move they do not wipe where it was.
fn wiping_the_stack<T>(formula: impl FnOnce() -> T) -> T {
    // Not a part of this function's own frame, which is not overwritten.
    #[inline(never)]
    fn below<T>(formula: impl FnOnce() -> T) -> T {
        formula()
    }
    let result = below(formula);
    zeroize::zeroize_stack::<STACK_BYTES>();
    result
}

fn cipher(key: &[u8; KEY_BYTES]) -> Aes256Gcm {
    Aes256Gcm::new(key.into())
}

fn hmac(key: &[u8; KEY_BYTES]) -> Hmac<Sha256> {
    // RFC 2104 fills a short key up with zeros to a block of the hash; done here, it cannot fail.
    let mut block = Zeroizing::new([0; SHA256_BLOCK_BYTES]);
    block[..KEY_BYTES].copy_from_slice(key);
    <Hmac<Sha256> as KeyInit>::new((&*block).into())
}

fn hmac_of(key: &[u8; KEY_BYTES], parts: &[&[u8]]) -> Hmac<Sha256> {
    with_parts(hmac(key), parts)
}

fn with_parts(mut hmac: Hmac<Sha256>, parts: &[&[u8]]) -> Hmac<Sha256> {
    for part in parts {
        hmac.update(&length(part));
        hmac.update(part);
    }
    hmac
}

/// The parts as they are authenticated: each with its length in front.
pub fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let mut framed =
        Vec::with_capacity(parts.iter().map(|part| size_of::<u64>() + part.len()).sum());
    for part in parts {
        framed.extend_from_slice(&length(part));
        framed.extend_from_slice(part);
    }
    framed
}

/// In eight bytes, big-endian.
fn length(part: &[u8]) -> [u8; 8] {
    (part.len() as u64).to_be_bytes()
}
