//! One face for the packets of both versions.

use super::hub::{Message, Waiting};
use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::prelude::*;
use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, MessageExpiryInterval, Packet, Property, Qos, RetainHandling,
    ServerKeepAlive, SharedSubscriptionAvailable, SubscriptionIdentifierAvailable,
    TopicAliasMaximum, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError, PubackReasonCode,
    PubrecReasonCode, SubackReasonCode, SubackReturnCode, UnsubackReasonCode,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Topic aliases that a client may use.
const TOPIC_ALIASES_MAX: u16 = 16;

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
    /// It wants a way to authenticate that is not offered.
    pub extended_authentication: bool,
    /// Publications that may await its acknowledgement.
    pub receive_max: u16,
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
    Pubrel {
        id: u16,
    },
    Subscribe {
        id: u16,
        filters: Vec<Filter>,
        identified: bool,
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
    /// A packet that the protocol has checked and that asks for nothing.
    Nothing,
    /// A packet that only servers send, or that is not offered.
    Unexpected,
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
        Packet::V3_1_1Publish(packet) => Incoming::Publish {
            id: packet.packet_id(),
            dup: packet.dup(),
            qos: packet.qos() as u8,
            retain: packet.retain(),
            topic: packet.topic_name().to_owned(),
            payload: Bytes::copy_from_slice(packet.payload().as_slice()),
            properties: Vec::new(),
        },
        Packet::V5_0Publish(packet) => Incoming::Publish {
            id: packet.packet_id(),
            dup: packet.dup(),
            qos: packet.qos() as u8,
            retain: packet.retain(),
            topic: packet.topic_name().to_owned(),
            payload: Bytes::copy_from_slice(packet.payload().as_slice()),
            properties: packet.props().clone(),
        },
        Packet::V3_1_1Puback(packet) => Incoming::Puback { id: packet.packet_id() },
        Packet::V5_0Puback(packet) => Incoming::Puback { id: packet.packet_id() },
        Packet::V3_1_1Pubrel(packet) => Incoming::Pubrel { id: packet.packet_id() },
        Packet::V5_0Pubrel(packet) => Incoming::Pubrel { id: packet.packet_id() },
        Packet::V3_1_1Subscribe(packet) => Incoming::Subscribe {
            id: packet.packet_id(),
            filters: packet
                .entries()
                .iter()
                .map(|entry| filter(entry.topic_filter(), entry.sub_opts().qos()))
                .collect(),
            identified: false,
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
        Packet::V3_1_1Pubrec(_)
        | Packet::V5_0Pubrec(_)
        | Packet::V3_1_1Pubcomp(_)
        | Packet::V5_0Pubcomp(_) => Incoming::Nothing,
        Packet::V5_0Auth(_)
        | Packet::V3_1_1Connack(_)
        | Packet::V5_0Connack(_)
        | Packet::V3_1_1Suback(_)
        | Packet::V5_0Suback(_)
        | Packet::V3_1_1Unsuback(_)
        | Packet::V5_0Unsuback(_)
        | Packet::V3_1_1Pingresp(_)
        | Packet::V5_0Pingresp(_) => Incoming::Unexpected,
    }
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
        from: packet.client_id().into(),
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
        extended_authentication: false,
        receive_max: u16::MAX,
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
            from: packet.client_id().into(),
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
        extended_authentication: number(|p| matches!(p, Property::AuthenticationMethod(_)))
            .is_some(),
        receive_max: receive_max.unwrap_or(u16::MAX),
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
        identified: packet.props().iter().any(|p| matches!(p, Property::SubscriptionIdentifier(_))),
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

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Identifier,
    Credentials,
    Authentication,
    TooMany,
}

