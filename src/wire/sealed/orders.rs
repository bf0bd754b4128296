//! What a node is still to be told: a bounded queue, one order at a time, each again until it is acknowledged or expires.

use super::frame::Kind;
use core::fmt;

/// Orders that wait for one node.
pub const ORDERS_MAX: usize = 8;
/// A node that always listens is told again after so long, s, then after twice that, and so on.
const AGAIN_S: u64 = 10;
/// The longest wait between two repetitions, s: of an order about a siren, and of any other.
const AGAIN_S_MAX: [u64; 2] = [60, 600];

/// What the gateway wants of a node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Sound the siren for so long, s.
    SirenOn {
        /// 1 to 65,535.
        seconds: u16,
    },
    /// Silence the siren.
    SirenOff,
    /// Sound the siren as a test.
    SirenTest {
        /// 1 to 65,535.
        seconds: u16,
    },
    /// Report so often, s.
    Interval {
        /// 1 to 65,535.
        seconds: u16,
    },
    /// Hear the time. A prompt answer also proves that the node's frames are fresh.
    Time,
    /// Take a new key.
    Rekey {
        /// 16 fresh random bytes.
        random: [u8; 16],
    },
}

impl Order {
    /// Returns whether it speaks of a siren: such an order goes first, and replaces those before it.
    #[must_use]
    pub const fn is_siren(&self) -> bool {
        match self {
            Self::SirenOn { .. } | Self::SirenOff | Self::SirenTest { .. } => true,
            Self::Interval { .. } | Self::Time | Self::Rekey { .. } => false,
        }
    }

    /// Returns whether it warns of danger, and may use airtime that is held back for that.
    #[must_use]
    pub const fn is_danger(&self) -> bool {
        match self {
            Self::SirenOn { .. } => true,
            Self::SirenOff
            | Self::SirenTest { .. }
            | Self::Interval { .. }
            | Self::Time
            | Self::Rekey { .. } => false,
        }
    }

    /// Returns whether `later` makes this one pointless.
    fn is_replaced_by(&self, later: &Self) -> bool {
        match later {
            Self::SirenOn { .. } | Self::SirenOff => self.is_siren(),
            // A test never takes the place of the real thing.
            Self::SirenTest { .. } => matches!(self, Self::SirenTest { .. }),
            Self::Interval { .. } => matches!(self, Self::Interval { .. }),
            Self::Time => matches!(self, Self::Time),
            Self::Rekey { .. } => matches!(self, Self::Rekey { .. }),
        }
    }

    /// Returns the type of the frame that carries it.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::SirenOn { .. }
            | Self::SirenOff
            | Self::SirenTest { .. }
            | Self::Interval { .. } => Kind::Command,
            Self::Time => Kind::Time,
            Self::Rekey { .. } => Kind::Rekey,
        }
    }
}

/// Shows no key material.
impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SirenOn { seconds } => write!(f, "siren on for {seconds} s"),
            Self::SirenOff => f.write_str("siren off"),
            Self::SirenTest { seconds } => write!(f, "siren test for {seconds} s"),
            Self::Interval { seconds } => write!(f, "interval {seconds} s"),
            Self::Time => f.write_str("time"),
            Self::Rekey { .. } => f.write_str("new key"),
        }
    }
}

/// An order's name at the gateway. On the air go its low 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u32);

impl OrderId {
    pub(super) const fn on_air(self) -> u16 {
        let [.., high, low] = self.0.to_be_bytes();
        u16::from_be_bytes([high, low])
    }
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The node did it.
    Done,
    /// The node has no such thing.
    Refused,
    /// It expired before the node said that it did it; the node may have done it.
    Expired,
    /// A later order took its place; the node may have done it.
    Replaced,
}

/// An order that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its name.
    pub id: OrderId,
    /// What was wanted.
    pub order: Order,
    /// What became of it.
    pub end: End,
}

/// The orders that ended in one step: never more than can wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endings([Option<Ended>; ORDERS_MAX]);

