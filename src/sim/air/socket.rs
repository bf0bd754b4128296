//! The chip link's far end: a chip's bus and pins over a Unix stream socket, for a host in another process.

use super::Chip;
use crate::wire::chip_link::Message;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

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
    stream.write_all(&Message::Pins(told).to_bytes()).await?;
    loop {
        while let Some(message) = Message::take(&mut unread).map_err(invalid)? {
            let answer = obey(chip, message)?;
            let mut out = Vec::new();
            let pins = chip.pins();
            if pins != told {
                told = pins;
                out.extend(Message::Pins(pins).to_bytes());
            }
            out.extend(answer.to_bytes());
            stream.write_all(&out).await?;
        }
        tokio::select! {
            biased;
            pins = chip.wait_for(|pins| pins != told) => {
                told = pins;
                stream.write_all(&Message::Pins(pins).to_bytes()).await?;
            }
            read = stream.read_buf(&mut unread) => {
                if read? == 0 {
                    return Ok(());
                }
            }
        }
    }
}

fn invalid(fault: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

fn obey(chip: &Chip, message: Message) -> io::Result<Message> {
    match message {
        Message::Transfer(mosi) => Ok(Message::Transferred(chip.transfer(&mosi))),
        Message::Reset => {
            chip.reset();
            Ok(Message::WasReset)
        }
        Message::Switch(switch) => {
            chip.set_switch(switch);
            Ok(Message::Switched)
        }
        Message::Transferred(_) | Message::WasReset | Message::Switched | Message::Pins(_) => {
            Err(invalid("a host says what only a chip says"))
        }
    }
}
