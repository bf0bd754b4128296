//! TP-UD: the header's elements and the body (3GPP TS 23.040 §9.2.3.24).

use super::Error;
use crate::wire::gsm7::{Alphabet, Language};
use std::fmt;

/// Message class: 3GPP TS 23.038 §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Class 0: shown at once, not stored ("flash").
    Flash,
    /// Class 1: the telephone's memory.
    Telephone,
    /// Class 2: the SIM.
    Sim,
    /// Class 3: other equipment.
    Equipment,
}

/// Number that the segments of one message share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// 8 bits: element 0x00, one octet shorter.
    Narrow(u8),
    /// 16 bits: element 0x08; two messages are seldom mixed up.
    Wide(u16),
}

/// Place of a segment in its message. `1 <= part <= total` when decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Concat {
    /// Shared by the segments of one message.
    pub reference: Reference,
    /// How many segments there are.
    pub total: u8,
    /// Which one this is, from 1.
    pub part: u8,
}

/// One information element of a user data header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// Elements 0x00 and 0x08.
    Concat(Concat),
    /// Element 0x24.
    SingleShift(Language),
    /// Element 0x25.
    LockingShift(Language),
    /// Any other, kept as it is.
    Other {
        /// Identifier.
        id: u8,
        /// Content.
        data: Vec<u8>,
    },
}

/// What follows the header; decides the alphabet bits of TP-DCS.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// Septets, one to a byte, not yet read as letters.
    Gsm7(Vec<u8>),
    /// 8-bit data, and compressed text.
    Octets(Vec<u8>),
    /// UTF-16 code units: what is called UCS-2, with surrogate pairs.
    Ucs2(Vec<u16>),
}

/// Header and body of a message: at most 140 octets, by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserData {
    header: Vec<Element>,
    body: Body,
}

impl UserData {
    /// Returns user data of these parts.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] when they take more than 140 octets.
    pub fn new(_header: Vec<Element>, _body: Body) -> Result<Self, Error> {
        todo!()
    }

    /// Returns `text` without a header, in the default GSM alphabet where it can, else in UCS-2.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] when it needs more than one segment: see [`segments`](crate::wire::segment::segments).
    pub fn text(_text: &str) -> Result<Self, Error> {
        todo!()
    }

    /// Returns the header's elements.
    #[must_use]
    pub fn header(&self) -> &[Element] {
        &self.header
    }

    /// Returns the body.
    #[must_use]
    pub const fn body(&self) -> &Body {
        &self.body
    }

    /// Returns the place in a concatenated message, when this is a segment of one.
    #[must_use]
    pub fn concat(&self) -> Option<Concat> {
        todo!()
    }

    /// Returns the alphabet that the header's shift elements name.
    #[must_use]
    pub fn alphabet(&self) -> Alphabet {
        todo!()
    }

    /// Returns the body as text; `None` for 8-bit data.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        todo!()
    }
}

/// Shows the alphabet and the length alone: a text is somebody's.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, length) = match self {
            Self::Gsm7(septets) => ("Gsm7", septets.len()),
            Self::Octets(octets) => ("Octets", octets.len()),
            Self::Ucs2(units) => ("Ucs2", units.len()),
        };
        f.debug_tuple(name).field(&length).finish()
    }
}
