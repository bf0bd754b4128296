//! TP-UD: the header's elements and the body (3GPP TS 23.040 §9.2.3.24).

use super::Error;
use super::reader::Reader;
use crate::wire::gsm7::{self, Alphabet, Language};
use std::fmt;

/// Octets of user data in one message: §9.2.3.24.
pub(crate) const OCTETS_MAX: usize = 140;

// Identifiers of information elements: §9.2.3.24.
const CONCAT_NARROW: u8 = 0x00;
const CONCAT_WIDE: u8 = 0x08;
const SINGLE_SHIFT: u8 = 0x24;
const LOCKING_SHIFT: u8 = 0x25;

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
    pub fn new(header: Vec<Element>, body: Body) -> Result<Self, Error> {
        let header_octets = header_octets(&header);
        let octets = header_octets
            + match &body {
                Body::Gsm7(septets) => gsm7::octets_for(septets.len(), fill_bits(header_octets)),
                Body::Octets(octets) => octets.len(),
                Body::Ucs2(units) => units.len() * 2,
            };
        if octets > OCTETS_MAX { Err(Error::TooLong { octets }) } else { Ok(Self { header, body }) }
    }

    /// Returns `text` without a header, in the default GSM alphabet where it can, else in UCS-2.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] when it needs more than one segment: see [`segments`](crate::wire::segment::segments).
    pub fn text(text: &str) -> Result<Self, Error> {
        let body = Alphabet::DEFAULT
            .encode(text)
            .map_or_else(|| Body::Ucs2(text.encode_utf16().collect()), Body::Gsm7);
        Self::new(Vec::new(), body)
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
    ///
    /// As everywhere in a header, the last of several such elements counts (§9.2.3.24).
    #[must_use]
    pub fn concat(&self) -> Option<Concat> {
        self.header.iter().rev().find_map(|element| match element {
            Element::Concat(concat) => Some(*concat),
            Element::SingleShift(_) | Element::LockingShift(_) | Element::Other { .. } => None,
        })
    }

    /// Returns the alphabet that the header's shift elements name.
    #[must_use]
    pub fn alphabet(&self) -> Alphabet {
        let mut alphabet = Alphabet::DEFAULT;
        for element in &self.header {
            match element {
                Element::SingleShift(language) => alphabet.single = Some(*language),
                Element::LockingShift(language) => alphabet.locking = Some(*language),
                Element::Concat(_) | Element::Other { .. } => {}
            }
        }
        alphabet
    }

    /// Returns the body as text; `None` for 8-bit data.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        match &self.body {
            Body::Gsm7(septets) => Some(self.alphabet().decode(septets)),
            Body::Ucs2(units) => Some(String::from_utf16_lossy(units)),
            Body::Octets(_) => None,
        }
    }

    pub(super) const fn has_header(&self) -> bool {
        !self.header.is_empty()
    }

    /// Returns TP-DCS: 3GPP TS 23.038 §4, general group.
    pub(super) const fn coding(&self, class: Option<Class>) -> u8 {
        let alphabet = match self.body {
            Body::Gsm7(_) => 0x00,
            Body::Octets(_) => 0x04,
            Body::Ucs2(_) => 0x08,
        };
        match class {
            None => alphabet,
            Some(class) => 0x10 | alphabet | class as u8,
        }
    }

    /// Appends TP-UDL and TP-UD.
    pub(super) fn encode(&self, tpdu: &mut Vec<u8>) {
        let header = encode_header(&self.header);
        let (length, body) = match &self.body {
            Body::Gsm7(septets) => (
                (header.len() * 8).div_ceil(7) + septets.len(),
                gsm7::pack(septets, fill_bits(header.len())),
            ),
            Body::Octets(octets) => (header.len() + octets.len(), octets.clone()),
            Body::Ucs2(units) => (
                header.len() + units.len() * 2,
                units.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
            ),
        };
        tpdu.push(short(length));
        tpdu.extend(header);
        tpdu.extend(body);
    }

    /// Reads TP-UDL and TP-UD; what stands behind them is left.
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        has_header: bool,
        coding: Coding,
    ) -> Result<Self, Error> {
        let length = usize::from(reader.octet("user data length")?);
        let octets = match coding {
            Coding::Gsm7 => gsm7::octets_for(length, 0),
            Coding::Octets | Coding::Ucs2 => length,
        };
        if octets > OCTETS_MAX {
            return Err(Error::TooLong { octets });
        }
        let mut data = Reader::new(reader.take(octets, "user data")?);
        let (header, header_octets) = if has_header {
            let length = usize::from(data.octet("user data header")?);
            (decode_header(data.take(length, "user data header")?), length + 1)
        } else {
            (Vec::new(), 0)
        };
        let rest = data.rest();
        let body = match coding {
            Coding::Gsm7 => {
                let count = length
                    .checked_sub((header_octets * 8).div_ceil(7))
                    .ok_or(Error::Truncated { field: "user data header" })?;
                Body::Gsm7(gsm7::unpack(rest, count, fill_bits(header_octets)))
            }
            Coding::Octets => Body::Octets(rest.to_vec()),
            Coding::Ucs2 => {
                let (units, _odd) = rest.as_chunks();
                Body::Ucs2(units.iter().map(|unit| u16::from_be_bytes(*unit)).collect())
            }
        };
        Ok(Self { header, body })
    }
}

