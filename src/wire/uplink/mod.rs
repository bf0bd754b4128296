//! What a gateway and its hub say to each other: packets of items, the same bytes whatever carries them.
//!
//! * [`seal_up`] and [`open_up`] are for what a gateway says ([`Up`]), [`seal_down`] and [`open_down`] for what its hub
//!   says ([`Down`]). A [`Packet`] carries its own proof, the tag by the gateway's [`Key`]: no carrier is trusted.
//! * A hub answers a packet by its number and its [`Mark`], once all its items are durable. Whoever has the answer
//!   knows that these very bytes arrived, whatever other packet ever had the same number.
//! * Times are on the gateway's own time line; [`Boot`] lays it on the calendar, for what was sent before, too.
//! * An [`Up::Alert`] is short by the [`Book`], which the hub has to know to expand it.
//! * Items of kinds that a reader does not know, or cannot read, come as [`Other`]: it goes on with the next one.
//! * [`segments`] cuts packets into text messages; [`mod@file`] lines them up in a file on a stick.
//!
//! `docs/formats/uplink.md` describes every byte.

mod packet;
mod key;
mod up;
mod latest;
mod book;
mod alert;
mod down;
mod bytes;
pub mod segments;
pub mod file;
#[cfg(test)]
mod tests;

pub use alert::{About, ExpandError, ShortAlert};
pub use book::{BOOK_BYTES_MAX, Book, BookId, BookRule, BookSignal};
pub use bytes::TEXT_BYTES_MAX;
pub use down::{Answers, Down, Missing, Refusal, Refused};
pub use key::Key;
pub use latest::Latest;
pub use packet::{gateway_of, open_down, open_up, seal_down, seal_up};
pub use segments::Repair;
pub use up::{
    Block, BlockId, Boot, Ended, Ending, Faults, Gone, Health, Outcome, Up, VERSION_BYTES_MAX,
};

/// Bytes of a packet.
pub const PACKET_BYTES_MAX: usize = 256 * 1024;
/// Items of a packet.
pub const ITEMS_MAX: usize = 1_024;
/// What a packet has beside its items, at the most: first byte, gateway, number and tag.
pub const OVERHEAD_BYTES_MAX: usize = 1 + 5 + 10 + 16;
/// Bytes of a sealed block that a packet of its own can carry.
pub const BLOCK_BYTES_MAX: usize = PACKET_BYTES_MAX - OVERHEAD_BYTES_MAX - 32;

/// The number that a hub gave a gateway when it enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayNumber(pub u32);

/// What is sent at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet<Item> {
    /// The gateway that sends it, or that it is for.
    pub gateway: GatewayNumber,
    /// Counts up in each direction. It is good for finding a packet again, and for nothing else.
    pub number: u64,
    /// At most [`ITEMS_MAX`].
    pub items: Vec<Item>,
}

/// How long a tag is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tag {
    /// 16 bytes.
    Long,
    /// 8 bytes: for text messages.
    Short,
}

/// The first 8 bytes of a packet's tag: it stands for the packet's very bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub [u8; 8]);

/// An item of a kind that this version does not know, or whose body it cannot read: a later version's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Its kind.
    pub kind: u64,
    /// Its body.
    pub bytes: Vec<u8>,
}

/// Why something is not made into a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// More bytes than [`PACKET_BYTES_MAX`].
    #[error("{0} bytes are too many for a packet: at most {PACKET_BYTES_MAX}")]
    Packet(usize),
    /// More items than [`ITEMS_MAX`].
    #[error("{0} items are too many for a packet: at most {ITEMS_MAX}")]
    Items(usize),
    /// A name or another text is too long.
    #[error("a text of {bytes} bytes is too long for an item: at most {bytes_max}")]
    Text {
        /// Its bytes.
        bytes: usize,
        /// Most bytes.
        bytes_max: usize,
    },
    /// A time or duration that items cannot tell: not of whole milliseconds, or too far away.
    #[error("a time or duration is not of whole milliseconds, or too long for an item")]
    Time,
    /// A rule book whose rules alone take more than [`BOOK_BYTES_MAX`].
    #[error("the rules' names take {0} bytes, too many for a dictionary: at most {BOOK_BYTES_MAX}")]
    Book(usize),
}

/// Why bytes are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than [`PACKET_BYTES_MAX`].
    #[error("{0} bytes are too many for a packet: at most {PACKET_BYTES_MAX}")]
    TooLong(usize),
    /// Of another version, or no packet at all: its first byte.
    #[error("not a packet of version 1: it begins with {0:02x}")]
    Version(u8),
    /// It goes the other way.
    #[error("the packet is of the other direction")]
    Direction,
    /// It ends in the middle.
    #[error("the packet is cut short")]
    Truncated,
    /// Nobody knows that gateway's key.
    #[error("gateway {} is not known", .0.0)]
    Gateway(GatewayNumber),
    /// Its tag is not by the gateway's key: forged, damaged, or no packet at all.
    #[error("the packet's tag is not by the gateway's key")]
    Tag,
    /// More items than [`ITEMS_MAX`].
    #[error("the packet has more items than {ITEMS_MAX}")]
    Items,
}
