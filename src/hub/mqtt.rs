//! Gateways that come over an MQTT 5 broker. Hub processes share one subscription, so that the broker spreads packets over
//! them; the answer to a packet is published and only then, after the commit, the packet is acknowledged to the broker.
//!
//! A hub keeps no session. What the broker had given to a process that is gone, or to nobody, is not answered, and the
//! gateway sends it again: it is the gateway that keeps what is not safe yet, not the broker.

use super::receive::{Received, receive};
use super::storage::{Password, Storage};
use super::{Counters, now_ms, random};
use crate::supervise::{Stop, chain};
use crate::wire::uplink::{GatewayNumber, PACKET_BYTES_MAX};
use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Filter, Packet, Publish, RetainForwardRule, SubAck, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ClientError, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{Outgoing, Transport};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

/// Longest packet of MQTT: one of ours, with its topic and properties.
const MQTT_PACKET_BYTES_MAX: u32 = 257 * 1024;
const _: () = assert!(PACKET_BYTES_MAX + 1024 <= MQTT_PACKET_BYTES_MAX as usize);
/// Requests that wait for the event loop: for each packet in work an answer and an acknowledgement, and a few more.
const REQUESTS_MAX: usize = 4_096;
/// Answers that the broker has not acknowledged.
const ANSWERS_INFLIGHT_MAX: u16 = 256;
/// Wait before what could not be stored is tried again.
const STORE_RETRY: Duration = Duration::from_secs(2);
/// First and longest wait before the broker is tried again.
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A connection that has held for so long has proved itself.
const STEADY: Duration = Duration::from_secs(30);
/// How long what has begun may take when the hub ends, and how long the broker may take to hear goodbye.
const ENDING: Duration = Duration::from_secs(5);

/// What the client is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Host name or address of the broker.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How TLS is spoken; `None`: it is not.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Client identifier: another one for each process.
    pub client_id: String,
    /// Name of the shared subscription.
    pub share: String,
    /// User name and password.
    pub login: Option<(String, Option<Password>)>,
    /// Longest silence.
    pub keep_alive: Duration,
    /// Most packets that are being stored.
    pub inflight_max: u16,
}

/// Why a connection ended.
#[derive(Debug, Error)]
enum Error {
    #[error("the connection to the broker broke")]
    Connection(#[from] Box<ConnectionError>),
    #[error("the broker does not grant the shared subscription: {0:?}")]
    Subscription(SubscribeReasonCode),
    #[error("the client of the broker does not take requests")]
    Requests,
}

impl From<ClientError> for Error {
    fn from(_: ClientError) -> Self {
        Self::Requests
    }
}

/// A packet that has been dealt with: what is said to the gateway, and what the broker may forget.
struct Done {
    answer: Option<(GatewayNumber, Vec<u8>)>,
    publish: Publish,
}

/// The client of a broker.
pub struct Client {
    settings: Settings,
    storage: Storage,
    counters: Arc<Counters>,
}

impl Client {
    /// Makes a client.
    #[must_use]
    pub const fn new(settings: Settings, storage: Storage, counters: Arc<Counters>) -> Self {
        Self { settings, storage, counters }
    }

    /// Serves the broker until it is told to stop, connecting again as often as it takes.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn run(self, mut stop: Stop) -> Result<(), Infallible> {
        let (first, longest) = WAITS;
        let mut wait = first;
        loop {
            let begun = Instant::now();
            let Err(error) = self.connection(&mut stop).await else { return Ok(()) };
            if begun.elapsed() >= STEADY {
                wait = first;
            }
            warn!(error = chain(&error), "the broker is not heard; trying again");
            // Between a half and the whole, so that processes do not come back all at once.
            let [draw] = random::<1>().unwrap_or([0]);
            tokio::select! {
                () = stop.wait() => return Ok(()),
                () = sleep(wait.mul_f64(0.5 + f64::from(draw) / 512.0)) => {}
            }
            wait = (wait * 2).min(longest);
        }
    }

    /// Serves one connection. Returns when it is told to stop.
    async fn connection(&self, stop: &mut Stop) -> Result<(), Error> {
        let (client, mut events) = AsyncClient::new(self.options(), REQUESTS_MAX);
        let mut work: JoinSet<Done> = JoinSet::new();
        loop {
            // A poll that has begun is not dropped while the connection is wanted.
            let mut poll = pin!(events.poll());
            let event = loop {
                tokio::select! {
                    event = &mut poll => break Some(event.map_err(Box::new)?),
                    Some(done) = work.join_next() => finish(&client, done)?,
                    () = stop.wait() => break None,
                }
            };
            match event {
                None => break,
                Some(Event::Incoming(Packet::ConnAck(_))) => self.subscribe(&client)?,
                Some(Event::Incoming(Packet::SubAck(ack))) => check(&ack)?,
                // The broker keeps to the window that it was told, so that work is bounded.
                Some(Event::Incoming(Packet::Publish(publish))) => {
                    work.spawn(deal(
                        self.storage.clone(),
                        Arc::clone(&self.counters),
                        publish,
                        stop.clone(),
                    ));
                }
                Some(Event::Incoming(_) | Event::Outgoing(_)) => {}
            }
        }
        leave(&client, &mut events, work).await
    }

