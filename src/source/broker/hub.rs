//! Sessions, retained messages, and who gets a copy of what.

use super::access::matches;
use super::{Counters, Limits};
use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::Property;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A publication on its way to subscribers.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub topic: Arc<str>,
    pub payload: Bytes,
    pub qos: u8,
    pub retain: bool,
    pub expires: Option<Instant>,
    /// Properties that subscribers are to see.
    pub properties: Arc<[Property]>,
    /// Client that published it.
    pub from: Arc<str>,
}

impl Message {
    pub(super) fn own(topic: &str, payload: &[u8], retain: bool) -> Self {
        Self {
            topic: topic.into(),
            payload: Bytes::copy_from_slice(payload),
            qos: 1,
            retain,
            expires: None,
            properties: Arc::from([]),
            from: Arc::from(""),
        }
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

/// A subscription.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub filter: String,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
}

/// A message that waits for its subscriber.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub message: Message,
    /// The retain flag as this subscriber sees it.
    pub retain: bool,
    /// QoS for this subscriber.
    pub qos: u8,
    /// Packet identifier under which it has been sent before.
    pub sent_as: Option<u16>,
}

/// What outlives a connection.
#[derive(Debug)]
pub(super) struct Session {
    /// Counts the connections: an older one that is still ending knows by it that it has been replaced.
    epoch: u64,
    subscriptions: Vec<Subscription>,
    pub queue: VecDeque<Waiting>,
    wake: Arc<Notify>,
    replaced: Arc<Notify>,
    online: bool,
    expiry: Duration,
    offline_since: Instant,
    will: Option<(Instant, Message)>,
}

/// What a connection holds of its session.
#[derive(Clone, Debug)]
pub(super) struct Attached {
    pub client: Arc<str>,
    pub epoch: u64,
    /// Something waits in the queue.
    pub wake: Arc<Notify>,
    /// Another connection has taken the session over.
    pub replaced: Arc<Notify>,
    pub present: bool,
}

#[derive(Debug, Default)]
pub(super) struct Hub {
    sessions: HashMap<Arc<str>, Session>,
    retained: BTreeMap<Arc<str>, Message>,
    epochs: u64,
    /// Sessions with subscriptions; while there is none, nobody needs a copy.
    subscribers: usize,
}

impl Hub {
    /// Attaches a connection to a client's session, which it takes over, makes, or begins anew. `None` when there are too
    /// many.
    pub(super) fn attach(
        &mut self,
        client: &Arc<str>,
        clean: bool,
        expiry: Duration,
        limits: &Limits,
    ) -> Option<Attached> {
        let known = self.sessions.contains_key(client);
        if !known && self.sessions.len() >= limits.sessions_max {
            return None;
        }
        self.epochs += 1;
        let present = known && !clean;
        if clean && let Some(old) = self.sessions.remove(client) {
            old.replaced.notify_one();
            self.subscribers -= usize::from(!old.subscriptions.is_empty());
        }
        let session = self.sessions.entry(Arc::clone(client)).or_insert_with(|| Session {
            epoch: 0,
            subscriptions: Vec::new(),
            queue: VecDeque::new(),
            wake: Arc::default(),
            replaced: Arc::default(),
            online: false,
            expiry,
            offline_since: Instant::now(),
            will: None,
        });
        session.replaced.notify_one();
        // A will that waits does not come true when its client is back: MQTT 5 §3.1.3.2.2.
        session.will = None;
        session.epoch = self.epochs;
        session.online = true;
        session.expiry = expiry;
        session.wake = Arc::default();
        session.replaced = Arc::default();
        if !session.queue.is_empty() {
            session.wake.notify_one();
        }
        Some(Attached {
            client: Arc::clone(client),
            epoch: session.epoch,
            wake: Arc::clone(&session.wake),
            replaced: Arc::clone(&session.replaced),
            present,
        })
    }

    /// Detaches a connection that has ended, with what it had sent and not seen acknowledged.
    pub(super) fn detach(
        &mut self,
        attached: &Attached,
        unacknowledged: Vec<Waiting>,
        will: Option<(Duration, Message)>,
        limits: &Limits,
        counters: &Counters,
    ) {
        let Some(session) = self.sessions.get_mut(&attached.client) else {
            if let Some((_, message)) = will {
                self.publish(&message, limits, counters);
            }
            return;
        };
        if session.epoch != attached.epoch {
            for waiting in unacknowledged.into_iter().rev() {
                session.queue.push_front(waiting);
            }
            session.wake.notify_one();
            if let Some((_, message)) = will {
                self.publish(&message, limits, counters);
            }
            return;
        }
        session.online = false;
        session.offline_since = Instant::now();
        for waiting in unacknowledged.into_iter().rev() {
            session.queue.push_front(waiting);
        }
        session.queue.retain(|waiting| waiting.qos > 0);
        let ended = session.expiry.is_zero();
        if let Some((delay, message)) = will {
            if ended || delay.is_zero() {
                self.publish(&message, limits, counters);
            } else {
                session.will = Some((Instant::now() + delay, message));
            }
        }
        if ended {
            self.end(&attached.client);
        }
    }

    fn end(&mut self, client: &Arc<str>) -> Option<Message> {
        let session = self.sessions.remove(client)?;
        self.subscribers -= usize::from(!session.subscriptions.is_empty());
        session.will.map(|(_, message)| message)
    }

