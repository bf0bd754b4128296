//! Packets inside datagrams: `rxpk` and `txpk`.

use super::super::lorawan::{Modulation, PHY_BYTES_MAX};
use super::present;
use crate::wire::text::{self, Encoding};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Most antennas of one packet.
const ANTENNAS_MAX: usize = 8;

/// Why a packet cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PacketError {
    /// It is no JSON object.
    #[error("packet is no object")]
    NoObject,
    /// A field that it needs is absent or of another type or range.
    #[error("packet has no usable {0}")]
    Field(&'static str),
    /// A modulation or data rate that is not known here.
    #[error("packet has an unknown modulation or data rate")]
    Modulation,
    /// Its data is no base64.
    #[error("packet has data that is no base64")]
    Base64,
    /// Its data is longer than a radio packet.
    #[error("packet is longer than a radio packet can be")]
    TooLong,
    /// Its size is not that of its data.
    #[error("packet says that it has {said} bytes, and has {found}")]
    Size {
        /// By its own word.
        said: u64,
        /// In its data.
        found: usize,
    },
    /// It stands behind the last that is read.
    #[error("datagram has too many packets")]
    TooMany,
}

/// What the radio says of a packet's checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Crc {
    /// It is right.
    Good,
    /// It is wrong: the packet is noise, or another's half.
    Bad,
    /// There was none, or the forwarder does not say.
    Absent,
}

/// How one antenna heard a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Antenna {
    /// Its number.
    pub number: u64,
    /// Signal strength of the channel, in dBm.
    pub rssi_dbm: Option<f64>,
    /// In dB.
    pub snr_db: Option<f64>,
}

/// A packet that a forwarder heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// The forwarder's counter at the end of the packet, in microseconds; see [`super::later`].
    pub tmst: u32,
    /// The forwarder's own wall time, as it writes it.
    pub time: Option<String>,
    /// In Hz.
    pub frequency_hz: u32,
    /// The radio that heard it.
    pub rf_chain: Option<u64>,
    /// The demodulator that heard it.
    pub channel: Option<u64>,
    /// What the radio says of its checksum.
    pub crc: Crc,
    /// How it was sent.
    pub modulation: Modulation,
    /// LoRa's coding rate, such as `4/5`.
    pub coding_rate: Option<String>,
    /// Signal strength in dBm; of several antennas, that with the best SNR.
    pub rssi_dbm: Option<f64>,
    /// Signal to noise ratio in dB; of several antennas the best. FSK has none.
    pub snr_db: Option<f64>,
    /// Every antenna, where a gateway has several.
    pub antennas: Vec<Antenna>,
    /// The packet; at most 255 bytes.
    pub phy: Vec<u8>,
}

/// When a packet is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once.
    Immediately,
    /// When the forwarder's counter is there.
    At {
        /// In microseconds.
        tmst: u32,
    },
}

/// A packet to send to a device: always inverted and without checksum, as LoRaWAN's downlinks are.
#[derive(Clone, Debug, PartialEq)]
pub struct Transmit {
    /// When.
    pub when: When,
    /// In Hz.
    pub frequency_hz: u32,
    /// Which radio; 0 is the one that can send.
    pub rf_chain: u8,
    /// In dBm.
    pub power_dbm: i8,
    /// How.
    pub modulation: Modulation,
    /// The packet.
    pub phy: Vec<u8>,
}