    fn options(&self) -> MqttOptions {
        let settings = &self.settings;
        let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
        options
            .set_transport(match &settings.tls {
                None => Transport::Tcp,
                Some(tls) => {
                    let tls = rumqttc::TlsConfiguration::Rustls(Arc::clone(tls));
                    Transport::tls_with_config(tls)
                }
            })
            .set_keep_alive(settings.keep_alive.max(Duration::from_secs(5)))
            .set_clean_start(true)
            .set_receive_maximum(Some(settings.inflight_max))
            .set_max_packet_size(Some(MQTT_PACKET_BYTES_MAX))
            .set_outgoing_inflight_upper_limit(ANSWERS_INFLIGHT_MAX)
            .set_manual_acks(true);
        if let Some((user, password)) = &settings.login {
            options.set_credentials(user, password.as_ref().map_or("", |password| &password.0));
        }
        options
    }

    fn subscribe(&self, client: &AsyncClient) -> Result<(), Error> {
        let topics = format!("$share/{}/kengele/v1/+/up", self.settings.share);
        let mut filter = Filter::new(topics, QoS::AtLeastOnce);
        filter.retain_forward_rule = RetainForwardRule::Never;
        Ok(client.try_subscribe_many([filter])?)
    }
}

fn check(ack: &SubAck) -> Result<(), Error> {
    let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
    if let Some(refused) = ack.return_codes.iter().find(|code| **code != granted) {
        return Err(Error::Subscription(*refused));
    }
    info!("the broker is heard");
    Ok(())
}

/// Stores a packet, and tries again for as long as the storage fails: the broker keeps the rest meanwhile.
async fn deal(storage: Storage, counters: Arc<Counters>, publish: Publish, mut stop: Stop) -> Done {
    let answer = loop {
        match receive(&storage, &counters, &publish.payload, now_ms()).await {
            Ok(Received::Answered { gateway, answer }) if is_of(&publish.topic, gateway) => {
                break Some((gateway, answer));
            }
            Ok(Received::Answered { gateway, .. }) => {
                // It is stored, for it is authentic; who sent it here does not listen where it belongs.
                warn!(gateway = gateway.0, "a packet came on another gateway's topic");
                break None;
            }
            Ok(Received::Refused(_)) => break None,
            Err(error) => {
                warn!(error = chain(&error), "a packet could not be stored; trying again");
            }
        }
        counters.put_off.add(1);
        tokio::select! {
            // Not stored, and not acknowledged: the task ends with the connection.
            () = stop.wait() => std::future::pending::<()>().await,
            () = sleep(STORE_RETRY) => {}
        }
    };
    Done { answer, publish }
}

fn is_of(topic: &Bytes, gateway: GatewayNumber) -> bool {
    *topic == format!("kengele/v1/{}/up", gateway.0)
}

/// Says the answer, and then to the broker that it may forget the packet.
fn finish(client: &AsyncClient, done: Result<Done, tokio::task::JoinError>) -> Result<(), Error> {
    let done = match done {
        Ok(done) => done,
        Err(error) => {
            warn!(%error, "a packet was not dealt with");
            return Ok(());
        }
    };
    if let Some((gateway, answer)) = done.answer {
        let topic = format!("kengele/v1/{}/down", gateway.0);
        client.try_publish(topic, QoS::AtLeastOnce, false, answer)?;
    }
    Ok(client.try_ack(&done.publish)?)
}

/// Answers what has begun, and says goodbye.
async fn leave(
    client: &AsyncClient,
    events: &mut EventLoop,
    mut work: JoinSet<Done>,
) -> Result<(), Error> {
    let until = Instant::now() + ENDING;
    while let Ok(Some(done)) = tokio::time::timeout_at(until, work.join_next()).await {
        finish(client, done)?;
    }
    client.try_disconnect()?;
    let said = timeout(ENDING, async {
        while !matches!(events.poll().await, Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_)) {}
    });
    if said.await.is_err() {
        debug!("the broker did not hear goodbye");
    }
    Ok(())
}
