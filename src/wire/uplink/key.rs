//! The secret of a gateway and its hub, and the tag that it makes.

use super::{Mark, Tag};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;

/// Goes before a packet's bytes into its tag, so that the same key never says the same of anything else.
const LABEL: &[u8] = b"kengele packet\0";

/// Bytes before a packet's tag, at the least: the first one, gateway and number.
const BEFORE_MIN: usize = 3;

/// What a gateway and its hub share: 32 random bytes that the gateway drew. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// Returns the key that is these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes: for the key file and for stores that may hold secrets.
    #[must_use]
    pub const fn secret_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn mac(&self, signed: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(LABEL);
        mac.update(signed);
        mac
    }

    /// Returns the whole tag of these bytes.
    pub(super) fn tag(&self, signed: &[u8]) -> [u8; 32] {
        self.mac(signed).finalize().into_bytes().into()
    }

    /// Returns whether a tag, whole or its first bytes, is that of these bytes. Takes as long whether it is or not.
    pub(super) fn fits(&self, signed: &[u8], tag: &[u8]) -> bool {
        self.mac(signed).verify_truncated_left(tag).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Tag {
    /// Returns how many bytes it has.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Long => 16,
            Self::Short => 8,
        }
    }
}

impl Mark {
    /// Returns the mark of a packet's bytes; `None` where they are too few to be one. It says nothing of their truth.
    #[must_use]
    pub fn of(packet: &[u8]) -> Option<Self> {
        let tag = super::packet::tag_of(packet)?;
        let before = packet.len().checked_sub(tag.bytes()).filter(|bytes| *bytes >= BEFORE_MIN)?;
        let (_, rest) = packet.split_at_checked(before)?;
        rest.first_chunk().map(|mark| Self(*mark))
    }
}
