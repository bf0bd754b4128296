//! Packets in text messages: cut into pieces of 8-bit data, joined again, and the pieces that are missing asked for.
//!
//! Nothing here is proved: anybody can send a text message. A joined packet is opened by its tag as any other; one that
//! does not fit is [forgotten](Reassembler::forget), so that its pieces can come again.

use super::bytes::{Reader, Unreadable, Writer};
use crate::domain::time::Timestamp;
use crate::wire::tpdu::{Body, Concat, Element, OCTETS_MAX, Reference, UserData};
use std::collections::BTreeMap;
use std::time::Duration;

/// Octets of a header that says which piece of which packet this is.
const HEADER_OCTETS: usize = 7;
/// Bytes of a packet in one of several text messages.
pub const PIECE_BYTES: usize = OCTETS_MAX - HEADER_OCTETS;
/// Bytes of a packet that text messages can carry: 255 pieces.
pub const PACKET_BYTES_MAX: usize = PIECE_BYTES * u8::MAX as usize;

/// Pieces of a packet that have not come: the same both ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The reference that the pieces share.
    pub reference: u16,
    /// How many pieces the packet has.
    pub total: u8,
    /// Those that have not come, from 1.
    pub parts: Vec<u8>,
}

impl Repair {
    pub(super) fn write(&self, to: &mut Writer) {
        to.bytes(&self.reference.to_be_bytes());
        to.byte(self.total);
        to.bytes(&self.parts);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            reference: u16::from_be_bytes(from.array()?),
            total: from.byte()?,
            parts: from.rest().to_vec(),
        })
    }
}

/// A packet is too long for text messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {0} bytes is too long for text messages: at most {PACKET_BYTES_MAX}")]
pub struct TooLong(pub usize);

/// Returns a packet as the user data of text messages, in order: one without a header where it fits.
///
/// # Errors
///
/// [`TooLong`].
pub fn pieces(packet: &[u8], reference: u16) -> Result<Vec<UserData>, TooLong> {
    let too_long = || TooLong(packet.len());
    if packet.len() <= OCTETS_MAX {
        let whole = UserData::new(Vec::new(), Body::Octets(packet.to_vec()));
        return Ok(vec![whole.map_err(|_| too_long())?]);
    }
    let total = u8::try_from(packet.len().div_ceil(PIECE_BYTES)).map_err(|_| too_long())?;
    let cut = (1..=total).zip(packet.chunks(PIECE_BYTES)).map(|(part, piece)| {
        let place = Concat { reference: Reference::Wide(reference), total, part };
        UserData::new(vec![Element::Concat(place)], Body::Octets(piece.to_vec()))
            .map_err(|_| too_long())
    });
    cut.collect()
}

/// How long and how often pieces are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// After so long without a new piece the missing ones are asked for; each time after that twice as long.
    pub ask_after: Duration,
    /// How often they are asked for without any new one coming.
    pub asks_max: u8,
    /// After so long without a new piece a packet is forgotten.
    pub forget_after: Duration,
}

/// What became of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// With it a packet is whole.
    Whole {
        /// The packet, not opened yet.
        packet: Vec<u8>,
        /// What its pieces shared, where it had several.
        reference: Option<u16>,
    },
    /// Others are missing.
    Held,
    /// It is there already.
    Again,
    /// It is no piece of a packet.
    Foreign,
}

/// Pieces to ask a sender for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask<S> {
    /// Whom.
    pub from: S,
    /// For what.
    pub repair: Repair,
}

/// Joins pieces by sender, reference and total, in any order, with repetitions.
///
/// Packets that are whole are remembered until their time is over, so that a piece that comes twice does not begin one
/// that never ends. A piece that differs from the one of its number begins a new packet: senders wrap their references.
#[derive(Debug)]
pub struct Reassembler<S> {
    packets_max: usize,
    patience: Patience,
    /// At most `packets_max`.
    packets: Vec<Pieces<S>>,
    lost: u64,
}

#[derive(Debug)]
struct Pieces<S> {
    from: S,
    reference: u16,
    total: u8,
    parts: BTreeMap<u8, Vec<u8>>,
    /// When the last new piece came.
    heard: Timestamp,
    /// When to ask next.
    ask_at: Timestamp,
    asks: u8,
}

impl<S: Clone + Eq> Reassembler<S> {
    /// Returns an empty one that holds at most `packets_max` (at least 1) packets of [`PACKET_BYTES_MAX`].
    #[must_use]
    pub fn new(packets_max: usize, patience: Patience) -> Self {
        Self { packets_max: packets_max.max(1), patience, packets: Vec::new(), lost: 0 }
    }

