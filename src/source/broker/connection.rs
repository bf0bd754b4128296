//! One connection, from its welcome to its end.

use super::access::Rights;
use super::framing::{Framing, Protocol, Read};
use super::greeting::{self, Admitted};
use super::hub::{Attached, Message, Resumed};
use super::inbound::{Pending, Words};
use super::packet::{self, Connect, Incoming, Version};
use super::reply::{self, Welcome};
use super::session::Acknowledged;
use super::{Counters, Shared};
use crate::supervise::Stop;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, MqttError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

/// Messages that a subscriber may have without having acknowledged them.
const UNACKNOWLEDGED_MAX: usize = 64;
/// A client that sends its publications too fast is not read from for as long as its debt takes, but at the most this.
const THROTTLE_MAX: Duration = Duration::from_secs(1);
/// Burst that the rate of publications allows, in seconds of it.
const BURST_S: f64 = 10.0;

/// Wait for a client to close after it has been told why its connection ends, and bytes that are read at a time then.
const LINGER: Duration = Duration::from_secs(1);
const DRAIN_BYTES: usize = 512;

/// Why a connection ends.
pub(super) enum End {
    /// The client said goodbye; its will is void.
    Goodbye,
    /// Everything else; its will comes true. The reason is said to a client that can hear it.
    Broken(Option<DisconnectReasonCode>),
}

pub(super) struct Connection<S> {
    io: S,
    framing: Framing,
    pub protocol: Protocol,
    pub version: Version,
    out: Vec<u8>,
    pub shared: Arc<Shared>,
    pub rights: Arc<Rights>,
    pub attached: Attached,
    resumed: Resumed,
    welcome: Welcome,
    /// The session was to end with the connection when it began.
    expires_at_once: bool,
    will: Option<(Duration, Message)>,
    pub words: Arc<Words>,
    pub next_token: u64,
    pub pending: VecDeque<Pending>,
    pub unacknowledged_max: usize,
    /// Something could not be stored: from then on the client is sent away, to come back and say it again.
    pub busy_until: Option<Instant>,
    /// One and a half times the silence that the client has promised not to exceed (MQTT-3.1.2-22).
    silence_max: Option<Duration>,
    last_topic: Arc<str>,
    pub tokens: f64,
    tokens_at: Instant,
}

