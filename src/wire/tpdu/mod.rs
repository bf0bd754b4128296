//! SMS transfer protocol data units (3GPP TS 23.040): SUBMIT, DELIVER, STATUS-REPORT.
//!
//! A TPDU travels on a modem's AT line behind the address of the service centre: take that off with
//! [`split_smsc`], put it on with [`with_smsc`], and turn both to letters with [`to_hex`] and [`from_hex`].

mod address;
mod hex;
mod reader;
mod status;
mod time;
mod user_data;

pub use address::{Address, AddressKind, split_smsc, with_smsc};
pub use hex::{from_hex, to_hex};
pub use status::{Outcome, Status};
pub use time::{ServiceTime, Validity};
pub use user_data::{Body, Class, Concat, Element, Reference, UserData};
pub(crate) use user_data::{OCTETS_MAX, fill_bits, header_octets};

use reader::Reader;
use user_data::decode_coding;

// The first octet: §9.2.3.1 to §9.2.3.7, §9.2.3.17, §9.2.3.22 to §9.2.3.26.
const TYPE_BITS: u8 = 0b11;
const TYPE_DELIVER: u8 = 0b00;
const TYPE_SUBMIT: u8 = 0b01;
const TYPE_STATUS_REPORT: u8 = 0b10;
const TYPE_RESERVED: u8 = 0b11;
/// In SUBMIT: reject duplicates.
const REJECT_DUPLICATES: u8 = 1 << 2;
/// In what the service centre sends: no more messages.
const NO_MORE: u8 = 1 << 2;
const VALIDITY_BITS: u8 = 0b11 << 3;
const VALIDITY_ENHANCED: u8 = 0b01 << 3;
const VALIDITY_RELATIVE: u8 = 0b10 << 3;
const VALIDITY_ABSOLUTE: u8 = 0b11 << 3;
/// TP-SRR, TP-SRI or TP-SRQ.
const REPORT: u8 = 1 << 5;
const HAS_HEADER: u8 = 1 << 6;
const REPLY_PATH: u8 = 1 << 7;

/// Why octets or values are not a TPDU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The octets end too early.
    #[error("the message ends within its {field}")]
    Truncated {
        /// What was being read.
        field: &'static str,
    },
    /// The type bits name another kind of message.
    #[error("message type {found} is not {wanted}")]
    Type {
        /// The two type bits found.
        found: u8,
        /// The kind asked for.
        wanted: &'static str,
    },
    /// The letters are not hexadecimal pairs.
    #[error("the message is not a row of hexadecimal pairs")]
    Hex,
    /// An address holds what a telephone number or a name of 11 GSM letters cannot.
    #[error("an address cannot be written as a number or a short name")]
    Address,
    /// A validity period holds no moment.
    #[error("the validity period names no moment")]
    Validity,
    /// The user data is longer than a message can carry.
    #[error("the user data takes {octets} octets and 140 fit")]
    TooLong {
        /// Octets with the header.
        octets: usize,
    },
}

/// SMS-SUBMIT: a message on its way from the telephone to the service centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submit {
    /// TP-MR; most modems put their own number here and tell it in `+CMGS`.
    pub reference: u8,
    /// TP-DA.
    pub to: Address,
    /// TP-PID; 0 for a plain text.
    pub protocol: u8,
    /// Message class of TP-DCS; class 0 is shown at once and not stored ("flash").
    pub class: Option<Class>,
    /// TP-VP: how long the network tries; `None` leaves it to the network.
    pub validity: Option<Validity>,
    /// TP-SRR: the service centre shall report what became of it.
    pub receipt_wanted: bool,
    /// TP-RD: the service centre shall refuse a message with the same reference and destination as one it still holds.
    pub reject_duplicates: bool,
    /// TP-RP.
    pub reply_path: bool,
    /// TP-UD, whose body decides the alphabet of TP-DCS.
    pub data: UserData,
}

