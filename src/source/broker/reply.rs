//! What is said to clients, in both versions.

use super::packet::Version;
use super::session::Waiting;
use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, MessageExpiryInterval, Packet, Property, Qos, ReceiveMaximum,
    ServerKeepAlive, SessionExpiryInterval, SubscriptionIdentifier, TopicAliasMaximum, v3_1_1,
    v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError, PubackReasonCode,
    PubcompReasonCode, PubrecReasonCode, SubackReasonCode, SubackReturnCode, UnsubackReasonCode,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Topic aliases that a client may use.
const TOPIC_ALIASES_MAX: u16 = 16;

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Identifier,
    /// The user is not known, or the password is wrong; which of them is not told.
    Credentials,
    /// There is no user name, and nobody comes in without.
    NoUser,
    /// A way to authenticate that is not offered.
    Authentication,
    TooMany,
    Malformed,
    /// The will could not be published.
    WillTopic,
}

/// What a client is told when it is let in.
#[derive(Debug)]
pub(super) struct Welcome {
    pub version: Version,
    /// The name that was made up for a client without one.
    pub assigned: Option<Arc<str>>,
    pub present: bool,
    /// The keep alive that it has to use instead of its own.
    pub keep_alive_s: Option<u16>,
    /// How long its session lives, if that is not what it asked for.
    pub expiry: Option<Duration>,
    pub receive_max: u16,
}

/// The answer to CONNECT: welcome. The protocol adds the bound of packets.
pub(super) fn welcome(welcome: &Welcome) -> Result<Packet, MqttError> {
    match welcome.version {
        Version::V3 => v3_1_1::Connack::builder()
            .session_present(welcome.present)
            .return_code(ConnectReturnCode::Accepted)
            .build()
            .map(Into::into),
        Version::V5 => {
            let mut properties: Vec<Property> = vec![
                ReceiveMaximum::new(welcome.receive_max.max(1))?.into(),
                TopicAliasMaximum::new(TOPIC_ALIASES_MAX)?.into(),
            ];
            if let Some(client) = &welcome.assigned {
                properties.push(AssignedClientIdentifier::new(&**client)?.into());
            }
            if let Some(seconds) = welcome.keep_alive_s {
                properties.push(ServerKeepAlive::new(seconds)?.into());
            }
            if let Some(expiry) = welcome.expiry {
                let seconds = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
                properties.push(SessionExpiryInterval::new(seconds)?.into());
            }
            v5_0::Connack::builder()
                .session_present(welcome.present)
                .reason_code(ConnectReasonCode::Success)
                .props(properties)
                .build()
                .map(Into::into)
        }
    }
}

/// The bytes of the answer to CONNECT: no. Empty where the version has no word for the reason, and nothing may be said
/// (MQTT 3.1.1, MQTT-3.2.2-6).
pub(super) fn refusal(version: Version, why: Refusal) -> Vec<u8> {
    match version {
        Version::V3 => {
            let code = match why {
                Refusal::Identifier => ConnectReturnCode::IdentifierRejected,
                Refusal::Credentials | Refusal::NoUser => ConnectReturnCode::NotAuthorized,
                Refusal::TooMany => ConnectReturnCode::ServerUnavailable,
                Refusal::Authentication | Refusal::Malformed | Refusal::WillTopic => {
                    return Vec::new();
                }
            };
            vec![0x20, 2, 0, code as u8]
        }
        Version::V5 => {
            let code = match why {
                Refusal::Identifier => ConnectReasonCode::ClientIdentifierNotValid,
                Refusal::Credentials => ConnectReasonCode::BadUserNameOrPassword,
                Refusal::NoUser => ConnectReasonCode::NotAuthorized,
                Refusal::Authentication => ConnectReasonCode::BadAuthenticationMethod,
                Refusal::TooMany => ConnectReasonCode::QuotaExceeded,
                Refusal::Malformed => ConnectReasonCode::MalformedPacket,
                Refusal::WillTopic => ConnectReasonCode::TopicNameInvalid,
            };
            vec![0x20, 3, 0, code as u8, 0]
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

/// PUBREL.
pub(super) fn pubrel(version: Version, id: u16) -> Result<Packet, MqttError> {
    match version {
        Version::V3 => v3_1_1::Pubrel::builder().packet_id(id).build().map(Into::into),
        Version::V5 => v5_0::Pubrel::builder().packet_id(id).build().map(Into::into),
    }
}

/// PUBCOMP; `known` says whether the identifier was in use.
pub(super) fn pubcomp(version: Version, id: u16, known: bool) -> Result<Packet, MqttError> {
    match version {
        Version::V3 => v3_1_1::Pubcomp::builder().packet_id(id).build().map(Into::into),
        Version::V5 => {
            let builder = v5_0::Pubcomp::builder().packet_id(id);
            let code = PubcompReasonCode::PacketIdentifierNotFound;
            let builder = if known { builder } else { builder.reason_code(code) };
            builder.build().map(Into::into)
        }
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
    TooMany,
}

pub(super) fn suback(version: Version, id: u16, granted: &[Granted]) -> Result<Packet, MqttError> {
    match version {
        Version::V3 => {
            let code = |granted: &Granted| match granted {
                Granted::Qos(0) => SubackReturnCode::SuccessMaximumQos0,
                Granted::Qos(1) => SubackReturnCode::SuccessMaximumQos1,
                Granted::Qos(_) => SubackReturnCode::SuccessMaximumQos2,
                Granted::NotAuthorised | Granted::Invalid | Granted::TooMany => {
                    SubackReturnCode::Failure
                }
            };
            let codes = granted.iter().map(code).collect();
            v3_1_1::Suback::builder().packet_id(id).return_codes(codes).build().map(Into::into)
        }
        Version::V5 => {
            let code = |granted: &Granted| match granted {
                Granted::Qos(0) => SubackReasonCode::GrantedQos0,
                Granted::Qos(1) => SubackReasonCode::GrantedQos1,
                Granted::Qos(_) => SubackReasonCode::GrantedQos2,
                Granted::NotAuthorised => SubackReasonCode::NotAuthorized,
                Granted::Invalid => SubackReasonCode::TopicFilterInvalid,
                Granted::TooMany => SubackReasonCode::QuotaExceeded,
            };
            let codes = granted.iter().map(code).collect();
            v5_0::Suback::builder().packet_id(id).reason_codes(codes).build().map(Into::into)
        }
    }
}

/// UNSUBACK; each filter with whether there was such a subscription, or `None` where there can be none.
pub(super) fn unsuback(
    version: Version,
    id: u16,
    existed: &[Option<bool>],
) -> Result<Packet, MqttError> {
    match version {
        Version::V3 => v3_1_1::Unsuback::builder().packet_id(id).build().map(Into::into),
        Version::V5 => {
            let code = |existed: &Option<bool>| match existed {
                Some(true) => UnsubackReasonCode::Success,
                Some(false) => UnsubackReasonCode::NoSubscriptionExisted,
                None => UnsubackReasonCode::TopicFilterInvalid,
            };
            let codes = existed.iter().map(code).collect();
            v5_0::Unsuback::builder().packet_id(id).reason_codes(codes).build().map(Into::into)
        }
    }
}

/// A message for a subscriber; with `id` where its QoS is 1 or 2.
pub(super) fn publish(
    version: Version,
    waiting: &Waiting,
    id: Option<u16>,
) -> Result<Packet, MqttError> {
    let message = &waiting.message;
    let qos = match waiting.qos {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    };
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
            for identifier in &waiting.identifiers {
                properties.push(SubscriptionIdentifier::new(*identifier)?.into());
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
