//! The Semtech packet forwarder's protocol, version 2: datagrams to types and back.
//!
//! Nothing in it is authenticated: whose datagrams are read at all is the caller's to decide. Source: `PROTOCOL.TXT` of
//! Lora-net/packet_forwarder; Lora-net/sx1302_hal for `rsig` and the warnings of `TX_ACK`.

mod copies;
mod packet;

pub use copies::{Added, Copies, Copy, Gathered};
pub use packet::{Antenna, Crc, PacketError, Received, Transmit, When};

use super::lorawan::Eui;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Version of the protocol that is spoken here.
const VERSION: u8 = 2;
/// Most packets of one datagram: a concentrator has room for 16 (`NB_PKT_MAX` 255 is never reached in one datagram).
const PACKETS_MAX: usize = 64;

/// A datagram between a forwarder and its server.
#[derive(Clone, Debug, PartialEq)]
pub enum Datagram {
    /// The forwarder heard something, or tells how it is.
    PushData {
        /// Comes back in the acknowledgement.
        token: u16,
        /// Who sends it.
        gateway: Eui,
        /// What it says.
        push: Push,
    },
    /// The server has it.
    PushAck {
        /// That of the `PUSH_DATA`.
        token: u16,
    },
    /// The forwarder can be reached at the address that this comes from.
    PullData {
        /// Comes back in the acknowledgement.
        token: u16,
        /// Who sends it.
        gateway: Eui,
    },
    /// The server wants something sent.
    PullResp {
        /// Comes back in the `TX_ACK`.
        token: u16,
        /// What, when and how.
        transmit: Transmit,
    },
    /// The server knows the address.
    PullAck {
        /// That of the `PULL_DATA`.
        token: u16,
    },
    /// What became of a `PULL_RESP`.
    TxAck {
        /// That of the `PULL_RESP`.
        token: u16,
        /// Who sends it.
        gateway: Eui,
        /// The forwarder's word.
        outcome: TxOutcome,
    },
}

/// What a `PUSH_DATA` says; what of it is bad costs itself only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Push {
    /// Packets, in the order in which they stand.
    pub received: Vec<Received>,
    /// Packets that could not be read.
    pub faults: Vec<PacketFault>,
    /// How the forwarder is.
    pub status: Option<Status>,
}

/// A packet that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read packet {index} of a datagram")]
pub struct PacketFault {
    /// Its place, from 0.
    pub index: usize,
    /// Why.
    #[source]
    pub error: PacketError,
}

/// How a forwarder is; what it did not say is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The forwarder's own time, as it writes it.
    pub time: Option<String>,
    /// Degrees north.
    pub latitude: Option<f64>,
    /// Degrees east.
    pub longitude: Option<f64>,
    /// Metres.
    pub altitude_m: Option<f64>,
    /// Packets received.
    pub received: Option<u64>,
    /// Packets received with a good checksum.
    pub received_ok: Option<u64>,
    /// Packets forwarded.
    pub forwarded: Option<u64>,
    /// Datagrams acknowledged, in percent.
    pub acknowledged_percent: Option<f64>,
    /// Downlinks that it was given.
    pub downlinks: Option<u64>,
    /// Packets transmitted.
    pub transmitted: Option<u64>,
    /// The concentrator's temperature, in degrees Celsius.
    pub temperature_c: Option<f64>,
}

/// What a forwarder says of a downlink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxOutcome {
    /// It is programmed.
    Programmed,
    /// It is programmed, though not as ordered: the power was lowered.
    PowerLowered,
    /// It is not sent.
    Refused(TxError),
}

/// Why a forwarder does not send.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TxError {
    /// The moment had passed.
    #[error("forwarder was told too late")]
    TooLate,
    /// The moment is too far ahead.
    #[error("forwarder was told too early")]
    TooEarly,
    /// Another packet is planned at that moment.
    #[error("forwarder has another packet at that moment")]
    CollisionPacket,
    /// A beacon is planned at that moment.
    #[error("forwarder has a beacon at that moment")]
    CollisionBeacon,
    /// It cannot send on that frequency.
    #[error("forwarder cannot send on that frequency")]
    Frequency,
    /// It cannot send with that power.
    #[error("forwarder cannot send with that power")]
    Power,
    /// It has no GPS time.
    #[error("forwarder has no satellite time")]
    GpsUnlocked,
    /// A word that the protocol does not have.
    #[error("forwarder refused for another reason")]
    Other,
}

