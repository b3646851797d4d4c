//! The keys of the records: one set for each master password the vault has had.

use std::sync::{Arc, PoisonError, RwLock};

use crate::crypto::Key;

/// The keys of the records that were written under one master password.
pub struct Epoch {
    /// Chains the records.
    pub chain: Key,
    /// Seals the details of a record.
    pub detail: Key,
    /// Makes the fingerprints of names.
    pub fingerprint: Key,
}

/// All of them, in order: a record's epoch is the place of its keys here, and new records get the last. Shared, and grows when
/// another process begins an epoch.
pub struct Epochs(RwLock<Vec<Arc<Epoch>>>);

impl Epochs {
    /// At least one.
    pub fn new(epochs: Vec<Epoch>) -> Self {
        Self(RwLock::new(epochs.into_iter().map(Arc::new).collect()))
    }

    /// The keys of this epoch, if there are.
    pub fn get(&self, epoch: i64) -> Option<Arc<Epoch>> {
        let epochs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        epochs.get(usize::try_from(epoch).ok()?).map(Arc::clone)
    }

    /// The keys of all of them, in order.
    pub fn all(&self) -> Vec<Arc<Epoch>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The last epoch.
    pub(super) fn newest(&self) -> i64 {
        let epochs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        i64::try_from(epochs.len()).unwrap_or(i64::MAX) - 1
    }

    pub(super) fn replace(&self, epochs: Vec<Epoch>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) =
            epochs.into_iter().map(Arc::new).collect();
    }
}
