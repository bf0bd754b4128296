//! What a hub tells a gateway.

use super::bytes::{Reader, Unreadable, Writer};
use super::packet::{Item, frame, only};
use super::{BookId, DecodeError, EncodeError, Mark, Other, Repair};
use std::ops::RangeInclusive;

// Kinds of items: docs/formats/uplink.md. None may ever change.
const ANSWERS: u64 = 1;
const MISSING: u64 = 2;
const LACKS: u64 = 3;
const CLOCK: u64 = 4;
const SUSPENDED: u64 = 5;
const REPAIR: u64 = 6;

/// An item from a hub to a gateway. Each may come twice, and in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Down {
    /// A packet has arrived, and all that it holds is durable at the hub, but for what is refused.
    Answers(Answers),
    /// Blocks that are to be sent again.
    Missing(Missing),
    /// A dictionary that alerts need, and that is to be sent again.
    Lacks(BookId),
    /// The hub's clock in Unix milliseconds.
    Clock(i64),
    /// The gateway is suspended: nothing that it sends is kept.
    Suspended,
    /// Pieces of the gateway's packet that have not come by text message.
    Repair(Repair),
    /// What this version cannot read.
    Other(Other),
}

/// The word that a packet's items are safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The packet's number.
    pub packet: u64,
    /// The packet's mark: of the bytes that arrived. An answer with another mark is to another packet.
    pub mark: Mark,
    /// Items that are not kept.
    pub refused: Vec<Refused>,
}

/// An item that the hub does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the packet, from 0.
    pub index: u32,
    /// Why.
    pub reason: Refusal,
}

/// Why an item is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The hub's version does not know its kind, or cannot read it.
    Unreadable,
    /// It contradicts what the hub has, or itself: sending it again does not help.
    Damaged,
    /// The hub cannot keep it now: sending it again later helps.
    Later,
    /// For a reason that this version does not know.
    Unknown,
}

/// Blocks of a chain that the hub wants again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The chain.
    pub chain: u32,
    /// Their numbers, as runs that are not empty.
    pub numbers: Vec<RangeInclusive<u64>>,
}

impl Down {
    /// Returns the item as it stands in a packet.
    ///
    /// # Errors
    ///
    /// None now.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EncodeError> {
        let mut to = Writer::default();
        frame(self, &mut to)?;
        Ok(to.finish())
    }

    /// Reads what [`Down::to_bytes`] returned.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] for bytes that are not one item, [`DecodeError::TooLong`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        only(bytes)
    }
}

impl Item for Down {
    const DIRECTION: u8 = 1;

    fn kind(&self) -> u64 {
        match self {
            Self::Answers(_) => ANSWERS,
            Self::Missing(_) => MISSING,
            Self::Lacks(_) => LACKS,
            Self::Clock(_) => CLOCK,
            Self::Suspended => SUSPENDED,
            Self::Repair(_) => REPAIR,
            Self::Other(other) => other.kind,
        }
    }

    fn write(&self, body: &mut Writer) -> Result<(), EncodeError> {
        match self {
            Self::Answers(answers) => answers.write(body),
            Self::Missing(missing) => missing.write(body),
            Self::Lacks(book) => body.bytes(&book.0),
            Self::Clock(unix_ms) => body.signed(*unix_ms),
            Self::Suspended => {}
            Self::Repair(repair) => repair.write(body),
            Self::Other(other) => body.bytes(&other.bytes),
        }
        Ok(())
    }

    fn read(kind: u64, mut body: Reader<'_>) -> Result<Option<Self>, Unreadable> {
        let from = &mut body;
        Ok(Some(match kind {
            ANSWERS => Self::Answers(Answers::read(from)?),
            MISSING => Self::Missing(Missing::read(from)?),
            LACKS => Self::Lacks(BookId(from.array()?)),
            CLOCK => Self::Clock(from.signed()?),
            SUSPENDED => Self::Suspended,
            REPAIR => Self::Repair(Repair::read(from)?),
            _ => return Ok(None),
        }))
    }

    fn other(kind: u64, bytes: Vec<u8>) -> Self {
        Self::Other(Other { kind, bytes })
    }
}

impl Answers {
    fn write(&self, to: &mut Writer) {
        to.number(self.packet);
        to.bytes(&self.mark.0);
        for refused in &self.refused {
            to.number(refused.index.into());
            to.number(match refused.reason {
                Refusal::Unknown => 0,
                Refusal::Unreadable => 1,
                Refusal::Damaged => 2,
                Refusal::Later => 3,
            });
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let (packet, mark) = (from.number()?, Mark(from.array()?));
        let mut refused = Vec::new();
        while !from.is_empty() {
            let index = from.small()?;
            let reason = match from.number()? {
                1 => Refusal::Unreadable,
                2 => Refusal::Damaged,
                3 => Refusal::Later,
                _ => Refusal::Unknown,
            };
            refused.push(Refused { index, reason });
        }
        Ok(Self { packet, mark, refused })
    }
}

impl Missing {
    fn write(&self, to: &mut Writer) {
        to.bytes(&self.chain.to_be_bytes());
        for run in &self.numbers {
            to.number(*run.start());
            to.number(run.end().saturating_sub(*run.start()));
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let chain = u32::from_be_bytes(from.array()?);
        let mut numbers = Vec::new();
        while !from.is_empty() {
            let first = from.number()?;
            numbers.push(first..=first.checked_add(from.number()?).ok_or(Unreadable)?);
        }
        Ok(Self { chain, numbers })
    }
}
