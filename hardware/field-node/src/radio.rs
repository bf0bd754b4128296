//! The radio, as the node's logic wants it, and lora-phy's driver as one.

use crate::event::NotSent;
use crate::plan::Plan;
use embedded_hal_async::delay::DelayNs;
use lora_phy::LoRa;
use lora_phy::RxMode;
use lora_phy::mod_params::{
    Bandwidth, CodingRate, DutyCycleParams, ModulationParams, PacketParams, RadioError,
    SpreadingFactor,
};
use lora_phy::mod_traits::RadioKind;

/// How a radio listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Until so many symbols have passed without a preamble.
    Window(u16),
    /// All the time.
    Always,
    /// Now and then: awake, asleep, ms.
    Sampled(u32, u32),
}

/// Why nothing was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// Nobody spoke.
    Nothing,
    /// The radio failed.
    Failed,
}

/// A radio that is set to the node's channel.
pub trait Radio {
    /// Sends a frame, if nobody else is on the air.
    fn transmit(&mut self, frame: &[u8]) -> impl Future<Output = Result<(), NotSent>>;

    /// Waits for a frame; returns its length.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped while it waits; then the radio must be put to sleep before anything else.
    fn listen(
        &mut self,
        mode: Mode,
        into: &mut [u8],
    ) -> impl Future<Output = Result<usize, Unheard>>;

    /// Puts it to sleep.
    fn sleep(&mut self) -> impl Future<Output = ()>;

    /// Begins again, after it failed. Returns whether it answers.
    fn begin(&mut self) -> impl Future<Output = bool>;
}

/// The driver knows no such spreading factor, bandwidth or frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchModulation;

/// lora-phy's driver on a node's channel.
pub struct Driver<RK: RadioKind, DLY: DelayNs> {
    lora: LoRa<RK, DLY>,
    modulation: ModulationParams,
    sends: PacketParams,
    hears: PacketParams,
    power_dbm: i32,
}

/// Symbols of a preamble.
const PREAMBLE: u16 = 8;

impl<RK: RadioKind, DLY: DelayNs> Driver<RK, DLY> {
    /// Takes a driver that was begun with the private sync word.
    ///
    /// # Errors
    ///
    /// If the plan's modulation is none of the driver's.
    pub fn new(mut lora: LoRa<RK, DLY>, plan: &Plan<'_>) -> Result<Self, NoSuchModulation> {
        let fault = |_: RadioError| NoSuchModulation;
        let factor = factor(plan.modulation.spreading_factor).ok_or(NoSuchModulation)?;
        let bandwidth = bandwidth(plan.modulation.bandwidth_hz).ok_or(NoSuchModulation)?;
        let modulation = lora
            .create_modulation_params(factor, bandwidth, CodingRate::_4_5, plan.frequency_hz)
            .map_err(fault)?;
        let sends = lora
            .create_tx_packet_params(PREAMBLE, false, true, false, &modulation)
            .map_err(fault)?;
        let hears = lora
            .create_rx_packet_params(PREAMBLE, false, 255, true, false, &modulation)
            .map_err(fault)?;
        Ok(Self { lora, modulation, sends, hears, power_dbm: i32::from(plan.power_dbm) })
    }

    async fn send(&mut self, frame: &[u8]) -> Result<bool, RadioError> {
        self.lora.prepare_for_cad(&self.modulation).await?;
        if self.lora.cad(&self.modulation).await? {
            return Ok(false);
        }
        self.lora.prepare_for_tx(&self.modulation, &mut self.sends, self.power_dbm, frame).await?;
        self.lora.tx().await?;
        Ok(true)
    }

    async fn hear(&mut self, mode: RxMode, into: &mut [u8]) -> Result<u8, RadioError> {
        self.lora.prepare_for_rx(mode, &self.modulation, &self.hears).await?;
        let (length, _status) = self.lora.rx(&self.hears, into).await?;
        Ok(length)
    }
}

impl<RK: RadioKind, DLY: DelayNs> Radio for Driver<RK, DLY> {
    async fn transmit(&mut self, frame: &[u8]) -> Result<(), NotSent> {
        match self.send(frame).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(NotSent::Busy),
            Err(_) => Err(NotSent::Failed),
        }
    }

    async fn listen(&mut self, mode: Mode, into: &mut [u8]) -> Result<usize, Unheard> {
        let mode = match mode {
            Mode::Window(symbols) => RxMode::Single(symbols),
            Mode::Always => RxMode::Continuous,
            Mode::Sampled(awake_ms, asleep_ms) => RxMode::DutyCycle(DutyCycleParams {
                rx_time: ticks(awake_ms),
                sleep_time: ticks(asleep_ms),
            }),
        };
        self.hear(mode, into).await.map(usize::from).map_err(|error| {
            if error == RadioError::ReceiveTimeout { Unheard::Nothing } else { Unheard::Failed }
        })
    }

    async fn sleep(&mut self) {
        // A radio that does not sleep costs power, and says so at its next use.
        let _slept = self.lora.sleep(true).await.is_ok();
    }

    async fn begin(&mut self) -> bool {
        self.lora.init().await.is_ok()
    }
}

/// The chip's timer counts 15.625 µs: SX1261/2 data sheet, §13.1.7.
fn ticks(milliseconds: u32) -> u32 {
    milliseconds.saturating_mul(64).min(0x00FF_FFFF)
}

fn factor(number: u8) -> Option<SpreadingFactor> {
    Some(match number {
        7 => SpreadingFactor::_7,
        8 => SpreadingFactor::_8,
        9 => SpreadingFactor::_9,
        10 => SpreadingFactor::_10,
        11 => SpreadingFactor::_11,
        12 => SpreadingFactor::_12,
        _ => return None,
    })
}

fn bandwidth(hertz: u32) -> Option<Bandwidth> {
    Some(match hertz {
        125_000 => Bandwidth::_125KHz,
        250_000 => Bandwidth::_250KHz,
        500_000 => Bandwidth::_500KHz,
        _ => return None,
    })
}
