//! One connection, from CONNECT to its end.

use super::access::{Rights, is_filter};
use super::hub::{Attached, Message, Subscription, Waiting};
use super::packet::{self, Answer, Connect, Filter, Granted, Incoming, Refusal, Version};
use super::{Counters, LINK, Shared};
use crate::domain::frame::{Acknowledge, Envelope, Frame, Origin, Outcome, Receipt};
use crate::supervise::Stop;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, MqttError};
use mqtt_protocol_core::mqtt::{self, role};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// Bytes that are read at a time. They live on the stack, so that an idle connection costs no buffer.
const READ_BYTES: usize = 8 * 1024;
/// Messages that a subscriber may have without having acknowledged them.
const UNACKNOWLEDGED_MAX: usize = 64;
/// A client that sends its publications too fast is not read from for as long as its debt takes, but at the most this.
const THROTTLE_MAX: Duration = Duration::from_secs(1);
/// Burst that the rate of publications allows, in seconds of it.
const BURST_S: f64 = 10.0;

/// The words of the pipeline that a connection has yet to pass on.
#[derive(Default)]
struct Words {
    heard: Mutex<Vec<(u64, Outcome)>>,
    wake: Notify,
}

impl Acknowledge for Words {
    fn settle(&self, token: u64, outcome: Outcome) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push((token, outcome));
        self.wake.notify_one();
    }
}

/// A publication that awaits the pipeline's word. They are answered in the order in which they came (MQTT-4.6.0-2).
struct Pending {
    token: u64,
    qos: u8,
    id: u16,
    /// What subscribers get when it is on disk.
    copy: Option<Message>,
    answer: Option<Answer>,
}

/// Why a connection ends.
enum End {
    /// The client said goodbye; its will is void.
    Goodbye,
    /// Everything else; its will comes true. The reason is said to a client that can hear it.
    Broken(Option<DisconnectReasonCode>),
}

struct Connection<S> {
    io: S,
    protocol: mqtt::Connection<role::Server>,
    version: Version,
    out: Vec<u8>,
    shared: Arc<Shared>,
    rights: Arc<Rights>,
    attached: Attached,
    words: Arc<Words>,
    next_token: u64,
    pending: VecDeque<Pending>,
    unacknowledged: BTreeMap<u16, Waiting>,
    unacknowledged_max: usize,
    /// One and a half times the silence that the client has promised not to exceed (MQTT-3.1.2-22).
    silence_max: Option<Duration>,
    last_topic: Arc<str>,
    tokens: f64,
    tokens_at: Instant,
}

/// Serves a connection to its end.
pub(super) async fn serve<S>(mut io: S, shared: Arc<Shared>, mut stop: Stop)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let options = ConnectionOptions::new()
        .maximum_packet_size_recv(shared.limits.packet_bytes_max)
        .receive_maximum(shared.limits.inflight_max);
    let mut protocol =
        mqtt::Connection::<role::Server>::with_options(mqtt::Version::Undetermined, options);
    let greeting = timeout(shared.limits.patience, first_packet(&mut io, &mut protocol)).await;
    let Ok(Some((connect, early))) = greeting else {
        Counters::add(&shared.counters.protocol_errors);
        return;
    };
    let will = connect.will.clone();
    let Some(mut connection) = admit(io, protocol, *connect, &shared).await else { return };
    let end = connection.run(early, &mut stop).await;
    connection.finish(end, will).await;
}

/// Reads until CONNECT has come. Returns it, and what came with it.
async fn first_packet<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    protocol: &mut mqtt::Connection<role::Server>,
) -> Option<(Box<Connect>, Vec<Event>)> {
    loop {
        let mut events = read_events(io, protocol).await?.into_iter();
        let mut error = false;
        while let Some(event) = events.next() {
            match event {
                Event::NotifyPacketReceived(packet) => {
                    return match packet::incoming(packet) {
                        Incoming::Connect(connect) => Some((connect, events.collect())),
                        // Anything else first breaks the protocol (MQTT-3.1.0-1).
                        Incoming::Publish { .. }
                        | Incoming::Puback { .. }
                        | Incoming::Pubrel { .. }
                        | Incoming::Subscribe { .. }
                        | Incoming::Unsubscribe { .. }
                        | Incoming::Ping
                        | Incoming::Disconnect { .. }
                        | Incoming::Nothing
                        | Incoming::Unexpected => None,
                    };
                }
                Event::RequestSendPacket { packet, .. } => {
                    // The answer to a CONNECT that breaks the protocol; whether it arrives changes nothing.
                    let _heard = io.write_all(&packet.to_continuous_buffer()).await.is_ok();
                }
                Event::NotifyError(_) | Event::RequestClose => error = true,
                Event::NotifyPacketIdReleased(_)
                | Event::RequestTimerReset { .. }
                | Event::RequestTimerCancel(_) => {}
            }
        }
        if error {
            return None;
        }
    }
}

