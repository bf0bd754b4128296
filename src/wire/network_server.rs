//! What LoRaWAN network servers and mesh gateways publish about a device: the envelope around its payload.
//!
//! All of them leave out what is zero, false or empty, and add members from one version to the next; so nothing is required
//! but what says whom the event is about.

use super::payload::DecodeError;
use super::text::{self, Encoding};
use crate::domain::reading::Stamp;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A program whose events are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// ChirpStack 4: `application/ID/device/DEVEUI/event/EVENT`.
    ChirpStack,
    /// The Things Stack 3: `v3/APP@TENANT/devices/ID/EVENT`.
    TheThings,
    /// The console of Helium, and what speaks like it.
    Helium,
    /// The JSON of Meshtastic's firmware: `msh/REGION/2/json/CHANNEL/GATEWAY`.
    Meshtastic,
}

/// What was published.
#[derive(Debug)]
pub enum Event {
    /// A device said something.
    Uplink(Uplink),
    /// How a device is, or that it joined: no readings but the charge of its battery.
    Status {
        /// Charge of the battery, %.
        battery_level: Option<f64>,
    },
    /// What became of a downlink.
    Downlink {
        /// The identifier that it was given when it was ordered.
        id: String,
        /// What became of it.
        fate: Fate,
    },
    /// What is of no interest here.
    Other,
}

/// What became of a downlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A gateway sends it.
    Sent,
    /// The device has it.
    Acknowledged,
    /// The device did not say in time that it has it.
    Missed,
}

/// What a device said.
#[derive(Debug, Default)]
pub struct Uplink {
    /// Who said it, where the topic does not say so: `!` and eight hex digits for Meshtastic.
    pub node: Option<String>,
    /// The application's port (LoRaWAN `FPort`).
    pub port: u8,
    /// The frame counter, as far as the server says.
    pub counter: u32,
    /// The bytes.
    pub payload: Vec<u8>,
    /// The values, where the server has a decoder for the device.
    pub object: Option<Box<RawValue>>,
    /// When the network heard it.
    pub stamp: Option<Stamp>,
    /// Charge of the battery, %.
    pub battery_level: Option<f64>,
    /// How well the best gateway heard it.
    pub signal: Option<Signal>,
}

/// How well a gateway heard a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Signal {
    /// Received signal strength, dBm.
    pub rssi: f64,
    /// Signal to noise, dB.
    pub snr: f64,
}

