//! A chip on this machine's own bus and lines: Linux's spidev, and the GPIO character device.
//!
//! No hardware was at hand when this was written. In the tests it runs as it is, with `tests/peers/pi.c` in place of the
//! kernel and an emulated chip behind that: calls and edges are right, wires and levels are not tried.

use super::Fault;
use super::chip::BusError;
use embedded_hal::spi::Operation;
use embedded_hal_async::delay::DelayNs;
use gpiocdev::Request;
use gpiocdev::line::{EdgeDetection, Value};
use gpiocdev::tokio::AsyncRequest;
use lora_phy::mod_params::RadioError;
use spidev::{SpiModeFlags, Spidev, SpidevOptions, SpidevTransfer};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// Clock of the bus, Hz: an SX126x takes 16 MHz, long wires do not.
const SPEED_HZ: u32 = 2_000_000;
/// Longest wait for BUSY: calibration of an SX126x takes 3.5 ms, a TCXO 10.
const BUSY_MAX: Duration = Duration::from_millis(200);
/// How often BUSY is read at once, before the thread sleeps between two looks.
const BUSY_AT_ONCE: u32 = 20;
const BUSY_EVERY: Duration = Duration::from_millis(1);
/// How often the level of the interrupt is read though no edge came: an edge can be lost.
const LEVEL_EVERY: Duration = Duration::from_secs(5);
/// Who has the lines, as `gpioinfo` shows.
const CONSUMER: &str = "kengele";

/// Where a chip is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wires {
    /// Bus and chip select.
    pub spi: PathBuf,
    /// Chip of the lines.
    pub gpio: PathBuf,
    /// NRESET.
    pub reset: u32,
    /// BUSY of an SX126x.
    pub busy: Option<u32>,
    /// DIO1 of an SX126x, DIO0 of an SX127x.
    pub irq: u32,
    /// DIO1 of an SX127x.
    pub dio1: Option<u32>,
    /// Turns the antenna to the receiver.
    pub rf_rx: Option<u32>,
    /// Turns the antenna to the transmitter.
    pub rf_tx: Option<u32>,
    /// Held high.
    pub enable: Vec<u32>,
}

pub(super) struct Bus(Spidev);

pub(super) struct Pins {
    reset: (Request, u32),
    busy: Option<(Request, u32)>,
    irq: (AsyncRequest, Vec<u32>),
    rf_rx: Option<(Request, u32)>,
    rf_tx: Option<(Request, u32)>,
    /// Held for as long as the chip is used.
    _enable: Option<Request>,
}

/// Opens a chip's bus and lines.
pub(super) fn open(wires: &Wires) -> Result<(Bus, Pins), Fault> {
    let of_bus = |source| Fault::Open { what: format!("the bus {}", wires.spi.display()), source };
    let mut spi = Spidev::open(&wires.spi).map_err(of_bus)?;
    let options = SpidevOptions::new()
        .bits_per_word(8)
        .max_speed_hz(SPEED_HZ)
        .mode(SpiModeFlags::SPI_MODE_0)
        .build();
    spi.configure(&options).map_err(of_bus)?;
    Ok((Bus(spi), lines(wires)?))
}

fn lines(wires: &Wires) -> Result<Pins, Fault> {
    let failed = |line: u32| {
        move |error: gpiocdev::Error| Fault::Open {
            what: format!("line {line} of {}", wires.gpio.display()),
            source: io::Error::other(error),
        }
    };
    let request = || {
        let mut builder = Request::builder();
        builder.on_chip(&wires.gpio).with_consumer(CONSUMER);
        builder
    };
    let output = |line: u32, value: Value| {
        let made = request().with_line(line).as_output(value).request();
        made.map(|request| (request, line)).map_err(failed(line))
    };
    let input = |line: u32| {
        let made = request().with_line(line).as_input().request();
        made.map(|request| (request, line)).map_err(failed(line))
    };
    let interrupts: Vec<u32> = std::iter::once(wires.irq).chain(wires.dio1).collect();
    let irq = request()
        .with_lines(&interrupts)
        .as_input()
        .with_edge_detection(EdgeDetection::RisingEdge)
        .request()
        .map_err(failed(wires.irq))?;
    let enable = match wires.enable.first() {
        None => None,
        Some(first) => {
            let made = request().with_lines(&wires.enable).as_output(Value::Active).request();
            Some(made.map_err(failed(*first))?)
        }
    };
    Ok(Pins {
        reset: output(wires.reset, Value::Active)?,
        busy: wires.busy.map(input).transpose()?,
        irq: (AsyncRequest::new(irq), interrupts),
        rf_rx: wires.rf_rx.map(|line| output(line, Value::Inactive)).transpose()?,
        rf_tx: wires.rf_tx.map(|line| output(line, Value::Inactive)).transpose()?,
        _enable: enable,
    })
}

