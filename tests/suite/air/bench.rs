//! Drivers on emulated chips, with a vocabulary for tests.

use kengele::sim::air::{Air, AirDelay, AirInterface, AirSpi, Chip, ChipKind, Position};
use lora_phy::mod_params::{
    Bandwidth, CodingRate, ModulationParams, PacketParams, PacketStatus, RadioError,
    SpreadingFactor,
};
use lora_phy::mod_traits::RadioKind;
use lora_phy::sx126x::{Sx126x, Sx1262, TcxoCtrlVoltage};
use lora_phy::sx127x::{Sx127x, Sx1276};
use lora_phy::{LoRa, RxMode, sx126x, sx127x};
use std::time::Duration;

pub const CHANNEL_HZ: u32 = 868_100_000;

/// How frames are sent and expected.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub factor: SpreadingFactor,
    pub hz: u32,
    pub inverted: bool,
    pub crc: bool,
    pub dbm: i32,
}

pub const MANNER: Manner =
    Manner { factor: SpreadingFactor::_9, hz: CHANNEL_HZ, inverted: false, crc: true, dbm: 14 };

type New = LoRa<Sx126x<AirSpi, AirInterface, Sx1262>, AirDelay>;
type Old = LoRa<Sx127x<AirSpi, AirInterface, Sx1276>, AirDelay>;

/// A radio of either family.
pub enum Radio {
    New(Box<New>),
    Old(Box<Old>),
}

/// Runs the same on either family.
macro_rules! either {
    ($radio:expr, $inner:ident => $work:expr) => {
        match $radio {
            Radio::New($inner) => $work,
            Radio::Old($inner) => $work,
        }
    };
}

pub async fn radio(chip: &Chip, public: bool) -> Result<Radio, RadioError> {
    radio_on(chip, chip.interface(), public).await
}

pub async fn radio_on(chip: &Chip, pins: AirInterface, public: bool) -> Result<Radio, RadioError> {
    match chip.kind() {
        ChipKind::Sx1261 | ChipKind::Sx1262 | ChipKind::Sx1262Tcxo => {
            let tcxo_ctrl =
                (chip.kind() == ChipKind::Sx1262Tcxo).then_some(TcxoCtrlVoltage::Ctrl1V8);
            let config = sx126x::Config { chip: Sx1262, tcxo_ctrl, use_dcdc: true, rx_boost: true };
            let driver = Sx126x::new(chip.spi(), pins, config);
            Ok(Radio::New(Box::new(LoRa::new(driver, public, chip.delay()).await?)))
        }
        ChipKind::Sx1276 => {
            let config =
                sx127x::Config { chip: Sx1276, tcxo_used: false, tx_boost: true, rx_boost: true };
            let driver = Sx127x::new(chip.spi(), pins, config);
            Ok(Radio::Old(Box::new(LoRa::new(driver, public, chip.delay()).await?)))
        }
    }
}

fn modulation<K: RadioKind>(
    radio: &mut LoRa<K, AirDelay>,
    manner: Manner,
) -> Result<ModulationParams, RadioError> {
    radio.create_modulation_params(manner.factor, Bandwidth::_125KHz, CodingRate::_4_5, manner.hz)
}

fn expected<K: RadioKind>(
    radio: &mut LoRa<K, AirDelay>,
    manner: Manner,
    how: &ModulationParams,
) -> Result<PacketParams, RadioError> {
    radio.create_rx_packet_params(8, false, 255, manner.crc, manner.inverted, how)
}

async fn send_with<K: RadioKind>(
    radio: &mut LoRa<K, AirDelay>,
    manner: Manner,
    payload: &[u8],
) -> Result<(), RadioError> {
    let how = modulation(radio, manner)?;
    let mut packet = radio.create_tx_packet_params(8, false, manner.crc, manner.inverted, &how)?;
    radio.prepare_for_tx(&how, &mut packet, manner.dbm, payload).await?;
    radio.tx().await
}

async fn prepare_with<K: RadioKind>(
    radio: &mut LoRa<K, AirDelay>,
    manner: Manner,
    mode: RxMode,
) -> Result<(), RadioError> {
    let how = modulation(radio, manner)?;
    let packet = expected(radio, manner, &how)?;
    radio.prepare_for_rx(mode, &how, &packet).await
}

async fn hear_with<K: RadioKind>(
    radio: &mut LoRa<K, AirDelay>,
    manner: Manner,
) -> Result<Frame, RadioError> {
    let how = modulation(radio, manner)?;
    let packet = expected(radio, manner, &how)?;
    let mut buffer = [0; 255];
    let (length, PacketStatus { rssi, snr }) = radio.rx(&packet, &mut buffer).await?;
    Ok(Frame { payload: buffer[..usize::from(length)].to_vec(), rssi, snr })
}

async fn detect_with<K: RadioKind>(
    radio: &mut LoRa<K, AirDelay>,
    manner: Manner,
) -> Result<bool, RadioError> {
    let how = modulation(radio, manner)?;
    radio.prepare_for_cad(&how).await?;
    radio.cad(&how).await
}

#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub payload: Vec<u8>,
    pub rssi: i16,
    pub snr: i16,
}

impl Radio {
    pub async fn send(&mut self, manner: Manner, payload: &[u8]) -> Result<(), RadioError> {
        either!(self, radio => send_with(radio, manner, payload).await)
    }

    pub async fn prepare(&mut self, manner: Manner, mode: RxMode) -> Result<(), RadioError> {
        either!(self, radio => prepare_with(radio, manner, mode).await)
    }

    /// Waits for one frame in the mode that was prepared.
    pub async fn hear(&mut self, manner: Manner) -> Result<Frame, RadioError> {
        either!(self, radio => hear_with(radio, manner).await)
    }

    pub async fn detect(&mut self, manner: Manner) -> Result<bool, RadioError> {
        either!(self, radio => detect_with(radio, manner).await)
    }

    pub async fn sleep(&mut self, warm: bool) -> Result<(), RadioError> {
        either!(self, radio => radio.sleep(warm).await)
    }
}

/// Two radios so far apart, of these kinds.
pub async fn pair(air: &Air, kinds: [ChipKind; 2], apart_m: f64) -> ((Radio, Chip), (Radio, Chip)) {
    let one = air.chip(kinds[0], Position::new(0.0, 0.0));
    let other = air.chip(kinds[1], Position::new(apart_m, 0.0));
    let first = radio(&one, false).await.unwrap();
    let second = radio(&other, false).await.unwrap();
    ((first, one), (second, other))
}

/// Sends from one to the other in continuous reception; none where nothing came within a minute of the air's time.
pub async fn pass(
    from: &mut Radio,
    to: &mut Radio,
    sent: Manner,
    expected: Manner,
    payload: &[u8],
) -> Option<Frame> {
    to.prepare(expected, RxMode::Continuous).await.unwrap();
    let wait = tokio::time::timeout(Duration::from_mins(1), to.hear(expected));
    let (heard, done) = tokio::join!(wait, from.send(sent, payload));
    done.unwrap();
    heard.ok().map(Result::unwrap)
}