impl Server {
    /// Reads an event.
    ///
    /// # Errors
    ///
    /// When it is not JSON, not an object, or a member that matters has another form.
    pub fn read(self, payload: &[u8]) -> Result<Event, DecodeError> {
        match self {
            Self::ChirpStack => parse::<ChirpStack>(payload)?.event(),
            Self::TheThings => parse::<TheThings>(payload)?.event(),
            Self::Helium => parse::<Helium>(payload)?.event(),
            Self::Meshtastic => Ok(parse::<Meshtastic>(payload)?.event()),
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(payload).map_err(|error| super::json::syntax(&error))
}

fn bytes(base64: &str) -> Result<Vec<u8>, DecodeError> {
    text::decode(Encoding::Base64, base64.as_bytes()).map(std::borrow::Cow::into_owned)
}

fn rfc3339(text: &str) -> Option<Stamp> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    Some(Stamp::Unix(moment.as_millisecond()))
}

/// Returns the strongest, by signal to noise.
fn best(signals: &[Signal]) -> Option<Signal> {
    signals.iter().copied().max_by(|one, other| one.snr.total_cmp(&other.snr))
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct ChirpStack {
    time: String,
    f_cnt: u32,
    f_port: u8,
    data: Option<String>,
    object: Option<Box<RawValue>>,
    rx_info: Vec<Signal>,
    margin: Option<i32>,
    battery_level: Option<f64>,
    battery_level_unavailable: bool,
    external_power_source: bool,
    queue_item_id: String,
    acknowledged: bool,
    gateway_id: Option<String>,
}

impl ChirpStack {
    fn event(self) -> Result<Event, DecodeError> {
        if !self.queue_item_id.is_empty() {
            // `event/txack` names the gateway. `event/ack` of a downlink that was not acknowledged has no `acknowledged`.
            let fate = match (self.gateway_id, self.acknowledged) {
                (Some(_), _) => Fate::Sent,
                (None, true) => Fate::Acknowledged,
                (None, false) => Fate::Missed,
            };
            return Ok(Event::Downlink { id: self.queue_item_id, fate });
        }
        let said_nothing = self.battery_level_unavailable || self.external_power_source;
        if self.margin.is_some() || self.battery_level.is_some() || said_nothing {
            let battery_level = self.battery_level.filter(|_| !said_nothing);
            return Ok(Event::Status { battery_level });
        }
        if self.rx_info.is_empty() && self.data.is_none() && self.object.is_none() {
            return Ok(Event::Other);
        }
        Ok(Event::Uplink(Uplink {
            port: self.f_port,
            counter: self.f_cnt,
            payload: bytes(&self.data.unwrap_or_default())?,
            object: self.object,
            stamp: rfc3339(&self.time),
            signal: best(&self.rx_info),
            ..Uplink::default()
        }))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TheThings {
    uplink_message: Option<TheThingsUplink>,
    simulated: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TheThingsUplink {
    f_port: u8,
    f_cnt: u32,
    frm_payload: String,
    decoded_payload: Option<Box<RawValue>>,
    rx_metadata: Vec<Signal>,
    received_at: String,
    last_battery_percentage: Option<Percentage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Percentage {
    value: f64,
}

impl TheThings {
    fn event(self) -> Result<Event, DecodeError> {
        // Somebody tries their console: no river has risen.
        let uplink = self.uplink_message.filter(|_| !self.simulated);
        let Some(uplink) = uplink else { return Ok(Event::Other) };
        Ok(Event::Uplink(Uplink {
            port: uplink.f_port,
            counter: uplink.f_cnt,
            payload: bytes(&uplink.frm_payload)?,
            object: uplink.decoded_payload,
            stamp: rfc3339(&uplink.received_at),
            battery_level: uplink.last_battery_percentage.map(|percentage| percentage.value),
            signal: best(&uplink.rx_metadata),
            ..Uplink::default()
        }))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Helium {
    port: u8,
    fcnt: u32,
    payload: Option<String>,
    decoded: Option<HeliumDecoded>,
    hotspots: Vec<Signal>,
    reported_at: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HeliumDecoded {
    payload: Option<Box<RawValue>>,
}

impl Helium {
    fn event(self) -> Result<Event, DecodeError> {
        let Some(payload) = self.payload else { return Ok(Event::Other) };
        Ok(Event::Uplink(Uplink {
            port: self.port,
            counter: self.fcnt,
            payload: bytes(&payload)?,
            object: self.decoded.and_then(|decoded| decoded.payload),
            stamp: self.reported_at.filter(|ms| *ms > 0).map(Stamp::Unix),
            signal: best(&self.hotspots),
            ..Uplink::default()
        }))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meshtastic {
    from: u32,
    id: u32,
    r#type: String,
    payload: Option<Box<RawValue>>,
    timestamp: i64,
    rssi: f64,
    snr: f64,
}

impl Meshtastic {
    fn event(self) -> Event {
        if self.r#type != "telemetry" {
            return Event::Other;
        }
        Event::Uplink(Uplink {
            node: Some(format!("!{:08x}", self.from)),
            counter: self.id,
            object: self.payload,
            // A node that has heard no time yet counts from zero.
            stamp: (self.timestamp > 0).then(|| Stamp::Unix(self.timestamp.saturating_mul(1000))),
            signal: Some(Signal { rssi: self.rssi, snr: self.snr }),
            ..Uplink::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uplink(server: Server, event: &str) -> Uplink {
        match server.read(event.as_bytes()).unwrap() {
            Event::Uplink(uplink) => uplink,
            other @ (Event::Status { .. } | Event::Downlink { .. } | Event::Other) => {
                panic!("{other:?}")
            }
        }
    }

    /// The example in ChirpStack's documentation, shortened: the frame counter is zero, and so absent.
    #[test]
    fn an_event_of_chirpstack_is_read_though_zeros_are_absent() {
        let event = r#"{"deduplicationId":"3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
            "time":"2022-07-18T09:34:15.775023242+00:00","deviceInfo":{"deviceName":"Test device",
            "devEui":"0101010101010101","tags":{"key":"value"}},"devAddr":"00189440","dr":1,"fPort":1,
            "data":"qg==","rxInfo":[{"gatewayId":"0016c001f153a14c","rssi":-36,"snr":10.5},
            {"gatewayId":"0016c001f153a14d","rssi":-90,"snr":-3}],"txInfo":{"frequency":867100000}}"#;
        let uplink = uplink(Server::ChirpStack, event);
        assert_eq!((uplink.port, uplink.counter, &uplink.payload[..]), (1, 0, &[0xAA][..]));
        assert_eq!(uplink.stamp, Some(Stamp::Unix(1_658_136_855_775)));
        assert_eq!(uplink.signal, Some(Signal { rssi: -36.0, snr: 10.5 }));
        assert!(uplink.object.is_none());
    }

    #[test]
    fn what_is_no_reading_is_told_from_what_is() {
        let read = |server: Server, event: &str| server.read(event.as_bytes()).unwrap();
        let status = r#"{"deviceInfo":{"devEui":"01"},"margin":12,"batteryLevel":73.5}"#;
        let event = read(Server::ChirpStack, status);
        assert!(
            matches!(event, Event::Status { battery_level: Some(level) } if (level - 73.5).abs() < 1e-9)
        );
        let mains = r#"{"margin":12,"externalPowerSource":true}"#;
        assert!(matches!(read(Server::ChirpStack, mains), Event::Status { battery_level: None }));
        let join = r#"{"time":"2022-07-18T09:34:15+00:00","deviceInfo":{"devEui":"01"},"devAddr":"00189440"}"#;
        assert!(matches!(read(Server::ChirpStack, join), Event::Other));
        let accept = r#"{"end_device_ids":{"device_id":"a"},"join_accept":{"session_key_id":"x"}}"#;
        assert!(matches!(read(Server::TheThings, accept), Event::Other));
        let tried = r#"{"simulated":true,"uplink_message":{"f_port":1,"frm_payload":"BNI="}}"#;
        assert!(matches!(read(Server::TheThings, tried), Event::Other));
        let text = r#"{"from":1,"type":"text","payload":{"text":"river over bridge"}}"#;
        assert!(matches!(read(Server::Meshtastic, text), Event::Other));
        assert!(Server::ChirpStack.read(b"[1]").is_err());
        assert!(Server::ChirpStack.read(br#"{"data":"*","rxInfo":[{}]}"#).is_err());
    }

    /// Members as in ChirpStack's `integration.proto`, `AckEvent` and `TxAckEvent`.
    #[test]
    fn what_became_of_a_downlink_is_told_though_false_is_absent() {
        let fate = |event: &str| match Server::ChirpStack.read(event.as_bytes()).unwrap() {
            Event::Downlink { id, fate } => {
                assert_eq!(id, "6a1b0d5e-0000-8000-8000-000000000001");
                fate
            }
            other @ (Event::Uplink(_) | Event::Status { .. } | Event::Other) => panic!("{other:?}"),
        };
        let id = r#""queueItemId":"6a1b0d5e-0000-8000-8000-000000000001","fCntDown":7"#;
        let device = r#""time":"2022-07-18T09:34:15+00:00","deviceInfo":{"devEui":"01"}"#;
        let acknowledged = format!("{{{device},{id},\"acknowledged\":true}}");
        assert_eq!(fate(&acknowledged), Fate::Acknowledged);
        assert_eq!(fate(&format!("{{{device},{id}}}")), Fate::Missed);
        let sent =
            r#""downlinkId":12,"gatewayId":"0016c001f153a14c","txInfo":{"frequency":868300000}"#;
        assert_eq!(fate(&format!("{{{device},{id},{sent}}}")), Fate::Sent);
    }

    /// The shape of The Things Stack's documentation, and a packet as Meshtastic's firmware writes it.
    #[test]
    fn the_others_are_read_too() {
        let event = r#"{"end_device_ids":{"device_id":"river-01"},"received_at":"2025-07-25T14:06:30.443Z",
            "uplink_message":{"f_port":5,"f_cnt":521,"frm_payload":"A2cBEAVnAP8=",
            "decoded_payload":{"temperature_3":27.2},"rx_metadata":[{"rssi":-53,"snr":12.2}],
            "last_battery_percentage":{"value":88.0},"received_at":"2025-07-25T14:06:30.232Z"}}"#;
        let the_things = uplink(Server::TheThings, event);
        assert_eq!((the_things.port, the_things.counter, the_things.payload.len()), (5, 521, 8));
        assert_eq!(the_things.stamp, Some(Stamp::Unix(1_753_452_390_232)));
        assert_eq!(the_things.object.unwrap().get(), r#"{"temperature_3":27.2}"#);
        let event = r#"{"dev_eui":"01","fcnt":7,"port":2,"payload":"qg==","reported_at":1700000000000,
            "decoded":{"payload":{"level":3},"status":"success"},"hotspots":[{"rssi":-101.0,"snr":2.5}]}"#;
        let helium = uplink(Server::Helium, event);
        assert_eq!((helium.port, helium.counter), (2, 7));
        assert_eq!(helium.object.unwrap().get(), r#"{"level":3}"#);
        let event = r#"{"channel":0,"from":287454020,"id":2596069104,"rssi":-85,"snr":10.5,
            "payload":{"temperature":23.56},"timestamp":1609459200,"to":4294967295,"type":"telemetry"}"#;
        let mesh = uplink(Server::Meshtastic, event);
        assert_eq!(mesh.node.as_deref(), Some("!11223344"));
        assert_eq!(mesh.stamp, Some(Stamp::Unix(1_609_459_200_000)));
    }

    proptest! {
        #[test]
        fn hostile_events_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,200}") {
            for server in [Server::ChirpStack, Server::TheThings, Server::Helium, Server::Meshtastic] {
                for payload in [&bytes[..], text.as_bytes()] {
                    let _either = server.read(payload).is_ok();
                }
            }
        }
    }
}