/// Serves a connection to its end.
pub(super) async fn serve<S>(io: S, shared: Arc<Shared>, mut stop: Stop)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    // A connection is idle for nearly all of its life: what its beginning and its end need is not kept room for.
    let greeted = Box::pin(greeting::greet(io, &shared)).await;
    let Some((mut connection, early)) = greeted.map(|(c, early)| (Box::new(c), early)) else {
        return;
    };
    drop(shared);
    let end = connection.run(early, &mut stop).await;
    Box::pin(connection.finish(end)).await;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(
        io: S,
        mut protocol: Protocol,
        framing: Framing,
        connect: Connect,
        shared: &Arc<Shared>,
        admitted: Admitted,
    ) -> Self {
        let Admitted { rights, attached, resumed, welcome } = admitted;
        let keep_alive_s = welcome.keep_alive_s.unwrap_or(connect.keep_alive_s);
        protocol.set_auto_map_topic_alias_send(connect.takes_aliases);
        let from = Arc::clone(&attached.key);
        Self {
            io,
            framing,
            protocol,
            version: connect.version,
            out: Vec::new(),
            shared: Arc::clone(shared),
            rights,
            attached,
            resumed,
            welcome,
            expires_at_once: connect.expiry.is_zero(),
            will: connect.will.map(|(delay, will)| (delay, Message { from, ..will })),
            words: Arc::default(),
            next_token: 0,
            pending: VecDeque::new(),
            unacknowledged_max: UNACKNOWLEDGED_MAX.min(usize::from(connect.receive_max)),
            busy_until: None,
            silence_max: (keep_alive_s > 0)
                .then(|| Duration::from_millis(u64::from(keep_alive_s) * 1500)),
            last_topic: Arc::from(""),
            tokens: shared.limits.rate_max * BURST_S,
            tokens_at: Instant::now(),
        }
    }

    /// Says welcome, and goes on where an earlier connection of the session has ended. Returns what came with CONNECT.
    pub(super) fn begin(&mut self) -> Vec<Read> {
        self.send(reply::welcome(&self.welcome));
        for id in std::mem::take(&mut self.resumed.released) {
            // The protocol of this connection did not send the message: it is not to know of its end.
            if let Ok(packet) = reply::pubrel(self.version, id) {
                self.out.extend(packet.to_continuous_buffer());
            }
        }
        self.framing.take_rest(&mut self.protocol)
    }

    async fn run(&mut self, early: Vec<Read>, stop: &mut Stop) -> End {
        if let Err(end) = self.take_all(early).await {
            return end;
        }
        let mut heard = Instant::now();
        let (words, wake, replaced) = (
            Arc::clone(&self.words),
            Arc::clone(&self.attached.wake),
            Arc::clone(&self.attached.replaced),
        );
        loop {
            if !self.flush().await {
                return End::Broken(None);
            }
            // A client of version 5 has been told how many may wait; one of 3.1.1 is not read from while they are too many.
            let room = self.version == Version::V5
                || self.pending.len() < usize::from(self.shared.limits.inflight_max);
            let throttle = self.throttle();
            let silence = self.silence_max.map(|limit| heard + limit);
            let end = tokio::select! {
                () = stop.wait() => Err(End::Broken(Some(DisconnectReasonCode::ServerShuttingDown))),
                () = replaced.notified() => Err(End::Broken(Some(DisconnectReasonCode::SessionTakenOver))),
                () = words.wake.notified() => { self.pass_words_on(); Ok(()) }
                () = until(self.busy_until) => {
                    Err(End::Broken(Some(DisconnectReasonCode::ServerBusy)))
                }
                () = wake.notified() => { self.deliver(); Ok(()) }
                () = until(throttle), if throttle.is_some() => Ok(()),
                read = self.framing.read(&mut self.io, &mut self.protocol), if room && throttle.is_none() => {
                    heard = Instant::now();
                    match read {
                        Some(read) => self.take_all(read).await,
                        None => Err(End::Broken(None)),
                    }
                }
                () = until(silence), if room && throttle.is_none() => {
                    Err(End::Broken(Some(DisconnectReasonCode::KeepAliveTimeout)))
                }
            };
            if let Err(end) = end {
                return end;
            }
        }
    }

    async fn take_all(&mut self, read: Vec<Read>) -> Result<(), End> {
        let mut close = false;
        for one in read {
            match one {
                Read::Fault(code) => return Err(self.broken(Some(code))),
                Read::Completed(id) => {
                    self.framing.resumed.remove(&id);
                    self.acknowledged(id, Acknowledged::Done);
                }
                Read::Event(Event::NotifyPacketReceived(packet)) => {
                    self.take(packet::incoming(packet)).await?;
                }
                Read::Event(Event::RequestSendPacket { packet, .. }) => {
                    if !self.is_too_early(&packet) {
                        self.out.extend(packet.to_continuous_buffer());
                    }
                }
                Read::Event(Event::NotifyError(error)) => {
                    tracing::debug!(error = %error, "a client broke the protocol");
                    return Err(self.broken(None));
                }
                Read::Event(Event::RequestClose) => close = true,
                Read::Event(
                    Event::NotifyPacketIdReleased(_)
                    | Event::RequestTimerReset { .. }
                    | Event::RequestTimerCancel(_),
                ) => {}
            }
        }
        if close { Err(End::Broken(None)) } else { Ok(()) }
    }

    fn broken(&self, code: Option<DisconnectReasonCode>) -> End {
        Counters::add(&self.shared.counters.protocol_errors);
        End::Broken(code)
    }

    async fn take(&mut self, incoming: Incoming) -> Result<(), End> {
        match incoming {
            Incoming::Publish { id, dup, qos, retain, topic, payload, properties } => {
                let message = Message {
                    topic: self.topic(&topic),
                    payload,
                    qos,
                    retain,
                    expires: packet::expiry(&properties),
                    properties: packet::passed_on(&properties),
                    from: Arc::clone(&self.attached.key),
                };
                self.take_publication(message, id, dup).await?;
            }
            Incoming::Puback { id } | Incoming::Pubcomp { id } => {
                self.acknowledged(id, Acknowledged::Done);
            }
            Incoming::Pubrec { id, refused: true } => self.acknowledged(id, Acknowledged::Done),
            Incoming::Pubrec { id, refused: false } => {
                self.acknowledged(id, Acknowledged::Received);
                self.send(reply::pubrel(self.version, id));
            }
            Incoming::Pubrel { id } => {
                let known = self.shared.hub().release(&self.attached, id);
                self.send(reply::pubcomp(self.version, id, known));
            }
            Incoming::Subscribe { id, filters, identifier } => {
                self.take_subscriptions(id, &filters, identifier);
            }
            Incoming::Unsubscribe { id, filters } => {
                self.take_unsubscriptions(id, &filters);
            }
            Incoming::Ping => {
                self.send(reply::pong(self.version));
            }
            Incoming::Disconnect { with_will, expiry } => {
                return Err(self.disconnect(with_will, expiry));
            }
            Incoming::Connect(_) => {
                return Err(self.broken(Some(DisconnectReasonCode::ProtocolError)));
            }
            Incoming::Broken(code) => return Err(self.broken(Some(code))),
        }
        Ok(())
    }

    fn disconnect(&mut self, with_will: bool, expiry: Option<Duration>) -> End {
        if let Some(expiry) = expiry {
            // A session that was to end cannot be made to last at the last moment (MQTT 5 §3.14.2.2.2).
            if self.expires_at_once && !expiry.is_zero() {
                return self.broken(Some(DisconnectReasonCode::ProtocolError));
            }
            let expiry = expiry.min(self.shared.limits.session_expiry_max);
            self.shared.hub().set_expiry(&self.attached, expiry);
        }
        if with_will { End::Broken(None) } else { End::Goodbye }
    }

    fn topic(&mut self, topic: &str) -> Arc<str> {
        if *self.last_topic != *topic {
            self.last_topic = topic.into();
        }
        Arc::clone(&self.last_topic)
    }

    /// Puts a packet into what goes out with the next write. Returns whether it will.
    pub(super) fn send(&mut self, packet: Result<Packet, MqttError>) -> bool {
        let packet = match packet {
            Ok(packet) => packet,
            Err(error) => {
                tracing::warn!(error = %error, "a packet could not be made");
                return false;
            }
        };
        let mut sent = false;
        for event in self.protocol.send(packet) {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    self.out.extend(packet.to_continuous_buffer());
                    sent = true;
                }
                Event::NotifyError(error) => {
                    tracing::debug!(error = %error, "a packet could not be sent");
                }
                Event::NotifyPacketReceived(_)
                | Event::NotifyPacketIdReleased(_)
                | Event::RequestTimerReset { .. }
                | Event::RequestTimerCancel(_)
                | Event::RequestClose => {}
            }
        }
        sent
    }

    /// Writes what is to go out. Returns whether the client took it in time.
    async fn flush(&mut self) -> bool {
        if self.out.is_empty() {
            return true;
        }
        let out = std::mem::take(&mut self.out);
        let written = timeout(self.shared.limits.patience, self.io.write_all(&out)).await;
        matches!(written, Ok(Ok(())))
    }

    /// Returns until when a client that sends too fast is not read from.
    fn throttle(&mut self) -> Option<Instant> {
        let rate = self.shared.limits.rate_max;
        let now = Instant::now();
        let passed = now.duration_since(self.tokens_at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate).min(rate * BURST_S);
        self.tokens_at = now;
        (self.tokens < 0.0)
            .then(|| now + Duration::from_secs_f64(-self.tokens / rate).min(THROTTLE_MAX))
    }

    /// Leaves: its session stays or ends, and its will comes true or is void.
    async fn finish(&mut self, end: End) {
        let will = self.will.take();
        let (will, reason, linger) = match end {
            End::Goodbye => (None, None, false),
            End::Broken(reason) => {
                (will, reason, reason != Some(DisconnectReasonCode::ServerShuttingDown))
            }
        };
        let will = will.filter(|(_, message)| self.rights.may_publish(&message.topic));
        let frame = will.as_ref().map(|(_, message)| self.frame(message, false));
        let shared = Arc::clone(&self.shared);
        shared.hub().detach(&self.attached, will, &shared.limits, &shared.counters);
        if let Some(packet) = reason.and_then(|code| reply::goodbye(self.version, code)) {
            self.send(Ok(packet));
        }
        self.flush().await;
        // Whether the other side hears the end of the stream changes nothing.
        let _heard = timeout(self.shared.limits.patience, self.io.shutdown()).await.is_ok();
        if linger {
            // What is not read makes the system reset the connection, and the client does not hear why.
            let _closed = timeout(LINGER, drain(&mut self.io)).await.is_ok();
        }
        if let Some(frame) = frame {
            // The gateway is ending if nobody takes it.
            let _taken = self.hand_over(frame, None).await.is_ok();
        }
    }
}

impl<S> Drop for Connection<S> {
    /// Detaches a connection that ends in another way than by [`Connection::finish`], a panic or the end of its task;
    /// otherwise its session would be taken for connected for ever. To detach twice does nothing.
    fn drop(&mut self) {
        let will = self.will.take().filter(|(_, message)| self.rights.may_publish(&message.topic));
        let (limits, counters) = (&self.shared.limits, &self.shared.counters);
        self.shared.hub().detach(&self.attached, will, limits, counters);
    }
}

/// Reads and forgets what a client still sends, until it closes.
async fn drain<S: AsyncRead + Unpin>(io: &mut S) {
    let mut space = [0; DRAIN_BYTES];
    while matches!(io.read(&mut space).await, Ok(1..)) {}
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
