//! Items into a sealed packet, and back.

use super::bytes::{Reader, Unreadable, Writer};
use super::{
    DecodeError, Down, EncodeError, GatewayNumber, ITEMS_MAX, Key, PACKET_BYTES_MAX, Packet, Tag,
    Up,
};

/// In the high half of the first byte.
const VERSION: u8 = 1;
/// Bit of the first byte: from the hub to the gateway.
const DOWN: u8 = 1;
/// Bit of the first byte: the tag has 8 bytes.
const SHORT: u8 = 2;

/// What a packet can hold.
pub(super) trait Item: Sized {
    /// Its bit in the first byte.
    const DIRECTION: u8;

    fn kind(&self) -> u64;

    fn write(&self, body: &mut Writer) -> Result<(), EncodeError>;

    /// Reads a body whose kind is known; `None` for a kind that is not.
    fn read(kind: u64, body: Reader<'_>) -> Result<Option<Self>, Unreadable>;

    fn other(kind: u64, bytes: Vec<u8>) -> Self;
}

/// Returns a packet from a gateway to its hub as bytes.
///
/// # Errors
///
/// [`EncodeError`], when it holds more than a packet may.
pub fn seal_up(packet: &Packet<Up>, key: &Key, tag: Tag) -> Result<Vec<u8>, EncodeError> {
    seal(packet, key, tag)
}

/// Returns a packet from a hub to a gateway as bytes.
///
/// # Errors
///
/// As [`seal_up`].
pub fn seal_down(packet: &Packet<Down>, key: &Key, tag: Tag) -> Result<Vec<u8>, EncodeError> {
    seal(packet, key, tag)
}

/// Reads a gateway's packet at the hub: `key_of` returns the key of the gateway that it names.
///
/// # Errors
///
/// [`DecodeError`]. Nothing of the packet is believed before its tag fits.
pub fn open_up(
    bytes: &[u8],
    key_of: impl FnOnce(GatewayNumber) -> Option<Key>,
) -> Result<Packet<Up>, DecodeError> {
    open(bytes, key_of)
}

/// Reads the hub's packet at a gateway, with the gateway's own key.
///
/// # Errors
///
/// As [`open_up`]; another gateway's packet has a tag that does not fit.
pub fn open_down(bytes: &[u8], key: &Key) -> Result<Packet<Down>, DecodeError> {
    open(bytes, |_| Some(key.clone()))
}

/// Returns the gateway that bytes say they are from or for, without any proof; `None` where they are no packet.
#[must_use]
pub fn gateway_of(bytes: &[u8]) -> Option<GatewayNumber> {
    tag_of(bytes)?;
    let (_, rest) = bytes.split_first()?;
    Reader::new(rest).small().ok().map(GatewayNumber)
}

/// Returns the length of the tag that the first byte says; `None` where it is not of this version.
pub(super) fn tag_of(bytes: &[u8]) -> Option<Tag> {
    let first = *bytes.first()?;
    match first & !DOWN ^ VERSION << 4 {
        0 => Some(Tag::Long),
        SHORT => Some(Tag::Short),
        _ => None,
    }
}

fn seal<I: Item>(packet: &Packet<I>, key: &Key, tag: Tag) -> Result<Vec<u8>, EncodeError> {
    if packet.items.len() > ITEMS_MAX {
        return Err(EncodeError::Items(packet.items.len()));
    }
    let short = match tag {
        Tag::Long => 0,
        Tag::Short => SHORT,
    };
    let mut to = Writer::default();
    to.byte(VERSION << 4 | short | I::DIRECTION);
    to.number(packet.gateway.0.into());
    to.number(packet.number);
    for item in &packet.items {
        frame(item, &mut to)?;
    }
    let whole = key.tag(to.as_bytes());
    to.bytes(whole.get(..tag.bytes()).unwrap_or_default());
    let bytes = to.finish();
    if bytes.len() > PACKET_BYTES_MAX {
        return Err(EncodeError::Packet(bytes.len()));
    }
    Ok(bytes)
}

fn open<I: Item>(
    bytes: &[u8],
    key_of: impl FnOnce(GatewayNumber) -> Option<Key>,
) -> Result<Packet<I>, DecodeError> {
    if bytes.len() > PACKET_BYTES_MAX {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    let first = *bytes.first().ok_or(DecodeError::Truncated)?;
    let tag = tag_of(bytes).ok_or(DecodeError::Version(first))?;
    if first & DOWN != I::DIRECTION {
        return Err(DecodeError::Direction);
    }
    let end = bytes.len().checked_sub(tag.bytes()).ok_or(DecodeError::Truncated)?;
    let (signed, tag) = bytes.split_at_checked(end).ok_or(DecodeError::Truncated)?;
    let mut from = Reader::new(signed.split_first().ok_or(DecodeError::Truncated)?.1);
    let gateway = GatewayNumber(from.small()?);
    let number = from.number()?;
    let key = key_of(gateway).ok_or(DecodeError::Gateway(gateway))?;
    if !key.fits(signed, tag) {
        return Err(DecodeError::Tag);
    }
    let mut items = Vec::new();
    while !from.is_empty() {
        if items.len() == ITEMS_MAX {
            return Err(DecodeError::Items);
        }
        items.push(unframe(&mut from)?);
    }
    Ok(Packet { gateway, number, items })
}

/// Appends an item: its kind, the length of its body, its body.
pub(super) fn frame<I: Item>(item: &I, to: &mut Writer) -> Result<(), EncodeError> {
    let mut body = Writer::default();
    item.write(&mut body)?;
    to.number(item.kind());
    to.number(body.as_bytes().len() as u64);
    to.bytes(body.as_bytes());
    Ok(())
}

/// Reads an item. One whose body cannot be read stays as it is.
pub(super) fn unframe<I: Item>(from: &mut Reader<'_>) -> Result<I, Unreadable> {
    let kind = from.number()?;
    let length = from.number()?;
    let body = from.take(length)?;
    let read = I::read(kind, Reader::new(body)).unwrap_or(None);
    Ok(read.unwrap_or_else(|| I::other(kind, body.to_vec())))
}

/// Reads bytes that are one item and nothing else.
pub(super) fn only<I: Item>(bytes: &[u8]) -> Result<I, DecodeError> {
    if bytes.len() > PACKET_BYTES_MAX {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    let mut from = Reader::new(bytes);
    let item = unframe(&mut from)?;
    if from.is_empty() { Ok(item) } else { Err(DecodeError::Truncated) }
}

impl From<Unreadable> for DecodeError {
    fn from(_: Unreadable) -> Self {
        Self::Truncated
    }
}