/// SMS-DELIVER: a message on its way from the service centre to the telephone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliver {
    /// TP-OA. A sender is not authenticated by it.
    pub from: Address,
    /// TP-PID.
    pub protocol: u8,
    /// Message class of TP-DCS.
    pub class: Option<Class>,
    /// TP-SCTS; `None` when it names no moment.
    pub sent: Option<ServiceTime>,
    /// More messages wait in the service centre (TP-MMS, whose bit says the opposite).
    pub more_to_come: bool,
    /// TP-SRI: the sender asked for a report.
    pub receipt_wanted: bool,
    /// TP-RP.
    pub reply_path: bool,
    /// TP-UD.
    pub data: UserData,
}

/// SMS-STATUS-REPORT: what became of a message that was submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReport {
    /// TP-MR of the submitted message.
    pub reference: u8,
    /// TP-RA: to whom it was.
    pub to: Address,
    /// TP-SCTS: when the service centre took it; `None` when it names no moment.
    pub submitted: Option<ServiceTime>,
    /// TP-DT: when it was delivered or last tried; `None` when it names no moment.
    pub discharged: Option<ServiceTime>,
    /// TP-ST.
    pub status: Status,
    /// More messages wait in the service centre.
    pub more_to_come: bool,
    /// TP-SRQ: the report is about a command and not about a message.
    pub of_command: bool,
}

/// What a service centre sends to a telephone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message from somebody.
    Deliver(Deliver),
    /// A word about an earlier message of ours.
    StatusReport(StatusReport),
}

impl Submit {
    /// Returns a plain submission of `data` to `to`: no receipt, no class, the network's own validity.
    #[must_use]
    pub const fn new(to: Address, data: UserData) -> Self {
        Self {
            reference: 0,
            to,
            protocol: 0,
            class: None,
            validity: None,
            receipt_wanted: false,
            reject_duplicates: false,
            reply_path: false,
            data,
        }
    }

    /// Returns the TPDU.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let format = match self.validity {
            None => 0,
            Some(Validity::Relative(_)) => VALIDITY_RELATIVE,
            Some(Validity::Absolute(_)) => VALIDITY_ABSOLUTE,
            Some(Validity::Enhanced(_)) => VALIDITY_ENHANCED,
        };
        let first = TYPE_SUBMIT
            | format
            | flag(self.reject_duplicates, REJECT_DUPLICATES)
            | flag(self.receipt_wanted, REPORT)
            | flag(self.data.has_header(), HAS_HEADER)
            | flag(self.reply_path, REPLY_PATH);
        let mut tpdu = vec![first, self.reference];
        self.to.encode(&mut tpdu);
        tpdu.extend([self.protocol, self.data.coding(self.class)]);
        match self.validity {
            None => {}
            Some(Validity::Relative(code)) => tpdu.push(code),
            Some(Validity::Absolute(moment)) => tpdu.extend(moment.encode()),
            Some(Validity::Enhanced(octets)) => tpdu.extend(octets),
        }
        self.data.encode(&mut tpdu);
        tpdu
    }

    /// Reads a TPDU.
    ///
    /// # Errors
    ///
    /// [`Error::Type`] for another kind of message; [`Error::Truncated`], [`Error::Address`], [`Error::Validity`] or
    /// [`Error::TooLong`] for octets that are none.
    pub fn decode(tpdu: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(tpdu);
        let first = reader.octet("first octet")?;
        if first & TYPE_BITS != TYPE_SUBMIT {
            return Err(Error::Type { found: first & TYPE_BITS, wanted: "a SUBMIT" });
        }
        let reference = reader.octet("reference")?;
        let to = Address::decode(&mut reader)?;
        let protocol = reader.octet("protocol identifier")?;
        let (coding, class) = decode_coding(reader.octet("data coding scheme")?);
        let validity = match first & VALIDITY_BITS {
            VALIDITY_RELATIVE => Some(Validity::Relative(reader.octet("validity period")?)),
            VALIDITY_ENHANCED => Some(Validity::Enhanced(reader.seven("validity period")?)),
            VALIDITY_ABSOLUTE => {
                let moment = ServiceTime::decode(reader.seven("validity period")?);
                Some(Validity::Absolute(moment.ok_or(Error::Validity)?))
            }
            _ => None,
        };
        Ok(Self {
            reference,
            to,
            protocol,
            class,
            validity,
            receipt_wanted: first & REPORT != 0,
            reject_duplicates: first & REJECT_DUPLICATES != 0,
            reply_path: first & REPLY_PATH != 0,
            data: UserData::decode(&mut reader, first & HAS_HEADER != 0, coding)?,
        })
    }
}