/// Reads what is there, and returns what it means to the protocol; `None` at the end of the stream.
async fn read_events<S: AsyncRead + Unpin>(
    io: &mut S,
    protocol: &mut mqtt::Connection<role::Server>,
) -> Option<Vec<Event>> {
    std::future::poll_fn(|context| {
        let mut space = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut space);
        if ready!(Pin::new(&mut *io).poll_read(context, &mut buffer)).is_err()
            || buffer.filled().is_empty()
        {
            return Poll::Ready(None);
        }
        let mut cursor = Cursor::new(buffer.filled());
        let mut events = Vec::new();
        while cursor.position() < buffer.filled().len() as u64 {
            let more = protocol.recv(&mut cursor);
            let over = more
                .iter()
                .any(|event| matches!(event, Event::RequestClose | Event::NotifyError(_)));
            events.extend(more);
            if over {
                break;
            }
        }
        Poll::Ready(Some(events))
    })
    .await
}

/// Lets a client in, or tells it why not.
async fn admit<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    protocol: mqtt::Connection<role::Server>,
    connect: Connect,
    shared: &Arc<Shared>,
) -> Option<Connection<S>> {
    let mut door = Door { io, protocol, patience: shared.limits.patience };
    let version = connect.version;
    if connect.extended_authentication {
        door.refuse(version, Refusal::Authentication).await;
        return None;
    }
    let assigned = connect.client.is_empty();
    if assigned && version == Version::V3 && !connect.clean {
        door.refuse(version, Refusal::Identifier).await;
        return None;
    }
    let Some(rights) = rights_of(&connect, shared).await else {
        Counters::add(&shared.counters.refused);
        door.refuse(version, Refusal::Credentials).await;
        return None;
    };
    let client: Arc<str> =
        if assigned { assigned_name(shared).into() } else { connect.client.as_str().into() };
    let expiry = connect.expiry.min(shared.limits.session_expiry_max);
    let clean = connect.clean || (assigned && version == Version::V3);
    let attached = shared.hub().attach(&client, clean, expiry, &shared.limits);
    let Some(attached) = attached else {
        door.refuse(version, Refusal::TooMany).await;
        return None;
    };
    let welcome =
        packet::welcome(&connect, &client, assigned, attached.present, connect.keep_alive_s);
    let mut connection = Connection {
        io: door.io,
        protocol: door.protocol,
        version,
        out: Vec::new(),
        shared: Arc::clone(shared),
        rights,
        attached,
        words: Arc::default(),
        next_token: 0,
        pending: VecDeque::new(),
        unacknowledged: BTreeMap::new(),
        unacknowledged_max: UNACKNOWLEDGED_MAX.min(usize::from(connect.receive_max)),
        silence_max: (connect.keep_alive_s > 0)
            .then(|| Duration::from_millis(u64::from(connect.keep_alive_s) * 1500)),
        last_topic: Arc::from(""),
        tokens: shared.limits.rate_max * BURST_S,
        tokens_at: Instant::now(),
    };
    connection.send(welcome);
    Some(connection)
}

/// A connection that has not been let in.
struct Door<S> {
    io: S,
    protocol: mqtt::Connection<role::Server>,
    patience: Duration,
}

impl<S: AsyncWrite + Unpin> Door<S> {
    async fn refuse(&mut self, version: Version, why: Refusal) {
        let Ok(packet) = packet::refusal(version, why) else { return };
        for event in self.protocol.send(packet) {
            if let Event::RequestSendPacket { packet, .. } = event {
                // Whether the client hears it changes nothing.
                let _heard =
                    timeout(self.patience, self.io.write_all(&packet.to_continuous_buffer()))
                        .await
                        .is_ok();
            }
        }
    }
}

