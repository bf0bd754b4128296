//! One face for what clients of both versions send.

use super::hub::Message;
use super::reply::Refusal;
use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::prelude::*;
use mqtt_protocol_core::mqtt::packet::{Packet, Property, Qos, RetainHandling, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, PubrecReasonCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Which MQTT a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V3,
    V5,
}

/// What a client asks for when it connects.
#[derive(Debug)]
pub(super) struct Connect {
    pub version: Version,
    pub client: String,
    pub clean: bool,
    /// How long the session is to outlive the connection.
    pub expiry: Duration,
    pub keep_alive_s: u16,
    pub user: Option<String>,
    pub password: Option<Vec<u8>>,
    pub will: Option<(Duration, Message)>,
    /// Why it is not let in, whoever it is.
    pub fault: Option<Refusal>,
    /// Publications that may await its acknowledgement.
    pub receive_max: u16,
    /// Aliases may stand for topics. An alias would add to a packet after its length has been held against the client's
    /// bound, so that a client with one gets none.
    pub takes_aliases: bool,
}

/// What a client sends after that.
#[derive(Debug)]
pub(super) enum Incoming {
    Connect(Box<Connect>),
    Publish {
        id: Option<u16>,
        dup: bool,
        qos: u8,
        retain: bool,
        topic: String,
        payload: Bytes,
        properties: Vec<Property>,
    },
    Puback {
        id: u16,
    },
    Pubrec {
        id: u16,
        /// The client refuses the message.
        refused: bool,
    },
    Pubrel {
        id: u16,
    },
    Pubcomp {
        id: u16,
    },
    Subscribe {
        id: u16,
        filters: Vec<Filter>,
        /// Number by which the client wants to know these subscriptions.
        identifier: Option<u32>,
    },
    Unsubscribe {
        id: u16,
        filters: Vec<String>,
    },
    Ping,
    Disconnect {
        with_will: bool,
        expiry: Option<Duration>,
    },
    /// A packet that no client may send, or not so.
    Broken(DisconnectReasonCode),
}

/// A filter that a client wants to follow.
#[derive(Debug)]
pub(super) struct Filter {
    pub pattern: String,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    /// 0: always, 1: for a new subscription, 2: never.
    pub retain_handling: u8,
}

/// Reads a packet.
pub(super) fn incoming(packet: Packet) -> Incoming {
    match packet {
        Packet::V3_1_1Connect(packet) => Incoming::Connect(Box::new(connect_v3(&packet))),
        Packet::V5_0Connect(packet) => Incoming::Connect(Box::new(connect_v5(&packet))),
        Packet::V3_1_1Publish(packet) => publish(Incoming::Publish {
            id: packet.packet_id(),
            dup: packet.dup(),
            qos: packet.qos() as u8,
            retain: packet.retain(),
            topic: packet.topic_name().to_owned(),
            payload: Bytes::copy_from_slice(packet.payload().as_slice()),
            properties: Vec::new(),
        }),
        Packet::V5_0Publish(packet) => publish(Incoming::Publish {
            id: packet.packet_id(),
            dup: packet.dup(),
            qos: packet.qos() as u8,
            retain: packet.retain(),
            topic: packet.topic_name().to_owned(),
            payload: Bytes::copy_from_slice(packet.payload().as_slice()),
            properties: packet.props().clone(),
        }),
        Packet::V3_1_1Puback(packet) => Incoming::Puback { id: packet.packet_id() },
        Packet::V5_0Puback(packet) => Incoming::Puback { id: packet.packet_id() },
        Packet::V3_1_1Pubrec(packet) => Incoming::Pubrec { id: packet.packet_id(), refused: false },
        Packet::V5_0Pubrec(packet) => Incoming::Pubrec {
            id: packet.packet_id(),
            refused: packet.reason_code().is_some_and(|code| code != PubrecReasonCode::Success),
        },
        Packet::V3_1_1Pubcomp(packet) => Incoming::Pubcomp { id: packet.packet_id() },
        Packet::V5_0Pubcomp(packet) => Incoming::Pubcomp { id: packet.packet_id() },
        Packet::V3_1_1Pubrel(packet) => Incoming::Pubrel { id: packet.packet_id() },
        Packet::V5_0Pubrel(packet) => Incoming::Pubrel { id: packet.packet_id() },
        Packet::V3_1_1Subscribe(packet) => Incoming::Subscribe {
            id: packet.packet_id(),
            filters: packet
                .entries()
                .iter()
                .map(|entry| filter(entry.topic_filter(), entry.sub_opts().qos()))
                .collect(),
            identifier: None,
        },
        Packet::V5_0Subscribe(packet) => subscribe_v5(&packet),
        Packet::V3_1_1Unsubscribe(packet) => Incoming::Unsubscribe {
            id: packet.packet_id(),
            filters: packet.entries().iter().map(|f| f.as_str().to_owned()).collect(),
        },
        Packet::V5_0Unsubscribe(packet) => Incoming::Unsubscribe {
            id: packet.packet_id(),
            filters: packet.entries().iter().map(|f| f.as_str().to_owned()).collect(),
        },
        Packet::V3_1_1Pingreq(_) | Packet::V5_0Pingreq(_) => Incoming::Ping,
        Packet::V3_1_1Disconnect(_) => Incoming::Disconnect { with_will: false, expiry: None },
        Packet::V5_0Disconnect(packet) => Incoming::Disconnect {
            with_will: packet.reason_code()
                == Some(DisconnectReasonCode::DisconnectWithWillMessage),
            expiry: packet.props().as_ref().and_then(|p| session_expiry(p)),
        },
        Packet::V5_0Auth(_)
        | Packet::V3_1_1Connack(_)
        | Packet::V5_0Connack(_)
        | Packet::V3_1_1Suback(_)
        | Packet::V5_0Suback(_)
        | Packet::V3_1_1Unsuback(_)
        | Packet::V5_0Unsuback(_)
        | Packet::V3_1_1Pingresp(_)
        | Packet::V5_0Pingresp(_) => Incoming::Broken(DisconnectReasonCode::ProtocolError),
    }
}

