//! The chip link: the bus and the pins of a radio chip over a stream, for a host and a chip in two processes.
//!
//! A message is its kind, the length of what follows as 16 bits with the low byte first, and that. From the host: `0x01`
//! bytes to clock between two edges of NSS, `0x02` a pulse on NRESET, `0x03` one byte for the antenna's switch. Each is
//! answered by its kind plus `0x80`, with the bytes that came out or with nothing. Unasked, `0x90` and one byte tell the
//! pins: at the beginning, at each change, and always before the answer to what changed them, so that a host never takes
//! a busy chip for a ready one.

use embedded_hal::spi::Operation;
use thiserror::Error;

const TRANSFER: u8 = 0x01;
const RESET: u8 = 0x02;
const SWITCH: u8 = 0x03;
const ANSWER: u8 = 0x80;
const PINS: u8 = 0x90;
/// Kind and length before each message.
const HEAD: usize = 3;

/// Where the switch of an antenna stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// Neither way.
    #[default]
    Off,
    /// To the receiver.
    Receive,
    /// To the transmitter.
    Transmit,
}

/// Levels of a chip's outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// BUSY of an SX126x.
    pub busy: bool,
    /// The interrupt: DIO1 of an SX126x, DIO0 of an SX127x.
    pub irq: bool,
    /// DIO1 of an SX127x.
    pub dio1: bool,
}

/// What one end says to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Host: clock these bytes.
    Transfer(Vec<u8>),
    /// Host: a pulse on NRESET.
    Reset,
    /// Host: the antenna's switch.
    Switch(Switch),
    /// Chip: these bytes came out.
    Transferred(Vec<u8>),
    /// Chip: it was reset.
    WasReset,
    /// Chip: the switch stands.
    Switched,
    /// Chip: its pins.
    Pins(Pins),
}

/// A message that neither end says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a message of kind {kind:#04x} with {length} bytes is none of the chip link's")]
pub struct Unknown {
    /// Its kind.
    pub kind: u8,
    /// Its length.
    pub length: usize,
}

impl Message {
    /// Returns the bytes; those of a transfer beyond 65,535 are left out.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, body): (u8, &[u8]) = match self {
            Self::Transfer(mosi) => (TRANSFER, mosi),
            Self::Reset => (RESET, &[]),
            Self::Switch(Switch::Off) => (SWITCH, &[0]),
            Self::Switch(Switch::Receive) => (SWITCH, &[1]),
            Self::Switch(Switch::Transmit) => (SWITCH, &[2]),
            Self::Transferred(miso) => (TRANSFER | ANSWER, miso),
            Self::WasReset => (RESET | ANSWER, &[]),
            Self::Switched => (SWITCH | ANSWER, &[]),
            Self::Pins(pins) => {
                let bits = u8::from(pins.busy) | u8::from(pins.irq) << 1 | u8::from(pins.dio1) << 2;
                return vec![PINS, 1, 0, bits];
            }
        };
        let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
        let [low, high] = length.to_le_bytes();
        let mut out = vec![kind, low, high];
        out.extend(body.iter().take(usize::from(length)));
        out
    }

    /// Takes the first message from `unread`, if it is there whole.
    ///
    /// # Errors
    ///
    /// [`Unknown`]; the message is taken.
    pub fn take(unread: &mut Vec<u8>) -> Result<Option<Self>, Unknown> {
        let [kind, low, high, ..] = unread[..] else { return Ok(None) };
        let end = HEAD + usize::from(u16::from_le_bytes([low, high]));
        let Some(body) = unread.get(HEAD..end) else { return Ok(None) };
        let unknown = Unknown { kind, length: body.len() };
        let message = match (kind, body) {
            (TRANSFER, mosi) => Ok(Self::Transfer(mosi.to_vec())),
            (RESET, []) => Ok(Self::Reset),
            (SWITCH, [0]) => Ok(Self::Switch(Switch::Off)),
            (SWITCH, [1]) => Ok(Self::Switch(Switch::Receive)),
            (SWITCH, [2]) => Ok(Self::Switch(Switch::Transmit)),
            (kind, miso) if kind == TRANSFER | ANSWER => Ok(Self::Transferred(miso.to_vec())),
            (kind, []) if kind == RESET | ANSWER => Ok(Self::WasReset),
            (kind, []) if kind == SWITCH | ANSWER => Ok(Self::Switched),
            (PINS, [bits]) => Ok(Self::Pins(Pins {
                busy: bits & 1 != 0,
                irq: bits & 2 != 0,
                dio1: bits & 4 != 0,
            })),
            _ => Err(unknown),
        };
        unread.drain(..end);
        message.map(Some)
    }
}

/// Returns the bytes that a host clocks out for a transaction of its driver.
#[must_use]
pub fn mosi(operations: &[Operation<'_, u8>]) -> Vec<u8> {
    let mut mosi = Vec::new();
    for operation in operations {
        match operation {
            Operation::Write(bytes) => mosi.extend_from_slice(bytes),
            Operation::Read(bytes) => mosi.resize(mosi.len() + bytes.len(), 0),
            Operation::Transfer(read, write) => {
                let end = mosi.len() + read.len().max(write.len());
                mosi.extend_from_slice(write);
                mosi.resize(end, 0);
            }
            Operation::TransferInPlace(bytes) => mosi.extend_from_slice(bytes),
            // The bus takes no time here.
            Operation::DelayNs(_) => {}
        }
    }
    mosi
}

/// Gives a transaction the bytes that came back.
pub fn spread(miso: &[u8], operations: &mut [Operation<'_, u8>]) {
    let mut miso = miso.iter().copied();
    for operation in operations {
        let (bytes, more) = match operation {
            Operation::Write(bytes) => {
                miso.by_ref().take(bytes.len()).for_each(drop);
                continue;
            }
            Operation::DelayNs(_) => continue,
            Operation::Read(bytes) | Operation::TransferInPlace(bytes) => (&mut **bytes, 0),
            Operation::Transfer(read, write) => {
                let more = write.len().saturating_sub(read.len());
                (&mut **read, more)
            }
        };
        for (place, byte) in bytes.iter_mut().zip(miso.by_ref()) {
            *place = byte;
        }
        miso.by_ref().take(more).for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message() -> impl Strategy<Value = Message> {
        let switch = prop_oneof![Just(Switch::Off), Just(Switch::Receive), Just(Switch::Transmit)];
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Message::Transfer),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Message::Transferred),
            Just(Message::Reset),
            switch.prop_map(Message::Switch),
            Just(Message::WasReset),
            Just(Message::Switched),
            any::<(bool, bool, bool)>().prop_map(|(busy, irq, dio1)| Message::Pins(Pins {
                busy,
                irq,
                dio1
            })),
        ]
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            messages in prop::collection::vec(message(), 0..8),
            cut in 1_usize..40,
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(Message::to_bytes).collect();
            let (mut unread, mut taken) = (Vec::new(), Vec::new());
            for part in bytes.chunks(cut) {
                unread.extend_from_slice(part);
                while let Some(message) = Message::take(&mut unread).unwrap() {
                    taken.push(message);
                }
            }
            prop_assert!(unread.is_empty());
            prop_assert_eq!(taken, messages);
        }

        #[test]
        fn any_bytes_are_messages_or_unknown_or_not_yet_whole(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            loop {
                let before = bytes.len();
                match Message::take(&mut bytes) {
                    Ok(None) => break,
                    Ok(Some(_)) | Err(_) => prop_assert!(bytes.len() < before),
                }
            }
        }
    }
}
