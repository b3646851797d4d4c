//! What the keys of a vault are for. Each is derived from the data key with a label of its own.

use super::{CryptoError, Formula, Key, derive};

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Seals the rows of `secrets`.
    Record,
    /// Makes the index by which a name is looked up.
    NameIndex,
    /// Makes and seals the digest of the set of secrets.
    SetDigest,
    /// Authenticates compiled modules.
    Cache,
    /// Authenticates what is kept outside of the vault: the anchor.
    State,
    /// Seals the audit keys.
    Keyring,
    /// Becomes an audit key: seals the details of records.
    AuditDetail,
    /// Becomes an audit key: makes the fingerprints of names.
    AuditFingerprint,
    /// Seals the head of the log.
    AuditHead,
    /// Authenticates what a person has approved.
    Approval,
}

impl Purpose {
    /// All of them. The place of each is its number.
    pub const ALL: [Self; 10] = [
        Self::Record,
        Self::NameIndex,
        Self::SetDigest,
        Self::Cache,
        Self::State,
        Self::Keyring,
        Self::AuditDetail,
        Self::AuditFingerprint,
        Self::AuditHead,
        Self::Approval,
    ];

    /// The number of the first key that came out of a blob of keys: they follow those of the purposes.
    pub const FIRST_OPENED: u16 = Self::ALL.len() as u16;

    /// What the key is derived with.
    pub fn label(self) -> &'static str {
        match self {
            Self::Record => "record-v1",
            Self::NameIndex => "name-index-v1",
            Self::SetDigest => "set-digest-v1",
            Self::Cache => "cache-v1",
            Self::State => "state-v1",
            Self::Keyring => "keyring-v1",
            Self::AuditDetail => "audit-detail-v1",
            Self::AuditFingerprint => "audit-fingerprint-v1",
            Self::AuditHead => "audit-head-v1",
            Self::Approval => "approval-v1",
        }
    }

    /// The number that a [`KeyService`](super::KeyService) has it under.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The key.
    ///
    /// # Errors
    /// As [`derive`](super::derive()).
    pub fn key(self, data_key: &Key, vault_id: &[u8; 16]) -> Result<Key, CryptoError> {
        derive(data_key, vault_id, self.label())
    }

    /// What a service does with the key for whoever asks: no more than daily use takes. What a person has approved is vouched for only
    /// by who has the password, so is native code that is to be loaded, and the audit keys are handed to nobody.
    pub fn allowed(self) -> &'static [Formula] {
        use Formula::{IsValid, Mac, Open, OpenKeys, Seal};
        match self {
            Self::Record | Self::AuditHead => &[Seal, Open],
            Self::NameIndex => &[Mac],
            Self::SetDigest => &[Mac, Seal, Open],
            Self::State => &[Mac, IsValid],
            Self::Approval => &[IsValid],
            Self::Keyring => &[OpenKeys],
            Self::Cache | Self::AuditDetail | Self::AuditFingerprint => &[],
        }
    }
}

/// The same for a key that came out of a blob of audit keys: an epoch has three, which chain records, seal their details and make the
/// fingerprints of names. `index` is its place among all of them.
pub fn allowed_of_opened(index: usize) -> &'static [Formula] {
    match index % 3 {
        0 => &[Formula::Mac, Formula::IsValid],
        1 => &[Formula::Seal, Formula::Open],
        _ => &[Formula::Mac],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_purpose_is_its_place() {
        for (place, purpose) in Purpose::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(purpose.number()), place);
        }
    }

    #[test]
    fn no_two_purposes_have_one_label() {
        let labels: std::collections::BTreeSet<_> = Purpose::ALL.map(Purpose::label).into();
        assert_eq!(labels.len(), Purpose::ALL.len());
    }
}