/// What TP-DCS says of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gsm7,
    Octets,
    Ucs2,
}

/// Reads TP-DCS by its groups (3GPP TS 23.038 §4). What is reserved counts as the default alphabet, as the standard
/// asks; compressed text counts as 8-bit data.
pub(super) const fn decode_coding(dcs: u8) -> (Coding, Option<Class>) {
    let general = match dcs >> 2 & 0b11 {
        0b01 => Coding::Octets,
        0b10 => Coding::Ucs2,
        _ => Coding::Gsm7,
    };
    let class = match dcs & 0b11 {
        0 => Class::Flash,
        1 => Class::Telephone,
        2 => Class::Sim,
        _ => Class::Equipment,
    };
    match dcs >> 4 {
        // General data coding, and the same with automatic deletion; bit 4 says whether there is a class.
        0b0000 | 0b0100 => (general, None),
        0b0001 | 0b0101 => (general, Some(class)),
        0b0010 | 0b0110 => (Coding::Octets, None),
        0b0011 | 0b0111 => (Coding::Octets, Some(class)),
        // Message waiting, stored, in UCS-2.
        0b1110 => (Coding::Ucs2, None),
        // Data coding and class.
        0b1111 if dcs & 0b100 != 0 => (Coding::Octets, Some(class)),
        0b1111 => (Coding::Gsm7, Some(class)),
        // Message waiting in the default alphabet, and reserved groups.
        _ => (Coding::Gsm7, None),
    }
}

/// Returns the bits between a header and the next septet boundary.
pub(crate) fn fill_bits(header_octets: usize) -> u8 {
    short((7 - header_octets * 8 % 7) % 7)
}

/// Returns the octets of a header with its length octet; 0 without elements.
pub(crate) fn header_octets(elements: &[Element]) -> usize {
    let octets: usize = elements.iter().map(|element| 2 + element.content_octets()).sum();
    if elements.is_empty() { 0 } else { 1 + octets }
}

impl Element {
    fn content_octets(&self) -> usize {
        match self {
            Self::Concat(Concat { reference: Reference::Narrow(_), .. }) => 3,
            Self::Concat(Concat { reference: Reference::Wide(_), .. }) => 4,
            Self::SingleShift(_) | Self::LockingShift(_) => 1,
            Self::Other { data, .. } => data.len(),
        }
    }

    fn encode(&self, header: &mut Vec<u8>) {
        match self {
            Self::Concat(Concat { reference: Reference::Narrow(reference), total, part }) => {
                header.extend([CONCAT_NARROW, 3, *reference, *total, *part]);
            }
            Self::Concat(Concat { reference: Reference::Wide(reference), total, part }) => {
                let [high, low] = reference.to_be_bytes();
                header.extend([CONCAT_WIDE, 4, high, low, *total, *part]);
            }
            Self::SingleShift(language) => header.extend([SINGLE_SHIFT, 1, language.id()]),
            Self::LockingShift(language) => header.extend([LOCKING_SHIFT, 1, language.id()]),
            Self::Other { id, data } => {
                header.extend([*id, short(data.len())]);
                header.extend(data);
            }
        }
    }

    fn decode(id: u8, data: &[u8]) -> Self {
        let known = match (id, data) {
            (CONCAT_NARROW, &[reference, total, part]) => {
                place(Reference::Narrow(reference), total, part)
            }
            (CONCAT_WIDE, &[high, low, total, part]) => {
                place(Reference::Wide(u16::from_be_bytes([high, low])), total, part)
            }
            (SINGLE_SHIFT, &[language]) => Language::from_id(language).map(Self::SingleShift),
            (LOCKING_SHIFT, &[language]) => Language::from_id(language).map(Self::LockingShift),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Other { id, data: data.to_vec() })
    }
}

/// Returns the element, unless its numbers make no sense; it is then to be ignored (§9.2.3.24.1).
fn place(reference: Reference, total: u8, part: u8) -> Option<Element> {
    (1..=total).contains(&part).then_some(Element::Concat(Concat { reference, total, part }))
}

fn encode_header(elements: &[Element]) -> Vec<u8> {
    let octets = header_octets(elements);
    let mut header = Vec::with_capacity(octets);
    if octets > 0 {
        header.push(short(octets - 1));
    }
    for element in elements {
        element.encode(&mut header);
    }
    header
}

/// Reads elements as far as they are whole; a torn one ends the header.
fn decode_header(octets: &[u8]) -> Vec<Element> {
    let mut elements = Vec::new();
    let mut rest = octets;
    while let [id, length, tail @ ..] = rest {
        let Some((data, tail)) = tail.split_at_checked(usize::from(*length)) else { break };
        elements.push(Element::decode(*id, data));
        rest = tail;
    }
    elements
}

/// Narrows a length that the bound of 140 octets keeps below 256.
fn short(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
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
