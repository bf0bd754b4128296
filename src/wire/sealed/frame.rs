//! The frame on the air: header, node, low bits of the counter, ciphertext, tag.

use super::buffer::Buffer;
use super::key::{Keys, LinkKey};
use aes::Aes128;
use ccm::aead::array::ArraySize;
use ccm::aead::{AeadInOut, KeyInit, Tag};
use ccm::consts::{U6, U8, U13};
use ccm::{Ccm, TagSize};
use core::fmt;

/// The longest frame: LoRa's length is one byte.
pub const FRAME_BYTES_MAX: usize = 255;
/// Bytes of a frame beside its payload, in either direction.
pub const OVERHEAD_BYTES: usize = 12;
/// The longest payload.
pub const PAYLOAD_BYTES_MAX: usize = FRAME_BYTES_MAX - OVERHEAD_BYTES;

/// Bits of the counter on the air, from the node.
pub(super) const UP_BITS: u32 = 24;
/// Bits of the counter on the air, to the node.
pub(super) const DOWN_BITS: u32 = 8;

const VERSION: u8 = 1;
const UP_HEADER_BYTES: usize = 6;
const DOWN_HEADER_BYTES: usize = 4;

/// A frame.
pub type Frame = Buffer<FRAME_BYTES_MAX>;
/// The bytes inside a frame, in the clear.
pub type Payload = Buffer<PAYLOAD_BYTES_MAX>;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Readings.
    Telemetry,
    /// Readings that cannot wait.
    Alarm,
    /// How the node is; the first frame after a start.
    Health,
    /// Up: an order's outcome. Down: readings are safe.
    Ack,
    /// An order.
    Command,
    /// The time.
    Time,
    /// A new key.
    Rekey,
}

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the node.
    Up,
    /// To the node.
    Down,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Shorter than an empty frame, or longer than LoRa allows.
    Length(usize),
    /// Another version.
    Version(u8),
    /// The type that is kept for later.
    ReservedType,
    /// A type that never goes this way.
    WrongWay(Kind, Direction),
}

/// A payload that does not fit a frame, by its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong(pub usize);

/// A frame's parts. Nothing in it is true before it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// What it is for.
    pub kind: Kind,
    /// Which way it goes.
    pub direction: Direction,
    /// Whether an acknowledgement is asked for.
    pub ack_wanted: bool,
    /// The key phase: whether the key's epoch is odd.
    pub odd_epoch: bool,
    /// The node that speaks, or that is spoken to.
    pub node: u16,
    /// The counter's low bits: 24 up, 8 down.
    pub counter_low: u32,
    header: &'a [u8],
    ciphertext: &'a [u8],
    tag: &'a [u8],
}

/// What a frame is to be, for sealing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain<'a> {
    pub(super) kind: Kind,
    pub(super) direction: Direction,
    pub(super) ack_wanted: bool,
    pub(super) counter: u32,
    pub(super) payload: &'a [u8],
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Telemetry => 0,
            Self::Alarm => 1,
            Self::Health => 2,
            Self::Ack => 3,
            Self::Command => 4,
            Self::Time => 5,
            Self::Rekey => 6,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Telemetry,
            1 => Self::Alarm,
            2 => Self::Health,
            3 => Self::Ack,
            4 => Self::Command,
            5 => Self::Time,
            6 => Self::Rekey,
            _ => return None,
        })
    }

    const fn goes(self, direction: Direction) -> bool {
        match (self, direction) {
            (Self::Ack, _)
            | (Self::Telemetry | Self::Alarm | Self::Health, Direction::Up)
            | (Self::Command | Self::Time | Self::Rekey, Direction::Down) => true,
            (Self::Telemetry | Self::Alarm | Self::Health, Direction::Down)
            | (Self::Command | Self::Time | Self::Rekey, Direction::Up) => false,
        }
    }
}

/// Takes a frame apart.
///
/// # Errors
///
/// Says why the bytes are no frame of this version.
pub fn parse(bytes: &[u8]) -> Result<Parts<'_>, FrameError> {
    let length = FrameError::Length(bytes.len());
    let [first, rest @ ..] = bytes else { return Err(length) };
    if bytes.len() < OVERHEAD_BYTES || bytes.len() > FRAME_BYTES_MAX {
        return Err(length);
    }
    if first >> 6 != VERSION {
        return Err(FrameError::Version(first >> 6));
    }
    let kind = Kind::from_code((first >> 3) & 7).ok_or(FrameError::ReservedType)?;
    let direction = if first & 1 == 0 { Direction::Up } else { Direction::Down };
    if !kind.goes(direction) {
        return Err(FrameError::WrongWay(kind, direction));
    }
    let (node, counter_low, header_bytes, tag_bytes) = match (direction, rest) {
        (Direction::Up, [node_high, node_low, a, b, c, ..]) => {
            let low = u32::from_be_bytes([0, *a, *b, *c]);
            (u16::from_be_bytes([*node_high, *node_low]), low, UP_HEADER_BYTES, 6)
        }
        (Direction::Down, [node_high, node_low, low, ..]) => {
            (u16::from_be_bytes([*node_high, *node_low]), u32::from(*low), DOWN_HEADER_BYTES, 8)
        }
        (Direction::Up | Direction::Down, _) => return Err(length),
    };
    let (header, body) = bytes.split_at_checked(header_bytes).ok_or(length)?;
    let cut = body.len().checked_sub(tag_bytes).ok_or(length)?;
    let (ciphertext, tag) = body.split_at_checked(cut).ok_or(length)?;
    Ok(Parts {
        kind,
        direction,
        ack_wanted: first & 2 != 0,
        odd_epoch: first & 4 != 0,
        node,
        counter_low,
        header,
        ciphertext,
        tag,
    })
}

