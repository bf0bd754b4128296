//! One kind of bus and pins for the driver, whatever they are made of.

use super::{linked, wired};
use embedded_hal::spi::{ErrorKind, ErrorType, Operation};
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::spi::SpiDevice;
use lora_phy::mod_params::RadioError;
use lora_phy::mod_traits::InterfaceVariant;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Which chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chip {
    /// An SX1261: 15 dBm at the most.
    Sx1261,
    /// An SX1262 or SX1268: 22 dBm at the most.
    Sx1262,
    /// An SX1276, 1277 or 1278; 17 dBm at the most, because the driver's arithmetic overflows beyond.
    Sx1276,
}

/// How a chip's board is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circuit {
    /// Which chip.
    pub chip: Chip,
    /// DIO2 of an SX126x turns the antenna.
    pub dio2_switch: bool,
    /// Voltage of a TCXO on DIO3 of an SX126x, mV.
    pub tcxo_mv: Option<u16>,
    /// Most that the chip may be told, dBm.
    pub power_max_dbm: i32,
    /// What an amplifier behind the chip adds, dB.
    pub amplifier_db: i32,
}

/// A bus that does not work.
#[derive(Debug)]
pub(super) struct BusError;

impl From<io::Error> for BusError {
    fn from(error: io::Error) -> Self {
        // The driver says no more than that the bus failed.
        tracing::debug!(%error, "the radio's bus failed");
        Self
    }
}

impl embedded_hal::spi::Error for BusError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// A chip's bus.
pub(super) enum Bus {
    Wired(wired::Bus),
    Linked(linked::Bus),
}

impl ErrorType for Bus {
    type Error = BusError;
}

impl SpiDevice<u8> for Bus {
    async fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), BusError> {
        match self {
            Self::Wired(bus) => bus.transfer(operations),
            Self::Linked(bus) => bus.transfer(operations).await,
        }
    }
}

/// A chip's pins.
pub(super) enum Pins {
    Wired(Box<wired::Pins>),
    Linked(linked::Pins),
}

/// Ends the listening of a driver in order: it may not be dropped in the middle of an interrupt.
#[derive(Debug, Default)]
pub(super) struct Interruption {
    wanted: Notify,
    /// The driver listens; at no other time is it interrupted.
    listens: AtomicBool,
}

impl Interruption {
    pub(super) fn ask(&self) {
        self.wanted.notify_one();
    }

    pub(super) fn set_listens(&self, listens: bool) {
        self.listens.store(listens, Ordering::Relaxed);
    }
}

/// Pins of a chip whose listening can be ended.
pub(super) struct Interruptible {
    pub(super) pins: Pins,
    pub(super) interruption: Arc<Interruption>,
}

impl InterfaceVariant for Interruptible {
    async fn reset(&mut self, delay: &mut impl DelayNs) -> Result<(), RadioError> {
        match &mut self.pins {
            Pins::Wired(pins) => pins.reset(delay).await,
            Pins::Linked(pins) => pins.reset(delay).await,
        }
    }

    async fn wait_on_busy(&mut self) -> Result<(), RadioError> {
        match &mut self.pins {
            Pins::Wired(pins) => pins.ready().await,
            Pins::Linked(pins) => pins.ready().await,
        }
    }

    async fn await_irq(&mut self) -> Result<(), RadioError> {
        let interruption = Arc::clone(&self.interruption);
        let interrupt = async {
            match &mut self.pins {
                Pins::Wired(pins) => pins.interrupt().await,
                Pins::Linked(pins) => pins.interrupt().await,
            }
        };
        if !interruption.listens.load(Ordering::Relaxed) {
            return interrupt.await;
        }
        tokio::select! {
            biased;
            done = interrupt => done,
            () = interruption.wanted.notified() => Err(RadioError::Irq),
        }
    }

    async fn enable_rf_switch_rx(&mut self) -> Result<(), RadioError> {
        match &mut self.pins {
            Pins::Wired(pins) => pins.switch(true, false),
            Pins::Linked(pins) => pins.switch(true, false).await,
        }
    }

    async fn enable_rf_switch_tx(&mut self) -> Result<(), RadioError> {
        match &mut self.pins {
            Pins::Wired(pins) => pins.switch(false, true),
            Pins::Linked(pins) => pins.switch(false, true).await,
        }
    }

    async fn disable_rf_switch(&mut self) -> Result<(), RadioError> {
        match &mut self.pins {
            Pins::Wired(pins) => pins.switch(false, false),
            Pins::Linked(pins) => pins.switch(false, false).await,
        }
    }
}