    /// Changes how long a session outlives its connection.
    pub(super) fn set_expiry(&mut self, attached: &Attached, expiry: Duration) {
        if let Some(session) = self.session(attached) {
            session.expiry = expiry;
        }
    }

    /// Ends sessions whose time is up, and lets wills come true.
    pub(super) fn sweep(&mut self, limits: &Limits, counters: &Counters) {
        let now = Instant::now();
        let mut due = Vec::new();
        for session in self.sessions.values_mut() {
            if let Some((_, message)) = session.will.take_if(|(at, _)| *at <= now) {
                due.push(message);
            }
        }
        let over: Vec<Arc<str>> = self
            .sessions
            .iter()
            .filter(|(_, s)| !s.online && now.duration_since(s.offline_since) >= s.expiry)
            .map(|(client, _)| Arc::clone(client))
            .collect();
        due.extend(over.iter().filter_map(|client| self.end(client)));
        for message in due {
            self.publish(&message, limits, counters);
        }
        self.retained.retain(|_, message| !message.is_expired(now));
    }

    fn session(&mut self, attached: &Attached) -> Option<&mut Session> {
        self.sessions.get_mut(&attached.client).filter(|session| session.epoch == attached.epoch)
    }

    /// Takes what waits for a connection, at most so many.
    pub(super) fn take(&mut self, attached: &Attached, count: usize) -> Vec<Waiting> {
        let now = Instant::now();
        let Some(session) = self.session(attached) else { return Vec::new() };
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(waiting) = session.queue.pop_front()
        {
            if !waiting.message.is_expired(now) || waiting.sent_as.is_some() {
                taken.push(waiting);
            }
        }
        taken
    }

    /// Returns whether nobody follows anything, so that no copy of a publication is needed.
    pub(super) const fn nobody_listens(&self) -> bool {
        self.subscribers == 0
    }

    /// Gives a publication to everybody who follows its topic, and keeps it if it is to be kept.
    pub(super) fn publish(&mut self, message: &Message, limits: &Limits, counters: &Counters) {
        if message.retain {
            self.retain(message, limits, counters);
        }
        for (client, session) in &mut self.sessions {
            let own = *client == message.from;
            let mut best: Option<(u8, bool)> = None;
            for subscription in &session.subscriptions {
                if (own && subscription.no_local) || !matches(&subscription.filter, &message.topic)
                {
                    continue;
                }
                let (qos, as_published) = best.unwrap_or_default();
                best = Some((
                    qos.max(subscription.qos),
                    as_published || subscription.retain_as_published,
                ));
            }
            let Some((qos, as_published)) = best else { continue };
            let qos = qos.min(message.qos).min(1);
            if !session.online && qos == 0 {
                continue;
            }
            let retain = as_published && message.retain;
            session.push(
                Waiting { message: message.clone(), retain, qos, sent_as: None },
                limits,
                counters,
            );
        }
    }

    fn retain(&mut self, message: &Message, limits: &Limits, counters: &Counters) {
        if message.payload.is_empty() {
            self.retained.remove(&message.topic);
        } else if self.retained.len() < limits.retained_max
            || self.retained.contains_key(&message.topic)
        {
            self.retained.insert(Arc::clone(&message.topic), message.clone());
        } else {
            Counters::add(&counters.dropped);
        }
    }

    /// Adds or replaces a subscription. Returns whether it is new, or `None` when there are too many.
    pub(super) fn subscribe(
        &mut self,
        attached: &Attached,
        subscription: Subscription,
        limits: &Limits,
    ) -> Option<bool> {
        let session =
            self.sessions.get_mut(&attached.client).filter(|s| s.epoch == attached.epoch)?;
        if let Some(same) =
            session.subscriptions.iter_mut().find(|s| s.filter == subscription.filter)
        {
            *same = subscription;
            return Some(false);
        }
        if session.subscriptions.len() >= limits.subscriptions_max {
            return None;
        }
        self.subscribers += usize::from(session.subscriptions.is_empty());
        session.subscriptions.push(subscription);
        Some(true)
    }

    /// Queues the retained messages that a filter matches.
    pub(super) fn replay_retained(
        &mut self,
        attached: &Attached,
        filter: &str,
        qos: u8,
        limits: &Limits,
        counters: &Counters,
    ) {
        let now = Instant::now();
        let found: Vec<Message> = self
            .retained
            .values()
            .filter(|m| matches(filter, &m.topic) && !m.is_expired(now))
            .cloned()
            .collect();
        let Some(session) = self.session(attached) else { return };
        for message in found {
            let qos = qos.min(message.qos).min(1);
            session.push(Waiting { message, retain: true, qos, sent_as: None }, limits, counters);
        }
    }

    /// Takes a subscription away. Returns whether there was one.
    pub(super) fn unsubscribe(&mut self, attached: &Attached, filter: &str) -> bool {
        let Some(session) =
            self.sessions.get_mut(&attached.client).filter(|s| s.epoch == attached.epoch)
        else {
            return false;
        };
        let before = session.subscriptions.len();
        session.subscriptions.retain(|s| s.filter != filter);
        let gone = session.subscriptions.len() < before;
        self.subscribers -= usize::from(gone && session.subscriptions.is_empty());
        gone
    }
}

impl Session {
    fn push(&mut self, waiting: Waiting, limits: &Limits, counters: &Counters) {
        if self.queue.len() >= limits.session_queue_max {
            self.queue.pop_front();
            Counters::add(&counters.dropped);
        }
        self.queue.push_back(waiting);
        self.wake.notify_one();
    }
}
