//! A keyed digest of the set of secrets, which tells when rows were removed, added again or set back one by one.
//!
//! It is the sum, modulo 2^256, of one HMAC for each row, so a change of one row changes it in constant time. Sealed in
//! `metadata`, it is written in the transaction of each change.

use rusqlite::Connection;

use super::keys::{Keys, place};
use super::store::BATCH_ROWS;
use super::{VaultError, crypto, metadata};
use crate::crypto::{CryptoError, MAC_BYTES, MacKey};

const ROW: &str = "secrets_digest";
const TAMPERED_DIGEST: VaultError =
    VaultError::Corrupted("the digest of the set of secrets was changed");
const OTHER_SET: VaultError =
    VaultError::Corrupted("secrets were removed, added or set back to an earlier state");

/// A number of 256 bits, big-endian.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SetDigest([u8; MAC_BYTES]);

impl SetDigest {
    pub(super) const EMPTY: Self = Self([0; MAC_BYTES]);

    /// The digest of the set with only this row. The entry binds all other columns and the values.
    pub(super) fn of_row(keys: &Keys, id: &[u8], entry: &[u8]) -> Result<Self, CryptoError> {
        Ok(Self(crypto::mac(&keys.set_digest, &[id, entry])?))
    }

    /// The digest of both sets together.
    pub(super) fn plus(self, other: Self) -> Self {
        let mut sum = self.0;
        let mut carry = 0;
        for (byte, addend) in sum.iter_mut().zip(other.0).rev() {
            let [high, low] = (u16::from(*byte) + u16::from(addend) + carry).to_be_bytes();
            (*byte, carry) = (low, high.into());
        }
        Self(sum)
    }

    /// The digest of this set without the other, which it contains.
    pub(super) fn minus(self, other: Self) -> Self {
        let complement = Self(other.0.map(|byte| !byte));
        let mut one = Self::EMPTY;
        one.0[MAC_BYTES - 1] = 1;
        self.plus(complement).plus(one)
    }

    pub(super) fn read(connection: &Connection, keys: &Keys) -> Result<Self, VaultError> {
        let sealed = stored(connection)?.ok_or(TAMPERED_DIGEST)?;
        let opened = crypto::open(&keys.set_digest, &digest_place(keys), &sealed);
        let opened = opened.map_err(|error| VaultError::unopened(error, TAMPERED_DIGEST))?;
        opened
            .expose()
            .try_into()
            .map(Self)
            .map_err(|_| TAMPERED_DIGEST)
    }

    pub(super) fn write(self, connection: &Connection, keys: &Keys) -> Result<(), VaultError> {
        let sealed = crypto::seal(&keys.set_digest, &digest_place(keys), &self.0)?;
        metadata::write(connection, ROW, &sealed)
    }
}

/// The digest as it is stored, sealed.
pub(super) fn stored(connection: &Connection) -> Result<Option<Vec<u8>>, VaultError> {
    metadata::read(connection, ROW)
}

/// Compares all rows with the digest.
pub(super) fn verify(connection: &Connection, keys: &Keys) -> Result<(), VaultError> {
    // One snapshot for both, while other processes write.
    let begin = || connection.unchecked_transaction();
    let snapshot = connection.is_autocommit().then(begin).transpose()?;
    let expected = SetDigest::read(connection, keys)?;
    let mut statement = connection.prepare_cached("SELECT id, entry FROM secrets")?;
    let mut rows = statement.query([])?;
    let key = MacKey::new(&keys.set_digest);
    let mut found = SetDigest::EMPTY;
    let mut messages = Vec::with_capacity(BATCH_ROWS);
    loop {
        let row = rows.next()?;
        if messages.len() == BATCH_ROWS || row.is_none() {
            for mac in key.mac_all(&messages)? {
                found = found.plus(SetDigest(mac));
            }
            messages.clear();
        }
        let Some(row) = row else { break };
        let (id, entry) = (row.get_ref(0)?.as_blob(), row.get_ref(1)?.as_blob());
        let (Ok(id), Ok(entry)) = (id, entry) else {
            return Err(OTHER_SET);
        };
        messages.push(crypto::framed(&[id, entry]));
    }
    drop(rows);
    drop(snapshot);
    if found == expected {
        Ok(())
    } else {
        Err(OTHER_SET)
    }
}

fn digest_place(keys: &Keys) -> [&[u8]; 6] {
    place(&keys.vault_id, "metadata", ROW.as_bytes(), "value")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(low: u64) -> SetDigest {
        let mut digest = SetDigest::EMPTY;
        digest.0[MAC_BYTES - 8..].copy_from_slice(&low.to_be_bytes());
        digest
    }

    #[test]
    fn sums_carry_and_wrap() {
        let digest = |number: SetDigest| number.0;
        assert_eq!(digest(number(255).plus(number(1))), digest(number(256)));
        assert_eq!(digest(number(256).minus(number(1))), digest(number(255)));
        assert_eq!(
            digest(SetDigest([255; MAC_BYTES]).plus(number(2))),
            digest(number(1))
        );
        assert_eq!(
            digest(number(1).minus(number(2)).plus(number(2))),
            digest(number(1))
        );
        assert_eq!(digest(number(7).minus(number(7))), digest(SetDigest::EMPTY));
    }
}
