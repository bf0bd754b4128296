//! What the gateway remembers of one node, and its form in the store.

use super::buffer::{Buffer, Full, Reader};
use super::clock::{Anchor, LATE_S};
use super::key::{Address, Epoch, Root};
use super::orders::{Endings, ORDERS_MAX, Order, OrderError, OrderId, Orders, Waiting};
use super::planted::{self, Fault};
use super::report::Report;
use super::window::{WINDOW, Window};
use core::fmt;

/// The first byte of a stored state.
const FORMAT: u8 = 1;
/// The longest stored state.
pub const STATE_BYTES_MAX: usize = 640;
/// Readings that are remembered by name, to know them when they come again.
pub const READINGS_REMEMBERED: usize = 32;
/// Frames to a node that may leave although the state that belongs to them cannot be stored: those that warn of danger,
/// when the disk fails.
pub const UNSTORED_MAX: u32 = 32;
/// How long the question after the time waits for an answer, s.
const PROOF_EXPIRES_S: u64 = 3600;
/// Names of orders that are passed over when the gateway's memory has gone back. A node knows the order that it did last by
/// the low 16 bits of its name: with half of them passed over, none of the next looks done.
const ORDERS_PASSED: u32 = 1 << 15;

/// A key that was offered, and that the node has not spoken with yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) epoch: Epoch,
    pub(super) random: [u8; 16],
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offer({:?})", self.epoch)
    }
}

/// All that must outlive a restart. It holds keys; its `Debug` does not show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub(super) provisioned: Epoch,
    pub(super) current: Epoch,
    pub(super) offered: Option<Offer>,
    pub(super) window: Window<WINDOW>,
    pub(super) anchor: Option<Anchor>,
    pub(super) heard_at_s: Option<u64>,
    pub(super) down_next: u32,
    pub(super) revoked: bool,
    pub(super) recent: Recent,
    pub(super) orders: Orders,
}

/// Why stored bytes are no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateError {
    /// Another version of this program wrote them.
    Format(u8),
    /// They end too early, or hold what was never written.
    Damaged,
}

/// The readings that were heard last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recent {
    ids: [u32; READINGS_REMEMBERED],
    used: usize,
    next: usize,
}

impl Recent {
    const fn new() -> Self {
        Self { ids: [0; READINGS_REMEMBERED], used: 0, next: 0 }
    }

    fn known(&self) -> &[u32] {
        self.ids.get(..self.used).unwrap_or_default()
    }

    fn add(&mut self, id: u32) {
        if let Some(slot) = self.ids.get_mut(self.next) {
            *slot = id;
        }
        self.next = (self.next + 1) % READINGS_REMEMBERED;
        self.used = (self.used + 1).min(READINGS_REMEMBERED);
    }

    /// Remembers a report's readings; bit n of what is returned: whether reading n was known.
    pub(super) fn note(&mut self, report: &Report) -> u8 {
        let mut known = 0;
        for (place, reading) in report.readings().iter().enumerate() {
            if self.known().contains(&reading.id) {
                known |= 1_u8.checked_shl(u32::try_from(place).unwrap_or(0)).unwrap_or(0);
            } else {
                self.add(reading.id);
            }
        }
        known
    }
}

impl State {
    /// Returns the state of a node that was never heard.
    #[must_use]
    pub const fn begin(epoch: Epoch) -> Self {
        Self {
            provisioned: epoch,
            current: epoch,
            offered: None,
            window: Window { highest: None, seen: 0 },
            anchor: None,
            heard_at_s: None,
            down_next: 0,
            revoked: false,
            recent: Recent::new(),
            orders: Orders { waiting: [None; ORDERS_MAX], next_id: 0 },
        }
    }

    /// Returns the state in which nothing of the node counts any more, or again.
    #[must_use]
    pub const fn with_revoked(self, revoked: bool) -> Self {
        Self { revoked, ..self }
    }

    /// Returns whether the node is revoked.
    #[must_use]
    pub const fn is_revoked(&self) -> bool {
        self.revoked
    }

    /// Returns the state after the gateway's time line stood still for nobody knows how long: until the node proves it,
    /// its frames are not known to be fresh.
    #[must_use]
    pub const fn with_time_in_doubt(self) -> Self {
        match self.anchor {
            Some(anchor) => Self { anchor: Some(Anchor { proven: false, ..anchor }), ..self },
            None => self,
        }
    }

    /// Returns the state after the gateway ended, nobody knows how: no counter is used again of the at most
    /// [`UNSTORED_MAX`] frames that may have left without it.
    #[must_use]
    pub const fn after_restart(self) -> Self {
        Self { down_next: self.down_next.saturating_add(UNSTORED_MAX), ..self }
    }

