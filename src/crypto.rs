//! The formulas, each with its standard: AES-256-GCM, HKDF-SHA256, HMAC-SHA256, Argon2id. No files and no clock.
//!
//! Whatever is authenticated is a list of parts, each preceded by its length, so that no two different lists give the
//! same bytes. There is no way to authenticate a bare concatenation.

#![forbid(unsafe_code)]

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::{Blocks, Kept, SecretBytes};

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
}

/// A 256-bit key: on a page for keys (see [`key_memory`](crate::secret::key_memory)), so that moving it leaves no copy behind,
/// and wiped when dropped.
pub struct Key(Kept<KEY_BYTES>);

impl Key {
    /// A new random key.
    ///
    /// # Errors
    /// [`CryptoError::NoRandomness`].
    pub fn random() -> Result<Self, CryptoError> {
        let mut key = Self::zero();
        getrandom::fill(&mut *key.0).map_err(|_| CryptoError::NoRandomness)?;
        Ok(key)
    }

    /// The key that was stored as exactly [`KEY_BYTES`] bytes.
    pub fn from_secret(bytes: &SecretBytes) -> Option<Self> {
        Self::from_slice(bytes.expose())
    }

    /// As [`Key::from_secret`], from a part of stored bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut key = Self::zero();
        (bytes.len() == KEY_BYTES).then(|| key.0.copy_from_slice(bytes))?;
        Some(key)
    }

    /// A second copy, wiped on its own.
    pub fn duplicate(&self) -> Self {
        let mut key = Self::zero();
        key.0.copy_from_slice(&*self.0);
        key
    }

    /// The bytes, to be sealed under another key.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    fn zero() -> Self {
        Self(Kept::zero())
    }
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
    let mut key = Key::zero();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let out = &mut *key.0;
    let hash = || argon2.hash_password_into_with_memory(password.expose(), salt, out, &mut memory);
    // The password is on the stack of the thread that begins.
    let hashed = threads.install(|| wiping_the_stack(hash));
    hashed.map_err(|_| CryptoError::Kdf)?;
    Ok(key)
}

/// `HKDF-SHA256(ikm = key, salt, info = label, 32 bytes)`, RFC 5869. One label for each purpose.
pub fn derive(key: &Key, salt: &[u8], label: &str) -> Key {
    hkdf(&*key.0, salt, label.as_bytes())
}

fn hkdf(ikm: &[u8], salt: &[u8], info: &[u8]) -> Key {
    let mut derived = Key::zero();
    let out = &mut *derived.0;
    let expanded = wiping_the_stack(|| Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, out));
    debug_assert!(
        expanded.is_ok(),
        "32 bytes are within HKDF's limit of 255 * 32"
    );
    derived
}