impl Parts<'_> {
    /// Returns the first of these counters under which the frame was sealed with these keys, and the payload.
    pub(super) fn open(
        &self,
        keys: &Keys,
        counters: impl Iterator<Item = u32>,
    ) -> Option<(u32, Payload)> {
        match self.direction {
            Direction::Up => self.open_by(&cipher::<U6>(&keys.up), keys, counters),
            Direction::Down => self.open_by(&cipher::<U8>(&keys.down), keys, counters),
        }
    }

    fn open_by<M: ArraySize + TagSize>(
        &self,
        cipher: &Cipher<M>,
        keys: &Keys,
        mut counters: impl Iterator<Item = u32>,
    ) -> Option<(u32, Payload)> {
        let first = *self.header.first()?;
        let tag = Tag::<Cipher<M>>::try_from(self.tag).ok()?;
        counters.find_map(|counter| {
            let nonce = nonce(first, keys, counter).into();
            let mut payload = Payload::of(self.ciphertext).ok()?;
            let bytes = payload.as_mut_slice().into();
            cipher.decrypt_inout_detached(&nonce, self.header, bytes, &tag).ok()?;
            Some((counter, payload))
        })
    }
}

/// Seals a payload. The caller sees to it that no counter is ever used twice under one key.
pub(super) fn seal(keys: &Keys, plain: &Plain<'_>) -> Result<Frame, TooLong> {
    let too_long = |_| TooLong(plain.payload.len());
    let flag = |set: bool, bit: u8| u8::from(set) << bit;
    let down = plain.direction == Direction::Down;
    let first = VERSION << 6
        | plain.kind.code() << 3
        | flag(keys.epoch & 1 == 1, 2)
        | flag(plain.ack_wanted, 1)
        | flag(down, 0);
    let [node_high, node_low] = keys.address.node.to_be_bytes();
    let [_, a, b, c] = plain.counter.to_be_bytes();
    let header: &[u8] = match plain.direction {
        Direction::Up => &[first, node_high, node_low, a, b, c],
        Direction::Down => &[first, node_high, node_low, c],
    };
    let nonce = nonce(first, keys, plain.counter);
    let mut payload = Payload::of(plain.payload).map_err(too_long)?;
    let mut frame = Frame::of(header).map_err(too_long)?;
    let bytes = payload.as_mut_slice();
    let tag: &[u8] = match plain.direction {
        Direction::Up => &close::<U6>(&keys.up, &nonce, header, bytes),
        Direction::Down => &close::<U8>(&keys.down, &nonce, header, bytes),
    };
    frame.extend(&payload).and_then(|()| frame.extend(tag)).map_err(too_long)?;
    Ok(frame)
}

/// Returns the nonce: header, network, node, epoch, whole counter. It never comes twice under one key.
fn nonce(first: u8, keys: &Keys, counter: u32) -> [u8; 13] {
    let [n0, n1, n2, n3] = keys.address.net.to_be_bytes();
    let [d0, d1] = keys.address.node.to_be_bytes();
    let [e0, e1] = keys.epoch.to_be_bytes();
    let [c0, c1, c2, c3] = counter.to_be_bytes();
    [first, n0, n1, n2, n3, d0, d1, e0, e1, c0, c1, c2, c3]
}

type Cipher<M> = Ccm<Aes128, M, U13>;

fn cipher<M: ArraySize + TagSize>(key: &LinkKey) -> Cipher<M> {
    Cipher::<M>::new(&(*key.bytes()).into())
}

fn close<M: ArraySize + TagSize>(
    key: &LinkKey,
    nonce: &[u8; 13],
    aad: &[u8],
    bytes: &mut [u8],
) -> Tag<Cipher<M>> {
    cipher::<M>(key)
        .encrypt_inout_detached(&(*nonce).into(), aad, bytes.into())
        .expect("a payload of 243 bytes is below CCM's 65,535 with L = 2")
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(bytes) => {
                write!(f, "frame has {bytes} bytes, not {OVERHEAD_BYTES} to {FRAME_BYTES_MAX}")
            }
            Self::Version(version) => {
                write!(f, "frame has version {version}; this program knows {VERSION}")
            }
            Self::ReservedType => f.write_str("frame has type 7, which is kept for later"),
            Self::WrongWay(kind, direction) => {
                write!(f, "frame of type {kind:?} never goes {direction:?}")
            }
        }
    }
}

impl core::error::Error for FrameError {}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "payload has {} bytes, more than {PAYLOAD_BYTES_MAX}", self.0)
    }
}

impl core::error::Error for TooLong {}
