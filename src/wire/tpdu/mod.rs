//! SMS transfer protocol data units (3GPP TS 23.040): SUBMIT, DELIVER, STATUS-REPORT.
//!
//! A TPDU travels on a modem's AT line behind the address of the service centre: take that off with
//! [`split_smsc`], put it on with [`with_smsc`], and turn both to letters with [`to_hex`] and [`from_hex`].

mod address;
mod hex;
mod status;
mod time;
mod user_data;

pub use address::{Address, AddressKind, split_smsc, with_smsc};
pub use hex::{from_hex, to_hex};
pub use status::{Outcome, Status};
pub use time::{ServiceTime, Validity};
pub use user_data::{Body, Class, Concat, Element, Reference, UserData};

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
        todo!()
    }

    /// Reads a TPDU.
    ///
    /// # Errors
    ///
    /// [`Error::Type`] for another kind of message, [`Error::Truncated`], [`Error::Address`] or
    /// [`Error::TooLong`] for octets that are none.
    pub fn decode(_tpdu: &[u8]) -> Result<Self, Error> {
        todo!()
    }
}

impl Deliver {
    /// Returns the TPDU.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }

    /// Reads a TPDU.
    ///
    /// # Errors
    ///
    /// As [`Submit::decode`].
    pub fn decode(_tpdu: &[u8]) -> Result<Self, Error> {
        todo!()
    }
}

impl StatusReport {
    /// Returns the TPDU.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }

    /// Reads a TPDU. Optional parameters behind the status are skipped.
    ///
    /// # Errors
    ///
    /// As [`Submit::decode`].
    pub fn decode(_tpdu: &[u8]) -> Result<Self, Error> {
        todo!()
    }
}

impl Incoming {
    /// Reads a TPDU from the service centre by its type.
    ///
    /// # Errors
    ///
    /// As [`Submit::decode`].
    pub fn decode(_tpdu: &[u8]) -> Result<Self, Error> {
        todo!()
    }
}
