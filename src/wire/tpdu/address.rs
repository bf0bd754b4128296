//! Addresses of people and of service centres: 3GPP TS 23.040 §9.1.2.5.

use super::Error;
use std::fmt;

/// What kind of address it is: the type-of-number bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressKind {
    /// A number with its country code; written with a leading `+`.
    International,
    /// A name of at most 11 characters; cannot be answered.
    Alphanumeric,
    /// A number as dialled here, a short code, or a kind that only the network understands.
    Local,
}

/// A telephone number, short code or sender's name; a valid one by construction.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    toa: u8,
    text: String,
}

impl Address {
    /// Returns the address that `text` writes: `+` and digits, digits alone (also `*`, `#`), or a name.
    ///
    /// # Errors
    ///
    /// [`Error::Address`] when empty, longer than 20 digits, or a name of more than 11 GSM 7-bit septets.
    pub fn parse(_text: &str) -> Result<Self, Error> {
        todo!()
    }

    /// Returns what kind of address it is.
    #[must_use]
    pub const fn kind(&self) -> AddressKind {
        match (self.toa >> 4) & 0b111 {
            0b001 => AddressKind::International,
            0b101 => AddressKind::Alphanumeric,
            _ => AddressKind::Local,
        }
    }

    /// Returns the address as people write it, an international number with its `+`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Shows the kind alone: a number is somebody's.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.kind()).finish()
    }
}

/// Splits what a modem writes into the service centre's address, when it says one, and the TPDU.
///
/// # Errors
///
/// [`Error::Truncated`] when the octets end within the address, [`Error::Address`] when it is none.
pub fn split_smsc(_pdu: &[u8]) -> Result<(Option<Address>, &[u8]), Error> {
    todo!()
}

/// Puts the service centre's address before a TPDU; without one the modem uses its own setting (`AT+CSCA`).
#[must_use]
pub fn with_smsc(_smsc: Option<&Address>, _tpdu: &[u8]) -> Vec<u8> {
    todo!()
}