impl Received {
    pub(super) fn read(packet: &Value) -> Result<Self, PacketError> {
        let object = packet.as_object().ok_or(PacketError::NoObject)?;
        let antennas: Vec<Antenna> = object
            .get("rsig")
            .and_then(Value::as_array)
            .map(|antennas| antennas.iter().take(ANTENNAS_MAX).map(Antenna::read).collect())
            .unwrap_or_default();
        let best = antennas.iter().max_by(|a, b| {
            let snr = |antenna: &Antenna| antenna.snr_db.unwrap_or(f64::NEG_INFINITY);
            snr(a).total_cmp(&snr(b))
        });
        let real = |name| object.get(name).and_then(Value::as_f64);
        let text = |name| object.get(name).and_then(Value::as_str).map(str::to_owned);
        let tmst = object.get("tmst").and_then(Value::as_u64).and_then(|t| u32::try_from(t).ok());
        Ok(Self {
            tmst: tmst.ok_or(PacketError::Field("tmst"))?,
            time: text("time"),
            frequency_hz: frequency_hz(packet)?,
            rf_chain: object.get("rfch").and_then(Value::as_u64),
            channel: object.get("chan").and_then(Value::as_u64),
            crc: match object.get("stat").and_then(Value::as_i64) {
                Some(1) => Crc::Good,
                Some(-1) => Crc::Bad,
                Some(0) | None => Crc::Absent,
                Some(_) => return Err(PacketError::Field("stat")),
            },
            modulation: modulation(packet)?,
            coding_rate: text("codr"),
            rssi_dbm: real("rssi").or_else(|| best.and_then(|best| best.rssi_dbm)),
            snr_db: real("lsnr").or_else(|| best.and_then(|best| best.snr_db)),
            antennas,
            phy: phy(packet)?,
        })
    }

    pub(super) fn json(&self) -> Value {
        let (modulation, data_rate) = words(self.modulation);
        let antennas: Vec<Value> = self.antennas.iter().map(Antenna::json).collect();
        present([
            ("tmst", json!(self.tmst)),
            ("time", json!(self.time)),
            ("freq", json!(f64::from(self.frequency_hz) / 1e6)),
            ("rfch", json!(self.rf_chain)),
            ("chan", json!(self.channel)),
            (
                "stat",
                json!(match self.crc {
                    Crc::Good => 1,
                    Crc::Bad => -1,
                    Crc::Absent => 0,
                }),
            ),
            ("modu", json!(modulation)),
            ("datr", data_rate),
            ("codr", json!(self.coding_rate)),
            ("rssi", json!(self.rssi_dbm)),
            ("lsnr", json!(self.snr_db)),
            ("rsig", if antennas.is_empty() { Value::Null } else { Value::Array(antennas) }),
            ("size", json!(self.phy.len())),
            ("data", json!(STANDARD.encode(&self.phy))),
        ])
    }
}

impl Antenna {
    fn read(value: &Value) -> Self {
        let real = |name| value.get(name).and_then(Value::as_f64);
        Self {
            number: value.get("ant").and_then(Value::as_u64).unwrap_or(0),
            rssi_dbm: real("rssic"),
            snr_db: real("lsnr"),
        }
    }

    fn json(&self) -> Value {
        present([
            ("ant", json!(self.number)),
            ("rssic", json!(self.rssi_dbm)),
            ("lsnr", json!(self.snr_db)),
        ])
    }
}

impl Transmit {
    pub(super) fn read(packet: &Value) -> Result<Self, PacketError> {
        let object = packet.as_object().ok_or(PacketError::NoObject)?;
        let whole = |name| object.get(name).and_then(Value::as_i64);
        let when = if object.get("imme").and_then(Value::as_bool) == Some(true) {
            When::Immediately
        } else {
            let tmst = whole("tmst").and_then(|tmst| u32::try_from(tmst).ok());
            When::At { tmst: tmst.ok_or(PacketError::Field("tmst"))? }
        };
        let power_dbm = whole("powe").and_then(|powe| i8::try_from(powe).ok());
        let rf_chain = whole("rfch").map_or(Some(0), |rfch| u8::try_from(rfch).ok());
        Ok(Self {
            when,
            frequency_hz: frequency_hz(packet)?,
            rf_chain: rf_chain.ok_or(PacketError::Field("rfch"))?,
            power_dbm: power_dbm.ok_or(PacketError::Field("powe"))?,
            modulation: modulation(packet)?,
            phy: phy(packet)?,
        })
    }

