//! Addresses of people and of service centres: 3GPP TS 23.040 §9.1.2.5.

use super::Error;
use super::reader::Reader;
use crate::wire::gsm7::{self, Alphabet};
use std::fmt;

/// Type of address: international number, ISDN plan.
const INTERNATIONAL: u8 = 0x91;
/// Type of address: unknown type of number, ISDN plan.
const UNKNOWN: u8 = 0x81;
/// Type of address: a name in the GSM 7-bit alphabet.
const ALPHANUMERIC: u8 = 0xD0;
/// Most semi-octets of an address: §9.1.2.5.
const SEMI_OCTETS_MAX: usize = 20;
/// Most septets of a name: what 20 semi-octets hold.
const NAME_SEPTETS_MAX: usize = 11;
/// What a semi-octet means, from 0; 15 fills the last octet of an odd number.
const DIGITS: &str = "0123456789*#abc";
const FILLER: u8 = 0xF;

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
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (toa, length, length_max) = if let Some(digits) = text.strip_prefix('+') {
            if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
                return Err(Error::Address);
            }
            (INTERNATIONAL, digits.len(), SEMI_OCTETS_MAX)
        } else if text.bytes().all(|digit| digit.is_ascii_digit() || b"*#".contains(&digit)) {
            (UNKNOWN, text.len(), SEMI_OCTETS_MAX)
        } else if text.chars().any(char::is_alphabetic) {
            let septets = Alphabet::DEFAULT.encode(text).ok_or(Error::Address)?;
            (ALPHANUMERIC, septets.len(), NAME_SEPTETS_MAX)
        } else {
            return Err(Error::Address);
        };
        if (1..=length_max).contains(&length) {
            Ok(Self { toa, text: text.to_owned() })
        } else {
            Err(Error::Address)
        }
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

    /// Appends the length in semi-octets, the type and the value.
    pub(super) fn encode(&self, tpdu: &mut Vec<u8>) {
        let (semi_octets, value) = self.value();
        tpdu.extend([semi_octets, self.toa]);
        tpdu.extend(value);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let semi_octets = usize::from(reader.octet("address")?);
        let toa = reader.octet("address")?;
        let value = reader.take(semi_octets.div_ceil(2), "address")?;
        Self::from_value(toa, semi_octets, value)
    }

    fn from_value(toa: u8, semi_octets: usize, value: &[u8]) -> Result<Self, Error> {
        if semi_octets > SEMI_OCTETS_MAX {
            return Err(Error::Address);
        }
        let mut address = Self { toa, text: String::new() };
        match address.kind() {
            AddressKind::Alphanumeric => {
                let septets = gsm7::unpack(value, semi_octets * 4 / 7, 0);
                address.text = Alphabet::DEFAULT.decode(&septets);
            }
            AddressKind::International => address.text = format!("+{}", digits(semi_octets, value)),
            AddressKind::Local => address.text = digits(semi_octets, value),
        }
        Ok(address)
    }

    /// Returns the length in semi-octets and the value.
    fn value(&self) -> (u8, Vec<u8>) {
        if self.kind() == AddressKind::Alphanumeric {
            let septets = Alphabet::DEFAULT.encode(&self.text).unwrap_or_default();
            return (small((septets.len() * 7).div_ceil(4)), gsm7::pack(&septets, 0));
        }
        let codes: Vec<u8> =
            self.text.chars().filter_map(|digit| DIGITS.find(digit)).map(small).collect();
        let octets = codes.chunks(2).map(|pair| match *pair {
            [low, high] => high << 4 | low,
            [low] => FILLER << 4 | low,
            [] | [_, _, ..] => 0,
        });
        (small(codes.len()), octets.collect())
    }
}

fn digits(semi_octets: usize, value: &[u8]) -> String {
    value
        .iter()
        .flat_map(|octet| [octet & 0xF, octet >> 4])
        .take(semi_octets)
        .map_while(|code| DIGITS.chars().nth(usize::from(code)))
        .collect()
}

/// Narrows a number that an address's own bound keeps below 256.
fn small(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
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
pub fn split_smsc(pdu: &[u8]) -> Result<(Option<Address>, &[u8]), Error> {
    let mut reader = Reader::new(pdu);
    let length = usize::from(reader.octet("service centre address")?);
    let field = reader.take(length, "service centre address")?;
    let address = match field.split_first() {
        Some((toa, value)) => Some(Address::from_value(*toa, value.len() * 2, value)?),
        None => None,
    };
    Ok((address, reader.rest()))
}

/// Puts the service centre's address before a TPDU; without one the modem uses its own setting (`AT+CSCA`).
#[must_use]
pub fn with_smsc(smsc: Option<&Address>, tpdu: &[u8]) -> Vec<u8> {
    let mut pdu = Vec::with_capacity(tpdu.len() + 12);
    match smsc {
        Some(address) => {
            let (_, value) = address.value();
            pdu.extend([small(value.len() + 1), address.toa]);
            pdu.extend(value);
        }
        None => pdu.push(0),
    }
    pdu.extend(tpdu);
    pdu
}
