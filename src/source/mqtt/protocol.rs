//! The two versions of MQTT behind one face. `rumqttc` keeps a module for each; this is the only place that knows both.

use super::{INFLIGHT_MAX, PACKET_BYTES_MAX, Settings, Version};
use crate::domain::frame::Publication as Said;
use bytes::Bytes;
use rumqttc::{QoS, Transport, v5};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Longest packet that MQTT has: MQTT 3.1.1 §2.2.3. A client of 3.1.1 cannot tell the broker what it takes, and what it
/// does not read it is sent again for ever.
const V3_PACKET_BYTES_MAX: usize = 268_435_460;
/// Requests that wait for the event loop: an acknowledgement for every packet identifier there is, SUBSCRIBE, DISCONNECT.
/// With fewer places an acknowledgement could find none.
const REQUESTS_MAX: usize = 65_535 + 2;
/// Publications of our own in flight: orders to sirens. Each costs a place in a table.
const OWN_INFLIGHT_MAX: u16 = 8;
/// Shortest silence that `rumqttc` lets one promise.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(5);
/// Longest silence that fits into CONNECT: MQTT 3.1.1 §3.1.2.10.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(u16::MAX as u64);

/// Why a connection failed, in the operator's words.
#[derive(Debug, Error)]
pub(super) enum Error {
    #[error("the broker cannot be reached")]
    Unreachable(#[source] io::Error),
    #[error("the broker does not answer")]
    Silent,
    #[error("TLS with the broker fails")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the broker refuses: {0}")]
    Refused(&'static str),
    #[error("the broker has closed the connection")]
    Closed,
    #[error("the broker has ended the connection: {0}")]
    Ended(&'static str),
    #[error("the broker and the gateway do not understand each other")]
    Protocol(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the client of the broker does not take requests")]
    Requests,
}

/// How a broker is asked to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// QoS 1: it keeps what is not acknowledged, and sends no more than a window of it.
    Acknowledged,
    /// QoS 0: it sends everything at once, and keeps nothing.
    Unacknowledged,
}

impl Delivery {
    fn qos(self) -> QoS {
        match self {
            Self::Acknowledged => QoS::AtLeastOnce,
            Self::Unacknowledged => QoS::AtMostOnce,
        }
    }
}

/// What comes from a broker.
#[derive(Debug)]
pub(super) enum Incoming {
    /// It lets us in.
    Connected {
        /// It still knows the session: what it kept meanwhile comes now.
        session: bool,
    },
    /// It answers SUBSCRIBE: for each filter the quality of service, or why not.
    Subscribed(Vec<Result<u8, &'static str>>),
    /// A publication.
    Publication(Publication),
    /// DISCONNECT is on its way to it.
    Goodbye,
    /// Anything that concerns the protocol alone.
    Nothing,
}

/// A publication, as it came.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) ticket: Ticket,
    pub(super) dup: bool,
    pub(super) retain: bool,
    /// `None` when it is no UTF-8.
    pub(super) topic: Option<Arc<str>>,
    pub(super) payload: Bytes,
}

/// What an acknowledgement names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub(super) qos: QoS,
    pub(super) id: u16,
}

impl Ticket {
    /// Returns whether the broker waits for an acknowledgement.
    pub(super) fn wants_word(self) -> bool {
        self.qos != QoS::AtMostOnce
    }
}

/// The side that reads. It must be polled, or nothing moves, requests neither.
pub(super) enum Events {
    V3(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
}

/// The side that writes. It never waits.
pub(super) enum Requests {
    V3(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

/// Makes the two sides of one connection, which begins with the first poll. Nothing of an earlier connection lives on:
/// `rumqttc` would carry over what the broker sends again by itself.
pub(super) fn open(settings: &Settings) -> (Requests, Events) {
    match settings.version {
        Version::V3 => {
            let (client, events) = rumqttc::AsyncClient::new(options_v3(settings), REQUESTS_MAX);
            (Requests::V3(client), Events::V3(Box::new(events)))
        }
        Version::V5 => {
            let (client, events) = v5::AsyncClient::new(options_v5(settings), REQUESTS_MAX);
            (Requests::V5(client), Events::V5(Box::new(events)))
        }
    }
}

fn transport(settings: &Settings) -> Transport {
    match &settings.tls {
        None => Transport::Tcp,
        Some(config) => {
            Transport::tls_with_config(rumqttc::TlsConfiguration::Rustls(Arc::clone(config)))
        }
    }
}

fn options_v3(settings: &Settings) -> rumqttc::MqttOptions {
    let mut options = rumqttc::MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options
        .set_transport(transport(settings))
        .set_keep_alive(settings.keep_alive.clamp(KEEP_ALIVE_MIN, KEEP_ALIVE_MAX))
        .set_clean_session(false)
        .set_manual_acks(true)
        .set_inflight(OWN_INFLIGHT_MAX)
        .set_max_packet_size(V3_PACKET_BYTES_MAX, V3_PACKET_BYTES_MAX);
    if let Some(login) = &settings.login {
        options.set_credentials(&login.user, login.password());
    }
    options
}

fn options_v5(settings: &Settings) -> v5::MqttOptions {
    let expiry = u32::try_from(settings.session_expiry.as_secs()).unwrap_or(u32::MAX);
    let mut options = v5::MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options
        .set_transport(transport(settings))
        .set_keep_alive(settings.keep_alive.clamp(KEEP_ALIVE_MIN, KEEP_ALIVE_MAX))
        .set_clean_start(false)
        .set_session_expiry_interval(Some(expiry))
        .set_receive_maximum(Some(INFLIGHT_MAX))
        .set_max_packet_size(Some(PACKET_BYTES_MAX))
        .set_manual_acks(true)
        .set_outgoing_inflight_upper_limit(OWN_INFLIGHT_MAX);
    if let Some(login) = &settings.login {
        options.set_credentials(&login.user, login.password());
    }
    options
}

impl Requests {
    /// Asks for everything that the filters describe, and nothing that was retained.
    pub(super) fn subscribe(&self, filters: &[String], delivery: Delivery) -> Result<(), Error> {
        match self {
            Self::V3(client) => {
                let filters = filters
                    .iter()
                    .map(|f| rumqttc::SubscribeFilter::new(f.clone(), delivery.qos()));
                client.try_subscribe_many(filters).map_err(|_| Error::Requests)
            }
            Self::V5(client) => {
                let filters = filters.iter().map(|f| {
                    let mut filter =
                        v5::mqttbytes::v5::Filter::new(f.clone(), to_qos_5(delivery.qos()));
                    filter.retain_forward_rule = v5::mqttbytes::v5::RetainForwardRule::Never;
                    filter
                });
                client.try_subscribe_many(filters).map_err(|_| Error::Requests)
            }
        }
    }

    /// Tells the broker that it may forget a publication.
    pub(super) fn acknowledge(&self, ticket: Ticket) -> Result<(), Error> {
        match self {
            Self::V3(client) => {
                let mut publish = rumqttc::Publish::new("", ticket.qos, Vec::new());
                publish.pkid = ticket.id;
                client.try_ack(&publish).map_err(|_| Error::Requests)
            }
            Self::V5(client) => {
                let publish = v5::mqttbytes::v5::Publish {
                    qos: to_qos_5(ticket.qos),
                    pkid: ticket.id,
                    ..Default::default()
                };
                client.try_ack(&publish).map_err(|_| Error::Requests)
            }
        }
    }

    /// Publishes, to be acknowledged by the broker (QoS 1), and not to be kept for those who subscribe later.
    pub(super) fn publish(&self, said: Said) -> Result<(), Error> {
        let Said { topic, payload } = said;
        match self {
            Self::V3(client) => client
                .try_publish(topic, QoS::AtLeastOnce, false, payload)
                .map_err(|_| Error::Requests),
            Self::V5(client) => client
                .try_publish(topic, to_qos_5(QoS::AtLeastOnce), false, payload)
                .map_err(|_| Error::Requests),
        }
    }

    /// Says goodbye, after the acknowledgements that are on their way. The session stays with the broker.
    pub(super) fn goodbye(&self) -> Result<(), Error> {
        match self {
            Self::V3(client) => client.try_disconnect().map_err(|_| Error::Requests),
            Self::V5(client) => client.try_disconnect().map_err(|_| Error::Requests),
        }
    }
}

const fn to_qos_5(qos: QoS) -> v5::mqttbytes::QoS {
    match qos {
        QoS::AtMostOnce => v5::mqttbytes::QoS::AtMostOnce,
        QoS::AtLeastOnce => v5::mqttbytes::QoS::AtLeastOnce,
        QoS::ExactlyOnce => v5::mqttbytes::QoS::ExactlyOnce,
    }
}

const fn from_qos_5(qos: v5::mqttbytes::QoS) -> QoS {
    match qos {
        v5::mqttbytes::QoS::AtMostOnce => QoS::AtMostOnce,
        v5::mqttbytes::QoS::AtLeastOnce => QoS::AtLeastOnce,
        v5::mqttbytes::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

impl Events {
    /// Connects at the first call, then reads, and writes what was requested.
    ///
    /// # Cancel safety
    ///
    /// To be dropped only when the connection is given up.
    pub(super) async fn poll(&mut self) -> Result<Incoming, Error> {
        match self {
            Self::V3(events) => match events.poll().await {
                Ok(event) => Ok(incoming_v3(event)),
                Err(error) => Err(error_v3(error)),
            },
            Self::V5(events) => match events.poll().await {
                Ok(event) => Ok(incoming_v5(event)),
                Err(error) => Err(error_v5(error)),
            },
        }
    }
}

fn incoming_v3(event: rumqttc::Event) -> Incoming {
    use rumqttc::{Event, Outgoing, Packet, SubscribeReasonCode};
    match event {
        Event::Incoming(Packet::ConnAck(ack)) => {
            Incoming::Connected { session: ack.session_present }
        }
        Event::Incoming(Packet::Publish(publish)) => Incoming::Publication(Publication {
            ticket: Ticket { qos: publish.qos, id: publish.pkid },
            dup: publish.dup,
            retain: publish.retain,
            topic: Some(publish.topic.into()),
            payload: publish.payload,
        }),
        Event::Incoming(Packet::SubAck(ack)) => {
            let granted = ack.return_codes.into_iter().map(|code| match code {
                SubscribeReasonCode::Success(qos) => Ok(qos as u8),
                SubscribeReasonCode::Failure => Err("not granted"),
            });
            Incoming::Subscribed(granted.collect())
        }
        Event::Outgoing(Outgoing::Disconnect) => Incoming::Goodbye,
        Event::Incoming(_) | Event::Outgoing(_) => Incoming::Nothing,
    }
}

fn incoming_v5(event: v5::Event) -> Incoming {
    use rumqttc::Outgoing;
    use v5::Event;
    use v5::mqttbytes::v5::{Packet, SubscribeReasonCode as Code};
    match event {
        Event::Incoming(Packet::ConnAck(ack)) => {
            Incoming::Connected { session: ack.session_present }
        }
        Event::Incoming(Packet::Publish(publish)) => Incoming::Publication(Publication {
            ticket: Ticket { qos: from_qos_5(publish.qos), id: publish.pkid },
            dup: publish.dup,
            retain: publish.retain,
            topic: std::str::from_utf8(&publish.topic).ok().map(Arc::from),
            payload: publish.payload,
        }),
        Event::Incoming(Packet::SubAck(ack)) => {
            let granted = ack.return_codes.into_iter().map(|code| match code {
                Code::Success(qos) => Ok(from_qos_5(qos) as u8),
                Code::NotAuthorized => Err("not authorised"),
                Code::QuotaExceeded => Err("quota exceeded"),
                Code::TopicFilterInvalid => Err("the filter is not accepted"),
                Code::WildcardSubscriptionsNotSupported => Err("no wildcards"),
                Code::Failure
                | Code::Unspecified
                | Code::ImplementationSpecific
                | Code::PkidInUse
                | Code::SharedSubscriptionsNotSupported
                | Code::SubscriptionIdNotSupported => Err("not granted"),
            });
            Incoming::Subscribed(granted.collect())
        }
        Event::Outgoing(Outgoing::Disconnect) => Incoming::Goodbye,
        Event::Incoming(_) | Event::Outgoing(_) => Incoming::Nothing,
    }
}

const BAD_LOGIN: &str = "the user name or the password is wrong";
const NOT_AUTHORISED: &str = "this client may not connect";
const BAD_IDENTIFIER: &str = "it does not take the client identifier";
const BAD_VERSION: &str = "it does not speak this version of MQTT";
const UNAVAILABLE: &str = "it is not available";

fn error_v3(error: rumqttc::ConnectionError) -> Error {
    use rumqttc::{ConnectReturnCode as Code, ConnectionError, StateError};
    match error {
        ConnectionError::Io(error) => Error::Unreachable(error),
        ConnectionError::NetworkTimeout
        | ConnectionError::FlushTimeout
        | ConnectionError::MqttState(StateError::AwaitPingResp) => Error::Silent,
        ConnectionError::Tls(error) => tls_error(error),
        ConnectionError::ConnectionRefused(code) => Error::Refused(match code {
            Code::BadUserNamePassword => BAD_LOGIN,
            Code::NotAuthorized => NOT_AUTHORISED,
            Code::BadClientId => BAD_IDENTIFIER,
            Code::RefusedProtocolVersion => BAD_VERSION,
            Code::ServiceUnavailable | Code::Success => UNAVAILABLE,
        }),
        ConnectionError::MqttState(
            StateError::ConnectionAborted
            | StateError::Io(_)
            | StateError::Deserialization(rumqttc::mqttbytes::Error::Io(_)),
        ) => Error::Closed,
        ConnectionError::MqttState(error) => Error::Protocol(Box::new(error)),
        error @ (ConnectionError::NotConnAck(_) | ConnectionError::RequestsDone) => {
            Error::Protocol(Box::new(error))
        }
    }
}

fn error_v5(error: v5::ConnectionError) -> Error {
    use v5::mqttbytes::v5::ConnectReturnCode as Code;
    use v5::{ConnectionError, StateError};
    match error {
        ConnectionError::Io(error) => Error::Unreachable(error),
        ConnectionError::Timeout(_) | ConnectionError::MqttState(StateError::AwaitPingResp) => {
            Error::Silent
        }
        ConnectionError::Tls(error) => tls_error(error),
        ConnectionError::ConnectionRefused(code) => Error::Refused(match code {
            Code::BadUserNamePassword => BAD_LOGIN,
            Code::NotAuthorized | Code::Banned => NOT_AUTHORISED,
            Code::BadClientId | Code::ClientIdentifierNotValid => BAD_IDENTIFIER,
            Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => BAD_VERSION,
            Code::BadAuthenticationMethod => "it wants another way to log in",
            Code::QuotaExceeded | Code::ConnectionRateExceeded => "we connect too often",
            Code::UseAnotherServer | Code::ServerMoved => "it has moved",
            Code::MalformedPacket
            | Code::ProtocolError
            | Code::ImplementationSpecificError
            | Code::TopicNameInvalid
            | Code::PacketTooLarge
            | Code::PayloadFormatInvalid
            | Code::RetainNotSupported
            | Code::QoSNotSupported => "it does not understand us",
            Code::ServiceUnavailable
            | Code::ServerUnavailable
            | Code::ServerBusy
            | Code::UnspecifiedError
            | Code::Success => UNAVAILABLE,
        }),
        ConnectionError::MqttState(
            StateError::ConnectionAborted
            | StateError::Io(_)
            | StateError::Deserialization(v5::mqttbytes::Error::Io(_)),
        ) => Error::Closed,
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            ended(reason_code)
        }
        ConnectionError::MqttState(error) => Error::Protocol(Box::new(error)),
        error @ (ConnectionError::NotConnAck(_) | ConnectionError::RequestsDone) => {
            Error::Protocol(Box::new(error))
        }
    }
}

fn ended(reason: v5::mqttbytes::v5::DisconnectReasonCode) -> Error {
    use v5::mqttbytes::v5::DisconnectReasonCode as Code;
    Error::Ended(match reason {
        Code::SessionTakenOver => "another client has come with the same client identifier",
        Code::ServerShuttingDown => "it is shutting down",
        Code::ServerBusy => "it is busy",
        Code::KeepAliveTimeout => "it has not heard us for too long",
        Code::NotAuthorized => NOT_AUTHORISED,
        Code::AdministrativeAction => "its operator wants it",
        Code::UseAnotherServer | Code::ServerMoved => "it has moved",
        Code::QuotaExceeded | Code::MessageRateTooHigh | Code::ConnectionRateExceeded => {
            "we ask too much of it"
        }
        Code::NormalDisconnection
        | Code::DisconnectWithWillMessage
        | Code::UnspecifiedError
        | Code::MaximumConnectTime => "it does not say why",
        Code::MalformedPacket
        | Code::ProtocolError
        | Code::ImplementationSpecificError
        | Code::TopicFilterInvalid
        | Code::TopicNameInvalid
        | Code::ReceiveMaximumExceeded
        | Code::TopicAliasInvalid
        | Code::PacketTooLarge
        | Code::PayloadFormatInvalid
        | Code::RetainNotSupported
        | Code::QoSNotSupported
        | Code::SharedSubscriptionNotSupported
        | Code::SubscriptionIdentifiersNotSupported
        | Code::WildcardSubscriptionsNotSupported => "it does not understand us",
    })
}

fn tls_error(error: rumqttc::TlsError) -> Error {
    match error {
        // What rustls has to say comes as the inner error of an I/O error.
        rumqttc::TlsError::Io(error) => Error::Tls(error.into()),
        rumqttc::TlsError::TLS(error) => Error::Tls(error.into()),
        rumqttc::TlsError::DNSName(error) => Error::Tls(error.into()),
        error @ (rumqttc::TlsError::Addr(_)
        | rumqttc::TlsError::WebPki(_)
        | rumqttc::TlsError::NoValidCertInChain
        | rumqttc::TlsError::NoValidClientCertInChain
        | rumqttc::TlsError::NoValidKeyInChain) => Error::Tls(error.into()),
    }
}
