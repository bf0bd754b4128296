//! Sealed blocks: readings in close to the fewest bytes, the same bytes in the store, on the wire and under the hash.
//!
//! A block gives back every reading bit by bit, and needs no configuration. `docs/formats/block.md` describes every bit.
//!
//! * A writer keeps one [`Stream`] and calls [`Stream::seal`]. Blocks mostly *continue* the one before: names, clocks,
//!   steps and habits are known, and cost nothing again. At least every 65th block *stands alone*; so does the first of
//!   a stream that begins at a [`Link`], as after a restart, and the next after [`Stream::stand_alone`].
//! * A reader keeps a [`Stream`] of its own for each writer and calls [`Stream::open`]. To read one block of many, it
//!   opens those from the last for which [`stands_alone`] is true. A block names the one that it continues, so that
//!   whoever lacks that one is told so.
//! * [`seal`] and [`open`] are for one block that stands alone: a day of a signal in a text message.
//! * [`Link`] is the chain of hashes over blocks. It is not in the block, as both ends can make it. It also names a block
//!   towards others, so that one that comes twice is known.

mod stream;
mod rows;
mod track;
mod model;
mod grid;
mod coder;
#[cfg(test)]
mod tests;

pub use stream::{CONTINUED_MAX, Stream, open, seal, stands_alone};

use crate::domain::quantity::Quantity;
use crate::domain::reading::{NodeName, Quality, Stamp};
use crate::domain::time::{Timestamp, WallClock};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Readings of a block.
pub const READINGS_MAX: usize = 16_384;
/// Signals of a block and of those that it continues.
pub const SIGNALS_MAX: usize = 1_024;
/// Bytes of a node's name.
pub const NAME_BYTES_MAX: usize = 255;

/// A reading as it was judged and stored.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The node that sent it. Its name has 1 to [`NAME_BYTES_MAX`] bytes.
    pub node: NodeName,
    /// What was measured.
    pub quantity: Quantity,
    /// Its place in the order in which the gateway judged its readings.
    pub sequence: u64,
    /// When it was judged, on the gateway's time line.
    pub at: Timestamp,
    /// Where the time line stood on the calendar, and how far that is believed.
    pub clock: WallClock,
    /// When it was measured, as far as its node said.
    pub stamp: Option<Stamp>,
    /// The value, in the quantity's own unit.
    pub value: f64,
    /// How far it can be believed.
    pub quality: Quality,
}

impl PartialEq for Reading {
    /// Values are the same where their bits are.
    fn eq(&self, other: &Self) -> bool {
        (&self.node, self.quantity, self.sequence, self.at, self.clock, self.stamp, self.quality)
            == (
                &other.node,
                other.quantity,
                other.sequence,
                other.at,
                other.clock,
                other.stamp,
                other.quality,
            )
            && self.value.to_bits() == other.value.to_bits()
    }
}

impl Eq for Reading {}

/// A block's bytes and its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// What is stored, sent and hashed.
    pub bytes: Vec<u8>,
    /// The link of the block before.
    pub previous: Link,
    /// The link of this block: [`Link::next`] of the one before.
    pub link: Link,
}

/// Why readings are not made into a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// More readings than [`READINGS_MAX`].
    #[error("{0} readings are too many for a block: at most {READINGS_MAX}")]
    Readings(usize),
    /// More signals than [`SIGNALS_MAX`].
    #[error("{0} signals are too many for a block: at most {SIGNALS_MAX}")]
    Signals(usize),
    /// A name that is empty, or longer than [`NAME_BYTES_MAX`].
    #[error("the node's name of reading {0} is empty or longer than {NAME_BYTES_MAX} bytes")]
    Name(usize),
}

/// Why bytes are no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Of another version, or no block at all.
    #[error("not a block of version 1")]
    Version,
    /// It continues another block than the last one that was read: read that one first.
    #[error("the block continues one that was not read before it, whose link begins with {0:03x}")]
    Predecessor(u16),
    /// The bytes end before the block does.
    #[error("the block is cut short")]
    Truncated,
    /// So many bytes follow the block.
    #[error("{0} bytes follow the block")]
    Trailing(usize),
    /// What no encoder writes.
    #[error("the block is damaged: {0}")]
    Corrupt(&'static str),
}

/// A link of a chain of blocks: it stands for a block and all that were before it.
///
/// It is not in the block, as both ends can make it: whoever has the link before and the bytes knows the link after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link(pub [u8; 32]);

impl Link {
    /// The link before the first block.
    pub const START: Self = Self([0; 32]);

    /// Returns the link of the block with these bytes, after this one: SHA-256 of `kengele block`, a zero byte, this
    /// link's 32 bytes and the block's.
    #[must_use]
    pub fn next(self, block: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"kengele block\0");
        hash.update(self.0);
        hash.update(block);
        Self(hash.finalize().into())
    }

    /// Returns the first 12 bits, by which a block names the one that it continues.
    const fn begins(self) -> u16 {
        let [high, low, ..] = self.0;
        (((high as u16) << 8) | low as u16) >> 4
    }
}

impl fmt::Display for Link {
    /// 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