impl Endings {
    /// Returns them.
    pub fn iter(&self) -> impl Iterator<Item = &Ended> {
        self.0.iter().flatten()
    }

    fn add(&mut self, waiting: Waiting, end: End) {
        if let Some(free) = self.0.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(Ended { id: waiting.id, order: waiting.order, end });
        }
    }
}

/// An order that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its name.
    pub id: OrderId,
    /// What is wanted.
    pub order: Order,
    /// When it has lost its sense, s on the gateway's time line.
    pub expires_at_s: u64,
    /// When it was first and last sent, s.
    pub sent_s: Option<(u64, u64)>,
    /// How often it was sent.
    pub sends: u16,
}

impl Waiting {
    /// Returns when a node that always listens is to be told.
    fn due_at_s(&self) -> u64 {
        let Some((_, last)) = self.sent_s else { return 0 };
        let doublings = u32::from(self.sends.saturating_sub(1)).min(10);
        let [siren, other] = AGAIN_S_MAX;
        let most = if self.order.is_siren() { siren } else { other };
        last.saturating_add((AGAIN_S << doublings).min(most))
    }
}

/// Why an order is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderError {
    /// So many wait already: [`ORDERS_MAX`].
    Full,
    /// The node never listens.
    NeverListens,
    /// The node is revoked.
    Revoked,
    /// The last of 65,536 keys is in use: provision the node again.
    EpochsExhausted,
    /// It is to last 0 seconds.
    NoTime,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Orders {
    pub(super) waiting: [Option<Waiting>; ORDERS_MAX],
    pub(super) next_id: u32,
}

impl Orders {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter().flatten()
    }

    pub(super) fn add(
        &mut self,
        order: Order,
        expires_at_s: u64,
        endings: &mut Endings,
    ) -> Result<OrderId, OrderError> {
        self.end_where(|old| old.order.is_replaced_by(&order), End::Replaced, endings);
        let id = OrderId(self.next_id);
        let free = self.waiting.iter_mut().find(|slot| slot.is_none());
        *free.ok_or(OrderError::Full)? =
            Some(Waiting { id, order, expires_at_s, sent_s: None, sends: 0 });
        self.next_id = self.next_id.wrapping_add(1);
        Ok(id)
    }

    /// Returns the order whose turn it is: sirens first, else the oldest.
    pub(super) fn first(&mut self) -> Option<&mut Waiting> {
        self.waiting.iter_mut().flatten().min_by_key(|w| (!w.order.is_siren(), w.id))
    }

    pub(super) fn due_at_s(&self) -> Option<u64> {
        let first = self.iter().min_by_key(|w| (!w.order.is_siren(), w.id))?;
        Some(first.due_at_s())
    }

    pub(super) fn expires_at_s(&self) -> Option<u64> {
        self.iter().map(|waiting| waiting.expires_at_s).min()
    }

    pub(super) fn find(&mut self, number: u16) -> Option<&mut Waiting> {
        self.waiting.iter_mut().flatten().find(|w| w.id.on_air() == number && w.sends > 0)
    }

    pub(super) fn expire(&mut self, now_s: u64, endings: &mut Endings) {
        self.end_where(|waiting| waiting.expires_at_s <= now_s, End::Expired, endings);
    }

    pub(super) fn end_where(
        &mut self,
        ends: impl Fn(&Waiting) -> bool,
        end: End,
        endings: &mut Endings,
    ) {
        let mut left = [None; ORDERS_MAX];
        let mut free = left.iter_mut();
        for waiting in self.waiting.iter().flatten() {
            if ends(waiting) {
                endings.add(*waiting, end);
            } else if let Some(slot) = free.next() {
                *slot = Some(*waiting);
            }
        }
        self.waiting = left;
    }
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "{ORDERS_MAX} orders wait for the node already"),
            Self::NeverListens => f.write_str("node never listens"),
            Self::Revoked => f.write_str("node is revoked"),
            Self::EpochsExhausted => f.write_str("node has used all keys: provision it again"),
            Self::NoTime => f.write_str("order is to last 0 seconds"),
        }
    }
}

impl core::error::Error for OrderError {}