    /// Returns the state after the gateway's memory went back to this one, since which at most `frames` frames left: no
    /// counter and no name of an order is used again, the orders that waited are old, and until the node proves it, its
    /// frames are not known to be fresh.
    #[must_use]
    pub const fn after_rollback(self, frames: u32) -> Self {
        let next_id = self.orders.next_id.wrapping_add(ORDERS_PASSED);
        let orders = Orders { waiting: [None; ORDERS_MAX], next_id };
        let down_next = self.down_next.saturating_add(frames);
        Self { down_next, orders, ..self }.with_time_in_doubt()
    }

    /// Returns the state in which nothing is known of how the node's seconds lie on the gateway's time line.
    #[must_use]
    pub const fn with_time_forgotten(self) -> Self {
        Self { anchor: None, heard_at_s: None, ..self }
    }

    /// Returns of two memories of one node the one that has heard more of it, with no counter that either has used.
    #[must_use]
    pub fn further(&self, other: &Self) -> Self {
        let heard = |state: &Self| (state.current.number, state.window.highest);
        let ahead = if heard(other) > heard(self) { other } else { self };
        let mut state = *ahead;
        state.down_next = self.down_next.max(other.down_next);
        state.orders.next_id = self.orders.next_id.max(other.orders.next_id);
        state
    }

    /// Returns the epoch that the node speaks with, as far as it was heard.
    #[must_use]
    pub const fn epoch(&self) -> u16 {
        self.current.number
    }

    /// Returns whether a new key is offered that the node has not spoken with.
    #[must_use]
    pub const fn is_rekeying(&self) -> bool {
        self.offered.is_some()
    }

    /// Returns the highest counter that was heard.
    #[must_use]
    pub const fn highest(&self) -> Option<u32> {
        self.window.highest
    }

    /// Returns the counter of the next frame to the node.
    #[must_use]
    pub const fn down_next(&self) -> u32 {
        self.down_next
    }

    /// Returns when the node was last heard, s on the gateway's time line.
    #[must_use]
    pub const fn heard_at_s(&self) -> Option<u64> {
        self.heard_at_s
    }

    /// Returns the orders that wait.
    pub fn orders(&self) -> impl Iterator<Item = &Waiting> {
        self.orders.iter()
    }

    /// Offers the next key; one that is offered already stays.
    pub(super) fn offer(&mut self, address: Address, random: [u8; 16]) -> Result<(), OrderError> {
        if self.offered.is_some() {
            return Ok(());
        }
        let epoch = self.current.next(address, &random).ok_or(OrderError::EpochsExhausted)?;
        self.offered = Some(Offer { epoch, random });
        if planted::is(Fault::EpochMixUp) {
            self.current = epoch;
        }
        Ok(())
    }

    /// Puts the question after the time into the queue, unless it is there and may still be answered promptly. Without
    /// room, the orders that wait are the question.
    pub(super) fn ask_for_proof(&mut self, now_s: u64, ended: &mut Endings) {
        let asked = self.orders.iter().any(|waiting| {
            let open =
                waiting.sent_s.is_none_or(|(first, _)| now_s.saturating_sub(first) <= LATE_S);
            waiting.order == Order::Time && open
        });
        if !asked && self.orders.iter().count() < ORDERS_MAX {
            let expires_at_s = now_s.saturating_add(PROOF_EXPIRES_S);
            self.orders.add(Order::Time, expires_at_s, ended).ok();
        }
    }

    /// Returns the bytes that [`State::from_bytes`] reads. They hold keys: they belong where secrets may be.
    ///
    /// # Panics
    ///
    /// Never: the longest fits.
    #[must_use]
    pub fn to_bytes(&self) -> Buffer<STATE_BYTES_MAX> {
        let mut out = Buffer::new();
        self.write(&mut out).expect("all parts at their longest are below 640: tested");
        out
    }

    fn write(&self, out: &mut Buffer<STATE_BYTES_MAX>) -> Result<(), Full> {
        out.extend(&[FORMAT, u8::from(self.revoked)])?;
        for epoch in [&self.provisioned, &self.current] {
            write_epoch(epoch, out)?;
        }
        out.push(u8::from(self.offered.is_some()))?;
        if let Some(Offer { epoch, random }) = &self.offered {
            write_epoch(epoch, out)?;
            out.extend(random)?;
        }
        out.push(u8::from(self.window.highest.is_some()))?;
        if let Some(highest) = self.window.highest {
            out.extend(&highest.to_be_bytes())?;
            out.extend(&self.window.seen.to_be_bytes())?;
        }
        out.push(u8::from(self.anchor.is_some()))?;
        if let Some(Anchor { offset, at, proven }) = self.anchor {
            out.extend(&offset.to_be_bytes())?;
            out.extend(&at.to_be_bytes())?;
            out.push(u8::from(proven))?;
        }
        out.push(u8::from(self.heard_at_s.is_some()))?;
        if let Some(heard_at_s) = self.heard_at_s {
            out.extend(&heard_at_s.to_be_bytes())?;
        }
        out.extend(&self.down_next.to_be_bytes())?;
        out.push(u8::try_from(self.recent.used).unwrap_or(0))?;
        out.push(u8::try_from(self.recent.next).unwrap_or(0))?;
        for id in self.recent.known() {
            out.extend(&id.to_be_bytes())?;
        }
        out.extend(&self.orders.next_id.to_be_bytes())?;
        out.push(u8::try_from(self.orders.iter().count()).unwrap_or(0))?;
        self.orders.iter().try_for_each(|waiting| write_waiting(waiting, out))
    }

