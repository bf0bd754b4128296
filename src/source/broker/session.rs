//! What outlives a connection of a client.

use super::access::matches;
use super::hub::Message;
use super::{Counters, Limits};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A subscription.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    /// Name of the group that shares it.
    pub share: Option<String>,
    pub filter: String,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    /// Number by which the client knows the subscription.
    pub identifier: Option<u32>,
}

/// A message that waits for its subscriber.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub message: Message,
    /// The retain flag as this subscriber sees it.
    pub retain: bool,
    /// QoS for this subscriber.
    pub qos: u8,
    /// Numbers of the subscriptions that it came by.
    pub identifiers: Vec<u32>,
    /// Packet identifier under which it has been sent before.
    pub sent_as: Option<u16>,
}

/// How far a message of QoS 1 or 2 has come with its subscriber.
#[derive(Debug)]
pub(super) enum Flight {
    Published(Waiting),
    /// QoS 2: the subscriber has it; it has yet to hear that the identifier is free (PUBREL).
    Released,
}

/// What a subscriber says of a packet identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acknowledged {
    /// PUBREC: it has the message.
    Received,
    /// PUBACK, PUBCOMP, or a PUBREC that refuses: the matter is closed.
    Done,
}

/// What outlives a connection.
#[derive(Debug)]
pub(super) struct Session {
    /// Which session of this client it is: one that ended knows by it that it has.
    pub birth: u64,
    /// Counts the connections: an older one that is still ending knows by it that it has been replaced.
    pub epoch: u64,
    pub subscriptions: Vec<Subscription>,
    pub queue: VecDeque<Waiting>,
    /// In the order in which they were sent first.
    pub flights: VecDeque<(u16, Flight)>,
    /// Publications of QoS 2 that are taken and whose identifiers the client has yet to release.
    pub received: BTreeSet<u16>,
    next_id: u16,
    pub wake: Arc<Notify>,
    pub replaced: Arc<Notify>,
    pub online: bool,
    pub expiry: Duration,
    pub offline_since: Instant,
    pub will: Option<(Instant, Message)>,
}

impl Session {
    pub(super) fn new(birth: u64) -> Self {
        Self {
            birth,
            epoch: birth,
            subscriptions: Vec::new(),
            queue: VecDeque::new(),
            flights: VecDeque::new(),
            received: BTreeSet::new(),
            next_id: 0,
            wake: Arc::default(),
            replaced: Arc::default(),
            online: true,
            expiry: Duration::ZERO,
            offline_since: Instant::now(),
            will: None,
        }
    }

    /// Puts what has been sent and not been acknowledged back in front of the queue, to be sent again. Returns the
    /// identifiers that are to be released again.
    pub(super) fn take_back(&mut self) -> Vec<u16> {
        let mut released = Vec::new();
        for (id, flight) in std::mem::take(&mut self.flights).into_iter().rev() {
            match flight {
                Flight::Published(waiting) => self.queue.push_front(waiting),
                Flight::Released => {
                    released.push(id);
                    self.flights.push_front((id, Flight::Released));
                }
            }
        }
        released.reverse();
        released
    }

    /// Returns a packet identifier that is not in use. Those of messages that are to be sent again are: they stand at
    /// the head of the queue and are in flight before any other is asked for.
    pub(super) fn free_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            if self.flights.iter().all(|(id, _)| *id != self.next_id) {
                return self.next_id;
            }
        }
    }

    /// Returns by how much, and by which subscriptions, a topic is followed, shared ones aside: one copy with the highest QoS of all that
    /// match (MQTT-3.3.4-2), and their identifiers (MQTT-3.3.4-3).
    pub(super) fn wants(&self, topic: &str, own: bool) -> Option<(u8, bool, Vec<u32>)> {
        let mut best: Option<(u8, bool, Vec<u32>)> = None;
        for subscription in &self.subscriptions {
            if subscription.share.is_some()
                || (own && subscription.no_local)
                || !matches(&subscription.filter, topic)
            {
                continue;
            }
            let (qos, as_published, identifiers) = best.get_or_insert_default();
            *qos = subscription.qos.max(*qos);
            *as_published |= subscription.retain_as_published;
            identifiers.extend(subscription.identifier);
        }
        best
    }

    pub(super) fn push(&mut self, waiting: Waiting, limits: &Limits, counters: &Counters) {
        if self.queue.len() >= limits.session_queue_max {
            self.queue.pop_front();
            Counters::add(&counters.dropped);
        }
        self.queue.push_back(waiting);
        self.wake.notify_one();
    }
}