    /// Takes what came in one text message.
    pub fn add(&mut self, from: &S, data: &UserData, now: Timestamp) -> Added {
        let Body::Octets(bytes) = data.body() else { return Added::Foreign };
        let (reference, total, part) = match data.concat() {
            Some(Concat { total: 1, .. }) | None => {
                return Added::Whole { packet: bytes.clone(), reference: None };
            }
            Some(Concat { reference: Reference::Wide(reference), total, part }) => {
                (reference, total, part)
            }
            Some(Concat { reference: Reference::Narrow(_), .. }) => return Added::Foreign,
        };
        let known = self.packets.iter().position(|packet| packet.is(from, reference, total));
        let begin = || Pieces::begin(from.clone(), reference, total);
        let mut packet = known.map_or_else(begin, |at| self.packets.swap_remove(at));
        let same = packet.parts.get(&part).map(|held| held == bytes);
        if same == Some(false) {
            self.lost += u64::from(!packet.is_whole());
            packet = begin();
        }
        if same != Some(true) {
            packet.parts.insert(part, bytes.clone());
            packet.heard = now;
            packet.asks = 0;
            packet.ask_at = now + self.patience.ask_after;
        }
        if self.packets.len() >= self.packets_max {
            self.make_room();
        }
        let added = match (same, packet.is_whole()) {
            (Some(true), _) => Added::Again,
            (Some(false) | None, false) => Added::Held,
            (Some(false) | None, true) => {
                let packet = packet.parts.values().flatten().copied().collect();
                Added::Whole { packet, reference: Some(reference) }
            }
        };
        self.packets.push(packet);
        added
    }

    /// Forgets a packet, so that its pieces may come again: one whose tag did not fit.
    pub fn forget(&mut self, from: &S, reference: u16) {
        self.packets.retain(|packet| packet.from != *from || packet.reference != reference);
    }

    /// Returns what is missing and due to be asked for. It is asked for again later, in twice the time.
    pub fn ask(&mut self, now: Timestamp) -> Vec<Ask<S>> {
        let Patience { ask_after, asks_max, .. } = self.patience;
        let due = self.packets.iter_mut().filter(|packet| packet.asks_for(asks_max, now));
        due.map(|packet| {
            packet.asks += 1;
            let wait = ask_after.saturating_mul(1 << packet.asks.min(16));
            packet.ask_at = now + wait;
            Ask { from: packet.from.clone(), repair: packet.repair() }
        })
        .collect()
    }

    /// Forgets what has waited too long; returns how many packets that never became whole.
    pub fn expire(&mut self, now: Timestamp) -> usize {
        let forget_after = self.patience.forget_after;
        let over = self.packets.extract_if(.., |packet| now.since(packet.heard) >= forget_after);
        let lost = over.filter(|packet| !packet.is_whole()).count();
        self.lost += lost as u64;
        lost
    }

    /// Returns when [`Reassembler::ask`] or [`Reassembler::expire`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let Patience { asks_max, forget_after, .. } = self.patience;
        let next = self.packets.iter().map(|packet| {
            let over = packet.heard + forget_after;
            let asks = !packet.is_whole() && packet.asks < asks_max;
            if asks { over.min(packet.ask_at) } else { over }
        });
        next.min()
    }

    /// Returns how many packets never became whole: too old, pushed out by the bound, or by another of their reference.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Gives up the packet that has been quiet for longest, one that is whole if there is any.
    fn make_room(&mut self) {
        let ages = self.packets.iter().enumerate();
        let oldest = ages.min_by_key(|(_, packet)| (!packet.is_whole(), packet.heard));
        if let Some((at, _)) = oldest {
            let packet = self.packets.swap_remove(at);
            self.lost += u64::from(!packet.is_whole());
        }
    }
}

impl<S: Eq> Pieces<S> {
    fn begin(from: S, reference: u16, total: u8) -> Self {
        let (heard, ask_at) = (Timestamp::default(), Timestamp::default());
        Self { from, reference, total, parts: BTreeMap::new(), heard, ask_at, asks: 0 }
    }

    fn is(&self, from: &S, reference: u16, total: u8) -> bool {
        self.reference == reference && self.total == total && self.from == *from
    }

    fn is_whole(&self) -> bool {
        self.parts.len() == usize::from(self.total)
    }

    fn asks_for(&self, asks_max: u8, now: Timestamp) -> bool {
        !self.is_whole() && self.asks < asks_max && now >= self.ask_at
    }

    fn repair(&self) -> Repair {
        let parts = (1..=self.total).filter(|part| !self.parts.contains_key(part)).collect();
        Repair { reference: self.reference, total: self.total, parts }
    }
}
