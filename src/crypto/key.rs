//! A key: here, or where somebody else keeps it and works with it.

use std::sync::Arc;

use super::{CryptoError, KEY_BYTES};
use crate::secret::{Kept, SecretBytes};

/// What is done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Formula {
    /// [`seal`](super::seal): a place and a plaintext give a blob.
    Seal = 1,
    /// [`open`](super::open): a place and a blob give the plaintext.
    Open = 2,
    /// [`mac`](super::mac): a message gives its code.
    Mac = 3,
    /// [`mac_is_valid`](super::mac_is_valid): a message and a code give a byte, which is 1 if they fit.
    IsValid = 4,
    /// Opens a blob of keys, which stay with the service: their number, in two bytes (big-endian).
    OpenKeys = 5,
}

impl Formula {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Seal,
        Self::Open,
        Self::Mac,
        Self::IsValid,
        Self::OpenKeys,
    ];
}

/// One use of a key that is elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task<'a> {
    /// What is to be done.
    pub formula: Formula,
    /// With which key.
    pub key: u16,
    /// The parts that are authenticated, [`framed`](super::framed).
    pub place: &'a [u8],
    /// The plaintext, blob or code; nothing for [`Formula::Mac`].
    pub data: &'a [u8],
}

/// What came of a [`Task`].
pub type Done = Result<SecretBytes, CryptoError>;

/// Works with keys that it does not give away.
pub trait KeyService: Send + Sync {
    /// What came of each task, in their order.
    ///
    /// # Errors
    /// [`CryptoError::Locked`] if the service does not answer any more.
    fn work(&self, tasks: &[Task<'_>]) -> Result<Vec<Done>, CryptoError>;

    /// Whether it still has the keys.
    fn is_open(&self) -> bool;
}

/// A 256-bit key. Here it is on a page for keys (see [`key_memory`](crate::secret::key_memory)), so that moving it leaves no copy
/// behind, and wiped when dropped.
pub struct Key(Place);

pub(super) enum Place {
    Here(Kept<KEY_BYTES>),
    Elsewhere(Far),
}

/// A key of a service.
pub(super) struct Far {
    service: Arc<dyn KeyService>,
    number: u16,
}

impl Key {
    /// A new random key.
    ///
    /// # Errors
    /// [`CryptoError::NoRandomness`].
    pub fn random() -> Result<Self, CryptoError> {
        Self::made(|bytes| getrandom::fill(bytes).map_err(|_| CryptoError::NoRandomness))
    }

    /// The key that was stored as exactly [`KEY_BYTES`] bytes.
    pub fn from_secret(bytes: &SecretBytes) -> Option<Self> {
        Self::from_slice(bytes.expose())
    }

    /// As [`Key::from_secret`], from a part of stored bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; KEY_BYTES] = bytes.try_into().ok()?;
        let copied: Result<_, std::convert::Infallible> = Self::made(|key| {
            key.copy_from_slice(bytes);
            Ok(())
        });
        copied.ok()
    }

    /// The key that a service has under this number.
    pub fn elsewhere(service: &Arc<dyn KeyService>, number: u16) -> Self {
        let service = Arc::clone(service);
        Self(Place::Elsewhere(Far { service, number }))
    }

    /// A key whose bytes `make` writes where they stay. They are zero at first.
    pub(super) fn made<E>(
        make: impl FnOnce(&mut [u8; KEY_BYTES]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut bytes = Kept::zero();
        make(&mut bytes)?;
        Ok(Self(Place::Here(bytes)))
    }

    /// A second copy, wiped on its own.
    pub fn duplicate(&self) -> Self {
        match &self.0 {
            Place::Here(bytes) => {
                let mut copy = Kept::zero();
                copy.copy_from_slice(&**bytes);
                Self(Place::Here(copy))
            }
            Place::Elsewhere(far) => Self::elsewhere(&far.service, far.number),
        }
    }

    /// The bytes, to be sealed under another key.
    ///
    /// # Errors
    /// [`CryptoError::NotAllowed`] of a key that is elsewhere.
    pub fn expose(&self) -> Result<&[u8; KEY_BYTES], CryptoError> {
        match &self.0 {
            Place::Here(bytes) => Ok(bytes),
            Place::Elsewhere(_) => Err(CryptoError::NotAllowed),
        }
    }

    /// Whether it can still be used: one that is elsewhere can be gone.
    pub fn is_open(&self) -> bool {
        match &self.0 {
            Place::Here(_) => true,
            Place::Elsewhere(far) => far.service.is_open(),
        }
    }

    /// Opens a blob of keys that follow each other. Those of a key that is elsewhere stay there, from the number `first` on.
    ///
    /// # Errors
    /// As [`open`](super::open), also if the blob is not one of keys.
    pub fn open_keys(
        &self,
        parts: &[&[u8]],
        blob: &[u8],
        first: u16,
    ) -> Result<Vec<Self>, CryptoError> {
        let far = match &self.0 {
            Place::Here(_) => return split(&super::open(self, parts, blob)?),
            Place::Elsewhere(far) => far,
        };
        let count = far.work(Formula::OpenKeys, &super::framed(parts), blob)?;
        let count = <[u8; 2]>::try_from(count.expose()).map_err(|_| CryptoError::Locked)?;
        let numbers = (first..).take(u16::from_be_bytes(count).into());
        let key = |number| Self::elsewhere(&far.service, number);
        Ok(numbers.map(key).collect())
    }

    pub(super) fn place(&self) -> &Place {
        &self.0
    }
}

/// The keys that stand in `bytes` one behind the other.
///
/// # Errors
/// [`CryptoError::NotAuthentic`] if there is a rest.
pub fn split(bytes: &SecretBytes) -> Result<Vec<Key>, CryptoError> {
    let (keys, rest) = bytes.expose().as_chunks::<KEY_BYTES>();
    let keys: Option<Vec<Key>> = keys.iter().map(|key| Key::from_slice(key)).collect();
    keys.filter(|_| rest.is_empty())
        .ok_or(CryptoError::NotAuthentic)
}

impl Far {
    /// The same one.
    pub(super) fn duplicate(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            number: self.number,
        }
    }

    pub(super) fn task<'a>(&self, formula: Formula, place: &'a [u8], data: &'a [u8]) -> Task<'a> {
        Task {
            formula,
            key: self.number,
            place,
            data,
        }
    }

    pub(super) fn work(&self, formula: Formula, place: &[u8], data: &[u8]) -> Done {
        let done = self.work_all(&[self.task(formula, place, data)])?.pop();
        done.unwrap_or(Err(CryptoError::Locked))
    }

    /// As many results as there are tasks.
    pub(super) fn work_all(&self, tasks: &[Task<'_>]) -> Result<Vec<Done>, CryptoError> {
        let done = self.service.work(tasks)?;
        match done.len() == tasks.len() {
            true => Ok(done),
            false => Err(CryptoError::Locked),
        }
    }
}