/// The answer to CONNECT: welcome.
pub(super) fn welcome(
    connect: &Connect,
    client: &str,
    assigned: bool,
    present: bool,
    keep_alive_s: u16,
) -> Result<Packet, MqttError> {
    match connect.version {
        Version::V3 => v3_1_1::Connack::builder()
            .session_present(present)
            .return_code(ConnectReturnCode::Accepted)
            .build()
            .map(Into::into),
        Version::V5 => {
            let mut properties: Vec<Property> = vec![
                TopicAliasMaximum::new(TOPIC_ALIASES_MAX)?.into(),
                SharedSubscriptionAvailable::new(0)?.into(),
                SubscriptionIdentifierAvailable::new(0)?.into(),
            ];
            if assigned {
                properties.push(AssignedClientIdentifier::new(client)?.into());
            }
            if keep_alive_s != connect.keep_alive_s {
                properties.push(ServerKeepAlive::new(keep_alive_s)?.into());
            }
            v5_0::Connack::builder()
                .session_present(present)
                .reason_code(ConnectReasonCode::Success)
                .props(properties)
                .build()
                .map(Into::into)
        }
    }
}

/// The answer to CONNECT: no.
pub(super) fn refusal(version: Version, why: Refusal) -> Result<Packet, MqttError> {
    match version {
        Version::V3 => {
            let code = match why {
                Refusal::Identifier => ConnectReturnCode::IdentifierRejected,
                Refusal::Credentials | Refusal::Authentication => ConnectReturnCode::NotAuthorized,
                Refusal::TooMany => ConnectReturnCode::ServerUnavailable,
            };
            v3_1_1::Connack::builder()
                .session_present(false)
                .return_code(code)
                .build()
                .map(Into::into)
        }
        Version::V5 => {
            let code = match why {
                Refusal::Identifier => ConnectReasonCode::ClientIdentifierNotValid,
                Refusal::Credentials => ConnectReasonCode::NotAuthorized,
                Refusal::Authentication => ConnectReasonCode::BadAuthenticationMethod,
                Refusal::TooMany => ConnectReasonCode::QuotaExceeded,
            };
            v5_0::Connack::builder()
                .session_present(false)
                .reason_code(code)
                .build()
                .map(Into::into)
        }
    }
}

/// How a publication of QoS 1 or 2 is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Taken,
    NotAuthorised,
    /// It will never be taken.
    Refused,
}

/// PUBACK or PUBREC.
pub(super) fn answer(
    version: Version,
    qos: u8,
    id: u16,
    answer: Answer,
) -> Result<Packet, MqttError> {
    match (version, qos) {
        (Version::V3, 2) => v3_1_1::Pubrec::builder().packet_id(id).build().map(Into::into),
        (Version::V3, _) => v3_1_1::Puback::builder().packet_id(id).build().map(Into::into),
        (Version::V5, 2) => {
            let code = match answer {
                Answer::Taken => PubrecReasonCode::Success,
                Answer::NotAuthorised => PubrecReasonCode::NotAuthorized,
                Answer::Refused => PubrecReasonCode::ImplementationSpecificError,
            };
            v5_0::Pubrec::builder().packet_id(id).reason_code(code).build().map(Into::into)
        }
        (Version::V5, _) => {
            let code = match answer {
                Answer::Taken => PubackReasonCode::Success,
                Answer::NotAuthorised => PubackReasonCode::NotAuthorized,
                Answer::Refused => PubackReasonCode::ImplementationSpecificError,
            };
            v5_0::Puback::builder().packet_id(id).reason_code(code).build().map(Into::into)
        }
    }
}

pub(super) fn pubcomp(version: Version, id: u16) -> Result<Packet, MqttError> {
    match version {
        Version::V3 => v3_1_1::Pubcomp::builder().packet_id(id).build().map(Into::into),
        Version::V5 => v5_0::Pubcomp::builder().packet_id(id).build().map(Into::into),
    }
}

pub(super) fn pong(version: Version) -> Result<Packet, MqttError> {
    match version {
        Version::V3 => v3_1_1::Pingresp::builder().build().map(Into::into),
        Version::V5 => v5_0::Pingresp::builder().build().map(Into::into),
    }
}