/// `nonce ‖ AES-256-GCM(key, nonce, plaintext; associated data = parts) ‖ tag`, NIST SP 800-38D, under a new random
/// nonce. The key must not seal more than 2^32 blobs.
///
/// # Errors
/// [`CryptoError::NoRandomness`], [`CryptoError::TooLong`].
pub fn seal(key: &Key, parts: &[&[u8]], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let nonce: [u8; NONCE_BYTES] = random()?;
    let payload = Payload {
        msg: plaintext,
        aad: &framed(parts),
    };
    let sealed = wiping_the_stack(|| cipher(key).encrypt(&Nonce::from(nonce), payload))
        .map_err(|_| CryptoError::TooLong)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// Undoes [`seal`].
///
/// # Errors
/// [`CryptoError::NotAuthentic`] unless the blob was sealed with this key and these parts, and not changed since.
pub fn open(key: &Key, parts: &[&[u8]], blob: &[u8]) -> Result<SecretBytes, CryptoError> {
    wiping_the_stack(|| decrypt(&cipher(key), parts, blob))
}

/// A key of [`open`] for many blobs, to be kept no longer than they take: as [`MacKey`].
pub struct OpenKey(Aes256Gcm);

impl OpenKey {
    /// Of this key.
    pub fn new(key: &Key) -> Self {
        Self(cipher(key))
    }

    /// As [`open`].
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(&self, parts: &[&[u8]], blob: &[u8]) -> Result<SecretBytes, CryptoError> {
        decrypt(&self.0, parts, blob)
    }
}

impl Drop for OpenKey {
    fn drop(&mut self) {
        zeroize::zeroize_stack::<STACK_BYTES>();
    }
}

fn decrypt(cipher: &Aes256Gcm, parts: &[&[u8]], blob: &[u8]) -> Result<SecretBytes, CryptoError> {
    let (nonce, sealed) = blob
        .split_first_chunk::<NONCE_BYTES>()
        .ok_or(CryptoError::NotAuthentic)?;
    let payload = Payload {
        msg: sealed,
        aad: &framed(parts),
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
pub fn mac(key: &Key, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
    wiping_the_stack(|| hmac_of(key, parts).finalize().into_bytes().into())
}

/// `SHA-256(parts)`, FIPS 180-4, each part with its length in front. Anybody can make it: it shows damage, not tampering.
pub fn digest(parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(framed(parts)).into()
}

/// Whether `code` is the [`mac`] of `parts`, in a time that does not depend on where they differ.
pub fn mac_is_valid(key: &Key, parts: &[&[u8]], code: &[u8]) -> bool {
    wiping_the_stack(|| hmac_of(key, parts).verify_slice(code).is_ok())
}

/// A key of [`mac`] for many messages, to be kept no longer than they take: what depends on the key alone is done once, and
/// what the formula leaves on the stack is overwritten once, with the key.
pub struct MacKey(Hmac<Sha256>);

impl MacKey {
    /// Of this key.
    pub fn new(key: &Key) -> Self {
        Self(hmac(key))
    }

    /// As [`mac_is_valid`].
    pub fn is_valid(&self, parts: &[&[u8]], code: &[u8]) -> bool {
        with_parts(self.0.clone(), parts).verify_slice(code).is_ok()
    }
}

impl Drop for MacKey {
    fn drop(&mut self) {
        zeroize::zeroize_stack::<STACK_BYTES>();
    }
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

fn cipher(key: &Key) -> Aes256Gcm {
    Aes256Gcm::new((&*key.0).into())
}

fn hmac(key: &Key) -> Hmac<Sha256> {
    // RFC 2104 fills a short key up with zeros to a block of the hash; done here, it cannot fail.
    let mut block = Zeroizing::new([0; SHA256_BLOCK_BYTES]);
    block[..KEY_BYTES].copy_from_slice(&*key.0);
    <Hmac<Sha256> as KeyInit>::new((&*block).into())
}

fn hmac_of(key: &Key, parts: &[&[u8]]) -> Hmac<Sha256> {
    with_parts(hmac(key), parts)
}

fn with_parts(mut hmac: Hmac<Sha256>, parts: &[&[u8]]) -> Hmac<Sha256> {
    for part in parts {
        hmac.update(&length(part));
        hmac.update(part);
    }
    hmac
}

fn framed(parts: &[&[u8]]) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).expect("ASCII"));
        digits
            .map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal"))
            .collect()
    }

    fn key(start: &[u8]) -> Key {
        let mut key = Key::zero();
        key.0[..start.len()].copy_from_slice(start);
        key
    }

    /// GCM specification (McGrew and Viega), test cases 13 and 14.
    #[test]
    fn aes_256_gcm_vectors() {
        let nonce = [0; NONCE_BYTES];
        let cases = [
            ("", "530f8afbc74536b9a963b4f1c4cb738b"),
            (
                "00000000000000000000000000000000",
                "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
            ),
        ];
        for (plaintext, sealed) in cases {
            let blob = [nonce.as_slice(), &bytes(sealed)].concat();
            let opened = open(&key(&[]), &[], &blob).expect("authentic");
            assert_eq!(opened.expose(), bytes(plaintext));
        }
    }

    /// RFC 5869, appendices A.1 and A.3: the first 32 bytes.
    #[test]
    fn hkdf_vectors() {
        let ikm = [0x0b; 22];
        let derived = hkdf(
            &ikm,
            &bytes("000102030405060708090a0b0c"),
            &bytes("f0f1f2f3f4f5f6f7f8f9"),
        );
        assert_eq!(
            derived.expose(),
            &*bytes("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf")
        );
        let derived = hkdf(&ikm, &[], &[]);
        assert_eq!(
            derived.expose(),
            &*bytes("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d")
        );
    }

    /// RFC 4231, test cases 1 and 2. Their keys are shorter than ours; HMAC fills up with zeros.
    #[test]
    fn hmac_vectors() {
        let cases: [(&[u8], &[u8], &str); 2] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
        ];
        for (start, message, code) in cases {
            let code_found = hmac(&key(start))
                .chain_update(message)
                .finalize()
                .into_bytes();
            assert_eq!(code_found.as_slice(), bytes(code));
        }
    }

    /// The reference implementation's `test.c`: version 0x13, 2 passes, 256 KiB.
    #[test]
    fn argon2id_vectors() {
        let password = SecretBytes::from_vec(b"password".to_vec());
        let hash = |lanes| {
            let params = KdfParams {
                memory_kib: 256,
                passes: 2,
                lanes,
            };
            *password_key(&password, b"somesalt", params)
                .expect("acceptable")
                .expose()
        };
        assert_eq!(
            hash(1),
            *bytes("9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe")
        );
        assert_eq!(
            hash(2),
            *bytes("6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037")
        );
    }

    #[test]
    fn kdf_parameters_out_of_range_are_refused() {
        let bad = [
            (7, 1, 1),
            (8, 0, 1),
            (8, 1, 0),
            (15, 1, 2),
            (1024 * 1024 + 1, 1, 1),
            (1024, 65, 1),
            (1024, 1, 65),
        ];
        for (memory_kib, passes, lanes) in bad {
            let params = KdfParams {
                memory_kib,
                passes,
                lanes,
            };
            let result = password_key(
                &SecretBytes::from_vec(b"password".to_vec()),
                &[0; SALT_BYTES],
                params,
            );
            assert_eq!(result.err(), Some(CryptoError::Kdf), "{params:?}");
        }
        assert!(KdfParams::DEFAULT.is_acceptable());
    }

    #[test]
    fn parts_are_framed_by_their_lengths() {
        assert_eq!(
            framed(&[b"ab", b""]),
            b"\0\0\0\0\0\0\0\x02ab\0\0\0\0\0\0\0\0"
        );
        let code = mac(&key(b"k"), &[b"ab", b"c"]);
        assert!(mac_is_valid(&key(b"k"), &[b"ab", b"c"], &code));
        let others: [&[&[u8]]; 3] = [&[b"a", b"bc"], &[b"abc"], &[b"ab", b"c", b""]];
        for other in others {
            assert!(!mac_is_valid(&key(b"k"), other, &code));
        }
        assert!(!mac_is_valid(&key(b"l"), &[b"ab", b"c"], &code));
        assert!(!mac_is_valid(&key(b"k"), &[b"ab", b"c"], &code[..31]));
    }

    #[test]
    fn short_blobs_are_not_authentic() {
        for length in 0..NONCE_BYTES + TAG_BYTES {
            assert_eq!(
                open(&key(&[]), &[], &vec![0; length]).err(),
                Some(CryptoError::NotAuthentic)
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_in_its_place_only(
            plaintext: Vec<u8>, place: Vec<u8>, other: Vec<u8>, start: [u8; 32], flip: prop::sample::Index,
        ) {
            let key = key(&start);
            let mut blob = seal(&key, &[&place, b"x"], &plaintext).expect("sealed");
            prop_assert_eq!(blob.len(), NONCE_BYTES + plaintext.len() + TAG_BYTES);
            let opened = open(&key, &[&place, b"x"], &blob).expect("authentic");
            prop_assert_eq!(opened.expose(), &*plaintext);
            if other != place {
                prop_assert!(open(&key, &[&other, b"x"], &blob).is_err());
            }
            let again = seal(&key, &[&place, b"x"], &plaintext).expect("sealed");
            prop_assert_ne!(&again, &blob, "each blob has its own nonce");
            let bit = flip.index(blob.len() * 8);
            blob[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open(&key, &[&place, b"x"], &blob).is_err());
        }

        #[test]
        fn different_lists_are_framed_differently(a: Vec<Vec<u8>>, b: Vec<Vec<u8>>) {
            fn parts(list: &[Vec<u8>]) -> Vec<&[u8]> {
                list.iter().map(Vec::as_slice).collect()
            }
            prop_assert_eq!(framed(&parts(&a)) == framed(&parts(&b)), a == b);
        }
    }
}