/// Checks what the protocol's reader lets pass: U+0000 and wildcards in topics (MQTT-1.5.4-2, MQTT-3.3.2-2,
/// MQTT-3.3.2-14), and identifiers of subscriptions, which only a server may send (MQTT-3.3.4-6).
fn publish(incoming: Incoming) -> Incoming {
    let Incoming::Publish { topic, properties, .. } = &incoming else { return incoming };
    if !is_topic(topic) {
        return Incoming::Broken(DisconnectReasonCode::TopicNameInvalid);
    }
    let broken = properties.iter().any(|property| {
        matches!(property, Property::SubscriptionIdentifier(_))
            || matches!(property, Property::ResponseTopic(topic) if !is_topic(topic.val()))
    });
    if broken { Incoming::Broken(DisconnectReasonCode::ProtocolError) } else { incoming }
}

/// Returns whether something can be published to a topic: MQTT 5 §4.7.
fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['+', '#', '\0'])
}

/// Returns why a client cannot be let in, whoever it is.
fn fault(client: &str, user: Option<&str>, will: Option<&str>) -> Option<Refusal> {
    if client.contains('\0') || user.is_some_and(|user| user.contains('\0')) {
        return Some(Refusal::Malformed);
    }
    will.is_some_and(|topic| !is_topic(topic)).then_some(Refusal::WillTopic)
}

fn connect_v3(packet: &v3_1_1::Connect) -> Connect {
    let clean = packet.clean_session();
    let will = packet.will_topic().map(|topic| Message {
        topic: topic.into(),
        payload: Bytes::copy_from_slice(packet.will_payload().unwrap_or_default()),
        qos: packet.will_qos() as u8,
        retain: packet.will_retain(),
        expires: None,
        properties: Arc::from([]),
        from: Arc::from(""),
    });
    Connect {
        version: Version::V3,
        client: packet.client_id().to_owned(),
        clean,
        expiry: if clean { Duration::ZERO } else { Duration::MAX },
        keep_alive_s: packet.keep_alive(),
        user: packet.user_name().map(str::to_owned),
        password: packet.password().map(<[u8]>::to_vec),
        will: will.map(|message| (Duration::ZERO, message)),
        fault: fault(packet.client_id(), packet.user_name(), packet.will_topic()),
        receive_max: u16::MAX,
        takes_aliases: false,
    }
}