/// How a subscription is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granted {
    Qos(u8),
    NotAuthorised,
    Invalid,
    Shared,
    TooMany,
}

pub(super) fn suback(version: Version, id: u16, granted: &[Granted]) -> Result<Packet, MqttError> {
    match version {
        Version::V3 => {
            let code = |granted: &Granted| match granted {
                Granted::Qos(0) => SubackReturnCode::SuccessMaximumQos0,
                Granted::Qos(_) => SubackReturnCode::SuccessMaximumQos1,
                Granted::NotAuthorised | Granted::Invalid | Granted::Shared | Granted::TooMany => {
                    SubackReturnCode::Failure
                }
            };
            let codes = granted.iter().map(code).collect();
            v3_1_1::Suback::builder().packet_id(id).return_codes(codes).build().map(Into::into)
        }
        Version::V5 => {
            let code = |granted: &Granted| match granted {
                Granted::Qos(0) => SubackReasonCode::GrantedQos0,
                Granted::Qos(_) => SubackReasonCode::GrantedQos1,
                Granted::NotAuthorised => SubackReasonCode::NotAuthorized,
                Granted::Invalid => SubackReasonCode::TopicFilterInvalid,
                Granted::Shared => SubackReasonCode::SharedSubscriptionsNotSupported,
                Granted::TooMany => SubackReasonCode::QuotaExceeded,
            };
            let codes = granted.iter().map(code).collect();
            v5_0::Suback::builder().packet_id(id).reason_codes(codes).build().map(Into::into)
        }
    }
}

pub(super) fn unsuback(version: Version, id: u16, existed: &[bool]) -> Result<Packet, MqttError> {
    match version {
        Version::V3 => v3_1_1::Unsuback::builder().packet_id(id).build().map(Into::into),
        Version::V5 => {
            let code = |existed: &bool| {
                if *existed {
                    UnsubackReasonCode::Success
                } else {
                    UnsubackReasonCode::NoSubscriptionExisted
                }
            };
            let codes = existed.iter().map(code).collect();
            v5_0::Unsuback::builder().packet_id(id).reason_codes(codes).build().map(Into::into)
        }
    }
}

/// A message for a subscriber; `id` where its QoS is 1.
pub(super) fn publish(
    version: Version,
    waiting: &Waiting,
    id: Option<u16>,
) -> Result<Packet, MqttError> {
    let message = &waiting.message;
    let qos = if id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
    let dup = waiting.sent_as.is_some();
    match version {
        Version::V3 => {
            let builder = v3_1_1::Publish::builder()
                .topic_name(&*message.topic)?
                .qos(qos)
                .dup(dup)
                .retain(waiting.retain)
                .payload(message.payload.to_vec());
            let builder = if let Some(id) = id { builder.packet_id(id) } else { builder };
            builder.build().map(Into::into)
        }
        Version::V5 => {
            let mut properties = message.properties.to_vec();
            if let Some(expires) = message.expires {
                let left = expires.saturating_duration_since(Instant::now()).as_secs();
                let left = u32::try_from(left).unwrap_or(u32::MAX);
                properties.push(MessageExpiryInterval::new(left)?.into());
            }
            let builder = v5_0::Publish::builder()
                .topic_name(&*message.topic)?
                .qos(qos)
                .dup(dup)
                .retain(waiting.retain)
                .payload(message.payload.to_vec())
                .props(properties);
            let builder = if let Some(id) = id { builder.packet_id(id) } else { builder };
            builder.build().map(Into::into)
        }
    }
}

/// Why the listener ends a connection, where the version lets it say so.
pub(super) fn goodbye(version: Version, code: DisconnectReasonCode) -> Option<Packet> {
    match version {
        Version::V3 => None,
        Version::V5 => v5_0::Disconnect::builder().reason_code(code).build().ok().map(Into::into),
    }
}