impl Bus {
    /// Clocks all of it under one chip select: one call of the kernel.
    pub(super) fn transfer(&self, operations: &mut [Operation<'_, u8>]) -> Result<(), BusError> {
        let mut transfers = Vec::with_capacity(operations.len());
        for operation in operations.iter_mut() {
            transfers.push(match operation {
                Operation::Write(bytes) => SpidevTransfer::write(bytes),
                Operation::Read(bytes) => SpidevTransfer::read(bytes),
                Operation::Transfer(read, write) if read.len() == write.len() => {
                    SpidevTransfer::read_write(write, read)
                }
                Operation::DelayNs(ns) => {
                    SpidevTransfer::delay(u16::try_from(ns.div_ceil(1000)).unwrap_or(u16::MAX))
                }
                // The driver does neither.
                Operation::Transfer(..) | Operation::TransferInPlace(_) => {
                    return Err(io::Error::from(io::ErrorKind::Unsupported).into());
                }
            });
        }
        Ok(self.0.transfer_multiple(&mut transfers)?)
    }
}

impl Pins {
    pub(super) async fn reset(&self, delay: &mut impl DelayNs) -> Result<(), RadioError> {
        let (request, line) = &self.reset;
        let set = |value| request.set_value(*line, value).map_err(|_| RadioError::Reset);
        set(Value::Inactive)?;
        delay.delay_ms(5).await;
        set(Value::Active)?;
        delay.delay_ms(10).await;
        Ok(())
    }

    pub(super) async fn ready(&self) -> Result<(), RadioError> {
        let Some((request, line)) = &self.busy else { return Ok(()) };
        let (end, mut looks) = (Instant::now() + BUSY_MAX, 0);
        loop {
            match request.value(*line) {
                Ok(Value::Inactive) => return Ok(()),
                Ok(Value::Active) if Instant::now() < end => {}
                Ok(Value::Active) | Err(_) => return Err(RadioError::Busy),
            }
            looks += 1;
            if looks > BUSY_AT_ONCE {
                tokio::time::sleep(BUSY_EVERY).await;
            }
        }
    }

    /// Waits for an interrupt: its level first, because the edge may be older than the request.
    ///
    /// # Cancel safety
    ///
    /// An edge may be lost; the level is not.
    pub(super) async fn interrupt(&self) -> Result<(), RadioError> {
        let (request, lines) = &self.irq;
        loop {
            for line in lines {
                let level = request.as_ref().value(*line).map_err(|_| RadioError::DIO1)?;
                if level == Value::Active {
                    return Ok(());
                }
            }
            let edge = tokio::time::timeout(LEVEL_EVERY, request.read_edge_event());
            if let Ok(Err(_)) = edge.await {
                return Err(RadioError::DIO1);
            }
        }
    }

    pub(super) fn switch(&self, receive: bool, transmit: bool) -> Result<(), RadioError> {
        let level = |on| if on { Value::Active } else { Value::Inactive };
        if let Some((request, line)) = &self.rf_rx {
            request.set_value(*line, level(receive)).map_err(|_| RadioError::RfSwitchRx)?;
        }
        if let Some((request, line)) = &self.rf_tx {
            request.set_value(*line, level(transmit)).map_err(|_| RadioError::RfSwitchTx)?;
        }
        Ok(())
    }
}