    /// Returns the state that these bytes hold.
    ///
    /// # Errors
    ///
    /// Says that another version wrote them, or that they are damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader(bytes);
        let format = reader.byte().ok_or(StateError::Damaged)?;
        if format != FORMAT {
            return Err(StateError::Format(format));
        }
        let state = Self::read(&mut reader).filter(|_| reader.is_empty());
        state.ok_or(StateError::Damaged)
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let revoked = flag(reader)?;
        let (provisioned, current) = (read_epoch(reader)?, read_epoch(reader)?);
        let offered = if flag(reader)? {
            Some(Offer { epoch: read_epoch(reader)?, random: reader.take()? })
        } else {
            None
        };
        let window = if flag(reader)? {
            Window { highest: Some(reader.u32()?), seen: reader.u64()? }
        } else {
            Window::default()
        };
        let anchor = if flag(reader)? {
            let offset = i64::from_be_bytes(reader.take()?);
            Some(Anchor { offset, at: reader.u64()?, proven: flag(reader)? })
        } else {
            None
        };
        let heard_at_s = if flag(reader)? { Some(reader.u64()?) } else { None };
        let down_next = reader.u32()?;
        let (used, next) = (usize::from(reader.byte()?), usize::from(reader.byte()?));
        if used > READINGS_REMEMBERED || next >= READINGS_REMEMBERED {
            return None;
        }
        let mut recent = Recent { used, next, ..Recent::new() };
        for slot in recent.ids.iter_mut().take(used) {
            *slot = reader.u32()?;
        }
        let mut orders = Orders { waiting: [None; ORDERS_MAX], next_id: reader.u32()? };
        let count = usize::from(reader.byte()?);
        if count > ORDERS_MAX {
            return None;
        }
        for slot in orders.waiting.iter_mut().take(count) {
            *slot = Some(read_waiting(reader)?);
        }
        Some(Self {
            provisioned,
            current,
            offered,
            window,
            anchor,
            heard_at_s,
            down_next,
            revoked,
            recent,
            orders,
        })
    }
}

fn flag(reader: &mut Reader<'_>) -> Option<bool> {
    match reader.byte()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn write_epoch(epoch: &Epoch, out: &mut Buffer<STATE_BYTES_MAX>) -> Result<(), Full> {
    out.extend(&epoch.number.to_be_bytes())?;
    out.extend(epoch.root.secret_bytes())
}

fn read_epoch(reader: &mut Reader<'_>) -> Option<Epoch> {
    Some(Epoch { number: reader.u16()?, root: Root::new(reader.take()?) })
}

fn write_waiting(waiting: &Waiting, out: &mut Buffer<STATE_BYTES_MAX>) -> Result<(), Full> {
    let (code, seconds) = match waiting.order {
        Order::SirenOn { seconds } => (1, seconds),
        Order::SirenOff => (2, 0),
        Order::SirenTest { seconds } => (3, seconds),
        Order::Interval { seconds } => (4, seconds),
        Order::Time => (5, 0),
        // What the key is made of is in the offer.
        Order::Rekey { .. } => (6, 0),
    };
    out.extend(&waiting.id.0.to_be_bytes())?;
    out.push(code)?;
    out.extend(&u16::to_be_bytes(seconds))?;
    out.extend(&waiting.expires_at_s.to_be_bytes())?;
    out.extend(&waiting.sends.to_be_bytes())?;
    out.push(u8::from(waiting.sent_s.is_some()))?;
    if let Some((first, last)) = waiting.sent_s {
        out.extend(&first.to_be_bytes())?;
        out.extend(&last.to_be_bytes())?;
    }
    Ok(())
}

fn read_waiting(reader: &mut Reader<'_>) -> Option<Waiting> {
    let id = OrderId(reader.u32()?);
    let (code, seconds) = (reader.byte()?, reader.u16()?);
    let order = match (code, seconds) {
        (1, _) => Order::SirenOn { seconds },
        (2, 0) => Order::SirenOff,
        (3, _) => Order::SirenTest { seconds },
        (4, _) => Order::Interval { seconds },
        (5, 0) => Order::Time,
        (6, 0) => Order::Rekey { random: [0; 16] },
        _ => return None,
    };
    let (expires_at_s, sends) = (reader.u64()?, reader.u16()?);
    let sent_s = if flag(reader)? { Some((reader.u64()?, reader.u64()?)) } else { None };
    Some(Waiting { id, order, expires_at_s, sent_s, sends })
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(format) => write!(
                f,
                "stored state of a node has format {format}, which this version does not know"
            ),
            Self::Damaged => f.write_str("stored state of a node is damaged"),
        }
    }
}

impl core::error::Error for StateError {}