impl Deliver {
    /// Returns the TPDU.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let first = TYPE_DELIVER
            | flag(!self.more_to_come, NO_MORE)
            | flag(self.receipt_wanted, REPORT)
            | flag(self.data.has_header(), HAS_HEADER)
            | flag(self.reply_path, REPLY_PATH);
        let mut tpdu = vec![first];
        self.from.encode(&mut tpdu);
        tpdu.extend([self.protocol, self.data.coding(self.class)]);
        tpdu.extend(encode_moment(self.sent));
        self.data.encode(&mut tpdu);
        tpdu
    }

    /// Reads a TPDU. The reserved type is read as DELIVER too (§9.2.3.1).
    ///
    /// # Errors
    ///
    /// As [`Submit::decode`].
    pub fn decode(tpdu: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(tpdu);
        let first = reader.octet("first octet")?;
        if !matches!(first & TYPE_BITS, TYPE_DELIVER | TYPE_RESERVED) {
            return Err(Error::Type { found: first & TYPE_BITS, wanted: "a DELIVER" });
        }
        let from = Address::decode(&mut reader)?;
        let protocol = reader.octet("protocol identifier")?;
        let (coding, class) = decode_coding(reader.octet("data coding scheme")?);
        let sent = ServiceTime::decode(reader.seven("service centre time stamp")?);
        Ok(Self {
            from,
            protocol,
            class,
            sent,
            more_to_come: first & NO_MORE == 0,
            receipt_wanted: first & REPORT != 0,
            reply_path: first & REPLY_PATH != 0,
            data: UserData::decode(&mut reader, first & HAS_HEADER != 0, coding)?,
        })
    }
}

impl StatusReport {
    /// Returns the TPDU.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let first =
            TYPE_STATUS_REPORT | flag(!self.more_to_come, NO_MORE) | flag(self.of_command, REPORT);
        let mut tpdu = vec![first, self.reference];
        self.to.encode(&mut tpdu);
        tpdu.extend(encode_moment(self.submitted));
        tpdu.extend(encode_moment(self.discharged));
        tpdu.push(self.status.0);
        tpdu
    }

    /// Reads a TPDU. Optional parameters behind the status are skipped.
    ///
    /// # Errors
    ///
    /// As [`Submit::decode`].
    pub fn decode(tpdu: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(tpdu);
        let first = reader.octet("first octet")?;
        if first & TYPE_BITS != TYPE_STATUS_REPORT {
            return Err(Error::Type { found: first & TYPE_BITS, wanted: "a STATUS-REPORT" });
        }
        Ok(Self {
            reference: reader.octet("reference")?,
            to: Address::decode(&mut reader)?,
            submitted: ServiceTime::decode(reader.seven("service centre time stamp")?),
            discharged: ServiceTime::decode(reader.seven("discharge time")?),
            status: Status(reader.octet("status")?),
            more_to_come: first & NO_MORE == 0,
            of_command: first & REPORT != 0,
        })
    }
}

impl Incoming {
    /// Reads a TPDU from the service centre by its type.
    ///
    /// # Errors
    ///
    /// As [`Submit::decode`].
    pub fn decode(tpdu: &[u8]) -> Result<Self, Error> {
        if tpdu.first().is_some_and(|first| first & TYPE_BITS == TYPE_STATUS_REPORT) {
            StatusReport::decode(tpdu).map(Self::StatusReport)
        } else {
            Deliver::decode(tpdu).map(Self::Deliver)
        }
    }
}

const fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

/// Zeros stand for a moment that is not known.
fn encode_moment(moment: Option<ServiceTime>) -> [u8; 7] {
    moment.map_or([0; 7], ServiceTime::encode)
}
