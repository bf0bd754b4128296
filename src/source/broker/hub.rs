//! Sessions, retained messages, and who gets a copy of what.

use super::access::matches;
use super::session::{Acknowledged, Flight, Session, Subscription, Waiting};
use super::{Counters, Limits};
use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::Property;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    /// Session that published it.
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

/// What a connection holds of its session.
#[derive(Clone, Debug)]
pub(super) struct Attached {
    /// Client identifier.
    pub client: Arc<str>,
    /// User and client identifier: nobody gets at a session of somebody else by taking its client's name.
    pub key: Arc<str>,
    birth: u64,
    epoch: u64,
    /// Something waits in the queue.
    pub wake: Arc<Notify>,
    /// Another connection has taken the session over.
    pub replaced: Arc<Notify>,
    pub present: bool,
}

/// What an earlier connection of the session left behind.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    /// Identifiers of QoS 2 that this subscriber has yet to hear are free, in their order.
    pub released: Vec<u16>,
    /// Identifiers of QoS 2 under which this client's publications have been taken.
    pub received: BTreeSet<u16>,
}

/// Sessions of a group, those that are away marked, so that they come last in order.
type Members = Vec<(bool, Arc<str>)>;

#[derive(Debug, Default)]
pub(super) struct Hub {
    sessions: HashMap<Arc<str>, Session>,
    retained: BTreeMap<Arc<str>, Message>,
    epochs: u64,
    /// Sessions with subscriptions; while there is none, nobody needs a copy.
    subscribers: usize,
    /// Shared subscriptions, and whose turn it is.
    shared: usize,
    turn: usize,
}

impl Hub {
    /// Attaches a connection to a client's session, which it takes over, makes, or begins anew. `None` when there are too
    /// many.
    pub(super) fn attach(
        &mut self,
        user: &str,
        client: &Arc<str>,
        clean: bool,
        expiry: Duration,
        limits: &Limits,
        counters: &Counters,
    ) -> Option<(Attached, Resumed)> {
        // No text of MQTT holds U+0000 (MQTT-1.5.4-2).
        let key: Arc<str> = format!("{user}\0{client}").into();
        if !self.sessions.contains_key(&key) && self.sessions.len() >= limits.sessions_max {
            return None;
        }
        if clean && let Some(will) = self.end(&key) {
            // The session ends, and so does the delay of its will (MQTT-3.1.2-8).
            self.publish(&will, limits, counters);
        }
        self.epochs += 1;
        let epoch = self.epochs;
        let present = self.sessions.contains_key(&key);
        let session = self.sessions.entry(Arc::clone(&key)).or_insert_with(|| Session::new(epoch));
        session.replaced.notify_one();
        // A will that waits does not come true when its client is back (MQTT-3.1.3-9).
        session.will = None;
        session.epoch = epoch;
        session.online = true;
        session.expiry = expiry;
        session.wake = Arc::default();
        session.replaced = Arc::default();
        let released = session.take_back();
        if !session.queue.is_empty() {
            session.wake.notify_one();
        }
        let attached = Attached {
            client: Arc::clone(client),
            key,
            birth: session.birth,
            epoch,
            wake: Arc::clone(&session.wake),
            replaced: Arc::clone(&session.replaced),
            present,
        };
        Some((attached, Resumed { released, received: session.received.clone() }))
    }

    /// Detaches a connection that has ended.
    pub(super) fn detach(
        &mut self,
        attached: &Attached,
        will: Option<(Duration, Message)>,
        limits: &Limits,
        counters: &Counters,
    ) {
        let session = self.sessions.get_mut(&attached.key).filter(|s| s.birth == attached.birth);
        let mut due = None;
        if let Some(session) = session {
            let replaced = session.epoch != attached.epoch;
            let ended = !replaced && session.expiry.is_zero();
            match will {
                Some((delay, message)) if ended || delay.is_zero() => due = Some(message),
                // The client is back before the delay is over (MQTT-3.1.3-9).
                Some(_) if replaced => {}
                Some((delay, message)) => session.will = Some((Instant::now() + delay, message)),
                None => {}
            }
            if !replaced {
                session.online = false;
                session.offline_since = Instant::now();
                session.queue.retain(|waiting| waiting.qos > 0);
            }
            if ended {
                self.end(&attached.key);
            }
        } else {
            due = will.map(|(_, message)| message);
        }
        if let Some(message) = due {
            self.publish(&message, limits, counters);
        }
    }

