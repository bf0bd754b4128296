//! The chip link's far end: a chip's bus and pins over a Unix stream socket, for a host in another process.
//!
//! A message is its kind, the length of what follows as 16 bits with the low byte first, and that. From the host:
//! `0x01` bytes to clock between two edges of NSS, `0x02` a pulse on NRESET, `0x03` one byte for the antenna's switch
//! (0 off, 1 receive, 2 transmit). Each is answered by its kind plus `0x80`, with the bytes that came out or with
//! nothing. Unasked, `0x90` and one byte tell the pins: bit 0 BUSY, bit 1 the interrupt, bit 2 DIO1 of an SX127x; at
//! the beginning, at each change, and always before the answer to what changed them, so that a host never takes a busy
//! chip for a ready one.

use super::{Chip, Pins, Switch};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

const TRANSFER: u8 = 0x01;
const RESET: u8 = 0x02;
const SWITCH: u8 = 0x03;
const ANSWER: u8 = 0x80;
const PINS: u8 = 0x90;

/// Kind and length before each message.
const HEAD: usize = 3;

/// Serves a chip to one host after the other, for ever: a host that goes leaves the chip as it is, like a real one's.
///
/// # Errors
///
/// When no connection can be taken. What one host does wrong ends its own connection alone.
///
/// # Cancel safety
///
/// A command that has been taken has reached the chip; its answer may be lost.
pub async fn serve(listener: &UnixListener, chip: &Chip) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        if let Err(error) = converse(stream, chip).await {
            tracing::debug!(%error, "chip link ended");
        }
    }
}

/// Serves a chip to one host, until it hangs up.
///
/// # Errors
///
/// When the connection breaks, or the host says what no host of a chip says.
///
/// # Cancel safety
///
/// As [`serve`].
pub async fn converse(mut stream: UnixStream, chip: &Chip) -> io::Result<()> {
    // At most one message and what was read behind it: a length has 16 bits, and nothing more is read while one is
    // whole.
    let mut unread = Vec::new();
    let mut told = chip.pins();
    stream.write_all(&message(PINS, &[bits(told)])).await?;
    loop {
        while let Some((kind, bytes)) = split(&mut unread) {
            let answer = obey(chip, kind, &bytes)?;
            let mut out = Vec::new();
            let pins = chip.pins();
            if pins != told {
                told = pins;
                out.extend(message(PINS, &[bits(pins)]));
            }
            out.extend(message(kind | ANSWER, &answer));
            stream.write_all(&out).await?;
        }
        tokio::select! {
            biased;
            pins = chip.wait_for(|pins| pins != told) => {
                told = pins;
                stream.write_all(&message(PINS, &[bits(pins)])).await?;
            }
            read = stream.read_buf(&mut unread) => {
                if read? == 0 {
                    return Ok(());
                }
            }
        }
    }
}

fn message(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let [low, high] = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes();
    let mut out = vec![kind, low, high];
    out.extend(bytes.iter().take(usize::from(u16::MAX)));
    out
}

/// Takes the first message that is there whole.
fn split(unread: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let [kind, low, high, ..] = unread[..] else { return None };
    let end = HEAD + usize::from(u16::from_le_bytes([low, high]));
    let bytes = unread.get(HEAD..end)?.to_vec();
    unread.drain(..end);
    Some((kind, bytes))
}

fn bits(pins: Pins) -> u8 {
    u8::from(pins.busy) | (u8::from(pins.irq) << 1) | (u8::from(pins.dio1) << 2)
}

fn obey(chip: &Chip, kind: u8, bytes: &[u8]) -> io::Result<Vec<u8>> {
    match (kind, bytes) {
        (TRANSFER, mosi) => return Ok(chip.transfer(mosi)),
        (RESET, []) => chip.reset(),
        (SWITCH, [0]) => chip.set_switch(Switch::Off),
        (SWITCH, [1]) => chip.set_switch(Switch::Receive),
        (SWITCH, [2]) => chip.set_switch(Switch::Transmit),
        (kind, bytes) => {
            let length = bytes.len();
            let fault =
                format!("a message of kind {kind:#04x} with {length} bytes is none of a host's");
            return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
        }
    }
    Ok(Vec::new())
}
