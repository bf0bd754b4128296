//! What a gateway heard: the bytes of a `PHYPayload` and their parts, without allocation.

use super::key::{Course, Direction, Key};
use super::{DevAddr, Eui};

/// Longest `PHYPayload`, in bytes: the length field of the radio has 8 bits.
pub const PHY_BYTES_MAX: usize = 255;

/// Why bytes are no uplink that can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than the header says, or than the shortest frame has.
    #[error("frame is too short")]
    TooShort,
    /// More bytes than a frame of its kind can have.
    #[error("frame is too long")]
    TooLong,
    /// A major version that is not LoRaWAN R1 (LoRaWAN 1.0.3 §4.2.2).
    #[error("frame has an unknown major version")]
    MajorVersion,
    /// A message type that no class A device sends to a 1.0 network.
    #[error("frame has message type {0}, which is no uplink of 1.0")]
    MessageType(u8),
    /// MAC commands both in the options and on port 0 (LoRaWAN 1.0.3 §4.3.1.6).
    #[error("frame has MAC commands in two places")]
    CommandsTwice,
}

/// A frame that a device may have sent; nothing of it is verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uplink<'a> {
    /// A device asks to join.
    Join(JoinRequest<'a>),
    /// A device sends data.
    Data(DataUp<'a>),
}

/// A request to join: LoRaWAN 1.0.3 §6.2.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinRequest<'a> {
    signed: &'a [u8],
    mic: [u8; 4],
    /// Which join server it wants.
    pub join_eui: Eui,
    /// Who asks.
    pub dev_eui: Eui,
    /// What makes this request different from all earlier ones.
    pub dev_nonce: u16,
}

impl JoinRequest<'_> {
    /// Returns whether this key signed it.
    #[must_use]
    pub fn is_signed_by(&self, app_key: &Key) -> bool {
        app_key.verifies_join(self.signed, self.mic)
    }
}

/// A data frame from a device: LoRaWAN 1.0.3 §4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "they are the bits of one octet on the air")]
pub struct DataUp<'a> {
    signed: &'a [u8],
    /// The frame's signature; it tells a repeated frame from another with the same counter.
    pub(super) mic: [u8; 4],
    /// Whether the device waits for an acknowledgement.
    pub confirmed: bool,
    /// Who sends it, as far as an address tells.
    pub dev_addr: DevAddr,
    /// Whether the network may set the device's data rate.
    pub adr: bool,
    /// Whether the device wants any downlink, to know that it is still heard.
    pub adr_ack_req: bool,
    /// Whether it acknowledges our last confirmed downlink.
    pub ack: bool,
    /// The lower half of its counter.
    pub counter: u16,
    /// MAC commands beside a payload, in the clear; at most 15 bytes.
    pub options: &'a [u8],
    /// The port, when there is a payload.
    pub port: Option<u8>,
    /// The payload, encrypted.
    pub payload: &'a [u8],
}

impl DataUp<'_> {
    fn course(&self, counter: u32) -> Course {
        Course { direction: Direction::Up, dev_addr: self.dev_addr, counter }
    }

    /// Returns whether this key signed it with this whole counter.
    #[must_use]
    pub fn is_signed_by(&self, nwk_s_key: &Key, counter: u32) -> bool {
        nwk_s_key.verifies_data(self.course(counter), self.signed, self.mic)
    }

    /// Returns the payload in the clear. Only a frame whose signature was verified has a meaning.
    #[must_use]
    pub fn decrypted(&self, key: &Key, counter: u32) -> Vec<u8> {
        let mut payload = self.payload.to_vec();
        key.crypt(self.course(counter), &mut payload);
        payload
    }
}

/// Reads an uplink.
///
/// # Errors
///
/// Says why the bytes are none; nothing is verified yet.
pub fn parse(phy: &[u8]) -> Result<Uplink<'_>, FrameError> {
    let (signed, mic) = phy.split_last_chunk::<4>().ok_or(FrameError::TooShort)?;
    let (header, rest) = signed.split_first().ok_or(FrameError::TooShort)?;
    if phy.len() > PHY_BYTES_MAX {
        return Err(FrameError::TooLong);
    }
    if header & 0b11 != 0 {
        return Err(FrameError::MajorVersion);
    }
    match header >> 5 {
        0b000 => join(signed, rest, *mic).map(Uplink::Join),
        0b010 => data(signed, rest, *mic, false).map(Uplink::Data),
        0b100 => data(signed, rest, *mic, true).map(Uplink::Data),
        other => Err(FrameError::MessageType(other)),
    }
}

fn join<'a>(signed: &'a [u8], rest: &'a [u8], mic: [u8; 4]) -> Result<JoinRequest<'a>, FrameError> {
    let (join_eui, rest) = rest.split_first_chunk::<8>().ok_or(FrameError::TooShort)?;
    let (dev_eui, rest) = rest.split_first_chunk::<8>().ok_or(FrameError::TooShort)?;
    let (nonce, rest) = rest.split_first_chunk::<2>().ok_or(FrameError::TooShort)?;
    if !rest.is_empty() {
        return Err(FrameError::TooLong);
    }
    Ok(JoinRequest {
        signed,
        mic,
        join_eui: Eui(u64::from_le_bytes(*join_eui)),
        dev_eui: Eui(u64::from_le_bytes(*dev_eui)),
        dev_nonce: u16::from_le_bytes(*nonce),
    })
}

fn data<'a>(
    signed: &'a [u8],
    rest: &'a [u8],
    mic: [u8; 4],
    confirmed: bool,
) -> Result<DataUp<'a>, FrameError> {
    let (address, rest) = rest.split_first_chunk::<4>().ok_or(FrameError::TooShort)?;
    let ([control], rest) = rest.split_first_chunk::<1>().ok_or(FrameError::TooShort)?;
    let (counter, rest) = rest.split_first_chunk::<2>().ok_or(FrameError::TooShort)?;
    let options_length = usize::from(control & 0x0F);
    let (options, rest) = rest.split_at_checked(options_length).ok_or(FrameError::TooShort)?;
    let (port, payload) = match rest.split_first() {
        Some((port, payload)) => (Some(*port), payload),
        None => (None, rest),
    };
    if port == Some(0) && !options.is_empty() {
        return Err(FrameError::CommandsTwice);
    }
    Ok(DataUp {
        signed,
        mic,
        confirmed,
        dev_addr: DevAddr(u32::from_le_bytes(*address)),
        adr: control & 0x80 != 0,
        adr_ack_req: control & 0x40 != 0,
        ack: control & 0x20 != 0,
        counter: u16::from_le_bytes(*counter),
        options,
        port,
        payload,
    })
}
