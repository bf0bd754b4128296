//! An emulated chip behind a Unix socket (`wire/chip_link.rs`).

use super::Fault;
use super::chip::BusError;
use crate::wire::chip_link::{self, Message, Switch};
use embedded_hal::spi::Operation;
use embedded_hal_async::delay::DelayNs;
use lora_phy::mod_params::RadioError;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, mpsc, watch};

/// Longest wait for BUSY, and for an answer.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Answers that wait: one, because one question is asked at a time.
const ANSWERS_MAX: usize = 4;

/// The host's end of the link.
struct Line {
    write: OwnedWriteHalf,
    answers: mpsc::Receiver<Message>,
}

impl Line {
    /// Asks the chip something; a broken link is no answer, and neither is silence.
    async fn ask(&mut self, message: &Message) -> io::Result<Message> {
        self.write.write_all(&message.to_bytes()).await?;
        let answer = tokio::time::timeout(WAIT_MAX, self.answers.recv()).await;
        let answer = answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        answer.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

pub(super) struct Bus(Arc<Mutex<Line>>);

pub(super) struct Pins {
    line: Arc<Mutex<Line>>,
    levels: watch::Receiver<chip_link::Pins>,
}

/// What the chip says, to be taken in for as long as it is used.
pub(super) struct Ear {
    read: OwnedReadHalf,
    answers: mpsc::Sender<Message>,
    levels: watch::Sender<chip_link::Pins>,
}

/// Connects to an emulated chip.
pub(super) async fn connect(path: &Path) -> Result<(Bus, Pins, Ear), Fault> {
    let stream = UnixStream::connect(path).await;
    let stream = stream
        .map_err(|source| Fault::Open { what: format!("the socket {}", path.display()), source })?;
    let (read, write) = stream.into_split();
    let (answers, answers_in) = mpsc::channel(ANSWERS_MAX);
    let (levels, levels_in) = watch::channel(chip_link::Pins::default());
    let line = Arc::new(Mutex::new(Line { write, answers: answers_in }));
    let pins = Pins { line: Arc::clone(&line), levels: levels_in };
    Ok((Bus(line), pins, Ear { read, answers, levels }))
}

impl Ear {
    /// Takes in what the chip says, until the link breaks; returns why.
    pub(super) async fn listen(mut self) -> io::Error {
        let mut unread = Vec::new();
        loop {
            match Message::take(&mut unread) {
                Ok(Some(Message::Pins(pins))) => {
                    self.levels.send_replace(pins);
                    continue;
                }
                Ok(Some(answer)) => {
                    if self.answers.send(answer).await.is_err() {
                        return io::ErrorKind::BrokenPipe.into();
                    }
                    continue;
                }
                Ok(None) => {}
                Err(unknown) => return io::Error::new(io::ErrorKind::InvalidData, unknown),
            }
            match self.read.read_buf(&mut unread).await {
                Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }
}

impl Bus {
    pub(super) async fn transfer(
        &self,
        operations: &mut [Operation<'_, u8>],
    ) -> Result<(), BusError> {
        let mosi = Message::Transfer(chip_link::mosi(operations));
        let Message::Transferred(miso) = self.0.lock().await.ask(&mosi).await? else {
            return Err(io::Error::from(io::ErrorKind::InvalidData).into());
        };
        chip_link::spread(&miso, operations);
        Ok(())
    }
}

impl Pins {
    pub(super) async fn reset(&self, delay: &mut impl DelayNs) -> Result<(), RadioError> {
        let asked = self.line.lock().await.ask(&Message::Reset).await;
        asked.map_err(|_| RadioError::Reset)?;
        delay.delay_ms(5).await;
        Ok(())
    }

    pub(super) async fn ready(&mut self) -> Result<(), RadioError> {
        let ready = self.levels.wait_for(|pins| !pins.busy);
        match tokio::time::timeout(WAIT_MAX, ready).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(RadioError::Busy),
        }
    }

    pub(super) async fn interrupt(&mut self) -> Result<(), RadioError> {
        let raised = self.levels.wait_for(|pins| pins.irq || pins.dio1).await;
        raised.map(drop).map_err(|_| RadioError::DIO1)
    }

    pub(super) async fn switch(&self, receive: bool, transmit: bool) -> Result<(), RadioError> {
        let switch = match (receive, transmit) {
            (_, true) => Switch::Transmit,
            (true, false) => Switch::Receive,
            (false, false) => Switch::Off,
        };
        let asked = self.line.lock().await.ask(&Message::Switch(switch)).await;
        asked.map(drop).map_err(|_| RadioError::RfSwitchRx)
    }
}