    /// Ends a session. Returns its will if that waits.
    fn end(&mut self, key: &Arc<str>) -> Option<Message> {
        let session = self.sessions.remove(key)?;
        session.replaced.notify_one();
        self.subscribers -= usize::from(!session.subscriptions.is_empty());
        self.shared -= session.subscriptions.iter().filter(|s| s.share.is_some()).count();
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
            .map(|(key, _)| Arc::clone(key))
            .collect();
        due.extend(over.iter().filter_map(|key| self.end(key)));
        for message in due {
            self.publish(&message, limits, counters);
        }
        self.retained.retain(|_, message| !message.is_expired(now));
    }

    fn session(&mut self, attached: &Attached) -> Option<&mut Session> {
        self.sessions.get_mut(&attached.key).filter(|session| session.epoch == attached.epoch)
    }

    /// Takes what waits for a connection: at most `count`, and no more of QoS 1 and 2 than leave `window` unacknowledged.
    /// Each comes with the packet identifier that it is to have.
    pub(super) fn take(
        &mut self,
        attached: &Attached,
        window: usize,
        count: usize,
    ) -> Vec<(Waiting, Option<u16>)> {
        let now = Instant::now();
        let Some(session) = self.session(attached) else { return Vec::new() };
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(next) = session.queue.front()
            && (next.qos == 0 || session.flights.len() < window)
            && let Some(waiting) = session.queue.pop_front()
        {
            // What has been sent may be there already; only the rest is of no use any more (MQTT-3.3.2-5).
            if waiting.message.is_expired(now) && waiting.sent_as.is_none() {
                continue;
            }
            if waiting.qos == 0 {
                taken.push((waiting, None));
                continue;
            }
            // What is sent again keeps its identifier (MQTT-4.4.0-1).
            let id = waiting.sent_as.unwrap_or_else(|| session.free_id());
            let sent = Waiting { sent_as: Some(id), ..waiting.clone() };
            session.flights.push_back((id, Flight::Published(sent)));
            taken.push((waiting, Some(id)));
        }
        if session.queue.front().is_some_and(|w| w.qos == 0 || session.flights.len() < window) {
            session.wake.notify_one();
        }
        taken
    }

    /// Notes what a subscriber says of a message. Wakes its connection, which may have waited for that.
    pub(super) fn acknowledge(&mut self, attached: &Attached, id: u16, said: Acknowledged) {
        let Some(session) = self.session(attached) else { return };
        let Some(place) = session.flights.iter().position(|(flight, _)| *flight == id) else {
            return;
        };
        match said {
            Acknowledged::Done => {
                session.flights.remove(place);
                session.wake.notify_one();
            }
            Acknowledged::Received => {
                if let Some((_, flight)) = session.flights.get_mut(place) {
                    *flight = Flight::Released;
                }
            }
        }
    }

    /// Remembers that a publication of QoS 2 is taken, so that it is not taken twice (MQTT-4.3.3-10).
    pub(super) fn receive(&mut self, attached: &Attached, id: u16) {
        if let Some(session) = self.session(attached) {
            session.received.insert(id);
        }
    }

    /// Forgets a publication of QoS 2. Returns whether it was known.
    pub(super) fn release(&mut self, attached: &Attached, id: u16) -> bool {
        self.session(attached).is_some_and(|session| session.received.remove(&id))
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
        for (key, session) in &mut self.sessions {
            let own = *key == message.from;
            let Some((granted, as_published, identifiers)) = session.wants(&message.topic, own)
            else {
                continue;
            };
            let qos = granted.min(message.qos);
            if !session.online && qos == 0 {
                continue;
            }
            let retain = as_published && message.retain;
            session.push(
                Waiting { message: message.clone(), retain, qos, identifiers, sent_as: None },
                limits,
                counters,
            );
        }
        if self.shared > 0 {
            self.publish_to_groups(message, limits, counters);
        }
    }