async fn rights_of(connect: &Connect, shared: &Arc<Shared>) -> Option<Arc<Rights>> {
    let (user, password, client) =
        (connect.user.clone(), connect.password.clone(), connect.client.clone());
    if !shared.access.is_slow(user.as_deref()) {
        return shared.access.rights(user.as_deref(), password.as_deref(), &client);
    }
    let shared = Arc::clone(shared);
    let verified = tokio::task::spawn_blocking(move || {
        shared.access.rights(user.as_deref(), password.as_deref(), &client)
    });
    verified.await.ok().flatten()
}

/// A name that no client has had since the start.
fn assigned_name(shared: &Shared) -> String {
    let number = shared.counters.assigned.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("kengele-assigned-{number}")
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn run(&mut self, early: Vec<Event>, stop: &mut Stop) -> End {
        if let Err(end) = self.take_events(early).await {
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
            let room = self.pending.len() < usize::from(self.shared.limits.inflight_max);
            let throttle = self.throttle();
            let silence = self.silence_max.map(|limit| heard + limit);
            let end = tokio::select! {
                () = stop.wait() => Err(End::Broken(Some(DisconnectReasonCode::ServerShuttingDown))),
                () = replaced.notified() => Err(End::Broken(Some(DisconnectReasonCode::SessionTakenOver))),
                () = words.wake.notified() => self.pass_words_on(),
                () = wake.notified() => { self.deliver(); Ok(()) }
                () = until(throttle), if throttle.is_some() => Ok(()),
                events = read_events(&mut self.io, &mut self.protocol), if room && throttle.is_none() => {
                    heard = Instant::now();
                    match events {
                        Some(events) => self.take_events(events).await,
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

    async fn take_events(&mut self, events: Vec<Event>) -> Result<(), End> {
        for event in events {
            match event {
                Event::NotifyPacketReceived(packet) => self.take(packet::incoming(packet)).await?,
                Event::RequestSendPacket { packet, .. } => {
                    self.out.extend(packet.to_continuous_buffer());
                }
                Event::NotifyError(error) => {
                    tracing::debug!(error = %error, "a client broke the protocol");
                    Counters::add(&self.shared.counters.protocol_errors);
                    return Err(End::Broken(None));
                }
                Event::RequestClose => return Err(End::Broken(None)),
                Event::NotifyPacketIdReleased(_)
                | Event::RequestTimerReset { .. }
                | Event::RequestTimerCancel(_) => {}
            }
        }
        Ok(())
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
                    from: Arc::clone(&self.attached.client),
                };
                self.take_publication(message, id, dup).await
            }
            Incoming::Puback { id } => {
                self.unacknowledged.remove(&id);
                self.deliver();
                Ok(())
            }
            Incoming::Pubrel { id } => {
                self.send(packet::pubcomp(self.version, id));
                Ok(())
            }
            Incoming::Subscribe { identified: true, .. } => {
                Err(End::Broken(Some(DisconnectReasonCode::SubscriptionIdentifiersNotSupported)))
            }
            Incoming::Subscribe { id, filters, .. } => {
                let granted: Vec<(Granted, bool)> =
                    filters.iter().map(|filter| self.subscribe(filter)).collect();
                let words: Vec<Granted> = granted.iter().map(|(granted, _)| *granted).collect();
                self.send(packet::suback(self.version, id, &words));
                for (filter, (granted, new)) in filters.iter().zip(granted) {
                    self.replay(filter, granted, new);
                }
                Ok(())
            }
            Incoming::Unsubscribe { id, filters } => {
                let gone: Vec<bool> = filters
                    .iter()
                    .map(|f| self.shared.hub().unsubscribe(&self.attached, f))
                    .collect();
                self.send(packet::unsuback(self.version, id, &gone));
                Ok(())
            }
            Incoming::Ping => {
                self.send(packet::pong(self.version));
                Ok(())
            }
            Incoming::Disconnect { with_will, expiry } => {
                if let Some(expiry) = expiry {
                    let expiry = expiry.min(self.shared.limits.session_expiry_max);
                    self.shared.hub().set_expiry(&self.attached, expiry);
                }
                Err(if with_will { End::Broken(None) } else { End::Goodbye })
            }
            Incoming::Nothing => Ok(()),
            Incoming::Connect(_) | Incoming::Unexpected => {
                Err(End::Broken(Some(DisconnectReasonCode::ProtocolError)))
            }
        }
    }

    fn topic(&mut self, topic: &str) -> Arc<str> {
        if *self.last_topic != *topic {
            self.last_topic = topic.into();
        }
        Arc::clone(&self.last_topic)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn take_publication(
        &mut self,
        message: Message,
        id: Option<u16>,
        dup: bool,
    ) -> Result<(), End> {
        Counters::add(&self.shared.counters.publications);
        self.tokens -= 1.0;
        if message.topic.is_empty() || message.topic.contains(['+', '#', '\0']) {
            return Err(End::Broken(Some(DisconnectReasonCode::TopicNameInvalid)));
        }
        let authorised = self.rights.may_publish(&message.topic);
        if !authorised {
            Counters::add(&self.shared.counters.not_authorised);
        }
        let frame = Frame {
            origin: Origin::Mqtt {
                link: Arc::from(LINK),
                client: Arc::clone(&self.attached.client),
                topic: Arc::clone(&message.topic),
            },
            payload: message.payload.clone(),
            redelivered: dup,
        };
        let wanted = message.retain || !self.shared.hub().nobody_listens();
        let Some(id) = id else {
            if authorised {
                self.hand_over(frame, None).await?;
                if wanted {
                    self.shared.hub().publish(&message, &self.shared.limits, &self.shared.counters);
                }
            }
            return Ok(());
        };
        let (token, qos) = (self.next_token, message.qos);
        self.next_token += 1;
        let copy = (wanted && authorised).then_some(message);
        let answer = (!authorised).then_some(Answer::NotAuthorised);
        self.pending.push_back(Pending { token, qos, id, copy, answer });
        if authorised {
            let words: Arc<dyn Acknowledge> = Arc::clone(&self.words) as _;
            self.hand_over(frame, Some(Receipt::new(words, token))).await?;
        } else if self.version == Version::V3 {
            // 3.1.1 has no word for it; without an end, the client would believe that it was heard (MQTT-3.3.5-2).
            return Err(End::Broken(None));
        }
        self.answer_in_order();
        Ok(())
    }

    async fn hand_over(&self, frame: Frame, receipt: Option<Receipt>) -> Result<(), End> {
        let envelope = Envelope { frame, receipt };
        let sent = self.shared.frames.send(envelope).await;
        sent.map_err(|_| End::Broken(Some(DisconnectReasonCode::ServerShuttingDown)))
    }

    /// Takes the pipeline's words in, and answers what can be answered.
    fn pass_words_on(&mut self) -> Result<(), End> {
        let heard =
            std::mem::take(&mut *self.words.heard.lock().unwrap_or_else(PoisonError::into_inner));
        for (token, outcome) in heard {
            let answer = match outcome {
                Outcome::Committed => Answer::Taken,
                Outcome::Refused => Answer::Refused,
                // No acknowledgement may leave: the client keeps it, and sends it again when it is back.
                Outcome::NotStored => {
                    return Err(End::Broken(Some(DisconnectReasonCode::ServerBusy)));
                }
            };
            let first = self.pending.front().map_or(token, |pending| pending.token);
            let place = usize::try_from(token.saturating_sub(first)).unwrap_or(usize::MAX);
            if let Some(pending) = self.pending.get_mut(place) {
                pending.answer = Some(answer);
            }
        }
        self.answer_in_order();
        Ok(())
    }

    fn answer_in_order(&mut self) {
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.answer.is_some()) {
            let answer = pending.answer.unwrap_or(Answer::Refused);
            if answer == Answer::Taken
                && let Some(message) = &pending.copy
            {
                self.shared.hub().publish(message, &self.shared.limits, &self.shared.counters);
            }
            self.send(packet::answer(self.version, pending.qos, pending.id, answer));
        }
    }

    /// Puts a subscription in force, if it may be. Returns how it is answered, and whether it is new.
    fn subscribe(&mut self, filter: &Filter) -> (Granted, bool) {
        if filter.pattern.starts_with("$share/") {
            return (Granted::Shared, false);
        }
        if !is_filter(&filter.pattern) {
            return (Granted::Invalid, false);
        }
        if !self.rights.may_subscribe(&filter.pattern) {
            Counters::add(&self.shared.counters.not_authorised);
            return (Granted::NotAuthorised, false);
        }
        let subscription = Subscription {
            filter: filter.pattern.clone(),
            qos: filter.qos.min(1),
            no_local: filter.no_local,
            retain_as_published: filter.retain_as_published,
        };
        match self.shared.hub().subscribe(&self.attached, subscription, &self.shared.limits) {
            Some(new) => (Granted::Qos(filter.qos.min(1)), new),
            None => (Granted::TooMany, false),
        }
    }

    /// Queues what is retained for a subscription that has been granted.
    fn replay(&mut self, filter: &Filter, granted: Granted, new: bool) {
        let Granted::Qos(qos) = granted else { return };
        if filter.retain_handling == 0 || filter.retain_handling == 1 && new {
            let (limits, counters) = (&self.shared.limits, &self.shared.counters);
            self.shared.hub().replay_retained(
                &self.attached,
                &filter.pattern,
                qos,
                limits,
                counters,
            );
        }
    }

    /// Sends what waits for this subscriber, as far as it has acknowledged what it got before.
    fn deliver(&mut self) {
        let room = self.unacknowledged_max.saturating_sub(self.unacknowledged.len());
        let waiting = self.shared.hub().take(&self.attached, room);
        for mut message in waiting {
            if message.qos == 0 {
                self.send(packet::publish(self.version, &message, None));
                continue;
            }
            let id = match message.sent_as {
                // What is sent again keeps its identifier (MQTT-4.4.0-1).
                Some(id) if self.protocol.register_packet_id(id).is_ok() => Some(id),
                Some(_) | None => self.protocol.acquire_packet_id().ok(),
            };
            let Some(id) = id else { continue };
            self.send(packet::publish(self.version, &message, Some(id)));
            message.sent_as = Some(id);
            self.unacknowledged.insert(id, message);
        }
        if self.unacknowledged.len() < self.unacknowledged_max && room > 0 {
            // Nothing, or not enough, was there: the next message wakes this connection.
            return;
        }
        if self.unacknowledged_max > self.unacknowledged.len() {
            self.attached.wake.notify_one();
        }
    }

    /// Puts a packet into what goes out with the next write.
    fn send(&mut self, packet: Result<Packet, MqttError>) {
        let packet = match packet {
            Ok(packet) => packet,
            Err(error) => {
                tracing::warn!(error = %error, "a packet could not be made");
                return;
            }
        };
        for event in self.protocol.send(packet) {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    self.out.extend(packet.to_continuous_buffer());
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

    /// Leaves: what the client has not acknowledged waits for it in its session; its will comes true or is void.
    async fn finish(mut self, end: End, will: Option<(Duration, Message)>) {
        let will = match end {
            End::Goodbye => None,
            End::Broken(reason) => {
                if let Some(packet) = reason.and_then(|code| packet::goodbye(self.version, code)) {
                    self.send(Ok(packet));
                }
                will
            }
        };
        self.flush().await;
        // Whether the other side hears the end of the stream changes nothing.
        let _heard = timeout(self.shared.limits.patience, self.io.shutdown()).await.is_ok();
        let will = will.filter(|(_, message)| self.rights.may_publish(&message.topic));
        if let Some((_, message)) = &will {
            let frame = Frame {
                origin: Origin::Mqtt {
                    link: Arc::from(LINK),
                    client: Arc::clone(&self.attached.client),
                    topic: Arc::clone(&message.topic),
                },
                payload: message.payload.clone(),
                redelivered: false,
            };
            // The gateway is ending if nobody takes it.
            let _taken = self.hand_over(frame, None).await.is_ok();
        }
        let unacknowledged = std::mem::take(&mut self.unacknowledged).into_values().collect();
        let shared = Arc::clone(&self.shared);
        shared.hub().detach(&self.attached, unacknowledged, will, &shared.limits, &shared.counters);
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