    pub(super) fn json(&self) -> Value {
        let (modulation, data_rate) = words(self.modulation);
        let (imme, tmst) = match self.when {
            When::Immediately => (true, Value::Null),
            When::At { tmst } => (false, json!(tmst)),
        };
        let (coding_rate, inverted, deviation_hz) = match self.modulation {
            Modulation::Lora { .. } => (json!("4/5"), json!(true), Value::Null),
            // Half the bit rate: 25 kHz at the 50 kbit/s of LoRaWAN (RP002-1.0.4 §2.4.3).
            Modulation::Fsk { bit_rate } => (Value::Null, Value::Null, json!(bit_rate / 2)),
        };
        present([
            ("imme", json!(imme)),
            ("tmst", tmst),
            ("freq", json!(f64::from(self.frequency_hz) / 1e6)),
            ("rfch", json!(self.rf_chain)),
            ("powe", json!(self.power_dbm)),
            ("modu", json!(modulation)),
            ("datr", data_rate),
            ("codr", coding_rate),
            ("ipol", inverted),
            ("fdev", deviation_hz),
            ("ncrc", json!(true)),
            ("size", json!(self.phy.len())),
            ("data", json!(STANDARD.encode(&self.phy))),
        ])
    }
}

/// Reads a frequency, which is in MHz.
fn frequency_hz(packet: &Value) -> Result<u32, PacketError> {
    let mhz = packet.get("freq").and_then(Value::as_f64);
    let hz = mhz.map(|mhz| (mhz * 1e6).round()).filter(|hz| (1.0..4e9).contains(hz));
    // The range was looked at.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, above 0 and below 2^32"
    )]
    hz.map(|hz| hz as u32).ok_or(PacketError::Field("freq"))
}

/// Reads `modu` and `datr`: a word for LoRa, a number for FSK.
fn modulation(packet: &Value) -> Result<Modulation, PacketError> {
    let named = packet.get("modu").and_then(Value::as_str);
    match (named, packet.get("datr")) {
        (Some("LORA") | None, Some(Value::String(word))) => {
            lora(word).ok_or(PacketError::Modulation)
        }
        (Some("FSK") | None, Some(Value::Number(number))) => {
            let bit_rate = number.as_u64().and_then(|rate| u32::try_from(rate).ok());
            bit_rate.map(|bit_rate| Modulation::Fsk { bit_rate }).ok_or(PacketError::Modulation)
        }
        (Some(_) | None, Some(_)) => Err(PacketError::Modulation),
        (_, None) => Err(PacketError::Field("datr")),
    }
}

/// Reads such as `SF7BW125`.
fn lora(word: &str) -> Option<Modulation> {
    let (factor, khz) = word.strip_prefix("SF")?.split_once("BW")?;
    let plain = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    let spreading_factor = factor.parse().ok().filter(|f| (5..=12).contains(f) && plain(factor))?;
    let khz: u32 = khz.parse().ok().filter(|k| (1..=2000).contains(k) && plain(khz))?;
    Some(Modulation::Lora { spreading_factor, bandwidth_hz: khz * 1000 })
}

fn words(modulation: Modulation) -> (&'static str, Value) {
    match modulation {
        Modulation::Lora { spreading_factor, bandwidth_hz } => {
            ("LORA", json!(format!("SF{spreading_factor}BW{}", bandwidth_hz / 1000)))
        }
        Modulation::Fsk { bit_rate } => ("FSK", json!(bit_rate)),
    }
}

/// Reads `data`, and compares it with `size` where that is there.
fn phy(packet: &Value) -> Result<Vec<u8>, PacketError> {
    let data = packet.get("data").and_then(Value::as_str).ok_or(PacketError::Field("data"))?;
    if data.len() > PHY_BYTES_MAX.div_ceil(3) * 4 {
        return Err(PacketError::TooLong);
    }
    let data = data.replace('-', "+").replace('_', "/");
    let phy = text::decode(Encoding::Base64, data.as_bytes()).map_err(|_| PacketError::Base64)?;
    let phy = phy.into_owned();
    if phy.len() > PHY_BYTES_MAX {
        return Err(PacketError::TooLong);
    }
    match packet.get("size").and_then(Value::as_u64) {
        Some(said) if said != phy.len() as u64 => Err(PacketError::Size { said, found: phy.len() }),
        Some(_) | None => Ok(phy),
    }
}