    /// Gives a publication to one session of every group that shares a subscription to its topic (MQTT 5 §4.8.2): to one
    /// that is connected if there is any, in turn.
    fn publish_to_groups(&mut self, message: &Message, limits: &Limits, counters: &Counters) {
        let mut groups: BTreeMap<(String, String), Members> = BTreeMap::new();
        for (key, session) in &self.sessions {
            for subscription in &session.subscriptions {
                let Some(share) = &subscription.share else { continue };
                if matches(&subscription.filter, &message.topic) {
                    let group = (share.clone(), subscription.filter.clone());
                    groups.entry(group).or_default().push((!session.online, Arc::clone(key)));
                }
            }
        }
        self.turn = self.turn.wrapping_add(1);
        for ((share, filter), mut members) in groups {
            members.sort();
            let online = members.iter().filter(|(away, _)| !away).count();
            let count = if online > 0 { online } else { members.len() };
            let Some((away, key)) = members.get(self.turn % count.max(1)) else { continue };
            let Some(session) = self.sessions.get_mut(key) else { continue };
            let of_group = |s: &&Subscription| {
                s.share.as_deref() == Some(share.as_str()) && s.filter == filter
            };
            let Some(subscription) = session.subscriptions.iter().find(of_group) else { continue };
            let qos = subscription.qos.min(message.qos);
            if *away && qos == 0 {
                continue;
            }
            let retain = subscription.retain_as_published && message.retain;
            let identifiers = subscription.identifier.into_iter().collect();
            let message = message.clone();
            session.push(
                Waiting { message, retain, qos, identifiers, sent_as: None },
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
        let session = self.sessions.get_mut(&attached.key).filter(|s| s.epoch == attached.epoch)?;
        let same = |s: &&mut Subscription| {
            s.filter == subscription.filter && s.share == subscription.share
        };
        if let Some(same) = session.subscriptions.iter_mut().find(same) {
            *same = subscription;
            return Some(false);
        }
        if session.subscriptions.len() >= limits.subscriptions_max {
            return None;
        }
        self.subscribers += usize::from(session.subscriptions.is_empty());
        self.shared += usize::from(subscription.share.is_some());
        session.subscriptions.push(subscription);
        Some(true)
    }

    /// Queues the retained messages that a filter matches.
    pub(super) fn replay_retained(
        &mut self,
        attached: &Attached,
        subscription: &Subscription,
        limits: &Limits,
        counters: &Counters,
    ) {
        let now = Instant::now();
        let found: Vec<Message> = self
            .retained
            .values()
            .filter(|m| matches(&subscription.filter, &m.topic) && !m.is_expired(now))
            .cloned()
            .collect();
        let Some(session) = self.session(attached) else { return };
        for message in found {
            let qos = subscription.qos.min(message.qos);
            let identifiers = subscription.identifier.into_iter().collect();
            session.push(
                Waiting { message, retain: true, qos, identifiers, sent_as: None },
                limits,
                counters,
            );
        }
    }

    /// Takes a subscription away. Returns whether there was one.
    pub(super) fn unsubscribe(
        &mut self,
        attached: &Attached,
        share: Option<&str>,
        filter: &str,
    ) -> bool {
        let Some(session) =
            self.sessions.get_mut(&attached.key).filter(|s| s.epoch == attached.epoch)
        else {
            return false;
        };
        let same = |s: &Subscription| s.filter == filter && s.share.as_deref() == share;
        let Some(place) = session.subscriptions.iter().position(same) else { return false };
        session.subscriptions.remove(place);
        self.subscribers -= usize::from(session.subscriptions.is_empty());
        self.shared -= usize::from(share.is_some());
        true
    }
}