fn connect_v5(packet: &v5_0::Connect) -> Connect {
    let number = |wanted: fn(&Property) -> bool| packet.props().iter().find(|p| wanted(p));
    let receive_max =
        number(|p| matches!(p, Property::ReceiveMaximum(_))).and_then(Property::as_u16);
    let will = packet.will_topic().map(|topic| {
        let properties = packet.will_props();
        let delay = properties
            .iter()
            .find(|p| matches!(p, Property::WillDelayInterval(_)))
            .and_then(Property::as_u32);
        let message = Message {
            topic: topic.into(),
            payload: Bytes::copy_from_slice(packet.will_payload().unwrap_or_default()),
            qos: packet.will_qos() as u8,
            retain: packet.will_retain(),
            expires: expiry(properties),
            properties: passed_on(properties),
            from: Arc::from(""),
        };
        (Duration::from_secs(delay.unwrap_or(0).into()), message)
    });
    Connect {
        version: Version::V5,
        client: packet.client_id().to_owned(),
        clean: packet.clean_start(),
        expiry: session_expiry(packet.props()).unwrap_or_default(),
        keep_alive_s: packet.keep_alive(),
        user: packet.user_name().map(str::to_owned),
        password: packet.password().map(<[u8]>::to_vec),
        will,
        fault: number(|p| matches!(p, Property::AuthenticationMethod(_)))
            .map(|_| Refusal::Authentication)
            .or_else(|| fault(packet.client_id(), packet.user_name(), packet.will_topic())),
        receive_max: receive_max.unwrap_or(u16::MAX),
        takes_aliases: number(|p| matches!(p, Property::MaximumPacketSize(_))).is_none(),
    }
}

fn session_expiry(properties: &[Property]) -> Option<Duration> {
    let found = properties.iter().find(|p| matches!(p, Property::SessionExpiryInterval(_)));
    // All ones: never (MQTT 5 §3.1.2.11.2).
    found
        .and_then(Property::as_u32)
        .map(|s| if s == u32::MAX { Duration::MAX } else { Duration::from_secs(s.into()) })
}

fn filter(pattern: &str, qos: Qos) -> Filter {
    Filter {
        pattern: pattern.to_owned(),
        qos: qos as u8,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
    }
}

fn subscribe_v5(packet: &v5_0::Subscribe) -> Incoming {
    // MQTT-3.8.3-4: the others of the group would get what this one published, or nobody.
    let shared = |filter: &str| filter.starts_with("$share/");
    if packet.entries().iter().any(|e| e.sub_opts().nl() && shared(e.topic_filter())) {
        return Incoming::Broken(DisconnectReasonCode::ProtocolError);
    }
    let filters = packet.entries().iter().map(|entry| {
        let options = entry.sub_opts();
        Filter {
            no_local: options.nl(),
            retain_as_published: options.rap(),
            retain_handling: match options.rh() {
                RetainHandling::SendRetained => 0,
                RetainHandling::SendRetainedIfNotExists => 1,
                RetainHandling::DoNotSendRetained => 2,
            },
            ..filter(entry.topic_filter(), options.qos())
        }
    });
    Incoming::Subscribe {
        id: packet.packet_id(),
        filters: filters.collect(),
        identifier: packet
            .props()
            .iter()
            .find(|p| matches!(p, Property::SubscriptionIdentifier(_)))
            .and_then(Property::as_u32),
    }
}

/// Returns when a message with these properties is of no use any more.
pub(super) fn expiry(properties: &[Property]) -> Option<Instant> {
    let found = properties.iter().find(|p| matches!(p, Property::MessageExpiryInterval(_)));
    found.and_then(Property::as_u32).map(|s| Instant::now() + Duration::from_secs(s.into()))
}

/// Returns the properties that go with a message to its subscribers unchanged: MQTT 5 §3.3.2.3.
pub(super) fn passed_on(properties: &[Property]) -> Arc<[Property]> {
    let goes = |p: &&Property| {
        matches!(
            p,
            Property::PayloadFormatIndicator(_)
                | Property::ContentType(_)
                | Property::ResponseTopic(_)
                | Property::CorrelationData(_)
                | Property::UserProperty(_)
        )
    };
    properties.iter().filter(goes).cloned().collect()
}