/// Why bytes are no datagram.
#[derive(Debug, thiserror::Error)]
pub enum DatagramError {
    /// Fewer bytes than its kind has.
    #[error("datagram is too short")]
    TooShort,
    /// Another version of the protocol.
    #[error("datagram has protocol version {0}, not 2")]
    Version(u8),
    /// A kind that the protocol does not have.
    #[error("datagram has unknown kind {0}")]
    Kind(u8),
    /// Its JSON is broken or is no object.
    #[error("datagram has no valid JSON object")]
    Json(#[source] serde_json::Error),
    /// A `PULL_RESP` that orders nothing.
    #[error("datagram has no packet to transmit")]
    NoPacket,
    /// A `PULL_RESP` whose order cannot be read.
    #[error("cannot read the packet to transmit")]
    Packet(#[source] PacketError),
}

/// Returns the forwarder's counter a while after `tmst`: 32 bits of microseconds, back at 0 after 71.6 minutes.
#[must_use]
pub fn later(tmst: u32, delay: Duration) -> u32 {
    let wrapped = delay.as_micros() % (1 << 32);
    tmst.wrapping_add(u32::try_from(wrapped).unwrap_or(0))
}

/// Reads a datagram.
///
/// # Errors
///
/// Says why the bytes are none. A packet that cannot be read is no error of a `PUSH_DATA`: see [`Push::faults`].
pub fn parse(bytes: &[u8]) -> Result<Datagram, DatagramError> {
    let ([version, a, b, kind], rest) =
        bytes.split_first_chunk::<4>().ok_or(DatagramError::TooShort)?;
    if *version != VERSION {
        return Err(DatagramError::Version(*version));
    }
    let token = u16::from_be_bytes([*a, *b]);
    let gateway = || {
        let (eui, json) = rest.split_first_chunk::<8>().ok_or(DatagramError::TooShort)?;
        Ok((Eui(u64::from_be_bytes(*eui)), json))
    };
    match kind {
        0 => {
            let (gateway, json) = gateway()?;
            Ok(Datagram::PushData { token, gateway, push: Push::read(&object(json)?) })
        }
        1 => Ok(Datagram::PushAck { token }),
        2 => gateway().map(|(gateway, _)| Datagram::PullData { token, gateway }),
        3 => {
            let object = object(rest)?;
            let packet = object.get("txpk").ok_or(DatagramError::NoPacket)?;
            let transmit = Transmit::read(packet).map_err(DatagramError::Packet)?;
            Ok(Datagram::PullResp { token, transmit })
        }
        4 => Ok(Datagram::PullAck { token }),
        5 => {
            let (gateway, json) = gateway()?;
            let outcome = match json.trim_ascii() {
                // Before 1.4 of the forwarder, and still where all is well, nothing follows.
                [] | [0] => TxOutcome::Programmed,
                json => TxOutcome::read(&object(json)?),
            };
            Ok(Datagram::TxAck { token, gateway, outcome })
        }
        other => Err(DatagramError::Kind(*other)),
    }
}

fn object(json: &[u8]) -> Result<Map<String, Value>, DatagramError> {
    serde_json::from_slice(json).map_err(DatagramError::Json)
}

impl Datagram {
    /// Returns the datagram's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, token, gateway, json) = match self {
            Self::PushData { token, gateway, push } => (0, token, Some(gateway), Some(push.json())),
            Self::PushAck { token } => (1, token, None, None),
            Self::PullData { token, gateway } => (2, token, Some(gateway), None),
            Self::PullResp { token, transmit } => {
                (3, token, None, Some(json!({"txpk": transmit.json()})))
            }
            Self::PullAck { token } => (4, token, None, None),
            Self::TxAck { token, gateway, outcome } => {
                (5, token, Some(gateway), Some(outcome.json()))
            }
        };
        let [a, b] = token.to_be_bytes();
        let mut bytes = vec![VERSION, a, b, kind];
        if let Some(gateway) = gateway {
            bytes.extend(gateway.0.to_be_bytes());
        }
        if let Some(json) = json {
            bytes.extend(json.to_string().into_bytes());
        }
        bytes
    }
}

impl Push {
    fn read(object: &Map<String, Value>) -> Self {
        let mut push = Self::default();
        let packets = object.get("rxpk").and_then(Value::as_array);
        for (index, packet) in packets.into_iter().flatten().enumerate().take(PACKETS_MAX) {
            match Received::read(packet) {
                Ok(received) => push.received.push(received),
                Err(error) => push.faults.push(PacketFault { index, error }),
            }
        }
        if packets.is_some_and(|packets| packets.len() > PACKETS_MAX) {
            push.faults.push(PacketFault { index: PACKETS_MAX, error: PacketError::TooMany });
        }
        push.status = object.get("stat").and_then(Value::as_object).map(Status::read);
        push
    }

    fn json(&self) -> Value {
        let mut object = Map::new();
        if !self.received.is_empty() {
            let packets = self.received.iter().map(Received::json).collect();
            object.insert("rxpk".to_owned(), Value::Array(packets));
        }
        if let Some(status) = &self.status {
            object.insert("stat".to_owned(), status.json());
        }
        Value::Object(object)
    }
}

impl Status {
    fn read(object: &Map<String, Value>) -> Self {
        let real = |name| object.get(name).and_then(Value::as_f64);
        let count = |name| object.get(name).and_then(Value::as_u64);
        Self {
            time: object.get("time").and_then(Value::as_str).map(str::to_owned),
            latitude: real("lati"),
            longitude: real("long"),
            altitude_m: real("alti"),
            received: count("rxnb"),
            received_ok: count("rxok"),
            forwarded: count("rxfw"),
            acknowledged_percent: real("ackr"),
            downlinks: count("dwnb"),
            transmitted: count("txnb"),
            temperature_c: real("temp"),
        }
    }

    fn json(&self) -> Value {
        let fields = [
            ("time", json!(self.time)),
            ("lati", json!(self.latitude)),
            ("long", json!(self.longitude)),
            ("alti", json!(self.altitude_m)),
            ("rxnb", json!(self.received)),
            ("rxok", json!(self.received_ok)),
            ("rxfw", json!(self.forwarded)),
            ("ackr", json!(self.acknowledged_percent)),
            ("dwnb", json!(self.downlinks)),
            ("txnb", json!(self.transmitted)),
            ("temp", json!(self.temperature_c)),
        ];
        present(fields)
    }
}

/// Returns an object of the fields that are there.
fn present<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let there = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(there.map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The words of `txpk_ack`, but for `NONE`.
const TX_ERRORS: [(&str, TxError); 7] = [
    ("TOO_LATE", TxError::TooLate),
    ("TOO_EARLY", TxError::TooEarly),
    ("COLLISION_PACKET", TxError::CollisionPacket),
    ("COLLISION_BEACON", TxError::CollisionBeacon),
    ("TX_FREQ", TxError::Frequency),
    ("TX_POWER", TxError::Power),
    ("GPS_UNLOCKED", TxError::GpsUnlocked),
];

impl TxOutcome {
    fn read(object: &Map<String, Value>) -> Self {
        let ack = object.get("txpk_ack");
        let word = |name| ack.and_then(|ack| ack.get(name)).and_then(Value::as_str);
        match (word("error"), word("warn")) {
            (Some("NONE" | "") | None, None) => Self::Programmed,
            (Some("NONE" | "") | None, Some(_)) => Self::PowerLowered,
            (Some(error), _) => {
                let known = TX_ERRORS.into_iter().find(|(word, _)| *word == error);
                Self::Refused(known.map_or(TxError::Other, |(_, error)| error))
            }
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Programmed => json!({"txpk_ack": {"error": "NONE"}}),
            Self::PowerLowered => json!({"txpk_ack": {"warn": "TX_POWER"}}),
            Self::Refused(error) => {
                let known = TX_ERRORS.iter().find(|(_, known)| known == error);
                let word = known.map_or("OTHER", |(word, _)| *word);
                json!({"txpk_ack": {"error": word}})
            }
        }
    }
}

#[cfg(test)]
mod tests;
